//! `assay validator`: play games as a client, and report what they showed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use api::client::Client;
use api::types::{EpochView, ProviderView};
use clap::Subcommand;
use ed25519_dalek::SigningKey;
use jobs::digest::Digest;
use jobs::game::draw::Chance;
use jobs::game::report::{GAMES_MAX, Played, ScoreReport, ValidatorId};
use jobs::game::score::{Observation, score};
use jobs::ids::{AggregatorId, ProviderId};
use jobs::statement::Signed;
use serde::Serialize;
use serde_json::json;

use crate::commands::game::Game;
use crate::commands::{aggregator, key, wait_for_stop};
use crate::exit::{Exit, code_of, fail};
use crate::output::{Output, table};
use crate::patience::patiently;
use crate::place::At;
use crate::validator::{Player, random};

/// The stream of an epoch's seed that puts its rounds into order; rounds have streams of their own.
const ORDER_STREAM: u32 = u32::MAX;

/// Play games as a client, and report what they showed.
#[derive(Debug, Subcommand)]
pub(crate) enum ValidatorCommand {
    /// Show the key that signs reports, for the operator's list (`assay aggregator start --validator`).
    /// It is made on the first call.
    Key {
        /// Directory of the key.
        #[arg(long)]
        data: PathBuf,
    },
    /// Play games until Ctrl-C or SIGTERM, and report once an epoch.
    ///
    /// Rounds are ordinary jobs of ordinary clients, at random times: nothing in them names a validator.
    Run {
        /// Directory of the key that signs reports.
        #[arg(long)]
        data: PathBuf,
        #[command(flatten)]
        at: At,
        /// A game's folder, as `assay game pack` makes it; may be repeated.
        #[arg(long, required = true)]
        game: Vec<PathBuf>,
        /// A client's key that pays for rounds; may be repeated, and should: a round takes any of them.
        #[arg(long, required = true)]
        payer: Vec<PathBuf>,
        /// Stop after so many epochs [default: go on].
        #[arg(long)]
        epochs: Option<u64>,
    },
}

pub(crate) async fn run(command: ValidatorCommand, output: Output) -> Result<()> {
    match command {
        ValidatorCommand::Key { data } => {
            let id = identity(&data)?.1;
            output.data(&json!({ "validator": id }), || id.to_string())
        }
        ValidatorCommand::Run {
            data,
            at,
            game,
            payer,
            epochs,
        } => {
            let validator = Validator::new(&data, &at, &game, &payer, output).await?;
            tokio::select! {
                ended = validator.run(epochs) => ended,
                stopped = wait_for_stop() => stopped,
            }
        }
    }
}

fn identity(data: &std::path::Path) -> Result<(SigningKey, ValidatorId)> {
    let key = SigningKey::from_bytes(&aggregator::identity(&data.join("validator.key"))?);
    let id = ProviderId(key.verifying_key().to_bytes());
    Ok((key, id))
}

/// What came of an epoch. Printed as one JSON object a line with `--json`.
#[derive(Debug, Serialize)]
struct Summary {
    epoch: u64,
    report: Digest,
    repeated: bool,
    rounds: u32,
    skipped: u32,
    games: Vec<GameSummary>,
    totals: Vec<(ProviderId, u16)>,
}

/// One game of it.
#[derive(Debug, Serialize)]
struct GameSummary {
    name: String,
    measure: &'static str,
    observations: usize,
    points: Vec<(ProviderId, u16)>,
}

/// A validator at work.
struct Validator {
    key: SigningKey,
    aggregator: AggregatorId,
    client: Client,
    games: Vec<Game>,
    player: Player,
    output: Output,
}

impl Validator {
    async fn new(
        data: &std::path::Path,
        at: &At,
        games: &[PathBuf],
        payers: &[PathBuf],
        output: Output,
    ) -> Result<Self> {
        if games.len() > GAMES_MAX {
            let count = games.len();
            return fail(
                Exit::Usage,
                format!("{count} games: must be 1 to {GAMES_MAX}"),
            );
        }
        let (key, id) = identity(data)?;
        let client = at.client()?;
        let listed = patiently(output, || client.epoch()).await?.validators;
        if !listed.contains(&id) {
            let count = listed.len();
            let reason =
                format!("this validator, {id}, is not among the {count} that the operator lists");
            return fail(Exit::Signature, reason);
        }
        let games = games.iter().map(|folder| Game::load(folder));
        let payers = payers.iter().map(|path| key::load(path));
        Ok(Self {
            key,
            aggregator: patiently(output, || client.health()).await?.aggregator,
            games: games.collect::<Result<_>>()?,
            player: Player::new(client.clone(), payers.collect::<Result<_>>()?, output),
            client,
            output,
        })
    }

    async fn run(mut self, epochs: Option<u64>) -> Result<()> {
        let mut reported: Option<u64> = None;
        let mut left = epochs;
        while left != Some(0) {
            let view = patiently(self.output, || self.client.epoch()).await?;
            if reported.is_some_and(|reported| reported >= view.epoch) {
                tokio::time::sleep(Duration::from_millis(view.ends.since_ms(view.now).max(1)))
                    .await;
                continue;
            }
            match self.epoch(&view).await {
                // Whoever asked for so many epochs is told; whoever plays on gets another chance.
                Err(error) if epochs.is_none() && code_of(&error) == Exit::Failure => {
                    self.output.say(format_args!("{error:#}"));
                }
                done => done?,
            }
            reported = Some(view.epoch);
            left = left.map(|left| left.saturating_sub(1));
        }
        Ok(())
    }

    /// Plays an epoch's rounds and reports.
    async fn epoch(&mut self, view: &EpochView) -> Result<()> {
        let seed = random()?;
        // A report is taken until the next epoch ends; half of that one is left for the last round.
        let room = view
            .ends
            .since_ms(view.now)
            .saturating_add(view.epoch_ms / 2);
        let deadline = tokio::time::Instant::now() + Duration::from_millis(room);
        let order = order(&self.games, &seed);
        let mut seen: Vec<Vec<Observation>> = vec![Vec::new(); self.games.len()];
        let (mut rounds, mut skipped) = (0, 0);
        for (at, number, stream) in order {
            let Some(game) = self.games.get(at) else {
                continue;
            };
            let round = jobs::game::draw::round(
                &game.verified.game.rounds,
                game.verified.game.package.input.items,
                &seed,
                stream,
            );
            tokio::time::sleep(Duration::from_millis(round.pause_ms)).await;
            if tokio::time::Instant::now() >= deadline {
                skipped += 1;
                continue;
            }
            let played = match self.player.play(game, &round.items).await {
                Ok(played) => played,
                // Without money there is no game; anything else may be over by the next round.
                Err(error) if code_of(&error) == Exit::Payment => return Err(error),
                Err(error) => {
                    self.output
                        .say(format_args!("a round came to nothing: {error:#}"));
                    None
                }
            };
            match (played, seen.get_mut(at)) {
                (Some(observed), Some(seen)) => seen.extend(observed),
                _ => skipped += 1,
            }
            rounds += 1;
            self.output.say(format_args!(
                "epoch {}: round {number} of {} played",
                view.epoch, game.verified.game.name
            ));
        }
        if seen.iter().all(Vec::is_empty) {
            let epoch = view.epoch;
            let reason =
                format!("epoch {epoch}: no round came to anything, so nothing is reported");
            return fail(Exit::Failure, reason);
        }
        self.report(view.epoch, seen, (rounds, skipped)).await
    }

    async fn report(
        &self,
        epoch: u64,
        seen: Vec<Vec<Observation>>,
        (rounds, skipped): (u32, u32),
    ) -> Result<()> {
        let providers = patiently(self.output, || self.client.providers()).await?;
        let (mut played, mut games) = (Vec::new(), Vec::new());
        for (game, seen) in self.games.iter().zip(seen) {
            let verified = &game.verified;
            let (observations, population) = announced(seen, &providers);
            let manifest = &verified.game;
            let points = score(
                manifest.measure,
                &manifest.scoring,
                &observations,
                &population,
            )?;
            games.push(GameSummary {
                name: manifest.name.clone(),
                measure: manifest.measure.name(),
                observations: observations.len(),
                points: points.clone(),
            });
            let game = Played {
                game: verified.digest,
                measure: manifest.measure,
                weight: manifest.weight,
            };
            played.push((game, points));
        }
        let report = ScoreReport::gather(self.aggregator, epoch, played)?;
        let signed = Signed::sign(&report, &self.key)?;
        let reply = patiently(self.output, || self.client.scores(&signed)).await?;
        let summary = Summary {
            epoch,
            report: report.digest()?,
            repeated: reply.repeated,
            rounds,
            skipped,
            games,
            totals: report.totals(),
        };
        self.output.data(&summary, || describe(&summary))
    }
}

/// Every round of every game, in an order that nobody can foresee: which game, which of its rounds, and
/// the stream that it is drawn from.
fn order(games: &[Game], seed: &[u8; 32]) -> Vec<(usize, u32, u32)> {
    let mut order = Vec::new();
    for (game, at) in games.iter().zip(0_usize..) {
        let rounds = 0..game.verified.game.rounds.per_epoch;
        order.extend(rounds.map(|number| (at, number, 0)));
    }
    let mut chance = Chance::new(seed, ORDER_STREAM);
    let last = order.len().saturating_sub(1);
    for at in 0..order.len() {
        let other = chance.range(at as u64, last as u64);
        order.swap(at, usize::try_from(other).unwrap_or(at));
    }
    for (round, stream) in order.iter_mut().zip(0..) {
        round.2 = stream;
    }
    order
}

/// What was seen of the providers that are still there and not banned, with the class each announces.
fn announced(
    seen: Vec<Observation>,
    providers: &[ProviderView],
) -> (Vec<Observation>, BTreeSet<ProviderId>) {
    let standing = || {
        providers
            .iter()
            .filter(|provider| provider.banned.is_none())
    };
    let population: BTreeSet<ProviderId> = standing().map(|provider| provider.id).collect();
    let observations = seen.into_iter().filter_map(|observation| {
        let provider = standing().find(|provider| provider.id == observation.provider)?;
        Some(Observation {
            class: provider.fingerprint,
            ..observation
        })
    });
    (observations.collect(), population)
}

fn describe(summary: &Summary) -> String {
    let games = summary.games.iter();
    let mut headings = vec!["provider"];
    headings.extend(games.clone().map(|game| game.name.as_str()));
    headings.push("total");
    let of = |points: &[(ProviderId, u16)], id: ProviderId| {
        let found = points.iter().find(|(known, _)| *known == id);
        found.map_or("-".to_owned(), |(_, points)| points.to_string())
    };
    let row = |(id, total): &(ProviderId, u16)| {
        let mut row = vec![id.to_string()];
        row.extend(games.clone().map(|game| of(&game.points, *id)));
        row.push(total.to_string());
        row
    };
    let rows: Vec<Vec<String>> = summary.totals.iter().map(row).collect();
    format!(
        "epoch {} reported: {} rounds, {} skipped\n{}",
        summary.epoch,
        summary.rounds,
        summary.skipped,
        table(&headings, &rows)
    )
}
