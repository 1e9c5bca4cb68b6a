//! What can be configured. One row a setting: whatever lists, reads or explains settings reads this table.

use anyhow::Result;

use crate::exit::{Exit, Fix, fail};

/// A setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name in files and on the command line.
    pub(crate) name: &'static str,
    /// The variable that overrides files.
    pub(crate) variable: &'static str,
    /// What it is if nobody chooses.
    pub(crate) default: Option<&'static str>,
    /// What it is for.
    pub(crate) about: &'static str,
    /// Says what is wrong with a value.
    pub(crate) check: fn(&str) -> Result<(), String>,
}

/// All of them, by name.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting {
        name: "aggregator",
        variable: "ASSAY_AGGREGATOR",
        default: Some("http://127.0.0.1:7700"),
        about: "the aggregator's HTTP interface",
        check: url,
    },
    Setting {
        name: "context",
        variable: "ASSAY_CONTEXT",
        default: None,
        about: "the context in use, which names aggregator and key",
        check: context_name,
    },
    Setting {
        name: "hub",
        variable: "ASSAY_HUB",
        default: None,
        about: "where `hf://` sources of models are fetched, for example https://HOST",
        check: url,
    },
    Setting {
        name: "key",
        variable: "ASSAY_KEY",
        default: Some("assay.key"),
        about: "the key that signs and pays: a file, or the name of a key of `assay key list`",
        check: any,
    },
    Setting {
        name: "max_price",
        variable: "ASSAY_MAX_PRICE",
        default: None,
        about: "submit no job that may cost more",
        check: amount,
    },
];

/// Longest name of a context or a key in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 64;

fn any(_: &str) -> Result<(), String> {
    Ok(())
}

fn amount(text: &str) -> Result<(), String> {
    let amount = text.parse::<jobs::money::Amount>();
    amount.map(drop).map_err(|error| error.to_string())
}

/// An address that requests can be sent to.
pub(crate) fn url(text: &str) -> Result<(), String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    if !["http", "https"].contains(&scheme) {
        return Err("must begin with http:// or https://".into());
    }
    match rest.split('/').next() {
        None | Some("") => Err("names no host".into()),
        Some(_) if text.contains(char::is_whitespace) => Err("contains white space".into()),
        Some(_) => Ok(()),
    }
}

fn context_name(text: &str) -> Result<(), String> {
    name(text)
}

/// A name of a context, a key or a model: it becomes part of a path.
pub(crate) fn name(text: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.starts_with(['.', '-']);
    match fits && text.bytes().all(plain) {
        true => Ok(()),
        false => Err(format!(
            "a name has 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` or `.`, and begins with a letter or digit"
        )),
    }
}

/// The setting of this name.
pub(crate) fn find(name: &str) -> Result<&'static Setting> {
    match SETTINGS.iter().find(|setting| setting.name == name) {
        Some(setting) => Ok(setting),
        None => unknown(name),
    }
}

/// There is no such setting.
pub(crate) fn unknown<T>(name: &str) -> Result<T> {
    let known = SETTINGS.iter().map(|setting| setting.name);
    let fix = match nearest(name, known) {
        Some(near) => format!("did you mean {near}?"),
        None => "`assay config show` lists all settings".to_owned(),
    };
    fail(Exit::Usage, format!("there is no setting {name:?}")).fix(fix)
}

/// Below this likeness (0 to 1, Jaro) a name is no misspelling of another. Clap's own bound.
const LIKENESS_LEAST: f64 = 0.7;

/// The most similar of these, if any is similar.
pub(crate) fn nearest<'a>(
    wanted: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let rated = known
        .into_iter()
        .map(|name| (strsim::jaro(wanted, name), name));
    let near = rated.filter(|(likeness, _)| *likeness > LIKENESS_LEAST);
    let best = near.max_by(|(left, _), (right, _)| left.total_cmp(right));
    best.map(|(_, name)| name)
}
