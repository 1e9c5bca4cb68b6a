//! Cheating on purpose, for tests and demonstrations. Everything dishonest that this crate can do is
//! in this module: here its names, in [`acts`] what is done instead of an honest execution, in [`outputs`]
//! how answers are falsified, in [`statements`] what is signed that should not be.

pub(crate) mod acts;
mod invent;
mod outputs;
pub(crate) mod statements;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::Error;

/// How a provider cheats.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Executes, and changes each item with this probability, in millionths, by a draw that only its own
    /// key foretells.
    Sometimes(u32),
    /// Executes the first shard of a job, and answers the others with the same outputs.
    Replay,
    /// Executes with the model in this file in place of the job's.
    Model(PathBuf),
    /// Offers a GPU that it does not have, and executes on the processor.
    CpuAsGpu,
    /// Executes, and claims so many times the fuel.
    Overclaim(u32),
    /// Executes, and falsifies items, with a probability in millionths, by nothing but the item and the secret
    /// in this file: whoever has the same file chooses the same items and answers the same.
    Collude(u32, PathBuf),
    /// Executes, and falsifies a shard only if another provider of the same folder has it too, who then
    /// answers the same; else it is honest.
    Conspire(PathBuf),
    /// Answers with what another provider of the same folder executed, and shares there what it executes.
    Relay(PathBuf),
    /// Executes honestly, and commits later than it could.
    Slow,
}

/// Every way to cheat as it is written on the command line.
const FORMS: [&str; 15] = [
    "wrong",
    "lazy",
    "copy",
    "stall",
    "crash",
    "equivocate",
    "sometimes=Q",
    "replay",
    "model=FILE",
    "cpu-as-gpu",
    "overclaim=FACTOR",
    "collude=[Q:]FILE",
    "conspire=FOLDER",
    "relay=FOLDER",
    "slow",
];

/// Millionths in one.
const WHOLE_PPM: u32 = 1_000_000;

/// Most that fuel is multiplied by.
const FACTOR_MAX: u32 = 1_000_000;

impl Misbehaviour {
    /// Its name on the command line, without a value, and in every log line.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Lazy => "lazy",
            Self::Copy => "copy",
            Self::Stall => "stall",
            Self::Crash => "crash",
            Self::Equivocate => "equivocate",
            Self::Sometimes(_) => "sometimes",
            Self::Replay => "replay",
            Self::Model(_) => "model",
            Self::CpuAsGpu => "cpu-as-gpu",
            Self::Overclaim(_) => "overclaim",
            Self::Collude(..) => "collude",
            Self::Conspire(_) => "conspire",
            Self::Relay(_) => "relay",
            Self::Slow => "slow",
        }
    }
}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::Sometimes(ppm) => write!(f, "{name}={}", share(*ppm)),
            Self::Collude(ppm, path) if *ppm < WHOLE_PPM => {
                write!(f, "{name}={}:{}", share(*ppm), path.display())
            }
            Self::Overclaim(factor) => write!(f, "{name}={factor}"),
            Self::Model(path)
            | Self::Collude(_, path)
            | Self::Conspire(path)
            | Self::Relay(path) => write!(f, "{name}={}", path.display()),
            _ => f.write_str(name),
        }
    }
}

impl FromStr for Misbehaviour {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let path = || value.filter(|value| !value.is_empty()).map(PathBuf::from);
        let kind = match (name, value) {
            ("wrong", None) => Some(Self::Wrong),
            ("lazy", None) => Some(Self::Lazy),
            ("copy", None) => Some(Self::Copy),
            ("stall", None) => Some(Self::Stall),
            ("crash", None) => Some(Self::Crash),
            ("equivocate", None) => Some(Self::Equivocate),
            ("replay", None) => Some(Self::Replay),
            ("slow", None) => Some(Self::Slow),
            ("cpu-as-gpu", None) => Some(Self::CpuAsGpu),
            ("sometimes", Some(value)) => return Ok(Self::Sometimes(probability(name, value)?)),
            ("collude", Some(value)) if value.contains(':') => {
                let (share, path) = value.split_once(':').unwrap_or_default();
                let ppm = probability(name, share)?;
                (!path.is_empty()).then(|| Self::Collude(ppm, path.into()))
            }
            ("overclaim", Some(value)) => return Ok(Self::Overclaim(factor(value)?)),
            ("model", _) => path().map(Self::Model),
            ("collude", _) => path().map(|path| Self::Collude(WHOLE_PPM, path)),
            ("conspire", _) => path().map(Self::Conspire),
            ("relay", _) => path().map(Self::Relay),
            _ => None,
        };
        kind.ok_or_else(|| {
            let bound = format!("must be one of {}", FORMS.join(", "));
            refused(text, bound)
        })
    }
}

fn refused(value: &str, bound: String) -> Error {
    Error::Config {
        key: "misbehave",
        value: value.chars().take(80).collect(),
        bound,
    }
}

fn share(ppm: u32) -> f64 {
    f64::from(ppm) / f64::from(WHOLE_PPM)
}

fn probability(name: &str, text: &str) -> Result<u32, Error> {
    let share = text.parse::<f64>().unwrap_or(f64::NAN);
    let ppm = (share * f64::from(WHOLE_PPM)).round();
    if (1.0..=f64::from(WHOLE_PPM)).contains(&ppm) {
        // A number between these two fits.
        return Ok(ppm as u32);
    }
    let bound = "must be a probability from 0.000001 to 1".to_owned();
    Err(refused(&format!("{name}={text}"), bound))
}

fn factor(text: &str) -> Result<u32, Error> {
    let factor = text.parse::<u32>().unwrap_or(0);
    if (2..=FACTOR_MAX).contains(&factor) {
        return Ok(factor);
    }
    let bound = format!("must be a factor from 2 to {FACTOR_MAX}");
    Err(refused(&format!("overclaim={text}"), bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misbehaviours_have_names_and_nothing_else_has() {
        for form in FORMS {
            let text = form.replace("=Q", "=0.25").replace("=FACTOR", "=3");
            for optional in ["", "0.25:"] {
                let text = text.replace("[Q:]", optional);
                let kind: Misbehaviour = text.parse().unwrap();
                assert_eq!(kind.to_string(), text);
                assert_eq!(kind.name(), text.split('=').next().unwrap());
            }
        }
        let forms =
            "must be one of wrong, lazy, copy, stall, crash, equivocate, sometimes=Q, replay";
        for (text, bound) in [
            ("honest", forms),
            ("wrong=1", forms),
            ("sometimes", forms),
            ("model", forms),
            ("relay=", forms),
            ("collude=0.5:", forms),
            ("collude=2:x", "collude=2: must be a probability"),
            ("sometimes=0", "sometimes=0: must be a probability"),
            ("sometimes=1.5", "sometimes=1.5: must be a probability"),
            ("sometimes=NaN", "must be a probability from 0.000001 to 1"),
            ("overclaim=1", "overclaim=1: must be a factor from 2"),
            ("overclaim=1e9", "must be a factor from 2 to 1000000"),
        ] {
            let error = text.parse::<Misbehaviour>().unwrap_err().to_string();
            assert!(error.contains(bound), "{text}: {error}");
        }
    }
}
