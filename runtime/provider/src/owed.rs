//! What was committed to and not yet revealed: work that is done and not yet paid, for which the provider must stay.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jobs::ids::AssignmentId;
use jobs::time::Timestamp;
use tokio::time::sleep;

/// Pause between two looks at whether everything was asked for.
const LOOK: Duration = Duration::from_millis(50);

/// The reveals that an aggregator may still ask for, each until when.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    open: Mutex<BTreeMap<AssignmentId, Timestamp>>,
}

impl Owed {
    /// Notes a commitment. As many as the journal remembers at most: what nobody asks for is forgotten in time.
    pub(crate) fn add(&self, id: AssignmentId, until: Timestamp) {
        self.change(|open| open.insert(id, until));
    }

    /// Notes that a reveal was asked for, or never will be.
    pub(crate) fn settle(&self, id: AssignmentId) {
        self.change(|open| open.remove(&id));
    }

    /// Commitments that are still to be revealed.
    pub(crate) fn count(&self, now: Timestamp) -> usize {
        self.change(|open| {
            open.retain(|_, until| now < *until);
            open.len()
        })
    }

    /// Waits until nothing is to be revealed.
    pub(crate) async fn none(&self, now: impl Fn() -> Timestamp) {
        while self.count(now()) > 0 {
            sleep(LOOK).await;
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<AssignmentId, Timestamp>) -> T) -> T {
        change(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use jobs::digest::Digest;

    use super::*;

    #[tokio::test]
    async fn a_commitment_is_waited_for_until_it_is_revealed_or_overdue() {
        let owed = Owed::default();
        let id = |number: u8| AssignmentId(Digest::of(&[number]));
        owed.add(id(1), Timestamp(10));
        owed.add(id(2), Timestamp(20));
        assert_eq!(owed.count(Timestamp(9)), 2);
        owed.settle(id(2));
        owed.settle(id(3));
        assert_eq!(owed.count(Timestamp(9)), 1);
        assert_eq!(owed.count(Timestamp(10)), 0, "nobody asked in time");
        owed.none(|| Timestamp(10)).await;
    }
}
