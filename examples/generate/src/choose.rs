//! Which token comes next: the likeliest, or one drawn by its probability.

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampling {
    /// Logits are divided by it; above 0.
    pub(crate) temperature: f32,
    /// Only that many of the largest take part.
    pub(crate) top_k: usize,
    /// Of these, only the fewest whose probabilities together reach it.
    pub(crate) top_p: f32,
}

/// The index of the largest logit, of equal ones the first; none if no logit is a number.
pub(crate) fn argmax(logits: impl Iterator<Item = f32>) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (index, logit) in logits.enumerate() {
        if best.map_or(!logit.is_nan(), |(_, most)| logit > most) {
            best = Some((index, logit));
        }
    }
    best.map(|(index, _)| index)
}

/// An index drawn by its probability, from the number `draw` alone; none if no logit is finite.
pub(crate) fn sample(logits: impl Iterator<Item = f32>, how: Sampling, draw: u64) -> Option<usize> {
    let mut ranked: Vec<(usize, f32)> = logits
        .enumerate()
        .filter(|(_, logit)| logit.is_finite())
        .collect();
    let by_size = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if how.top_k < ranked.len() {
        ranked.select_nth_unstable_by(how.top_k, by_size);
        ranked.truncate(how.top_k);
    }
    ranked.sort_unstable_by(by_size);
    let (_, most) = *ranked.first()?;
    // Relative to the largest, so that no exponential overflows; in `f64`, so that their sum is exact enough.
    let weight =
        |logit: f32| ((f64::from(logit) - f64::from(most)) / f64::from(how.temperature)).exp();
    let weights: Vec<f64> = ranked.iter().map(|(_, logit)| weight(*logit)).collect();
    let enough = weights.iter().sum::<f64>() * f64::from(how.top_p);
    let mut kept = 0.0;
    let mut count = 0;
    for weight in &weights {
        kept += weight;
        count += 1;
        if kept >= enough {
            break;
        }
    }
    let drawn = unit(draw) * kept;
    let mut passed = 0.0;
    let chosen = weights.iter().take(count).position(|weight| {
        passed += weight;
        passed > drawn
    });
    // A draw that rounding puts past the last weight is that of the last.
    let chosen = chosen.unwrap_or(count.saturating_sub(1));
    ranked.get(chosen).map(|(index, _)| *index)
}

/// At least 0, below 1: the upper 53 bits, as many as an `f64` holds.
fn unit(draw: u64) -> f64 {
    const STEPS: f64 = 9_007_199_254_740_992.0;
    (draw >> 11) as f64 / STEPS
}

/// A row's own random numbers (SplitMix64, by Steele, Lea and Flood).
#[derive(Debug, Clone)]
pub(crate) struct Draws(pub(crate) u64);

impl Draws {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::{Draws, Sampling, argmax, sample};

    fn drawn(logits: &[f32], how: Sampling, draw: u64) -> Option<usize> {
        sample(logits.iter().copied(), how, draw)
    }

    #[test]
    fn the_likeliest_is_the_first_of_the_largest() {
        let nan = f32::NAN;
        for (logits, best) in [
            (&[1.0, 3.0, 3.0][..], Some(1)),
            (&[-2.0, -1.0], Some(1)),
            (&[nan, -1.0, nan, 0.5, nan], Some(3)),
            (&[f32::NEG_INFINITY], Some(0)),
            (&[nan], None),
            (&[], None),
        ] {
            assert_eq!(argmax(logits.iter().copied()), best, "{logits:?}");
        }
    }

    #[test]
    fn frequencies_are_the_probabilities_of_those_that_take_part() {
        // Probabilities 0.5, 0.3, 0.15 and 0.05, not in order.
        let logits = [0.15_f32, 0.5, 0.05, 0.3].map(f32::ln);
        let cases = [
            (1.0, 4, 1.0, [0.15, 0.5, 0.05, 0.3]),
            (1.0, 2, 1.0, [0.0, 0.625, 0.0, 0.375]),
            (1.0, 9, 0.75, [0.0, 0.625, 0.0, 0.375]),
            (1.0, 9, 0.01, [0.0, 1.0, 0.0, 0.0]),
            // Squares of the probabilities, over their sum.
            (0.5, 4, 1.0, [0.0616, 0.6849, 0.0068, 0.2466]),
        ];
        const DRAWS: u32 = 20_000;
        for (temperature, top_k, top_p, expected) in cases {
            let how = Sampling {
                temperature,
                top_k,
                top_p,
            };
            let mut draws = Draws(1);
            let mut counts = [0_u32; 4];
            for _ in 0..DRAWS {
                counts[drawn(&logits, how, draws.next()).unwrap()] += 1;
            }
            for (count, expected) in counts.iter().zip(expected) {
                let share = f64::from(*count) / f64::from(DRAWS);
                assert!((share - expected).abs() < 0.015, "{how:?}: {counts:?}");
                assert!(expected > 0.0 || *count == 0, "{how:?}: {counts:?}");
            }
        }
    }

    #[test]
    fn extreme_draws_and_logits_choose_something_that_takes_part() {
        let how = Sampling {
            temperature: 1e-3,
            top_k: 3,
            top_p: 1.0,
        };
        let logits = [f32::NAN, 1e30, f32::INFINITY, -1e30, 1e30];
        assert_eq!(drawn(&logits, how, 0), Some(1));
        assert_eq!(drawn(&logits, how, u64::MAX), Some(4));
        assert_eq!(drawn(&[f32::NAN, f32::INFINITY], how, 0), None);
        assert_eq!(drawn(&[], how, 0), None);
    }

    #[test]
    fn draws_are_those_of_splitmix64() {
        let mut draws = Draws(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| draws.next()).collect();
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }
}
