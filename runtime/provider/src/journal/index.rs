//! What the file says, in memory: small entries; receipts stay on disk.

use std::collections::{BTreeMap, BTreeSet};

use jobs::digest::Digest;
use jobs::ids::{AggregatorId, AssignmentId};
use jobs::time::Timestamp;

use super::{Bounds, Known, OUTPUTS_KEPT_MS, Order, REPORT_GRACE_MS, Record};

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Of its frame, in bytes.
    pub(super) offset: u64,
    /// Of the record alone, in bytes.
    pub(super) length: usize,
}

/// What survives a compaction.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) sealed: Vec<[u8; 16]>,
    /// Records, oldest first; with the id if it is settled.
    pub(super) places: Vec<(Place, Option<AssignmentId>)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    place: Place,
    order: Order,
    state: Known,
    outputs: Option<Digest>,
    settled: bool,
}

impl Entry {
    /// Whether an aggregator may still ask for what came of it.
    fn is_needed(&self, now: Timestamp) -> bool {
        !self.settled || now < self.order.at.plus_ms(OUTPUTS_KEPT_MS)
    }
}

#[derive(Debug, Default)]
pub(super) struct Index {
    live: BTreeMap<AssignmentId, Entry>,
    /// Which assignments have these outputs.
    outputs: BTreeMap<Digest, BTreeSet<AssignmentId>>,
    sealed: BTreeSet<[u8; 16]>,
    unsettled: usize,
}

/// Half an id: two ids that share it would cost one refused assignment, never a second signature.
fn seal(id: AssignmentId) -> [u8; 16] {
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(id.0.as_bytes()) {
        *to = *from;
    }
    half
}

impl Index {
    /// Enters a record that is on disk.
    pub(super) fn apply(&mut self, place: Place, record: &Record) {
        match record {
            Record::Accepted(order) => self.enter(place, *order, Known::Accepted, None),
            Record::Signed(work) => {
                let outputs = work.opening.outcome.outputs.digest;
                self.enter(place, work.order, Known::Signed, Some(outputs));
            }
            Record::Failed(failed) => self.enter(place, failed.order, Known::Failed, None),
            Record::Settled(id) => {
                if let Some(entry) = self.live.get_mut(id)
                    && !std::mem::replace(&mut entry.settled, true)
                {
                    self.unsettled = self.unsettled.saturating_sub(1);
                }
            }
            Record::Sealed(ids) => self.sealed.extend(ids),
        }
    }

    fn enter(&mut self, place: Place, order: Order, state: Known, outputs: Option<Digest>) {
        let id = order.assignment;
        if let Some(outputs) = outputs {
            self.outputs.entry(outputs).or_default().insert(id);
        }
        let entry = Entry {
            place,
            order,
            state,
            outputs,
            settled: false,
        };
        let before = self.live.insert(id, entry);
        if before.is_none_or(|before| before.settled) {
            self.unsettled = self.unsettled.saturating_add(1);
        }
    }

    pub(super) fn known(&self, id: AssignmentId) -> Option<Known> {
        let live = self.live.get(&id).map(|entry| entry.state);
        live.or_else(|| self.sealed.contains(&seal(id)).then_some(Known::Sealed))
    }

    pub(super) fn owner(&self, id: AssignmentId) -> Option<AggregatorId> {
        self.live.get(&id).map(|entry| entry.order.aggregator)
    }

    pub(super) fn place(&self, id: AssignmentId) -> Option<Place> {
        self.live.get(&id).map(|entry| entry.place)
    }

    pub(super) fn is_unsettled(&self, id: AssignmentId) -> bool {
        self.live.get(&id).is_some_and(|entry| !entry.settled)
    }

    pub(super) fn unsettled(&self) -> Vec<AssignmentId> {
        let said = |entry: &&Entry| !entry.settled && entry.state != Known::Accepted;
        let unsettled = self.live.values().filter(said);
        unsettled.map(|entry| entry.order.assignment).collect()
    }

    pub(super) fn abandoned(&self) -> Vec<Order> {
        let accepted = |entry: &&Entry| entry.state == Known::Accepted;
        let abandoned = self.live.values().filter(accepted);
        abandoned.map(|entry| entry.order).collect()
    }

    pub(super) fn may_fetch(&self, aggregator: AggregatorId, digest: &Digest) -> bool {
        self.having(digest)
            .any(|entry| entry.order.aggregator == aggregator)
    }

    pub(super) fn needs(&self, digest: &Digest, now: Timestamp) -> bool {
        self.having(digest).any(|entry| entry.is_needed(now))
    }

    pub(super) fn keeps(&self, id: AssignmentId, now: Timestamp) -> bool {
        self.live.get(&id).is_some_and(|entry| entry.is_needed(now))
    }

    fn having(&self, digest: &Digest) -> impl Iterator<Item = &Entry> {
        let ids = self.outputs.get(digest).into_iter().flatten();
        ids.filter_map(|id| self.live.get(id))
    }

    pub(super) fn live(&self) -> usize {
        self.live.len()
    }

    /// Those signed and those failed since a time.
    pub(super) fn since(&self, time: Timestamp) -> (u64, u64) {
        let recent = self.live.values().filter(|entry| entry.order.at >= time);
        recent.fold((0, 0), |(signed, failed), entry| match entry.state {
            Known::Signed => (signed + 1, failed),
            Known::Failed => (signed, failed + 1),
            Known::Accepted | Known::Sealed => (signed, failed),
        })
    }

    /// Assignments that an aggregator has yet to be told about, and those under way.
    pub(super) const fn open(&self) -> usize {
        self.unsettled
    }

    pub(super) fn sealed(&self) -> usize {
        self.sealed.len()
    }

    /// Whether a compaction would at least halve what is live: otherwise every append would be one.
    pub(super) fn worth_compacting(&self, bounds: Bounds) -> bool {
        let settled = self.live.len().saturating_sub(self.unsettled);
        settled >= self.live.len().div_ceil(2) && (self.live.len() > 1 || bounds.live <= 1)
    }

    /// What to keep: everything unsettled, and the newest of the rest up to half of the bounds. What
    /// was signed and goes leaves its seal.
    pub(super) fn compacted(&self, bounds: Bounds, now: Timestamp) -> Kept {
        let mut entries: Vec<&Entry> = self.live.values().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse((entry.order.at, entry.place.offset)));
        let (count_max, bytes_max) = (bounds.live.div_ceil(2), bounds.bytes.div_ceil(2));
        let (mut count, mut bytes) = (0_usize, 0_u64);
        let mut kept = Kept {
            sealed: self.sealed.iter().copied().collect(),
            places: Vec::new(),
        };
        for entry in entries {
            let order = entry.order;
            let overdue = order.at.plus_ms(order.due_ms).plus_ms(REPORT_GRACE_MS);
            let needed = !entry.settled && (now < overdue || entry.state == Known::Accepted);
            if needed || (count < count_max && bytes < bytes_max) {
                count = count.saturating_add(1);
                bytes = bytes.saturating_add(entry.place.length as u64);
                let settled = entry.settled.then_some(order.assignment);
                kept.places.push((entry.place, settled));
            } else if entry.outputs.is_some() {
                kept.sealed.push(seal(order.assignment));
            }
        }
        kept.places.reverse();
        kept
    }
}
