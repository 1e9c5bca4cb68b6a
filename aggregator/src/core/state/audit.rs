//! What the core remembers of audits.

use jobs::digest::BlobRef;
use jobs::time::Timestamp;
use policy::beacon::Beacon;
use serde::{Deserialize, Serialize};

use super::{Cause, Replica, ReplicaState, Shard};
use crate::core::event::{Chance, Finding};

/// What decides who executes a job's shards and which of its answers are audited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draw {
    /// The aggregator's share.
    pub own: Chance,
    /// The client's.
    pub client: Option<Chance>,
    /// By what it is drawn who executes its shards, once the first was given out: what the two amount to, or the
    /// aggregator's alone where the client had given none.
    pub order: Option<Beacon>,
    /// Whether the client's share is in that.
    pub by_both: bool,
    /// Until when the client may give it.
    pub due: Timestamp,
    /// By what audits are drawn: what the two amount to, once both are there or the client was too late.
    pub beacon: Option<Beacon>,
}

/// How an accepted answer is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Position of the replica whose answer it is.
    pub subject: u32,
    /// Number of its first unit among all that its provider ever answered.
    pub first: u64,
    /// How many units it has: items, or one for the whole shard.
    pub units: u32,
    /// Whether it was decided what is checked.
    pub drawn: bool,
    /// Final as soon as no check is open, however little its provider has answered since.
    pub hurried: bool,
    /// Whether a check found something else.
    pub accused: bool,
    /// Checks that found nothing and are counted for its provider.
    pub passed: u32,
    /// Its checks.
    pub checks: Vec<Check>,
}

/// Who checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    /// Somebody who has nothing to do with the one whose answer it is.
    Peer,
    /// Somebody whom the operator trusts.
    Referee,
}

/// One execution that checks an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Whose.
    pub by: By,
    /// Positions in the shard of the items that are executed again; nothing for all.
    pub items: Vec<u32>,
    /// These items, once the driver cut them out.
    pub input: Option<BlobRef>,
    /// The newest replica that does it.
    pub replica: Option<u32>,
    /// What came of it.
    pub finding: Option<Finding>,
}

/// Bits of a check's name that say which of an audit's checks it is; the others say which audit's.
const NAME_BITS: u32 = 8;

impl Audit {
    /// The name of a check among all that a shard ever has: its answers may be taken back, and a sample that was cut
    /// for an earlier one must not be taken for a later one's.
    #[must_use]
    pub const fn name_of(&self, position: u32) -> u32 {
        (self.subject << NAME_BITS) | position
    }

    /// The check of that name, unless it is another audit's.
    pub fn named_mut(&mut self, name: u32) -> Option<&mut Check> {
        let position = name.checked_sub(self.subject << NAME_BITS)?;
        self.checks.get_mut(position as usize)
    }

    /// Whether the answer is what a judge found, in place of one that did not stand.
    #[must_use]
    pub const fn is_adopted(&self) -> bool {
        self.units == 0
    }

    /// Whether a check has no result yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.drawn || self.checks.iter().any(|check| check.finding.is_none())
    }

    /// The check that a replica does.
    #[must_use]
    pub fn check_of(&self, position: u32) -> Option<&Check> {
        self.checks.iter().find(|c| c.replica == Some(position))
    }
}

impl Check {
    /// Whether it executes the whole shard.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether somebody is needed to do it.
    fn is_wanting(&self, shard: &Shard) -> bool {
        let replica = self.replica.and_then(|at| shard.replicas.get(at as usize));
        let gone = |replica: &Replica| matches!(replica.state, ReplicaState::Closed(_));
        self.input.is_some() && self.finding.is_none() && replica.is_none_or(gone)
    }
}

impl Shard {
    /// Checks that somebody is needed for, by position.
    pub fn wanting_checks(&self) -> impl Iterator<Item = (u32, &Check)> {
        let checks = self.audit.iter().flat_map(|audit| &audit.checks);
        let numbered = (0u32..).zip(checks);
        numbered.filter(|(_, check)| check.is_wanting(self))
    }

    /// The items that a replica executes, as positions; nothing for all.
    #[must_use]
    pub fn sample_of(&self, position: u32) -> &[u32] {
        let audit = self.audit.as_ref();
        let check = audit.and_then(|audit| audit.check_of(position));
        check.map_or(&[], |check| &check.items)
    }

    /// Whether a replica checked an answer that is gone. Its provider may answer now, or check another.
    #[must_use]
    pub fn is_past_check(&self, position: u32, replica: &Replica) -> bool {
        let audit = self.audit.as_ref();
        let now = audit.and_then(|audit| audit.check_of(position));
        let over = replica.commitment.is_some()
            || matches!(replica.state, ReplicaState::Closed(Cause::Moot));
        replica.check && over && now.is_none()
    }

    /// What a replica executes.
    #[must_use]
    pub fn input_of(&self, position: u32) -> Option<BlobRef> {
        let audit = self.audit.as_ref();
        let check = audit.and_then(|audit| audit.check_of(position));
        check.map_or(self.input, |check| check.input)
    }

    /// How many items a replica executes.
    #[must_use]
    pub fn items_of(&self, position: u32) -> u32 {
        match self.sample_of(position).len() {
            0 => self.items,
            sampled => u32::try_from(sampled).unwrap_or(u32::MAX),
        }
    }

    /// Live replicas that are to answer. Checks of an answer that is gone may be live a little longer.
    #[must_use]
    pub fn answering(&self) -> usize {
        let live = self.replicas.iter().filter(|r| r.is_live() && !r.check);
        live.count()
    }

    /// Executions that somebody is still needed for.
    #[must_use]
    pub fn unassigned(&self) -> usize {
        let Some(audit) = &self.audit else {
            let missing = usize::from(self.wanted).saturating_sub(self.answering());
            return if self.accepted.is_some() { 0 } else { missing };
        };
        let gone = |check: &&Check| {
            let replica = check.replica.and_then(|at| self.replicas.get(at as usize));
            let closed = |r: &Replica| matches!(r.state, ReplicaState::Closed(_));
            check.finding.is_none() && replica.is_none_or(closed)
        };
        audit.checks.iter().filter(gone).count()
    }
}
