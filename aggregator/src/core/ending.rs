//! The end of a job. What it holds is given back first, as much of it in one step as a step may do;
//! then the rest of the escrow returns to the client, the escrow closes, and the job is over.

use jobs::digest::{BlobRef, Digest};
use jobs::ids::{ClientId, JobId};
use jobs::money::Amount;
use ledger::{Account, Transfer, TransferId};

use super::action::{Action, FailReason, JobOutcome};
use super::event::Code;
use super::state::{Cause, End, Phase, Place, ReplicaState};
use super::{Core, Effects};

impl Core {
    /// Decides how a job ends. From now on nothing of it is given out, accepted or paid.
    pub(super) fn end_job(&mut self, id: JobId, outcome: JobOutcome, fx: &mut Effects) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| !job.is_closing()) else {
            return;
        };
        let order = job.order;
        job.phase = Phase::Ending(outcome);
        self.ending.insert(order);
        let mine = (order, 0)..=(order, u32::MAX);
        let gone: Vec<(u64, u32)> = self.wanting.range(mine).copied().collect();
        for key in gone {
            self.wanting.remove(&key);
        }
        self.drop_comparisons(id, 0..=u32::MAX, fx);
    }

    /// Ends what is live of the jobs that are ending, oldest job first, and then the jobs.
    pub(super) fn wind_up(&mut self, fx: &mut Effects) {
        while let Some(order) = self.ending.first().copied() {
            if !fx.has_room() {
                return;
            }
            let Some(id) = self.open.get(&order).copied() else {
                self.ending.remove(&order);
                continue;
            };
            for place in self.live_places(id, fx.room) {
                self.end_replica(place, fx);
            }
            // With room to spare, nothing live is left.
            if fx.has_room() {
                self.close_job(id, order, fx);
            }
        }
    }

    fn end_replica(&mut self, place: Place, fx: &mut Effects) {
        let state = self.replica(place).map(|replica| &replica.state);
        if state == Some(&ReplicaState::Provisional) {
            self.end_provisional(place, fx);
        } else {
            self.close(place, Cause::JobEnded, fx);
        }
    }

    /// The first few places of a job where a replica is live.
    fn live_places(&self, id: JobId, max: u32) -> Vec<Place> {
        let shards = self.jobs.get(&id).map(|job| job.shards.iter().zip(0..));
        let places = shards.into_iter().flatten().flat_map(|(shard, index)| {
            let replicas = shard.replicas.iter().zip(0..);
            let live = replicas.filter(|(replica, _)| replica.is_live());
            live.map(move |(_, replica)| Place {
                job: id,
                shard: index,
                replica,
            })
        });
        places.take(max as usize).collect()
    }

    /// Nothing of the job is live: what is left of the escrow goes back, and the escrow closes.
    fn close_job(&mut self, id: JobId, order: u64, fx: &mut Effects) {
        self.ending.remove(&order);
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let Phase::Ending(outcome) = job.phase.clone() else {
            return;
        };
        fx.spend();
        let returned = self.give_back(id, job.client, fx);
        let end = End {
            at: self.now,
            outcome: outcome.clone(),
            returned,
            journal_head: self.ledger.head(),
        };
        if let Some(job) = self.jobs.get_mut(&id) {
            job.phase = Phase::Ended(end);
        }
        self.open.remove(&order);
        self.ended.insert((self.now, order, id));
        fx.push(Action::Finished { job: id, outcome });
        fx.fill = true;
        self.case_job_ended(id, fx);
        self.forget_old_jobs();
    }

    /// Returns what is left of a job's escrow to its client and closes the account.
    fn give_back(&mut self, id: JobId, client: ClientId, fx: &mut Effects) -> Amount {
        let escrow = Account::Escrow(id);
        let rest = self.ledger.balance(&escrow).available().unwrap_or_default();
        let mut transfers = Vec::new();
        if !rest.is_zero() {
            transfers.push(Transfer::Post {
                id: TransferId::derive(&[b"return".as_slice(), id.0.as_bytes()]),
                from: escrow,
                to: Account::Client(client),
                amount: rest,
            });
        }
        transfers.push(Transfer::Close {
            id: TransferId::derive(&[b"close".as_slice(), id.0.as_bytes()]),
            account: escrow,
        });
        if self.transfer(&transfers, fx) {
            rest
        } else {
            Amount::ZERO
        }
    }

    /// Keeps as many ended jobs as configured. A job without a stored record is never forgotten.
    pub(super) fn forget_old_jobs(&mut self) {
        let keep = self.config.jobs_retained_max as usize;
        while self.ended.len() > keep {
            let recorded = |id: &JobId| self.jobs.get(id).is_none_or(|job| job.recorded);
            let oldest = self.ended.iter().find(|(_, _, id)| recorded(id)).copied();
            let Some(key) = oldest else {
                return;
            };
            self.ended.remove(&key);
            if let Some(job) = self.jobs.remove(&key.2) {
                for replica in job.shards.iter().flat_map(|shard| &shard.replicas) {
                    self.places.remove(&replica.assignment);
                }
            }
        }
    }

    /// Whether a job waits for the answer to this order to merge, and not to an earlier one.
    fn is_merging(&self, (id, round): (JobId, u32)) -> bool {
        let job = self.jobs.get(&id);
        job.is_some_and(|job| job.phase == Phase::Merging && job.merges == round)
    }

    pub(super) fn merged(
        &mut self,
        order: (JobId, u32),
        result: BlobRef,
        shards: Digest,
        fx: &mut Effects,
    ) {
        if !self.is_merging(order) {
            return;
        }
        let (id, since) = (order.0, self.now);
        if !self.has_provisional(id) {
            self.end_job(id, JobOutcome::Done { result, shards }, fx);
        } else if let Some(job) = self.jobs.get_mut(&id) {
            job.phase = Phase::Provisional { result, since };
        }
    }

    pub(super) fn merge_failed(&mut self, order: (JobId, u32), code: Code, fx: &mut Effects) {
        if self.is_merging(order) {
            let reason = FailReason::MergeFailed { code };
            self.end_job(order.0, JobOutcome::Failed(reason), fx);
        }
    }

    pub(super) fn recorded(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id).filter(|job| job.is_ended()) {
            job.recorded = true;
            self.forget_old_jobs();
        }
    }
}
