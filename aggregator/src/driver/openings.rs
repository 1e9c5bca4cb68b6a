//! Asking two replicas to open what they noted, and comparing it.
//!
//! Both get the same two seeds, their own and the other's, and neither learns the challenge behind them. A provider has as
//! long as for a reveal; who says nothing in that time, refuses, or opens what it had not committed to has failed.

use std::sync::Arc;

use jobs::commitment::Commitment;
use jobs::compare::Grade;
use jobs::digest::Digest;
use jobs::ids::{AssignmentId, JobId, ProviderId};
use jobs::openings::{self, Chunk, Noted, Opened, OpeningsRule};
use jobs::statement::Signed;
use network::protocol::{OpenReply, OpenRequest, RefusalCode};

use super::error::Error;
use super::reveal::{PAUSE, Patience, is_ours};
use super::rows::{COMMITMENT, evidence};
use super::{Shared, prepare};
use crate::core::event::Finding;
use crate::core::openings::Openings;

/// What came of asking two replicas.
pub(crate) enum Looked {
    /// Both opened what they had noted.
    Found(Finding),
    /// These did not.
    Failed(Vec<AssignmentId>),
}

/// Has both replicas open and compares what they did.
pub(crate) async fn look(
    job: JobId,
    (left, right): (AssignmentId, AssignmentId),
    openings: &Openings,
    shared: &Arc<Shared>,
) -> Result<Looked, Error> {
    let rule = prepare::package(shared, job)?.openings;
    let rule = rule.ok_or_else(|| Error::Log(format!("{job} has nothing opened")))?;
    let seeds = [left, right].map(|id| seed(id, &openings.challenge, shared));
    let [one, other] = seeds;
    let seeds = [one?, other?];
    let (one, other) = tokio::join!(
        opened(left, openings.left, seeds, rule.count, shared),
        opened(right, openings.right, seeds, rule.count, shared)
    );
    let sides = [
        (left, openings.left.1, one?),
        (right, openings.right.1, other?),
    ];
    let silent = sides.iter().filter(|(_, _, opened)| opened.is_none());
    let silent: Vec<AssignmentId> = silent.map(|(id, _, _)| *id).collect();
    if !silent.is_empty() {
        return Ok(Looked::Failed(silent));
    }
    let read = tokio::task::spawn_blocking(move || compare(&rule, &seeds, sides));
    read.await.map_err(|error| Error::Log(error.to_string()))
}

/// What a provider's places follow from.
fn seed(id: AssignmentId, challenge: &Digest, shared: &Shared) -> Result<Digest, Error> {
    let signed: Option<Signed<Commitment>> = evidence(&*shared.store, id, COMMITMENT)?;
    let signed = signed.ok_or_else(|| Error::Log(format!("{id} has no commitment")))?;
    Ok(openings::seed(signed.signature(), challenge))
}

/// What a provider opens; `None` if it is silent or refuses.
async fn opened(
    assignment: AssignmentId,
    (provider, noted): (ProviderId, Noted),
    seeds: [Digest; 2],
    count: u16,
    shared: &Shared,
) -> Result<Option<Vec<Opened>>, Error> {
    if noted.chunks == 0 {
        return Ok(Some(Vec::new()));
    }
    let mut patience = Patience(shared.reveal_timeout);
    loop {
        let request = OpenRequest {
            assignment,
            seeds: seeds.to_vec(),
            count,
        };
        match patience.spend(shared.network.open(provider, request)).await {
            Some(Ok(OpenReply::Opened { opened, .. })) => return Ok(Some(opened)),
            Some(Ok(OpenReply::Refused { refusal, .. })) => {
                tracing::debug!(%provider, %assignment, %refusal, "nothing opened");
                let passing = [RefusalCode::Busy, RefusalCode::Unanswered];
                if !passing.contains(&refusal.code) {
                    return Ok(None);
                }
            }
            Some(Err(error)) if is_ours(&error) => return Err(error.into()),
            Some(Err(error)) => tracing::debug!(%provider, %assignment, %error, "unanswered"),
            None => return Ok(None),
        }
        if patience.spend(tokio::time::sleep(PAUSE)).await.is_none() {
            return Ok(None);
        }
    }
}

type Side = (AssignmentId, Noted, Option<Vec<Opened>>);

/// Checks what both opened against what they had committed to, and compares it.
fn compare(rule: &OpeningsRule, seeds: &[Digest; 2], sides: [Side; 2]) -> Looked {
    let read = sides.map(|(id, noted, opened)| {
        let opened = opened.unwrap_or_default();
        (id, noted, check(rule, seeds, &noted, &opened, id))
    });
    let failed = read.iter().filter(|(_, _, chunks)| chunks.is_none());
    let failed: Vec<AssignmentId> = failed.map(|(id, _, _)| *id).collect();
    let [(left_id, left_noted, left), (right_id, right_noted, right)] = read;
    let (Some(left), Some(right)) = (left, right) else {
        return Looked::Failed(failed);
    };
    let found = openings::agree(rule, (&left_noted, &left), (&right_noted, &right));
    Looked::Found(match found {
        Ok(()) => Finding::Agree,
        Err(difference) => {
            tracing::info!(left = %left_id, right = %right_id, %difference, "opened values differ");
            match difference.grade {
                Grade::Ambiguous => Finding::Unclear,
                Grade::Incomparable | Grade::Clear => Finding::Differ,
            }
        }
    })
}

fn check(
    rule: &OpeningsRule,
    seeds: &[Digest; 2],
    noted: &Noted,
    opened: &[Opened],
    assignment: AssignmentId,
) -> Option<Vec<Chunk>> {
    let places = seeds
        .iter()
        .flat_map(|seed| openings::places(seed, rule.count, noted.chunks));
    let places: Vec<u32> = places.collect();
    let checked = openings::check(noted, &places, opened);
    checked
        .inspect_err(|error| tracing::warn!(%assignment, %error, "a false opening"))
        .ok()
}
