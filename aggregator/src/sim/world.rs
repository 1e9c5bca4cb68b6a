//! The clockwork: one queue of things to come, one loop.

mod accusers;
mod clients;
mod comparing;
mod config;
mod network;
mod validators;

use std::collections::BTreeMap;

use jobs::assignment::Assignment;
use jobs::commitment::Commitment;
use jobs::digest::{BlobRef, Digest};
use jobs::ids::{JobId, ProviderId};
use jobs::money::Amount;
use jobs::time::Timestamp;

use self::accusers::Accusers;
use self::config::core_config;
use super::node::{Kill, Node};
use super::oracle::Oracle;
use super::peer::{Deed, Peer, ToPeer, Vice};
use super::plan::{self, Dice, END_MS, FAULTS_UNTIL_MS, JobPlan};
use super::{Counts, SeedReport, SimConfig, SimViolation};
use crate::core::event::Code;
use crate::core::{Action, Event, Evidence, FailReason, JobOutcome, Movement, RequestId};

/// Simulated milliseconds between two ticks.
const TICK_MS: u64 = 1_000;
/// Simulated milliseconds between two offers of a provider.
const OFFER_EVERY_MS: u64 = 30_000;
/// Simulated milliseconds of peace, every job recorded, after which a seed is over.
const PEACE_MS: u64 = 20_000;
/// Milliseconds between tries of whatever may be lost.
const RETRY_MS: u64 = 3_000;
/// Tries of whatever may be lost, in all.
const TRIES: u8 = 3;
/// Events kept to be delivered a second time much later.
const ECHOES_MAX: usize = 64;

/// Something to come.
#[derive(Debug)]
enum Item {
    Tick,
    /// Reaches the aggregator.
    Arrive(Box<Event>),
    /// Reaches a provider.
    Deliver(usize, ToPeer),
    /// The aggregator's own work is done, unless it was killed since.
    Local(u64, Box<Event>),
    /// The aggregator sends once more, unless it was killed since.
    Resend(u64, usize, ToPeer, u8),
    NodeBoot,
    Work(usize, u64, Box<Assignment>),
    Repeat(usize, u64, Box<Event>, u8),
    Announce(usize),
    PeerCrash(usize),
    PeerBoot(usize),
    Submit(usize, u8),
    Cancel(usize),
    Share(usize, u8),
    Move(usize, u8),
    Report(usize),
    Accuse(usize),
    Tie(usize),
}

/// One seed's world.
#[derive(Debug)]
pub(super) struct World {
    seed: u64,
    now: u64,
    dice: Dice,
    queue: BTreeMap<(u64, u64), Item>,
    queued: u64,
    node: Node,
    peers: Vec<Peer>,
    index: BTreeMap<ProviderId, usize>,
    jobs: Vec<JobPlan>,
    accusers: Accusers,
    moves: Vec<(Digest, Movement, Amount)>,
    oracle: Oracle,
    /// What each request asked, for the reply.
    requests: BTreeMap<RequestId, Item>,
    requested: u64,
    commitments: Vec<Commitment>,
    echoes: Vec<Event>,
    /// Kill the aggregator at its next step.
    kill: Option<Kill>,
    counts: Counts,
    log: blake3::Hasher,
    quiet_since: u64,
    failure: Option<String>,
}

impl World {
    pub(super) fn new(config: &SimConfig, seed: u64) -> Result<Self, String> {
        let mut dice = Dice::new(seed);
        let peers = plan::peers(&mut dice, seed);
        let jobs = plan::jobs(&mut dice, seed);
        let index = peers.iter().map(Peer::id).zip(0..).collect();
        let mut world = Self {
            seed,
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            node: Node::new(core_config(config, &mut dice, seed)?),
            oracle: Oracle::new(&peers),
            index,
            accusers: Accusers::new(seed),
            moves: Vec::new(),
            requests: BTreeMap::new(),
            requested: 0,
            commitments: Vec::new(),
            echoes: Vec::new(),
            kill: None,
            counts: Counts::default(),
            log: blake3::Hasher::new(),
            quiet_since: 0,
            failure: None,
            dice,
            peers,
            jobs,
        };
        world.schedule();
        Ok(world)
    }

    /// Everything that is certain to come.
    fn schedule(&mut self) {
        self.at(0, Item::Tick);
        for peer in 0..self.peers.len() {
            let soon = self.dice.range(0, 2_000);
            self.at(soon, Item::Announce(peer));
            if self.dice.chance(200) {
                let then = self.dice.range(5_000, FAULTS_UNTIL_MS / 2);
                self.at(then, Item::PeerCrash(peer));
            }
        }
        for job in 0..self.jobs.len() {
            let Some(plan) = self.jobs.get(job) else {
                continue;
            };
            let (submit_ms, cancel_ms) = (plan.submit_ms, plan.cancel_ms);
            self.at(submit_ms, Item::Submit(job, 0));
            if let Some(then) = cancel_ms {
                self.at(then, Item::Cancel(job));
            }
        }
        for client in 0..2 {
            let amount = Amount(self.dice.range(500_000, 9_000_000).into());
            let movement = Movement::Deposit(plan::client(self.seed, client));
            self.plan_move(movement, amount);
        }
        for peer in 0..self.peers.len() {
            let known = self.peers.get(peer);
            if let Some((id, honest)) = known.map(|p| (p.id(), p.vice == Vice::None)) {
                let stake = self.accusers.stake(honest);
                self.plan_move(Movement::Stake(id), stake);
            }
        }
        self.schedule_reports();
        self.fund_accusers();
    }

    fn plan_move(&mut self, movement: Movement, amount: Amount) {
        let index = self.moves.len();
        let id = plan::name("move", self.seed, index as u64);
        self.moves.push((id, movement, amount));
        let then = self.dice.range(0, 2_500);
        self.at(then, Item::Move(index, 0));
    }

    pub(super) fn run(mut self) -> SeedReport {
        while let Some(((at, _), item)) = self.queue.pop_first() {
            self.now = at;
            self.happen(item);
            let over = at >= END_MS || at >= self.quiet_since.saturating_add(PEACE_MS);
            if self.failure.is_some() || over {
                break;
            }
        }
        if self.failure.is_none() {
            self.failure = self.oracle.settled(&self.node.core).err();
        }
        self.count_rewards();
        let (seed, at_ms) = (self.seed, self.now);
        SeedReport {
            violation: self.failure.map(|what| SimViolation { seed, at_ms, what }),
            sim_ms: self.now,
            counts: self.counts,
            log_hash: Digest::from_bytes(*self.log.finalize().as_bytes()),
        }
    }

    fn at(&mut self, delay: u64, item: Item) {
        self.queued = self.queued.saturating_add(1);
        let then = self.now.saturating_add(delay);
        self.queue.insert((then, self.queued), item);
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Tick => self.tick(),
            Item::Arrive(event) => self.feed(*event),
            Item::Deliver(peer, message) => self.deliver(peer, message),
            Item::Local(epoch, event) => {
                if epoch == self.node.epoch {
                    self.feed(*event);
                }
            }
            Item::Resend(epoch, peer, message, tries) => {
                if epoch == self.node.epoch && self.node.up {
                    self.send_to_peer(peer, message, tries);
                }
            }
            Item::NodeBoot => self.boot(),
            Item::Work(peer, boot, assignment) => self.work_done(peer, boot, &assignment),
            Item::Repeat(peer, boot, event, tries) => {
                if self.peers.get(peer).is_some_and(|p| p.up && p.boot == boot) {
                    self.send_from_peer(peer, *event, tries);
                }
            }
            Item::Announce(peer) => self.announce(peer),
            Item::PeerCrash(peer) => self.crash_peer(peer),
            Item::PeerBoot(peer) => self.boot_peer(peer),
            Item::Submit(..) | Item::Cancel(_) | Item::Share(..) | Item::Move(..) => {
                self.request(item);
            }
            Item::Report(validator) => self.report(validator),
            Item::Accuse(case) => self.accuse(case),
            Item::Tie(case) => self.tie(case),
        }
    }

    fn faulty(&self) -> bool {
        self.now < FAULTS_UNTIL_MS
    }

    fn fault(&mut self) {
        self.counts.faults = self.counts.faults.saturating_add(1);
    }

    fn fail(&mut self, result: Result<(), String>) {
        if let (Err(what), None) = (result, &self.failure) {
            self.failure = Some(what);
        }
    }

    fn tick(&mut self) {
        self.at(TICK_MS, Item::Tick);
        self.feed(Event::Tick);
        if self.faulty() && self.dice.chance(12) && self.kill.is_none() {
            let acts = usize::try_from(self.dice.range(0, 3)).unwrap_or(0);
            self.kill = Some(match self.dice.range(0, 2) {
                0 => Kill::BeforePersist,
                _ => Kill::AfterActions(acts),
            });
        }
        if self.faulty() && self.dice.chance(30) {
            self.cut_off_somebody();
        }
        if self.faulty() && self.dice.chance(100) && !self.echoes.is_empty() {
            let last = self.echoes.len().saturating_sub(1) as u64;
            let echo = usize::try_from(self.dice.range(0, last)).unwrap_or(0);
            if let Some(event) = self.echoes.get(echo).cloned() {
                self.fault();
                self.feed(event);
            }
        }
        let known = |id: JobId| self.node.core.view_job(id).is_some();
        let expected = self
            .jobs
            .iter()
            .all(|job| self.now > job.submit_ms + 60_000 || known(job.id));
        let open = self.node.core.open_jobs() + self.node.core.open_cases();
        if open > 0 || !expected || !self.node.up {
            self.quiet_since = self.now;
        }
    }

    /// Feeds the core, checks everything, acts. Whatever reaches a killed aggregator is lost.
    fn feed(&mut self, event: Event) {
        if !self.node.up || self.failure.is_some() {
            return;
        }
        let now = Timestamp(self.now);
        let kill = self.kill.take();
        if self.echoes.len() < ECHOES_MAX && self.dice.chance(50) {
            self.echoes.push(event.clone());
        }
        let stepped = self.node.step(now, event.clone(), kill);
        let (actions, performed) = match stepped {
            Ok(stepped) => stepped,
            Err(what) => return self.fail(Err(what)),
        };
        self.counts.events = self.counts.events.saturating_add(1);
        match postcard::to_stdvec(&(now, &event, &actions)) {
            Ok(bytes) => self.log.update(&bytes),
            Err(error) => return self.fail(Err(error.to_string())),
        };
        let checked = self.node.core.check();
        self.fail(checked.map_err(|violation| violation.to_string()));
        self.check_closings();
        // What was decided counts even when the kill came before it was told to anyone.
        for action in &actions {
            self.observe(action);
        }
        for action in actions.into_iter().take(performed) {
            self.perform(action);
        }
        if !self.node.up {
            self.fault();
            self.counts.restarts = self.counts.restarts.saturating_add(1);
            let away = self.dice.range(100, 15_000);
            self.at(away, Item::NodeBoot);
        }
    }

    /// Shows the oracle what was decided.
    fn observe(&mut self, action: &Action) {
        match action {
            Action::Finished { job, outcome } => {
                let plan = self.jobs.iter().find(|plan| plan.id == *job);
                let result = plan.map_or(Ok(()), |plan| {
                    self.oracle.finished(&self.node.core, plan, outcome)
                });
                self.fail(result);
                self.consider(*job);
            }
            Action::Reply { reply, .. } => self.count_case(reply.as_ref().ok()),
            Action::Banned {
                provider, evidence, ..
            }
            | Action::Fined {
                provider, evidence, ..
            } => {
                self.count_conviction(matches!(action, Action::Fined { .. }), *evidence);
                let result = self.oracle.banned(&self.peers, *provider, *evidence);
                self.fail(result);
            }
            Action::Fault { code } => self.fail(Err(format!("the ledger refused: {code}"))),
            _ => {}
        }
    }

    fn count_conviction(&mut self, fined: bool, evidence: Evidence) {
        let audits = &mut self.counts.audits;
        match evidence {
            Evidence::AuditFailed { .. } => {
                audits.convicted = audits.convicted.saturating_add(1);
                audits.fined = audits.fined.saturating_add(u64::from(fined));
            }
            Evidence::Vouched { .. } => audits.vouched = audits.vouched.saturating_add(1),
            Evidence::Liquidated { .. } => {
                self.counts.liquidated = self.counts.liquidated.saturating_add(1);
            }
            _ => {}
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Journal(_) | Action::OfferRefused { .. } | Action::Demoted { .. } => {}
            Action::Fault { .. } | Action::Fined { .. } => {}
            Action::Sample {
                job,
                shard,
                check,
                input,
                ..
            } => self.local(Event::Sampled {
                job,
                shard,
                check,
                input,
            }),
            Action::TickAgain => {
                let tick = Box::new(Event::Tick);
                self.at(1, Item::Local(self.node.epoch, tick));
            }
            Action::Banned { .. } => {
                self.counts.banned = self.counts.banned.saturating_add(1);
            }
            Action::Reply { request, reply } => {
                let lost = self.faulty() && self.dice.chance(100);
                match self.requests.remove(&request) {
                    Some(asked) if !lost => self.answered(asked, reply.ok()),
                    _ => {}
                }
            }
            Action::Prepare { job } => self.prepare(job),
            Action::Dispatch(assignment) => {
                let to = assignment.provider;
                self.send(to, ToPeer::Assign(assignment), TRIES);
            }
            Action::CancelAssignment {
                assignment,
                provider,
            } => self.send(provider, ToPeer::Cancel(assignment), 1),
            Action::RequestReveal {
                assignment,
                provider,
            } => self.send(provider, ToPeer::Reveal(assignment), TRIES),
            action @ (Action::Compare { .. } | Action::CompareCase { .. }) => {
                self.compare(&action);
            }
            Action::Merge { job, round, .. } => self.merge(job, round),
            Action::Finished { job, outcome } => {
                let done = matches!(outcome, JobOutcome::Done { .. });
                let view = self.node.core.view_job(job);
                let dissenting = view.map_or(0, |view| view.dissenting);
                let counts = &mut self.counts;
                counts.done = counts.done.saturating_add(u64::from(done));
                counts.failed = counts.failed.saturating_add(u64::from(!done));
                let late = matches!(outcome, JobOutcome::Failed(FailReason::Deadline { .. }));
                counts.expired = counts.expired.saturating_add(u64::from(late));
                counts.dissented = counts.dissented.saturating_add(dissenting);
                let tally = self.node.core.audit_tally(job);
                let audits = &mut counts.audits;
                audits.drawn = audits.drawn.saturating_add(tally.checks);
                audits.withdrawn = audits.withdrawn.saturating_add(tally.withdrawn);
                self.local(Event::Recorded { job });
            }
        }
    }

    /// The aggregator works on something itself, for a while.
    fn local(&mut self, event: Event) {
        let takes = self.dice.range(10, 600);
        self.at(takes, Item::Local(self.node.epoch, Box::new(event)));
    }

    fn prepare(&mut self, job: JobId) {
        let Some(plan) = self.jobs.iter().find(|plan| plan.id == job) else {
            return;
        };
        let event = if plan.bad_blobs {
            let code = Code::new("input_mismatch");
            Event::BlobsInvalid { job, code }
        } else {
            let shard_inputs = plan::shard_inputs(plan);
            Event::BlobsReady { job, shard_inputs }
        };
        self.local(event);
    }

    fn merge(&mut self, job: JobId, round: u32) {
        let plan = self.jobs.iter().find(|plan| plan.id == job);
        let event = if plan.is_some_and(|plan| plan.bad_merge) {
            let code = Code::new("not_json");
            Event::MergeFailed { job, round, code }
        } else {
            let shards = job.0;
            let result = BlobRef {
                digest: shards,
                size: 1,
            };
            Event::Merged {
                job,
                result,
                shards,
                round,
            }
        };
        self.local(event);
    }

    fn boot(&mut self) {
        let restarted = self.node.restart();
        self.fail(restarted);
        let remembered = self.oracle.remembered(&self.node.core);
        self.fail(remembered);
        self.feed(Event::Restarted);
    }
}
