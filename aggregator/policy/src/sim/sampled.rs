//! Systems that check a share of single copies: PoSP, and Gonka's rule. Neither holds anything back: what was
//! not checked is final at once.

use super::draw::Draw;
use super::stats::binomial_tail;
use super::world::{Honest, Tally, World};

/// PoSP: each item is checked with probability `p` by `n` validators.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Posp {
    pub(super) p: f64,
    pub(super) n: u32,
    /// Whether who is caught is gone, or only loses its stake for the item.
    pub(super) bans: bool,
}

impl Posp {
    /// The probability that a wrong item is found.
    fn finds(&self, world: &World<'_>) -> f64 {
        let missed = (1.0 - world.peer_finds()).powi(self.n.try_into().unwrap_or(1));
        self.p * (1.0 - missed)
    }

    pub(super) fn run(&self, world: &World<'_>, honest: &Honest) -> Tally {
        let mut tally = Tally::default();
        let finds = self.finds(world);
        let (from, until) = world.cheats(WINDOW_OF_A_BURST);
        for life in 0..world.lives {
            let mut draw = Draw::new(world.seed, life);
            let mut one = One::default();
            if self.bans {
                let (mut at, mut returns) = (from, world.attack.returns);
                loop {
                    at = at.saturating_add(draw.geometric(world.wrong_rate()));
                    if at > until {
                        break;
                    }
                    one.cheats += 1;
                    if !draw.chance(finds) {
                        one.wrong += 1;
                        continue;
                    }
                    one.found();
                    if returns == 0 {
                        break;
                    }
                    returns -= 1;
                }
            } else {
                one.cheats = draw.binomial(until - from, world.wrong_rate());
                one.slashed = draw.binomial(one.cheats, finds);
                one.wrong = one.cheats - one.slashed;
                if one.slashed > 0 {
                    one.delay = Some(draw.geometric(finds));
                }
            }
            one.add_to(&mut tally, world, honest, 1.0 + self.p * f64::from(self.n));
        }
        tally
    }

    /// A mismatch is taken to be confirmed as often as ours, so that only real faults cost an honest one.
    pub(super) fn honest(&self, world: &World<'_>) -> Honest {
        let mut draw = Draw::new(world.seed, 1 << 41);
        let confirmed = world
            .noise
            .mismatch
            .powi(1 + i32::from(world.params.confirmations));
        let failure = self.p * (world.noise.silent + confirmed);
        let slashed = 1.0 - (-failure * world.horizon as f64).exp();
        Honest {
            lives: world.providers,
            executions: 1.0 + self.p * f64::from(self.n) + world.noise.faults,
            slashed: draw.binomial(world.providers, slashed),
            error: world.noise.silent * (1.0 - self.p),
            ..Honest::default()
        }
    }
}

/// Items over which a burst is spread where there is no window: as many as ours has.
const WINDOW_OF_A_BURST: u64 = 250_000;

/// What one life did.
#[derive(Default)]
struct One {
    wrong: u64,
    cheats: u64,
    slashed: u64,
    delay: Option<u64>,
}

impl One {
    fn found(&mut self) {
        self.slashed += 1;
        self.delay.get_or_insert(self.cheats);
    }

    fn add_to(self, tally: &mut Tally, world: &World<'_>, honest: &Honest, executions: f64) {
        let horizon = world.horizon as f64;
        tally.add_wrong(self.wrong as f64);
        tally.lives += 1.0;
        tally.items += horizon / world.active();
        let others = 1.0 / world.active() - 1.0;
        tally.executions += horizon * (executions + others * honest.executions);
        tally.cheats += self.cheats as f64;
        tally.slashed += self.slashed as f64;
        tally.delays.extend(self.delay.map(|cheats| cheats as f64));
    }
}

/// Epochs of Gonka's rule in a horizon.
const EPOCHS: u64 = 100;
/// Clean epochs after which a reputation is full.
const EPOCHS_TO_TRUST: u64 = 30;
/// Validation rates of an executor without and with full reputation.
const RATE_MAX: f64 = 1.0;
const RATE_MIN: f64 = 0.01;
/// The share of failures that is taken to be chance.
const FAILURES_BY_CHANCE: f64 = 0.05;
/// Significance at which more than that is a cheat.
const SIGNIFICANCE: f64 = 1e-6;
/// Part of the stake that is slashed then.
const SLASHED: f64 = 0.2;

/// The rate at which an executor of `clean` epochs is validated.
fn gonka_rate(clean: u64) -> f64 {
    let reputation = clean.min(EPOCHS_TO_TRUST) as f64 / EPOCHS_TO_TRUST as f64;
    RATE_MIN + (RATE_MAX - RATE_MIN) * (1.0 - reputation)
}

pub(super) fn gonka(world: &World<'_>, honest: &Honest) -> Tally {
    let mut tally = Tally::default();
    let finds = world.peer_finds();
    let (from, until) = world.cheats(WINDOW_OF_A_BURST);
    let epoch = (world.horizon / EPOCHS).max(1);
    for life in 0..world.lives {
        let mut draw = Draw::new(world.seed, life);
        let (mut clean, mut returns) = (0u64, world.attack.returns);
        let (mut one, mut executions) = (One::default(), 0.0);
        for start in (0..world.horizon).step_by(epoch as usize) {
            let end = (start + epoch).min(until);
            let items = end.saturating_sub(start.max(from));
            let rate = gonka_rate(clean);
            let validated = draw.binomial(epoch, rate);
            executions += (epoch + validated) as f64;
            let cheats = draw.binomial(items, world.wrong_rate());
            let caught = draw.binomial(cheats, rate * finds);
            one.cheats += cheats;
            one.wrong += cheats - caught;
            if caught > 0 {
                one.delay.get_or_insert(one.cheats);
            }
            if caught == 0 || binomial_tail(validated, FAILURES_BY_CHANCE, caught) >= SIGNIFICANCE {
                clean += 1;
                continue;
            }
            one.slashed += 1;
            clean = 0;
            if returns == 0 {
                executions += (world.horizon - start - epoch.min(world.horizon - start)) as f64;
                break;
            }
            returns -= 1;
        }
        let slashed = one.slashed as f64;
        one.slashed = 0;
        let per_item = executions / world.horizon as f64;
        one.add_to(&mut tally, world, honest, per_item);
        tally.slashed += slashed * SLASHED;
    }
    tally
}

/// Honest faults are far below what is taken to be chance.
pub(super) fn gonka_honest(world: &World<'_>) -> Honest {
    let rates = (0..EPOCHS).map(gonka_rate).sum::<f64>() / EPOCHS as f64;
    Honest {
        lives: world.providers,
        executions: 1.0 + rates + world.noise.faults,
        error: world.noise.silent * (1.0 - rates),
        ..Honest::default()
    }
}
