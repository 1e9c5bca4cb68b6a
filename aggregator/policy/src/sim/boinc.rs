//! BOINC's adaptive replication: a host that had ten valid replicated results in a row is trusted with single
//! copies, but for one in as many as it had in a row. An invalid result begins anew; nobody is banned.
//!
//! The rules are those of its transitioner and validator: quorum of one if trusted, else two that agree, a
//! third where they differ.

use super::draw::Draw;
use super::world::{Honest, Tally, World};

/// Valid results in a row from which a host is trusted.
const TRUSTED_FROM: u64 = 10;
/// Replicated items after which a life is stopped, and its rates stand for the rest: without bans, a life is
/// the same story again and again.
const EVENTS_MAX: u64 = 1_500;
/// Valid results in a row that somebody has who deals to itself.
const SELF_DEALT: u64 = 1_000;

struct Host {
    valid: u64,
    executions: f64,
    wrong: u64,
    cheats: u64,
    delay: Option<u64>,
}

/// Where one replicated item of a host ends.
fn replicate(host: &mut Host, world: &World<'_>, draw: &mut Draw, cheats: bool) {
    let f = if world.attack.colludes {
        world.active()
    } else {
        0.0
    };
    host.executions += 2.0;
    if !cheats {
        host.executions += world.noise.mismatch;
        host.valid += 1;
        return;
    }
    // Half of the copiers come second, and copy what is right.
    if world.attack.copies && draw.chance(0.5) {
        host.valid += 1;
        return;
    }
    host.cheats += 1;
    let mut agrees = draw.chance(f) || !draw.chance(world.attack.told_apart);
    if !agrees {
        host.executions += 1.0;
        agrees = draw.chance(f);
    }
    if agrees {
        host.wrong += 1;
        host.valid += 1;
    } else {
        host.delay.get_or_insert(host.cheats);
        host.valid = 0;
    }
}

/// Lives until the horizon or enough has happened. Returns the host and how many items it had.
fn live(world: &World<'_>, mut draw: Draw, rate: f64) -> (Host, u64) {
    let mut host = Host {
        valid: if world.attack.self_dealt {
            SELF_DEALT
        } else {
            0
        },
        executions: 0.0,
        wrong: 0,
        cheats: 0,
        delay: None,
    };
    let (from, until) = world.cheats(world.params.window);
    let rate_at = |at: u64| {
        if (from..until).contains(&at) {
            rate
        } else {
            0.0
        }
    };
    let (mut at, mut events) = (0u64, 0u64);
    while at < world.horizon && (events < EVENTS_MAX || at <= from) {
        let replicated = if host.valid < TRUSTED_FROM {
            1.0
        } else {
            1.0 / host.valid as f64
        };
        // Up to the next replicated item, or to where the habit changes.
        let edge = [from, until, world.horizon]
            .into_iter()
            .filter(|edge| *edge > at)
            .min();
        let edge = edge.unwrap_or(world.horizon);
        let gap = draw.geometric(replicated);
        let single = (gap - 1).min(edge - at);
        let accepted = draw.binomial(single, rate_at(at));
        host.wrong += accepted;
        host.cheats += accepted;
        host.executions += single as f64;
        at += single;
        if at < edge {
            let cheats = draw.chance(rate_at(at));
            replicate(&mut host, world, &mut draw, cheats);
            at += 1;
            events += u64::from(at > from);
        }
    }
    (host, at)
}

/// Malicious lives, at most so many: each is long.
const LIVES_MAX: u64 = 150;

pub(super) fn run(world: &World<'_>, honest: &Honest) -> Tally {
    let mut tally = Tally::default();
    let horizon = world.horizon as f64;
    let active = world.active();
    for life in 0..world.lives.min(LIVES_MAX) {
        let (host, items) = live(world, Draw::new(world.seed, life), world.wrong_rate());
        let scale = horizon / items as f64;
        let wrong = match world.attack.aggregator {
            // The server is trusted by design.
            true => horizon * world.wrong_rate() / active,
            false => host.wrong as f64 * scale,
        };
        tally.add_wrong(wrong);
        tally.lives += 1.0;
        tally.items += horizon / active;
        tally.executions +=
            host.executions * scale + (1.0 / active - 1.0) * horizon * honest.executions;
        tally.cheats += host.cheats as f64 * scale;
        tally.delays.extend(host.delay.map(|cheats| cheats as f64));
    }
    tally
}

pub(super) fn honest(world: &World<'_>) -> Honest {
    const LIVES: u64 = 50;
    let mut executions = 0.0;
    for life in 0..LIVES {
        let (host, items) = live(world, Draw::new(world.seed, life | 1 << 40), 0.0);
        executions += host.executions / items as f64;
    }
    let executions = executions / LIVES as f64 + world.noise.faults;
    Honest {
        lives: world.providers,
        executions,
        error: world.noise.silent * (2.0 - executions).max(0.0),
        ..Honest::default()
    }
}
