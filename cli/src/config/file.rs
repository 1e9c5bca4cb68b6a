//! A configuration file: read strictly, changed line by line, written whole or not at all.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::setting::{self, SETTINGS, nearest};
use crate::exit::{Coded, Exit, Fix, fail};
use crate::read;

/// Largest file in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The table of contexts.
pub(crate) const CONTEXTS: &str = "contexts";

/// What a context may say.
const CONTEXT_KEYS: [&str; 2] = ["url", "key"];

/// An aggregator, and the key to use with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContextText {
    /// The aggregator's HTTP interface.
    pub(crate) url: String,
    /// The key, if it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct Text {
    /// Settings by name.
    pub(crate) values: Vec<(&'static str, String)>,
    /// Contexts by name.
    pub(crate) contexts: BTreeMap<String, ContextText>,
}

impl Text {
    /// What the file says; `None` if there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        match text(path)? {
            Some(text) => Self::parse(path, &text).map(Some),
            None => Ok(None),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        let named = || format!("{} cannot be read as TOML", path.display());
        let fix = format!(
            "correct the line that is named, or move {} away and start anew",
            path.display()
        );
        let table = text.parse::<Table>().with_context(named);
        let table = table.code(Exit::Usage).fix(fix)?;
        Self::of(&table).with_context(|| path.display().to_string())
    }

    fn of(table: &Table) -> Result<Self> {
        let mut text = Self::default();
        for (name, value) in table {
            if name == CONTEXTS {
                text.contexts = contexts(value)?;
                continue;
            }
            let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
                return setting::unknown(name);
            };
            text.values.push((setting.name, string(name, value)?));
        }
        Ok(text)
    }

    /// What the file itself says of a setting.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn contexts(value: &Value) -> Result<BTreeMap<String, ContextText>> {
    let Some(table) = value.as_table() else {
        return fail(Exit::Usage, "contexts must be a table of tables");
    };
    let mut contexts = BTreeMap::new();
    for (name, value) in table {
        let dotted = format!("{CONTEXTS}.{name}");
        setting::name(name)
            .map_err(|reason| anyhow::anyhow!("{dotted}: {reason}"))
            .code(Exit::Usage)?;
        let Some(context) = value.as_table() else {
            return fail(Exit::Usage, format!("{dotted} must be a table"));
        };
        contexts.insert(name.clone(), one_context(&dotted, context)?);
    }
    Ok(contexts)
}

fn one_context(dotted: &str, context: &Table) -> Result<ContextText> {
    let unknown = context
        .keys()
        .find(|key| !CONTEXT_KEYS.contains(&key.as_str()));
    if let Some(key) = unknown {
        let near = nearest(key, CONTEXT_KEYS);
        let fix = format!("did you mean {}?", near.unwrap_or("url or key"));
        return fail(Exit::Usage, format!("there is no setting {dotted}.{key}")).fix(fix);
    }
    let text = |key: &str| {
        let value = context.get(key);
        value
            .map(|value| string(&format!("{dotted}.{key}"), value))
            .transpose()
    };
    let Some(url) = text("url")? else {
        return fail(Exit::Usage, format!("{dotted}.url is missing"));
    };
    setting::url(&url)
        .map_err(|reason| anyhow::anyhow!("{dotted}.url = {url:?}: {reason}"))
        .code(Exit::Usage)?;
    let key = text("key")?;
    Ok(ContextText { url, key })
}

fn string(name: &str, value: &Value) -> Result<String> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => {
            let reason = format!("{name} = {value}: must be a text in quotes");
            fail(Exit::Usage, reason)
        }
    }
}

/// The file's text; `None` if there is none.
fn text(path: &Path) -> Result<Option<String>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = read::bounded(path, "a configuration", FILE_BYTES_MAX)?;
    let text = String::from_utf8(bytes);
    let text = text.with_context(|| format!("{} is no text", path.display()));
    text.code(Exit::Usage).map(Some)
}

/// A change of a file's lines. Others, comments among them, stay as they are.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<String>);

impl Lines {
    /// Whether the line opens a table.
    fn opens_table(line: &str) -> bool {
        line.trim_start().starts_with('[')
    }

    /// Where the first table begins: settings stand before it.
    fn first_table(&self) -> usize {
        let found = self.0.iter().position(|line| Self::opens_table(line));
        found.unwrap_or(self.0.len())
    }

    /// Sets a setting, where it stood or before the first table; or takes it out.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) {
        let line = value.map(|value| format!("{name} = {}", quoted(value)));
        let is_it = |line: &String| {
            let key = line.split_once('=').map(|(key, _)| key.trim());
            key == Some(name)
        };
        let end = self.first_table();
        let settings = self.0.get(..end).unwrap_or_default();
        match (settings.iter().position(is_it), line) {
            (Some(at), Some(line)) => {
                self.0.splice(at..=at, [line]);
            }
            (Some(at), None) => {
                self.0.remove(at);
            }
            (None, Some(line)) => {
                // Above the blank lines and comments that belong to the table.
                let above = |line: &&String| line.trim().is_empty() || line.starts_with('#');
                let back = match end == self.0.len() {
                    true => 0,
                    false => settings.iter().rev().take_while(above).count(),
                };
                self.0.insert(end.saturating_sub(back), line);
            }
            (None, None) => {}
        }
    }

    /// Puts a context at the end, in place of one of this name; or takes it out.
    pub(crate) fn context(&mut self, name: &str, context: Option<&ContextText>) {
        let headings = [
            format!("[{CONTEXTS}.{name}]"),
            format!("[{CONTEXTS}.\"{name}\"]"),
        ];
        let is_it = |line: &String| headings.iter().any(|heading| line.trim() == heading);
        if let Some(from) = self.0.iter().position(is_it) {
            let after = self.0.iter().skip(from.saturating_add(1));
            let length = after.take_while(|line| !Self::opens_table(line)).count();
            self.0.drain(from..=from.saturating_add(length));
        }
        let Some(context) = context else {
            return;
        };
        if !self.0.is_empty() {
            self.0.push(String::new());
        }
        let [_, heading] = headings;
        self.0.push(heading);
        self.0.push(format!("url = {}", quoted(&context.url)));
        let key = context.key.as_deref();
        self.0
            .extend(key.map(|key| format!("key = {}", quoted(key))));
    }
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// Changes a file by `change` and replaces it in one step, if it then says what `is_done` looks for. It may not where
/// somebody wrote it in a way that lines do not show.
pub(crate) fn edit(
    path: &Path,
    change: impl FnOnce(&mut Lines),
    is_done: impl FnOnce(&Text) -> bool,
) -> Result<()> {
    let old = text(path)?.unwrap_or_default();
    Text::parse(path, &old)?;
    let mut lines = Lines(old.lines().map(str::to_owned).collect());
    change(&mut lines);
    let mut new = lines.0.join("\n");
    new.push('\n');
    match Text::parse(path, &new).ok().filter(is_done) {
        Some(_) => replace(path, new.as_bytes()),
        None => {
            let reason = format!(
                "{} is written in a way that cannot be changed here",
                path.display()
            );
            fail(Exit::Usage, reason).fix("change it by hand; nothing was written")
        }
    }
}

/// Writes a file beside the old one, and puts it in its place: whoever reads sees one or the other.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(cannot)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(cannot)?;
    file.write_all(bytes).with_context(cannot)?;
    file.as_file().sync_all().with_context(cannot)?;
    file.persist(path).with_context(cannot)?;
    Ok(())
}
