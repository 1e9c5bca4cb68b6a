//! Who may execute a job's shards.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::digest::{Digest, Domain};
use crate::ids::ProviderId;

/// Most providers that a job can name.
pub const TRUSTED_MAX: usize = 64;

/// Executions of a shard that an audited job must be ready to pay for at least: one, an audit that found nothing, one
/// that found something, and the two that confirm or refute what that one says.
pub const AUDITED_MIN: u8 = 5;

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

/// A client's share of the draw that decides which answers of its job are audited: 32 random bytes. The job's nonce
/// promises it, so that nobody else can give another; it is given when the aggregator has promised its own.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share(pub [u8; 32]);

impl Share {
    /// The nonce that promises it.
    #[must_use]
    pub fn nonce(&self) -> [u8; 16] {
        let promise = Digest::bind(Domain::Share, &[&self.0]);
        let mut nonce = [0; 16];
        for (to, from) in nonce.iter_mut().zip(promise.as_bytes()) {
            *to = *from;
        }
        nonce
    }

    /// Whether a package's nonce promises it.
    #[must_use]
    pub fn opens(&self, nonce: &str) -> bool {
        hex::encode(self.nonce()) == nonce
    }
}

impl std::fmt::Debug for Share {
    /// Not what it is: until the answers are in, whoever knows it knows half of what decides about audits.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Share(..)")
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        hex::encode(share.0)
    }
}

impl TryFrom<String> for Share {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(&text, &mut bytes).map_err(|_| Error::Field {
            key: "share".into(),
            value: text.chars().take(80).collect(),
            bound: "must be 64 hexadecimal digits".into(),
        })?;
        Ok(Self(bytes))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_opens_the_nonce_that_promises_it_and_no_other() {
        let share = Share([7; 32]);
        let nonce = hex::encode(share.nonce());
        assert!(share.opens(&nonce));
        assert!(!Share([8; 32]).opens(&nonce));
        let text = serde_json::to_string(&share).unwrap();
        assert_eq!(serde_json::from_str::<Share>(&text).unwrap(), share);
        for bad in ["", "07", "zz"] {
            let error = Share::try_from(bad.to_owned()).unwrap_err().to_string();
            assert!(error.contains("64 hexadecimal digits"), "{error}");
        }
    }
}
