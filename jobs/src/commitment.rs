//! Commit, then reveal: a provider binds itself to an outcome before it can see anyone else's.
//!
//! The hash covers the provider's key, the assignment and a secret nonce, so that a commitment
//! copied from another provider cannot be opened by the copier.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Domain};
use crate::ids::{AssignmentId, JobId, ProviderId};
use crate::outcome::{Fingerprint, Meters, Outcome};
use crate::statement::Statement;

/// What a commitment hides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// Secret until revealed.
    pub nonce: [u8; 32],
    /// The outcome.
    pub outcome: Outcome,
}

/// A provider's binding statement about one assignment. It signs exactly one, ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commitment {
    /// Which assignment.
    pub assignment: AssignmentId,
    /// Of which job.
    pub job: JobId,
    /// Which shard.
    pub shard: u32,
    /// By whom. Must equal the signer.
    pub provider: ProviderId,
    /// What is committed to; see [`Commitment::bind`].
    pub hash: Digest,
}

impl Commitment {
    /// Commits `provider` to `opening`.
    pub fn bind(
        assignment: AssignmentId,
        job: JobId,
        shard: u32,
        provider: ProviderId,
        opening: &Opening,
    ) -> Self {
        let hash = commitment_hash(
            assignment,
            job,
            shard,
            provider,
            &opening.nonce,
            &opening.outcome.root,
            &opening.outcome.fingerprint,
            &opening.outcome.meters,
        );
        Self {
            assignment,
            job,
            shard,
            provider,
            hash,
        }
    }

    /// Whether `opening` is what this commitment hid.
    pub fn opens_with(&self, opening: &Opening) -> bool {
        *self
            == Self::bind(
                self.assignment,
                self.job,
                self.shard,
                self.provider,
                opening,
            )
    }
}

impl Statement for Commitment {
    const DOMAIN: &'static str = "assay/commitment/v1";
}

#[expect(
    clippy::too_many_arguments,
    reason = "each argument is one field of the bound hash"
)]
fn commitment_hash(
    assignment: AssignmentId,
    job: JobId,
    shard: u32,
    provider: ProviderId,
    nonce: &[u8; 32],
    root: &Digest,
    fingerprint: &Fingerprint,
    meters: &Meters,
) -> Digest {
    Digest::bind(
        Domain::Commitment,
        &[
            assignment.0.as_bytes(),
            job.0.as_bytes(),
            &shard.to_le_bytes(),
            &provider.0,
            nonce,
            root.as_bytes(),
            fingerprint.digest().as_bytes(),
            &meters.to_bytes(),
        ],
    )
}

/// A provider's answer to a reveal request: the opening and the receipt that repeats it in public.
/// The output bytes are fetched as the blob `opening.outcome.outputs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reveal {
    /// Which assignment.
    pub assignment: AssignmentId,
    /// What the commitment hid.
    pub opening: Opening,
    /// The provider's signed receipt.
    pub receipt: crate::receipt::Envelope,
}
