//! What a validator found in an epoch, signed by it.

use serde::{Deserialize, Serialize};

use super::score::POINTS_MAX;
use super::{Measure, WEIGHT_MAX, encode, field, within};
use crate::Error;
use crate::digest::{Digest, Domain};
use crate::ids::{AggregatorId, ProviderId};
use crate::statement::Statement;

/// A validator's key has the same form as a provider's.
pub type ValidatorId = ProviderId;

/// Most games of one report.
pub const GAMES_MAX: usize = 8;
/// Most providers of one report.
pub const ROWS_MAX: usize = 1024;

/// A game that was played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Played {
    /// Its identity.
    pub game: Digest,
    /// What it measures.
    pub measure: Measure,
    /// How much it counts.
    pub weight: u32,
}

/// What one provider got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Who.
    pub provider: ProviderId,
    /// Points in each game, in the order of the games; `None` where it was not seen often enough.
    pub points: Vec<Option<u16>>,
}

/// The scores of one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreReport {
    /// Whose market it is about.
    pub aggregator: AggregatorId,
    /// Which epoch.
    pub epoch: u64,
    /// What was played.
    pub games: Vec<Played>,
    /// What came of it, ascending by provider.
    pub rows: Vec<Row>,
}

impl Statement for ScoreReport {
    const DOMAIN: &'static str = "assay/scores/v1";
}

impl ScoreReport {
    /// Gathers the scores of each game into one report.
    ///
    /// # Errors
    /// As [`ScoreReport::check`].
    pub fn gather(
        aggregator: AggregatorId,
        epoch: u64,
        played: Vec<(Played, Vec<(ProviderId, u16)>)>,
    ) -> Result<Self, Error> {
        let count = played.len();
        let mut rows = std::collections::BTreeMap::new();
        let mut games = Vec::new();
        for ((game, scores), at) in played.into_iter().zip(0_usize..) {
            games.push(game);
            for (provider, points) in scores {
                let row: &mut Vec<Option<u16>> =
                    rows.entry(provider).or_insert_with(|| vec![None; count]);
                if let Some(place) = row.get_mut(at) {
                    *place = Some(points);
                }
            }
        }
        let rows = rows.into_iter();
        let rows = rows.map(|(provider, points)| Row { provider, points });
        let report = Self {
            aggregator,
            epoch,
            games,
            rows: rows.collect(),
        };
        report.check()?;
        Ok(report)
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// [`Error::Field`] naming the first field that is out of bounds.
    pub fn check(&self) -> Result<(), Error> {
        let (games, rows) = (self.games.len(), self.rows.len());
        within("report.games", games as u64, 1, GAMES_MAX as u64)?;
        within("report.rows", rows as u64, 0, ROWS_MAX as u64)?;
        for game in &self.games {
            within(
                "report.games.weight",
                game.weight.into(),
                1,
                WEIGHT_MAX.into(),
            )?;
        }
        let mut before = None;
        for row in &self.rows {
            if before.is_some_and(|before| before >= row.provider) {
                let bound = "must be in ascending order, each once";
                return Err(field("report.rows.provider", row.provider, bound));
            }
            before = Some(row.provider);
            let columns = row.points.len() as u64;
            within("report.rows.points", columns, games as u64, games as u64)?;
            for points in row.points.iter().flatten() {
                within("report.rows.points", (*points).into(), 0, POINTS_MAX.into())?;
            }
        }
        Ok(())
    }

    /// What names it.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn digest(&self) -> Result<Digest, Error> {
        let bytes = postcard::to_stdvec(self).map_err(encode)?;
        Ok(Digest::bind(Domain::Scores, &[&bytes]))
    }

    /// Points of each provider over all games, ascending by provider: the mean of the games in which it
    /// has any, by weight, times its share of each game that is a gate ([`Measure::is_gate`]). Whoever
    /// was seen in gates alone starts from all points.
    pub fn totals(&self) -> Vec<(ProviderId, u16)> {
        let rows = self.rows.iter();
        rows.filter_map(|row| Some((row.provider, self.total(row)?)))
            .collect()
    }

    fn total(&self, row: &Row) -> Option<u16> {
        let (mut sum, mut weights, mut gate) = (0_u64, 0_u64, u64::from(POINTS_MAX));
        let mut seen = false;
        for (game, points) in self.games.iter().zip(&row.points) {
            let Some(points) = points.map(u64::from) else {
                continue;
            };
            seen = true;
            if game.measure.is_gate() {
                gate = scaled(gate, points);
            } else {
                let weight = u64::from(game.weight);
                sum = sum.saturating_add(points.saturating_mul(weight));
                weights = weights.saturating_add(weight);
            }
        }
        let mean = sum.checked_div(weights).unwrap_or(POINTS_MAX.into());
        let total = u16::try_from(scaled(mean, gate)).unwrap_or(POINTS_MAX);
        seen.then_some(total)
    }
}

/// `points` times a share of all points.
fn scaled(points: u64, share: u64) -> u64 {
    let product = points.saturating_mul(share);
    product.checked_div(POINTS_MAX.into()).unwrap_or(0)
}
