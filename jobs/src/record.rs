//! The public record of a finished job: everything a client needs to check it offline.
use serde::{Deserialize, Serialize};

use crate::commitment::Commitment;
use crate::digest::{BlobRef, Digest};
use crate::envelope::SignedPackage;
use crate::ids::{AssignmentId, ClientId, JobId, ProviderId};
use crate::money::Amount;
use crate::receipt::Envelope;
use crate::statement::{Signed, Statement};

/// One replica of a shard.
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
    /// What the aggregator kept.
    pub fee: Amount,
    /// Fee in basis points of what providers got.
    pub fee_bps: u16,
    /// What went back to the client.
    pub returned: Amount,
    /// The merged result.
    pub result: BlobRef,
    /// Digest of the encoded shard records, which this signature thereby covers.
    pub shards: Digest,
    /// Ledger journal head after the last transfer of the job: sequence number and chain hash.
    pub journal_head: (u64, Digest),
}

impl Statement for Settlement {
    const DOMAIN: &'static str = "assay/settlement/v1";
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
