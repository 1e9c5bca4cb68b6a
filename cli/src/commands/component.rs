//! `assay component`: build and inspect job components.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

use crate::component;
use crate::output::Output;

/// Build and inspect job components.
#[derive(Debug, Subcommand)]
pub(crate) enum ComponentCommand {
    /// Compile a Rust job to a component. Two builds of one source are byte-identical.
    Build {
        /// Directory with the job's Cargo.toml.
        #[arg(default_value = ".")]
        project: PathBuf,
        /// Where the component goes [default: target/<package>.component.wasm in the project].
        #[arg(long, short)]
        out: Option<PathBuf>,
    },
    /// Show what a component imports and exports, and whether providers would run it.
    Inspect {
        /// The component.
        component: PathBuf,
    },
}

pub(crate) fn run(command: &ComponentCommand, output: Output) -> Result<()> {
    match command {
        ComponentCommand::Build { project, out } => {
            let report = component::build(project, out.as_deref())?;
            output.data(&report, || {
                format!(
                    "component  {}\ndigest     {}\nsize       {} bytes\nprofile    {}\nimports    {}\ntoolchain  {}",
                    report.component_path.display(),
                    report.digest,
                    report.size,
                    report.profile,
                    report.imports.join(", "),
                    report.toolchain,
                )
            })
        }
        ComponentCommand::Inspect { component } => {
            let found = component::inspect(component)?;
            output.data(&found, || {
                format!(
                    "component  {}\ndigest     {}\nsize       {} bytes\nprofile    {}\nimports    {}\nexports    {}",
                    found.component_path.display(),
                    found.digest,
                    found.size,
                    found.profile,
                    found.imports.join(", "),
                    found.exports.join(", "),
                )
            })
        }
    }
}
