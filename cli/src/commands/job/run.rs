//! Running jobs here and elsewhere, and what their client may do about them meanwhile.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use api::client::Client;
use api::types::{ChallengeRequest, JobPhase};
use clap::Args;
use jobs::envelope::ClientKey;
use jobs::ids::JobId;
use jobs::policy::Share;
use serde_json::json;

use super::submit::{check_spending, dry_run};
use super::{Spending, finish, follow, show};
use crate::canaries::CANARIES_MAX;
use crate::exit::{Exit, Fix, fail};
use crate::job::{Prepared, prepare};
use crate::output::Output;
use crate::patience::patiently;
use crate::place::{At, Signer};
use crate::{shares, submission};

/// What to submit, and how to wait for it.
#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// The manifest.
    #[arg(default_value = "job.toml")]
    manifest: PathBuf,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    signer: Signer,
    #[command(flatten)]
    spending: Spending,
    /// Show what would be submitted and what it would cost, and stop.
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Print the job's id and nothing else, also after waiting.
    #[arg(long)]
    id_only: bool,
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
}

/// What to run, and where.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The manifest.
    #[arg(default_value = "job.toml")]
    manifest: PathBuf,
    /// On this machine. Needs no key, no money and no aggregator.
    #[arg(long, conflicts_with_all = ["aggregator", "key", "max_price", "yes", "canaries"])]
    local: bool,
    /// Directory for result and receipts [default: job-result]; with --local the file of the merged result
    /// [default: result].
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    signer: Signer,
    #[command(flatten)]
    spending: Spending,
    /// Execute so many items here too, drawn at random, and compare: see `assay job submit --help`.
    #[arg(long, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(CANARIES_MAX)))]
    canaries: Option<u32>,
}

/// Submits a job, and waits for it if asked to.
pub(super) async fn submit(args: Submit, output: Output) -> Result<()> {
    let prepared = prepare(&args.manifest)?;
    if args.dry_run {
        return dry_run(&args.at.client()?, &prepared.package, output).await;
    }
    let (client, job) = hand_in(&args.at, &prepared, &args.signer, &args.spending, output).await?;
    let shown = || output.data(&json!({ "job": job }), || job.to_string());
    if !args.wait {
        return shown();
    }
    let wanted = (args.out.as_deref(), args.canaries);
    let view = follow::follow(&client, job, &prepared, wanted, output).await?;
    if args.id_only {
        shown()?;
        return follow::done(&view);
    }
    finish(&view, output)
}

async fn hand_in(
    at: &At,
    prepared: &Prepared,
    signer: &Signer,
    spending: &Spending,
    output: Output,
) -> Result<(Client, JobId)> {
    let (client, key) = signer.client(at)?;
    check_spending(&client, &prepared.package, spending, output).await?;
    let job = super::submit(&client, &at.url()?, prepared, &key, output).await?;
    Ok((client, job))
}

/// Runs a job to its end, wherever.
pub(super) async fn run(args: Run, output: Output) -> Result<()> {
    if args.local {
        let out = args.out.unwrap_or_else(|| PathBuf::from("result"));
        return run_local(&args.manifest, &out, output).await;
    }
    let prepared = prepare(&args.manifest)?;
    let out = args.out.unwrap_or_else(|| PathBuf::from("job-result"));
    let (client, job) = hand_in(&args.at, &prepared, &args.signer, &args.spending, output).await?;
    let wanted = (Some(out.as_path()), args.canaries);
    let view = follow::follow(&client, job, &prepared, wanted, output).await?;
    finish(&view, output)?;
    output.say(format_args!("result and receipts in {}", out.display()));
    Ok(())
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

/// The share that only the job's client knows, for a job of this key's.
async fn share_of(client: &Client, key: &ClientKey, job: JobId, output: Output) -> Result<Share> {
    let share = shares::find(job)?;
    let view = patiently(output, || client.job(job)).await?;
    if view.client == key.client_id() {
        return Ok(share);
    }
    let (theirs, ours) = (view.client, key.client_id());
    fail(
        Exit::Signature,
        format!("job {job} is of {theirs}, and this key is {ours}"),
    )
    .fix("use the key that it was submitted with: --key, `assay key list`")
}

pub(super) async fn challenge(
    (client, key): &(Client, ClientKey),
    job: JobId,
    items: &[u32],
    output: Output,
) -> Result<()> {
    let share = share_of(client, key, job, output).await?;
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

/// Gives a job up.
pub(super) async fn cancel(
    (client, _): &(Client, ClientKey),
    job: JobId,
    output: Output,
) -> Result<()> {
    patiently(output, || client.cancel(job)).await?;
    // What it holds is given back step by step.
    let view = follow::watch(client, job, output).await?;
    output.data(&view, || show::describe(&view))
}

/// Submits again what was submitted from here.
pub(super) async fn retry(
    job: JobId,
    at: &At,
    signer: &Signer,
    spending: &Spending,
    wait: bool,
    output: Output,
) -> Result<()> {
    let again = "submit it from its manifest: assay job submit MANIFEST";
    let Some(kept) = shares::known(job)? else {
        let reason = format!("{job} was not submitted from here, or long ago");
        return fail(Exit::Usage, reason).fix(again);
    };
    let (Some(manifest), Some(work)) = (kept.manifest, kept.work) else {
        return fail(Exit::Usage, format!("{job} was not made from a manifest")).fix(again);
    };
    let client = at.client()?;
    let before = patiently(output, || client.job(job)).await?;
    if !before.phase.is_terminal() {
        let reason = format!("job {job} is {}: it may still succeed", before.phase);
        return fail(Exit::Usage, reason).fix(format!("assay job cancel {job}"));
    }
    let prepared = prepare(&manifest)?;
    if submission::work(&prepared.package)? != work {
        let reason = format!(
            "{}, or what it names, is not what it was when {job} was submitted",
            manifest.display()
        );
        let fix = format!(
            "submit what is there now: assay job submit {}",
            manifest.display()
        );
        return fail(Exit::Usage, reason).fix(fix);
    }
    let (_, new) = hand_in(at, &prepared, signer, spending, output).await?;
    output.say(format_args!(
        "{job} again, as a new job with an escrow of its own: {new}"
    ));
    if wait {
        return finish(&follow::watch(&client, new, output).await?, output);
    }
    let failed = before.phase == JobPhase::Failed;
    let value = json!({ "job": new, "retries": job, "failed": failed });
    output.data(&value, || new.to_string())
}
