//! What a command prints: data on stdout, talk on stderr; JSON where a program listens.

use std::io::{BufRead, IsTerminal, Read, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::exit::{Exit, Fix, fail};

/// Longest answer to a question in bytes.
const ANSWER_BYTES_MAX: u64 = 64;

/// How a command speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// One JSON value a line on stdout, nothing else there.
    pub(crate) json: bool,
    /// No talk on stderr but errors.
    pub(crate) quiet: bool,
}

impl Output {
    /// Prints a command's data: `text` for people, `value` for programs.
    pub(crate) fn data<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        let line = if self.json {
            serde_json::to_string(value)?
        } else {
            text()
        };
        let mut stdout = std::io::stdout().lock();
        let written =
            writeln!(stdout, "{}", line.trim_end_matches('\n')).and_then(|()| stdout.flush());
        match written {
            // Whoever reads has read enough, as `head` does.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }

    /// Says something to a person.
    pub(crate) fn say(self, text: impl std::fmt::Display) {
        if !self.quiet {
            // Nobody to talk to is no reason to stop.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// Asks whether to go on, unless told to. Without a terminal nobody can answer: that is a no.
    pub(crate) fn confirm(self, yes: bool, question: &str) -> anyhow::Result<()> {
        if yes {
            return Ok(());
        }
        let refused = |reason: &str| fail(Exit::Usage, reason).fix("say --yes");
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return refused(&format!("{question} There is no terminal to answer on"));
        }
        let mut stderr = std::io::stderr().lock();
        write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush())?;
        let mut answer = String::new();
        std::io::stdin()
            .lock()
            .take(ANSWER_BYTES_MAX)
            .read_line(&mut answer)?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => refused("not confirmed"),
        }
    }

    /// Whether somebody sits at a terminal who could be asked.
    pub(crate) fn is_watched(self) -> bool {
        !self.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// A progress bar on a terminal; silent in a pipe, where [`Output::say`] gives plain lines.
    pub(crate) fn bar(self, length: u64, what: &str) -> ProgressBar {
        if self.quiet || !std::io::stderr().is_terminal() {
            return ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template("{prefix:>12} [{bar:30}] {pos}/{len} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(length)
            .with_style(style.progress_chars("=> "))
            .with_prefix(what.to_owned())
    }
}

/// Aligns rows under their headings.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = headings.iter().map(|&heading| heading.to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&heading).chain(rows).collect();
    let width = |column: usize| {
        all.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    all.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_align() {
        let rows = [
            vec!["a".into(), "long cell".into()],
            vec!["bcd".into(), "x".into()],
        ];
        let table = super::table(&["k", "value"], &rows);
        assert_eq!(table, "k    value\na    long cell\nbcd  x");
    }
}
