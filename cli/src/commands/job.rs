//! `assay job`: check, run, submit and follow jobs.

mod follow;

pub(crate) use follow::{fetch, watch, watch_until};

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use api::client::{Client, Error};
use api::types::{ChallengeRequest, JobPhase, JobView};
use clap::Subcommand;
use jobs::digest::BlobRef;
use jobs::ids::JobId;
use jobs::plan::shard_count;
use jobs::policy::Policy;
use serde_json::json;

use crate::canaries::CANARIES_MAX;
use crate::commands::key;
use crate::commands::ledger::At;
use crate::exit::{Exit, fail};
use crate::home;
use crate::job::{Prepared, prepare};
use crate::output::{Output, table};
use crate::patience::patiently;
use crate::shares::{self, Kept};
use crate::submission::Submission;

/// What an aggregator calls a job that ended long ago.
const ARCHIVED: &str = "archived";

/// Check, run, submit and follow jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Read a manifest and everything it names, and show the package without submitting it.
    Validate {
        /// The manifest.
        #[arg(default_value = "job.toml")]
        manifest: PathBuf,
    },
    /// Run a job on this machine, in the sandbox that providers use. Nothing is signed or paid.
    Run {
        /// The manifest.
        #[arg(default_value = "job.toml")]
        manifest: PathBuf,
        /// Required: there is no remote `run`, see `submit`.
        #[arg(long, required = true)]
        local: bool,
        /// Where the merged result goes.
        #[arg(long, default_value = "result")]
        out: PathBuf,
    },
    /// Sign a job, submit it and upload what the aggregator lacks.
    ///
    /// If that is interrupted, the same command takes it up where it ended: what was signed is kept
    /// under ~/.cache/assay/submissions ($ASSAY_HOME/submissions) until the aggregator has everything.
    /// A submission that was finished, or changed, is a new job with an escrow of its own.
    Submit {
        /// The manifest.
        #[arg(default_value = "job.toml")]
        manifest: PathBuf,
        #[command(flatten)]
        at: At,
        /// The key that signs and pays.
        #[arg(long, default_value = "assay.key", env = "ASSAY_KEY")]
        key: PathBuf,
        /// Wait until the job ends.
        #[arg(long)]
        wait: bool,
        /// With --wait: directory for result and receipts, which are verified.
        #[arg(long, requires = "wait")]
        out: Option<PathBuf>,
        /// With --out: execute so many items here, drawn at random, and compare. In an audited job, what is
        /// otherwise is executed again before it is paid. Ends with code 4 if the final result has one wrong. For
        /// jobs whose every output depends on its item alone.
        #[arg(long, requires = "out", value_name = "COUNT",
              value_parser = clap::value_parser!(u32).range(1..=i64::from(CANARIES_MAX)))]
        canaries: Option<u32>,
    },
    /// Show a job.
    Status {
        /// The job's id.
        job: JobId,
        #[command(flatten)]
        at: At,
    },
    /// Follow a job until it ends. Ends with code 3 if the job failed.
    Watch {
        /// The job's id.
        job: JobId,
        #[command(flatten)]
        at: At,
    },
    /// List the newest jobs.
    List {
        #[command(flatten)]
        at: At,
    },
    /// Doubt items of a result that is not final: their shards are executed again at your expense, and what is wrong
    /// is replaced. Only from where the job was submitted, and only for audited jobs.
    Challenge {
        /// The job's id.
        job: JobId,
        #[command(flatten)]
        at: At,
        /// Which item of the input, counted from 0; may be repeated.
        #[arg(long = "item", required = true)]
        items: Vec<u32>,
        /// The key that the job was submitted with.
        #[arg(long, default_value = "assay.key", env = "ASSAY_KEY")]
        key: PathBuf,
    },
    /// Download result and receipts of a finished job, and verify them.
    Result {
        /// The job's id.
        job: JobId,
        #[command(flatten)]
        at: At,
        /// Directory to write.
        #[arg(long, default_value = "job-result")]
        out: PathBuf,
        /// Take a result that is not final, alone: there is no record yet to verify it by.
        #[arg(long)]
        provisional: bool,
    },
}

pub(crate) async fn run(command: JobCommand, output: Output) -> Result<()> {
    match command {
        JobCommand::Validate { manifest } => validate(&manifest, output),
        JobCommand::Run { manifest, out, .. } => run_local(&manifest, &out, output).await,
        JobCommand::Submit {
            manifest,
            at,
            key,
            wait,
            out,
            canaries,
        } => {
            let prepared = prepare(&manifest)?;
            let key = key::load(&key)?;
            let client = at.client().with_key(&key);
            let job = submit(&client, &at.aggregator, &prepared, &key, output).await?;
            if !wait {
                return output.data(&json!({ "job": job }), || job.to_string());
            }
            let wanted = (out.as_deref(), canaries);
            finish(
                &follow::follow(&client, job, &prepared, wanted, output).await?,
                output,
            )
        }
        JobCommand::Status { job, at } => {
            let view = at.client().job(job).await?;
            output.data(&view, || describe(&view))
        }
        JobCommand::Watch { job, at } => finish(&watch(&at.client(), job, output).await?, output),
        JobCommand::Challenge {
            job,
            at,
            items,
            key,
        } => {
            let client = at.client().with_key(&key::load(&key)?);
            challenge(&client, job, &items, output).await
        }
        JobCommand::List { at } => list(&at.client().jobs().await?, output),
        JobCommand::Result {
            job,
            at,
            out,
            provisional,
        } => {
            let client = at.client();
            let view = client.job(job).await?;
            if let (true, JobPhase::Provisional, Some(result)) =
                (provisional, view.phase, view.result)
            {
                return early(&client, job, result, &out, output).await;
            }
            if view.phase != JobPhase::Done {
                return fail(
                    Exit::JobFailed,
                    format!("job {job} is {}, there is no result", view.phase),
                );
            }
            let result = fetch(&client, &view, &out).await?;
            output.data(&json!({ "result": result, "receipts": out }), || {
                format!(
                    "result    {}\nreceipts  {}",
                    result.display(),
                    out.display()
                )
            })
        }
    }
}

fn validate(manifest: &Path, output: Output) -> Result<()> {
    let prepared = prepare(manifest)?;
    let package = &prepared.package;
    let shards = shard_count(package.input.items, package.items_per_shard);
    output.data(package, || {
        format!(
            "valid     {} ({} items in {shards} shards, {} to {} replicas{}, at most {})",
            package.name,
            package.input.items,
            package.replication.replicas,
            package.replication.max_replicas,
            by_whom(&package.policy),
            package.max_price,
        )
    })
}

/// Downloads a result that is not final.
async fn early(
    client: &Client,
    job: JobId,
    result: BlobRef,
    out: &Path,
    output: Output,
) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let path = out.join("provisional-result");
    client.result(job, result, &path).await?;
    output.data(&json!({ "result": path, "provisional": true }), || {
        format!("result    {} (not final, and not verified)", path.display())
    })
}

async fn challenge(client: &Client, job: JobId, items: &[u32], output: Output) -> Result<()> {
    let share = shares::find(job)?;
    let mut shards = Vec::new();
    for item in items {
        let challenge = ChallengeRequest { share, item: *item };
        shards.push(patiently(output, || client.challenge(job, &challenge)).await?);
    }
    shards.sort_unstable();
    shards.dedup();
    output.data(&json!({ "job": job, "shards": shards }), || {
        format!("executed again: shards {shards:?} of {job}")
    })
}

fn by_whom(policy: &Policy) -> String {
    match policy {
        Policy::Replicate => String::new(),
        Policy::Audit { unit } => format!(", audited by {}", format!("{unit:?}").to_lowercase()),
        Policy::Trusted { providers } => format!(" of {} trusted providers", providers.len()),
    }
}

async fn run_local(manifest: &Path, out: &Path, output: Output) -> Result<()> {
    let prepared = prepare(manifest)?;
    let (outputs, meters) = crate::commands::provider::execute_locally(&prepared, output).await?;
    let merged = jobs::output::merge(&prepared.package.output, &outputs)?;
    std::fs::write(out, merged).with_context(|| out.display().to_string())?;
    let speed = meters.tokens_per_s();
    let value =
        json!({ "items": outputs.len(), "result": out, "meters": meters, "tokens_per_s": speed });
    output.data(&value, || {
        let tokens = speed.map(|speed| format!("{} tokens ({speed:.1}/s), ", meters.tokens));
        format!(
            "{} items, {} fuel, {}result in {}",
            outputs.len(),
            meters.fuel,
            tokens.unwrap_or_default(),
            out.display()
        )
    })
}

/// Signs, submits and uploads, or goes on with what an earlier run began. The aggregator of `client` is
/// `at`.
pub(crate) async fn submit(
    client: &Client,
    at: &str,
    prepared: &Prepared,
    key: &jobs::envelope::ClientKey,
    output: Output,
) -> Result<JobId> {
    let dir = home::home()?.join("submissions");
    let client = &client.clone().with_key(key);
    loop {
        let submission = Submission::open(&dir, at, (&prepared.package, prepared.share), key)?;
        let job = hand_in(client, prepared, &submission, output).await;
        let job = job.inspect_err(|_| {
            output.say("the same command goes on with this submission");
        })?;
        submission.finish()?;
        if let Some(job) = job {
            return Ok(job);
        }
    }
}

/// Submits and uploads. Safe to repeat: the same package is the same job. `None`: an earlier run began
/// it, and its job failed since.
async fn hand_in(
    client: &Client,
    prepared: &Prepared,
    submission: &Submission,
    output: Output,
) -> Result<Option<JobId>> {
    let submitted = patiently(output, || client.submit(&submission.signed)).await;
    let reply = match submitted {
        Err(Error::Refused(problem)) if submission.is_resumed && problem.code == ARCHIVED => {
            return Ok(None);
        }
        submitted => submitted?,
    };
    let job = reply.job;
    if submission.is_resumed {
        let view = patiently(output, || client.job(job)).await?;
        if view.phase == JobPhase::Failed {
            output.say(format_args!(
                "an interrupted submission of this job, {job}, has failed: submitting anew"
            ));
            return Ok(None);
        }
        output.say(format_args!("goes on with an interrupted submission"));
    }
    output.say(format_args!(
        "submitted {job} ({} shards, {} in escrow)",
        reply.shards, reply.escrowed
    ));
    if let Some(share) = submission.share {
        let promise = reply.promise;
        shares::keep(job, Kept { share, promise })?;
        patiently(output, || client.share(job, share)).await?;
    }
    let bar = output.bar(reply.missing.len() as u64, "upload");
    for blob in &reply.missing {
        let found = prepared.files.iter().find(|(held, _)| held == blob);
        let (_, path) = found.with_context(|| {
            format!(
                "the aggregator asks for {}, which this job does not have",
                blob.digest
            )
        })?;
        patiently(output, || client.put_blob(job, *blob, path)).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(Some(job))
}

fn finish(view: &JobView, output: Output) -> Result<()> {
    output.data(view, || describe(view))?;
    if view.phase == JobPhase::Done {
        return Ok(());
    }
    fail(
        Exit::JobFailed,
        format!(
            "job {} failed: {}",
            view.id,
            view.reason.as_deref().unwrap_or("unknown")
        ),
    )
}

fn list(jobs: &[JobView], output: Output) -> Result<()> {
    output.data(&jobs, || {
        let rows: Vec<Vec<String>> = jobs
            .iter()
            .map(|job| {
                let shards = format!("{}/{}", job.shards_accepted, job.shards);
                vec![
                    job.id.to_string(),
                    job.name.clone(),
                    job.phase.to_string(),
                    shards,
                ]
            })
            .collect();
        table(&["job", "name", "phase", "shards"], &rows)
    })
}

fn describe(view: &JobView) -> String {
    let mut lines = vec![
        format!("job       {}", view.id),
        format!("name      {}", view.name),
        format!("phase     {}", view.phase),
        format!(
            "shards    {} of {} accepted",
            view.shards_accepted, view.shards
        ),
        format!(
            "replicas  {} ({} agreed, {} disagreed)",
            view.replicas, view.agreements, view.disagreements
        ),
        format!(
            "escrow    {} put in, {} left, {} fee, {} returned",
            view.escrowed, view.escrow_left, view.fee, view.returned
        ),
    ];
    lines.extend(
        view.paid
            .iter()
            .map(|(id, amount)| format!("paid      {}  {amount}", id.short())),
    );
    lines.extend(
        view.reason
            .iter()
            .map(|reason| format!("reason    {reason}")),
    );
    lines.join("\n")
}
