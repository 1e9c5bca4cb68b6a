//! From observations to points.
//!
//! A provider's value is the lower median of its observations, and what it is measured against is the
//! lower median of the providers' values: a minority of outliers, of observations or of providers,
//! moves neither by more than to a neighbour.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Measure, Scoring, field};
use crate::Error;
use crate::digest::Digest;
use crate::ids::ProviderId;
use crate::time::Timestamp;
use crate::verdict::lower_median;

/// The most points that a game or a report gives, as basis points.
pub const POINTS_MAX: u16 = 10_000;
/// Most observations that are scored at once.
pub const OBSERVATIONS_MAX: usize = 262_144;
/// Providers of one execution class below which none of it can be told from the others.
pub const CLASS_MIN: usize = 3;

/// A ratio of one, in thousandths.
const PERMILLE: u128 = 1_000;
/// Microseconds in a millisecond.
const US_PER_MS: u64 = 1_000;
/// Microseconds in a second, times a thousand: rates are counted in thousandths.
const RATE_SCALE: u128 = 1_000_000_000;

/// What became of an assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Answered, and among the agreeing.
    Agreed,
    /// Answered, and outvoted.
    Outvoted,
    /// Refused, overdue, failed or never revealed: the provider's doing.
    Failed,
    /// It came to nothing by nobody's doing, or before it was due.
    Excused,
}

/// How many answers were looked at, and how many were right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canaries {
    /// Items whose answer was known.
    pub asked: u32,
    /// Answers that agree with it under the job's comparator.
    pub right: u32,
}

/// One assignment of a round, as a validator saw it. Times are the aggregator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Who executed.
    pub provider: ProviderId,
    /// The execution class that it announces.
    pub class: Digest,
    /// Items of the shard.
    pub items: u32,
    /// When the assignment was given out.
    pub dispatched: Timestamp,
    /// When its acceptance arrived.
    pub accepted: Option<Timestamp>,
    /// When its commitment arrived.
    pub committed: Option<Timestamp>,
    /// What became of it.
    pub standing: Standing,
    /// Tokens metered.
    pub tokens: u64,
    /// Answers compared with known ones.
    pub canaries: Option<Canaries>,
}

impl Observation {
    fn check(&self, population: &BTreeSet<ProviderId>) -> Result<(), Error> {
        let refuse = |key: &str, value: String, bound: &str| {
            let key = format!("observation.{key}");
            Err(field(&key, value, bound))
        };
        if !population.contains(&self.provider) {
            let bound = "must be a provider of the population";
            return refuse("provider", self.provider.to_string(), bound);
        }
        if self.items == 0 {
            return refuse("items", self.items.to_string(), "must be 1 or more");
        }
        let (dispatched, accepted) = (self.dispatched, self.accepted);
        if accepted.is_some_and(|accepted| accepted < dispatched) {
            let bound = "must not be before the assignment was given out";
            return refuse("accepted", format!("{accepted:?}"), bound);
        }
        let before = accepted.unwrap_or(dispatched);
        if self.committed.is_some_and(|committed| committed < before) {
            let bound = "must not be before the assignment was accepted";
            return refuse("committed", format!("{:?}", self.committed), bound);
        }
        if self.canaries.is_some_and(|found| found.right > found.asked) {
            let bound = "must be at most as many as were asked";
            return refuse("canaries.right", format!("{:?}", self.canaries), bound);
        }
        Ok(())
    }
}

/// Points of every provider that was observed often enough, ascending by provider, 0 to [`POINTS_MAX`].
///
/// The ratio that a [`Scoring`] speaks of, in thousandths, is by measure:
/// - latency: the provider's median time for an item, to the population's median;
/// - hardware: the same, to the median of those that announce the same execution class, of which there
///   must be [`CLASS_MIN`];
/// - throughput: its median tokens a second, to the population's median;
/// - availability: its share of assignments answered, to the population's median share;
/// - identity: its share of known answers that it gave, by itself: right is no matter of comparison.
///
/// Time and tokens count only where the answer agreed: a wrong answer has no speed; and only of shards
/// with as many items as the largest seen, because every shard begins with work that is no item's. The
/// time of an
/// execution is from the assignment's giving out to its commitment, less the network's part: the
/// shortest time in which the provider was seen to accept, and at most [`Scoring::network_ms_max`]. A
/// provider that delays its acceptances can so hide that much of each execution, and no more.
///
/// # Errors
/// [`Error::Field`] or [`Error::TooLarge`] naming what no honest observation can be, or a rule out of
/// bounds.
pub fn score(
    measure: Measure,
    rule: &Scoring,
    observations: &[Observation],
    population: &BTreeSet<ProviderId>,
) -> Result<Vec<(ProviderId, u16)>, Error> {
    rule.check(measure)?;
    if observations.len() > OBSERVATIONS_MAX {
        return Err(Error::TooLarge {
            what: "observations",
            size: observations.len() as u64,
            max: OBSERVATIONS_MAX as u64,
        });
    }
    let mut seen: BTreeMap<ProviderId, Vec<&Observation>> = BTreeMap::new();
    for observation in observations {
        observation.check(population)?;
        seen.entry(observation.provider)
            .or_default()
            .push(observation);
    }
    let whole = observations.iter().map(|o| o.items).max().unwrap_or(0);
    let values: BTreeMap<ProviderId, u64> = seen
        .iter()
        .filter_map(|(id, own)| Some((*id, value(measure, rule, own, whole)?)))
        .collect();
    let middles = middles(measure, &seen, &values);
    let points = values.iter().filter_map(|(id, value)| {
        let middle = middles.get(id)?;
        Some((*id, points(measure, rule, *value, *middle)))
    });
    Ok(points.collect())
}

/// A provider's own value, if it was observed often enough: microseconds an item, thousandths of tokens
/// a second, or a share in thousandths. A shard of `whole` items is a whole one.
fn value(measure: Measure, rule: &Scoring, own: &[&Observation], whole: u32) -> Option<u64> {
    let enough = |count: usize| count >= rule.samples_min as usize;
    let agreed = || {
        let right = own.iter().filter(|o| o.standing == Standing::Agreed);
        right.filter(|o| o.items == whole)
    };
    match measure {
        Measure::Latency | Measure::Hardware => {
            let network = network_us(rule, own);
            let times = agreed().filter_map(|o| {
                let items = u64::from(o.items);
                Some(busy_us(o, network)?.checked_div(items)?.max(1))
            });
            let times: Vec<u64> = times.collect();
            enough(times.len()).then(|| lower_median(times)).flatten()
        }
        Measure::Throughput => {
            let network = network_us(rule, own);
            let rates = agreed().filter(|o| o.tokens > 0).filter_map(|o| {
                let busy = u128::from(busy_us(o, network)?);
                let rate = u128::from(o.tokens).saturating_mul(RATE_SCALE);
                u64::try_from(rate.checked_div(busy)?).ok()
            });
            let rates: Vec<u64> = rates.collect();
            enough(rates.len()).then(|| lower_median(rates)).flatten()
        }
        Measure::Identity => {
            let found: Vec<Canaries> = own.iter().filter_map(|o| o.canaries).collect();
            let sum = |of: fn(&Canaries) -> u32| {
                let each = found.iter().map(|canaries| u64::from(of(canaries)));
                each.fold(0_u64, u64::saturating_add)
            };
            enough(found.len()).then(|| permille(sum(|c| c.right), sum(|c| c.asked)))?
        }
        Measure::Availability => {
            let counted = own.iter().filter(|o| o.standing != Standing::Excused);
            let total = counted.clone().count();
            let answered = counted.filter(|o| o.standing != Standing::Failed).count();
            enough(total).then(|| permille(answered as u64, total as u64))?
        }
    }
}

/// What each provider is measured against.
fn middles(
    measure: Measure,
    seen: &BTreeMap<ProviderId, Vec<&Observation>>,
    values: &BTreeMap<ProviderId, u64>,
) -> BTreeMap<ProviderId, u64> {
    let mut groups: BTreeMap<Option<Digest>, Vec<(ProviderId, u64)>> = BTreeMap::new();
    for (id, value) in values {
        let newest = seen.get(id).and_then(|own| own.last());
        let class = newest.map(|observation| observation.class);
        let group = class.filter(|_| measure == Measure::Hardware);
        groups.entry(group).or_default().push((*id, *value));
    }
    let least = if measure == Measure::Hardware {
        CLASS_MIN
    } else {
        1
    };
    let mut middles = BTreeMap::new();
    for members in groups.into_values().filter(|group| group.len() >= least) {
        let middle = match measure {
            Measure::Identity => Some(PERMILLE as u64),
            _ => lower_median(members.iter().map(|(_, value)| *value).collect()),
        };
        let middle = middle.unwrap_or(0);
        middles.extend(members.into_iter().map(|(id, _)| (id, middle)));
    }
    middles
}

/// Where a value lies between nothing and all.
fn points(measure: Measure, rule: &Scoring, value: u64, middle: u64) -> u16 {
    let ratio = u128::from(value).saturating_mul(PERMILLE);
    // Where even the middle is nothing, there is nothing to be measured against.
    let Some(ratio) = ratio.checked_div(middle.into()) else {
        return 0;
    };
    let (full, none) = (
        u128::from(rule.full_permille),
        u128::from(rule.none_permille),
    );
    let (way, whole) = match measure.is_time() {
        true => (none.saturating_sub(ratio), none.saturating_sub(full)),
        false => (ratio.saturating_sub(none), full.saturating_sub(none)),
    };
    let points = way.min(whole).saturating_mul(POINTS_MAX.into());
    let points = points.checked_div(whole).unwrap_or(0);
    u16::try_from(points).unwrap_or(POINTS_MAX)
}

/// The network's part of each execution, in microseconds.
fn network_us(rule: &Scoring, own: &[&Observation]) -> u64 {
    let accepted = own
        .iter()
        .filter_map(|o| Some(o.accepted?.since_ms(o.dispatched)));
    let shortest = accepted.min().unwrap_or(0);
    shortest
        .min(rule.network_ms_max.into())
        .saturating_mul(US_PER_MS)
}

/// Microseconds of an execution, the network's part removed; at least one.
fn busy_us(observation: &Observation, network_us: u64) -> Option<u64> {
    let whole = observation.committed?.since_ms(observation.dispatched);
    Some(
        whole
            .saturating_mul(US_PER_MS)
            .saturating_sub(network_us)
            .max(1),
    )
}

/// A share in thousandths, rounded down; `None` of nothing.
fn permille(part: u64, whole: u64) -> Option<u64> {
    let share = u128::from(part).saturating_mul(PERMILLE);
    u64::try_from(share.checked_div(whole.into())?).ok()
}
