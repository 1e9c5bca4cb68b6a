//! What peers ask: assignments, reveals, openings and cancellations.

use std::sync::Arc;

use jobs::commitment::Reveal;
use jobs::ids::{AggregatorId, AssignmentId};
use network::protocol::{
    AssignReply, AssignRequest, CancelReply, CommitReply, OfferReply, Refusal, RefusalCode,
    RevealReply,
};
use network::trace::TARGET;
use network::{Event, EventReceiver};
use tokio::sync::Semaphore;
use tracing::{Instrument, info_span};

use crate::admission::{self, Admitted};
use crate::clock::now;
use crate::desk::{Seat, Standing, Ticket};
use crate::error::blocking;
use crate::journal::{Known, Report};
use crate::report::{REPORTS_MAX, send_report};
use crate::shared::Shared;
use crate::{Refused, traces, work};

/// Requests being answered at the same time; one more waits in the network's own bounded queue,
/// which answers "busy" when it is full.
const REQUESTS_MAX: usize = 64;

/// Takes the network's events until it stops.
pub(crate) async fn serve(shared: Arc<Shared>, mut events: EventReceiver) {
    let slots = Arc::new(Semaphore::new(REQUESTS_MAX));
    while let Some(event) = events.recv().await {
        // Who comes and goes is noted in order.
        match event {
            Event::Connected(peer) => {
                shared.aggregators.connected(peer);
                continue;
            }
            Event::Lost(peer) => {
                shared.aggregators.lost(peer);
                continue;
            }
            _ => {}
        }
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let task = Arc::clone(&shared);
        shared.spawn(async move {
            take(event, &task).await;
            drop(slot);
        });
    }
}

async fn take(event: Event, shared: &Arc<Shared>) {
    match event {
        Event::Connected(_) | Event::Lost(_) => {}
        Event::AssignRequest {
            from,
            request,
            reply,
        } => {
            let span = info_span!(target: TARGET, "accept", otel.kind = "server", assignment = %request.id);
            if let Some(trace) = request.trace {
                trace.follow(&span);
            }
            let answer = assign(from, request, shared).instrument(span).await;
            reply.send(answer);
        }
        Event::RevealRequest {
            from,
            request,
            reply,
        } => {
            let id = request.assignment;
            let span = info_span!(target: TARGET, "reveal", otel.kind = "server", assignment = %id);
            if let Some(trace) = request.trace {
                trace.follow(&span);
            }
            let answer = reveal(from, id, shared).instrument(span).await;
            reply.send(answer);
        }
        Event::OpenRequest {
            from,
            request,
            reply,
        } => {
            reply.send(traces::open(from, request, shared).await);
        }
        Event::Cancel {
            from,
            request,
            reply,
        } => {
            reply.send(cancel(from, request.assignment, shared));
        }
        // The network lets only aggregators be asked these; refused all the same.
        Event::OfferRequest { reply, .. } => {
            reply.send(OfferReply::Refused(not_ours()));
        }
        Event::CommitRequest { request, reply, .. } => {
            reply.send(CommitReply::Refused {
                assignment: request.assignment(),
                refusal: not_ours(),
            });
        }
    }
}

fn not_ours() -> Refusal {
    Refusal::new(RefusalCode::Policy, "a provider decides nothing")
}

/// Answers an assignment. The same assignment gets the same answer, and is executed once: while it
/// is under way everyone waits for one answer, and afterwards the journal knows it.
async fn assign(from: AggregatorId, request: AssignRequest, shared: &Arc<Shared>) -> AssignReply {
    let assignment = request.id;
    match decide(from, request, shared).await {
        Ok(reply) => reply,
        Err(refused) => {
            shared.note_refused();
            tracing::info!(%assignment, aggregator = %from, code = refused.code(), reason = %refused, "assignment refused");
            AssignReply::Refused {
                assignment,
                refusal: refused.to_refusal(),
            }
        }
    }
}

async fn decide(
    from: AggregatorId,
    request: AssignRequest,
    shared: &Arc<Shared>,
) -> Result<AssignReply, Refused> {
    let id = request.id;
    let standing = standing(from, id, shared)?;
    // Who sent it is checked before anything is said about it.
    let admitted = admission::admit(&shared.terms(), from, &request)?;
    if ended(id, from, shared)? {
        return Ok(AssignReply::Accepted { assignment: id });
    }
    let mut answer = match shared.desk.sit(id, from, standing) {
        Seat::Joined(answer) => answer,
        Seat::Anothers => return Err(Refused::Anothers),
        Seat::Full { held, most } => return Err(Refused::Capacity { held, most }),
        Seat::ShareFull { held, most } => return Err(Refused::Share { held, most }),
        Seat::Taken(ticket) => {
            // It may have ended between the first look and the seat.
            if ended(id, from, shared)? {
                return Ok(AssignReply::Accepted { assignment: id });
            }
            start(ticket, admitted, shared)?
        }
    };
    let decided = answer.wait_for(Option::is_some).await;
    let reply = decided.ok().and_then(|reply| reply.clone());
    reply.ok_or(Refused::Internal)
}

/// How the aggregator stands here. A new assignment is taken only from who may hold an offer of ours;
/// about one that it gave us before it may ask for ever.
fn standing(from: AggregatorId, id: AssignmentId, shared: &Shared) -> Result<Standing, Refused> {
    let known = || shared.journal.known(id).is_some() || shared.desk.holds(id);
    match shared.aggregators.standing(from, now()) {
        Some(standing) => Ok(standing),
        None if known() => Ok(Standing::Found),
        None => Err(Refused::NoOffer {
            from: from.to_string(),
        }),
    }
}

/// Whether the assignment has ended here; if so, what came of it is told once more, to whom it was
/// promised.
fn ended(id: AssignmentId, from: AggregatorId, shared: &Arc<Shared>) -> Result<bool, Refused> {
    if shared.journal.is_anothers(id, from) {
        return Err(Refused::Anothers);
    }
    Ok(match shared.journal.known(id) {
        Some(Known::Signed | Known::Failed) => {
            tracing::debug!(assignment = %id, "delivered again, answered again");
            send_report(shared, id);
            true
        }
        Some(Known::Sealed) => true,
        Some(Known::Accepted) | None => false,
    })
}

fn start(
    ticket: Ticket,
    admitted: Admitted,
    shared: &Arc<Shared>,
) -> Result<tokio::sync::watch::Receiver<crate::desk::Answer>, Refused> {
    if shared.is_ending() {
        return Err(Refused::Stopping);
    }
    if let Some(rest) = shared.rest() {
        let why = rest.to_string();
        return Err(Refused::Resting { why });
    }
    if let Some(what) = shared.journal.full() {
        return Err(Refused::JournalFull { what });
    }
    if admitted.package.openings.is_some() && !has_room_to_note(shared)? {
        let what = "values noted for openings";
        return Err(Refused::JournalFull { what });
    }
    if shared.outbox.count() >= REPORTS_MAX {
        let what = "reports that nobody takes";
        return Err(Refused::JournalFull { what });
    }
    ticket.describe(&admitted.assignment, now());
    let answer = ticket.subscribe();
    let (assignment, shard) = (admitted.assignment.id, admitted.assignment.shard);
    let span = info_span!(target: TARGET, "shard", %assignment, shard);
    shared.spawn(work::carry(Arc::clone(shared), admitted, ticket).instrument(span));
    Ok(answer)
}

/// Whether everything that is held, and one more, could note as much as may be noted.
fn has_room_to_note(shared: &Shared) -> Result<bool, Refused> {
    let room = shared.traces.has_room_for(shared.desk.count());
    room.map_err(|error| {
        tracing::error!(%error, "could not make room for noted values");
        Refused::Internal
    })
}

/// Opens a commitment, to the aggregator it was made to.
async fn reveal(from: AggregatorId, id: AssignmentId, shared: &Arc<Shared>) -> RevealReply {
    let journal = Arc::clone(&shared.journal);
    let report = blocking(move || journal.report(id)).await;
    let (code, reason) = match report {
        Ok(Some(Report::Work(work))) if work.order.aggregator == from => {
            tracing::debug!(assignment = %id, "revealed");
            shared.owed.settle(id);
            return RevealReply::Revealed(Box::new(Reveal {
                assignment: id,
                opening: work.opening,
                receipt: work.receipt,
            }));
        }
        Ok(Some(report)) if report.order().aggregator != from => (
            RefusalCode::Policy,
            "not-the-sender: it is another aggregator's",
        ),
        Ok(Some(_)) => (RefusalCode::State, "failed: it has no outcome"),
        Ok(None) if shared.journal.known(id).is_some() => (
            RefusalCode::State,
            "not-committed: there is nothing to open",
        ),
        Ok(None) => (RefusalCode::Unknown, "unknown: never accepted"),
        Err(error) => {
            tracing::error!(assignment = %id, %error, "could not reveal");
            (RefusalCode::Internal, "internal: the provider failed")
        }
    };
    RevealReply::Refused {
        assignment: id,
        refusal: Refusal::new(code, reason),
    }
}

/// Stops an assignment. One that has ended needs no stopping.
fn cancel(from: AggregatorId, id: AssignmentId, shared: &Shared) -> CancelReply {
    let stopped = shared.desk.cancel(id, from);
    if stopped.is_none() && !shared.journal.is_anothers(id, from) {
        // Nobody will ask what it came to.
        shared.owed.settle(id);
    }
    match stopped {
        Some(false) => CancelReply::Refused {
            assignment: id,
            refusal: Refusal::new(
                RefusalCode::Policy,
                "not-the-sender: it is another aggregator's",
            ),
        },
        Some(true) | None => CancelReply::Cancelled { assignment: id },
    }
}
