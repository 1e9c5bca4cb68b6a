//! A configuration file: read strictly, changed line by line, written whole or not at all.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use toml_edit::{DocumentMut, Item, TableLike};

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
        let Some(document) = document(path)? else {
            return Ok(None);
        };
        Self::of(&document)
            .with_context(|| path.display().to_string())
            .map(Some)
    }

    fn of(document: &DocumentMut) -> Result<Self> {
        let mut text = Self::default();
        for (name, item) in document.iter() {
            if name == CONTEXTS {
                text.contexts = contexts(item)?;
                continue;
            }
            let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
                return setting::unknown(name);
            };
            text.values.push((setting.name, string(name, item)?));
        }
        Ok(text)
    }
}

fn contexts(item: &Item) -> Result<BTreeMap<String, ContextText>> {
    let Some(table) = item.as_table_like() else {
        return fail(Exit::Usage, "contexts must be a table of tables");
    };
    let mut contexts = BTreeMap::new();
    for (name, item) in table.iter() {
        let dotted = format!("{CONTEXTS}.{name}");
        setting::name(name)
            .map_err(|reason| anyhow::anyhow!("{dotted}: {reason}"))
            .code(Exit::Usage)?;
        let Some(context) = item.as_table_like() else {
            return fail(Exit::Usage, format!("{dotted} must be a table"));
        };
        contexts.insert(name.to_owned(), one_context(&dotted, context)?);
    }
    Ok(contexts)
}

fn one_context(dotted: &str, context: &dyn TableLike) -> Result<ContextText> {
    for (key, _) in context.iter() {
        if !CONTEXT_KEYS.contains(&key) {
            let near = nearest(key, CONTEXT_KEYS);
            let fix = format!("did you mean {}?", near.unwrap_or("url or key"));
            return fail(Exit::Usage, format!("there is no setting {dotted}.{key}")).fix(fix);
        }
    }
    let text = |key: &str| {
        let item = context.get(key);
        item.map(|item| string(&format!("{dotted}.{key}"), item))
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

fn string(name: &str, item: &Item) -> Result<String> {
    match item.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => {
            let reason = format!(
                "{name} = {}: must be a text in quotes",
                item.to_string().trim()
            );
            fail(Exit::Usage, reason)
        }
    }
}

/// The file's text, with its comments; `None` if there is none.
fn document(path: &Path) -> Result<Option<DocumentMut>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = read::bounded(path, "a configuration", FILE_BYTES_MAX)?;
    let named = || format!("{} cannot be read as TOML", path.display());
    let text = String::from_utf8(bytes).with_context(named);
    let fix = format!(
        "correct the line that is named, or move {} away and start anew",
        path.display()
    );
    let parsed = text.and_then(|text| text.parse::<DocumentMut>().with_context(named));
    parsed.code(Exit::Usage).fix(fix).map(Some)
}

/// Changes a file by `change`, checks that the result is a configuration, and replaces the file in one step.
pub(crate) fn edit(path: &Path, change: impl FnOnce(&mut DocumentMut) -> Result<()>) -> Result<()> {
    let mut document = document(path)?.unwrap_or_default();
    change(&mut document)?;
    Text::of(&document).with_context(|| path.display().to_string())?;
    replace(path, document.to_string().as_bytes())
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
