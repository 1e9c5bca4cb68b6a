//! A baseline in a process of its own, which answers a line with a line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// A running baseline. Dropping it ends the process.
pub(crate) struct Baseline {
    name: String,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// What a baseline measured.
pub(crate) struct Answer {
    pub(crate) seconds: f64,
    /// Of its outputs, where it says one; see [`checksum`].
    pub(crate) sum: Option<u64>,
}

impl Baseline {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.with_context(|| name.clone())?;
        let input = child.stdin.take().context("no standard input")?;
        let output = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Self {
            name,
            child,
            input,
            output,
        })
    }

    /// Sends a line and waits for the answer.
    pub(crate) fn ask(&mut self, request: &str) -> Result<Answer> {
        writeln!(self.input, "{request}")?;
        self.answer()
    }

    /// Waits for a line: nanoseconds and perhaps a checksum.
    pub(crate) fn answer(&mut self) -> Result<Answer> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let ns = words.next().and_then(|word| word.parse::<f64>().ok());
        let Some(ns) = ns else {
            bail!("{} answered {line:?}", self.name);
        };
        let sum = words.next().map(str::parse).transpose()?;
        Ok(Answer {
            seconds: ns / 1e9,
            sum,
        })
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A checksum that both sides can say in a line.
pub(crate) fn checksum(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(byte))
    })
}
