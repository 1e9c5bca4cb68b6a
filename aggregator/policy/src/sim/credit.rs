//! Credibility-based voting: Sarmenta's, and iExec's PoCo, which is the same idea on a chain.
//!
//! As many copies are made as agreeing results of the present credit need. Everybody's credit grows alike, so
//! a network is followed through slices of time, in each of which rates are constant; what happens in a slice
//! is drawn at once. Of two camps that differ the one wins whose lead is first large enough: a gambler's ruin.

use super::draw::Draw;
use super::world::{Honest, Tally, World};

/// Slices of time, each a constant factor longer than the one before.
const SLICES: u32 = 160;
/// Networks per cell, each a cluster; and in the search.
const NETWORKS: u64 = 16;
const NETWORKS_OF_SEARCH: u64 = 3;
/// Cheats that are seen by others in the first step of a stretch, per cheat.
const STEP: f64 = 0.5;
/// The share of malicious workers that is assumed (f_max).
const ASSUMED: f64 = 0.35;
/// Share of work that is a spot check with a known answer.
const SPOT_CHECKS: f64 = 0.1;
/// The most copies of an item.
const COPIES_MAX: u32 = 64;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scheme {
    /// Sarmenta, with spot checks and blacklisting, for this error.
    Sarmenta(f64),
    /// PoCo, for this trust.
    Poco(f64),
}

impl Scheme {
    /// Agreeing results of this credit that decide an item: checks passed, or score.
    fn copies(self, credit: f64) -> u32 {
        match self {
            Self::Sarmenta(error) => {
                let wrong = ASSUMED / ((1.0 - ASSUMED) * std::f64::consts::E * credit.max(1e-9));
                let wrong = wrong.min(ASSUMED);
                let credible = |m: u32| {
                    let (good, bad) = ((1.0 - wrong).powi(m as i32), wrong.powi(m as i32));
                    good / (good + bad) >= 1.0 - error
                };
                (1..COPIES_MAX).find(|m| credible(*m)).unwrap_or(COPIES_MAX)
            }
            Self::Poco(trust) => {
                let weight = (credit / 3.0).floor().max(3.0) - 1.0;
                let enough = |m: u32| weight.powi(m as i32) > trust - 1.0;
                (1..COPIES_MAX).find(|m| enough(*m)).unwrap_or(COPIES_MAX)
            }
        }
    }

    const fn spot_checks(self) -> f64 {
        match self {
            Self::Sarmenta(_) => SPOT_CHECKS,
            Self::Poco(_) => 0.0,
        }
    }

    /// Credit after another `items` of everybody, of each of which `copies` were made.
    fn earn(self, credit: f64, items: f64, copies: u32) -> f64 {
        match self {
            Self::Sarmenta(_) => credit + items * SPOT_CHECKS,
            // A score rises only where there was more than one contributor.
            Self::Poco(_) if copies > 1 => credit + items * f64::from(copies),
            Self::Poco(_) => credit,
        }
    }
}

/// The probability that the wrong camp leads by `wrong` before the right one leads by `right`, when the next
/// voice is of the wrong camp with probability `share`.
pub(super) fn overtakes(share: f64, wrong: u32, right: u32) -> f64 {
    if share <= 0.0 {
        return 0.0;
    }
    let odds = (1.0 - share) / share;
    if (odds - 1.0).abs() < 1e-9 {
        return f64::from(right) / f64::from(wrong + right);
    }
    (1.0 - odds.powi(right as i32)) / (1.0 - odds.powi((wrong + right) as i32))
}

/// A network on its way through the horizon.
struct Network {
    /// Credit of honest workers, and of malicious ones.
    honest: f64,
    malicious: f64,
    alive: u64,
    wrong: f64,
    executions: f64,
    cheats: f64,
    banned: f64,
}

/// A stretch of time in steps that double, the first so short that few cheats are found in it: what is found
/// early changes what follows.
fn stretch(
    net: &mut Network,
    scheme: Scheme,
    world: &World<'_>,
    draw: &mut Draw,
    items: f64,
    rate: f64,
) {
    let losing = rate * world.attack.told_apart * f64::from(scheme.copies(net.honest));
    let first = if losing > 0.0 { STEP / losing } else { items };
    let (mut step, mut left) = (first.max(1.0), items);
    while left > 0.0 {
        let now = step.min(left);
        slice(net, scheme, world, draw, now, rate);
        left -= now;
        step *= 2.0;
    }
}

fn slice(
    net: &mut Network,
    scheme: Scheme,
    world: &World<'_>,
    draw: &mut Draw,
    items: f64,
    rate: f64,
) {
    let attack = world.attack;
    let all = world.providers as f64;
    let honest = all * (1.0 - world.active());
    let (right, wrong) = (scheme.copies(net.honest), scheme.copies(net.malicious));
    let seen = if attack.aggregator { 0.0 } else { rate };
    // Who holds every copy shows a wrong answer to nobody else; a spot check is held by one alone.
    let shown = if attack.all_copies && wrong > 1 {
        0.0
    } else {
        seen * attack.told_apart
    };
    let checks = items * f64::from(right) * scheme.spot_checks() * shown;
    // Of those who are caught in this slice, some work for a part of it.
    let present = if checks > 1e-9 {
        -(-checks).exp_m1() / checks
    } else {
        1.0
    };
    let alive = net.alive as f64 * present;
    let share = alive / (honest + alive);
    let copying = attack.copies && !matches!(scheme, Scheme::Poco(_));
    let wins = match () {
        () if attack.aggregator => 1.0,
        () if attack.all_copies => share.powi(wrong as i32),
        // Answers that are wrong in different ways never agree; one alone decides only if one is enough.
        () if !attack.colludes || (attack.copies && !copying) => {
            if wrong == 1 {
                share
            } else {
                0.0
            }
        }
        () => {
            let blurred = share * (1.0 - attack.told_apart) * 0.5;
            overtakes(share, wrong, right) * attack.told_apart + blurred
        }
    };
    let network_items = (items * all) as u64;
    net.wrong += draw.binomial(network_items, (rate * wins).min(1.0)) as f64;
    net.executions += items * all * (f64::from(right) + scheme.spot_checks());
    let work = items * f64::from(right) * alive;
    net.cheats += work * rate;
    match scheme {
        Scheme::Sarmenta(_) => {
            let caught = -(-checks).exp_m1();
            let gone = draw.binomial(net.alive, caught);
            net.alive -= gone;
            net.banned += gone as f64;
        }
        Scheme::Poco(_) => {
            // Each lost vote takes a third of the score.
            let lost = items * f64::from(right) * shown * (1.0 - wins / share.max(1e-9)).max(0.0);
            if right > 1 {
                net.malicious *= (2.0f64 / 3.0).powf(lost.min(200.0));
                net.banned += lost * net.alive as f64;
            }
        }
    }
    net.honest = scheme.earn(net.honest, items, right);
    net.malicious = scheme.earn(net.malicious, items * (1.0 - rate), right);
}

/// Lengths of the slices, which add up to the horizon, with a cut at each of `cuts`.
fn slices(horizon: u64, cuts: &[u64]) -> Vec<f64> {
    let end = horizon as f64;
    let factor = (end + 1.0).powf(1.0 / f64::from(SLICES));
    let edge = |i: u32| (factor.powi(i as i32) - 1.0).min(end);
    let mut edges: Vec<f64> = (0..SLICES).map(edge).chain([end]).collect();
    edges.extend(cuts.iter().map(|cut| (*cut).min(horizon) as f64));
    edges.sort_by(f64::total_cmp);
    edges
        .windows(2)
        .map(|pair| {
            pair.iter()
                .rev()
                .copied()
                .reduce(|to, from| to - from)
                .unwrap_or(0.0)
        })
        .collect()
}

fn network(scheme: Scheme, world: &World<'_>, mut draw: Draw, rate: f64) -> Network {
    let malicious = (world.providers as f64 * world.active()).round() as u64;
    // Scores are earned with anybody's tasks, one's own included; spot checks are the master's alone.
    let farmed = match scheme {
        Scheme::Poco(trust) if world.attack.self_dealt => 3.0 * (trust + 1.0),
        _ => 0.0,
    };
    let mut net = Network {
        honest: 0.0,
        malicious: farmed,
        alive: malicious,
        wrong: 0.0,
        executions: 0.0,
        cheats: 0.0,
        banned: 0.0,
    };
    let (from, until) = world.cheats(world.params.window);
    let (mut at, mut returns) = (0.0, world.attack.returns);
    for items in slices(world.horizon, &[from, until]) {
        let now = at + items / 2.0;
        let awake = now >= from as f64 && now <= until as f64;
        let rate = if awake { rate } else { 0.0 };
        stretch(&mut net, scheme, world, &mut draw, items, rate);
        at += items;
        if net.alive < malicious / 2 && returns > 0 && matches!(scheme, Scheme::Sarmenta(_)) {
            // They come back together, without a record.
            (net.alive, net.malicious, returns) = (malicious, 0.0, returns - 1);
        }
    }
    net
}

pub(super) fn run(scheme: Scheme, world: &World<'_>) -> Tally {
    let mut tally = Tally::default();
    let searching = world.lives <= super::cell::PILOT_LIVES;
    let networks = if searching {
        NETWORKS_OF_SEARCH
    } else {
        NETWORKS
    };
    for number in 0..networks {
        let net = network(
            scheme,
            world,
            Draw::new(world.seed, number),
            world.wrong_rate(),
        );
        tally.add_wrong(net.wrong);
        tally.items += world.providers as f64 * world.horizon as f64;
        tally.executions += net.executions;
        tally.lives += world.providers as f64 * world.active();
        tally.cheats += net.cheats;
        if matches!(scheme, Scheme::Sarmenta(_)) {
            tally.delays.push(1.0 / SPOT_CHECKS);
        }
    }
    tally
}

/// Without a malicious worker: what it costs, and honest ones that a spot check finds wrong.
pub(super) fn honest(scheme: Scheme, world: &World<'_>) -> Honest {
    let mut draw = Draw::new(world.seed, 1 << 41);
    let items = world.providers as f64 * world.horizon as f64;
    let (mut executions, mut alone, mut credit) = (0.0, 0.0, 0.0);
    for slice in slices(world.horizon, &[]) {
        let copies = scheme.copies(credit);
        executions += slice * (f64::from(copies) + scheme.spot_checks());
        alone += if copies == 1 { slice } else { 0.0 };
        credit = scheme.earn(credit, slice, copies);
    }
    let horizon = world.horizon as f64;
    let found = 1.0 - (-scheme.spot_checks() * world.noise.silent * horizon).exp();
    debug_assert!(items > 0.0);
    Honest {
        lives: world.providers,
        executions: executions / horizon + world.noise.faults,
        slashed: draw.binomial(world.providers, found),
        error: world.noise.silent * alone / horizon,
        ..Honest::default()
    }
}
