//! What time does: assignments fall due, providers fall silent, jobs expire.

use jobs::ids::{AssignmentId, JobId, ProviderId};
use jobs::time::Timestamp;

use super::action::{FailReason, JobOutcome};
use super::reputation::Deed;
use super::state::{Cause, Job, Phase, Place, ReplicaState};
use super::{Core, Effects};

impl Core {
    /// What one step has no room for is found again by the next.
    pub(super) fn tick(&mut self, fx: &mut Effects) {
        self.continue_bans(fx);
        self.expire_jobs(fx);
        self.miss_silent_providers(fx);
        self.expire_replicas(fx);
        self.dismiss_moot(fx);
        self.draw_late(fx);
        self.hurry_jobs(fx);
        self.close_epochs(fx);
        self.look_at_cases(fx);
        // Cooldowns end and scores recover without any other event.
        fx.fill = true;
    }

    pub(super) fn expire_jobs(&mut self, fx: &mut Effects) {
        if self.ignores_deadlines() {
            return;
        }
        let open = self.open.values().filter_map(|id| self.jobs.get(id));
        let expired = open.filter(|job| !job.is_closing() && self.now >= self.ends_by(job));
        let expired: Vec<(JobId, FailReason)> = expired
            .map(|job| (job.id, self.deadline_passed(job)))
            .collect();
        for (id, reason) in expired {
            self.end_job(id, JobOutcome::Failed(reason), fx);
        }
    }

    /// A job that nobody could go on with says so: it may have waited for that all the time.
    fn deadline_passed(&self, job: &Job) -> FailReason {
        let (accepted, shards) = (job.accepted(), job.quote.shards);
        let unserved = self.check_served(&job.spec, job.quote.share).err();
        FailReason::Deadline {
            accepted,
            shards,
            missing: unserved.filter(|_| accepted < shards).map(Box::new),
        }
    }

    /// When a job must have ended. One whose every shard is accepted and paid gets a little longer, to
    /// be merged. One whose result was there, too, until what was paid for it is final.
    pub(super) fn ends_by(&self, job: &Job) -> Timestamp {
        let config = &self.config;
        let audited = job.spec.audit.is_some() && job.merges > 0;
        let finality_ms = config.finality_ms.saturating_add(config.audit_grace_ms);
        match job.phase {
            _ if audited => job
                .deadline
                .plus_ms(config.merge_grace_ms.saturating_add(finality_ms)),
            Phase::Merging => job.deadline.plus_ms(config.merge_grace_ms),
            _ => job.deadline,
        }
    }

    /// Clients that owe a share of a draw have had their time.
    fn draw_late(&self, fx: &mut Effects) {
        let open = self.open.values().filter_map(|id| self.jobs.get(id));
        let late = open.filter(|job| {
            let (draw, audited) = (&job.draw, job.spec.audit.is_some());
            audited && draw.client.is_none() && draw.beacon.is_none() && self.now >= draw.due
        });
        for job in late {
            let undrawn = job.shards.iter().zip(0..).filter(|(shard, _)| {
                let audit = shard.audit.as_ref();
                audit.is_some_and(|audit| !audit.drawn)
            });
            fx.touched.extend(undrawn.map(|(_, index)| (job.id, index)));
        }
    }

    fn miss_silent_providers(&mut self, fx: &mut Effects) {
        let (now, ttl) = (self.now, self.config.offer_ttl_ms);
        let online = self.providers.iter().filter(|(_, p)| p.online);
        let silent = online.filter(|(_, p)| now > p.seen.plus_ms(ttl));
        let silent: Vec<ProviderId> = silent.map(|(id, _)| *id).collect();
        for provider in silent {
            if !fx.has_room() {
                return;
            }
            self.lost(provider, fx);
        }
    }

    fn expire_replicas(&mut self, fx: &mut Effects) {
        let live = self.providers.values().flat_map(|p| &p.live);
        let due: Vec<(Place, ProviderId, Cause, Deed)> = live
            .filter_map(|assignment| self.overdue(*assignment))
            .collect();
        for (place, provider, cause, deed) in due {
            if !fx.has_room() {
                return;
            }
            if deed == Deed::NotAccepted {
                self.cool_down(provider);
            }
            self.close(place, cause, fx);
            self.record_deed(provider, deed, fx);
        }
    }

    fn overdue(&self, assignment: AssignmentId) -> Option<(Place, ProviderId, Cause, Deed)> {
        let place = *self.places.get(&assignment)?;
        self.jobs.get(&place.job).filter(|job| !job.is_closing())?;
        let replica = self.replica(place)?;
        let (limit, cause, deed) = match replica.state {
            ReplicaState::Offered { until } => (until, Cause::NotAccepted, Deed::NotAccepted),
            ReplicaState::Running { due } => (due, Cause::Overdue, Deed::Overdue),
            ReplicaState::Revealing { until } => (until, Cause::RevealFailed, Deed::RevealFailed),
            _ => return None,
        };
        (self.now >= limit).then_some((place, replica.provider, cause, deed))
    }

    #[cfg(any(test, feature = "sabotage"))]
    fn ignores_deadlines(&self) -> bool {
        self.config.sabotage == Some(super::Sabotage::IgnoreDeadline)
    }

    #[cfg(not(any(test, feature = "sabotage")))]
    #[expect(
        clippy::unused_self,
        reason = "the sabotaged twin reads the configuration"
    )]
    const fn ignores_deadlines(&self) -> bool {
        false
    }
}
