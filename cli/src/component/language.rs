//! Which language a guest project is written in.

use std::fmt;
use std::path::Path;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;

/// A language that jobs can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Language {
    /// Rust, compiled: small components and the least fuel.
    Rust,
    /// JavaScript, with an engine in the component.
    #[value(alias = "javascript")]
    Js,
    /// Python, with an interpreter in the component.
    Python,
}

impl Language {
    /// The file by which a project of this language is known.
    pub(super) fn marker(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::Js => "job.js",
            Self::Python => "job.py",
        }
    }

    /// The language of a project.
    pub(super) fn of(project: &Path) -> Result<Self> {
        let is_there = |language: &&Self| project.join(language.marker()).is_file();
        let found: Vec<&Self> = Self::value_variants().iter().filter(is_there).collect();
        match found.as_slice() {
            [one] => Ok(**one),
            [] => bail!(
                "a guest project has a Cargo.toml (Rust), a job.js (JavaScript) or a job.py (Python), and {} has none \
                 of them; `assay component new NAME` makes one",
                project.display()
            ),
            [one, other, ..] => bail!(
                "{} has a {} and a {}; a guest project is in one language, so move one of them",
                project.display(),
                one.marker(),
                other.marker()
            ),
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::Js => "JavaScript",
            Self::Python => "Python",
        })
    }
}
