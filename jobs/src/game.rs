//! The proof-of-inference game: how validators measure providers with work that looks like any other.
//!
//! A game is an ordinary job over a pool of inputs, signed by its author, together with a rule for
//! drawing rounds from the pool and a rule for turning what was observed into points
//! ([`GameManifest`]). A validator plays rounds as a client, notes what came of each assignment
//! ([`score::Observation`]), scores each provider against the others ([`score::score`]) and signs what
//! it found for an epoch ([`report::ScoreReport`]). An aggregator takes the median over its validators
//! and splits the epoch's reward in proportion ([`epoch::split`]).
//!
//! Everything here decides with integers. Points say how fast, how reachable and how true to its model
//! a provider was; they steer routing and rewards, and never decide what a right answer is.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::digest::{Digest, Domain};
use crate::envelope::{ClientKey, verify_blob};
use crate::ids::ClientId;
use crate::package::Package;
use crate::policy::Policy;

pub mod draw;
pub mod epoch;
pub mod report;
pub mod score;
mod text;

pub use text::{GAME_TEXT_BYTES_MAX, GameText};

/// The only schema there is.
pub const GAME_SCHEMA: u32 = 1;
/// What a game says it is, and what is signed in front of it.
const KIND: &str = "assay/game/v1";
/// The nonce of a game's job, before a round draws its own.
const ZERO_NONCE: &str = "00000000000000000000000000000000";
/// Largest signed game as a file, in bytes: a package of the largest size, written for people.
pub const GAME_BYTES_MAX: usize = 512 * 1024;
/// Longest name of a game, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest description of a game, in bytes.
pub const ABOUT_BYTES_MAX: usize = 1024;
/// Most rounds of one game in an epoch.
pub const ROUNDS_MAX: u32 = 1_000;
/// Most items of a pool. All of a pool's items are one job's input where answers are computed.
pub const POOL_ITEMS_MAX: u32 = 65_536;
/// Longest pause between two rounds, in milliseconds: one hour.
pub const PAUSE_MS_MAX: u64 = 3_600_000;
/// Largest weight of a game among the others.
pub const WEIGHT_MAX: u32 = 100;
/// Most observations that a rule may ask for before it scores.
pub const SAMPLES_MIN_MAX: u32 = 1_000;
/// Largest ratio that a rule may name, in thousandths: a hundredfold.
pub const PERMILLE_MAX: u32 = 100_000;
/// Most of an execution's time that may be put down to the network, in milliseconds.
pub const NETWORK_MS_MAX: u32 = 10_000;

/// What a game measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// Time for an item, network removed.
    Latency,
    /// Tokens a second, network removed.
    Throughput,
    /// Whether answers are those of the stated weights: canaries whose answers are known.
    Identity,
    /// Whether the device is as fast as others that announce the same execution class.
    Hardware,
    /// Share of assignments that were accepted and answered in time.
    Availability,
}

impl Measure {
    /// Every one, with its name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("latency", Self::Latency),
        ("throughput", Self::Throughput),
        ("identity", Self::Identity),
        ("hardware", Self::Hardware),
        ("availability", Self::Availability),
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Identity => "identity",
            Self::Hardware => "hardware",
            Self::Availability => "availability",
        }
    }

    /// Whether less is better.
    pub const fn is_time(self) -> bool {
        matches!(self, Self::Latency | Self::Hardware)
    }

    /// Whether its points multiply those of the other games instead of being averaged with them:
    /// whoever does not hold the model, or the device it announces, is paid for no speed.
    pub const fn is_gate(self) -> bool {
        matches!(self, Self::Identity | Self::Hardware)
    }
}

/// How rounds are drawn. Each is one job over some of the pool's items, in an order of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rounds {
    /// Rounds in an epoch.
    pub per_epoch: u32,
    /// Fewest items of a round.
    pub items_min: u32,
    /// Most items of a round.
    pub items_max: u32,
    /// Shortest pause before a round, in milliseconds.
    pub pause_ms_min: u64,
    /// Longest pause before a round, in milliseconds.
    pub pause_ms_max: u64,
}

/// How observations become points: a line between two ratios, in thousandths. What the ratio is of
/// depends on the measure, see [`score::score`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scoring {
    /// Observations below which a provider gets no score.
    pub samples_min: u32,
    /// Ratio from which on all points are given.
    pub full_permille: u32,
    /// Ratio from which on no point is given.
    pub none_permille: u32,
    /// Most milliseconds of an execution that are put down to the network.
    pub network_ms_max: u32,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GameManifest {
    /// `assay/game/v1`.
    pub kind: String,
    /// [`GAME_SCHEMA`].
    pub schema: u32,
    /// Its name: lower-case letters, digits and hyphens.
    pub name: String,
    /// Counts up whenever pool, model or rule change.
    pub version: u32,
    /// What it measures, for people.
    pub about: String,
    /// What it measures.
    pub measure: Measure,
    /// How much it counts among the other games.
    pub weight: u32,
    /// The job that rounds are made of: component, models, limits, price. Its input is the pool, its
    /// nonce is all zeros.
    pub package: Package,
    /// How rounds are drawn.
    pub rounds: Rounds,
    /// How observations become points.
    pub scoring: Scoring,
}

/// A game as it travels. Not yet believed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedGame {
    /// The game.
    pub game: GameManifest,
    /// Sigstore bundle v0.3 (JSON text) over kind and canonical bytes.
    pub bundle: String,
    /// The author's public key, PEM (SPKI).
    pub public_key: String,
}

/// A game whose bounds and signature were checked.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedGame {
    /// Its identity.
    pub digest: Digest,
    /// Who signed.
    pub author: ClientId,
    /// What was signed.
    pub game: GameManifest,
}

impl GameManifest {
    /// A game over a job, whose input is the pool.
    ///
    /// # Errors
    /// [`Error::Field`] naming the first field that is out of bounds.
    pub fn lock(text: GameText, mut package: Package) -> Result<Self, Error> {
        package.nonce = ZERO_NONCE.to_owned();
        let game = Self {
            kind: KIND.to_owned(),
            schema: text.schema,
            name: text.name,
            version: text.version,
            about: text.about,
            measure: text.measure,
            weight: text.weight,
            package,
            rounds: text.rounds,
            scoring: text.scoring,
        };
        game.check()?;
        Ok(game)
    }

    /// The canonical bytes: RFC 8785 JSON.
    ///
    /// # Errors
    /// If a value is out of bounds.
    pub fn to_canonical(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        let bytes = serde_json_canonicalizer::to_vec(self).map_err(encode)?;
        check_size(bytes.len())?;
        Ok(bytes)
    }

    /// Its identity.
    ///
    /// # Errors
    /// As [`GameManifest::to_canonical`].
    pub fn digest(&self) -> Result<Digest, Error> {
        Ok(Digest::bind(Domain::Game, &[&self.to_canonical()?]))
    }

    /// Signs it: the kind, a line break and the canonical bytes, so that nothing else that the key
    /// signs is ever a game.
    ///
    /// # Errors
    /// If a value is out of bounds or the cryptographic library fails.
    pub fn sign(self, key: &ClientKey) -> Result<SignedGame, Error> {
        let bundle = key.sign_blob(&message(&self)?)?;
        Ok(SignedGame {
            game: self,
            bundle,
            public_key: key.public_key_pem(),
        })
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// [`Error::Field`] naming the first field that is out of bounds.
    pub fn check(&self) -> Result<(), Error> {
        if self.kind != KIND {
            return Err(field("kind", &self.kind, format!("must be {KIND:?}")));
        }
        if self.schema != GAME_SCHEMA {
            let bound = format!("must be {GAME_SCHEMA}, the only schema there is");
            return Err(field("schema", self.schema, bound));
        }
        check_name(&self.name)?;
        if self.about.is_empty() || self.about.len() > ABOUT_BYTES_MAX {
            let bound = format!("must have 1 to {ABOUT_BYTES_MAX} bytes");
            return Err(field("about", &self.about, bound));
        }
        within("version", self.version.into(), 1, u32::MAX.into())?;
        within("weight", self.weight.into(), 1, WEIGHT_MAX.into())?;
        crate::manifest::check_bounds(&self.package)?;
        if self.package.nonce != ZERO_NONCE {
            let bound = "must be 32 zeros: every round draws its own";
            return Err(field("package.nonce", &self.package.nonce, bound));
        }
        // A job that names its providers would tell them that they are looked at.
        if self.package.policy != Policy::Replicate {
            let bound = "must be \"replicate\": games look like anybody's work";
            return Err(field("package.policy", "trusted", bound));
        }
        let pool = u64::from(self.package.input.items);
        within("package.input.items", pool, 1, POOL_ITEMS_MAX.into())?;
        self.rounds.check(pool)?;
        self.scoring.check(self.measure)
    }
}

impl Rounds {
    fn check(&self, pool: u64) -> Result<(), Error> {
        let (least, most) = (u64::from(self.items_min), u64::from(self.items_max));
        within(
            "rounds.per_epoch",
            self.per_epoch.into(),
            1,
            ROUNDS_MAX.into(),
        )?;
        within("rounds.items_max", most, 1, pool)?;
        within("rounds.items_min", least, 1, most)?;
        within("rounds.pause_ms_max", self.pause_ms_max, 0, PAUSE_MS_MAX)?;
        within(
            "rounds.pause_ms_min",
            self.pause_ms_min,
            0,
            self.pause_ms_max,
        )
    }
}

impl Scoring {
    pub(crate) fn check(&self, measure: Measure) -> Result<(), Error> {
        let (full, none) = (u64::from(self.full_permille), u64::from(self.none_permille));
        let most = u64::from(PERMILLE_MAX);
        let samples = u64::from(self.samples_min);
        within("scoring.samples_min", samples, 1, SAMPLES_MIN_MAX.into())?;
        let network = u64::from(self.network_ms_max);
        within("scoring.network_ms_max", network, 0, NETWORK_MS_MAX.into())?;
        if measure.is_time() {
            // Less is better, so the ratio for nothing lies above the one for all.
            within("scoring.full_permille", full, 1, most.saturating_sub(1))?;
            return within("scoring.none_permille", none, full.saturating_add(1), most);
        }
        within("scoring.none_permille", none, 0, most.saturating_sub(1))?;
        within("scoring.full_permille", full, none.saturating_add(1), most)
    }
}

impl SignedGame {
    /// Parses the text of a file.
    ///
    /// # Errors
    /// If it is too large or no game.
    pub fn parse(text: &str) -> Result<Self, Error> {
        check_size(text.len())?;
        serde_json::from_str(text).map_err(|error| Error::Decode {
            what: "game",
            reason: error.to_string(),
        })
    }

    /// The text of a file, for people.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn to_text(&self) -> Result<String, Error> {
        let text = serde_json::to_string_pretty(self).map_err(encode)?;
        check_size(text.len())?;
        Ok(text + "\n")
    }

    /// Checks every bound and the signature.
    ///
    /// # Errors
    /// If either fails.
    pub fn verify(&self) -> Result<VerifiedGame, Error> {
        let author = verify_blob(&message(&self.game)?, &self.bundle, &self.public_key)?;
        Ok(VerifiedGame {
            digest: self.game.digest()?,
            author,
            game: self.game.clone(),
        })
    }
}

fn message(game: &GameManifest) -> Result<Vec<u8>, Error> {
    let mut message = format!("{KIND}\n").into_bytes();
    message.extend_from_slice(&game.to_canonical()?);
    Ok(message)
}

fn check_name(name: &str) -> Result<(), Error> {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    let bound = format!("must be 1 to {NAME_BYTES_MAX} lower-case letters, digits and hyphens");
    Err(field("name", name, bound))
}

fn check_size(size: usize) -> Result<(), Error> {
    if size <= GAME_BYTES_MAX {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: "game",
        size: size as u64,
        max: GAME_BYTES_MAX as u64,
    })
}

fn encode(error: impl std::fmt::Display) -> Error {
    Error::Encode {
        what: "game",
        reason: error.to_string(),
    }
}

fn within(key: &str, value: u64, least: u64, most: u64) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(field(key, value, format!("must be {least} to {most}")))
}

fn field(key: &str, value: impl std::fmt::Display, bound: impl Into<String>) -> Error {
    Error::Field {
        key: format!("game.{key}"),
        value: value.to_string().chars().take(80).collect(),
        bound: bound.into(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
