//! Playing a round: an ordinary job, and what the aggregator and the providers' receipts say of it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use api::client::{Client, Error};
use api::types::{AssignmentView, JobPhase};
use jobs::compare::compare;
use jobs::digest::Digest;
use jobs::envelope::ClientKey;
use jobs::game::Measure;
use jobs::game::score::{Canaries, Observation};
use jobs::ids::{AssignmentId, JobId};
use jobs::outcome::Outcome;
use jobs::package::{InputRef, Package};
use jobs::record::JobRecord;

use crate::commands::game::Game;
use crate::commands::provider::execute_items_locally;
use crate::output::Output;
use crate::patience::patiently;

/// Pause between two looks at a round under way.
const POLL: Duration = Duration::from_millis(200);

/// Plays rounds as any of several clients.
pub(crate) struct Player {
    client: Client,
    payers: Vec<ClientKey>,
    output: Output,
    scratch: Option<tempfile::TempDir>,
}

/// Bytes that nobody can foresee.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(bytes)
}

impl Player {
    pub(crate) const fn new(client: Client, payers: Vec<ClientKey>, output: Output) -> Self {
        Self {
            client,
            payers,
            output,
            scratch: None,
        }
    }

    /// Plays one round over these items of the pool. `None` if the aggregator does not take it, which
    /// says nothing of any provider.
    pub(crate) async fn play(
        &mut self,
        game: &Game,
        positions: &[u32],
    ) -> Result<Option<Vec<Observation>>> {
        let pool = game.prepared.items()?;
        let items: Vec<Vec<u8>> = positions
            .iter()
            .filter_map(|at| pool.get(*at as usize).cloned())
            .collect();
        // Before anybody is asked: from the weights that the game states, cut into the same shards.
        let answers = match game.verified.game.measure {
            Measure::Identity => {
                let ran = execute_items_locally(&game.prepared, items.clone(), self.output).await?;
                Some(ran.0)
            }
            _ => None,
        };
        let (input, encoded) = InputRef::of(&items)?;
        let package = Package {
            input,
            nonce: hex::encode(random::<16>()?),
            ..game.prepared.package.clone()
        };
        let Some(job) = self.submit(game, &package, &encoded).await? else {
            return Ok(None);
        };
        let phase = loop {
            let view = patiently(self.output, || self.client.job(job)).await?;
            if view.phase.is_terminal() {
                break view.phase;
            }
            tokio::time::sleep(POLL).await;
        };
        let listed = patiently(self.output, || self.client.assignments(job)).await?;
        let mut outcomes = BTreeMap::new();
        if phase == JobPhase::Done {
            let record = patiently(self.output, || self.client.record(job)).await?;
            outcomes = revealed(&record)?;
        }
        let mut seen = Vec::new();
        for view in listed {
            let outcome = outcomes.get(&view.assignment);
            let canaries = match (&answers, outcome) {
                (Some(answers), Some(outcome)) => {
                    let found = self.examine(job, &package, &view, outcome, answers);
                    Some(found.await?)
                }
                _ => None,
            };
            seen.push(observation(&view, outcome, canaries));
        }
        Ok(Some(seen))
    }

    /// Hands a round in as one of the payers, drawn anew each time.
    async fn submit(
        &mut self,
        game: &Game,
        package: &Package,
        encoded: &[u8],
    ) -> Result<Option<JobId>> {
        let [draw] = random::<1>()?;
        let payer = usize::from(draw).checked_rem(self.payers.len());
        let payer = payer.and_then(|at| self.payers.get(at));
        let payer = payer.context("no payer")?;
        let signed = payer.sign_package(package)?;
        let client = self.client.clone().with_key(payer);
        let reply = match patiently(self.output, || client.submit(&signed)).await {
            Ok(reply) => reply,
            // Without money there is no game; anything else may be over by the next round.
            Err(Error::Refused(problem)) if problem.status != 402 => {
                self.output
                    .say(format_args!("a round was refused: {problem}"));
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let scratch = match self.scratch.take() {
            Some(scratch) => scratch,
            None => tempfile::tempdir().context("cannot make a scratch directory")?,
        };
        let input = scratch.path().join("input");
        std::fs::write(&input, encoded)?;
        for blob in &reply.missing {
            let files = &game.prepared.files;
            let found = files.iter().find(|(held, _)| held == blob);
            let path = match found {
                Some((_, path)) => path,
                None => &input,
            };
            patiently(self.output, || client.put_blob(reply.job, *blob, path)).await?;
        }
        self.scratch = Some(scratch);
        Ok(Some(reply.job))
    }

    /// Compares a replica's outputs with the known answers, item by item.
    async fn examine(
        &self,
        job: JobId,
        package: &Package,
        view: &AssignmentView,
        outcome: &Outcome,
        answers: &[Vec<u8>],
    ) -> Result<Canaries> {
        let dir = tempfile::tempdir().context("cannot make a scratch directory")?;
        let path = dir.path().join("outputs");
        let fetched = || self.client.record_blob(job, outcome.outputs, &path);
        patiently(self.output, fetched).await?;
        let bytes = std::fs::read(&path)?;
        let outputs = jobs::output::decode(package, view.items, &bytes)?;
        let known = answers.iter().skip(view.first_item as usize);
        let agrees = |(output, answer): (&&[u8], &Vec<u8>)| {
            compare(&package.comparator, &[*output], &[answer.as_slice()]).is_ok()
        };
        let right = outputs.iter().zip(known).filter(|pair| agrees(*pair));
        Ok(Canaries {
            asked: view.items,
            right: u32::try_from(right.count()).unwrap_or(u32::MAX),
        })
    }
}

/// What each replica revealed, by its own signed receipt.
fn revealed(record: &JobRecord) -> Result<BTreeMap<AssignmentId, Outcome>> {
    let mut outcomes = BTreeMap::new();
    for replica in record.shards.iter().flat_map(|shard| &shard.replicas) {
        let receipt = replica.receipt.verify(replica.provider)?.statement;
        outcomes.insert(replica.assignment, receipt.opening.outcome);
    }
    Ok(outcomes)
}

fn observation(
    view: &AssignmentView,
    outcome: Option<&Outcome>,
    canaries: Option<Canaries>,
) -> Observation {
    Observation {
        provider: view.provider,
        // Filled in when the epoch is scored: an offer may change meanwhile.
        class: Digest::default(),
        items: view.items,
        dispatched: view.dispatched,
        accepted: view.accepted,
        committed: view.committed,
        standing: view.standing,
        tokens: outcome.map_or(0, |outcome| outcome.meters.tokens),
        canaries,
    }
}
