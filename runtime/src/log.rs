//! `assay:job/log`: lines for the job's owner, never part of an output.

use serde::{Deserialize, Serialize};

use crate::bindings::assay::job;
use crate::failure::FailureKind;
use crate::limits::LimitHit;

/// Most lines a shard may log.
pub const LOG_LINES_MAX: u32 = 1024;

/// Longest line that is kept, in bytes; the rest of a longer one is cut and the cut is marked.
pub const LOG_LINE_BYTES_MAX: usize = 4096;

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For whoever wrote the job.
    Debug,
    /// Worth knowing.
    Info,
    /// Odd, and survivable.
    Warn,
    /// Wrong.
    Error,
}

/// A line that a guest logged: printable, on one line, within [`LOG_LINE_BYTES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// How loud.
    pub level: LogLevel,
    /// The text. Control characters are escaped, so that a line cannot drive a terminal.
    pub text: String,
}

impl std::fmt::Display for LogLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = match self.level {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        };
        write!(f, "{level}: {}", self.text)
    }
}

/// What a shard has logged so far.
#[derive(Debug)]
pub(crate) struct Log {
    lines: Vec<LogLine>,
    bytes: u64,
    limit_bytes: u64,
}

impl Log {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self {
            lines: Vec::new(),
            bytes: 0,
            limit_bytes,
        }
    }

    pub(crate) fn into_lines(self) -> Vec<LogLine> {
        self.lines
    }

    /// Keeps a line, or says which limit it would break.
    pub(crate) fn push(&mut self, level: LogLevel, message: &str) -> Result<(), FailureKind> {
        let wanted = self.bytes.saturating_add(message.len() as u64);
        let lines = self.lines.len() as u64;
        if wanted > self.limit_bytes {
            return Err(FailureKind::LogLimit {
                wanted,
                limit: self.limit_bytes,
            });
        }
        if lines >= u64::from(LOG_LINES_MAX) {
            return Err(FailureKind::LogLines {
                limit: LOG_LINES_MAX,
            });
        }
        self.bytes = wanted;
        let text = printable(message, LOG_LINE_BYTES_MAX);
        self.lines.push(LogLine { level, text });
        Ok(())
    }
}

/// `text` without control characters and direction marks, at most about `max` bytes long.
pub(crate) fn printable(text: &str, max: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        if shown.len() >= max {
            shown.push('…');
            break;
        }
        let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || reorders {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

impl job::log::Host for Log {
    fn log(&mut self, level: job::log::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            job::log::Level::Debug => LogLevel::Debug,
            job::log::Level::Info => LogLevel::Info,
            job::log::Level::Warn => LogLevel::Warn,
            job::log::Level::Error => LogLevel::Error,
        };
        Ok(self.push(level, &message).map_err(LimitHit)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_printable_and_cut() {
        for (text, shown) in [
            ("plain é", "plain é"),
            ("\x1b[31mred", "\\u{1b}[31mred"),
            ("two\nlines", "two\\u{a}lines"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("a\u{202e}b", "a\\u{202e}b"),
        ] {
            assert_eq!(printable(text, 100), shown);
        }
        assert_eq!(printable("abcdef", 3), "abc…");
        assert!(printable(&"\n".repeat(10_000), 100).len() < 120);
    }

    #[test]
    fn the_limits_on_bytes_and_lines_are_exact() {
        let mut log = Log::new(10);
        assert_eq!(log.push(LogLevel::Info, "12345"), Ok(()));
        assert_eq!(log.push(LogLevel::Info, "67890"), Ok(()));
        let refused = log.push(LogLevel::Info, "1").unwrap_err();
        assert_eq!(
            refused,
            FailureKind::LogLimit {
                wanted: 11,
                limit: 10
            }
        );

        let mut log = Log::new(10);
        for _ in 0..LOG_LINES_MAX {
            assert_eq!(log.push(LogLevel::Debug, ""), Ok(()));
        }
        let refused = log.push(LogLevel::Debug, "").unwrap_err();
        assert_eq!(
            refused,
            FailureKind::LogLines {
                limit: LOG_LINES_MAX
            }
        );
        assert_eq!(log.into_lines().len(), LOG_LINES_MAX as usize);
    }
}
