//! The policies that compete, ours with parts of it taken away, and the sweeps.

use super::boinc;
use super::credit::{self, Scheme};
use super::ours::{self, Ablation};
use super::sampled::{self, Posp};
use super::voting::{self, Copies};
use super::world::{Honest, Tally, World};
use crate::params::Params;
use crate::rate::Ppb;

/// How a policy checks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    Voting(Copies),
    Boinc,
    Credit(Scheme),
    Posp(Posp),
    Gonka,
    Ours(Ablation),
}

/// A policy with its name and parameters.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) rule: Rule,
    pub(super) params: Params,
    /// The horizon that a sweep asks for.
    pub(super) horizon: Option<u64>,
}

impl Policy {
    fn new(name: impl Into<String>, rule: Rule, params: &Params) -> Self {
        Self {
            name: name.into(),
            rule,
            params: *params,
            horizon: None,
        }
    }

    pub(super) fn honest(&self, world: &World<'_>, lives: u64) -> Honest {
        match self.rule {
            Rule::Voting(copies) => voting::honest(copies, world),
            Rule::Boinc => boinc::honest(world),
            Rule::Credit(scheme) => credit::honest(scheme, world),
            Rule::Posp(posp) => posp.honest(world),
            Rule::Gonka => sampled::gonka_honest(world),
            Rule::Ours(_) => ours::honest(world, lives),
        }
    }

    pub(super) fn attacked(&self, world: &World<'_>, honest: &Honest) -> Tally {
        match self.rule {
            Rule::Voting(copies) => voting::run(copies, world),
            Rule::Boinc => boinc::run(world, honest),
            Rule::Credit(scheme) => credit::run(scheme, world),
            Rule::Posp(posp) => posp.run(world, honest),
            Rule::Gonka => sampled::gonka(world, honest),
            Rule::Ours(ablation) => ours::run(world, ablation, honest),
        }
    }

    /// Further items until an item is final.
    pub(super) const fn window(&self) -> u64 {
        match self.rule {
            Rule::Ours(_) => self.params.window,
            _ => 0,
        }
    }
}

/// All that compete.
pub(super) fn all(params: &Params) -> Vec<Policy> {
    let rival = |name: &str, rule| Policy::new(name, rule, params);
    let posp = |p, n, bans| Rule::Posp(Posp { p, n, bans });
    let none = Ablation::default();
    let audits = f64::from(params.peer.or(params.trusted).get()) / 1e9;
    let equal = format!("PoSP p={audits} n=1 ban");
    let with = |name: &str, change: fn(&mut Params), ablation| {
        let mut params = *params;
        change(&mut params);
        Policy::new(name, Rule::Ours(ablation), &params)
    };
    vec![
        rival("2x, tie-break", Rule::Voting(Copies::Two)),
        rival("3x", Rule::Voting(Copies::Three)),
        rival("BOINC adaptive", Rule::Boinc),
        rival("Sarmenta 1e-4", Rule::Credit(Scheme::Sarmenta(1e-4))),
        rival("Sarmenta 1e-6", Rule::Credit(Scheme::Sarmenta(1e-6))),
        rival("PoCo 1e4", Rule::Credit(Scheme::Poco(1e4))),
        rival("PoCo 1e6", Rule::Credit(Scheme::Poco(1e6))),
        rival("PoSP p=0.01 n=1", posp(0.01, 1, false)),
        rival("PoSP p=0.05 n=1", posp(0.05, 1, false)),
        rival("PoSP p=0.01 n=1 ban", posp(0.01, 1, true)),
        rival("PoSP p=0.01 n=3 ban", posp(0.01, 3, true)),
        rival("PoSP p=0.05 n=1 ban", posp(0.05, 1, true)),
        rival("PoSP p=0.05 n=3 ban", posp(0.05, 3, true)),
        rival(&equal, posp(audits, 1, true)),
        rival("Gonka", Rule::Gonka),
        rival("ours", Rule::Ours(none)),
        with("ours, no pardon", |p| p.forgiven = 0, none),
        with("ours, no holdback", |p| p.window = 0, none),
        with("ours, no floor", |p| p.peer = Ppb::ZERO, none),
        with("ours, no trusted", |p| p.trusted = Ppb::ZERO, none),
        with("ours, foreseen", |_| {}, Ablation { foreseen: true }),
    ]
}

/// Peer rate and trusted rate in thousandths of a thousandth, window, horizon.
const SWEEP: [(u32, u32, u64, u64); 12] = [
    (50_000, 5_000, 250_000, 10_000_000),
    (20_000, 5_000, 1_000_000, 100_000_000),
    (80_000, 10_000, 100_000, 1_000_000),
    (250_000, 20_000, 100_000, 1_000_000),
    (50_000, 5_000, 100_000, 1_000_000),
    (160_000, 10_000, 500_000, 1_000_000),
    (75_000, 7_000, 25_000, 10_000_000),
    (75_000, 7_000, 250_000, 10_000_000),
    (75_000, 7_000, 1_000_000, 10_000_000),
    (60_000, 15_000, 250_000, 10_000_000),
    (20_000, 50_000, 250_000, 10_000_000),
    (1_000, 75_000, 250_000, 10_000_000),
];

/// Other parameters, with and without the pardon.
pub(super) fn sweep(params: &Params) -> Vec<Policy> {
    let one = |(peer, trusted, window, horizon): (u32, u32, u64, u64), forgiven| {
        let params = Params {
            peer: Ppb::millionths(peer),
            trusted: Ppb::millionths(trusted),
            window,
            horizon,
            forgiven,
            ..*params
        };
        let percent = |millionths: u32| f64::from(millionths) / 10_000.0;
        let (p, pt) = (percent(peer), percent(trusted));
        let name = format!("p={p}% pt={pt}% W={window} pardons={forgiven}");
        let mut policy = Policy::new(name, Rule::Ours(Ablation::default()), &params);
        policy.horizon = Some(horizon);
        policy
    };
    let pairs = SWEEP.iter().flat_map(|row| [one(*row, 0), one(*row, 1)]);
    pairs.collect()
}

/// Rates of faults that nobody notices.
const SILENT: [f64; 5] = [1e-10, 1e-9, 1e-8, 1e-7, 1e-5];
/// Failures that are forgiven.
const PARDONS: [u32; 4] = [0, 1, 4, 32];

/// How many pardons it takes for honest providers to keep their stake, and what these cost.
pub(super) fn pardons(params: &Params) -> Vec<(Policy, f64)> {
    let one = |silent, forgiven| {
        let params = Params {
            forgiven,
            ..*params
        };
        let name = format!("silent faults {silent:e}, pardons={forgiven}");
        (
            Policy::new(name, Rule::Ours(Ablation::default()), &params),
            silent,
        )
    };
    let all = SILENT
        .iter()
        .flat_map(|silent| PARDONS.map(|forgiven| one(*silent, forgiven)));
    all.collect()
}
