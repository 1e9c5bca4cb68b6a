//! What an author writes: `game.toml`.

use serde::Deserialize;

use super::{Measure, Rounds, Scoring};
use crate::Error;

/// Largest `game.toml` in bytes.
pub const GAME_TEXT_BYTES_MAX: usize = 64 * 1024;

/// A game as its author writes it. What it says is checked when it is locked to its job
/// ([`super::GameManifest::lock`]).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GameText {
    /// [`super::GAME_SCHEMA`].
    pub schema: u32,
    /// Its name.
    pub name: String,
    /// Counts up whenever pool, model or rule change.
    pub version: u32,
    /// What it measures, for people.
    pub about: String,
    /// What it measures.
    pub measure: Measure,
    /// The manifest of the job that rounds are made of, relative to this file. Its input is the pool.
    pub job: String,
    /// How much it counts among the other games.
    #[serde(default = "one")]
    pub weight: u32,
    /// How rounds are drawn.
    pub rounds: Rounds,
    /// How observations become points.
    pub scoring: Scoring,
}

const fn one() -> u32 {
    1
}

impl GameText {
    /// Parses the text of a `game.toml`.
    ///
    /// # Errors
    /// If it is too large or has a key too many, too few or of another type.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > GAME_TEXT_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "game.toml",
                size: text.len() as u64,
                max: GAME_TEXT_BYTES_MAX as u64,
            });
        }
        toml::from_str(text).map_err(|error| Error::Decode {
            what: "game.toml",
            reason: error.to_string(),
        })
    }
}
