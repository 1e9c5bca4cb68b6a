//! How much memory the workers of this process hold, looked at from outside every few milliseconds.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(3);

/// Bytes of a page.
const PAGE: u64 = 4096;

/// Looks until it is dropped.
pub(crate) struct Watch {
    peak: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn start() -> Self {
        let (peak, done) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (seen, ended) = (Arc::clone(&peak), Arc::clone(&done));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let most = workers().into_iter().filter_map(resident).max();
                seen.fetch_max(most.unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(PAUSE);
            }
        });
        Self {
            peak,
            done,
            thread: Some(thread),
        }
    }

    /// The most bytes that one worker has held since the last time this was asked.
    pub(crate) fn take_peak(&self) -> u64 {
        self.peak.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Processes that this one has started and that are workers already.
fn workers() -> Vec<u32> {
    let mut found = Vec::new();
    for thread in fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(
            children
                .split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    found.retain(|pid| {
        // Between fork and exec a child is still its parent.
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command
            .split(|byte| *byte == 0)
            .any(|argument| argument == crate::WORKER_ARGUMENT.as_bytes())
    });
    found
}

fn resident(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * PAGE)
}
