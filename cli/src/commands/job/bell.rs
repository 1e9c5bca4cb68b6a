//! When to look at a job again: as soon as the aggregator says that something happened to it.

use std::time::Duration;

use api::client::{Client, Events};
use api::feed::EventId;
use jobs::ids::JobId;
use tokio::time::{Instant, sleep, timeout};

/// Least pause between two looks, in which events gather.
const PAUSE: Duration = Duration::from_millis(200);

/// Longest pause, whatever is said or not said.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Pause before events are asked for again where there were none to be had; until then the job is looked at each
/// [`PAUSE`].
const WITHOUT: Duration = Duration::from_secs(5);

/// Events that are taken together.
const EVENTS_MAX: usize = 10_000;

/// Rings when something happened to a job.
#[derive(Debug, Default)]
pub(super) struct Bell {
    events: Option<Events>,
    last: Option<EventId>,
    /// When to ask for events again.
    again: Option<Instant>,
}

impl Bell {
    /// Waits until it is worth looking.
    pub(super) async fn wait(&mut self, client: &Client, job: JobId) {
        sleep(PAUSE).await;
        if self.events.is_none() {
            if self.again.is_some_and(|again| Instant::now() < again) {
                return;
            }
            match client.events(job, self.last).await {
                Ok(events) => self.events = Some(events),
                Err(error) => {
                    tracing::debug!(%error, "no events: the job is looked at again and again");
                    self.again = Some(Instant::now() + WITHOUT);
                    return;
                }
            }
        }
        let mut patience = PAUSE_MAX;
        for _ in 0..EVENTS_MAX {
            let Some(events) = &mut self.events else {
                return;
            };
            match timeout(patience, events.next()).await {
                Err(_) => return,
                Ok(Ok(Some(told))) => self.last = told.id.or(self.last),
                // It ended, or broke off: what comes next is asked for when it is wanted.
                Ok(_) => self.events = None,
            }
            // What is there already rings the same bell.
            patience = Duration::ZERO;
        }
    }
}
