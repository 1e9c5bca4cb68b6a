//! How long each stage took and how much memory its largest process used.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::resource::{UsageWho, getrusage};

/// The stages run so far, in order.
#[derive(Debug, Default)]
pub(crate) struct Stages(Vec<Stage>);

#[derive(Debug)]
struct Stage {
    name: String,
    wall: Duration,
    /// Resident set of the largest single child process so far, in KiB. The kernel keeps only the
    /// running maximum, so a stage that did not raise it shows the figure of an earlier one.
    peak_kib: i64,
    ok: bool,
}

impl Stages {
    /// Runs one stage, announces it and remembers its cost whether it succeeds or not.
    pub(crate) fn run<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("xtask: {name}");
        let start = now();
        let result = work();
        self.0.push(Stage {
            name: name.to_owned(),
            wall: now().duration_since(start),
            peak_kib: getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0, |u| u.max_rss()),
            ok: result.is_ok(),
        });
        result
    }

    /// Prints the table to standard error; nothing if no stage ran.
    pub(crate) fn report(&self) {
        if self.0.is_empty() {
            return;
        }
        eprintln!("\n{:<44} {:>9}  {:>12}", "stage", "wall", "peak so far");
        for s in &self.0 {
            let mark = if s.ok { "" } else { "  FAILED" };
            eprintln!(
                "{:<44} {:>7.1} s  {:>8} MiB{mark}",
                s.name,
                s.wall.as_secs_f64(),
                s.peak_kib / 1024
            );
        }
        let wall: Duration = self.0.iter().map(|s| s.wall).sum();
        let peak = self.0.iter().map(|s| s.peak_kib).max().unwrap_or(0);
        eprintln!(
            "{:<44} {:>7.1} s  {:>8} MiB",
            "total (largest single process)",
            wall.as_secs_f64(),
            peak / 1024
        );
    }
}

/// The one place of this crate that reads a clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a stage's wall time is what this module is for; nothing decides by it"
)]
fn now() -> Instant {
    Instant::now()
}
