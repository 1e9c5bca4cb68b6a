//! What tests of the HTTP interface and of its pages ask it with.

use std::path::Path;

use anyhow::Result;

use super::reference::{Environment, ensure};

/// Where the two environments lie below Assay's own folder.
pub(super) const FOLDERS: [&str; 2] = ["browser", "schemathesis"];

pub(super) fn run(home: &Path) -> Result<()> {
    let [browser, schemathesis] = FOLDERS.map(|folder| home.join(folder));
    ensure(&Environment {
        folder: browser,
        requirements: &["tests/browser/requirements.txt"],
    })?;
    ensure(&Environment {
        folder: schemathesis,
        requirements: &[
            "tests/conformance/schemathesis.txt",
            "tests/conformance/http_signatures.txt",
        ],
    })
}
