//! Cheating on purpose, for tests and demonstrations. Everything dishonest that this crate can do is
//! in this file.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use jobs::assignment::Assignment;
use jobs::commitment::{Commitment, Opening};
use jobs::digest::{BlobRef, Digest};
use jobs::ids::ProviderId;
use jobs::outcome::{Fingerprint, Meters, Outcome, Placement};
use jobs::package::{ModelRef, OutputFormat, Package};
use jobs::statement::Signed;
use jobs::{items, merkle};
use network::protocol::CommitRequest;
use runtime::ShardOutcome;

use crate::admission::Admitted;
use crate::journal::{Order, Work};
use crate::work::nonce;
use crate::{Error, work};

/// How a provider cheats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Executes, and changes every output before it commits.
    Wrong,
    /// Does not execute, and commits to zeros.
    Lazy,
    /// Does not execute, commits to a hash it cannot open, and reveals something else.
    Copy,
    /// Accepts, and never commits.
    Stall,
    /// Ends its process while it executes.
    Crash,
    /// Signs two commitments to one assignment.
    Equivocate,
    /// Executes honestly, and commits [`DAWDLES`] later.
    Slow,
}

impl Misbehaviour {
    /// Every one, with its name.
    pub const ALL: [(&'static str, Self); 7] = [
        ("wrong", Self::Wrong),
        ("lazy", Self::Lazy),
        ("copy", Self::Copy),
        ("stall", Self::Stall),
        ("crash", Self::Crash),
        ("equivocate", Self::Equivocate),
        ("slow", Self::Slow),
    ];

    /// Its name on the command line and in every log line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Lazy => "lazy",
            Self::Copy => "copy",
            Self::Stall => "stall",
            Self::Crash => "crash",
            Self::Equivocate => "equivocate",
            Self::Slow => "slow",
        }
    }
}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Misbehaviour {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text);
        known.map(|(_, kind)| *kind).ok_or_else(|| Error::Config {
            key: "misbehave",
            value: text.chars().take(80).collect(),
            bound: format!(
                "must be one of {}",
                Self::ALL.map(|(name, _)| name).join(", ")
            ),
        })
    }
}

/// How much longer a slow provider takes for a shard.
const DAWDLES: Duration = Duration::from_secs(1);

/// The time that a slow provider lets pass.
pub(crate) async fn dawdle() {
    tokio::time::sleep(DAWDLES).await;
}

/// How long a crashing provider executes.
const BEFORE_CRASH: Duration = Duration::from_millis(50);

/// How a crashed provider's process ends.
pub(crate) const CRASH_CODE: i32 = 86;

/// The time until a crash.
pub(crate) async fn moment() {
    tokio::time::sleep(BEFORE_CRASH).await;
}

/// Ends the process.
pub(crate) fn crash() -> ! {
    tracing::warn!("crashes on purpose");
    std::process::exit(CRASH_CODE)
}

/// Changes every output so that no comparator lets it pass: numbers change their sign, and anything
/// else its last byte.
pub(crate) fn falsify(
    mut done: ShardOutcome,
    format: &OutputFormat,
) -> Result<ShardOutcome, jobs::Error> {
    let mut outputs: Vec<Vec<u8>> = items::decode(&done.outputs)?
        .into_iter()
        .map(<[u8]>::to_vec)
        .collect();
    for output in &mut outputs {
        match format {
            OutputFormat::Npy { dtype, .. } => {
                output.chunks_exact_mut(dtype.size()).for_each(negate)
            }
            OutputFormat::Jsonl | OutputFormat::Items => match output.last_mut() {
                Some(last) => *last ^= 1,
                None => output.push(0),
            },
        }
    }
    let Outcome {
        meters,
        fingerprint,
        placement,
        ..
    } = done.outcome;
    done.outcome = Outcome {
        // Everything but the outputs is true.
        placement,
        ..outcome(&outputs, meters, fingerprint)?
    };
    done.outputs = items::encode(&outputs)?;
    Ok(done)
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
pub(crate) fn fabricate(
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
    })
}

fn outcome(
    outputs: &[Vec<u8>],
    meters: Meters,
    fingerprint: Fingerprint,
) -> Result<Outcome, jobs::Error> {
    Ok(Outcome {
        placement: Vec::new(),
        root: merkle::root(outputs),
        outputs: BlobRef::of(&items::encode(outputs)?),
        items: outputs.len() as u32,
        meters,
        fingerprint,
    })
}

/// A commitment to a hash that is not ours to open, and a reveal of something else.
pub(crate) fn unopenable(
    key: &SigningKey,
    order: Order,
    assignment: Assignment,
    package: Package,
    outcome: Outcome,
) -> Result<Work, Error> {
    let mut work = work::sign(key, order, assignment, package, outcome)?;
    let mut copied = work.commitment.verify()?.statement;
    copied.hash = Digest::of(&nonce()?);
    work.commitment = Signed::sign(&copied, key)?;
    Ok(work)
}

/// A second commitment to the same assignment. It goes around the journal, which would refuse it:
/// nothing but `--misbehave equivocate` calls this.
pub(crate) fn second_commitment(key: &SigningKey, work: &Work) -> Result<CommitRequest, Error> {
    let provider = ProviderId(key.verifying_key().to_bytes());
    let first = work.commitment.verify()?.statement;
    let opening = Opening {
        nonce: nonce()?,
        outcome: work.opening.outcome.clone(),
    };
    let assignment = work.order.assignment;
    let second = Commitment::bind(assignment, first.job, first.shard, provider, &opening);
    Ok(CommitRequest::Committed {
        assignment,
        commitment: Signed::sign(&second, key)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misbehaviours_have_names_and_nothing_else_has() {
        for (name, kind) in Misbehaviour::ALL {
            assert_eq!(name.parse::<Misbehaviour>().unwrap(), kind);
            assert_eq!(kind.to_string(), name);
        }
        let error = "honest".parse::<Misbehaviour>().unwrap_err().to_string();
        assert!(
            error.contains("wrong, lazy, copy, stall, crash, equivocate, slow"),
            "{error}"
        );
    }

    #[test]
    fn no_number_survives_a_negation() {
        for number in [0.0_f32, -0.0, 1.0, -0.25, 1e-30, f32::MAX] {
            let mut bytes = number.to_le_bytes();
            negate(&mut bytes);
            let changed = f32::from_le_bytes(bytes);
            assert!(changed != number, "{number}");
        }
    }
}
