//! Telling an aggregator what came of an assignment, until it has heard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jobs::ids::{AggregatorId, AssignmentId};
use network::protocol::{CommitReply, CommitRequest, RefusalCode};
use tokio::sync::watch;

use crate::clock::now;
use crate::error::blocking;
use crate::journal::{REPORT_GRACE_MS, Report};
use crate::shared::Shared;
use crate::{Misbehaviour, misbehave};

/// Reports under way at the same time. While there are as many, no assignment is accepted.
pub(crate) const REPORTS_MAX: usize = 1024;

/// Pause after the first report that was not heard; doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// Longest pause between two reports. An aggregator that comes back is told at once.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The reports under way.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Each with whether it was asked for once more since it began: whoever asks may not have heard
    /// what is just being acknowledged.
    open: Mutex<BTreeMap<AssignmentId, bool>>,
    count: watch::Sender<usize>,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            open: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }

    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until everything is told.
    pub(crate) async fn empty(&self) {
        // The sender lives as long as we do.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Whether it is new; one under way is noted as asked for again.
    fn begin(&self, id: AssignmentId) -> bool {
        let mut open = self.open();
        let known = open.contains_key(&id);
        open.insert(id, known);
        self.count.send_replace(open.len());
        !known
    }

    /// Whether it is over: nobody asked again since it began.
    fn end(&self, id: AssignmentId) -> bool {
        let mut open = self.open();
        if let Some(again) = open.get_mut(&id).filter(|again| **again) {
            *again = false;
            return false;
        }
        open.remove(&id);
        self.count.send_replace(open.len());
        true
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<AssignmentId, bool>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts telling what the journal says about an assignment; if that is under way already, it is told
/// once more afterwards.
pub(crate) fn send_report(shared: &Arc<Shared>, id: AssignmentId) {
    if !shared.outbox.begin(id) {
        return;
    }
    let task = Arc::clone(shared);
    shared.spawn(async move {
        loop {
            let settled = tell(&task, id).await;
            if settled {
                let journal = Arc::clone(&task.journal);
                if let Err(error) = blocking(move || journal.settle(id)).await {
                    tracing::warn!(assignment = %id, %error, "will be told again after the next start");
                }
            }
            if task.outbox.end(id) {
                return;
            }
        }
    });
}

/// Tells until it is heard or too late. Returns whether nobody needs to be told any more.
async fn tell(shared: &Arc<Shared>, id: AssignmentId) -> bool {
    let journal = Arc::clone(&shared.journal);
    let report = match blocking(move || journal.report(id)).await {
        Ok(Some(report)) => report,
        Ok(None) => return false,
        Err(error) => {
            tracing::error!(assignment = %id, %error, "could not read what was signed");
            return false;
        }
    };
    let order = *report.order();
    let overdue = order.at.plus_ms(order.due_ms).plus_ms(REPORT_GRACE_MS);
    let request = request(&report);
    let mut pause = PAUSE_MIN;
    loop {
        // Subscribed before asking, so that an aggregator that comes back in between is noticed.
        let mut news = shared.aggregators.news();
        match send(shared, order.aggregator, request.clone()).await {
            Sent::Heard => {
                equivocate(shared, &report).await;
                return true;
            }
            Sent::Refused => {
                shared.owed.settle(id);
                return true;
            }
            Sent::Closed => return false,
            Sent::Unheard => {}
        }
        if now() > overdue {
            tracing::warn!(assignment = %id, "the aggregator never heard what came of it");
            return true;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = news.changed() => {}
        }
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
}

enum Sent {
    /// Acknowledged.
    Heard,
    /// Refused for good.
    Refused,
    /// Not heard, or not recorded: to be told again.
    Unheard,
    /// The network is shut down.
    Closed,
}

async fn send(shared: &Shared, aggregator: AggregatorId, request: CommitRequest) -> Sent {
    let assignment = request.assignment();
    match shared.client.commit(aggregator, request).await {
        Ok(CommitReply::Ack { .. }) => {
            tracing::debug!(%assignment, %aggregator, "told");
            Sent::Heard
        }
        Ok(CommitReply::Refused { refusal, .. }) if is_passing(refusal.code) => {
            tracing::debug!(%assignment, %aggregator, %refusal, "not recorded");
            Sent::Unheard
        }
        Ok(CommitReply::Refused { refusal, .. }) => {
            tracing::warn!(%assignment, %aggregator, %refusal, "the aggregator does not take it");
            Sent::Refused
        }
        Err(network::Error::Closed) => Sent::Closed,
        Err(error) => {
            tracing::debug!(%assignment, %aggregator, %error, "not heard");
            Sent::Unheard
        }
    }
}

/// Whether the same report may be taken later.
const fn is_passing(code: RefusalCode) -> bool {
    matches!(
        code,
        RefusalCode::Busy
            | RefusalCode::Unanswered
            | RefusalCode::Capacity
            | RefusalCode::Unavailable
            | RefusalCode::Internal
    )
}

fn request(report: &Report) -> CommitRequest {
    match report {
        Report::Work(work) => CommitRequest::Committed {
            assignment: work.order.assignment,
            commitment: work.commitment.clone(),
        },
        Report::Failed(failed) => {
            let order = failed.order;
            let reason = failed.reason.clone();
            CommitRequest::failed(order.assignment, order.job, failed.code, reason)
        }
    }
}

/// What an equivocating provider sends after its commitment: another one.
async fn equivocate(shared: &Shared, report: &Report) {
    let (Some(Misbehaviour::Equivocate), Report::Work(work)) = (shared.misbehaves(), report) else {
        return;
    };
    match misbehave::statements::second_commitment(&shared.key, work) {
        Ok(request) => {
            let _ = send(shared, work.order.aggregator, request).await;
        }
        Err(error) => tracing::warn!(%error, "could not equivocate"),
    }
}

#[cfg(test)]
mod tests {
    use jobs::digest::Digest;

    use super::*;

    #[test]
    fn what_is_asked_for_while_it_is_told_is_told_once_more() {
        let (outbox, id) = (Outbox::new(), AssignmentId(Digest::of(b"one")));
        assert!(outbox.begin(id));
        assert!(!outbox.begin(id) && !outbox.begin(id), "under way");
        assert!(!outbox.end(id), "asked for meanwhile");
        assert_eq!(outbox.count(), 1);
        assert!(outbox.end(id));
        assert_eq!(outbox.count(), 0);
        assert!(outbox.begin(id), "new again");
    }
}
