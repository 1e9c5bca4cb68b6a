//! What tests of the HTTP interface and of its pages ask it with.

use std::path::Path;

use anyhow::Result;

use super::reference::{Environment, ensure};

pub(super) fn run(home: &Path) -> Result<()> {
    ensure(&Environment {
        folder: home.join("browser"),
        requirements: &["tests/browser/requirements.txt"],
    })?;
    ensure(&Environment {
        folder: home.join("schemathesis"),
        requirements: &[
            "tests/conformance/schemathesis.txt",
            "tests/conformance/http_signatures.txt",
        ],
    })
}
