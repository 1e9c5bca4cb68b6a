//! What peers say: verified here, decided by the core.

use std::sync::Arc;

use futures::future::BoxFuture;
use jobs::commitment::Commitment;
use jobs::ids::{AssignmentId, ProviderId};
use jobs::offer::Offer;
use jobs::statement::Signed;
use network::EventReceiver;
use network::protocol::{
    AssignReply, CancelReply, CommitReply, CommitRequest, FailureCode, OfferReply, OpenReply,
    Refusal, RefusalCode, RevealReply,
};
use tokio::sync::{Semaphore, watch};

use super::Shared;
use super::error::Error;
use super::handle::{Decided, Posted};
use super::prefix;
use super::rows::{ASSIGNMENTS, Row};
use crate::core::{Code, Event, Failure};

/// Peers' requests that wait for a decision at the same time; one more waits in the network's own
/// bounded queue, which answers "busy" when it is full.
const REQUESTS_MAX: usize = 64;

/// Part of the offer's life after which a provider should renew it.
const LEASE_DIVISOR: u64 = 10;

/// Takes the network's events until it stops, each in its turn: a peer's loss must neither overtake
/// what the peer said before nor be overtaken by the offer it makes when it is back. Only the wait until
/// an event is durable, and the answer, are everyone's own.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    mut events: EventReceiver,
    mut stop: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(REQUESTS_MAX));
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (Some(event), Ok(slot)) = (event, Arc::clone(&slots).acquire_owned().await) else {
            return;
        };
        let Some(rest) = take(event, &shared).await else {
            continue;
        };
        tokio::spawn(async move {
            rest.await;
            drop(slot);
        });
    }
}

/// Verifies an event and gives it its place in the machine's queue. What is left to do is to wait for
/// the decision and to answer.
pub(super) async fn take(
    event: network::Event,
    shared: &Arc<Shared>,
) -> Option<BoxFuture<'static, ()>> {
    use network::Event as Heard;
    match event {
        Heard::Connected(peer) => {
            tracing::debug!(%peer, "connected");
            None
        }
        Heard::Lost(provider) => {
            let event = Event::ProviderLost { provider };
            let posted = shared.handle.post(event, Vec::new()).await;
            Some(Box::pin(lost(provider, posted)))
        }
        Heard::OfferRequest {
            from,
            address,
            request,
            reply,
        } => {
            let posted = offer(from, prefix::of(address), &request.offer, shared);
            let shared = Arc::clone(shared);
            Some(Box::pin(async move {
                reply.send(match lease(posted, &shared).await {
                    Ok(lease_ms) => OfferReply::Accepted { lease_ms },
                    Err(refusal) => OfferReply::Refused(refusal),
                });
            }))
        }
        Heard::CommitRequest {
            from,
            request,
            reply,
        } => {
            let assignment = request.assignment();
            let posted = commit(from, request, shared);
            Some(Box::pin(async move {
                reply.send(match taken(posted).await {
                    Ok(_) => CommitReply::Ack { assignment },
                    Err(refusal) => CommitReply::Refused {
                        assignment,
                        refusal,
                    },
                });
            }))
        }
        misdirected => {
            refuse(misdirected);
            None
        }
    }
}

/// The network lets only providers be asked these; refused all the same.
fn refuse(event: network::Event) {
    use network::Event as Heard;
    let refusal = not_ours();
    match event {
        Heard::AssignRequest { request, reply, .. } => drop(reply.send(AssignReply::Refused {
            assignment: request.id,
            refusal,
        })),
        Heard::RevealRequest { request, reply, .. } => drop(reply.send(RevealReply::Refused {
            assignment: request.assignment,
            refusal,
        })),
        Heard::OpenRequest { request, reply, .. } => drop(reply.send(OpenReply::Refused {
            assignment: request.assignment,
            refusal,
        })),
        Heard::Cancel { reply, .. } => drop::<network::ReplyHandle<CancelReply>>(reply),
        _ => {}
    }
}

async fn lost(provider: ProviderId, posted: Result<Posted, Error>) {
    let decided = match posted {
        Ok(posted) => posted.decided().await,
        Err(error) => Err(error),
    };
    if let Err(error) = decided {
        tracing::debug!(%provider, %error, "a loss was not recorded");
    }
}

async fn taken(posted: Result<Posted, Refusal>) -> Result<Decided, Refusal> {
    posted?.decided().await.map_err(|error| ours(&error))
}

fn not_ours() -> Refusal {
    Refusal::new(RefusalCode::Policy, "an aggregator executes nothing")
}

fn offer(
    from: ProviderId,
    prefix: u64,
    signed: &Signed<Offer>,
    shared: &Shared,
) -> Result<Posted, Refusal> {
    let invalid = |reason: String| Refusal::new(RefusalCode::Invalid, reason);
    let verified = signed
        .verify()
        .map_err(|error| invalid(error.to_string()))?;
    let offer = verified.statement;
    if verified.signer != from || offer.provider != from {
        return Err(invalid(format!(
            "signed by {}, sent by {from}",
            verified.signer
        )));
    }
    offer.check().map_err(|error| invalid(error.to_string()))?;
    let offer = Box::new(offer);
    let posted = shared
        .handle
        .try_post(move |_| Event::Offer { offer, prefix }, Vec::new());
    posted.map_err(|error| ours(&error))
}

/// What the decision about an offer is answered with: the time after which to renew it.
async fn lease(posted: Result<Posted, Refusal>, shared: &Shared) -> Result<u64, Refusal> {
    match taken(posted).await?.offer_refused {
        Some(refusal) => Err(Refusal::new(RefusalCode::Policy, refusal.to_string())),
        None => {
            let ttl = shared.handle.ask(|core| core.config().offer_ttl_ms).await;
            Ok(ttl.map_err(|error| ours(&error))? / LEASE_DIVISOR)
        }
    }
}

fn commit(from: ProviderId, request: CommitRequest, shared: &Shared) -> Result<Posted, Refusal> {
    let (event, rows) = match request {
        CommitRequest::Committed {
            assignment,
            commitment,
        } => {
            let event = committed(from, assignment, &commitment)?;
            (event, vec![Row::Commitment(assignment, commitment)])
        }
        CommitRequest::Failed {
            assignment,
            code,
            reason,
            ..
        } => {
            tracing::info!(provider = %from, %assignment, ?code, reason = %reason.escape_debug(), "execution failed");
            let failure = failure(code);
            (
                Event::ExecutionFailed {
                    assignment,
                    failure,
                },
                Vec::new(),
            )
        }
    };
    let assignment = match &event {
        Event::Committed { commitment } => commitment.assignment,
        Event::ExecutionFailed { assignment, .. } => *assignment,
        _ => return Err(Refusal::new(RefusalCode::Internal, "no such report")),
    };
    let known = ASSIGNMENTS
        .get(&*shared.store, &assignment)
        .map_err(|error| ours(&error.into()))?;
    let Some(known) = known.filter(|known| known.provider == from) else {
        let reason = format!("assignment {assignment} was not given to {from}");
        return Err(Refusal::new(RefusalCode::Unknown, reason));
    };
    // A statement about something else must not stand as the first one about this assignment.
    if let Event::Committed { commitment } = &event
        && (commitment.job, commitment.shard) != (known.job, known.shard)
    {
        let reason = format!("assignment {assignment} is of another job or shard");
        return Err(Refusal::new(RefusalCode::Invalid, reason));
    }
    let posted = shared.handle.try_post(move |_| event, rows);
    posted.map_err(|error| ours(&error))
}

fn committed(
    from: ProviderId,
    assignment: AssignmentId,
    signed: &Signed<Commitment>,
) -> Result<Event, Refusal> {
    let invalid = |reason: String| Refusal::new(RefusalCode::Invalid, reason);
    let verified = signed
        .verify()
        .map_err(|error| invalid(error.to_string()))?;
    let commitment = verified.statement;
    if verified.signer != from || commitment.provider != from {
        return Err(invalid(format!(
            "signed by {}, sent by {from}",
            verified.signer
        )));
    }
    if commitment.assignment != assignment {
        return Err(invalid(format!(
            "the commitment is about {}",
            commitment.assignment
        )));
    }
    Ok(Event::Committed { commitment })
}

/// What the job did on every replica, as opposed to what the machine did, and what may be either's.
fn failure(code: FailureCode) -> Failure {
    let name = Code::new(&format!("{code:?}"));
    match code {
        FailureCode::Load | FailureCode::Trap | FailureCode::Guest | FailureCode::Limit => {
            Failure::Guest(name)
        }
        FailureCode::Timeout => Failure::Timeout,
        FailureCode::WorkerLost => Failure::WorkerLost,
        FailureCode::Blob | FailureCode::Cancelled | FailureCode::Internal => {
            Failure::Provider(name)
        }
    }
}

fn ours(error: &Error) -> Refusal {
    let code = match error {
        Error::Busy { .. } => RefusalCode::Busy,
        _ => RefusalCode::Internal,
    };
    tracing::debug!(%error, "a peer's report was not taken");
    Refusal::new(code, "not recorded, try again")
}
