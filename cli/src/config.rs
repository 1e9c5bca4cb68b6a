//! Layered configuration: defaults, then /etc/assay/config.toml, then the user's own file, then the context in use,
//! then ASSAY_* variables, then flags. Each layer overrides those before it, and every value knows where it is from.
//!
//! The user's file is ~/.config/assay/config.toml (`XDG_CONFIG_HOME` and `ASSAY_CONFIG` move it). What it does not
//! know is an error, not a guess: a misspelt setting would otherwise be one that silently does nothing.

pub(crate) mod file;
pub(crate) mod setting;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::exit::{Coded, Exit, Fix, fail};
use file::{ContextText, Text};
pub(crate) use setting::SETTINGS;

/// The configuration of the whole machine.
const SYSTEM_FILE: &str = "/etc/assay/config.toml";

/// Moves the user's file.
pub(crate) const FILE_VARIABLE: &str = "ASSAY_CONFIG";

/// The context named on the command line; set once, before any command runs.
static CONTEXT_FLAG: OnceLock<Option<String>> = OnceLock::new();

/// Notes the context that the command line names.
pub(crate) fn choose_context(name: Option<String>) {
    // The first one counts, and there is only one.
    let _ = CONTEXT_FLAG.set(name);
}

/// Where a value is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody chose it.
    Default,
    /// A file, the system's or the user's.
    File(PathBuf),
    /// A context.
    Context(String),
    /// A variable.
    Variable(&'static str),
    /// The command line.
    Flag(&'static str),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Context(name) => write!(f, "context {name}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A value and where it is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Valued {
    /// The value; none if nobody chose one and there is no default.
    pub(crate) value: Option<String>,
    /// Where it is from.
    pub(crate) origin: Origin,
}

/// Everything that is configured.
#[derive(Debug)]
pub(crate) struct Config {
    values: BTreeMap<&'static str, Valued>,
    /// Every context, by name.
    pub(crate) contexts: BTreeMap<String, ContextText>,
}

/// What a configuration is made from.
pub(crate) struct Sources<'a> {
    system: PathBuf,
    user: PathBuf,
    variable: &'a dyn Fn(&str) -> Option<String>,
    context: Option<String>,
}

/// The user's file.
pub(crate) fn user_file() -> Result<PathBuf> {
    user_file_of(&variable)
}

fn user_file_of(variable: &dyn Fn(&str) -> Option<String>) -> Result<PathBuf> {
    if let Some(path) = variable(FILE_VARIABLE) {
        return Ok(PathBuf::from(path));
    }
    if let Some(folder) = variable("XDG_CONFIG_HOME").map(PathBuf::from)
        && folder.is_absolute()
    {
        return Ok(folder.join("assay/config.toml"));
    }
    let home = variable("HOME").context("none of ASSAY_CONFIG, XDG_CONFIG_HOME and HOME is set");
    Ok(PathBuf::from(home.code(Exit::Usage)?).join(".config/assay/config.toml"))
}

/// Every file that is looked at, in order.
pub(crate) fn files() -> Result<[PathBuf; 2]> {
    Ok([PathBuf::from(SYSTEM_FILE), user_file()?])
}

fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    value.filter(|value| !value.is_empty())
}

/// Reads every layer.
pub(crate) fn load() -> Result<Config> {
    let context = CONTEXT_FLAG.get().cloned().flatten();
    Config::read(&Sources {
        system: PathBuf::from(SYSTEM_FILE),
        user: user_file()?,
        variable: &variable,
        context,
    })
}

impl Config {
    fn read(sources: &Sources<'_>) -> Result<Self> {
        let defaults = SETTINGS.iter().map(|setting| {
            let value = setting.default.map(str::to_owned);
            let origin = Origin::Default;
            (setting.name, Valued { value, origin })
        });
        let mut config = Self {
            values: defaults.collect(),
            contexts: BTreeMap::new(),
        };
        for path in [&sources.system, &sources.user] {
            if let Some(text) = Text::read(path)? {
                config.add_file(path, text);
            }
        }
        let by_flag = sources.context.is_some();
        let named = match &sources.context {
            Some(name) => Some((name.clone(), Origin::Flag("--context"))),
            None => (sources.variable)("ASSAY_CONTEXT")
                .map(|name| (name, Origin::Variable("ASSAY_CONTEXT"))),
        };
        if let Some((name, origin)) = named {
            config.set("context", name, origin);
        }
        // What is named on the command line goes before variables, whatever else names it after them.
        if !by_flag {
            config.add_context()?;
        }
        for setting in SETTINGS.iter().filter(|setting| setting.name != "context") {
            if let Some(value) = (sources.variable)(setting.variable) {
                config.set(setting.name, value, Origin::Variable(setting.variable));
            }
        }
        if by_flag {
            config.add_context()?;
        }
        config.check()?;
        Ok(config)
    }

    fn set(&mut self, name: &'static str, value: String, origin: Origin) {
        let value = Some(value);
        self.values.insert(name, Valued { value, origin });
    }

    fn add_file(&mut self, path: &Path, text: Text) {
        for (name, value) in text.values {
            self.set(name, value, Origin::File(path.to_owned()));
        }
        self.contexts.extend(text.contexts);
    }

    /// What the context in use says.
    fn add_context(&mut self) -> Result<()> {
        let Some(name) = self.value("context").map(str::to_owned) else {
            return Ok(());
        };
        let Some(context) = self.contexts.get(&name).cloned() else {
            let origin = &self.get("context")?.origin;
            let reason = format!("there is no context {name:?} (chosen by {origin})");
            return fail(Exit::Usage, reason).fix(self.other_context(&name));
        };
        self.set("aggregator", context.url, Origin::Context(name.clone()));
        if let Some(key) = context.key {
            self.set("key", key, Origin::Context(name));
        }
        Ok(())
    }

    fn other_context(&self, name: &str) -> String {
        let names = self.contexts.keys().map(String::as_str);
        match setting::nearest(name, names) {
            Some(near) => format!("did you mean {near}? `assay context list` shows all"),
            None => format!("assay context create {name} --url http://HOST:7700"),
        }
    }

    fn check(&self) -> Result<()> {
        for setting in SETTINGS {
            let valued = self.get(setting.name)?;
            if let Some(value) = &valued.value {
                let checked = (setting.check)(value);
                checked
                    .map_err(|reason| anyhow::anyhow!("{} = {value:?}: {reason}", setting.name))
                    .with_context(|| format!("from {}", valued.origin))
                    .code(Exit::Usage)
                    .fix(mend(setting.name, &valued.origin))?;
            }
        }
        Ok(())
    }

    /// A setting with where it is from.
    pub(crate) fn get(&self, name: &str) -> Result<&Valued> {
        match self.values.get(name) {
            Some(valued) => Ok(valued),
            None => setting::unknown(name),
        }
    }

    /// What a setting is.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.value.as_deref()
    }

    /// Everything, by name.
    pub(crate) const fn all(&self) -> &BTreeMap<&'static str, Valued> {
        &self.values
    }
}

/// How to change what is from there.
fn mend(name: &str, origin: &Origin) -> String {
    match origin {
        Origin::Variable(variable) => format!("correct or unset {variable}"),
        Origin::Context(context) => format!("assay context create {context} --url URL --force"),
        _ => format!("assay config set {name} VALUE"),
    }
}

#[cfg(test)]
mod tests;
