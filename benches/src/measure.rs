//! Time and its spread.

use std::time::Instant;

use anyhow::{Context as _, Result};

/// Measurements of one thing, in one unit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn of(values: Vec<f64>) -> Self {
        Self(values)
    }

    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn extend(&mut self, values: impl IntoIterator<Item = f64>) {
        self.0.extend(values);
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = f64> + '_ {
        self.0.iter().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value below which this share of the measurements lies: the nearest one, not interpolated.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        let at = (last as f64 * share.clamp(0.0, 1.0)).round() as usize;
        sorted.get(at).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Of each pair of measurements that were taken one after the other.
    pub(crate) fn zip(&self, other: &Self, join: impl Fn(f64, f64) -> f64) -> Self {
        let pairs = self.0.iter().zip(&other.0);
        Self(pairs.map(|(a, b)| join(*a, *b)).collect())
    }
}

/// Seconds since some moment.
pub(crate) struct Clock(Instant);

impl Clock {
    #[allow(
        clippy::disallowed_methods,
        reason = "measuring time is what this crate is for"
    )]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// Seconds that the work took.
pub(crate) fn seconds(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let clock = Clock::start();
    work()?;
    Ok(clock.seconds())
}

/// One contestant: does its work once and says what it measured.
pub(crate) type Contestant<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// Runs the contestants in turn, `rounds` times after one round that does not count, every other
/// round in reverse, so that a machine that slows down slows all of them down.
pub(crate) fn interleave(
    rounds: usize,
    contestants: &mut [Contestant<'_>],
) -> Result<Vec<Samples>> {
    let mut all = vec![Samples::default(); contestants.len()];
    for round in 0..=rounds {
        let mut order: Vec<usize> = (0..contestants.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let run = contestants.get_mut(at).context("no such contestant")?;
            let measured = run()?;
            if let Some(samples) = all.get_mut(at).filter(|_| round > 0) {
                samples.push(measured);
            }
        }
    }
    Ok(all)
}

/// Two contestants.
pub(crate) fn duel<'a>(
    rounds: usize,
    ours: impl FnMut() -> Result<f64> + 'a,
    baseline: impl FnMut() -> Result<f64> + 'a,
) -> Result<(Samples, Samples)> {
    let mut both: [Contestant<'_>; 2] = [Box::new(ours), Box::new(baseline)];
    let mut all = interleave(rounds, &mut both)?.into_iter();
    Ok((
        all.next().unwrap_or_default(),
        all.next().unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_measurements_whatever_their_order() {
        let samples = Samples::of(vec![5.0, 1.0, 3.0, 2.0, 4.0]);
        for (share, value) in [(0.0, 1.0), (0.1, 1.0), (0.5, 3.0), (0.9, 5.0), (1.0, 5.0)] {
            assert_eq!(samples.quantile(share), value, "{share}");
        }
        assert!(Samples::default().median().is_nan());
    }

    #[test]
    fn contestants_take_turns_and_the_first_round_does_not_count() {
        let log = std::cell::RefCell::new(String::new());
        let turn = |name: char| {
            let log = &log;
            move || {
                log.borrow_mut().push(name);
                Ok(log.borrow().len() as f64)
            }
        };
        let (a, b) = duel(2, turn('a'), turn('b')).unwrap();
        assert_eq!(log.borrow().as_str(), "abbaab");
        assert_eq!((a.0, b.0), (vec![4.0, 5.0], vec![3.0, 6.0]));
    }
}
