//! Whose shard runs next.
//!
//! A shard waits until a worker is free; then at most one shard of each other job that waits goes
//! before it. A job of ten thousand shards therefore does not keep a job of one waiting for longer
//! than it takes the workers to finish what they are at.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use host_gpu::FairQueue;
use jobs::ids::JobId;
use tokio::sync::oneshot;

use crate::failure::FailureKind;

/// Tasks that wait for a worker at most; one more is refused.
pub const WAITING_MAX: u64 = 1024;

/// The places of a pool, and who waits for one.
#[derive(Debug)]
pub(super) struct Turns(Mutex<Desk>);

#[derive(Debug)]
struct Desk {
    free: usize,
    /// By job; what is of no job, such as a probe, is one more tenant.
    waiting: FairQueue<Option<JobId>, oneshot::Sender<Place>>,
}

/// A place that is taken. Dropping it hands it on.
#[derive(Debug)]
pub(super) struct Place(Option<Arc<Turns>>);

impl Desk {
    /// They neither fill the queue nor take their job's turn.
    fn forget_those_who_gave_up(&mut self) {
        self.waiting.retain(|turn| !turn.is_closed());
    }
}

impl Turns {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Desk {
            free: places,
            waiting: FairQueue::default(),
        })))
    }

    /// Waits for a place. Dropping the future gives the turn up.
    pub(super) async fn place(self: &Arc<Self>, job: Option<JobId>) -> Result<Place, FailureKind> {
        let turn = {
            let mut desk = self.desk();
            if desk.free > 0 {
                desk.free = desk.free.saturating_sub(1);
                return Ok(Place(Some(Arc::clone(self))));
            }
            if desk.waiting.len() as u64 >= WAITING_MAX {
                desk.forget_those_who_gave_up();
            }
            let waiting = desk.waiting.len() as u64;
            if waiting >= WAITING_MAX {
                return Err(FailureKind::Busy {
                    waiting,
                    limit: WAITING_MAX,
                });
            }
            let (place, turn) = oneshot::channel();
            desk.waiting.push(job, place);
            turn
        };
        turn.await.map_err(FailureKind::lost)
    }

    /// Gives a place to whose turn it is; nobody else can take it in between.
    fn hand_on(self: &Arc<Self>) {
        loop {
            let next = {
                let mut desk = self.desk();
                desk.forget_those_who_gave_up();
                let Some(next) = desk.waiting.pop() else {
                    desk.free = desk.free.saturating_add(1);
                    return;
                };
                next
            };
            match next.send(Place(Some(Arc::clone(self)))) {
                Ok(()) => return,
                // They gave up waiting just now. The place goes to the next instead of being handed on here.
                Err(mut place) => drop(place.0.take()),
            }
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.hand_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use jobs::digest::Digest;

    use super::*;

    fn job(name: &str) -> Option<JobId> {
        Some(JobId(Digest::of(name.as_bytes())))
    }

    fn polled<F: Future>(future: &mut std::pin::Pin<Box<F>>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn a_crowd_does_not_keep_a_late_job_waiting() {
        let turns = Turns::new(1);
        let mut first = Some(
            polled(&mut Box::pin(turns.place(job("a"))))
                .unwrap()
                .unwrap(),
        );
        let names = ["a", "a", "a", "b", "c", "b"];
        let mut waiting: Vec<_> = names
            .iter()
            .map(|name| (*name, Box::pin(turns.place(job(name)))))
            .collect();
        for (_, future) in &mut waiting {
            assert!(polled(future).is_none());
        }
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(first.take());
            let at = waiting.iter_mut().position(|(_, future)| {
                first = polled(future).map(Result::unwrap);
                first.is_some()
            });
            order.push(waiting.remove(at.unwrap()).0);
        }
        assert_eq!(order, ["a", "b", "c", "a", "b", "a"]);
    }

    #[test]
    fn a_full_queue_refuses_by_name_and_a_place_is_never_lost() {
        let turns = Turns::new(1);
        let held = polled(&mut Box::pin(turns.place(None))).unwrap().unwrap();
        let mut waiting: Vec<_> = (0..WAITING_MAX)
            .map(|_| Box::pin(turns.place(job("a"))))
            .collect();
        assert!(waiting.iter_mut().all(|future| polled(future).is_none()));
        let refused = polled(&mut Box::pin(turns.place(None))).unwrap();
        let refused = refused.err().unwrap();
        assert!(
            matches!(
                refused,
                FailureKind::Busy {
                    limit: WAITING_MAX,
                    ..
                }
            ),
            "{refused}"
        );
        // Who has given up makes room.
        waiting.truncate(10);
        let mut more: Vec<_> = (10..WAITING_MAX)
            .map(|_| Box::pin(turns.place(job("b"))))
            .collect();
        assert!(more.iter_mut().all(|future| polled(future).is_none()));
        drop(more);
        // One gives up before its turn, one after it was told and before it looked.
        drop(waiting.remove(0));
        drop(held);
        drop(waiting.remove(0));
        let third = polled(waiting.first_mut().unwrap()).unwrap().unwrap();
        drop(waiting);
        drop(third);
        assert_eq!(turns.desk().free, 1);
    }
}
