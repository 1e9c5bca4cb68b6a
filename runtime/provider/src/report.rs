//! Telling an aggregator what came of an assignment, until it has heard.

use std::collections::BTreeSet;
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
    open: Mutex<BTreeSet<AssignmentId>>,
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

    fn begin(&self, id: AssignmentId) -> bool {
        let mut open = self.open();
        let new = open.insert(id);
        self.count.send_replace(open.len());
        new
    }

    fn end(&self, id: AssignmentId) {
        let mut open = self.open();
        open.remove(&id);
        self.count.send_replace(open.len());
    }

    fn open(&self) -> MutexGuard<'_, BTreeSet<AssignmentId>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts telling what the journal says about an assignment, unless that is under way already.
pub(crate) fn send_report(shared: &Arc<Shared>, id: AssignmentId) {
    if !shared.outbox.begin(id) {
        return;
    }
    let task = Arc::clone(shared);
    shared.spawn(async move {
        let settled = tell(&task, id).await;
        if settled {
            let journal = Arc::clone(&task.journal);
            if let Err(error) = blocking(move || journal.settle(id)).await {
                tracing::warn!(assignment = %id, %error, "will be told again after the next start");
            }
        }
        task.outbox.end(id);
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
            Sent::Refused => return true,
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
    match misbehave::second_commitment(&shared.key, work) {
        Ok(request) => {
            let _ = send(shared, work.order.aggregator, request).await;
        }
        Err(error) => tracing::warn!(%error, "could not equivocate"),
    }
}
