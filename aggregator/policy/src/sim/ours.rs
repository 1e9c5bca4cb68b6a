//! The audit policy, by the functions that the aggregator decides by: [`Provider`] and its rates.
//!
//! A life is one malicious identity, or several one after another, over the horizon. Between two items that
//! matter nothing happens but checks that pass, so their number is drawn at once.

use std::collections::VecDeque;

use super::draw::{Draw, NEVER};
use super::world::{Honest, Tally, World};
use crate::audit::Risk;
use crate::finality::{Consequence, Provider};
use crate::params::Params;
use crate::rate::{BILLION, Ppb};

/// What is taken away, to see what it is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Ablation {
    /// Audits can be foreseen, so only items that will not be audited are wrong.
    pub(super) foreseen: bool,
}

/// A probability as a floating number.
pub(super) fn real(rate: Ppb) -> f64 {
    f64::from(rate.get()) / f64::from(BILLION)
}

/// How a provider's wrong items come about and are found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habit {
    pub(super) rate: f64,
    /// Items during which it is so.
    pub(super) from: u64,
    pub(super) until: u64,
    pub(super) peer_finds: f64,
    pub(super) trusted_finds: f64,
    /// Probability, per item, that a right item is found wrong in spite of every confirmation.
    pub(super) framed: f64,
    pub(super) foreseen: bool,
    /// Whether its record was earned by items of its own.
    pub(super) ramp_skipped: bool,
    pub(super) returns: u32,
}

/// A life and what came of it.
#[derive(Debug)]
pub(super) struct Life<'a> {
    params: &'a Params,
    habit: Habit,
    draw: Draw,
    provider: Provider,
    /// Wrong items that are not final, by number.
    pending: VecDeque<u64>,
    pub(super) executions: f64,
    pub(super) wrong: u64,
    pub(super) cheats: u64,
    pub(super) slashed: u32,
    pub(super) fined: u32,
    pub(super) forfeited: u64,
    pub(super) delay: Option<u64>,
}

impl<'a> Life<'a> {
    pub(super) fn new(params: &'a Params, habit: Habit, draw: Draw) -> Self {
        Self {
            params,
            habit,
            draw,
            provider: Provider::default(),
            pending: VecDeque::new(),
            executions: 0.0,
            wrong: 0,
            cheats: 0,
            slashed: 0,
            fined: 0,
            forfeited: 0,
            delay: None,
        }
    }

    /// Lives for `horizon` items.
    pub(super) fn run(mut self, horizon: u64) -> Self {
        self.begin();
        let (mut at, mut returns) = (0u64, self.habit.returns);
        while at < horizon {
            let (next, framed) = self.next_event(at, horizon);
            self.clean(next - at);
            at = next;
            if at >= horizon {
                break;
            }
            at += 1;
            let banned = if framed {
                self.framed_item()
            } else {
                self.wrong_item()
            };
            if !banned {
                continue;
            }
            if returns == 0 {
                // Somebody else does what is left, and is checked.
                let rest = (horizon - at) as f64;
                let rates = crate::audit::audit_rate(self.params, u64::MAX, Risk::ORDINARY);
                self.executions += rest * (1.0 + real(rates.peer) + real(rates.trusted));
                return self;
            }
            returns -= 1;
            self.begin();
        }
        self.leave();
        self
    }

    /// Lives for `horizon` items with audits that can be foreseen: nothing is ever found.
    fn unseen(mut self, horizon: u64) -> Self {
        let rates = crate::audit::audit_rate(self.params, u64::MAX, Risk::ORDINARY);
        let audited = real(rates.peer) + real(rates.trusted);
        let items = self.habit.until - self.habit.from;
        self.cheats = self.draw.binomial(items, self.habit.rate * (1.0 - audited));
        self.wrong = self.cheats;
        self.executions = horizon as f64 * (1.0 + audited);
        self
    }

    fn begin(&mut self) {
        self.provider = Provider::default();
        self.pending.clear();
        if self.habit.ramp_skipped {
            self.provider
                .passed_many(self.params, self.params.ramp_checks);
        }
    }

    /// The next item that is wrong, or framed.
    fn next_event(&mut self, at: u64, horizon: u64) -> (u64, bool) {
        let habit = self.habit;
        let begins = at.max(habit.from);
        let wrong = match begins < habit.until {
            true => begins.saturating_add(self.draw.geometric(habit.rate) - 1),
            false => NEVER,
        };
        let wrong = if wrong < habit.until { wrong } else { NEVER };
        let framed = match habit.framed > 0.0 {
            true => at.saturating_add(self.draw.geometric(habit.framed) - 1),
            false => NEVER,
        };
        (wrong.min(framed).min(horizon), framed < wrong)
    }

    /// `items` right items, and the checks among them.
    fn clean(&mut self, mut items: u64) {
        while items > 0 {
            let rates = self.provider.rates(self.params, Risk::ORDINARY);
            let rate = real(rates.peer) + real(rates.trusted);
            let ramp = self.provider.passed() < self.params.ramp_checks;
            let (some, checks) = if ramp {
                let gap = self.draw.geometric(rate);
                if gap > items { (items, 0) } else { (gap, 1) }
            } else {
                (items, self.draw.binomial(items, rate))
            };
            // Only an active provider comes here.
            let _ = self.provider.produce(self.params, some);
            self.provider.passed_many(self.params, checks);
            self.executions += (some + checks) as f64;
            items -= some;
        }
        self.collect();
    }

    /// Counts the wrong items that became final.
    fn collect(&mut self) {
        let until = self.provider.finalised();
        while self.pending.front().is_some_and(|item| *item < until) {
            self.pending.pop_front();
            self.wrong += 1;
        }
    }

    /// One wrong item. Returns whether its provider is banned for it.
    fn wrong_item(&mut self) -> bool {
        let rates = self.provider.rates(self.params, Risk::ORDINARY);
        let (peer, trusted) = (real(rates.peer), real(rates.trusted));
        let item = self.provider.produced();
        let _ = self.provider.produce(self.params, 1);
        self.executions += 1.0;
        let ticket = self.draw.uniform();
        let audited = ticket < peer + trusted;
        self.executions += f64::from(u8::from(audited));
        self.cheats += 1;
        let finds = match ticket < trusted {
            true => self.habit.trusted_finds,
            false => self.habit.peer_finds,
        };
        if audited && self.draw.chance(finds) {
            return self.found(item);
        }
        self.provider.passed_many(self.params, u64::from(audited));
        self.pending.push_back(item);
        self.collect();
        false
    }

    /// A right item that every confirmation holds to be wrong.
    fn framed_item(&mut self) -> bool {
        let item = self.provider.produced();
        let _ = self.provider.produce(self.params, 1);
        self.executions += 2.0;
        self.found(item)
    }

    /// A failure is confirmed. Returns whether its provider is banned.
    fn found(&mut self, item: u64) -> bool {
        self.delay.get_or_insert(self.cheats);
        // The confirmations, and the item once more.
        self.executions += f64::from(self.params.confirmations) + 1.0;
        match self.provider.fail(self.params, item, true) {
            Ok(Consequence::Forgiven { recheck, rate }) => {
                self.fined += 1;
                let caught = self.sample(recheck.end - recheck.start, real(rate));
                caught.into_iter().any(|item| self.found(item))
            }
            Ok(Consequence::Banned { invalid }) => {
                let items = invalid.end - invalid.start;
                self.slashed += 1;
                self.forfeited += items;
                self.executions += items as f64;
                self.pending.clear();
                true
            }
            Err(_) => true,
        }
    }

    /// Recomputes a share of the items not yet final. Returns the wrong ones among them.
    fn sample(&mut self, items: u64, rate: f64) -> Vec<u64> {
        self.executions += self.draw.binomial(items, rate) as f64;
        let finds = rate * self.habit.trusted_finds;
        let pending = std::mem::take(&mut self.pending);
        let draw = &mut self.draw;
        let (caught, rest): (Vec<u64>, Vec<u64>) =
            pending.into_iter().partition(|_| draw.chance(finds));
        self.pending = rest.into();
        caught
    }

    /// The end of the horizon: everybody leaves, and what is not final is sampled.
    fn leave(&mut self) {
        let mut last = self.provider.clone();
        let Ok((items, rate)) = last.leave(self.params) else {
            return;
        };
        let caught = self.sample(items.end - items.start, real(rate));
        self.provider = last;
        if caught.into_iter().any(|item| self.found(item)) {
            return;
        }
        if self.provider.left().is_ok() {
            self.collect();
        }
    }
}

/// How an adversary behaves towards the policy.
pub(super) fn habit(world: &World<'_>, ablation: Ablation) -> Habit {
    let attack = world.attack;
    let (from, until) = world.cheats(world.params.window.max(1));
    // The diversity rule: nobody is audited from its own network prefix.
    let told = attack.told_apart;
    let peer_finds = if attack.one_prefix {
        told
    } else {
        world.peer_finds()
    };
    Habit {
        // Of what it deals to itself nothing is worth a lie.
        rate: world.wrong_rate() * if attack.self_dealt { 0.5 } else { 1.0 },
        from,
        until,
        peer_finds,
        // A malicious aggregator recomputes nothing.
        trusted_finds: if attack.aggregator { 0.0 } else { told },
        framed: framed(world),
        foreseen: ablation.foreseen,
        ramp_skipped: attack.self_dealt,
        returns: attack.returns,
    }
}

/// The probability that a right item is audited, and every comparison says it differs.
fn framed(world: &World<'_>) -> f64 {
    let audited = real(world.params.peer) + real(world.params.trusted);
    audited
        * world
            .noise
            .mismatch
            .powi(1 + i32::from(world.params.confirmations))
}

/// Malicious lives.
pub(super) fn run(world: &World<'_>, ablation: Ablation, honest: &Honest) -> Tally {
    let mut tally = Tally::default();
    let habit = habit(world, ablation);
    let horizon = world.horizon as f64;
    for life in 0..world.lives {
        let draw = Draw::new(world.seed, life);
        let life = Life::new(world.params, habit, draw);
        let life = if habit.foreseen {
            life.unseen(world.horizon)
        } else {
            life.run(world.horizon)
        };
        tally.add_wrong(life.wrong as f64);
        tally.lives += 1.0;
        tally.items += horizon / world.active();
        let others = 1.0 / world.active() - 1.0;
        tally.executions += life.executions + others * horizon * honest.executions;
        tally.cheats += life.cheats as f64;
        tally.slashed += f64::from(life.slashed);
        tally.fined += f64::from(life.fined);
        tally.forfeited += life.forfeited as f64;
        tally.delays.extend(life.delay.map(|cheats| cheats as f64));
    }
    tally
}

/// Honest lives under the noise alone.
pub(super) fn honest(world: &World<'_>, lives: u64) -> Honest {
    let habit = Habit {
        rate: world.noise.silent,
        from: 0,
        until: world.horizon,
        peer_finds: 1.0,
        trusted_finds: 1.0,
        framed: framed(world),
        foreseen: false,
        ramp_skipped: false,
        returns: 0,
    };
    let mut sum = Honest {
        lives,
        ..Honest::default()
    };
    let (mut executions, mut wrong) = (0.0, 0u64);
    for life in 0..lives {
        // Streams of their own, beyond those of malicious lives.
        let draw = Draw::new(world.seed, life | 1 << 40);
        let life = Life::new(world.params, habit, draw).run(world.horizon);
        executions += life.executions;
        wrong += life.wrong;
        sum.slashed += u64::from(life.slashed);
        sum.fined += u64::from(life.fined);
    }
    let items = world.horizon as f64 * lives as f64;
    sum.executions = executions / items;
    // First comparisons that say wrongly that answers differ cost a confirmation each.
    let audited = real(world.params.peer) + real(world.params.trusted);
    sum.executions += audited * world.noise.mismatch + world.noise.faults;
    sum.error = wrong as f64 / items;
    sum
}
