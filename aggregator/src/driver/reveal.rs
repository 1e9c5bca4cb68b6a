//! Asking a provider to open its commitment, and checking everything the receipt will be believed for.

use std::time::Duration;

use jobs::assignment::Assignment;
use jobs::commitment::{Commitment, Reveal};
use jobs::ids::{AssignmentId, ProviderId};
use jobs::outcome::Outcome;
use jobs::package::Package;
use jobs::statement::Signed;
use jobs::{merkle, output};
use network::protocol::{RevealReply, RevealRequest};

use super::Shared;
use super::actor::report;
use super::error::Error;
use super::prepare;
use super::rows::{ASSIGNMENTS, COMMITMENT, Row, evidence};
use crate::core::Event;

/// How often a silent provider is asked before its replica is given up.
const TRIES: u32 = 4;

/// Pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks for a reveal and reports what came of it.
pub(crate) async fn request(
    id: AssignmentId,
    provider: ProviderId,
    shared: &Shared,
) -> Result<(), Error> {
    let _permit = shared.heavy.acquire().await.map_err(|_| Error::Stopping)?;
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        match shared
            .network
            .reveal(provider, RevealRequest { assignment: id })
            .await
        {
            Ok(RevealReply::Revealed(reveal)) => return take(*reveal, provider, shared).await,
            Ok(RevealReply::Refused { refusal, .. }) => {
                tracing::debug!(%provider, %refusal, "reveal refused");
                break;
            }
            Err(error) => tracing::debug!(%provider, %error, "reveal unanswered"),
        }
    }
    report(shared, Event::RevealFailed { assignment: id }).await
}

async fn take(reveal: Reveal, provider: ProviderId, shared: &Shared) -> Result<(), Error> {
    let id = reveal.assignment;
    let known = ASSIGNMENTS.get(&*shared.store, &id)?;
    let Some(assignment) = known.filter(|assignment| assignment.provider == provider) else {
        return report(shared, Event::RevealFailed { assignment: id }).await;
    };
    let package = prepare::package(shared, assignment.job)?;
    let valid = match check(&reveal, &assignment, &package, shared).await {
        Ok(()) => true,
        Err(reason) => {
            tracing::warn!(%provider, assignment = %id, reason, "revealed outputs are not valid");
            false
        }
    };
    let rows = vec![Row::Receipt(id, reveal.receipt)];
    let event = Event::Revealed {
        assignment: id,
        opening: Box::new(reveal.opening),
        outputs_valid: valid,
    };
    shared.handle.event_with(event, rows).await.map(drop)
}

/// Everything that a client will check offline is checked here first, so that no provider can spoil a
/// job's record. Whether the opening opens the commitment is the core's own question.
async fn check(
    reveal: &Reveal,
    assignment: &Assignment,
    package: &Package,
    shared: &Shared,
) -> Result<(), String> {
    let provider = assignment.provider;
    let receipt = reveal
        .receipt
        .verify(provider)
        .map_err(|error| error.to_string())?
        .statement;
    let signed: Option<Signed<Commitment>> =
        evidence(&*shared.store, assignment.id, COMMITMENT).map_err(|error| error.to_string())?;
    let committed = signed
        .and_then(|signed| signed.verify().ok())
        .map(|known| known.statement);
    if receipt.assignment != *assignment
        || receipt.package != *package
        || Some(receipt.commitment) != committed
        || receipt.opening != reveal.opening
    {
        return Err("the receipt is about something else".into());
    }
    let outcome = &reveal.opening.outcome;
    if outcome.items != assignment.items || !outcome.fingerprint.is_bounded() {
        return Err(format!(
            "{} outputs for {} items",
            outcome.items, assignment.items
        ));
    }
    let largest = largest_outputs(assignment, package);
    if outcome.outputs.size > largest {
        return Err(format!(
            "outputs of {} bytes, at most {largest}",
            outcome.outputs.size
        ));
    }
    let fetched = shared
        .network
        .fetch_blob(&[provider], outcome.outputs, &shared.blobs)
        .await;
    fetched.map_err(|error| error.to_string())?;
    let (blobs, outcome, package) = (shared.blobs.clone(), outcome.clone(), package.clone());
    let checked = tokio::task::spawn_blocking(move || check_outputs(&blobs, &outcome, &package));
    checked.await.map_err(|error| error.to_string())?
}

/// An honest provider makes the same check before it commits, and reports the job's failure instead.
fn check_outputs(
    blobs: &network::blobs::BlobStore,
    outcome: &Outcome,
    package: &Package,
) -> Result<(), String> {
    let bytes = blobs.read(&outcome.outputs).map_err(|error| error.to_string())?;
    let outputs = output::decode(package, outcome.items, &bytes).map_err(|error| error.to_string())?;
    if merkle::root(&outputs) != outcome.root {
        return Err("the outputs have another root".into());
    }
    Ok(())
}

/// Size of an encoded list whose outputs are all as long as allowed.
fn largest_outputs(assignment: &Assignment, package: &Package) -> u64 {
    let per_item = u64::from(package.limits.output_bytes_per_item).saturating_add(4);
    per_item
        .saturating_mul(u64::from(assignment.items))
        .saturating_add(4)
}
