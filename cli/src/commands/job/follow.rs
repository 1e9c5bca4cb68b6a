//! Waiting for a job, and fetching what it came to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use api::client::Client;
use api::types::{JobPhase, JobView};
use jobs::digest::BlobRef;
use jobs::ids::JobId;
use jobs::package::OutputFormat;

use crate::canaries::Canaries;
use crate::commands::receipt;
use crate::job::Prepared;
use crate::output::Output;
use crate::patience::patiently;

/// Pause between two looks at a job that is under way.
const POLL: Duration = Duration::from_millis(200);

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
        tokio::time::sleep(POLL).await;
    }
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
