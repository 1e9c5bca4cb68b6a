//! The only place of the harness that reads a clock: to give up, and to report.

use std::time::{Duration, Instant};

/// A point in time after which a wait is given up.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// So much time from now.
    pub fn after(patience: Duration) -> Self {
        let now = now();
        Self(now.checked_add(patience).unwrap_or(now))
    }

    /// Whether it is over.
    pub fn over(self) -> bool {
        now() >= self.0
    }
}

/// Time since it was made. For reports only: no test decides by it.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts.
    pub fn start() -> Self {
        Self(now())
    }

    /// Seconds since the start.
    pub fn seconds(self) -> f64 {
        now().duration_since(self.0).as_secs_f64()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a harness waits for real processes; what they decide is not decided here"
)]
fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970, for what is signed.
#[expect(
    clippy::disallowed_methods,
    reason = "a signed request says when it was made"
)]
pub(crate) fn now_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
