//! Randomness that no single party knew when the provider committed.
//!
//! Client and aggregator each commit to a share before the assignment goes out, and reveal it after the
//! commitments are in; a public beacon's round, where there is one, is named beforehand and joins them. As
//! long as one source is honest nobody knows the outcome in time. Who reveals last could still withhold a
//! share whose outcome it dislikes; that is a fault with a name, and audits every item.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Sources that must have committed: with one alone, that one would know.
pub const SOURCES_MIN: usize = 2;

/// Domain of a commitment to a share.
const COMMIT_DOMAIN: &str = "assay policy 2026 beacon commitment";
/// Domain of the combined seed.
const SEED_DOMAIN: &str = "assay policy 2026 beacon seed";

/// A source of randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Party {
    /// Whose job it is.
    Client,
    /// Who decides.
    Aggregator,
    /// A beacon that everybody can look up, at a round that was named beforehand. Its commitment is the
    /// digest of chain and round, which [`name_round`] makes.
    Public,
}

impl Party {
    const fn tag(self) -> u8 {
        match self {
            Self::Client => 0,
            Self::Aggregator => 1,
            Self::Public => 2,
        }
    }
}

/// What a party contributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share(pub [u8; 32]);

/// A party's promise of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareCommitment(pub [u8; 32]);

/// The commitment of a party to a share, for one `context`: the digest of what the beacon is for.
#[must_use]
pub fn commit(context: &[u8; 32], party: Party, share: &Share) -> ShareCommitment {
    let mut hasher = blake3::Hasher::new_derive_key(COMMIT_DOMAIN);
    hasher.update(context);
    hasher.update(&[party.tag()]);
    hasher.update(&share.0);
    ShareCommitment(*hasher.finalize().as_bytes())
}

/// What stands for a commitment of a public beacon: which chain, and a round that is still to come. Whoever
/// brings its value has checked the beacon's own signature.
#[must_use]
pub fn name_round(chain: &[u8; 32], round: u64) -> ShareCommitment {
    let mut hasher = blake3::Hasher::new_derive_key(COMMIT_DOMAIN);
    hasher.update(chain);
    hasher.update(&round.to_le_bytes());
    ShareCommitment(*hasher.finalize().as_bytes())
}

/// Randomness for the audits of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beacon {
    seed: [u8; 32],
    forced: bool,
}

impl Beacon {
    pub(crate) const fn new(seed: [u8; 32], forced: bool) -> Self {
        Self { seed, forced }
    }

    /// The seed.
    #[must_use]
    pub const fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// Whether a share is missing, so that everything is audited.
    #[must_use]
    pub const fn is_forced(&self) -> bool {
        self.forced
    }
}

/// Why a party's share is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// It revealed nothing in time.
    Withheld,
    /// What it revealed does not open its commitment.
    Opening,
}

/// A beacon, and who owes a share to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The beacon of the shares that did arrive.
    pub beacon: Beacon,
    /// Who is to blame for what is missing, and who pays for auditing everything.
    pub faults: Vec<(Party, Fault)>,
}

/// Combines what was revealed.
///
/// # Errors
/// [`Error::FewSources`] with fewer than [`SOURCES_MIN`] commitments, [`Error::Named`] if a party is named
/// more than once or reveals what it never committed to, [`Error::NoShare`] if no share opens.
pub fn combine(
    context: &[u8; 32],
    committed: &[(Party, ShareCommitment)],
    revealed: &[(Party, Share)],
) -> Result<Draw, Error> {
    if committed.len() < SOURCES_MIN {
        return Err(Error::FewSources {
            sources: committed.len(),
            bound: SOURCES_MIN,
        });
    }
    let named = |party: Party| {
        let commitments = committed.iter().filter(|(p, _)| *p == party).count();
        let shares = revealed.iter().filter(|(p, _)| *p == party).count();
        (commitments, shares)
    };
    let mut committed = committed.to_vec();
    committed.sort_unstable_by_key(|(party, _)| *party);
    for party in [Party::Client, Party::Aggregator, Party::Public] {
        let (commitments, shares) = named(party);
        if commitments > 1 || shares > commitments {
            let times = commitments.max(shares);
            return Err(Error::Named { party, times });
        }
    }
    let mut hasher = blake3::Hasher::new_derive_key(SEED_DOMAIN);
    hasher.update(context);
    let mut faults = Vec::new();
    for (party, commitment) in &committed {
        let share = revealed.iter().find(|(p, _)| p == party);
        let fault = match share {
            None => Some(Fault::Withheld),
            Some((_, share)) if !opens(context, *party, share, commitment) => Some(Fault::Opening),
            Some((_, share)) => {
                hasher.update(&[party.tag()]);
                hasher.update(&share.0);
                None
            }
        };
        faults.extend(fault.map(|fault| (*party, fault)));
    }
    if faults.len() == committed.len() {
        let sources = committed.len();
        return Err(Error::NoShare { sources });
    }
    let seed = *hasher.finalize().as_bytes();
    let beacon = Beacon::new(seed, !faults.is_empty());
    Ok(Draw { beacon, faults })
}

/// A public beacon's value is what its chain says it is; a party's share must open its commitment.
fn opens(context: &[u8; 32], party: Party, share: &Share, commitment: &ShareCommitment) -> bool {
    party == Party::Public || commit(context, party, share) == *commitment
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A beacon to test with.
    pub(crate) fn beacon(number: u8) -> Beacon {
        Beacon::new([number; 32], false)
    }

    const CONTEXT: [u8; 32] = [9; 32];
    const CLIENT: (Party, Share) = (Party::Client, Share([1; 32]));
    const AGGREGATOR: (Party, Share) = (Party::Aggregator, Share([2; 32]));
    const PUBLIC: (Party, Share) = (Party::Public, Share([3; 32]));

    fn committed(shares: &[(Party, Share)]) -> Vec<(Party, ShareCommitment)> {
        let one = |(party, share): &(Party, Share)| (*party, commit(&CONTEXT, *party, share));
        shares.iter().map(one).collect()
    }

    #[test]
    fn every_share_and_the_context_change_the_seed_and_order_does_not() {
        let seed = |context: [u8; 32], shares: &[(Party, Share)]| {
            let one = |(party, share): &(Party, Share)| (*party, commit(&context, *party, share));
            let committed: Vec<_> = shares.iter().map(one).collect();
            *combine(&context, &committed, shares).unwrap().beacon.seed()
        };
        let plain = seed(CONTEXT, &[CLIENT, AGGREGATOR]);
        assert_eq!(plain, seed(CONTEXT, &[AGGREGATOR, CLIENT]));
        let other = (Party::Client, Share([4; 32]));
        let others = [
            seed([8; 32], &[CLIENT, AGGREGATOR]),
            seed(CONTEXT, &[other, AGGREGATOR]),
            seed(CONTEXT, &[CLIENT, (Party::Aggregator, Share([4; 32]))]),
            seed(CONTEXT, &[CLIENT, AGGREGATOR, PUBLIC]),
            seed(CONTEXT, &[CLIENT, PUBLIC]),
        ];
        for (at, seed) in others.iter().enumerate() {
            assert!(*seed != plain && !others[..at].contains(seed), "{at}");
        }
    }

    #[test]
    fn who_withholds_or_lies_is_named_and_everything_is_audited() {
        let both = committed(&[CLIENT, AGGREGATOR]);
        let wrong = (Party::Aggregator, Share([7; 32]));
        for (revealed, faults) in [
            (vec![CLIENT, AGGREGATOR], vec![]),
            (vec![CLIENT], vec![(Party::Aggregator, Fault::Withheld)]),
            (vec![AGGREGATOR], vec![(Party::Client, Fault::Withheld)]),
            (
                vec![CLIENT, wrong],
                vec![(Party::Aggregator, Fault::Opening)],
            ),
        ] {
            let draw = combine(&CONTEXT, &both, &revealed).unwrap();
            assert_eq!(draw.beacon.is_forced(), !faults.is_empty(), "{revealed:?}");
            assert_eq!(draw.faults, faults);
        }
    }

    #[test]
    fn one_source_alone_is_refused_and_so_is_whoever_speaks_twice() {
        let both = committed(&[CLIENT, AGGREGATOR]);
        let twice = committed(&[CLIENT, CLIENT]);
        let stranger = (Party::Public, 1);
        for (committed, revealed, error) in [
            (
                &both[..1],
                vec![CLIENT],
                Error::FewSources {
                    sources: 1,
                    bound: 2,
                },
            ),
            (&both[..], vec![], Error::NoShare { sources: 2 }),
            (
                &twice[..],
                vec![],
                Error::Named {
                    party: Party::Client,
                    times: 2,
                },
            ),
            (
                &both[..],
                vec![CLIENT, CLIENT],
                Error::Named {
                    party: Party::Client,
                    times: 2,
                },
            ),
            (
                &both[..],
                vec![PUBLIC],
                Error::Named {
                    party: stranger.0,
                    times: stranger.1,
                },
            ),
        ] {
            assert_eq!(combine(&CONTEXT, committed, &revealed), Err(error));
        }
    }

    #[test]
    fn a_commitment_is_for_one_party_and_one_purpose() {
        let share = Share([1; 32]);
        let own = commit(&CONTEXT, Party::Client, &share);
        assert_ne!(own, commit(&CONTEXT, Party::Aggregator, &share));
        assert_ne!(own, commit(&[8; 32], Party::Client, &share));
        assert_ne!(name_round(&CONTEXT, 1), name_round(&CONTEXT, 2));
    }
}
