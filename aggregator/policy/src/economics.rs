//! What cheating costs, as inequalities that a configuration must satisfy.
//!
//! All of them are reckoned at the planning share `f` of colluding stake, whose members never expose one
//! another: a wrong item is found with `pe = p (1-f) + pt`. Divisions round against the operator.

use std::fmt;

use serde::Serialize;

use crate::credibility::ATTO;
use crate::error::Error;
use crate::params::Params;
use crate::rate::{BILLION, Ppb};

/// The most honest providers that may be expected to lose their stake over the horizon, as the reciprocal:
/// one in a thousand campaigns.
pub const HONEST_LOSSES_PER: u128 = 1_000;
/// Micro-units of one unit of money.
const MICRO: u128 = 1_000_000;

/// In what the two sides of an inequality are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Micro-units of money.
    Money,
    /// Parts of 10^18.
    Atto,
    /// Parts per billion.
    Ppb,
}

/// One inequality with the numbers of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Inequality {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub says: &'static str,
    /// Left side; in JSON a string of decimal digits, which has no bound.
    #[serde(serialize_with = "as_text")]
    pub left: u128,
    /// `>=` or `<=`.
    pub relation: &'static str,
    /// Right side, the bound; written like the left.
    #[serde(serialize_with = "as_text")]
    pub right: u128,
    /// What both sides are counted in.
    pub unit: Unit,
}

fn as_text<S: serde::Serializer>(value: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl Inequality {
    /// Whether it holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        if self.relation == ">=" {
            self.left >= self.right
        } else {
            self.left <= self.right
        }
    }
}

/// The probability that a wrong item is found, while a share `malicious` of stake covers for its own.
#[must_use]
pub fn caught(params: &Params, malicious: Ppb) -> Ppb {
    params.peer.and(malicious.complement()).or(params.trusted)
}

/// The most wrong items that one identity can expect to see become final in its life, times what each
/// brings: the saved cost and the gain. The bound `(failures allowed) (1-pe) / pe` holds whatever its rate.
#[must_use]
pub fn earned(params: &Params) -> u128 {
    let failures = u128::from(params.forgiven).saturating_add(1);
    until_found(params).saturating_mul(failures)
}

/// What is earned by cheating until one wrong item is found.
fn until_found(params: &Params) -> u128 {
    let pe = caught(params, params.planning);
    let item = params.cost.saturating_add(params.gain);
    let missed = item.saturating_mul(u128::from(pe.complement().get()));
    match u128::from(pe.get()) {
        0 => u128::MAX,
        pe => missed.div_ceil(pe),
    }
}

/// What an identity that cheats until it is banned, and the next one in its place, lose.
#[must_use]
pub fn reentry_costs(params: &Params) -> u128 {
    let fines = params.fine.saturating_mul(u128::from(params.forgiven));
    let ramp = params.cost.saturating_mul(u128::from(params.ramp_checks));
    params.stake.saturating_add(fines).saturating_add(ramp)
}

/// The least stake with which re-entry costs more than cheating earned.
#[must_use]
pub fn stake_min(params: &Params) -> u128 {
    let without = reentry_costs(&Params {
        stake: 0,
        ..*params
    });
    earned(params).saturating_sub(without)
}

/// Upper bound on the share of wrong items among all final ones, over the horizon, in parts of 10^18.
#[must_use]
pub fn error_at_most(params: &Params, malicious: Ppb) -> u128 {
    let pe = caught(params, malicious);
    let failures = u128::from(params.forgiven).saturating_add(1);
    let wrong = u128::from(malicious.get())
        .saturating_mul(failures)
        .saturating_mul(u128::from(pe.complement().get()))
        .saturating_mul(u128::from(BILLION));
    let tries = u128::from(pe.get()).saturating_mul(u128::from(params.horizon));
    if tries == 0 {
        ATTO
    } else {
        wrong.div_ceil(tries).min(ATTO)
    }
}

/// Upper bound on executions of an item beyond the first, over the horizon, in parts per billion: audits, the
/// checks of the beginning, what cheats' bans and pardons make necessary, and the sample on leaving.
#[must_use]
pub fn overhead_at_most(params: &Params) -> u128 {
    let horizon = u128::from(params.horizon).max(1);
    let per_item = |ppb_items: u128| ppb_items.div_ceil(horizon);
    let window = u128::from(params.window);
    let f = params.planning;
    let recheck =
        u128::from(params.recheck.and(f).get()).saturating_mul(u128::from(params.forgiven));
    let windows = u128::from(f.get())
        .saturating_add(recheck)
        .saturating_add(u128::from(params.leave.get()));
    let ramp = u128::from(params.ramp_checks).saturating_mul(u128::from(BILLION));
    u128::from(params.peer.or(params.trusted).get())
        .saturating_add(per_item(windows.saturating_mul(window)))
        .saturating_add(per_item(ramp))
}

/// Upper bound on the honest providers that fail once more than is forgiven, by faults of their own that
/// nobody noticed, in parts of 10^18: `N mu^n / n!`.
#[must_use]
pub fn honest_losses_at_most(params: &Params) -> u128 {
    let audited = params
        .peer
        .or(params.trusted)
        .of(u128::from(params.horizon));
    let again = params.recheck.of(u128::from(params.window));
    let looked = audited.saturating_add(again).saturating_add(1);
    // Billionths times a billion are parts of 10^18.
    let mean = u128::from(params.silent_faults.get())
        .saturating_mul(looked)
        .saturating_mul(u128::from(BILLION));
    let times = 1..=u128::from(params.forgiven).saturating_add(1);
    let tail = times.fold(ATTO, |term, n| {
        let scaled = term.saturating_mul(mean).div_ceil(ATTO);
        scaled.div_ceil(n)
    });
    tail.saturating_mul(u128::from(params.providers))
}

/// Every inequality, with the numbers of `params`.
#[must_use]
pub fn inequalities(params: &Params) -> Vec<Inequality> {
    let (until, earned) = (until_found(params), earned(params));
    let held_back = params.reward.saturating_mul(u128::from(params.window));
    let fines = params.fine.saturating_mul(u128::from(params.forgiven));
    let kept = params.bounty.complement().of(params.stake);
    let error_max = u128::from(params.error_max.get()).saturating_mul(u128::from(BILLION));
    let money = [
        ("work-pays", params.reward, params.cost),
        (
            "honest-dominates",
            params.stake.saturating_add(held_back),
            until,
        ),
        ("pardon-costs", params.fine, until),
        ("re-entry-costs", reentry_costs(params), earned),
        ("fines-are-covered", params.stake, fines),
        ("accomplices-talk", params.bounty.of(params.stake), earned),
        ("no-self-report", kept, earned),
    ];
    let overhead_max = u128::from(params.overhead_max.get());
    let losses = honest_losses_at_most(params);
    let error = error_at_most(params, params.planning);
    let bounds = [
        ("residual-error", error, error_max, Unit::Atto),
        (
            "overhead",
            overhead_at_most(params),
            overhead_max,
            Unit::Ppb,
        ),
        (
            "honest-losses",
            losses,
            ATTO / HONEST_LOSSES_PER,
            Unit::Atto,
        ),
    ];
    let row = |name, left, relation, right, unit| Inequality {
        name,
        says: says(name),
        left,
        relation,
        right,
        unit,
    };
    let money = money.map(|(name, left, right)| row(name, left, ">=", right, Unit::Money));
    let bounds = bounds.map(|(name, left, right, unit)| row(name, left, "<=", right, unit));
    money.into_iter().chain(bounds).collect()
}

/// What an inequality says, in words.
fn says(name: &str) -> &'static str {
    match name {
        "work-pays" => {
            "the reward of an item or a check covers its cost; one made up earns nothing"
        }
        "honest-dominates" => {
            "stake and held-back rewards exceed what cheating brings until it is found"
        }
        "pardon-costs" => {
            "the fine for a forgiven failure exceeds what cheating brought until then"
        }
        "re-entry-costs" => "a new identity costs more than the banned one earned in its life",
        "fines-are-covered" => "the stake pays for every failure that is forgiven",
        "accomplices-talk" => "the bounty for reporting exceeds an accomplice's part in the cheat",
        "no-self-report" => "what reporting oneself still loses exceeds what was earned before",
        "residual-error" => "wrong items among final ones, over the horizon",
        "overhead" => "executions of an item beyond the first",
        _ => "honest providers that lose their stake to faults of their own",
    }
}

/// Refuses parameters that are out of bounds or unsafe together.
///
/// # Errors
/// [`Error::TooSmall`] or [`Error::TooLarge`] for a parameter by itself, [`Error::Unsafe`] for the first
/// inequality that does not hold.
pub fn check(params: &Params) -> Result<(), Error> {
    params.validate()?;
    match inequalities(params).into_iter().find(|i| !i.holds()) {
        None => Ok(()),
        Some(broken) => Err(Error::Unsafe {
            name: broken.name,
            left: shown(broken.left, broken.unit),
            relation: broken.relation,
            right: shown(broken.right, broken.unit),
            says: broken.says,
        }),
    }
}

/// A number with its unit, for people.
#[must_use]
pub fn shown(value: u128, unit: Unit) -> String {
    match unit {
        Unit::Money => {
            let (whole, rest) = (
                value.checked_div(MICRO).unwrap_or(0),
                value.checked_rem(MICRO).unwrap_or(0),
            );
            let digits = format!("{whole}.{rest:06}");
            let digits = digits.trim_end_matches('0').trim_end_matches('.');
            format!("{digits} units")
        }
        Unit::Atto => scientific(value),
        Unit::Ppb => Ppb::new(u32::try_from(value).unwrap_or(BILLION))
            .map_or_else(|_| format!("{value} ppb"), |rate| rate.to_string()),
    }
}

/// Parts of 10^18 with three digits and an exponent, rounded up.
fn scientific(value: u128) -> String {
    let digits = value.checked_ilog10().unwrap_or(0);
    let (mut leading, mut exponent) = (value, 0u32);
    while leading >= 1_000 {
        leading = leading.div_ceil(10);
        exponent = exponent.saturating_add(1);
    }
    let scale = digits.min(2);
    let unit = 10u128.saturating_pow(scale);
    let (whole, rest) = (
        leading.checked_div(unit).unwrap_or(0),
        leading.checked_rem(unit).unwrap_or(0),
    );
    let power = i64::from(exponent.saturating_add(scale)).saturating_sub(18);
    if scale == 0 {
        format!("{whole}e{power}")
    } else {
        format!("{whole}.{rest:0width$}e{power}", width = scale as usize)
    }
}

/// The inequalities of a configuration, as a table with what follows from them.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a>(pub &'a Params);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let params = self.0;
        let pe = caught(params, params.planning);
        writeln!(f, "planning share of colluding stake  {}", params.planning)?;
        writeln!(
            f,
            "peer audits, trusted recompute     {}, {}",
            params.peer, params.trusted
        )?;
        writeln!(f, "a wrong item is found with         {pe}")?;
        writeln!(
            f,
            "final after                        {} items",
            params.window
        )?;
        writeln!(
            f,
            "horizon                            {} items a provider",
            params.horizon
        )?;
        writeln!(
            f,
            "stake                              {}",
            shown(params.stake, Unit::Money)
        )?;
        writeln!(
            f,
            "least stake that deters            {}\n",
            shown(stake_min(params), Unit::Money)
        )?;
        for row in inequalities(params) {
            let holds = if row.holds() { "holds" } else { "FAILS" };
            let (left, right) = (shown(row.left, row.unit), shown(row.right, row.unit));
            writeln!(
                f,
                "{holds}  {:<17} {left:>18} {} {right:<18} {}",
                row.name, row.relation, row.says
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
