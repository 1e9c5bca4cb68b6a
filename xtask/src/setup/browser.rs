//! What the tests of the dashboard use a browser with.

use std::path::Path;

use anyhow::Result;

use super::reference::{Environment, ensure};

pub(super) fn run(home: &Path) -> Result<()> {
    ensure(&Environment {
        folder: home.join("browser"),
        requirements: &["tests/browser/requirements.txt"],
    })
}
