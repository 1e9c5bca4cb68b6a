//! A clock for runs that block the thread which would look at one: a thread of its own stops what has
//! run for too long.

use crate::backend::StopFlag;
use crate::error::NnError;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long the thread sleeps when nothing is watched.
const IDLE: Duration = Duration::from_secs(3600);

/// Deadlines, and which of two equal ones came first.
type Key = (Instant, u64);

#[derive(Debug, Default)]
struct Watch {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State {
    runs: BTreeMap<Key, Arc<StopFlag>>,
    count: u64,
    /// When the thread looks again by itself. Deadlines mostly lie later than those before them, so
    /// it is hardly ever woken for one.
    wakes_at: Option<Instant>,
}

/// A watched run; no longer once this is dropped.
#[derive(Debug)]
pub(crate) struct Watched {
    watch: &'static Watch,
    key: Key,
}

/// Stops what runs under `stop` once `limit` has passed, unless the answer is dropped before.
#[allow(
    clippy::disallowed_methods,
    reason = "wall clock is a kill switch, here at its source"
)]
pub(crate) fn stop_after(limit: Duration, stop: &Arc<StopFlag>) -> Result<Watched, NnError> {
    let watch = watch()?;
    let now = Instant::now();
    let deadline = now.checked_add(limit.min(IDLE)).unwrap_or(now);
    let mut state = watch.state();
    state.count = state.count.wrapping_add(1);
    let key = (deadline, state.count);
    state.runs.insert(key, Arc::clone(stop));
    let wake = state.wakes_at.is_none_or(|at| deadline < at);
    drop(state);
    if wake {
        watch.bell.notify_one();
    }
    Ok(Watched { watch, key })
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.state().runs.remove(&self.key);
    }
}

/// The one of this process, started when first needed.
fn watch() -> Result<&'static Watch, NnError> {
    static WATCH: OnceLock<Result<&'static Watch, String>> = OnceLock::new();
    let start = || {
        let watch: &'static Watch = Box::leak(Box::default());
        std::thread::Builder::new()
            .name("nn-watch".to_owned())
            .spawn(move || watch.keep())
            .map(|_| watch)
            .map_err(|error| error.to_string())
    };
    let started = WATCH.get_or_init(start).as_ref();
    started
        .copied()
        .map_err(|error| NnError::Backend(format!("cannot start a thread: {error}")))
}

impl Watch {
    #[allow(
        clippy::disallowed_methods,
        reason = "wall clock is a kill switch, here at its source"
    )]
    fn keep(&self) {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let later = state.runs.split_off(&(now, u64::MAX));
            let over = std::mem::replace(&mut state.runs, later);
            if !over.is_empty() {
                drop(state);
                over.values().for_each(|stop| stop.stop());
                state = self.state();
                continue;
            }
            let next = state.runs.first_key_value().map(|((at, _), _)| *at);
            let next = next.unwrap_or_else(|| now.checked_add(IDLE).unwrap_or(now));
            state.wakes_at = Some(next);
            let nap = next.saturating_duration_since(now);
            state = self
                .bell
                .wait_timeout(state, nap)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_for(stop: &StopFlag) {
        while !stop.is_stopped() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_run_is_stopped_after_its_limit_however_many_longer_ones_there_are() {
        let long: Vec<_> = (0..20)
            .map(|_| {
                let stop = Arc::new(StopFlag::default());
                (stop_after(Duration::from_secs(600), &stop).unwrap(), stop)
            })
            .collect();
        for _ in 0..3 {
            let short = Arc::new(StopFlag::default());
            let _watched = stop_after(Duration::from_millis(5), &short).unwrap();
            wait_for(&short);
        }
        assert!(long.iter().all(|(_, stop)| !stop.is_stopped()));
    }

    #[test]
    fn what_is_over_is_stopped_no_more() {
        let first = Arc::new(StopFlag::default());
        drop(stop_after(Duration::from_millis(1), &first).unwrap());
        let second = Arc::new(StopFlag::default());
        let _watched = stop_after(Duration::from_millis(20), &second).unwrap();
        wait_for(&second);
        assert!(!first.is_stopped());
    }
}
