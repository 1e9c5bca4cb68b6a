//! The assignments under way: who holds which place, who waits for the answer, and how to stop one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobs::ids::{AggregatorId, AssignmentId};
use network::protocol::AssignReply;
use tokio::sync::watch;

/// Assignments held for each worker: one that runs, and one that an aggregator may send before it
/// knows that the last was cancelled.
pub(crate) const HELD_PER_WORKER: usize = 2;

/// Why an assignment is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// The aggregator no longer needs it.
    Cancelled,
    /// The daemon stops, and hands it back.
    Stopping,
}

/// What is answered to an assignment; nothing until it is decided.
pub(crate) type Answer = Option<AssignReply>;

#[derive(Debug)]
struct Held {
    aggregator: AggregatorId,
    answer: watch::Receiver<Answer>,
    halt: watch::Sender<Option<Halt>>,
}

/// Where somebody who brings an assignment ends up.
#[derive(Debug)]
pub(crate) enum Seat {
    /// It is new; the ticket is its place.
    Taken(Ticket),
    /// It is under way already; this is where its answer appears.
    Joined(watch::Receiver<Answer>),
    /// There is no place left.
    Full {
        /// Places taken.
        held: usize,
        /// Places in all.
        most: usize,
    },
}

/// The place of one assignment, until it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    desk: Arc<Desk>,
    id: AssignmentId,
    answer: watch::Sender<Answer>,
    halt: watch::Receiver<Option<Halt>>,
}

/// Every assignment under way, at most a named number.
#[derive(Debug)]
pub(crate) struct Desk {
    most: usize,
    held: Mutex<BTreeMap<AssignmentId, Held>>,
    count: watch::Sender<usize>,
}

impl Desk {
    pub(crate) fn new(workers: u16) -> Arc<Self> {
        Arc::new(Self {
            most: usize::from(workers).saturating_mul(HELD_PER_WORKER),
            held: Mutex::default(),
            count: watch::Sender::new(0),
        })
    }

    pub(crate) fn sit(self: &Arc<Self>, id: AssignmentId, aggregator: AggregatorId) -> Seat {
        let mut held = self.held();
        if let Some(known) = held.get(&id) {
            return Seat::Joined(known.answer.clone());
        }
        if held.len() >= self.most {
            return Seat::Full {
                held: held.len(),
                most: self.most,
            };
        }
        let (answer, answered) = watch::channel(None);
        let (halt, halted) = watch::channel(None);
        let known = Held {
            aggregator,
            answer: answered,
            halt,
        };
        held.insert(id, known);
        self.count.send_replace(held.len());
        Seat::Taken(Ticket {
            desk: Arc::clone(self),
            id,
            answer,
            halt: halted,
        })
    }

    /// Stops an assignment of this aggregator. `None`: it is not under way; `false`: it is another's.
    pub(crate) fn cancel(&self, id: AssignmentId, from: AggregatorId) -> Option<bool> {
        let held = self.held();
        let known = held.get(&id)?;
        if known.aggregator != from {
            return Some(false);
        }
        known.halt.send_replace(Some(Halt::Cancelled));
        Some(true)
    }

    /// Stops every assignment.
    pub(crate) fn halt_all(&self) {
        for known in self.held().values() {
            known.halt.send_replace(Some(Halt::Stopping));
        }
    }

    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until no assignment is under way.
    pub(crate) async fn empty(&self) {
        // The sender lives as long as we do.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<AssignmentId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Gives the answer to everyone who waits for it.
    pub(crate) fn answer(&self, reply: AssignReply) {
        self.answer.send_replace(Some(reply));
    }

    /// Where the answer appears.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Answer> {
        self.answer.subscribe()
    }

    /// Waits until the assignment shall stop.
    pub(crate) async fn halted(&self) -> Halt {
        let mut halt = self.halt.clone();
        let halted = halt.wait_for(Option::is_some).await;
        halted.ok().and_then(|halt| *halt).unwrap_or(Halt::Stopping)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut held = self.desk.held();
        held.remove(&self.id);
        self.desk.count.send_replace(held.len());
    }
}

#[cfg(test)]
mod tests {
    use jobs::digest::Digest;
    use jobs::ids::ProviderId;

    use super::*;

    const FROM: ProviderId = ProviderId([1; 32]);

    fn id(number: u8) -> AssignmentId {
        AssignmentId(Digest::of(&[number]))
    }

    #[test]
    fn an_assignment_has_one_place_and_the_desk_a_bound() {
        let desk = Desk::new(1);
        let Seat::Taken(first) = desk.sit(id(1), FROM) else {
            panic!("the desk is empty")
        };
        assert!(matches!(desk.sit(id(1), FROM), Seat::Joined(_)));
        let second = desk.sit(id(2), FROM);
        assert!(matches!(
            desk.sit(id(3), FROM),
            Seat::Full { held: 2, most: 2 }
        ));
        drop(second);
        assert_eq!(desk.count(), 1);
        drop(first);
        assert!(matches!(desk.sit(id(1), FROM), Seat::Taken(_)));
    }

    #[tokio::test]
    async fn only_who_assigned_may_cancel() {
        let desk = Desk::new(1);
        let Seat::Taken(ticket) = desk.sit(id(1), FROM) else {
            panic!("the desk is empty")
        };
        assert_eq!(desk.cancel(id(1), ProviderId([2; 32])), Some(false));
        assert_eq!(*ticket.halt.borrow(), None);
        assert_eq!(desk.cancel(id(2), FROM), None);
        assert_eq!(desk.cancel(id(1), FROM), Some(true));
        assert_eq!(ticket.halted().await, Halt::Cancelled);
    }
}
