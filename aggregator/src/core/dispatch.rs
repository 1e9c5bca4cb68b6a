//! Who gets which shard.
//!
//! Earlier jobs first, shards in plan order. A shard's replicas go to providers that are apart
//! ([`super::diversity`]), of one fingerprint where possible; among equals a draw ([`super::draw`]), weighted by
//! stake, reputation, free places, price and what games say.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use jobs::assignment::Assignment;
use jobs::digest::Digest;
use jobs::ids::{AssignmentId, JobId, ProviderId};
use jobs::verdict::REPLICAS_MAX;
use ledger::{Account, Transfer, TransferId};

use super::action::Action;
use super::audit::is_audited_in;
use super::config::{OVERDUE_PER_SHARD_MAX, REFUSALS_PER_JOB_MAX};
use super::diversity::{Kin, held, most_apart};
use super::draw::drawn;
use super::epoch::FACTOR_NEUTRAL;
use super::settlement::most;
use super::state::{By, Cause, Job, Place, Provider, Replica, ReplicaState, Shard, Times};
use super::{Core, Effects};

/// Weight of a provider that asks nothing, against 1 for one that asks for all there is.
const PRICE_WEIGHT: u64 = 4;

/// The most that stake counts, in thousandths of the least stake.
const STAKE_WEIGHT_MAX: u64 = 1_000_000;

/// Draws for one place that are taken back because too few would be apart from who was drawn, in draws.
const REDRAWS_MAX: usize = 8;

/// A provider that could take a shard now.
struct Candidate {
    provider: ProviderId,
    class: Digest,
    kin: Kin,
    /// Assignments of this shard it had before.
    tried: usize,
    weight: u64,
}

/// What filling the places of one job needs to know, found out once for all its shards.
struct Round {
    /// The job's order.
    order: u64,
    job: JobId,
    /// Providers with free places that could get any shard of it.
    able: Vec<ProviderId>,
    /// Every provider that could serve it, busy ones included, by fingerprint.
    suited: BTreeMap<Digest, Vec<(ProviderId, Kin)>>,
    /// How many of each fingerprint are apart, as far as a shard can want them.
    classes: BTreeMap<Digest, usize>,
}

impl Core {
    /// Gives work to free places until one of the two runs out, or the step has done its share.
    pub(super) fn fill(&mut self, fx: &mut Effects) {
        let mut free = self.free_places();
        let mut looked = self.looked_until.take();
        let room = fx.room;
        let mut round: Option<Round> = None;
        while !free.is_empty() {
            let from = looked.map_or(Bound::Unbounded, Bound::Excluded);
            let next = self.wanting.range((from, Bound::Unbounded)).next();
            let Some(&(order, index)) = next else {
                return;
            };
            if fx.looks >= self.config.step_looks_max || !fx.has_room() {
                // Looks that came to something go on at once, others with the next event or tick.
                fx.more |= fx.room < room;
                self.looked_until = looked;
                return;
            }
            if round.as_ref().is_none_or(|round| round.order != order) {
                if let Some(id) = self.open.get(&order).copied() {
                    self.settle_order(id);
                }
                round = Some(self.round(order, &free));
            }
            let Some(round) = round.as_mut().filter(|round| !round.able.is_empty()) else {
                looked = Some((order, u32::MAX));
                continue;
            };
            // Even a shard that nobody may be given any more costs a look.
            fx.looks = fx.looks.saturating_add(1);
            if self.fill_shard(round, index, &mut free, fx) {
                looked = Some((order, index));
            }
        }
    }

    /// Gives a shard what it lacks, as far as somebody can take it. Answers whether it was looked at to
    /// the end.
    fn fill_shard(
        &mut self,
        round: &mut Round,
        index: u32,
        free: &mut BTreeMap<ProviderId, u32>,
        fx: &mut Effects,
    ) -> bool {
        while let Some(provider) = self.choose(round, index, free, fx) {
            if !self.assign(round.job, index, provider, fx) {
                return true;
            }
            if let Some(places) = free.get_mut(&provider) {
                *places = places.saturating_sub(1);
            }
            free.retain(|_, places| *places > 0);
            round.able.retain(|able| free.contains_key(able));
            if fx.room == 0 {
                return false;
            }
        }
        true
    }

    /// Trusted providers with free places, and how many.
    pub(super) fn free_places(&self) -> BTreeMap<ProviderId, u32> {
        let ready = self
            .providers
            .iter()
            .filter(|(_, provider)| provider.cooldown <= self.now && self.is_trusted(provider));
        let places = ready.map(|(id, provider)| {
            let capacity = u32::from(provider.offer.capacity);
            let live = u32::try_from(provider.live.len()).unwrap_or(u32::MAX);
            let places = capacity.saturating_sub(provider.busy);
            (
                *id,
                places.min(self.config.provider_live_max.saturating_sub(live)),
            )
        });
        places.filter(|(_, places)| *places > 0).collect()
    }

    fn round(&self, order: u64, free: &BTreeMap<ProviderId, u32>) -> Round {
        let mut round = Round {
            order,
            job: JobId::default(),
            able: Vec::new(),
            suited: BTreeMap::new(),
            classes: BTreeMap::new(),
        };
        let Some(job) = self.open.get(&order).and_then(|id| self.jobs.get(id)) else {
            return round;
        };
        round.job = job.id;
        if !is_audited_in(&job.phase) || job.draw.order.is_none() {
            return round;
        }
        let may = |id: &ProviderId| {
            let refusals = job.refusals.get(id).copied().unwrap_or(0);
            let provider = self.providers.get(id);
            refusals < REFUSALS_PER_JOB_MAX && provider.is_some_and(|p| self.suits(p, job))
        };
        round.able = free.keys().filter(|id| may(id)).copied().collect();
        if !round.able.is_empty() {
            round.suited = self.suited(job);
            let classes = round.suited.iter().map(|(class, of_it)| {
                let kin = of_it.iter().map(|(_, kin)| *kin);
                (*class, most_apart(kin, REPLICAS_MAX))
            });
            round.classes = classes.collect();
        }
        round
    }

    fn suited(&self, job: &Job) -> BTreeMap<Digest, Vec<(ProviderId, Kin)>> {
        let mut suited: BTreeMap<Digest, Vec<_>> = BTreeMap::new();
        for (id, provider) in &self.providers {
            if self.suits(provider, job) && self.is_trusted(provider) {
                let of_class = suited.entry(provider.class).or_default();
                of_class.push((*id, self.kin(provider)));
            }
        }
        suited
    }

    fn choose(
        &self,
        round: &Round,
        index: u32,
        free: &BTreeMap<ProviderId, u32>,
        fx: &mut Effects,
    ) -> Option<ProviderId> {
        let job = self.jobs.get(&round.job)?;
        let shard = job.shards.get(index as usize)?;
        let attempts = shard.replicas.len();
        if missing(shard) == 0 || attempts >= self.config.attempts_per_shard_max as usize {
            return None;
        }
        let looks = u32::try_from(round.able.len()).unwrap_or(u32::MAX);
        fx.looks = fx.looks.saturating_add(looks);
        if shard.audit.is_some() {
            return self.choose_auditor(job, shard, &round.able);
        }
        let able = round
            .able
            .iter()
            .filter_map(|id| Some((*id, *free.get(id)?)));
        let held = held(shard);
        let mut candidates: Vec<Candidate> = able
            .filter_map(|(id, places)| self.candidate(job, shard, id, places))
            .filter(|candidate| self.may_join(candidate.kin, &held))
            .filter(|candidate| !self.only_judges(&job.spec, candidate.provider))
            .collect();
        let settled = shard.replicas.iter().find(|replica| replica.is_live());
        let wide: BTreeSet<Digest> = match settled {
            Some(replica) => BTreeSet::from([replica.class]),
            None => {
                let counts = round.classes.iter();
                // An answer that nobody of the class could check would never be final. Where no class has anybody to
                // check, somebody may come.
                let most = round.classes.values().max().copied().unwrap_or(0);
                let audited = usize::from(job.spec.audit.is_some());
                let wanted = usize::from(shard.wanted);
                let needed = wanted.saturating_add(audited).min(most.max(wanted));
                let wide = counts.filter(|(_, count)| **count >= needed);
                wide.map(|(class, _)| *class).collect()
            }
        };
        if job.spec.needs_one_class() || candidates.iter().any(|c| wide.contains(&c.class)) {
            candidates.retain(|candidate| wide.contains(&candidate.class));
        }
        let fewest = candidates.iter().map(|c| c.tried).min()?;
        candidates.retain(|candidate| candidate.tried == fewest);
        let order = job.draw.order?;
        let draw = |candidates: &[Candidate]| {
            let weights = candidates.iter().map(|c| (c.provider, c.weight));
            drawn((job.id, &order), (index, attempts), weights)
        };
        let first = draw(&candidates)?;
        let mut next = Some(first);
        for _ in 0..REDRAWS_MAX {
            let Some(at) = candidates.iter().position(|c| Some(c.provider) == next) else {
                break;
            };
            let candidate = candidates.swap_remove(at);
            if leaves_enough(round, job, shard, &held, &candidate, fx) {
                return Some(candidate.provider);
            }
            next = draw(&candidates);
        }
        Some(first)
    }

    fn candidate(
        &self,
        job: &Job,
        shard: &Shard,
        id: ProviderId,
        places: u32,
    ) -> Option<Candidate> {
        let provider = self.providers.get(&id)?;
        let tried = tries(shard, id)?;
        Some(Candidate {
            provider: id,
            class: provider.class,
            kin: self.kin(provider),
            tried,
            weight: self.weight(job, (id, provider), places),
        })
    }

    fn weight(&self, job: &Job, (id, provider): (ProviderId, &Provider), places: u32) -> u64 {
        let share = job.quote.share;
        let ask = most(&provider.offer.price, &job.spec.limits).min(share);
        let dearness = ask.checked_mul_div(u128::from(PRICE_WEIGHT.saturating_sub(1)), share.0);
        let dearness = dearness.map_or(0, |part| u64::try_from(part.0).unwrap_or(0));
        let current = self.epoch();
        let game = provider.game.map(|standing| standing.factor(current));
        u64::from(provider.score.points(self.now))
            .saturating_mul(u64::from(places))
            .saturating_mul(PRICE_WEIGHT.saturating_sub(dearness))
            .saturating_mul(game.unwrap_or(FACTOR_NEUTRAL))
            .checked_div(FACTOR_NEUTRAL)
            .unwrap_or(0)
            .max(1)
            .saturating_mul(self.stake_weight(id))
    }

    /// In proportion to stake, so that nobody gains by dividing it among names; in thousandths of the least stake.
    fn stake_weight(&self, id: ProviderId) -> u64 {
        let stake = self.ledger.balance(&Account::Stake(id)).available();
        let whole = stake
            .unwrap_or_default()
            .checked_mul_div(1_000, self.config.stake_min.0);
        let weight = whole.and_then(|weight| u64::try_from(weight.0).ok());
        weight.unwrap_or(1_000).clamp(1_000, STAKE_WEIGHT_MAX)
    }

    /// Reserves the share and sends the assignment.
    fn assign(&mut self, id: JobId, index: u32, to: ProviderId, fx: &mut Effects) -> bool {
        let Some(shard) = self.shard(id, index) else {
            return false;
        };
        let attempt = shard.replicas.len();
        let check = shard.wanting_checks().next().map(|(number, _)| number);
        let judges = self.config.referees.contains(&to);
        let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
        let assignment = AssignmentId::derive(self.config.aggregator, id, index, attempt, to);
        let reservation = TransferId::derive(&[b"reserve".as_slice(), assignment.0.as_bytes()]);
        let Some(share) = self.jobs.get(&id).map(|job| job.quote.share) else {
            return false;
        };
        let reserve = Transfer::Pend {
            id: reservation,
            from: Account::Escrow(id),
            to: Account::Provider(to),
            amount: share,
        };
        fx.spend();
        if !self.transfer(&[reserve], fx) {
            return false;
        }
        let Some(replica) = self.taken_on(to, assignment, reservation, check.is_some()) else {
            return false;
        };
        let place = Place {
            job: id,
            shard: index,
            replica: attempt,
        };
        self.places.insert(assignment, place);
        let Some(shard) = self.shard_mut(id, index) else {
            return false;
        };
        shard.replicas.push(replica);
        let audit = shard.audit.as_mut().zip(check);
        if let Some(check) = audit.and_then(|(a, check)| a.checks.get_mut(check as usize)) {
            check.replica = Some(attempt);
            check.by = match judges {
                true => By::Referee,
                false => By::Peer,
            };
        }
        let satisfied = missing(shard) == 0;
        let Some(job) = self.jobs.get(&id) else {
            return false;
        };
        if satisfied {
            self.wanting.remove(&(job.order, index));
        }
        let order = self.assignment(job, index, attempt);
        fx.actions
            .extend(order.map(|a| Action::Dispatch(Box::new(a))));
        true
    }

    /// A replica that a provider is just given, which counts among its live ones from now on.
    fn taken_on(
        &mut self,
        to: ProviderId,
        assignment: AssignmentId,
        reservation: TransferId,
        check: bool,
    ) -> Option<Replica> {
        let until = self.now.plus_ms(self.config.accept_timeout_ms);
        let (kin, dispatched) = (self.kin(self.providers.get(&to)?), self.now);
        let provider = self.providers.get_mut(&to)?;
        provider.live.insert(assignment);
        provider.busy = provider.busy.saturating_add(1);
        provider.tally.assigned = provider.tally.assigned.saturating_add(1);
        Some(Replica {
            assignment,
            provider: to,
            class: provider.class,
            kin,
            price: provider.offer.price,
            reservation,
            commitment: None,
            opening: None,
            check,
            state: ReplicaState::Offered { until },
            times: Times {
                dispatched,
                ..Times::default()
            },
        })
    }

    /// The order that a replica stands for.
    pub(super) fn assignment(&self, job: &Job, index: u32, attempt: u32) -> Option<Assignment> {
        let shard = job.shards.get(index as usize)?;
        let replica = shard.replicas.get(attempt as usize)?;
        Some(Assignment {
            id: replica.assignment,
            job: job.id,
            shard: index,
            attempt,
            provider: replica.provider,
            aggregator: self.config.aggregator,
            input: shard.input_of(attempt)?,
            first_item: shard.first_item,
            items: shard.items_of(attempt),
            sample: shard.sample_of(attempt).to_vec(),
            reward_max: job.quote.share,
            due_ms: self.due_ms(job),
        })
    }

    /// Milliseconds from acceptance within which a commitment is due.
    pub(super) fn due_ms(&self, job: &Job) -> u64 {
        let wall_ms = job.spec.limits.wall_ms;
        wall_ms.saturating_add(self.config.due_grace_ms)
    }
}

/// How many replicas a shard lacks, or how many checks of its answer somebody to do them.
pub(super) fn missing(shard: &Shard) -> usize {
    if shard.audit.is_some() {
        return shard.wanting_checks().count();
    }
    if shard.accepted.is_some() {
        return 0;
    }
    usize::from(shard.wanted).saturating_sub(shard.answering())
}

/// Whether, with `candidate` chosen, the rest of what the shard lacks can still go to providers that are
/// apart from everyone and from one another. Otherwise a choice may take both the operator and the network
/// that two others would have stood for.
fn leaves_enough(
    round: &Round,
    job: &Job,
    shard: &Shard,
    held: &[Kin],
    candidate: &Candidate,
    fx: &mut Effects,
) -> bool {
    let rest = missing(shard).saturating_sub(1);
    if rest == 0 {
        return true;
    }
    let one_class = job.spec.needs_one_class();
    let pool = round.suited.iter();
    let pool = pool.filter(|(class, _)| !one_class || **class == candidate.class);
    let others = pool.flat_map(|(_, of_class)| of_class);
    let others = others.inspect(|_| fx.looks = fx.looks.saturating_add(1));
    let others = others.filter(|(id, kin)| {
        kin.is_apart(&candidate.kin) && kin.is_apart_from(held) && tries(shard, *id).is_some()
    });
    most_apart(others.map(|(_, kin)| *kin), rest) >= rest
}

/// How often `provider` was tried on this shard; `None` if it may not get it (again): it holds a
/// replica, or it committed, failed or was banned, or let it fall overdue too often.
pub(super) fn tries(shard: &Shard, provider: ProviderId) -> Option<usize> {
    let (mut tried, mut overdue) = (0usize, 0usize);
    let replicas = shard.replicas.iter().zip(0..);
    let counted = replicas.filter(|(r, at)| r.provider == provider && !shard.is_past_check(*at, r));
    for (replica, _) in counted {
        match replica.state {
            ReplicaState::Closed(Cause::Refused(_) | Cause::NotAccepted | Cause::Lost) => {}
            ReplicaState::Closed(Cause::Overdue) => overdue = overdue.saturating_add(1),
            _ => return None,
        }
        if replica.commitment.is_some() {
            return None;
        }
        tried = tried.saturating_add(1);
    }
    (overdue < OVERDUE_PER_SHARD_MAX).then_some(tried)
}
