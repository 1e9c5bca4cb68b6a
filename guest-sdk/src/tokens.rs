//! Output of a language model that replicas can be compared by: tokens v1, which `comparator = "tokens"` reads.
//!
//! Replicas on other machines come to slightly other logits, so an output says of each token how likely it was and by
//! how much it was preferred to any other. Where that is hardly anything, replicas may part without either being wrong.
//!
//! ```
//! use guest_sdk::tokens::{Step, Writer};
//!
//! fn answer(rows: &[Vec<(u32, f32)>], text: &str) -> Result<Vec<u8>, guest_sdk::Error> {
//!     let mut output = Writer::default();
//!     for picks in rows {
//!         // `picks` is a row of `Resident::top_k`, largest first.
//!         output.push(Step::likeliest(picks)?)?;
//!     }
//!     output.finish(text.as_bytes())
//! }
//! # let output = answer(&[vec![(7, 2.0), (3, 1.0)]], "x").unwrap();
//! # assert_eq!(output.len(), 16 + 12 + 1);
//! ```
//!
//! Write the token that ends the text too: else nobody can tell that it ended where it should.

use crate::{Error, Sampling};

/// Most tokens of one output.
pub const TOKENS_MAX: u32 = 1 << 17;
/// Most bytes of text of one output.
pub const TEXT_BYTES_MAX: u32 = 4 << 20;

/// What an output begins with, and its version.
const MAGIC: [u8; 4] = *b"ATOK";
const VERSION: u32 = 1;
/// Bytes of a token.
const STEP_BYTES: usize = 12;

/// A token that was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Its id.
    pub token: u32,
    /// Its log-probability: finite and at most 0.
    pub logprob: f32,
    /// By how much it was preferred: finite and at least 0. In log-probability, or of a drawn token in probability.
    pub margin: f32,
}

impl Step {
    /// The first of a row's largest logits, which [`Resident::top_k`](crate::Resident::top_k) gives, largest first. There
    /// must be two at least; the probability is among those given, so all replicas must be given as many.
    pub fn likeliest(picks: &[(u32, f32)]) -> Result<Self, Error> {
        let [(token, first), (_, second), ..] = *picks else {
            let text = format!("{} logits have no margin, two have", picks.len());
            return Err(Error::failed(text));
        };
        Ok(Self {
            token,
            logprob: logprob(picks, first)?,
            margin: first - second,
        })
    }

    /// One of a row's largest logits, drawn by its probability: what [`Resident::sample`](crate::Resident::sample) does,
    /// but here, where its margin can be told. That is how much the probabilities may differ before the same draw could
    /// fall on another token: at an edge of its own, where it would change places with a neighbour, or where `top_p`
    /// would let in one token more or less.
    pub fn drawn(picks: &[(u32, f32)], how: Sampling, draw: u64) -> Result<Self, Error> {
        let taking_part = picks.len().min(how.top_k.max(1) as usize);
        let Some(&(_, first)) = picks.first() else {
            return Err(Error::failed("no logits to draw from"));
        };
        let weigh =
            |value: f32| ((f64::from(value) - f64::from(first)) / f64::from(how.temperature)).exp();
        let weights: Vec<f64> = picks
            .iter()
            .take(taking_part)
            .map(|(_, value)| weigh(*value))
            .collect();
        let wanted = weights.iter().sum::<f64>() * f64::from(how.top_p);
        let (nucleus, kept) = nucleus(&weights, wanted);
        // 53 bits are all that a double keeps of a number below one.
        let target = (draw >> 11) as f64 / (1_u64 << 53) as f64 * kept;
        let weight = |at: Option<usize>| at.and_then(|at| weights.get(at)).copied();
        let (mut chosen, mut passed) = (0, 0.0);
        for (at, weight) in weights.iter().enumerate().take(nucleus) {
            (chosen, passed) = (at, passed + weight);
            if target < passed {
                break;
            }
        }
        let own = weight(Some(chosen)).unwrap_or(0.0);
        let mut edge = f64::INFINITY;
        if chosen > 0 {
            edge = edge.min(target - (passed - own));
        }
        if chosen.saturating_add(1) < nucleus {
            edge = edge.min(passed - target);
        }
        let mut margin = edge;
        let neighbours = [chosen.checked_sub(1), chosen.checked_add(1)];
        for neighbour in neighbours.into_iter().filter_map(weight) {
            margin = margin.min((own - neighbour).abs());
        }
        if how.top_p < 1.0 {
            let last = weight(nucleus.checked_sub(1)).unwrap_or(0.0);
            let next = weight(Some(nucleus)).unwrap_or(0.0);
            // One token more or less moves every edge by its weight at most.
            for (gap, moved) in [(wanted - (kept - last), last), (kept - wanted, next)] {
                margin = margin.min(gap.abs().max(edge - moved));
            }
        }
        let Some(&(token, value)) = picks.get(chosen) else {
            return Err(Error::failed("nothing was drawn"));
        };
        Ok(Self {
            token,
            logprob: logprob(picks, value)?,
            margin: (margin / kept).clamp(0.0, 1.0) as f32,
        })
    }
}

/// How many of the weights, from the first, reach what is wanted, and what they are together.
fn nucleus(weights: &[f64], wanted: f64) -> (usize, f64) {
    let (mut count, mut kept) = (0_usize, 0.0);
    for weight in weights {
        kept += weight;
        count = count.saturating_add(1);
        if kept >= wanted {
            break;
        }
    }
    (count, kept)
}

/// The log-probability of a logit among those given.
fn logprob(picks: &[(u32, f32)], value: f32) -> Result<f32, Error> {
    let largest = picks.first().map_or(value, |(_, first)| *first);
    let weights = picks
        .iter()
        .map(|(_, other)| (f64::from(*other) - f64::from(largest)).exp());
    let found = f64::from(value) - f64::from(largest) - weights.sum::<f64>().ln();
    match found.is_finite() {
        true => Ok((found as f32).min(0.0)),
        false => Err(Error::failed(format!(
            "a log-probability is {found}, it must be finite"
        ))),
    }
}

/// Writes one output.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    steps: Vec<u8>,
}

impl Writer {
    /// Adds a token; refuses numbers that mean nothing, and more than [`TOKENS_MAX`].
    pub fn push(&mut self, step: Step) -> Result<(), Error> {
        let Step {
            token,
            logprob,
            margin,
        } = step;
        if !(logprob.is_finite() && logprob <= 0.0 && margin.is_finite() && margin >= 0.0) {
            let text = format!(
                "token {token} has the log-probability {logprob} and the margin {margin}: both must be finite, one at \
                 most and the other at least 0"
            );
            return Err(Error::failed(text));
        }
        if self.steps.len() >= (TOKENS_MAX as usize).saturating_mul(STEP_BYTES) {
            return Err(Error::failed(format!(
                "more than {TOKENS_MAX} tokens in one output"
            )));
        }
        self.steps.extend_from_slice(&token.to_le_bytes());
        self.steps.extend_from_slice(&logprob.to_le_bytes());
        self.steps.extend_from_slice(&margin.to_le_bytes());
        Ok(())
    }

    /// The output, with the text that the tokens make.
    pub fn finish(self, text: &[u8]) -> Result<Vec<u8>, Error> {
        if text.len() > TEXT_BYTES_MAX as usize {
            let text = format!("{} bytes of text, more than {TEXT_BYTES_MAX}", text.len());
            return Err(Error::failed(text));
        }
        // Both lengths were checked to fit.
        let count = self.steps.len().div_euclid(STEP_BYTES) as u32;
        let mut output = MAGIC.to_vec();
        for number in [VERSION, count, text.len() as u32] {
            output.extend_from_slice(&number.to_le_bytes());
        }
        output.extend_from_slice(&self.steps);
        output.extend_from_slice(text);
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::{Step, TEXT_BYTES_MAX, TOKENS_MAX, Writer};
    use crate::Sampling;

    /// What the comparator reads, as the network has it.
    const GOLDEN: &str = include_str!("../../jobs/tests/tokens/v1.hex");

    fn step(token: u32, logprob: f32, margin: f32) -> Step {
        Step {
            token,
            logprob,
            margin,
        }
    }

    #[test]
    fn what_is_written_is_the_golden_output() {
        let mut writer = Writer::default();
        for step in [
            step(504, -0.125, 3.5),
            step(u32::MAX, 0.0, 0.0),
            step(2, -17.25, 1e-3),
        ] {
            writer.push(step).unwrap();
        }
        let written = writer.finish("Zoë\n".as_bytes()).unwrap();
        let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN.trim());
    }

    #[test]
    fn what_means_nothing_or_is_too_much_is_refused() {
        let mut writer = Writer::default();
        for bad in [
            step(1, f32::NAN, 0.0),
            step(1, 0.1, 0.0),
            step(1, -1.0, -0.1),
            step(1, -1.0, f32::INFINITY),
        ] {
            assert!(
                writer
                    .push(bad)
                    .unwrap_err()
                    .to_string()
                    .contains("token 1"),
                "{bad:?}"
            );
        }
        for _ in 0..TOKENS_MAX {
            writer.push(step(1, 0.0, 0.0)).unwrap();
        }
        assert!(writer.push(step(1, 0.0, 0.0)).is_err());
        assert!(
            Writer::default()
                .finish(&vec![0; TEXT_BYTES_MAX as usize + 1])
                .is_err()
        );
        for picks in [&[][..], &[(1, 0.0)]] {
            assert!(Step::likeliest(picks).is_err(), "{picks:?}");
        }
        assert!(Step::likeliest(&[(1, f32::INFINITY), (2, 0.0)]).is_err());
        assert!(Step::drawn(&[], how(1.0), 0).is_err());
    }

    /// Probabilities 1/2, 1/4, 1/8, 1/8.
    fn picks() -> [(u32, f32); 4] {
        let ln2 = std::f32::consts::LN_2;
        [(7, 0.0), (3, -ln2), (9, -2.0 * ln2), (1, -2.0 * ln2)]
    }

    fn how(top_p: f32) -> Sampling {
        Sampling {
            temperature: 1.0,
            top_k: 4,
            top_p,
        }
    }

    #[test]
    fn the_likeliest_is_preferred_to_the_second() {
        let chosen = Step::likeliest(&picks()).unwrap();
        let half = -std::f32::consts::LN_2;
        assert_eq!((chosen.token, chosen.margin), (7, -half));
        assert!((chosen.logprob - half).abs() < 1e-6, "{chosen:?}");
    }

    #[test]
    fn a_margin_is_how_far_a_draw_is_from_another_token() {
        let at = |part: f64| (part * 2.0_f64.powi(64)) as u64;
        for (top_p, part, token, margin) in [
            (1.0, 0.0, 7, 0.25),
            (1.0, 0.3, 7, 0.2),
            (1.0, 0.49, 7, 0.01),
            (1.0, 0.51, 3, 0.01),
            (1.0, 0.625, 3, 0.125),
            // Of two that are equally likely, either may come first.
            (1.0, 0.8, 9, 0.0),
            (1.0, 0.95, 1, 0.0),
            // Of the first two alone, 2/3 and 1/3: it takes 0.05 of the whole to let in a third, and the third moves the
            // edge by more than is left of it.
            (0.7, 0.6, 7, 0.2 / 3.0),
            (0.7, 0.1, 7, 0.4 / 1.5),
        ] {
            let chosen = Step::drawn(&picks(), how(top_p), at(part)).unwrap();
            assert_eq!(chosen.token, token, "{top_p} {part}: {chosen:?}");
            assert!(
                (chosen.margin - margin).abs() < 1e-3,
                "{top_p} {part}: {chosen:?}"
            );
        }
    }

    /// Whatever the logits: one that is off by so little that probabilities move by less than the margin gives the same
    /// token for the same draw.
    #[test]
    fn within_its_margin_a_draw_stays_the_same() {
        let mut state = 9_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let (mut stayed, mut parted) = (0, 0);
        for _ in 0..4000 {
            let mut logits: Vec<(u32, f32)> = (0..12)
                .map(|id| (id, (next() % 4000) as f32 / 1000.0))
                .collect();
            let mut other: Vec<(u32, f32)> = logits.clone();
            other
                .iter_mut()
                .for_each(|(_, value)| *value += ((next() % 200) as f32 - 100.0) / 1e4);
            for row in [&mut logits, &mut other] {
                row.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            }
            let (how, draw) = (how([0.7, 0.95, 1.0][(next() % 3) as usize]), next());
            let how = Sampling { top_k: 12, ..how };
            let [left, right] = [&logits, &other].map(|row| Step::drawn(row, how, draw).unwrap());
            // A hundredth in a logit moves a probability, and any sum of them, by at most two.
            if left.margin > 0.04 || right.margin > 0.04 {
                assert_eq!(left.token, right.token, "{left:?} {right:?}");
                stayed += 1;
            }
            parted += usize::from(left.token != right.token);
        }
        assert!(stayed > 500 && parted > 10, "{stayed} {parted}");
    }
}
