//! Waiting for a job, and fetching what it came to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use api::client::Client;
use api::types::{JobPhase, JobView};
use jobs::digest::BlobRef;
use jobs::ids::JobId;
use jobs::package::OutputFormat;
use serde_json::json;

use super::bell::Bell;
use crate::canaries::Canaries;
use crate::commands::receipt;
use crate::exit::{Exit, Fix, fail};
use crate::job::Prepared;
use crate::output::Output;
use crate::patience::patiently;

/// Follows a job that was just submitted to its end, and fetches and checks what it came to.
pub(super) async fn follow(
    client: &Client,
    job: JobId,
    prepared: &Prepared,
    (out, canaries): (Option<&Path>, Option<u32>),
    output: Output,
) -> Result<JobView> {
    let canaries = match canaries {
        Some(count) => Some(Canaries::make(prepared, count, output).await?),
        None => None,
    };
    let view = match &canaries {
        Some(canaries) => canaries.watch(client, job, prepared, output).await?,
        None => watch(client, job, output).await?,
    };
    if let (Some(out), JobPhase::Done) = (out, view.phase) {
        let result = fetch(client, &view, out).await?;
        if let Some(canaries) = canaries {
            canaries.check(&prepared.package, &result, output)?;
        }
    }
    Ok(view)
}

/// Waits for this, for so many seconds at most.
pub(super) async fn in_time<T>(
    seconds: Option<u64>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some(seconds) = seconds else {
        return work.await;
    };
    match tokio::time::timeout(Duration::from_secs(seconds), work).await {
        Ok(done) => done,
        Err(_) => fail(Exit::Timeout, format!("gave up after {seconds} s"))
            .fix("the job goes on: watch it again, or allow more time"),
    }
}

/// Follows a job until it ends.
pub(crate) async fn watch(client: &Client, job: JobId, output: Output) -> Result<JobView> {
    watch_until(client, job, output, JobPhase::is_terminal).await
}

/// Follows a job until it is so far.
pub(crate) async fn watch_until(
    client: &Client,
    job: JobId,
    output: Output,
    is_enough: impl Fn(JobPhase) -> bool,
) -> Result<JobView> {
    let mut last = None;
    let mut bell = Bell::default();
    let mut bar: Option<indicatif::ProgressBar> = None;
    loop {
        let view = patiently(output, || client.job(job)).await?;
        let bar = bar.get_or_insert_with(|| output.bar(u64::from(view.shards), "shards"));
        bar.set_position(u64::from(view.shards_accepted));
        bar.set_message(format!(
            "{} replicas, {} disagree",
            view.replicas, view.disagreements
        ));
        let now = (view.phase, view.shards_accepted);
        if bar.is_hidden() && last != Some(now) {
            output.say(format_args!(
                "{}: {} of {} shards",
                view.phase, view.shards_accepted, view.shards
            ));
            last = Some(now);
        }
        if is_enough(view.phase) {
            bar.finish_and_clear();
            return Ok(view);
        }
        bell.wait(client, job).await;
    }
}

/// An error unless the job is done.
pub(super) fn done(view: &JobView) -> Result<()> {
    if view.phase == JobPhase::Done {
        return Ok(());
    }
    let (id, reason) = (view.id, view.reason.as_deref().unwrap_or("unknown"));
    fail(Exit::JobFailed, format!("job {id} failed: {reason}")).fix(format!(
        "assay job logs {id} says whose executions failed, and why"
    ))
}

/// Fetches what a job came to.
pub(super) async fn results(
    client: &Client,
    job: JobId,
    out: &Path,
    provisional: bool,
    output: Output,
) -> Result<()> {
    let view = client.job(job).await?;
    if let (true, JobPhase::Provisional, Some(result)) = (provisional, view.phase, view.result) {
        return early(client, job, result, out, output).await;
    }
    if view.phase != JobPhase::Done {
        let reason = format!("job {job} is {}, there is no result", view.phase);
        return fail(Exit::JobFailed, reason).fix(match view.phase {
            JobPhase::Failed => format!("assay job logs {job} says why"),
            JobPhase::Provisional => "wait until it is final, or say --provisional".to_owned(),
            _ => format!("assay job watch {job} waits for it"),
        });
    }
    let result = fetch(client, &view, out).await?;
    output.data(&json!({ "result": result, "receipts": out }), || {
        format!(
            "result    {}\nreceipts  {}",
            result.display(),
            out.display()
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

/// Downloads result, record and every blob the record names, then verifies the lot offline.
pub(crate) async fn fetch(client: &Client, view: &JobView, out: &Path) -> Result<PathBuf> {
    let blobs = out.join("blobs");
    std::fs::create_dir_all(&blobs).with_context(|| blobs.display().to_string())?;
    let record = client.record(view.id).await?;
    std::fs::write(
        out.join(receipt::RECORD_FILE),
        serde_json::to_vec_pretty(&record)?,
    )?;

    let settlement = record.settlement.verify()?.statement;
    let verified = record.package.verify()?;
    let mut wanted: Vec<BlobRef> = vec![verified.package.input.blob];
    for shard in &record.shards {
        wanted.push(shard.input);
        for replica in shard.replicas.iter().chain(&shard.checks) {
            let receipt = replica.receipt.verify(replica.provider)?.statement;
            wanted.push(receipt.opening.outcome.outputs);
        }
    }
    wanted.sort();
    wanted.dedup();
    for blob in wanted {
        client
            .record_blob(view.id, blob, &receipt::blob_path(out, &blob))
            .await?;
    }
    let result_blob = receipt::blob_path(out, &settlement.result);
    client
        .result(view.id, settlement.result, &result_blob)
        .await?;
    let extension = match verified.package.output {
        OutputFormat::Npy { .. } => "npy",
        OutputFormat::Jsonl => "jsonl",
        OutputFormat::Items => "items",
    };
    let result = out.join(format!("result.{extension}"));
    std::fs::copy(&result_blob, &result)?;
    receipt::verify_dir(out)?;
    Ok(result)
}
