//! `provider.toml`: what a provider is told by a file in its data directory.
//!
//! Defaults come first, then the file, then `ASSAY_PROVIDER_…` variables, then flags; each value is taken from the last
//! that has it. The file is made by `assay provider init`, written whole or not at all, and ends with a key that says
//! so: one that was cut short at the end of a line would otherwise be a shorter, valid one.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jobs::ids::ClientId;
use jobs::money::Amount;
use jobs::offer::DeviceKind;
use provider::choices::Mode;
use serde::Deserialize;

use crate::exit::{Coded, Exit, fail};
use crate::{bytes, read};

mod template;

pub(crate) use template::{Chosen, render};

/// The file's name in a data directory.
pub(crate) const FILE: &str = "provider.toml";

/// The schema that this program writes and reads.
pub(crate) const SCHEMA: u32 = 1;

/// Largest file that is read, in bytes.
const BYTES_MAX: u64 = 256 * 1024;

/// The farthest that a misspelt key may be from the one that is meant, in letters.
const TYPOS_MAX: usize = 3;

/// Every key, for those who misspell one.
const KEYS: &[&str] = &[
    "schema",
    "aggregators",
    "listen",
    "workers",
    "device",
    "operator",
    "price_per_gfuel",
    "price_per_device_second",
    "reward_min",
    "memory_max",
    "fuel_max",
    "model_max",
    "cache_max",
    "trust",
    "deny",
    "mode",
    "idle_cpu_percent",
    "drain_seconds",
    "complete",
];

/// A size in bytes, as a number or with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Bytes(u64),
            Text(String),
        }
        match Written::deserialize(from) {
            Ok(Written::Bytes(bytes)) => Ok(Self(bytes)),
            Ok(Written::Text(text)) => bytes::parse(&text)
                .map(Self)
                .map_err(serde::de::Error::custom),
            Err(_) => Err(serde::de::Error::custom(
                "expected a size: bytes, or text such as \"512MiB\"",
            )),
        }
    }
}

/// What the file says; nothing where it says nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProviderFile {
    schema: Option<u32>,
    pub(crate) aggregators: Option<Vec<String>>,
    pub(crate) listen: Option<Vec<String>>,
    pub(crate) workers: Option<u16>,
    pub(crate) device: Option<DeviceKind>,
    pub(crate) operator: Option<PathBuf>,
    pub(crate) price_per_gfuel: Option<Amount>,
    pub(crate) price_per_device_second: Option<Amount>,
    pub(crate) reward_min: Option<Amount>,
    pub(crate) memory_max: Option<Size>,
    pub(crate) fuel_max: Option<u64>,
    pub(crate) model_max: Option<Size>,
    pub(crate) cache_max: Option<Size>,
    pub(crate) trust: Option<BTreeSet<ClientId>>,
    pub(crate) deny: Option<BTreeSet<ClientId>>,
    pub(crate) mode: Option<Mode>,
    pub(crate) idle_cpu_percent: Option<u8>,
    pub(crate) drain_seconds: Option<u64>,
    complete: Option<bool>,
}

impl ProviderFile {
    /// The file of a data directory; an empty one if there is none.
    pub(crate) fn load(data: &Path) -> Result<Self> {
        let path = data.join(FILE);
        if !path.exists() {
            return Ok(Self::default());
        }
        let bytes = read::bounded(&path, "a provider's configuration", BYTES_MAX)?;
        let named = || path.display().to_string();
        let text = String::from_utf8(bytes)
            .code(Exit::Usage)
            .with_context(named)?;
        let mut file = match Self::parse(&text) {
            Ok(file) => file,
            Err(why) => return fail(Exit::Usage, format!("{}: {why}", path.display())),
        };
        // A relative path is relative to the file that holds it, wherever the program is started.
        file.operator = file.operator.map(|path| data.join(path));
        Ok(file)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: Self = toml::from_str(text).map_err(|error| explain(text, &error))?;
        if file.complete != Some(true) {
            return Err(
                "it is cut short, or was written without its last line: end it with \
                        `complete = true`, or make it anew with `assay provider init --force`"
                    .to_owned(),
            );
        }
        match file.schema {
            Some(SCHEMA) => Ok(file),
            found => {
                let found =
                    found.map_or("no schema".to_owned(), |schema| format!("schema {schema}"));
                Err(format!(
                    "it has {found}, this program reads schema {SCHEMA}: make it anew with \
                     `assay provider init --force`"
                ))
            }
        }
    }
}

/// What is wrong with which line and key, and what was meant.
fn explain(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or(text);
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let key = line.split_once('=').map_or("", |(key, _)| key.trim());
    let message = error.message();
    if message.starts_with("unknown field") {
        let near = KEYS
            .iter()
            .map(|known| (strsim::damerau_levenshtein(known, key), known))
            .min();
        let hint = match near {
            Some((distance, known)) if distance <= TYPOS_MAX => {
                format!("did you mean `{known}`?")
            }
            _ => format!("there are {}", KEYS.join(", ")),
        };
        return format!("line {number}: unknown key `{key}`: {hint}");
    }
    let named = if key.is_empty() || key.starts_with('#') {
        String::new()
    } else {
        format!(" key `{key}`:")
    };
    format!("line {number}:{named} {message}")
}

/// Writes the file whole or not at all. Unless told so, no file is replaced.
pub(crate) fn write(data: &Path, text: &str, replace: bool) -> Result<PathBuf> {
    let path = data.join(FILE);
    let mut part = tempfile::NamedTempFile::new_in(data)
        .with_context(|| format!("cannot write in {}", data.display()))?;
    part.write_all(text.as_bytes())
        .and_then(|()| part.as_file().sync_all())
        .with_context(|| format!("cannot write {}", path.display()))?;
    let kept = match replace {
        true => part.persist(&path),
        false => part.persist_noclobber(&path),
    };
    match kept {
        Ok(_) => {}
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {
            return fail(
                Exit::Usage,
                format!(
                    "{} is there already: keep it, or replace it with --force",
                    path.display()
                ),
            );
        }
        Err(error) => return Err(error.error).with_context(|| path.display().to_string()),
    }
    std::fs::File::open(data)
        .and_then(|dir| dir.sync_all())
        .with_context(|| data.display().to_string())?;
    Ok(path)
}

#[cfg(test)]
mod tests;
