//! The assignments under way: who holds which place, who waits for the answer, and how to stop one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobs::assignment::Assignment;
use jobs::ids::{AggregatorId, AssignmentId, JobId};
use jobs::money::Amount;
use jobs::time::Timestamp;
use network::protocol::AssignReply;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Assignments held for each worker: one that runs, and one that an aggregator may send before it
/// knows that the last was cancelled.
pub(crate) const HELD_PER_WORKER: usize = 2;

/// How well an aggregator is known, which bounds the places that it may take: who stalls the fetch of
/// its blobs shall not keep the others out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No other aggregator has our offer: every place.
    Alone,
    /// The operator named it: half of the places, one for each worker.
    Named,
    /// It was found while the operator named others: half of the places, shared with all like it, since
    /// anyone can be found under many names.
    Found,
}

/// Why an assignment is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// The aggregator no longer needs it.
    Cancelled,
    /// The daemon stops, and hands it back.
    Stopping,
    /// The operator aborted it.
    Aborted,
}

/// How far an assignment has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Its blobs are fetched.
    #[default]
    Fetching,
    /// It waits for a worker, or has one.
    Running,
}

/// An assignment under way, for those who look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    /// Which.
    pub assignment: AssignmentId,
    /// Of which job.
    pub job: JobId,
    /// Which shard of it.
    pub shard: u32,
    /// How many items.
    pub items: u32,
    /// Whose.
    pub aggregator: AggregatorId,
    /// What it can earn.
    pub reward_max: Amount,
    /// Since when it is held.
    pub since: Timestamp,
    /// Milliseconds from its acceptance within which a commitment is due.
    pub due_ms: u64,
    /// How far it has got.
    pub stage: Stage,
}

/// What is answered to an assignment; nothing until it is decided.
pub(crate) type Answer = Option<AssignReply>;

#[derive(Debug)]
struct Held {
    aggregator: AggregatorId,
    standing: Standing,
    answer: watch::Receiver<Answer>,
    halt: watch::Sender<Option<Halt>>,
    /// What it is, once that is known.
    view: Option<TaskView>,
}

/// Where somebody who brings an assignment ends up.
#[derive(Debug)]
pub(crate) enum Seat {
    /// It is new; the ticket is its place.
    Taken(Ticket),
    /// It is under way already; this is where its answer appears.
    Joined(watch::Receiver<Answer>),
    /// It is under way already, for another aggregator.
    Anothers,
    /// There is no place left.
    Full {
        /// Places taken.
        held: usize,
        /// Places in all.
        most: usize,
    },
    /// There is no place left for this aggregator.
    ShareFull {
        /// Places that it, or all like it, take.
        held: usize,
        /// The bound.
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

    /// Whether the assignment is under way.
    pub(crate) fn holds(&self, id: AssignmentId) -> bool {
        self.held().contains_key(&id)
    }

    pub(crate) fn sit(
        self: &Arc<Self>,
        id: AssignmentId,
        aggregator: AggregatorId,
        standing: Standing,
    ) -> Seat {
        let mut held = self.held();
        match held.get(&id) {
            Some(known) if known.aggregator == aggregator => {
                return Seat::Joined(known.answer.clone());
            }
            Some(_) => return Seat::Anothers,
            None => {}
        }
        if held.len() >= self.most {
            return Seat::Full {
                held: held.len(),
                most: self.most,
            };
        }
        if let Some((held, most)) = self.share_full(&held, aggregator, standing) {
            return Seat::ShareFull { held, most };
        }
        let (answer, answered) = watch::channel(None);
        let (halt, halted) = watch::channel(None);
        let known = Held {
            aggregator,
            standing,
            answer: answered,
            halt,
            view: None,
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

    /// Places taken and the bound, if the aggregator may take no more.
    fn share_full(
        &self,
        held: &BTreeMap<AssignmentId, Held>,
        aggregator: AggregatorId,
        standing: Standing,
    ) -> Option<(usize, usize)> {
        let half = self.most.div_ceil(2);
        let count = |counts: &dyn Fn(&Held) -> bool| held.values().filter(|&at| counts(at)).count();
        let taken = match standing {
            Standing::Alone => return None,
            Standing::Named => count(&|at| at.aggregator == aggregator),
            Standing::Found => {
                count(&|at| at.aggregator == aggregator || at.standing == Standing::Found)
            }
        };
        (taken >= half).then_some((taken, half))
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

    /// Stops an assignment for the operator. Whether it was under way.
    pub(crate) fn abort(&self, id: AssignmentId) -> bool {
        let held = self.held();
        let known = held.get(&id);
        known.is_some_and(|known| {
            known.halt.send_replace(Some(Halt::Aborted));
            true
        })
    }

    /// Everything under way.
    pub(crate) fn list(&self) -> Vec<TaskView> {
        let held = self.held();
        held.values().filter_map(|held| held.view.clone()).collect()
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

    /// Says what it is, for those who look.
    pub(crate) fn describe(&self, assignment: &Assignment, since: Timestamp) {
        if let Some(held) = self.desk.held().get_mut(&self.id) {
            held.view = Some(TaskView {
                assignment: self.id,
                job: assignment.job,
                shard: assignment.shard,
                items: assignment.items,
                aggregator: assignment.aggregator,
                reward_max: assignment.reward_max,
                since,
                due_ms: assignment.due_ms,
                stage: Stage::Fetching,
            });
        }
    }

    /// Says that it is accepted.
    pub(crate) fn runs(&self) {
        let mut held = self.desk.held();
        if let Some(view) = held.get_mut(&self.id).and_then(|held| held.view.as_mut()) {
            view.stage = Stage::Running;
        }
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
        let Seat::Taken(first) = desk.sit(id(1), FROM, Standing::Alone) else {
            panic!("the desk is empty")
        };
        assert!(matches!(
            desk.sit(id(1), FROM, Standing::Alone),
            Seat::Joined(_)
        ));
        let second = desk.sit(id(2), FROM, Standing::Alone);
        assert!(matches!(
            desk.sit(id(3), FROM, Standing::Alone),
            Seat::Full { held: 2, most: 2 }
        ));
        drop(second);
        assert_eq!(desk.count(), 1);
        drop(first);
        assert!(matches!(
            desk.sit(id(1), FROM, Standing::Alone),
            Seat::Taken(_)
        ));
    }

    #[test]
    fn an_assignment_under_way_is_joined_by_its_own_aggregator_alone() {
        let desk = Desk::new(1);
        let seat = desk.sit(id(1), FROM, Standing::Named);
        assert!(matches!(seat, Seat::Taken(_)) && desk.holds(id(1)) && !desk.holds(id(2)));
        let rival = desk.sit(id(1), ProviderId([2; 32]), Standing::Named);
        assert!(matches!(rival, Seat::Anothers), "{rival:?}");
        let own = desk.sit(id(1), FROM, Standing::Named);
        assert!(matches!(own, Seat::Joined(_)), "{own:?}");
    }

    #[test]
    fn nobody_takes_the_places_of_another_aggregator() {
        let desk = Desk::new(2);
        let mut number = 0;
        let mut sit = |from: u8, standing| {
            number += 1;
            desk.sit(id(number), ProviderId([from; 32]), standing)
        };
        // Found under two names, one stalls as many as it can.
        let stalled: Vec<Seat> = [2, 3, 2, 3].map(|from| sit(from, Standing::Found)).into();
        let refused = Seat::ShareFull { held: 2, most: 2 };
        for seat in &stalled[2..] {
            assert_eq!(format!("{seat:?}"), format!("{refused:?}"));
        }
        let named: Vec<Seat> = [1, 1].map(|from| sit(from, Standing::Named)).into();
        assert!(
            named.iter().all(|seat| matches!(seat, Seat::Taken(_))),
            "{named:?}"
        );
        drop(stalled);
        let own = sit(1, Standing::Named);
        assert!(
            matches!(own, Seat::ShareFull { held: 2, most: 2 }),
            "{own:?}"
        );
        assert!(matches!(sit(4, Standing::Named), Seat::Taken(_)));
    }

    #[tokio::test]
    async fn only_who_assigned_may_cancel() {
        let desk = Desk::new(1);
        let Seat::Taken(ticket) = desk.sit(id(1), FROM, Standing::Alone) else {
            panic!("the desk is empty")
        };
        assert_eq!(desk.cancel(id(1), ProviderId([2; 32])), Some(false));
        assert_eq!(*ticket.halt.borrow(), None);
        assert_eq!(desk.cancel(id(2), FROM), None);
        assert_eq!(desk.cancel(id(1), FROM), Some(true));
        assert_eq!(ticket.halted().await, Halt::Cancelled);
    }
}
