//! Shards, as a dashboard shows them.

use jobs::game::score::Standing;
use jobs::ids::{AssignmentId, ProviderId};
use jobs::money::Amount;
use jobs::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::openapi::schema;

/// Most cells of a [`ShardMap`].
pub const SHARD_CELLS_MAX: u32 = 4096;

/// Where a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ShardPhase {
    /// Nobody executes it.
    Waiting,
    /// Somebody executes it.
    Working,
    /// It was executed as often as is wanted; the answers are compared.
    Answered,
    /// Its answers did not agree, and more replicas were asked for.
    Undecided,
    /// It is accepted, and every replica that answered agreed.
    Accepted,
    /// It is accepted, and a replica that answered is out of line.
    Contested,
    /// The job ended without it.
    Failed,
}

/// How far a job's shards are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShardMap {
    /// Shards of the plan.
    pub shards: u32,
    /// Runs of neighbouring shards, in plan order; of one shard each if there are not too many.
    pub cells: Vec<ShardCell>,
}

/// A run of neighbouring shards: how many of them are where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ShardCell {
    /// The first shard's position in the plan.
    pub first: u32,
    /// Shards that nobody executes.
    pub waiting: u32,
    /// Shards that somebody executes.
    pub working: u32,
    /// Shards whose answers are compared.
    pub answered: u32,
    /// Shards whose answers did not agree.
    pub undecided: u32,
    /// Shards accepted with one voice.
    pub accepted: u32,
    /// Shards accepted against a replica.
    pub contested: u32,
    /// Shards that the job ended without.
    pub failed: u32,
}

impl ShardCell {
    /// Counts one more shard.
    pub fn count(&mut self, phase: ShardPhase) {
        let count = match phase {
            ShardPhase::Waiting => &mut self.waiting,
            ShardPhase::Working => &mut self.working,
            ShardPhase::Answered => &mut self.answered,
            ShardPhase::Undecided => &mut self.undecided,
            ShardPhase::Accepted => &mut self.accepted,
            ShardPhase::Contested => &mut self.contested,
            ShardPhase::Failed => &mut self.failed,
        };
        *count = count.saturating_add(1);
    }
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShardView {
    /// Position in the plan.
    pub index: u32,
    /// Its first item.
    pub first_item: u32,
    /// Its items.
    pub items: u32,
    /// Where it is.
    pub phase: ShardPhase,
    /// Its assignments, in order.
    pub replicas: Vec<ReplicaView>,
}

/// An assignment of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaView {
    /// Its id.
    #[schemars(with = "schema::AssignmentId")]
    pub assignment: AssignmentId,
    /// Whose it is; not shown before the job has ended, because whoever knows with whom it shares a shard could agree
    /// with it on an answer.
    #[schemars(with = "Option<schema::ProviderId>")]
    pub provider: Option<ProviderId>,
    /// How far it is: `offered`, `running`, `committed`, `revealing`, `revealed`, `provisional`, `closed` or `settled`.
    pub state: String,
    /// Why it came to nothing, if it did.
    pub reason: Option<String>,
    /// What became of it, once the job has ended.
    #[schemars(with = "Option<schema::Standing>")]
    pub standing: Option<Standing>,
    /// Whether it checks another's answer.
    pub check: bool,
    /// What it was paid.
    #[schemars(with = "Option<schema::Amount>")]
    pub paid: Option<Amount>,
    /// When it was given out.
    #[schemars(with = "schema::Timestamp")]
    pub dispatched: Timestamp,
    /// When its acceptance arrived.
    #[schemars(with = "Option<schema::Timestamp>")]
    pub accepted: Option<Timestamp>,
    /// When its commitment arrived.
    #[schemars(with = "Option<schema::Timestamp>")]
    pub committed: Option<Timestamp>,
}
