//! Who may execute a job's shards.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::ProviderId;

/// Most providers that a job can name.
pub const TRUSTED_MAX: usize = 64;

/// By what a client comes to rely on an answer. How many replicas must agree is said beside it
/// ([`crate::package::Replication`]).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", deny_unknown_fields)]
pub enum Policy {
    /// Any provider in good standing; replicas that do not know of one another must agree.
    #[default]
    Replicate,
    /// Only the providers that the client names, because it trusts them. One replica can be enough.
    Trusted {
        /// At least as many as replicas, and at most [`TRUSTED_MAX`].
        providers: BTreeSet<ProviderId>,
    },
}

impl Policy {
    /// Whether a provider may execute shards of the job.
    #[must_use]
    pub fn allows(&self, provider: ProviderId) -> bool {
        match self {
            Self::Replicate => true,
            Self::Trusted { providers } => providers.contains(&provider),
        }
    }

    /// Whether it is what a package without the field says.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
