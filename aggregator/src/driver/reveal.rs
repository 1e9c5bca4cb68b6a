//! Asking a provider to open its commitment, and checking everything the receipt will be believed for.

use std::time::Duration;

use jobs::assignment::Assignment;
use jobs::commitment::{Commitment, Reveal};
use jobs::digest::Digest;
use jobs::ids::{AssignmentId, ProviderId};
use jobs::package::Package;
use jobs::statement::Signed;
use jobs::{merkle, output};
use network::protocol::{RefusalCode, RevealReply, RevealRequest};

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

/// What came of looking at a reveal.
enum Finding {
    /// Everything holds together.
    Valid,
    /// The provider sent something else than it owes.
    Invalid(String),
    /// The provider did not hand its outputs over.
    Withheld(String),
}

/// Asks for a reveal and reports what came of it, before the core gives the replica up anyway.
pub(crate) async fn request(
    id: AssignmentId,
    provider: ProviderId,
    shared: &Shared,
) -> Result<(), Error> {
    let asked = tokio::time::timeout(shared.reveal_timeout, ask(id, provider, shared)).await;
    match asked {
        Ok(Ok(Some((reveal, valid)))) => {
            let rows = vec![Row::Receipt(id, reveal.receipt)];
            let event = Event::Revealed {
                assignment: id,
                opening: Box::new(reveal.opening),
                outputs_valid: valid,
            };
            shared.handle.event_with(event, rows).await.map(drop)
        }
        Ok(Err(error)) => Err(error),
        Ok(Ok(None)) | Err(_) => report(shared, Event::RevealFailed { assignment: id }).await,
    }
}

/// The reveal, and whether it is valid; `None` if the provider refuses, is silent or keeps its outputs.
async fn ask(
    id: AssignmentId,
    provider: ProviderId,
    shared: &Shared,
) -> Result<Option<(Reveal, bool)>, Error> {
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let request = RevealRequest { assignment: id };
        let reveal = match shared.network.reveal(provider, request).await {
            Ok(RevealReply::Revealed(reveal)) => reveal,
            Ok(RevealReply::Refused { refusal, .. }) => {
                tracing::debug!(%provider, %refusal, "reveal refused");
                if matches!(refusal.code, RefusalCode::Busy | RefusalCode::Unanswered) {
                    continue;
                }
                return Ok(None);
            }
            Err(error) => {
                tracing::debug!(%provider, %error, "reveal unanswered");
                continue;
            }
        };
        match look(&reveal, provider, shared).await {
            Ok(Finding::Valid) => return Ok(Some((*reveal, true))),
            Ok(Finding::Invalid(reason)) => {
                tracing::warn!(%provider, assignment = %id, reason, "revealed outputs are not valid");
                return Ok(Some((*reveal, false)));
            }
            Ok(Finding::Withheld(reason)) => {
                tracing::debug!(%provider, assignment = %id, reason, "outputs withheld");
            }
            // Ours, so the provider is not blamed for it as long as there is time.
            Err(error) => tracing::error!(%error, "could not check a reveal"),
        }
    }
    Ok(None)
}

/// Everything that a client will check offline is checked here first, so that no provider can spoil a
/// job's record. Whether the opening opens the commitment is the core's own question.
async fn look(reveal: &Reveal, provider: ProviderId, shared: &Shared) -> Result<Finding, Error> {
    let id = reveal.assignment;
    let assignment = ASSIGNMENTS.get(&*shared.store, &id)?;
    let assignment = assignment.ok_or_else(|| Error::Log(format!("{id} is not stored")))?;
    let package = prepare::package(shared, assignment.job)?;
    let receipt = match reveal.receipt.verify(provider) {
        Ok(receipt) => receipt.statement,
        Err(error) => return Ok(Finding::Invalid(error.to_string())),
    };
    let signed: Option<Signed<Commitment>> = evidence(&*shared.store, id, COMMITMENT)?;
    let committed = signed
        .and_then(|signed| signed.verify().ok())
        .map(|known| known.statement);
    if receipt.assignment != assignment
        || receipt.package != package
        || Some(receipt.commitment) != committed
        || receipt.opening != reveal.opening
    {
        return Ok(Finding::Invalid(
            "the receipt is about something else".into(),
        ));
    }
    let outputs = reveal.opening.outcome.outputs;
    let largest = largest_outputs(&assignment, &package);
    if outputs.size > largest {
        let size = outputs.size;
        return Ok(Finding::Invalid(format!(
            "outputs of {size} bytes, at most {largest}"
        )));
    }
    let source = [provider];
    let slot = shared.fetches.acquire().await;
    let fetched = shared.network.fetch_blob(&source, outputs, &shared.blobs);
    match fetched.await {
        Ok(_) => {}
        Err(error @ network::Error::NoSource { .. }) => {
            return Ok(Finding::Withheld(error.to_string()));
        }
        Err(network::Error::BlobDigest { .. } | network::Error::BlobSize { .. }) => {
            return Ok(Finding::Invalid("the outputs are another blob".into()));
        }
        Err(error) => return Err(error.into()),
    }
    drop(slot);
    let _permit = shared.heavy.acquire().await.map_err(|_| Error::Stopping)?;
    let (blobs, root) = (shared.blobs.clone(), reveal.opening.outcome.root);
    let checked = tokio::task::spawn_blocking(move || {
        let bytes = blobs.read(&outputs)?;
        Ok(check_outputs(&bytes, &assignment, &package, &root))
    });
    checked.await.map_err(|_| Error::Stopping)?
}

/// Outputs that do not fit the package are no answer, whoever agrees with them.
fn check_outputs(
    bytes: &[u8],
    assignment: &Assignment,
    package: &Package,
    root: &Digest,
) -> Finding {
    match output::decode(package, assignment.items, bytes) {
        Err(error) => Finding::Invalid(error.to_string()),
        Ok(outputs) if merkle::root(&outputs) != *root => {
            Finding::Invalid("the outputs have another root".into())
        }
        Ok(_) => Finding::Valid,
    }
}

/// Size of an encoded list whose outputs are all as long as allowed.
fn largest_outputs(assignment: &Assignment, package: &Package) -> u64 {
    let per_item = u64::from(package.limits.output_bytes_per_item).saturating_add(4);
    per_item
        .saturating_mul(u64::from(assignment.items))
        .saturating_add(4)
}
