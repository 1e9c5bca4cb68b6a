//! Who is near whom: providers of one operator, or of one network prefix, count as one.
//!
//! Replicas of a shard go to providers that are apart, pairwise; otherwise one party could agree with
//! itself. What a replica's provider was when it got its assignment stays with the replica: providers move,
//! and a verdict is about what was decided then.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jobs::ids::{OperatorId, ProviderId};
use ledger::Account;
use policy::auditors::Candidate;
use serde::{Deserialize, Serialize};

use super::Core;
use super::state::{By, Cause, Provider, Replica, ReplicaState, Shard};

/// What makes two providers near one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Kin {
    /// Who runs it.
    pub operator: OperatorId,
    /// From where it is reached; `None` where the aggregator does not mind.
    pub prefix: Option<u64>,
}

impl Kin {
    /// Whether the two have nothing to do with one another, as far as can be seen.
    #[must_use]
    pub fn is_apart(&self, other: &Self) -> bool {
        let one_network = self.prefix.is_some() && self.prefix == other.prefix;
        self.operator != other.operator && !one_network
    }

    /// Whether it is apart from all of them.
    pub(super) fn is_apart_from(&self, others: &[Self]) -> bool {
        others.iter().all(|other| self.is_apart(other))
    }
}

impl Core {
    /// Whether two known providers are of different operators and, where that counts, networks. Nobody is
    /// apart from itself or from a stranger.
    #[must_use]
    pub fn apart(&self, left: ProviderId, right: ProviderId) -> bool {
        let kin = |id| self.providers.get(&id).map(|provider| self.kin(provider));
        let both = kin(left).zip(kin(right));
        left != right && both.is_some_and(|(left, right)| left.is_apart(&right))
    }

    /// A known provider as the draw of auditors sees it.
    #[must_use]
    pub fn audit_candidate(&self, id: ProviderId) -> Option<Candidate> {
        let provider = self.providers.get(&id)?;
        let kin = self.kin(provider);
        // Where networks do not count, each has one of its own.
        let own = id.0.first_chunk().map_or(0, |own| u64::from_le_bytes(*own));
        let stake = self.ledger.balance(&Account::Stake(id)).available();
        let stake = u64::try_from(stake.unwrap_or_default().0);
        Some(Candidate {
            id: id.0,
            operator: kin.operator.0,
            prefix: kin.prefix.unwrap_or(own),
            class: *provider.class.as_bytes(),
            stake: stake.unwrap_or(u64::MAX),
        })
    }

    pub(super) fn kin(&self, provider: &Provider) -> Kin {
        let prefix = self.config.prefix_diversity.then_some(provider.prefix);
        Kin {
            operator: provider.offer.operator(),
            prefix,
        }
    }

    /// Whether `kin` may get a replica beside those whose word counts already.
    pub(super) fn may_join(&self, kin: Kin, held: &[Kin]) -> bool {
        kin.is_apart_from(held) || self.ignores_kin()
    }

    #[cfg(any(test, feature = "sabotage"))]
    fn ignores_kin(&self) -> bool {
        self.config.sabotage == Some(super::Sabotage::IgnoreKin)
    }

    #[cfg(not(any(test, feature = "sabotage")))]
    #[expect(
        clippy::unused_self,
        reason = "the sabotaged twin reads the configuration"
    )]
    const fn ignores_kin(&self) -> bool {
        false
    }
}

/// Whose word about a shard counts: who may still answer, who was judged, and who said that it fails. Who checked
/// an earlier answer said nothing about the next.
pub(super) fn held(shard: &Shard) -> Vec<Kin> {
    let answers = shard.replicas.iter().filter(|replica| !replica.check);
    answers.filter(|r| counts(r)).map(|r| r.kin).collect()
}

/// Whom a peer's check of an accepted answer must be apart from: who gave it, and the other peers who check it.
pub(super) fn held_in_audit(shard: &Shard) -> Vec<Kin> {
    let Some(audit) = &shard.audit else {
        return Vec::new();
    };
    let peers = audit.checks.iter().filter(|check| check.by == By::Peer);
    let checks = peers.filter_map(|check| check.replica);
    let all = [audit.subject].into_iter().chain(checks);
    let replicas = all.filter_map(|at| shard.replicas.get(at as usize));
    replicas.filter(|r| counts(r)).map(|r| r.kin).collect()
}

/// Whether what a replica says, or said, is part of what decides its shard.
pub(super) const fn counts(replica: &Replica) -> bool {
    match &replica.state {
        ReplicaState::Closed(Cause::Failed(failure)) => failure.may_be_the_jobs(),
        ReplicaState::Closed(_) => false,
        _ => true,
    }
}

/// A network, or a place that only one operator can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Network(u64),
    Own(OperatorId),
}

/// The size of the largest set of pairwise apart ones, counted up to `enough`.
///
/// Each operator and each network takes part once, so it is a matching of operators with networks; one
/// more is found along a path on which those matched before change their networks.
pub(super) fn most_apart(kin: impl IntoIterator<Item = Kin>, enough: usize) -> usize {
    let mut places: BTreeMap<OperatorId, BTreeSet<Place>> = BTreeMap::new();
    for Kin { operator, prefix } in kin {
        let place = prefix.map_or(Place::Own(operator), Place::Network);
        places.entry(operator).or_default().insert(place);
    }
    let mut taken = BTreeMap::new();
    for operator in places.keys() {
        if taken.len() >= enough {
            break;
        }
        match_one(&places, &mut taken, *operator);
    }
    taken.len()
}

fn match_one(
    places: &BTreeMap<OperatorId, BTreeSet<Place>>,
    taken: &mut BTreeMap<Place, OperatorId>,
    operator: OperatorId,
) {
    // By whom each place was reached.
    let mut reached: BTreeMap<Place, OperatorId> = BTreeMap::new();
    let mut queue = VecDeque::from([operator]);
    while let Some(next) = queue.pop_front() {
        for place in places.get(&next).into_iter().flatten() {
            if reached.contains_key(place) {
                continue;
            }
            reached.insert(*place, next);
            match taken.get(place) {
                Some(holder) => queue.push_back(*holder),
                None => return give(&reached, taken, *place),
            }
        }
    }
}

/// Gives a free place to who reached it, the place that one had to who reached that, and so on.
fn give(
    reached: &BTreeMap<Place, OperatorId>,
    taken: &mut BTreeMap<Place, OperatorId>,
    free: Place,
) {
    let mut free = Some(free);
    while let Some(place) = free {
        let Some(taker) = reached.get(&place) else {
            return;
        };
        let before = taken.iter().find(|(_, holder)| *holder == taker);
        free = before.map(|(place, _)| *place);
        taken.insert(place, *taker);
    }
}
