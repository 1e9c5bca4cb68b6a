//! Items whose outputs a client knows because it executed them itself. They are items of the real input, drawn at
//! random, and nobody is told which: no provider, auditor or aggregator can treat them otherwise than the rest.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use api::client::{Client, Error};
use api::problem::Code;
use api::types::{ChallengeRequest, JobPhase, JobView};
use jobs::compare::compare;
use jobs::ids::JobId;
use jobs::output::split;
use jobs::package::Package;

use crate::commands::job::{watch, watch_until};
use crate::commands::provider::execute_items_locally;
use crate::exit::{Coded, Exit, fail};
use crate::job::Prepared;
use crate::output::Output;
use crate::patience::patiently;

/// The most canaries of one job: each is executed here.
pub(crate) const CANARIES_MAX: u32 = 10_000;

/// Known outputs, by item.
#[derive(Debug)]
pub(crate) struct Canaries(BTreeMap<u32, Vec<u8>>);

impl Canaries {
    /// Draws `count` items of a job and executes them here.
    ///
    /// # Errors
    /// If the job has fewer items, or its guest fails on these.
    pub(crate) async fn make(prepared: &Prepared, count: u32, output: Output) -> Result<Self> {
        let items = prepared.package.input.items;
        if count > items {
            let problem = format!("--canaries is {count}, the job has {items} items");
            return fail(Exit::Usage, problem);
        }
        output.say(format_args!("executes {count} of {items} items here"));
        let chosen = choose(items, count)?;
        let all = prepared.items()?;
        let inputs = chosen.iter().map(|item| {
            let input = all.get(*item as usize).cloned();
            input.with_context(|| format!("there is no item {item}"))
        });
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let (outputs, _) = execute_items_locally(prepared, inputs, output).await?;
        Ok(Self(chosen.into_iter().zip(outputs).collect()))
    }

    /// The canaries that a result has otherwise, with the reasons.
    fn wrong(&self, package: &Package, result: &Path) -> Result<BTreeMap<u32, String>> {
        let bytes = std::fs::read(result).with_context(|| result.display().to_string())?;
        let outputs = split(&package.output, &bytes).code(Exit::Verification)?;
        self.differing(package, &outputs)
    }

    fn differing(&self, package: &Package, outputs: &[&[u8]]) -> Result<BTreeMap<u32, String>> {
        let mut wrong = BTreeMap::new();
        for (item, known) in &self.0 {
            let found = outputs.get(*item as usize);
            let found = found.with_context(|| format!("the result has no item {item}"));
            let found = found.code(Exit::Verification)?;
            if let Err(difference) = compare(&package.comparator, &[known], &[found]) {
                wrong.insert(*item, difference.to_string());
            }
        }
        Ok(wrong)
    }

    /// Follows a job until it ends. What a result that is not final has otherwise is executed again before it is paid.
    pub(crate) async fn watch(
        &self,
        client: &Client,
        job: JobId,
        prepared: &Prepared,
        output: Output,
    ) -> Result<JobView> {
        let is_there = |phase: JobPhase| phase == JobPhase::Provisional || phase.is_terminal();
        let scratch = tempfile::tempdir().context("cannot make a scratch directory")?;
        let path = scratch.path().join("result");
        loop {
            let view = watch_until(client, job, output, is_there).await?;
            let (JobPhase::Provisional, Some(result)) = (view.phase, view.result) else {
                break;
            };
            match client.result(job, result, &path).await {
                // An audit took it back meanwhile: there will be another.
                Err(Error::Refused(problem)) if problem.code == Code::Conflict.explained().code => {
                    continue;
                }
                fetched => fetched?,
            }
            let wrong = self.wrong(&prepared.package, &path)?;
            self.challenge(client, job, &wrong, prepared, output)
                .await?;
            break;
        }
        watch(client, job, output).await
    }

    async fn challenge(
        &self,
        client: &Client,
        job: JobId,
        wrong: &BTreeMap<u32, String>,
        prepared: &Prepared,
        output: Output,
    ) -> Result<()> {
        output.say(format_args!(
            "{} of {} canaries are right, in a result that is not final",
            self.0.len().saturating_sub(wrong.len()),
            self.0.len()
        ));
        let Some(share) = prepared.share else {
            return Ok(());
        };
        for (item, reason) in wrong {
            let request = ChallengeRequest { share, item: *item };
            let asked = patiently(output, || client.challenge(job, &request)).await;
            match asked {
                Ok(shard) => output.say(format_args!(
                    "item {item}: {reason}; shard {shard} is executed again"
                )),
                // It may have become final meanwhile, or somebody may be at it: the end is looked at in any case.
                Err(error) => output.say(format_args!("item {item}: {reason}; {error}")),
            }
        }
        Ok(())
    }

    /// Checks the result that was paid for.
    ///
    /// # Errors
    /// If a canary is wrong, with the items and reasons.
    pub(crate) fn check(&self, package: &Package, result: &Path, output: Output) -> Result<()> {
        let wrong = self.wrong(package, result)?;
        if wrong.is_empty() {
            output.say(format_args!("all {} canaries are right", self.0.len()));
            return Ok(());
        }
        let listed = wrong
            .iter()
            .map(|(item, reason)| format!("item {item}: {reason}"));
        let problem = format!(
            "{} of {} canaries are wrong: {}",
            wrong.len(),
            self.0.len(),
            listed.collect::<Vec<_>>().join("; ")
        );
        fail(Exit::Verification, problem)
    }
}

/// `count` of the numbers below `items`, at random and ascending.
fn choose(items: u32, count: u32) -> Result<Vec<u32>> {
    let mut pool: Vec<u32> = (0..items).collect();
    let mut chosen = Vec::new();
    for _ in 0..count.min(items) {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        // The remainder favours none of so few by more than one in 2^32.
        let at = u64::from_le_bytes(random).checked_rem(pool.len() as u64);
        let at = usize::try_from(at.unwrap_or(0)).unwrap_or(0);
        chosen.push(pool.swap_remove(at));
    }
    chosen.sort_unstable();
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canaries_are_drawn_once_each_and_from_all_items() {
        assert_eq!(choose(5, 5).unwrap(), [0, 1, 2, 3, 4]);
        assert!(choose(0, 0).unwrap().is_empty());
        let mut seen = [0_u32; 10];
        for _ in 0..200 {
            let chosen = choose(10, 3).unwrap();
            assert!(
                chosen.is_sorted_by(|a, b| a < b) && chosen.len() == 3,
                "{chosen:?}"
            );
            for item in chosen {
                seen[item as usize] += 1;
            }
        }
        // 60 of 200 on average; six standard deviations are 39.
        assert!(
            seen.iter().all(|count| (21..=99).contains(count)),
            "{seen:?}"
        );
    }
}
