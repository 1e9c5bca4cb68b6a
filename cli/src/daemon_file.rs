//! The file that a daemon is told things by, in its data directory: `provider.toml` and `aggregator.toml`.
//!
//! Defaults come first, then the file, then the daemon's variables, then flags; each value is taken from the last that
//! has it. The file is made by `init`, written whole or not at all, and ends with a key that says so: one that was cut
//! short at the end of a line would otherwise be a shorter, valid one.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::exit::{Coded, Exit, fail};
use crate::{bytes, read};

#[cfg(test)]
pub(crate) mod checks;

/// Largest file that is read, in bytes.
const BYTES_MAX: u64 = 256 * 1024;

/// The farthest that a misspelt key may be from the one that is meant, in letters.
const TYPOS_MAX: usize = 3;

/// Which daemon's file.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Its name in a data directory.
    pub(crate) file: &'static str,
    /// What it is, for messages.
    pub(crate) what: &'static str,
    /// The command that makes it.
    pub(crate) init: &'static str,
    /// The schema that this program writes and reads.
    pub(crate) schema: u32,
    /// Every key, for those who misspell one.
    pub(crate) keys: &'static [&'static str],
}

/// What a file says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) schema: Option<u32>,
    pub(crate) complete: Option<bool>,
}

/// What is read from a file.
pub(crate) trait Marked: Default + DeserializeOwned {
    /// What it says of itself.
    fn mark(&self) -> Mark;
}

impl Kind {
    /// The file of a data directory; an empty one if there is none.
    pub(crate) fn load<T: Marked>(&self, data: &Path) -> Result<T> {
        let path = data.join(self.file);
        if !path.exists() {
            return Ok(T::default());
        }
        let bytes = read::bounded(&path, self.what, BYTES_MAX)?;
        let named = || path.display().to_string();
        let text = String::from_utf8(bytes)
            .code(Exit::Usage)
            .with_context(named)?;
        match self.parse(&text) {
            Ok(file) => Ok(file),
            Err(why) => fail(Exit::Usage, format!("{}: {why}", path.display())),
        }
    }

    /// What the text says, or what is wrong with it.
    pub(crate) fn parse<T: Marked>(&self, text: &str) -> Result<T, String> {
        let file: T = toml::from_str(text).map_err(|error| self.explain(text, &error))?;
        let mark = file.mark();
        if mark.complete != Some(true) {
            return Err(format!(
                "it is cut short, or was written without its last line: end it with `complete = true`, or make it \
                 anew with `{} --force`",
                self.init
            ));
        }
        if mark.schema == Some(self.schema) {
            return Ok(file);
        }
        let found = mark
            .schema
            .map_or("no schema".to_owned(), |schema| format!("schema {schema}"));
        Err(format!(
            "it has {found}, this program reads schema {}: make it anew with `{} --force`",
            self.schema, self.init
        ))
    }

    /// What is wrong with which line and key, and what was meant.
    fn explain(&self, text: &str, error: &toml::de::Error) -> String {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or(text);
        let number = before.matches('\n').count() + 1;
        let line = text.lines().nth(number - 1).unwrap_or_default();
        let key = line.split_once('=').map_or("", |(key, _)| key.trim());
        let message = error.message();
        if message.starts_with("unknown field") {
            let near = self
                .keys
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, key), known))
                .min();
            let hint = match near {
                Some((distance, known)) if distance <= TYPOS_MAX => {
                    format!("did you mean `{known}`?")
                }
                _ => format!("there are {}", self.keys.join(", ")),
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

    /// Refuses to go on where a file is that nobody asked to replace.
    pub(crate) fn refuse_existing(&self, data: &Path, replace: bool) -> Result<()> {
        match data.join(self.file) {
            path if path.exists() && !replace => kept(&path),
            _ => Ok(()),
        }
    }

    /// Writes the file whole or not at all. Unless told so, no file is replaced.
    pub(crate) fn write(&self, data: &Path, text: &str, replace: bool) -> Result<PathBuf> {
        let path = data.join(self.file);
        let mut part = tempfile::NamedTempFile::new_in(data)
            .with_context(|| format!("cannot write in {}", data.display()))?;
        part.write_all(text.as_bytes())
            .and_then(|()| part.as_file().sync_all())
            .with_context(|| format!("cannot write {}", path.display()))?;
        let placed = match replace {
            true => part.persist(&path),
            false => part.persist_noclobber(&path),
        };
        match placed {
            Ok(_) => {}
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {
                return kept(&path);
            }
            Err(error) => return Err(error.error).with_context(|| path.display().to_string()),
        }
        std::fs::File::open(data)
            .and_then(|dir| dir.sync_all())
            .with_context(|| data.display().to_string())?;
        Ok(path)
    }
}

/// A file is there that stays.
fn kept<T>(path: &Path) -> Result<T> {
    let path = path.display();
    fail(
        Exit::Usage,
        format!("{path} is there already: keep it, or replace it with --force"),
    )
}

/// A list of texts as TOML writes it.
pub(crate) fn list(items: &[String]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", quoted.join(", "))
}

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
