//! The pure core: `step(now, event) -> actions`.
//!
//! It decides everything an aggregator decides and does nothing: no clock, no randomness, no I/O, no
//! floats, no panics. The same state and the same event give the same actions, always, so a log of
//! events is the whole truth: the driver persists `(time, event)` with the journal rows in one synced
//! batch, performs the actions only then, and after a crash replays the log and throws the repeated
//! actions away. What was outstanding comes back with [`Event::Restarted`].
//!
//! Reading order: [`event`] (what can happen), [`action`] (what is to be done), [`state`] (what is
//! remembered); then a job's way: [`admission`] → [`dispatch`] → [`replica`] → [`judge`] →
//! [`settlement`] → [`ending`], or, where answers are audited, [`judge`] → [`audit`] → [`ending`]; beside it
//! [`diversity`], [`reveal`], [`deadline`], [`cancel`], [`quoting`], [`reputation`], [`epoch`] and [`liquidation`]; over it all
//! [`check`], and for readers [`view`] and [`summary`].
//!
//! A step must fit into one batch of the store, so how much it begins and ends is bounded
//! ([`Config::step_replicas_max`]); what is more waits for the next step, which is asked for at once.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod action;
pub mod config;
pub mod diversity;
pub mod epoch;
pub mod event;
pub mod liquidation;
pub mod openings;
pub mod refusal;
pub mod reputation;
pub mod state;

mod admission;
mod audit;
mod cancel;
mod deadline;
mod dispatch;
mod draw;
mod ending;
mod judge;
mod offers;
mod quoting;
mod replica;
mod reveal;
mod roots;
mod settlement;
pub mod steps;

mod recover;

pub mod census;
pub mod check;
pub mod progress;
pub mod summary;
pub mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jobs::ids::{AssignmentId, JobId, ProviderId};
use jobs::time::Timestamp;
use ledger::{JournalEntry, Ledger};
use serde::{Deserialize, Serialize};

pub use action::{Action, Evidence, FailReason, JobOutcome, Quote, Reply};
pub use audit::AuditTally;
pub use check::Violation;
pub use config::Config;
#[cfg(any(test, feature = "sabotage"))]
pub use config::Sabotage;
pub use event::{Code, Comparison, Event, Failure, JobSpec, Movement, RequestId};
pub use quoting::{Estimate, Suitor};
pub use refusal::{Need, Refusal};
use state::{Job, Place, Provider, Replica, Shard};

/// Everything the aggregator knows. A snapshot is its `postcard` encoding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Core {
    config: Config,
    ledger: Ledger,
    /// The latest time any event carried: time never runs backwards.
    now: Timestamp,
    /// Jobs ever admitted; the next job's order.
    admitted: u64,
    jobs: BTreeMap<JobId, Job>,
    /// Jobs not yet ended, by order.
    open: BTreeMap<u64, JobId>,
    /// Jobs that ended, oldest first.
    ended: BTreeSet<(Timestamp, u64, JobId)>,
    providers: BTreeMap<ProviderId, Provider>,
    /// Where each assignment of a known job is.
    places: BTreeMap<AssignmentId, Place>,
    /// Shards with fewer live replicas than wanted: order of the job, shard.
    wanting: BTreeSet<(u64, u32)>,
    /// Comparisons the driver is asked for: job, shard, the two replicas.
    comparing: BTreeSet<(JobId, u32, u32, u32)>,
    /// Shards whose comparisons wait for room.
    held: BTreeSet<(JobId, u32)>,
    /// Jobs that are ending, by order.
    ending: BTreeSet<u64>,
    /// Where the last step stopped looking for somebody to take a wanting shard, if it had to stop.
    looked_until: Option<(u64, u32)>,
    /// Groups of transfers the ledger refused although the core thought them possible.
    ledger_faults: u32,
    /// What validators reported, and what came of it.
    epochs: epoch::Epochs,
    /// Bans that wait for a step of their own.
    bans_due: BTreeMap<ProviderId, audit::Due>,
    /// Answers that somebody holds to be wrong, and what came of that.
    liquidations: state::Liquidations,
}

impl Core {
    /// An aggregator to which nothing ever happened.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            ledger: Ledger::new(),
            now: Timestamp::default(),
            admitted: 0,
            jobs: BTreeMap::new(),
            open: BTreeMap::new(),
            ended: BTreeSet::new(),
            providers: BTreeMap::new(),
            places: BTreeMap::new(),
            wanting: BTreeSet::new(),
            comparing: BTreeSet::new(),
            held: BTreeSet::new(),
            ending: BTreeSet::new(),
            looked_until: None,
            ledger_faults: 0,
            epochs: epoch::Epochs::default(),
            bans_due: BTreeMap::new(),
            liquidations: state::Liquidations::default(),
        }
    }

    /// Takes note of `event` at `now` and says what to do. A `now` earlier than the last one counts as
    /// the last one. Unknown, late and repeated events change nothing.
    pub fn step(&mut self, now: Timestamp, event: Event) -> Vec<Action> {
        self.now = self.now.max(now);
        let mut fx = Effects {
            room: self.config.step_replicas_max.max(1),
            ..Effects::default()
        };
        self.sabotage_room(&mut fx);
        self.handle(event, &mut fx);
        // Each round either ends a replica or job or starts an assignment; all three are bounded.
        loop {
            while let Some((job, shard)) = fx.touched.pop_first() {
                self.progress(job, shard, &mut fx);
            }
            self.wind_up(&mut fx);
            if !fx.touched.is_empty() {
                continue;
            }
            if !std::mem::take(&mut fx.fill) {
                return fx.into_actions();
            }
            self.fill(&mut fx);
        }
    }

    fn handle(&mut self, event: Event, fx: &mut Effects) {
        match event {
            Event::Tick => self.tick(fx),
            Event::Restarted => self.restarted(fx),
            Event::Offer { offer, prefix } => self.offer(*offer, prefix, fx),
            Event::ProviderLost { provider } => self.lost(provider, fx),
            Event::Sampled {
                job,
                shard,
                check,
                input,
            } => self.sampled(job, shard, check, input, fx),
            Event::BlobsReady { job, shard_inputs } => self.blobs_ready(job, shard_inputs, fx),
            Event::BlobsInvalid { job, code } => self.blobs_invalid(job, code, fx),
            Event::AssignAccepted { assignment } => self.accepted(assignment, fx),
            Event::AssignRefused { assignment, code } => self.refused(assignment, code, fx),
            Event::Committed { commitment } => self.committed(commitment, fx),
            Event::ExecutionFailed {
                assignment,
                failure,
            } => self.execution_failed(assignment, failure, fx),
            Event::Revealed {
                assignment,
                opening,
                outputs_valid,
            } => self.revealed(assignment, opening, outputs_valid, fx),
            Event::RevealFailed { assignment } => self.reveal_failed(assignment, fx),
            Event::Compared {
                job,
                shard,
                left,
                right,
                finding,
            } => self.compared(job, shard, left, right, finding, fx),
            Event::Merged {
                job,
                result,
                shards,
                round,
            } => self.merged((job, round), result, shards, fx),
            Event::MergeFailed { job, round, code } => self.merge_failed((job, round), code, fx),
            Event::Recorded { job } => self.recorded(job),
            Event::RevealDelayed { assignment } => self.reveal_delayed(assignment),
            Event::OutputsIncomparable {
                assignment,
                opening,
                code,
            } => self.outputs_incomparable(assignment, opening, code, fx),
            Event::AssignUnsent { assignment } => self.unsent(assignment, fx),
            Event::Liquidation(event) => self.case_event(event, fx),
            Event::OpeningFailed {
                job,
                shard,
                failed,
                other,
            } => self.opening_failed((job, shard), (failed, other), fx),
            request @ (Event::Submit { .. }
            | Event::Share { .. }
            | Event::Challenge { .. }
            | Event::Cancel { .. }
            | Event::Move { .. }
            | Event::SetBanned { .. }
            | Event::Scores { .. }) => self.requested(request, fx),
        }
    }

    /// What clients, the operator and validators ask for.
    fn requested(&mut self, request: Event, fx: &mut Effects) {
        match request {
            Event::Submit {
                request,
                client,
                job,
                spec,
                chance,
            } => self.submit((request, client), job, spec, chance, fx),
            Event::Share {
                request,
                job,
                client,
                chance,
            } => self.share(request, job, client, chance, fx),
            Event::Challenge {
                request,
                job,
                chance,
                item,
            } => {
                let reply = self.challenge(job, chance, item, fx);
                fx.reply(request, reply);
            }
            Event::Cancel {
                request,
                job,
                client,
            } => self.cancel(request, job, client, fx),
            Event::Move {
                request,
                id,
                movement,
                amount,
            } => self.move_money(request, id, movement, amount, fx),
            Event::SetBanned { provider, banned } => self.set_banned(provider, banned, fx),
            Event::Scores {
                request,
                validator,
                epoch,
                digest,
                scores,
            } => self.scores(request, validator, epoch, digest, scores, fx),
            // Everything else is news, not a request.
            _ => {}
        }
    }

    /// The ledger as of the last step.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The operator's choices.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Goes on under other choices of the operator's; admitted jobs keep the terms they were quoted.
    /// Not an event: whoever keeps a log takes a snapshot here, because a replay across it would decide
    /// differently.
    pub fn reconfigure(&mut self, config: Config) {
        if config.epoch_ms != self.config.epoch_ms {
            self.recount_epochs();
        }
        self.config = config;
    }

    /// The latest time any event carried.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    #[cfg(any(test, feature = "sabotage"))]
    fn sabotage_room(&self, fx: &mut Effects) {
        if self.config.sabotage == Some(Sabotage::EndlessStep) {
            fx.room = u32::MAX;
        }
    }

    #[cfg(not(any(test, feature = "sabotage")))]
    #[expect(
        clippy::unused_self,
        reason = "the sabotaged twin reads the configuration"
    )]
    const fn sabotage_room(&self, _: &mut Effects) {}

    fn shard(&self, job: JobId, shard: u32) -> Option<&Shard> {
        self.jobs.get(&job)?.shards.get(shard as usize)
    }

    fn shard_mut(&mut self, job: JobId, shard: u32) -> Option<&mut Shard> {
        self.jobs.get_mut(&job)?.shards.get_mut(shard as usize)
    }

    fn replica(&self, place: Place) -> Option<&Replica> {
        let shard = self.shard(place.job, place.shard)?;
        shard.replicas.get(place.replica as usize)
    }

    fn replica_mut(&mut self, place: Place) -> Option<&mut Replica> {
        let shard = self.shard_mut(place.job, place.shard)?;
        shard.replicas.get_mut(place.replica as usize)
    }
}

/// What one step brings about, gathered while its rules run.
#[derive(Debug, Default)]
struct Effects {
    journal: Vec<JournalEntry>,
    actions: Vec<Action>,
    /// Shards to look at again.
    touched: BTreeSet<(JobId, u32)>,
    /// Whether work or places became free.
    fill: bool,
    /// Replicas and jobs that this step may still begin or end.
    room: u32,
    /// Pairs of shard and provider that were considered.
    looks: u32,
    /// Whether something waits for want of room.
    more: bool,
    /// Whether somebody was banned, which may have ended all that one provider can hold.
    banned: bool,
}

impl Effects {
    fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn reply(&mut self, request: RequestId, reply: Result<Reply, Refusal>) {
        self.push(Action::Reply { request, reply });
    }

    /// A replica begins or ends, or a job ends.
    const fn spend(&mut self) {
        self.room = self.room.saturating_sub(1);
    }

    /// Whether one more may begin or end in this step. If not, the next step is asked for.
    const fn has_room(&mut self) -> bool {
        self.more |= self.room == 0;
        self.room > 0
    }

    /// Money first: the driver must persist it with the event.
    fn into_actions(mut self) -> Vec<Action> {
        if self.more {
            self.push(Action::TickAgain);
        }
        if !self.journal.is_empty() {
            self.actions.insert(0, Action::Journal(self.journal));
        }
        self.actions
    }
}
