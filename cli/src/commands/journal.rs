//! `assay ledger journal` and `assay ledger export`: every movement of money, in order.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use api::client::Client;
use api::types::{JOURNAL_PAGE_MAX, JournalView};
use clap::ValueEnum;
use serde_json::json;

use crate::output::{Output, table};

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A line an entry, values separated by commas, with a line of headings.
    Csv,
    /// A JSON object a line.
    Jsonl,
}

/// Shows a page.
pub(crate) async fn page(client: &Client, after: u64, limit: usize, output: Output) -> Result<()> {
    let entries = client.journal(after, limit).await?;
    output.data(&entries, || {
        let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
        table(&HEADINGS, &rows)
    })
}

const HEADINGS: [&str; 7] = ["entry", "kind", "amount", "from", "to", "pending", "id"];

fn row(entry: &JournalView) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    vec![
        entry.seq.to_string(),
        entry.kind.clone(),
        entry
            .amount
            .map(|amount| amount.to_string())
            .unwrap_or_default(),
        text(&entry.from),
        text(&entry.to),
        entry.pending.map(|id| id.to_string()).unwrap_or_default(),
        entry.id.to_string(),
    ]
}

/// Writes the whole journal into a new file, whole or not at all.
pub(crate) async fn export(
    client: &Client,
    out: &Path,
    format: Format,
    output: Output,
) -> Result<()> {
    let part = partial(out);
    let written = write(client, &part, format, output).await;
    if written.is_err() {
        // Half an export is worse than none.
        let _ = std::fs::remove_file(&part);
    }
    let entries = written?;
    std::fs::rename(&part, out).with_context(|| out.display().to_string())?;
    output.data(&json!({ "entries": entries, "out": out }), || {
        format!("{entries} entries in {}", out.display())
    })
}

async fn write(client: &Client, part: &Path, format: Format, output: Output) -> Result<u64> {
    let named = || part.display().to_string();
    let mut file = BufWriter::new(File::create(part).with_context(named)?);
    if format == Format::Csv {
        writeln!(file, "{}", HEADINGS.join(",")).with_context(named)?;
    }
    let bar = output.bar(0, "export");
    let mut last = 0;
    loop {
        let page = client.journal(last, JOURNAL_PAGE_MAX).await?;
        let Some(end) = page.last() else { break };
        last = end.seq;
        for entry in &page {
            match format {
                // No value has a comma or a quote in it: they are numbers, digests and names of accounts.
                Format::Csv => writeln!(file, "{}", row(entry).join(",")),
                Format::Jsonl => writeln!(file, "{}", serde_json::to_string(entry)?),
            }
            .with_context(named)?;
        }
        bar.set_length(last);
        bar.set_position(last);
    }
    bar.finish_and_clear();
    let file = file
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error);
    file.and_then(|file| file.sync_all()).with_context(named)?;
    Ok(last)
}

fn partial(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    out.with_file_name(name)
}
