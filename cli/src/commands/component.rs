//! `assay component`: begin, build and inspect job components.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Subcommand;

use crate::component::{self, BuildReport, Inspection, Language};
use crate::output::Output;

/// Begin, build and inspect job components.
#[derive(Debug, Subcommand)]
pub(crate) enum ComponentCommand {
    /// Make a folder with a job that builds and runs as it is, to be changed into yours.
    New {
        /// What the folder and the job are called: lower-case letters, digits and '-'.
        name: String,
        /// What the job is written in.
        #[arg(long, value_enum, default_value = "rust")]
        lang: Language,
        /// The folder of the Rust SDK [default: that of the clone this program was built from, else its release].
        #[arg(long, value_name = "FOLDER")]
        sdk: Option<PathBuf>,
    },
    /// Compile a job in Rust, JavaScript or Python to a component.
    ///
    /// A Cargo.toml is Rust, a job.js JavaScript, a job.py Python. Two builds of one source in Rust are byte-identical; in
    /// the others they are on one machine, while their files stay as they are.
    Build {
        /// Directory with the job's Cargo.toml, job.js or job.py.
        #[arg(default_value = ".")]
        project: PathBuf,
        /// Where the component goes [default: target/<name>.component.wasm in the project].
        #[arg(long, short)]
        out: Option<PathBuf>,
    },
    /// Install the tools that make components of JavaScript and Python (fetches 140 MB, once).
    Setup,
    /// Show a component's profile, imports and exports, and whether providers would run it.
    Inspect {
        /// The component.
        component: PathBuf,
    },
}

pub(crate) fn run(command: &ComponentCommand, output: Output) -> Result<()> {
    match command {
        ComponentCommand::New { name, lang, sdk } => new(name, *lang, sdk.as_deref(), output),
        ComponentCommand::Build { project, out } => {
            let report = component::build(project, out.as_deref())?;
            output.data(&report, || build_text(&report))
        }
        ComponentCommand::Setup => {
            let report = component::setup(output)?;
            output.data(&report, || {
                let what = if report.installed {
                    "installed in"
                } else {
                    "everything is there:"
                };
                format!("{what} {}", report.folder.display())
            })
        }
        ComponentCommand::Inspect { component } => {
            let found = component::inspect(component)?;
            output.data(&found, || inspection_text(&found))
        }
    }
}

fn new(name: &str, language: Language, sdk: Option<&Path>, output: Output) -> Result<()> {
    let report = component::create(Path::new("."), name, language, sdk)?;
    output.data(&report, || report.files.join("\n"))?;
    let setup = match language {
        Language::Rust => "",
        _ => "  assay component setup      (once)\n",
    };
    output.say(format_args!(
        "a job in {language} is in {name}; next:\n{setup}  assay component build {name}\n  \
         assay job run --local {name}/job.toml"
    ));
    Ok(())
}

fn build_text(report: &BuildReport) -> String {
    format!(
        "component  {}\ndigest     {}\nsize       {} bytes\nprofile    {}\nimports    {}\ntoolchain  {}",
        report.component_path.display(),
        report.digest,
        report.size,
        report.profile,
        report.imports.join(", "),
        report.toolchain,
    )
}

fn inspection_text(found: &Inspection) -> String {
    format!(
        "component  {}\ndigest     {}\nsize       {} bytes\nprofile    {}\nimports    {}\nexports    {}",
        found.component_path.display(),
        found.digest,
        found.size,
        found.profile,
        found.imports.join(", "),
        found.exports.join(", "),
    )
}
