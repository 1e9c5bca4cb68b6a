//! The adversaries, each by what it changes for whoever checks.
//!
//! The detection probabilities of cheats that are near the truth are assumptions, named here; those measured
//! for a model by calibration take their place when there are any.

/// Probability that comparing an answer of a quantised model with that of the stated one tells them apart.
pub const QUANTISED_TOLD_APART: f64 = 0.9;
/// The same for a model of an earlier version.
pub const STALE_TOLD_APART: f64 = 0.99;
/// The same for an answer computed on a processor where a device was promised: only the fingerprint's
/// intermediate values give it away.
pub const LAZY_CPU_TOLD_APART: f64 = 0.5;
/// Share of honest providers that pass audits without doing them, under the lazy auditor.
pub const LAZY_AUDITORS: f64 = 0.2;
/// Times that a banned provider comes back under a new identity, under whitewashing.
pub const RETURNS: u32 = 4;

/// What an adversary does. The rate of wrong items is searched for, to find the worst.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attack {
    /// Its name in tables.
    pub name: &'static str,
    /// Members give the same wrong answer, and pass one another's items as auditors.
    pub colludes: bool,
    /// Share of the members that gives wrong answers; the others vouch for them and are clean.
    pub active: f64,
    /// Cheats only where it holds every copy, when it can know.
    pub all_copies: bool,
    /// Share of the horizon during which it behaves.
    pub sleeps: f64,
    /// Behaves until the last window, cheats, and leaves.
    pub burst: bool,
    /// Times it returns after a ban.
    pub returns: u32,
    /// Probability that a comparison with a right answer tells its answer apart.
    pub told_apart: f64,
    /// Share of honest auditors that do not look.
    pub lazy: f64,
    /// Earns its record with jobs that it pays for itself; half of its items are its own.
    pub self_dealt: bool,
    /// All members are reached at one network prefix.
    pub one_prefix: bool,
    /// The aggregator is one of them.
    pub aggregator: bool,
    /// Copies what others answered, where it can see it.
    pub copies: bool,
    /// Its answers are right all the same.
    pub right: bool,
}

/// Colluders that give the same wrong answer and cover for one another.
pub const COLLUDING: Attack = Attack {
    name: "colluding",
    colludes: true,
    active: 1.0,
    all_copies: false,
    sleeps: 0.0,
    burst: false,
    returns: 0,
    told_apart: 1.0,
    lazy: 0.0,
    self_dealt: false,
    one_prefix: false,
    aggregator: false,
    copies: false,
    right: false,
};

/// Nobody is malicious.
pub const NOBODY: Attack = Attack {
    name: "nobody",
    right: true,
    ..COLLUDING
};

/// Every adversary of the campaign.
pub const ATTACKS: [Attack; 16] = [
    Attack {
        name: "independent",
        colludes: false,
        ..COLLUDING
    },
    COLLUDING,
    Attack {
        name: "all copies",
        all_copies: true,
        ..COLLUDING
    },
    Attack {
        name: "sleeper",
        sleeps: 0.5,
        ..COLLUDING
    },
    Attack {
        name: "vouching",
        active: 0.5,
        ..COLLUDING
    },
    Attack {
        name: "burst and exit",
        burst: true,
        ..COLLUDING
    },
    Attack {
        name: "whitewash",
        returns: RETURNS,
        ..COLLUDING
    },
    Attack {
        name: "copier",
        copies: true,
        ..COLLUDING
    },
    Attack {
        name: "lazy auditors",
        lazy: LAZY_AUDITORS,
        ..COLLUDING
    },
    Attack {
        name: "lazy CPU",
        told_apart: LAZY_CPU_TOLD_APART,
        ..COLLUDING
    },
    Attack {
        name: "quantised",
        told_apart: QUANTISED_TOLD_APART,
        ..COLLUDING
    },
    Attack {
        name: "stale model",
        told_apart: STALE_TOLD_APART,
        ..COLLUDING
    },
    Attack {
        name: "relay",
        right: true,
        ..COLLUDING
    },
    Attack {
        name: "self-dealing",
        self_dealt: true,
        ..COLLUDING
    },
    Attack {
        name: "one prefix",
        one_prefix: true,
        ..COLLUDING
    },
    Attack {
        name: "aggregator",
        aggregator: true,
        ..COLLUDING
    },
];

impl Attack {
    /// The adversary of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ATTACKS.iter().find(|attack| attack.name == name)
    }
}
