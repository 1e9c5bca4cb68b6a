//! `job.toml`: what a person writes.
use crate::{Error, package::Package};
/// Checks every bound of a package.
///
/// # Errors
/// The first field out of bounds.
pub fn check_bounds(package: &Package) -> Result<(), Error> {
    let _ = package;
    todo!("helper")
}
/// A parsed manifest.
#[derive(Debug, Clone)]
pub struct Manifest {}
