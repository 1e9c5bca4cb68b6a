//! How answers are falsified, or made up.

use jobs::digest::{BlobRef, Digest};
use jobs::outcome::{Fingerprint, Meters, Outcome, Placement};
use jobs::package::{ModelRef, OutputFormat};
use jobs::{items, merkle};
use runtime::ShardOutcome;

use crate::admission::Admitted;

/// Changes every output so that no comparator lets it pass: numbers change their sign, and anything
/// else its last byte.
pub(super) fn falsify(
    done: ShardOutcome,
    format: &OutputFormat,
) -> Result<ShardOutcome, jobs::Error> {
    change(done, |_, output| match format {
        OutputFormat::Npy { dtype, .. } => output.chunks_exact_mut(dtype.size()).for_each(negate),
        OutputFormat::Jsonl | OutputFormat::Items => match output.last_mut() {
            Some(last) => *last ^= 1,
            None => output.push(0),
        },
    })
}

/// Gives the outputs to `change`, each with its position; all else that the outcome says stays true.
pub(super) fn change(
    mut done: ShardOutcome,
    mut change: impl FnMut(usize, &mut Vec<u8>),
) -> Result<ShardOutcome, jobs::Error> {
    let mut outputs: Vec<Vec<u8>> = items::decode(&done.outputs)?
        .into_iter()
        .map(<[u8]>::to_vec)
        .collect();
    for (at, output) in outputs.iter_mut().enumerate() {
        change(at, output);
    }
    let Outcome {
        meters,
        fingerprint,
        placement,
        noted,
        ..
    } = done.outcome;
    done.outcome = Outcome {
        placement,
        noted,
        ..outcome(&outputs, meters, fingerprint)?
    };
    done.outputs = items::encode(&outputs)?;
    Ok(done)
}

/// Numbers that follow from a seed alone.
pub(super) struct Draws {
    seed: Digest,
    count: u64,
}

impl Draws {
    /// The draws of these parts.
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        Self {
            seed: Digest::of(&bytes),
            count: 0,
        }
    }

    /// A number below `bound`, or 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let mut bytes = self.seed.as_bytes().to_vec();
        bytes.extend_from_slice(&self.count.to_le_bytes());
        self.count = self.count.wrapping_add(1);
        let first = Digest::of(&bytes).as_bytes().first_chunk().copied();
        let drawn = first.map_or(0, u64::from_le_bytes);
        drawn.checked_rem(bound).unwrap_or(0)
    }
}

/// Changes one output as drawn, so that it still looks like one: numbers change their sign, the first in any
/// case; in text one digit or else one letter within quotes becomes another.
pub(super) fn alter(output: &mut Vec<u8>, format: &OutputFormat, draws: &mut Draws) {
    if let OutputFormat::Npy { dtype, .. } = format {
        for (at, number) in output.chunks_exact_mut(dtype.size()).enumerate() {
            if draws.below(2) == 1 || at == 0 {
                negate(number);
            }
        }
        return;
    }
    let digits = positions(output, u8::is_ascii_digit, false);
    let letters = positions(output, u8::is_ascii_lowercase, true);
    let places = if digits.is_empty() { letters } else { digits };
    let chosen = draws.below(places.len() as u64);
    let place = usize::try_from(chosen).ok().and_then(|at| places.get(at));
    match place.and_then(|at| output.get_mut(*at)) {
        // No number begins with a zero that did not.
        Some(digit) if digit.is_ascii_digit() => *digit = next(*digit, b'1', 9, draws),
        Some(letter) => *letter = next(*letter, b'a', 26, draws),
        None => output.push(b' '),
    }
}

/// Another of the `count` characters from `first` on.
fn next(old: u8, first: u8, count: u8, draws: &mut Draws) -> u8 {
    let step = draws.below(u64::from(count).saturating_sub(1));
    let step = u8::try_from(step).unwrap_or(0).saturating_add(1);
    let at = old.saturating_sub(first).saturating_add(step);
    first.saturating_add(at.checked_rem(count).unwrap_or(0))
}

/// Where such characters are, within quotes only if asked for; never behind a backslash, where a letter
/// means something.
fn positions(text: &[u8], is: fn(&u8) -> bool, quoted: bool) -> Vec<usize> {
    let (mut inside, mut escaped) = (false, false);
    let mut found = Vec::new();
    for (at, byte) in text.iter().enumerate() {
        let plain = !std::mem::take(&mut escaped);
        match byte {
            b'"' if plain => inside = !inside,
            b'\\' if plain => escaped = true,
            byte if plain && is(byte) && (inside || !quoted) => found.push(at),
            _ => {}
        }
    }
    found
}

/// The sign of a little-endian number is the top bit of its last byte. Zero, whose negation equals
/// it, becomes two.
fn negate(number: &mut [u8]) {
    if let Some((top, rest)) = number.split_last_mut() {
        let zero = *top & 0x7f == 0 && rest.iter().all(|byte| *byte == 0);
        *top ^= if zero { 0xc0 } else { 0x80 };
    }
}

/// Outputs of the right size and number, made without executing anything.
pub(super) fn fabricate(
    admitted: &Admitted,
    fingerprint: Fingerprint,
) -> Result<ShardOutcome, jobs::Error> {
    let output = match &admitted.package.output {
        OutputFormat::Npy { dtype, shape } => {
            let elements = shape.iter().fold(1_usize, |product, dimension| {
                product.saturating_mul(*dimension as usize)
            });
            // The package's bounds were checked: a row is no longer than an output may be.
            vec![0; elements.saturating_mul(dtype.size())]
        }
        OutputFormat::Jsonl | OutputFormat::Items => b"0".to_vec(),
    };
    let outputs = vec![output; admitted.assignment.items as usize];
    let meters = Meters {
        // A plausible bill for work that was not done.
        fuel: admitted.package.limits.fuel / 2,
        ..Meters::default()
    };
    // What an honest one would say, but for the count.
    let on = |model: &ModelRef| Placement {
        model: model.name.clone(),
        execution_provider: fingerprint.execution_provider.clone(),
        nodes: 1,
    };
    let placement = admitted.package.models.iter().map(on).collect();
    Ok(ShardOutcome {
        outcome: Outcome {
            placement,
            ..outcome(&outputs, meters, fingerprint)?
        },
        outputs: items::encode(&outputs)?,
        log: Vec::new(),
        trace: None,
    })
}

fn outcome(
    outputs: &[Vec<u8>],
    meters: Meters,
    fingerprint: Fingerprint,
) -> Result<Outcome, jobs::Error> {
    Ok(Outcome {
        placement: Vec::new(),
        noted: None,
        root: merkle::root(outputs),
        outputs: BlobRef::of(&items::encode(outputs)?),
        items: outputs.len() as u32,
        meters,
        fingerprint,
    })
}

#[cfg(test)]
mod tests {
    use jobs::package::Dtype;

    use super::*;

    #[test]
    fn no_number_survives_a_negation() {
        for number in [0.0_f32, -0.0, 1.0, -0.25, 1e-30, f32::MAX] {
            let mut bytes = number.to_le_bytes();
            negate(&mut bytes);
            let changed = f32::from_le_bytes(bytes);
            assert!(changed != number, "{number}");
        }
    }

    #[test]
    fn what_is_altered_is_another_output_of_its_kind_and_follows_from_the_draws() {
        let npy = OutputFormat::Npy {
            dtype: Dtype::F32,
            shape: vec![2],
        };
        let numbers = [1.0_f32, 0.0].map(f32::to_le_bytes).concat();
        let cases: [(&OutputFormat, &[u8]); 7] = [
            (&npy, &numbers),
            (&OutputFormat::Jsonl, br#"{"n":0.5,"t":"a\u00e9"}"#),
            (&OutputFormat::Jsonl, b"9"),
            (&OutputFormat::Jsonl, br#"{"k":"a\nb","b":true}"#),
            (&OutputFormat::Items, b"LINE 3"),
            (&OutputFormat::Items, b"LINE"),
            (&OutputFormat::Items, b""),
        ];
        for (format, output) in cases {
            let altered = |seed: u8| {
                let mut output = output.to_vec();
                alter(&mut output, format, &mut Draws::of(&[&[seed]]));
                output
            };
            let mut seen = std::collections::BTreeSet::new();
            for seed in 0..50 {
                let changed = altered(seed);
                assert_eq!(changed, altered(seed));
                assert_ne!(changed, output);
                if matches!(format, OutputFormat::Jsonl) {
                    serde_json::from_slice::<serde_json::Value>(&changed).unwrap();
                }
                seen.insert(changed);
            }
            let few = output.iter().all(|byte| byte.is_ascii_uppercase());
            assert!(seen.len() > 1 || few, "{output:?}");
        }
    }
}
