//! What a client asks about a job of its own before and while it runs.

use jobs::ids::{JobId, ProviderId};
use jobs::money::Amount;
use jobs::offer::Price;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::openapi::schema;

/// A job is given up. What it holds is given back step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelReply {
    /// Which job.
    #[schemars(with = "schema::JobId")]
    pub job: JobId,
}

/// What a job would cost, were it submitted now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuoteView {
    /// What would be put in escrow: the most that the job can cost.
    #[schemars(with = "schema::Amount")]
    pub escrow: Amount,
    /// The most that the aggregator would keep of it.
    #[schemars(with = "schema::Amount")]
    pub fee_most: Amount,
    /// The fee on what providers get, in basis points.
    pub fee_bps: u16,
    /// Shards of the plan.
    pub shards: u32,
    /// Replicas of each shard that are asked for at once.
    pub replicas: u8,
    /// Replicas at which an undecided shard fails.
    pub max_replicas: u8,
    /// Reserved for each execution of a shard: the most that one can earn.
    #[schemars(with = "schema::Amount")]
    pub share: Amount,
    /// Whether the job would be admitted now, from a client with enough money.
    pub served: bool,
    /// Why not.
    pub missing: Option<String>,
    /// How many providers could take a shard now.
    pub eligible: u32,
    /// The cheapest of these, cheapest first.
    pub cheapest: Vec<SuitorView>,
}

/// A provider that could take a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SuitorView {
    /// Who.
    #[schemars(with = "schema::ProviderId")]
    pub provider: ProviderId,
    /// What it asks.
    #[schemars(with = "schema::Price")]
    pub price: Price,
    /// The most that one execution within the job's limits costs at that price.
    #[schemars(with = "schema::Amount")]
    pub most: Amount,
}

/// Most providers that a quote lists.
pub const SUITORS_MAX: usize = 32;
