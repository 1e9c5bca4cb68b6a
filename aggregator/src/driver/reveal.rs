//! Asking a provider to open its commitment, and checking everything the receipt will be believed for.
//!
//! A provider has a time to answer and a time to hand its outputs over, and only what it does or fails
//! to do in that time is booked on it. What is our own trouble (no room for one more, a full disk) is
//! tried again for as long as the job lasts, while the core is told that the provider's time starts
//! anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jobs::assignment::Assignment;
use jobs::commitment::{Commitment, Reveal};
use jobs::compare::compare;
use jobs::digest::{BlobRef, Digest};
use jobs::ids::{AssignmentId, ProviderId};
use jobs::package::Package;
use jobs::statement::Signed;
use jobs::{merkle, output};
use network::protocol::{FailureCode, RefusalCode, RevealReply, RevealRequest};
use network::trace::TraceContext;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::Shared;
use super::actor::{report, stubborn};
use super::error::Error;
use super::prepare;
use super::rows::{ASSIGNMENTS, COMMITMENT, Row, evidence};
use crate::core::config::reveal_window_ms;
use crate::core::{Code, Event};

/// How often a silent provider is asked, and how often its outputs are fetched, before its replica is
/// given up.
const TRIES: u32 = 4;

/// Pause between two tries.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Outputs fetched from one provider at the same time: fewer than a connection carries streams, so
/// that none is refused by our own network, and so that one slow provider does not take every place.
const FETCHES_PER_PROVIDER_MAX: usize = 8;

/// Part of a reveal's time after which the core hears that we are still at it.
const NEWS_DIVISOR: u32 = 3;

/// Who may fetch from whom: [`FETCHES_PER_PROVIDER_MAX`] places for each provider that has any taken.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<BTreeMap<ProviderId, Arc<Semaphore>>>);

impl Turns {
    fn of(&self, provider: ProviderId) -> Arc<Semaphore> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        let turn = turns
            .entry(provider)
            .or_insert_with(|| Arc::new(Semaphore::new(FETCHES_PER_PROVIDER_MAX)));
        Arc::clone(turn)
    }
}

/// What came of looking at a reveal.
enum Finding {
    /// Everything holds together.
    Valid,
    /// The provider sent something else than it owes.
    Invalid(String),
    /// The outputs do not agree with themselves, so that no verdict about them is possible.
    Incomparable(String),
    /// The provider did not hand its outputs over.
    Withheld(String),
}

/// Asks for a reveal and reports what came of it, until the replica needs none any more.
pub(crate) async fn request(
    id: AssignmentId,
    provider: ProviderId,
    shared: &Shared,
) -> Result<(), Error> {
    let settled = stubborn(
        shared,
        move |core| core.is_revealing(id),
        || settle(id, provider, shared),
    );
    tokio::select! {
        settled = settled => settled,
        over = keep_open(id, shared) => over,
    }
}

/// Tells the core that we are still at it, for as long as it wants the reveal: the provider's time is
/// kept here, where it is known whose turn it is.
async fn keep_open(id: AssignmentId, shared: &Shared) -> Result<(), Error> {
    loop {
        tokio::time::sleep(shared.reveal_timeout / NEWS_DIVISOR).await;
        if !shared.handle.ask(move |core| core.is_revealing(id)).await? {
            return Ok(());
        }
        match report(shared, Event::RevealDelayed { assignment: id }).await {
            // Said again in a moment.
            Ok(()) | Err(Error::NotStored(_)) => {}
            Err(error) => return Err(error),
        }
    }
}

async fn settle(id: AssignmentId, provider: ProviderId, shared: &Shared) -> Result<(), Error> {
    let mut patience = Patience(shared.reveal_timeout);
    let Some(reveal) = ask(id, provider, &mut patience, shared).await? else {
        return report(shared, Event::RevealFailed { assignment: id }).await;
    };
    let opening = Box::new(reveal.opening.clone());
    // Until the core knows of the outputs, nobody refers to them.
    let _work = shared.blobs.at_work();
    let event = match look(&reveal, provider, patience, shared).await? {
        Finding::Withheld(reason) => {
            tracing::debug!(%provider, assignment = %id, reason, "outputs withheld");
            return report(shared, Event::RevealFailed { assignment: id }).await;
        }
        Finding::Incomparable(reason) => {
            tracing::info!(%provider, assignment = %id, reason, "outputs cannot be compared");
            Event::OutputsIncomparable {
                assignment: id,
                opening,
                // As a provider says that refuses to commit to such outputs.
                code: Code::new(&format!("{:?}", FailureCode::Guest)),
            }
        }
        Finding::Invalid(reason) => {
            tracing::warn!(%provider, assignment = %id, reason, "revealed outputs are not valid");
            Event::Revealed {
                assignment: id,
                opening,
                outputs_valid: false,
            }
        }
        Finding::Valid => Event::Revealed {
            assignment: id,
            opening,
            outputs_valid: true,
        },
    };
    let rows = vec![Row::Receipt(id, reveal.receipt)];
    shared.handle.event_with(event, rows).await.map(drop)
}

/// What is left of a provider's time.
pub(super) struct Patience(pub(super) Duration);

impl Patience {
    /// Waits for something that the provider does; `None` when its time is up.
    pub(super) async fn spend<T>(&mut self, doing: impl Future<Output = T>) -> Option<T> {
        let since = Instant::now();
        let done = timeout(self.0, doing).await.ok();
        self.0 = self.0.saturating_sub(since.elapsed());
        done
    }

    /// With the time that outputs of this size take.
    fn and_for(self, bytes: u64) -> Duration {
        let base_ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(reveal_window_ms(base_ms, bytes))
    }
}

/// The reveal; `None` if the provider refuses or is silent.
async fn ask(
    id: AssignmentId,
    provider: ProviderId,
    patience: &mut Patience,
    shared: &Shared,
) -> Result<Option<Box<Reveal>>, Error> {
    for attempt in 0..TRIES {
        if attempt > 0 && patience.spend(tokio::time::sleep(PAUSE)).await.is_none() {
            return Ok(None);
        }
        let request = RevealRequest {
            assignment: id,
            trace: TraceContext::current(),
        };
        let asked = shared.network.reveal(provider, request);
        match patience.spend(asked).await {
            Some(Ok(RevealReply::Revealed(reveal))) => return Ok(Some(reveal)),
            Some(Ok(RevealReply::Refused { refusal, .. })) => {
                tracing::debug!(%provider, %refusal, "reveal refused");
                if !matches!(refusal.code, RefusalCode::Busy | RefusalCode::Unanswered) {
                    return Ok(None);
                }
            }
            Some(Err(error)) if is_ours(&error) => return Err(error.into()),
            Some(Err(error)) => tracing::debug!(%provider, %error, "reveal unanswered"),
            None => return Ok(None),
        }
    }
    Ok(None)
}

/// Everything that a client will check offline is checked here first, so that no provider can spoil a
/// job's record. Whether the opening opens the commitment is the core's own question.
async fn look(
    reveal: &Reveal,
    provider: ProviderId,
    patience: Patience,
    shared: &Shared,
) -> Result<Finding, Error> {
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
    let within = patience.and_for(outputs.size);
    if let Some(reason) = fetch(provider, outputs, within, shared).await? {
        return Ok(Finding::Withheld(reason));
    }
    // Not among the heavy ones, which may take long while a provider's answer waits.
    let _permit = shared.checks.acquire().await.map_err(|_| Error::Stopping)?;
    let (blobs, root) = (shared.blobs.clone(), reveal.opening.outcome.root);
    let checked = tokio::task::spawn_blocking(move || {
        let bytes = blobs.read(&outputs)?;
        Ok(check_outputs(&bytes, &assignment, &package, &root))
    });
    checked
        .await
        .unwrap_or_else(|error| Err(Error::Log(error.to_string())))
}

/// Brings the outputs here; why not, if the provider is to blame. Its time begins with its turn.
async fn fetch(
    provider: ProviderId,
    outputs: BlobRef,
    within: Duration,
    shared: &Shared,
) -> Result<Option<String>, Error> {
    let turns = shared.turns.of(provider);
    let _turn = turns.acquire().await.map_err(|_| Error::Stopping)?;
    let _slot = shared.fetches.acquire().await;
    let (network, blobs) = (&shared.network, &shared.blobs);
    let mut reason = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let source = [provider];
        let fetched = network.fetch_blob_within(&source, outputs, blobs, within);
        match fetched.await {
            Ok(_) => return Ok(None),
            Err(error) if is_ours(&error) => return Err(error.into()),
            Err(error @ network::Error::FetchTimeout { .. }) => return Ok(Some(error.to_string())),
            Err(error) => reason = error.to_string(),
        }
    }
    Ok(Some(reason))
}

/// Whether our own node failed, as far as we know, and not the provider.
pub(super) fn is_ours(error: &network::Error) -> bool {
    use network::Error as Failed;
    match error {
        Failed::NoSource { last, .. } => is_ours(last),
        // Every part of a blob was proven when it came: only our disk can have changed the whole.
        Failed::BlobDigest { .. } => true,
        error => matches!(
            error,
            Failed::Closed
                | Failed::Busy { .. }
                | Failed::Encode { .. }
                | Failed::TooLarge { .. }
                | Failed::QuotaFull { .. }
                | Failed::DiskFull { .. }
                | Failed::Io { .. }
                | Failed::Task { .. }
        ),
    }
}

/// Outputs that do not fit the package are no answer, whoever agrees with them. Outputs that do not
/// even agree with themselves (NaN) can be judged by nobody: equal roots would count as agreement
/// here, and the client's own check would then find none.
fn check_outputs(
    bytes: &[u8],
    assignment: &Assignment,
    package: &Package,
    root: &Digest,
) -> Finding {
    let outputs = match output::decode(package, assignment.items, bytes) {
        Ok(outputs) => outputs,
        Err(error) => return Finding::Invalid(error.to_string()),
    };
    if merkle::root(&outputs) != *root {
        return Finding::Invalid("the outputs have another root".into());
    }
    match compare(&package.comparator, &outputs, &outputs) {
        Ok(()) => Finding::Valid,
        Err(disagreement) => Finding::Incomparable(disagreement.to_string()),
    }
}

/// Size of an encoded list whose outputs are all as long as allowed.
fn largest_outputs(assignment: &Assignment, package: &Package) -> u64 {
    let per_item = u64::from(package.limits.output_bytes_per_item).saturating_add(4);
    per_item
        .saturating_mul(u64::from(assignment.items))
        .saturating_add(4)
}
