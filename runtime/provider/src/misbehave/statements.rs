//! What is signed that should not be.

use ed25519_dalek::SigningKey;
use jobs::assignment::Assignment;
use jobs::commitment::{Commitment, Opening};
use jobs::digest::Digest;
use jobs::ids::ProviderId;
use jobs::outcome::Outcome;
use jobs::package::Package;
use jobs::statement::Signed;
use network::protocol::CommitRequest;

use crate::journal::{Order, Work};
use crate::work::nonce;
use crate::{Error, work};

/// A commitment to a hash that is not ours to open, and a reveal of something else.
pub(crate) fn unopenable(
    key: &SigningKey,
    order: Order,
    assignment: Assignment,
    package: Package,
    outcome: Outcome,
) -> Result<Work, Error> {
    let mut work = work::sign(key, order, assignment, package, outcome)?;
    let mut copied = work.commitment.verify()?.statement;
    copied.hash = Digest::of(&nonce()?);
    work.commitment = Signed::sign(&copied, key)?;
    Ok(work)
}

/// A second commitment to the same assignment. It goes around the journal, which would refuse it:
/// nothing but `--misbehave equivocate` calls this.
pub(crate) fn second_commitment(key: &SigningKey, work: &Work) -> Result<CommitRequest, Error> {
    let provider = ProviderId(key.verifying_key().to_bytes());
    let first = work.commitment.verify()?.statement;
    let opening = Opening {
        nonce: nonce()?,
        outcome: work.opening.outcome.clone(),
    };
    let assignment = work.order.assignment;
    let second = Commitment::bind(assignment, first.job, first.shard, provider, &opening);
    Ok(CommitRequest::Committed {
        assignment,
        commitment: Signed::sign(&second, key)?,
    })
}
