//! Commit, then reveal: a provider binds itself to an outcome before it can see anyone else's.
//!
//! The hash covers the provider's key, the assignment and a secret nonce, so that a commitment
//! copied from another provider cannot be opened by the copier.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Domain};
use crate::ids::{AssignmentId, JobId, ProviderId};
use crate::outcome::Outcome;
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
            &opening.outcome,
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
    const DOMAIN: &'static str = "assay/commitment/v3";
}

fn commitment_hash(
    assignment: AssignmentId,
    job: JobId,
    shard: u32,
    provider: ProviderId,
    nonce: &[u8; 32],
    outcome: &Outcome,
) -> Digest {
    Digest::bind(
        Domain::Commitment,
        &[
            assignment.0.as_bytes(),
            job.0.as_bytes(),
            &shard.to_le_bytes(),
            &provider.0,
            nonce,
            outcome.root.as_bytes(),
            outcome.fingerprint.digest().as_bytes(),
            outcome.placement_digest().as_bytes(),
            &outcome.meters.to_bytes(),
            &outcome
                .noted
                .map(|noted| noted.to_bytes())
                .unwrap_or_default(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::BlobRef;
    use crate::openings::Noted;
    use crate::outcome::{Fingerprint, Meters, Placement};

    fn opening() -> Opening {
        Opening {
            nonce: [1; 32],
            outcome: Outcome {
                root: Digest::of(b"root"),
                outputs: BlobRef::of(b"outputs"),
                items: 2,
                meters: Meters {
                    fuel: 1,
                    device_us: 2,
                    tensor_bytes: 3,
                    tokens: 5,
                    memory_bytes: 4,
                },
                fingerprint: Fingerprint {
                    engine: "e".into(),
                    library: "l".into(),
                    execution_provider: "x".into(),
                    device: "d".into(),
                    options: "o".into(),
                },
                placement: vec![Placement {
                    model: "m".into(),
                    execution_provider: "p".into(),
                    nodes: 6,
                }],
                noted: Some(Noted {
                    root: Digest::of(b"noted"),
                    chunks: 7,
                    inferences: 8,
                }),
            },
        }
    }

    fn commitment() -> Commitment {
        let provider = ProviderId([3; 32]);
        Commitment::bind(
            AssignmentId::default(),
            JobId::default(),
            1,
            provider,
            &opening(),
        )
    }

    #[test]
    fn a_commitment_opens_to_what_it_hid_and_to_nothing_else() {
        assert!(commitment().opens_with(&opening()));
        type Change = fn(&mut Opening);
        let changes: [Change; 20] = [
            |o| o.outcome.noted = None,
            |o| o.outcome.noted.as_mut().unwrap().root = Digest::of(b"other"),
            |o| o.outcome.noted.as_mut().unwrap().chunks = 9,
            |o| o.outcome.noted.as_mut().unwrap().inferences = 9,
            |o| o.nonce[31] ^= 1,
            |o| o.outcome.root = Digest::of(b"other"),
            |o| o.outcome.meters.fuel = 9,
            |o| o.outcome.meters.device_us = 9,
            |o| o.outcome.meters.tensor_bytes = 9,
            |o| o.outcome.meters.memory_bytes = 9,
            |o| o.outcome.meters.tokens = 9,
            |o| o.outcome.fingerprint.engine.push('x'),
            |o| o.outcome.fingerprint.library.push('x'),
            |o| o.outcome.fingerprint.execution_provider.push('x'),
            |o| o.outcome.fingerprint.device.push('x'),
            |o| o.outcome.fingerprint.options.push('x'),
            |o| o.outcome.placement.clear(),
            |o| o.outcome.placement[0].nodes = 9,
            |o| o.outcome.placement[0].model.push('x'),
            |o| o.outcome.placement[0].execution_provider.push('x'),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut other = opening();
            change(&mut other);
            assert!(!commitment().opens_with(&other), "change {index}");
        }
    }

    #[test]
    fn a_copied_commitment_cannot_be_opened_by_the_copier() {
        type Change = fn(&mut Commitment);
        let changes: [Change; 4] = [
            |c| c.provider = ProviderId([4; 32]),
            |c| c.assignment = AssignmentId(Digest::of(b"other")),
            |c| c.job = JobId(Digest::of(b"other")),
            |c| c.shard = 2,
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut copied = commitment();
            change(&mut copied);
            assert!(!copied.opens_with(&opening()), "change {index}");
        }
    }
}
