//! Performs what the core decided. Each action is a task; their number is bounded by the core's own
//! bounds on open jobs, live assignments and comparisons, and none of them ever blocks the machine.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jobs::assignment::Assignment;
use jobs::compare::{Grade, compare};
use jobs::digest::BlobRef;
use jobs::ids::{AssignmentId, JobId, ProviderId};
use jobs::statement::Signed;
use network::protocol::{AssignReply, AssignRequest, CancelRequest};
use network::trace::TraceContext;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::error::Error;
use super::openings::Looked;
use super::rows::PACKAGES;
use super::{Shared, liquidations, merge, openings, prepare, reveal};
use crate::core::event::Finding;
use crate::core::view::JobStatus;
use crate::core::{Action, Code, Core, Event};

/// How often an unanswered assignment is sent again before the core's own deadline replaces it.
const SEND_TRIES: u32 = 6;

/// Pause before the first repetition; doubled each time.
const SEND_PAUSE: Duration = Duration::from_millis(250);

/// Pause before another look whether our own network has room for an assignment.
const ROOM_PAUSE: Duration = Duration::from_millis(250);

/// How long before the core's own deadline an assignment that found no room is handed back.
const ROOM_SLACK: Duration = Duration::from_secs(3);

/// Pause before something that failed for reasons of our own is tried again; doubled each time.
const OWN_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1_000 });

/// The longest of these pauses.
const OWN_PAUSE_MAX: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 60_000 });

/// Starts every action. Money and replies are done already.
pub(crate) fn perform(actions: Vec<Action>, shared: &Arc<Shared>) {
    for action in actions {
        perform_one(action, Arc::clone(shared));
    }
}

fn perform_one(action: Action, shared: Arc<Shared>) {
    let act = Arc::clone(&shared);
    let span = shared.spans.of_action(&action);
    match action {
        Action::Journal(_) | Action::Reply { .. } | Action::OfferRefused { .. } => {}
        Action::TickAgain => spawn(&shared, async move { report(&act, Event::Tick).await }),
        Action::Prepare { job } => prepare::start(job, shared),
        Action::Dispatch(assignment) => {
            let dispatched = async move { dispatch(*assignment, &act).await };
            spawn(&shared, dispatched.instrument(span));
        }
        Action::CancelAssignment {
            assignment,
            provider,
        } => spawn(
            &shared,
            async move { cancel(assignment, provider, &act).await },
        ),
        Action::RequestReveal {
            assignment,
            provider,
        } => spawn(&shared, async move {
            let span = act.spans.of_reveal(assignment, &*act.store);
            let revealed = reveal::request(assignment, provider, &act);
            revealed.instrument(span).await
        }),
        action @ (Action::Compare { .. } | Action::Sample { .. }) => look(action, shared, span),
        action @ Action::CompareCase { .. } => liquidations::compare(action, &shared),
        Action::Merge {
            job,
            canonical,
            round,
        } => spawn(&shared, async move {
            let merge = || merge::merge((job, round), canonical.clone(), &act);
            let merged = stubborn(&act, is(job, JobStatus::Merging), merge);
            merged.instrument(span).await
        }),
        Action::Finished { job, outcome } => spawn(&shared, async move {
            act.preparing.forget(job);
            let record = || merge::record(job, outcome.clone(), &act);
            let known = move |core: &Core| core.job_status(job).is_some();
            let recorded = stubborn(&act, known, record).instrument(span).await;
            act.spans.end(job);
            recorded
        }),
        action @ (Action::Banned { .. } | Action::Fined { .. } | Action::Demoted { .. }) => {
            tell(&action);
        }
        Action::Fault { code } => {
            tracing::error!(%code, "the ledger refused what the core thought possible");
        }
    }
}

/// Says what became of a provider.
fn tell(action: &Action) {
    match action {
        Action::Banned {
            provider,
            evidence,
            slashed,
        } => tracing::warn!(%provider, ?evidence, %slashed, "provider banned"),
        Action::Fined {
            provider,
            evidence,
            fine,
        } => tracing::warn!(%provider, ?evidence, %fine, "provider fined"),
        Action::Demoted { provider, score } => {
            tracing::warn!(%provider, score, "provider demoted");
        }
        _ => {}
    }
}

/// Compares outputs, or cuts a sample of items out.
fn look(action: Action, shared: Arc<Shared>, span: Span) {
    let act = Arc::clone(&shared);
    match action {
        Action::Compare {
            job,
            shard,
            left,
            right,
            left_outputs,
            right_outputs,
            sample,
            openings,
        } => spawn(&shared, async move {
            let compared = || async {
                let outputs = (left_outputs, right_outputs);
                let finding = compared(job, outputs, sample.clone(), &act).await?;
                let looked = match &openings {
                    // What differs anyway needs no proof that it was computed.
                    Some(openings) if finding == Finding::Agree => {
                        openings::look(job, (left, right), openings, &act).await?
                    }
                    _ => Looked::Found(finding),
                };
                tell_found((job, shard), (left, right), looked, &act).await
            };
            let compared = stubborn(&act, is_open(job), compared);
            compared.instrument(span).await
        }),
        Action::Sample {
            job,
            shard,
            check,
            input,
            items,
        } => spawn(&shared, async move {
            let cut = || async {
                let _work = act.blobs.at_work();
                let event = Event::Sampled {
                    job,
                    shard,
                    check,
                    input: prepare::sample(input, items.clone(), &act).await?,
                };
                report(&act, event).await
            };
            stubborn(&act, is_open(job), cut).await
        }),
        _ => {}
    }
}

/// Reports what came of comparing two replicas.
async fn tell_found(
    (job, shard): (JobId, u32),
    (left, right): (AssignmentId, AssignmentId),
    looked: Looked,
    shared: &Shared,
) -> Result<(), Error> {
    let failed = match looked {
        Looked::Found(finding) => {
            let event = Event::Compared {
                job,
                shard,
                left,
                right,
                finding,
            };
            return report(shared, event).await;
        }
        Looked::Failed(failed) => failed,
    };
    for failed in failed {
        let other = if failed == left { right } else { left };
        let event = Event::OpeningFailed {
            job,
            shard,
            failed,
            other,
        };
        report(shared, event).await?;
    }
    Ok(())
}

/// Runs a task until it is done or the aggregator stops; what it left undone then comes back after the
/// next start.
pub(crate) fn spawn(
    shared: &Shared,
    task: impl Future<Output = Result<(), Error>> + Send + 'static,
) {
    let mut stop = shared.stop.clone();
    tokio::spawn(async move {
        let done = tokio::select! {
            done = task => done,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match done {
            Ok(()) => {}
            Err(error @ (Error::Stopping | Error::NotStored(_) | Error::Network(_))) => {
                tracing::debug!(%error, "an action came to nothing");
            }
            Err(error) => tracing::error!(%error, "an action came to nothing"),
        }
    });
}

/// Pauses that double up to a bound.
struct Backoff {
    next: Duration,
    told: bool,
}

impl Backoff {
    const fn new() -> Self {
        Self {
            next: OWN_PAUSE,
            told: false,
        }
    }

    /// The next pause, and whether it is one that was not told of yet: each length is, once.
    fn pause(&mut self) -> (Duration, bool) {
        let (pause, told) = (self.next, self.told);
        self.next = pause.saturating_mul(2).min(OWN_PAUSE_MAX);
        self.told = self.next == pause;
        (pause, !told)
    }
}

/// Whether a job is where an action about it is still wanted.
pub(crate) fn is(job: JobId, status: JobStatus) -> impl Fn(&Core) -> bool + Clone + Send {
    move |core| core.job_status(job) == Some(status)
}

/// Whether a job has not ended, so that its answers may still be looked at.
fn is_open(job: JobId) -> impl Fn(&Core) -> bool + Clone + Send {
    move |core| {
        let status = core.job_status(job);
        status.is_some_and(|status| !matches!(status, JobStatus::Done | JobStatus::Failed))
    }
}

/// Tries again what failed for reasons of our own, for as long as it is wanted and the aggregator
/// runs: a disk that is full for a day costs nobody a job that had a week.
pub(crate) async fn stubborn<F: Future<Output = Result<(), Error>>>(
    shared: &Shared,
    wanted: impl Fn(&Core) -> bool + Clone + Send + 'static,
    attempt: impl Fn() -> F,
) -> Result<(), Error> {
    let mut backoff = Backoff::new();
    loop {
        let error = match attempt().await {
            Err(error) if !matches!(error, Error::Stopping) => error,
            done => return done,
        };
        let (pause, news) = backoff.pause();
        if let Error::Network(error) = &error
            && error.is_full()
        {
            shared.collector.wake(error.lacked());
        }
        if news {
            tracing::warn!(%error, ?pause, "an action failed and is tried again and again");
        }
        tokio::time::sleep(pause).await;
        // Nothing can be stored before a restart, which asks for it anew.
        if shared.halted.load(Ordering::Relaxed) {
            return Err(error);
        }
        if !shared.handle.ask(wanted.clone()).await? {
            tracing::debug!(%error, "an action that failed is wanted no more");
            return Ok(());
        }
    }
}

/// Reports an event of the driver's own.
pub(crate) async fn report(shared: &Shared, event: Event) -> Result<(), Error> {
    shared.handle.event(event).await.map(drop)
}

/// What is sent for an assignment.
fn order(assignment: &Assignment, shared: &Shared) -> Result<AssignRequest, Error> {
    let package = PACKAGES.get(&*shared.store, &assignment.job)?;
    let package =
        package.ok_or_else(|| Error::Log(format!("{} has no package", assignment.job)))?;
    Ok(AssignRequest {
        id: assignment.id,
        assignment: Signed::sign(assignment, &shared.key)?,
        package,
        trace: TraceContext::current(),
    })
}

async fn dispatch(assignment: Assignment, shared: &Shared) -> Result<(), Error> {
    let (id, provider) = (assignment.id, assignment.provider);
    let request = match order(&assignment, shared) {
        Ok(request) => request,
        Err(error) => {
            report(shared, Event::AssignUnsent { assignment: id }).await?;
            return Err(error);
        }
    };
    let room_until = Instant::now() + shared.accept_timeout.saturating_sub(ROOM_SLACK);
    let (mut pause, mut sent) = (SEND_PAUSE, 0);
    while sent < SEND_TRIES {
        match shared.network.assign(provider, request.clone()).await {
            Ok(AssignReply::Accepted { .. }) => {
                return report(shared, Event::AssignAccepted { assignment: id }).await;
            }
            Ok(AssignReply::Refused { refusal, .. }) => {
                tracing::debug!(%provider, %refusal, "assignment refused");
                return refused(id, &format!("{:?}", refusal.code), shared).await;
            }
            // Our own bound, not its answer: a provider answers when it has the blobs, and others of
            // its assignments wait for that.
            Err(network::Error::Busy { .. }) if Instant::now() < room_until => {
                tokio::time::sleep(ROOM_PAUSE).await;
            }
            Err(network::Error::Busy { .. }) if sent == 0 => {
                tracing::debug!(%provider, assignment = %id, "no room to send an assignment");
                return report(shared, Event::AssignUnsent { assignment: id }).await;
            }
            // Sent before and unanswered: the core's deadline is about to decide.
            Err(network::Error::Busy { .. }) => return Ok(()),
            Err(error) => {
                tracing::debug!(%provider, %error, "assignment unanswered");
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2);
                sent += 1;
            }
        }
    }
    refused(id, "unreachable", shared).await
}

async fn refused(id: AssignmentId, code: &str, shared: &Shared) -> Result<(), Error> {
    let event = Event::AssignRefused {
        assignment: id,
        code: Code::new(code),
    };
    report(shared, event).await
}

async fn cancel(id: AssignmentId, provider: ProviderId, shared: &Shared) -> Result<(), Error> {
    shared
        .network
        .cancel(provider, CancelRequest { assignment: id })
        .await?;
    Ok(())
}

/// Compares two outputs under the job's comparator; of the first one only those that the second has too.
pub(crate) async fn compared(
    job: JobId,
    (left, right): (BlobRef, BlobRef),
    sample: Vec<u32>,
    shared: &Arc<Shared>,
) -> Result<Finding, Error> {
    let _permit = shared.heavy.acquire().await.map_err(|_| Error::Stopping)?;
    let worker = Arc::clone(shared);
    let compared = tokio::task::spawn_blocking(move || -> Result<Finding, Error> {
        let package = prepare::package(&worker, job)?;
        let (left, right) = (worker.blobs.read(&left)?, worker.blobs.read(&right)?);
        let (left, right) = (jobs::items::decode(&left)?, jobs::items::decode(&right)?);
        let left = prepare::sampled(&left, &sample);
        Ok(match compare(&package.comparator, &left, &right) {
            Ok(()) => Finding::Agree,
            Err(difference) if difference.grade == Grade::Ambiguous => Finding::Unclear,
            Err(_) => Finding::Differ,
        })
    });
    compared
        .await
        .unwrap_or_else(|error| Err(Error::Log(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound_and_each_is_told_once() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..8).map(|_| backoff.pause()).collect();
        let told = |ms, news| (Duration::from_millis(ms), news);
        let expected = [
            told(10, true),
            told(20, true),
            told(40, true),
            told(80, true),
            told(100, true),
            told(100, false),
            told(100, false),
            told(100, false),
        ];
        assert_eq!(pauses, expected);
    }
}
