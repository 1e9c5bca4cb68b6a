//! Performs what the core decided. Each action is a task; their number is bounded by the core's own
//! bounds on open jobs, live assignments and comparisons, and none of them ever blocks the machine.

use std::sync::Arc;
use std::time::Duration;

use jobs::assignment::Assignment;
use jobs::compare::compare;
use jobs::digest::BlobRef;
use jobs::ids::{AssignmentId, JobId, ProviderId};
use jobs::statement::Signed;
use network::protocol::{AssignReply, AssignRequest, CancelRequest};

use super::error::Error;
use super::rows::PACKAGES;
use super::{Shared, merge, prepare, reveal};
use crate::core::{Action, Code, Event};

/// How often an unanswered assignment is sent again before the core's own deadline replaces it.
const SEND_TRIES: u32 = 6;

/// Pause before the first repetition; doubled each time.
const SEND_PAUSE: Duration = Duration::from_millis(250);

/// How often something that failed for reasons of our own is tried.
const OWN_TRIES: u32 = 6;

/// Pause before the first of these repetitions; doubled each time.
const OWN_PAUSE: Duration = Duration::from_secs(1);

/// Starts every action. Money and replies are done already.
pub(crate) fn perform(actions: Vec<Action>, shared: &Arc<Shared>) {
    for action in actions {
        perform_one(action, Arc::clone(shared));
    }
}

fn perform_one(action: Action, shared: Arc<Shared>) {
    let act = Arc::clone(&shared);
    match action {
        Action::Journal(_) | Action::Reply { .. } | Action::OfferRefused { .. } => {}
        Action::TickAgain => spawn(&shared, async move { report(&act, Event::Tick).await }),
        Action::Prepare { job } => prepare::start(job, shared),
        Action::Dispatch(assignment) => {
            spawn(&shared, async move { dispatch(*assignment, &act).await });
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
            reveal::request(assignment, provider, &act).await
        }),
        Action::Compare {
            job,
            shard,
            left,
            right,
            left_outputs,
            right_outputs,
        } => {
            spawn(&shared, async move {
                let sides = (left_outputs, right_outputs);
                let agree = stubborn(|| agree(job, sides.0, sides.1, &act)).await?;
                let event = Event::Compared {
                    job,
                    shard,
                    left,
                    right,
                    agree,
                };
                report(&act, event).await
            });
        }
        Action::Merge { job, canonical } => spawn(&shared, async move {
            stubborn(|| merge::merge(job, canonical.clone(), &act)).await
        }),
        Action::Finished { job, outcome } => spawn(&shared, async move {
            stubborn(|| merge::record(job, outcome.clone(), &act)).await
        }),
        Action::Banned {
            provider,
            evidence,
            slashed,
        } => {
            tracing::warn!(%provider, ?evidence, %slashed, "provider banned");
        }
        Action::Demoted { provider, score } => {
            tracing::warn!(%provider, score, "provider demoted");
        }
        Action::Fault { code } => {
            tracing::error!(%code, "the ledger refused what the core thought possible");
        }
    }
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

/// Tries again what failed for reasons of our own, so that a disk that is full for a moment does not
/// cost anybody a job.
async fn stubborn<T, F: Future<Output = Result<T, Error>>>(
    attempt: impl Fn() -> F,
) -> Result<T, Error> {
    let mut pause = OWN_PAUSE;
    for _ in 1..OWN_TRIES {
        match attempt().await {
            Err(error) if !matches!(error, Error::Stopping | Error::NotStored(_)) => {
                tracing::warn!(%error, ?pause, "an action failed and is tried again");
            }
            done => return done,
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2);
    }
    attempt().await
}

/// Reports an event of the driver's own.
pub(crate) async fn report(shared: &Shared, event: Event) -> Result<(), Error> {
    shared.handle.event(event).await.map(drop)
}

async fn dispatch(assignment: Assignment, shared: &Shared) -> Result<(), Error> {
    let (id, provider) = (assignment.id, assignment.provider);
    let package = PACKAGES.get(&*shared.store, &assignment.job)?;
    let package =
        package.ok_or_else(|| Error::Log(format!("{} has no package", assignment.job)))?;
    let signed = Signed::sign(&assignment, &shared.key)?;
    let request = AssignRequest {
        id,
        assignment: signed,
        package,
    };
    let mut pause = SEND_PAUSE;
    for _ in 0..SEND_TRIES {
        match shared.network.assign(provider, request.clone()).await {
            Ok(AssignReply::Accepted { .. }) => {
                return report(shared, Event::AssignAccepted { assignment: id }).await;
            }
            Ok(AssignReply::Refused { refusal, .. }) => {
                tracing::debug!(%provider, %refusal, "assignment refused");
                let code = Code::new(&format!("{:?}", refusal.code));
                return report(
                    shared,
                    Event::AssignRefused {
                        assignment: id,
                        code,
                    },
                )
                .await;
            }
            Err(error) => {
                tracing::debug!(%provider, %error, "assignment unanswered");
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2);
            }
        }
    }
    let code = Code::new("unreachable");
    report(
        shared,
        Event::AssignRefused {
            assignment: id,
            code,
        },
    )
    .await
}

async fn cancel(id: AssignmentId, provider: ProviderId, shared: &Shared) -> Result<(), Error> {
    shared
        .network
        .cancel(provider, CancelRequest { assignment: id })
        .await?;
    Ok(())
}

/// Whether two outputs agree under the job's comparator.
async fn agree(
    job: JobId,
    left: BlobRef,
    right: BlobRef,
    shared: &Arc<Shared>,
) -> Result<bool, Error> {
    let _permit = shared.heavy.acquire().await.map_err(|_| Error::Stopping)?;
    let worker = Arc::clone(shared);
    let compared = tokio::task::spawn_blocking(move || -> Result<bool, Error> {
        let package = prepare::package(&worker, job)?;
        let (left, right) = (worker.blobs.read(&left)?, worker.blobs.read(&right)?);
        let (left, right) = (jobs::items::decode(&left)?, jobs::items::decode(&right)?);
        Ok(compare(&package.comparator, &left, &right).is_ok())
    });
    compared.await.map_err(|_| Error::Stopping)?
}
