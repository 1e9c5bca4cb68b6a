//! `assay config`: what is configured, and where it is from.

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use crate::config::file::Text;
use crate::config::{self, setting};
use crate::exit::{Coded, Exit, Fix, fail};
use crate::output::{Output, table};

/// Show and change what is configured.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show every setting.
    Show {
        /// Show where each value is from, and the variable that overrides it.
        #[arg(long)]
        origin: bool,
    },
    /// Print one setting.
    Get {
        /// Its name, as `assay config show` lists it.
        setting: String,
    },
    /// Change a setting in your own configuration file. Comments in it stay.
    Set {
        /// Its name, as `assay config show` lists it.
        setting: String,
        /// Its value.
        value: String,
    },
    /// Take a setting out of your own configuration file.
    Unset {
        /// Its name, as `assay config show` lists it.
        setting: String,
    },
    /// Print where configuration is read from, last wins.
    Path,
}

pub(crate) fn run(command: &ConfigCommand, output: Output) -> Result<()> {
    match command {
        ConfigCommand::Show { origin } => show(*origin, output),
        ConfigCommand::Get { setting } => {
            setting::find(setting)?;
            let config = config::load()?;
            let valued = config.get(setting)?;
            match &valued.value {
                Some(value) => output.data(
                    &json!({ "setting": setting, "value": value,
                    "origin": valued.origin }),
                    || value.clone(),
                ),
                None => fail(Exit::Failure, format!("{setting} is not set"))
                    .fix(format!("assay config set {setting} VALUE")),
            }
        }
        ConfigCommand::Set { setting, value } => set(setting, value, output),
        ConfigCommand::Unset { setting } => {
            let setting = setting::find(setting)?;
            let path = config::user_file()?;
            let name = setting.name;
            let gone = |text: &Text| text.value(name).is_none();
            config::file::edit(&path, |lines| lines.set(name, None), gone)?;
            output.data(&json!({ "unset": name, "file": path }), || {
                format!("{name} is not set in {}", path.display())
            })
        }
        ConfigCommand::Path => {
            let files = config::files()?;
            let listed: Vec<_> = files
                .iter()
                .map(|path| json!({ "path": path, "exists": path.exists() }))
                .collect();
            output.data(&listed, || {
                let lines = files.iter().map(|path| {
                    let there = if path.exists() { "" } else { "  (not there)" };
                    format!("{}{there}", path.display())
                });
                lines.collect::<Vec<_>>().join("\n")
            })
        }
    }
}

fn set(name: &str, text: &str, output: Output) -> Result<()> {
    let setting = setting::find(name)?;
    (setting.check)(text)
        .map_err(|reason| anyhow::anyhow!("{name} = {text:?}: {reason}"))
        .code(Exit::Usage)
        .fix(format!("{name} is {}", setting.about))?;
    let path = config::user_file()?;
    let there = |file: &Text| file.value(name) == Some(text);
    config::file::edit(&path, |lines| lines.set(setting.name, Some(text)), there)?;
    output.data(
        &json!({ "setting": name, "value": text, "file": path }),
        || format!("{name} = {text}  in {}", path.display()),
    )
}

fn show(origin: bool, output: Output) -> Result<()> {
    let config = config::load()?;
    output.data(config.all(), || {
        let rows: Vec<Vec<String>> = config::SETTINGS
            .iter()
            .filter_map(|setting| {
                let valued = config.get(setting.name).ok()?;
                let value = valued.value.clone().unwrap_or_else(|| "-".to_owned());
                let mut row = vec![setting.name.to_owned(), value];
                if origin {
                    row.extend([valued.origin.to_string(), setting.variable.to_owned()]);
                }
                row.push(setting.about.to_owned());
                Some(row)
            })
            .collect();
        match origin {
            true => table(&["setting", "value", "from", "variable", "what for"], &rows),
            false => table(&["setting", "value", "what for"], &rows),
        }
    })
}
