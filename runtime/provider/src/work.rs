//! One assignment, from its blobs to its commitment.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use jobs::assignment::Assignment;
use jobs::commitment::{Commitment, Opening};
use jobs::ids::ProviderId;
use jobs::outcome::Outcome;
use jobs::package::Package;
use jobs::receipt::Receipt;
use jobs::statement::Signed;
use network::protocol::{AssignReply, FailureCode};
use network::trace::TARGET;
use runtime::{Failure, FailureKind, Noting, ShardOutcome, ShardTask};
use tracing::{Instrument, info_span};

use crate::admission::Admitted;
use crate::book::Asked;
use crate::clock::now;
use crate::desk::{Halt, Ticket};
use crate::error::blocking;
use crate::fetch::{Materials, fetch};
use crate::journal::{Failed, Order, REPORT_GRACE_MS, Work};
use crate::report::send_report;
use crate::shared::Shared;
use crate::{Error, Misbehaviour, Refused, misbehave};

/// Why there is no outcome: for programs and for people.
pub(crate) type Reason = (FailureCode, String);

/// Carries one assignment from acceptance to the journal, and starts its report. Everyone who waits
/// on the ticket hears whether it was accepted.
pub(crate) async fn carry(shared: Arc<Shared>, admitted: Admitted, ticket: Ticket) {
    let id = admitted.assignment.id;
    let materials = match accept(&shared, &admitted, &ticket).await {
        Ok(materials) => materials,
        Err(refused) => {
            shared.note_refused();
            tracing::info!(assignment = %id, code = refused.code(), reason = %refused, "assignment refused");
            return ticket.answer(AssignReply::Refused {
                assignment: id,
                refusal: refused.to_refusal(),
            });
        }
    };
    ticket.runs();
    ticket.answer(AssignReply::Accepted { assignment: id });
    tracing::info!(assignment = %id, shard = admitted.assignment.shard, "accepted");
    let executing = info_span!(target: TARGET, "execute");
    let result = tokio::select! {
        result = perform(&shared, &admitted, materials).instrument(executing) => result,
        halt = ticket.halted() => Err(halted(halt)),
    };
    let committing = info_span!(target: TARGET, "commit", failed = result.is_err());
    let concluded = async {
        match result {
            Ok(done) => conclude(&shared, &admitted, done).await,
            Err(reason) => fail(&shared, &admitted, reason).await,
        }
    };
    let concluded = concluded.instrument(committing).await;
    match concluded {
        // Begun before the place is free, so that a stop sees one or the other.
        Ok(()) => send_report(&shared, id),
        // What is on the disk is unknown, so nothing may be said until the next start has looked.
        Err(error) => tracing::error!(assignment = %id, %error, "could not be written down"),
    }
    drop(ticket);
}

/// Fetches the blobs and writes down that the assignment was accepted.
async fn accept(
    shared: &Arc<Shared>,
    admitted: &Admitted,
    ticket: &Ticket,
) -> Result<Materials, Refused> {
    let fetching = info_span!(target: TARGET, "fetch");
    let materials = tokio::select! {
        fetched = fetch(shared, admitted).instrument(fetching) => fetched?,
        halt = ticket.halted() => return Err(match halt {
            Halt::Cancelled => Refused::Cancelled,
            Halt::Stopping => Refused::Stopping,
            Halt::Aborted => Refused::Aborted,
        }),
    };
    let (journal, order) = (Arc::clone(&shared.journal), order(&admitted.assignment));
    let written = blocking(move || journal.accept(order)).await;
    written.map_err(|error| {
        tracing::error!(%error, "could not write down an assignment");
        Refused::Internal
    })?;
    Ok(materials)
}

fn halted(halt: Halt) -> Reason {
    match halt {
        Halt::Cancelled => (FailureCode::Cancelled, "cancelled".into()),
        Halt::Stopping => (FailureCode::Internal, "the provider stops".into()),
        Halt::Aborted => (FailureCode::Internal, "the operator aborted it".into()),
    }
}

/// Executes the shard, or does what a misbehaving provider does instead.
async fn perform(
    shared: &Arc<Shared>,
    admitted: &Admitted,
    materials: Materials,
) -> Result<ShardOutcome, Reason> {
    match shared.misbehaves() {
        None => execute(shared, admitted, materials).await,
        Some(kind) => misbehave::acts::perform(kind, shared, admitted, materials).await,
    }
}

pub(crate) async fn execute(
    shared: &Arc<Shared>,
    admitted: &Admitted,
    materials: Materials,
) -> Result<ShardOutcome, Reason> {
    let (assignment, package) = (&admitted.assignment, &admitted.package);
    let task = ShardTask {
        job: assignment.job,
        shard: assignment.shard,
        first_item: u64::from(assignment.first_item),
        component: materials.component,
        models: materials.models,
        device: admitted.device,
        cpu_nodes: package.cpu_nodes,
        noting: Noting::of(package),
        limits: package.limits,
    };
    let executed = shared.pool.execute(task, materials.items).await;
    let done = executed.map_err(|failure| reason_of(assignment, &failure))?;
    check_outputs(package, assignment.items, &done.outputs)?;
    Ok(done)
}

/// Outputs that do not fit the package, or do not even agree with themselves (NaN), are the job's
/// failure on every replica; committing to them would be counted as a lie, or could not be judged.
fn check_outputs(package: &Package, items: u32, outputs: &[u8]) -> Result<(), Reason> {
    let guest = |reason: String| (FailureCode::Guest, reason);
    let outputs = jobs::output::decode(package, items, outputs);
    let outputs = outputs.map_err(|error| guest(error.to_string()))?;
    jobs::compare::compare(&package.comparator, &outputs, &outputs)
        .map_err(|reason| guest(format!("an output is not equal to itself: {reason}")))
}

fn reason_of(assignment: &Assignment, failure: &Failure) -> Reason {
    tracing::warn!(assignment = %assignment.id, cause = ?failure.cause(), %failure, "execution failed");
    (code_of(&failure.kind), failure.to_string())
}

/// The code of a failure. Equal failures have equal codes on every provider; what the guest caused
/// has a code of its own (`Load`, `Trap`, `Guest`, `Limit`), and so has what it may have caused
/// (`Timeout`, `WorkerLost`).
pub(crate) const fn code_of(kind: &FailureKind) -> FailureCode {
    match kind {
        FailureKind::Guest { .. } => FailureCode::Guest,
        FailureKind::Component { .. }
        | FailureKind::ModelRefused { .. }
        | FailureKind::Task { .. } => FailureCode::Load,
        FailureKind::Trap { .. } => FailureCode::Trap,
        FailureKind::FuelExhausted { .. }
        | FailureKind::MemoryLimit { .. }
        | FailureKind::TableLimit { .. }
        | FailureKind::InstanceLimit { .. }
        | FailureKind::StackLimit { .. }
        | FailureKind::HostcallLimit { .. }
        | FailureKind::HandleLimit { .. }
        | FailureKind::ResourceLimit { .. }
        | FailureKind::OutputLimit { .. }
        | FailureKind::OutputCount { .. }
        | FailureKind::LogLimit { .. }
        | FailureKind::LogLines { .. }
        | FailureKind::NotesLimit { .. } => FailureCode::Limit,
        FailureKind::Deadline { .. } => FailureCode::Timeout,
        FailureKind::Blob { .. } => FailureCode::Blob,
        FailureKind::WorkerLost { .. } => FailureCode::WorkerLost,
        FailureKind::Device { .. } | FailureKind::Engine { .. } | FailureKind::Busy { .. } => {
            FailureCode::Internal
        }
    }
}

fn order(assignment: &Assignment) -> Order {
    Order {
        assignment: assignment.id,
        job: assignment.job,
        aggregator: assignment.aggregator,
        at: now(),
        due_ms: assignment.due_ms,
    }
}

/// Stores the outputs and makes the one statement about them, on disk before anyone hears of it.
async fn conclude(
    shared: &Arc<Shared>,
    admitted: &Admitted,
    done: ShardOutcome,
) -> Result<(), Error> {
    let (task, admitted_too) = (Arc::clone(shared), admitted.clone());
    let signed = blocking(move || {
        let Admitted {
            assignment,
            package,
            price,
            ..
        } = admitted_too;
        let (id, order) = (assignment.id, order(&assignment));
        let asked = Asked::of(order.at, &assignment, price, done.outcome.meters);
        // Pinned until the journal says that they are needed.
        let _pins = task.cache.pin([done.outcome.outputs]);
        task.cache.put(&done.outputs)?;
        if let (Some(noted), Some(trace)) = (&done.outcome.noted, &done.trace) {
            task.traces.put(id, noted, trace)?;
        }
        task.journal.sign_once(id, || match task.misbehaves() {
            Some(Misbehaviour::Copy) => misbehave::statements::unopenable(
                &task.key,
                order,
                assignment,
                package,
                done.outcome,
            ),
            _ => sign(&task.key, order, assignment, package, done.outcome),
        })?;
        if let Err(error) = task.book.add(&asked) {
            tracing::warn!(%error, "what was asked is missing in the book");
        }
        Ok(())
    });
    match signed.await {
        Ok(()) => {
            let Order {
                assignment,
                at,
                due_ms,
                ..
            } = order(&admitted.assignment);
            let until = at.plus_ms(due_ms).plus_ms(REPORT_GRACE_MS);
            shared.owed.add(assignment, until);
            Ok(())
        }
        Err(error) => {
            tracing::error!(assignment = %admitted.assignment.id, %error, "could not commit");
            let reason = (
                FailureCode::Internal,
                "the outcome could not be kept".into(),
            );
            fail(shared, admitted, reason).await
        }
    }
}

/// Commitment, opening and receipt of an outcome, which hash together.
pub(crate) fn sign(
    key: &SigningKey,
    order: Order,
    assignment: Assignment,
    package: Package,
    outcome: Outcome,
) -> Result<Work, Error> {
    let provider = ProviderId(key.verifying_key().to_bytes());
    let opening = Opening {
        nonce: nonce()?,
        outcome,
    };
    let Assignment { id, job, shard, .. } = assignment;
    let commitment = Commitment::bind(id, job, shard, provider, &opening);
    let receipt = Receipt {
        assignment,
        package,
        commitment,
        opening: opening.clone(),
    };
    Ok(Work {
        order,
        commitment: Signed::sign(&commitment, key)?,
        opening,
        receipt: receipt.sign(key)?,
    })
}

/// Thirty-two bytes that nobody can guess.
pub(crate) fn nonce() -> Result<[u8; 32], Error> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(Error::Random)?;
    Ok(nonce)
}

async fn fail(shared: &Arc<Shared>, admitted: &Admitted, reason: Reason) -> Result<(), Error> {
    let (code, reason) = reason;
    let failed = Failed {
        order: order(&admitted.assignment),
        code,
        reason: reason.chars().take(REASON_CHARS_MAX).collect(),
    };
    let journal = Arc::clone(&shared.journal);
    blocking(move || journal.fail(failed)).await
}

/// Longest reason that is written down, in characters: as much as can be sent.
const REASON_CHARS_MAX: usize = network::protocol::REASON_MAX;

#[cfg(test)]
mod tests;
