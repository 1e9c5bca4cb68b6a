//! A shard given to a provider.

use serde::{Deserialize, Serialize};

use crate::digest::BlobRef;
use crate::ids::{AggregatorId, AssignmentId, JobId, ProviderId};
use crate::money::Amount;
use crate::statement::Statement;

/// An aggregator's order to execute one shard, signed by the aggregator. The signed package travels
/// with it, so that a provider can check the client's signature itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Derived from aggregator, job, shard, attempt and provider ([`AssignmentId::derive`]); echoed
    /// in every reply.
    pub id: AssignmentId,
    /// Of which job.
    pub job: JobId,
    /// Which shard of the plan.
    pub shard: u32,
    /// How many assignments this shard had before.
    pub attempt: u32,
    /// To whom.
    pub provider: ProviderId,
    /// By whom. Must equal the signer.
    pub aggregator: AggregatorId,
    /// The shard's encoded items.
    pub input: BlobRef,
    /// Index of the shard's first item in the job's input.
    pub first_item: u32,
    /// Number of items in the shard.
    pub items: u32,
    /// The most it can earn: what escrow reserved for it.
    pub reward_max: Amount,
    /// Milliseconds within which a commitment is due, counted from acceptance.
    pub due_ms: u64,
}

impl Statement for Assignment {
    const DOMAIN: &'static str = "assay/assignment/v1";
}
