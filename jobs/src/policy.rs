//! Who may execute a job's shards.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::ProviderId;

/// Most providers that a job can name.
pub const TRUSTED_MAX: usize = 64;

/// Executions of a shard that an audited job must be ready to pay for at least: one, its audit, and the two that
/// confirm or refute what the audit says.
pub const AUDITED_MIN: u8 = 4;

/// By what a client comes to rely on an answer. How many replicas must agree is said beside it
/// ([`crate::package::Replication`]).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", deny_unknown_fields)]
pub enum Policy {
    /// Any provider in good standing; replicas that do not know of one another must agree.
    #[default]
    Replicate,
    /// Any provider in good standing executes a shard once. What it answered counts at once, is checked by others
    /// or not, as a draw decides that nobody could foresee when it committed, and is paid when it is final.
    Audit {
        /// What one check executes again.
        unit: Unit,
    },
    /// Only the providers that the client names, because it trusts them. One replica can be enough.
    Trusted {
        /// At least as many as replicas, and at most [`TRUSTED_MAX`].
        providers: BTreeSet<ProviderId>,
    },
}

/// What an audit executes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// A whole shard, as it was: right for every job.
    #[default]
    Shard,
    /// Single items of a shard, each for the price of an item. For jobs whose every output depends on its item
    /// alone, whatever else is in the shard. Where that is not so, checks accuse wrongly; nobody is convicted for
    /// that, because a conviction executes the whole shard again, but it costs.
    Item,
}

impl Policy {
    /// Whether a provider may execute shards of the job.
    #[must_use]
    pub fn allows(&self, provider: ProviderId) -> bool {
        match self {
            Self::Replicate | Self::Audit { .. } => true,
            Self::Trusted { providers } => providers.contains(&provider),
        }
    }

    /// Whether it is what a package without the field says.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
