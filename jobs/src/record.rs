//! The public record of a finished job: everything a client needs to check it offline.
//!
//! [`JobRecord::verify`] repeats every decision of the aggregator from the signed pieces: who
//! executed what, who agreed with whom, who was paid how much and what the result is. It believes
//! nothing that it can compute.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::commitment::Commitment;
use crate::digest::{BlobRef, Digest};
use crate::envelope::SignedPackage;
use crate::ids::{AggregatorId, AssignmentId, ClientId, JobId, ProviderId};
use crate::money::Amount;
use crate::outcome::Meters;
use crate::receipt::Envelope;
use crate::shares::Shares;
use crate::statement::{Signed, Statement};

mod check;

/// One replica of a shard. Only replicas whose outputs pass [`crate::output::decode`] and hash to
/// the revealed root are listed: the others have not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// Which assignment.
    pub assignment: AssignmentId,
    /// Who executed it.
    pub provider: ProviderId,
    /// What it committed to.
    pub commitment: Signed<Commitment>,
    /// Its receipt.
    pub receipt: Envelope,
    /// Whether it is among the agreeing.
    pub agreed: bool,
    /// What it was paid.
    pub paid: Amount,
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// Position in the plan.
    pub index: u32,
    /// The shard's encoded items.
    pub input: BlobRef,
    /// Every replica that revealed, in order of assignment.
    pub replicas: Vec<ReplicaRecord>,
    /// The canonical outputs: those of the agreeing replica with the lowest root.
    pub canonical: BlobRef,
    /// Root of the canonical outputs.
    pub canonical_root: Digest,
    /// In an audited job, every execution that checked an answer of this shard and was held to be right, in order of
    /// assignment: of the whole shard, or of a sample of its items. It may have checked an answer that was taken back.
    #[serde(default)]
    pub checks: Vec<ReplicaRecord>,
    /// In an audited job, whether the canonical outputs are what a check found, in place of an answer that did not
    /// stand.
    #[serde(default)]
    pub adopted: bool,
}

/// What the aggregator decided and paid, signed by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// Which job.
    pub job: JobId,
    /// Who paid.
    pub client: ClientId,
    /// What was put in escrow.
    pub escrowed: Amount,
    /// What each provider got in all, ascending by provider.
    pub paid: Vec<(ProviderId, Amount)>,
    /// What the aggregator kept: the sum over all shards of [`crate::money::fee`] on
    /// what the shard's replicas were paid.
    pub fee: Amount,
    /// Fee in basis points of what providers got.
    pub fee_bps: u16,
    /// What went back to the client.
    pub returned: Amount,
    /// The merged result.
    pub result: BlobRef,
    /// Digest of the encoded shard records, which this signature thereby covers; see
    /// [`shards_digest`].
    pub shards: Digest,
    /// Ledger journal head after the last transfer of the job: sequence number and chain hash.
    pub journal_head: (u64, Digest),
    /// What decided who executed, and what was audited.
    pub draw: Shares,
}

impl Statement for Settlement {
    const DOMAIN: &'static str = "assay/settlement/v2";
}

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// What was asked.
    pub package: SignedPackage,
    /// What happened, shard by shard.
    pub shards: Vec<ShardRecord>,
    /// What was decided and paid.
    pub settlement: Signed<Settlement>,
}

/// What a verified record amounts to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordReport {
    /// Which job.
    pub job: JobId,
    /// Who signed the package and paid.
    pub client: ClientId,
    /// Who decided and signed the settlement.
    pub aggregator: AggregatorId,
    /// Number of items.
    pub items: u32,
    /// Number of shards.
    pub shards: u32,
    /// Replicas that answered, checks included.
    pub replicas: u32,
    /// Of these, executions that checked an answer.
    pub checks: u32,
    /// Of these, those that do not agree with the canonical outputs: they found an answer right that was taken back.
    pub contradicted: u32,
    /// Shards whose answer was found by a check, in place of one that did not stand.
    pub adopted: u32,
    /// What decided who executed, and what was audited.
    pub draw: Shares,
    /// Replicas that agreed.
    pub agreements: u32,
    /// Replicas that did not.
    pub disagreements: u32,
    /// What each provider got, ascending by provider.
    pub providers: Vec<ProviderReport>,
    /// What all providers got.
    pub paid: Amount,
    /// What the aggregator kept.
    pub fee: Amount,
    /// What was put in escrow.
    pub escrowed: Amount,
    /// What went back to the client.
    pub returned: Amount,
    /// The merged result.
    pub result: BlobRef,
    /// Whether the job's input was at hand, so that each shard's input was compared with it.
    pub input_checked: bool,
}

/// One provider in a verified record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ProviderReport {
    /// Who.
    pub provider: ProviderId,
    /// Replicas that answered.
    pub replicas: u32,
    /// Replicas that agreed.
    pub agreed: u32,
    /// What it got.
    pub paid: Amount,
    /// What its replicas that agreed metered, by its own word where it is not deterministic.
    pub meters: Meters,
}

/// Why a record was not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// The record is wrong: something in it contradicts something else.
    #[error("{at}: {reason}")]
    Invalid {
        /// Which part of the record, for example `shard 3, replica 1`.
        at: String,
        /// What contradicts what.
        reason: String,
    },
    /// A signed piece of the record does not verify.
    #[error("{at}: {source}")]
    Piece {
        /// Which part of the record.
        at: String,
        /// Why.
        source: Error,
    },
    /// The record may be right, but a blob is missing that would show it.
    #[error("could not decide: {what} ({digest}) is missing", digest = blob.digest)]
    Missing {
        /// What the blob is.
        what: String,
        /// Its reference.
        blob: BlobRef,
    },
}

/// The digest of a job's shard records, as a settlement states it: of their postcard encoding.
///
/// # Errors
/// If they cannot be encoded.
pub fn shards_digest(shards: &[ShardRecord]) -> Result<Digest, Error> {
    postcard::to_stdvec(shards)
        .map(|bytes| Digest::of(&bytes))
        .map_err(|error| Error::Encode {
            what: "shard records",
            reason: error.to_string(),
        })
}

impl JobRecord {
    /// Checks the whole record offline. `blob` finds a blob by its reference, for example in a
    /// folder; what it returns is hashed before it is used. The outputs of every replica are
    /// needed; the job's input is optional.
    ///
    /// # Errors
    /// The first contradiction, or the first missing blob.
    pub fn verify(
        &self,
        blob: &dyn Fn(&BlobRef) -> Option<Vec<u8>>,
    ) -> Result<RecordReport, RecordError> {
        check::Check::new(self, blob)?.run()
    }
}

#[cfg(test)]
mod tests;
