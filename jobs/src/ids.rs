//! Names of the parties and of what they exchange. Each is a type of its own, so that a client can
//! never be paid as a provider by a slip of an argument.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::digest::{Digest, Domain};
use crate::spelling::text_for_people;

macro_rules! digest_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Digest);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.short())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                text.parse().map(Self)
            }
        }
    };
}

digest_id! {
    /// A job: the digest of its package's canonical bytes.
    JobId
}
digest_id! {
    /// A client: the digest of its public key in SPKI DER form.
    ClientId
}
digest_id! {
    /// A case against an answer: the digest of its accusation's canonical bytes.
    CaseId
}
digest_id! {
    /// One shard given to one provider by one aggregator, once.
    AssignmentId
}

impl AssignmentId {
    /// The id of the `attempt`-th assignment of a shard, which `aggregator` gave to `provider`. It
    /// names the aggregator so that no other can use up an id before it.
    pub fn derive(
        aggregator: AggregatorId,
        job: JobId,
        shard: u32,
        attempt: u32,
        provider: ProviderId,
    ) -> Self {
        Self(Digest::bind(
            Domain::Assignment,
            &[
                &aggregator.0,
                job.0.as_bytes(),
                &shard.to_le_bytes(),
                &attempt.to_le_bytes(),
                &provider.0,
            ],
        ))
    }
}

/// A provider or an aggregator: its Ed25519 public key, which is also its libp2p identity.
/// Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderId(pub [u8; 32]);

/// An aggregator's key has the same form as a provider's.
pub type AggregatorId = ProviderId;

/// Who runs a provider, and perhaps others: a key of the same form. Whoever names none is its own operator.
pub type OperatorId = ProviderId;

impl ProviderId {
    /// The first eight hexadecimal digits, for people.
    pub fn short(&self) -> String {
        hex::encode(self.0).chars().take(8).collect()
    }
}

impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProviderId({})", self.short())
    }
}

impl FromStr for ProviderId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| Error::ProviderId {
            value: text.chars().take(80).collect(),
        })?;
        Ok(Self(bytes))
    }
}

text_for_people!(ProviderId, [u8; 32]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_one_shard_given_to_one_provider_by_one_aggregator_once() {
        let (job, provider) = (JobId(Digest::of(b"job")), ProviderId([1; 32]));
        let from = ProviderId([3; 32]);
        let id = AssignmentId::derive(from, job, 1, 2, provider);
        assert_eq!(id, AssignmentId::derive(from, job, 1, 2, provider));
        for other in [
            AssignmentId::derive(ProviderId([2; 32]), job, 1, 2, provider),
            AssignmentId::derive(from, JobId(Digest::of(b"other")), 1, 2, provider),
            AssignmentId::derive(from, job, 2, 1, provider),
            AssignmentId::derive(from, job, 1, 3, provider),
            AssignmentId::derive(from, job, 1, 2, ProviderId([2; 32])),
        ] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn ids_survive_text_and_bytes() {
        let provider = ProviderId([0xab; 32]);
        assert_eq!(provider.to_string(), "ab".repeat(32));
        assert_eq!(provider.to_string().parse(), Ok(provider));
        let json = serde_json::to_string(&provider).unwrap();
        assert_eq!(serde_json::from_str::<ProviderId>(&json).unwrap(), provider);
        let bytes = postcard::to_stdvec(&provider).unwrap();
        assert_eq!(bytes.len(), 32);
        assert_eq!(
            postcard::from_bytes::<ProviderId>(&bytes).unwrap(),
            provider
        );
        let job = JobId(Digest::of(b"job"));
        assert_eq!(job.to_string().parse(), Ok(job));
        for bad in ["", "ab", &"zz".repeat(32), &"ab".repeat(33)] {
            assert!(bad.parse::<ProviderId>().is_err(), "{bad}");
        }
    }
}
