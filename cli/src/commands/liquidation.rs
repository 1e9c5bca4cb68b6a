//! `assay liquidation`: have a judged answer executed again, and its provider's stake taken if it is wrong.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use api::client::Client;
use api::types::{CasePhase, CaseView};
use clap::{Args, Subcommand};
use jobs::accusation::{ACCUSATION_SCHEMA, Accusation, Answer};
use jobs::envelope::{ClientKey, SignedPackage};
use jobs::ids::{CaseId, JobId, ProviderId};
use jobs::money::Amount;
use jobs::package::{InputRef, Package, Replication};
use jobs::plan::shard_count;
use jobs::policy::Policy;
use jobs::record::{JobRecord, ShardRecord};
use jobs::verdict::REPLICAS_MAX;
use serde_json::json;

use crate::commands::receipt;
use crate::exit::{Coded, Exit, fail};
use crate::output::{Output, table};
use crate::patience::patiently;
use crate::place::{At, Signer};

/// Pause between two looks at a case.
const POLL: Duration = Duration::from_millis(250);
/// Bytes of randomness in a nonce.
const NONCE_BYTES: usize = 16;
/// Part of the price of the accused answer by which more is offered, so that rounding and a fee that rose do not make it
/// less.
const SHARE_MORE: u128 = 20;
/// Most jobs that one call ties to a case.
const JOBS_MAX: u64 = 8;

/// Have a judged answer executed again, and its provider's stake taken if it is wrong.
#[derive(Debug, Subcommand)]
pub(crate) enum LiquidationCommand {
    /// Accuse an answer: opens a case. Costs nothing yet, and obliges nobody.
    ///
    /// The receipts of the answer's job are verified first, offline. Each client can accuse an answer once.
    Open {
        /// Directory written by `assay job result`.
        dir: PathBuf,
        /// Which shard, counted from 0.
        #[arg(long)]
        shard: u32,
        /// Whose answer.
        #[arg(long)]
        provider: ProviderId,
        /// Seconds in which jobs may be tied to the case; for as long the provider cannot withdraw its stake.
        #[arg(long, default_value_t = 3600)]
        window_s: u64,
        #[command(flatten)]
        payer: Payer,
    },
    /// Have the accused shard executed again, in jobs of yours that no provider can tell from others.
    ///
    /// Each is tied to the case before it is submitted, and whatever it comes to counts.
    Verify {
        /// The case's id.
        case: CaseId,
        /// Directory written by `assay job result`, of the accused answer's job.
        dir: PathBuf,
        /// Jobs that anybody may execute.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=JOBS_MAX))]
        jobs: u64,
        /// Replicas of each, 1 to 12. All must agree, or nobody is paid; their word counts either way.
        #[arg(long, default_value_t = 5)]
        replicas: u8,
        /// Referees that execute it besides, each in a job of its own [default: as many as confirm].
        #[arg(long)]
        referees: Option<usize>,
        /// Wait until the case is decided.
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        payer: Payer,
    },
    /// Show a case, or the latest decided ones. An open case is shown to whoever knows its id.
    Show {
        /// The case's id.
        case: Option<CaseId>,
        #[command(flatten)]
        at: At,
    },
}

/// Who signs and pays, and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct Payer {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    signer: Signer,
}

pub(crate) async fn run(command: LiquidationCommand, output: Output) -> Result<()> {
    match command {
        LiquidationCommand::Open {
            dir,
            shard,
            provider,
            window_s,
            payer,
        } => {
            let record = verified(&dir)?;
            let answer = answer(&record, shard, provider)?;
            let case = open(&record, answer, window_s, &payer, output).await?;
            output.data(&json!({ "case": case, "answer": answer }), || {
                case.to_string()
            })
        }
        LiquidationCommand::Verify {
            case,
            dir,
            jobs,
            replicas,
            referees,
            wait,
            payer,
        } => {
            if !(1..=REPLICAS_MAX).contains(&usize::from(replicas)) {
                let reason = format!("replicas = {replicas}: must be 1 to {REPLICAS_MAX}");
                return fail(Exit::Usage, reason);
            }
            let client = payer.at.client()?;
            let view = patiently(output, || client.case(case)).await?;
            let key = payer.signer.load()?;
            let verifier = Verifier {
                shard: Again::of(&dir, &view)?,
                client: client.with_key(&key),
                key,
                output,
            };
            let referees = verifier.referees(referees).await?;
            let submitted = verifier.verify(case, jobs, replicas, &referees).await?;
            if !wait {
                return output.data(&json!({ "case": case, "jobs": submitted }), || {
                    let lines = submitted.iter().map(ToString::to_string);
                    lines.collect::<Vec<_>>().join("\n")
                });
            }
            let view = decided(&verifier.client, case, output).await?;
            output.data(&view, || describe(&view))
        }
        LiquidationCommand::Show { case, at } => show(&at.client()?, case, output).await,
    }
}

/// The record in `dir`, with everything verified that is there.
fn verified(dir: &Path) -> Result<JobRecord> {
    receipt::verify_dir(dir)?;
    let path = dir.join(receipt::RECORD_FILE);
    let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

fn shard_of(record: &JobRecord, index: u32) -> Result<&ShardRecord> {
    let shards = record.shards.len();
    let found = record.shards.iter().find(|shard| shard.index == index);
    let named = || format!("shard = {index}: the record has shards 0 to {}", shards - 1);
    found.with_context(named).code(Exit::Usage)
}

/// The answer of a provider, as its receipt says it.
fn answer(record: &JobRecord, index: u32, provider: ProviderId) -> Result<Answer> {
    let shard = shard_of(record, index)?;
    let replica = shard.replicas.iter().find(|one| one.provider == provider);
    let named = || format!("provider {provider} answered nothing of shard {index}");
    let replica = replica.with_context(named).code(Exit::Usage)?;
    let receipt = replica.receipt.verify(provider)?.statement;
    Ok(Answer {
        job: receipt.assignment.job,
        shard: index,
        provider,
        assignment: replica.assignment,
        root: receipt.opening.outcome.root,
    })
}

async fn open(
    record: &JobRecord,
    answer: Answer,
    window_s: u64,
    payer: &Payer,
    output: Output,
) -> Result<CaseId> {
    let key = payer.signer.load()?;
    let accusation = Accusation {
        schema: ACCUSATION_SCHEMA.into(),
        aggregator: record.settlement.verify()?.signer,
        client: key.client_id(),
        answer,
        window_ms: window_s.saturating_mul(1000),
        nonce: nonce()?,
    };
    let signed = key.sign_accusation(&accusation).code(Exit::Usage)?;
    let client = payer.at.client()?.with_key(&key);
    let reply = patiently(output, || client.accuse(&signed)).await?;
    Ok(reply.case)
}

fn nonce() -> Result<String> {
    let mut bytes = [0; NONCE_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A shard that is executed again.
struct Again {
    /// Its job's package, with the shard as its whole input.
    package: Package,
    /// What one execution of it may cost.
    share: Amount,
    /// Where its items lie.
    input: PathBuf,
}

impl Again {
    fn of(dir: &Path, case: &CaseView) -> Result<Self> {
        let record = verified(dir)?;
        let asked = record.package.verify()?;
        if asked.id != case.job {
            let reason = format!(
                "{} holds job {}, the case is about {}",
                dir.display(),
                asked.id,
                case.job
            );
            return fail(Exit::Usage, reason);
        }
        let shard = shard_of(&record, case.shard)?;
        let path = receipt::blob_path(dir, &shard.input);
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let (input, _) = InputRef::of(&jobs::items::decode(&bytes)?)?;
        if input.blob != shard.input {
            let reason = format!("{} is not the shard's input", path.display());
            return fail(Exit::Verification, reason);
        }
        let package = asked.package;
        let shards = shard_count(package.input.items, package.items_per_shard);
        let executions = u128::from(shards) * u128::from(package.replication.max_replicas);
        let share = package.max_price.0.div_ceil(executions.max(1));
        // No less than was offered before is taken. What is not spent comes back.
        let more = share.div_ceil(SHARE_MORE).saturating_add(1);
        Ok(Self {
            share: Amount(share.saturating_add(more)),
            package: Package {
                items_per_shard: input.items,
                input,
                ..package
            },
            input: path,
        })
    }

    /// The shard once more, by so many.
    fn package(&self, replicas: u8, policy: Policy) -> Result<Package> {
        Ok(Package {
            replication: Replication {
                replicas,
                max_replicas: replicas,
            },
            max_price: Amount(
                self.share
                    .0
                    .saturating_mul(replicas.into())
                    .saturating_add(1),
            ),
            policy,
            nonce: nonce()?,
            ..self.package.clone()
        })
    }
}

/// An accuser at work.
struct Verifier {
    shard: Again,
    key: ClientKey,
    client: Client,
    output: Output,
}

impl Verifier {
    /// The first of the operator's referees: as many as asked for, or as confirm.
    async fn referees(&self, wanted: Option<usize>) -> Result<Vec<ProviderId>> {
        let auditing = patiently(self.output, || self.client.auditing()).await?;
        let listed = auditing.get("referees").cloned().unwrap_or_default();
        let listed: Vec<ProviderId> = serde_json::from_value(listed)?;
        let confirm = auditing.pointer("/params/confirmations");
        let confirm = confirm.and_then(serde_json::Value::as_u64).unwrap_or(1);
        let wanted = wanted.unwrap_or(usize::try_from(confirm).unwrap_or(1).min(listed.len()));
        if wanted > listed.len() {
            let count = listed.len();
            let reason = format!("referees = {wanted}: this aggregator has {count}");
            return fail(Exit::Usage, reason);
        }
        if listed.is_empty() {
            self.output
                .say("this aggregator has no referees: no vote will take anybody's stake");
        }
        Ok(listed.into_iter().take(wanted).collect())
    }

    /// Ties every job, and only then submits the first: what one comes to says nothing about which others there are.
    async fn verify(
        &self,
        case: CaseId,
        jobs: u64,
        replicas: u8,
        referees: &[ProviderId],
    ) -> Result<Vec<JobId>> {
        let mut packages = Vec::new();
        for _ in 0..jobs {
            packages.push(self.shard.package(replicas, Policy::Replicate)?);
        }
        for referee in referees {
            let providers = [*referee].into();
            packages.push(self.shard.package(1, Policy::Trusted { providers })?);
        }
        let signed = packages.iter().map(|one| self.key.sign_package(one));
        let signed: Vec<SignedPackage> = signed.collect::<Result<_, _>>().code(Exit::Usage)?;
        for package in &signed {
            patiently(self.output, || self.client.tie(case, package)).await?;
        }
        let mut submitted = Vec::new();
        for package in &signed {
            submitted.push(self.submit(package).await?);
        }
        Ok(submitted)
    }

    async fn submit(&self, package: &SignedPackage) -> Result<JobId> {
        let reply = patiently(self.output, || self.client.submit(package)).await?;
        let job = reply.job;
        for blob in &reply.missing {
            if *blob != self.shard.package.input.blob {
                let digest = blob.digest;
                let reason = format!(
                    "the aggregator asks for {digest}, which it had for the accused answer's job"
                );
                return fail(Exit::Failure, reason);
            }
            patiently(self.output, || {
                self.client.put_blob(job, *blob, &self.shard.input)
            })
            .await?;
        }
        self.output.say(format_args!(
            "submitted {job} ({} in escrow)",
            reply.escrowed
        ));
        Ok(job)
    }
}

/// Follows a case until it is decided.
async fn decided(client: &Client, case: CaseId, output: Output) -> Result<CaseView> {
    loop {
        let view = patiently(output, || client.case(case)).await?;
        if view.phase.is_terminal() {
            return Ok(view);
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn show(client: &Client, case: Option<CaseId>, output: Output) -> Result<()> {
    if let Some(case) = case {
        let view = patiently(output, || client.case(case)).await?;
        return output.data(&view, || describe(&view));
    }
    let cases = patiently(output, || client.cases()).await?;
    output.data(&cases, || {
        let row = |view: &CaseView| {
            vec![
                view.case.to_string(),
                outcome(view),
                view.provider.short(),
                view.slashed.to_string(),
            ]
        };
        let rows: Vec<Vec<String>> = cases.iter().map(row).collect();
        table(&["case", "outcome", "accused", "taken"], &rows)
    })
}

fn outcome(view: &CaseView) -> String {
    match (&view.reason, view.phase) {
        (Some(reason), CasePhase::Refunded) => format!("refunded: {reason}"),
        (_, phase) => phase.to_string(),
    }
}

fn describe(view: &CaseView) -> String {
    let mut lines = vec![
        format!("case      {}", view.case),
        format!("outcome   {}", outcome(view)),
        format!("accused   {}", view.provider),
        format!("answer    shard {} of {}", view.shard, view.job),
        format!("jobs      {}", view.jobs.len()),
    ];
    lines.extend(view.votes.map(|votes| {
        let referees = match votes.refuted {
            Some(true) => "refute it",
            Some(false) => "bear it out",
            None => "have not said",
        };
        format!(
            "stake     {} against by {} operators, {} defending, {} sampled; referees {referees}",
            votes.against, votes.operators, votes.defending, votes.sampled
        )
    }));
    lines.extend(view.testimony.iter().map(|one| {
        let role = if one.referee { " (referee)" } else { "" };
        format!("said      {}  {}{role}", one.provider.short(), one.says)
    }));
    if view.phase == CasePhase::Slashed {
        lines.push(format!(
            "taken     {}, of which {} to the accuser",
            view.slashed, view.bounty
        ));
    }
    lines.join("\n")
}
