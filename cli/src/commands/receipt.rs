//! `assay receipt`: check a finished job offline.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use jobs::digest::BlobRef;
use jobs::ids::{AggregatorId, ClientId, JobId};
use jobs::record::{JobRecord, RecordReport};
use serde::Serialize;

use crate::draws::{self, Draws};
use crate::exit::{Coded, Exit, Fix, fail};
use crate::output::Output;

/// Check what a finished job left behind.
#[derive(Debug, Subcommand)]
pub(crate) enum ReceiptCommand {
    /// Verify signatures, Merkle roots, comparisons and payments of a job, without any network.
    Verify {
        #[command(flatten)]
        check: Check,
    },
}

/// What to verify, and whose it must be.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Directory written by `assay job results` (or by the demo).
    #[arg(default_value = "job-result")]
    dir: PathBuf,
    /// Accept only a job signed by this client.
    #[arg(long)]
    client: Option<ClientId>,
    /// Accept only a settlement signed by this aggregator.
    #[arg(long)]
    aggregator: Option<AggregatorId>,
    /// Accept only this job.
    #[arg(long)]
    job: Option<JobId>,
}

pub(crate) fn run(command: &ReceiptCommand, output: Output) -> Result<()> {
    let ReceiptCommand::Verify { check: checked } = command;
    check(checked, output)
}

/// Verifies a directory offline.
pub(crate) fn check(check: &Check, output: Output) -> Result<()> {
    let Check {
        dir,
        client,
        aggregator,
        job,
    } = check;
    let verified = verify_dir(dir)?;
    let report = &verified.report;
    if job.is_some_and(|job| job != report.job) {
        let reason = format!("{} holds job {}", dir.display(), report.job);
        return fail(Exit::Verification, reason);
    }
    if client.is_some_and(|client| client != report.client) {
        return fail(
            Exit::Signature,
            format!("the job was signed by {}", report.client),
        );
    }
    if aggregator.is_some_and(|aggregator| aggregator != report.aggregator) {
        return fail(
            Exit::Signature,
            format!("the settlement was signed by {}", report.aggregator),
        );
    }
    output.data(&verified, || text(&verified))
}

/// What the record of a job amounts to.
#[derive(Debug, Serialize)]
pub(crate) struct Verified {
    /// Who executed, agreed and was paid.
    #[serde(flatten)]
    pub(crate) report: RecordReport,
    /// How that was decided.
    draws: Draws,
}

/// Verifies the record in `dir` against the blobs beside it.
pub(crate) fn verify_dir(dir: &Path) -> Result<Verified> {
    let path = dir.join(RECORD_FILE);
    let bytes = std::fs::read(&path)
        .with_context(|| path.display().to_string())
        .code(Exit::Usage)
        .fix("name the directory that `assay job results JOB --out DIR` wrote")?;
    let record: JobRecord = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is not a job record", path.display()))
        .code(Exit::Verification)?;
    let blob = |blob: &BlobRef| std::fs::read(blob_path(dir, blob)).ok();
    let report = record.verify(&blob).code(Exit::Verification)?;
    check_files(dir, &report)?;
    let package = record.package.verify().code(Exit::Signature)?.package;
    let draws = draws::check(report.job, &package, &record, &report.draw)?;
    Ok(Verified { report, draws })
}

/// Whatever else lies in `dir` must be what it is named after: the verdict needs neither the shards'
/// inputs nor the result's readable copy, but people read them.
fn check_files(dir: &Path, report: &RecordReport) -> Result<()> {
    let refuse = |path: &Path, what: &str| {
        fail(
            Exit::Verification,
            format!("{} is not {what}", path.display()),
        )
    };
    for entry in std::fs::read_dir(dir.join("blobs")).code(Exit::Usage)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name != BlobRef::of(&read(&path)?).digest.to_hex() {
            return refuse(&path, "the blob it is named after");
        }
    }
    for extension in RESULT_EXTENSIONS {
        let path = dir.join(format!("result.{extension}"));
        if path.exists() && BlobRef::of(&read(&path)?) != report.result {
            return refuse(&path, "the job's result");
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

/// Endings of the result's readable copy, one for each output format.
const RESULT_EXTENSIONS: [&str; 3] = ["npy", "jsonl", "items"];

/// Name of the record in a job's directory.
pub(crate) const RECORD_FILE: &str = "record.json";

/// Where a job's directory holds a blob.
pub(crate) fn blob_path(dir: &Path, blob: &BlobRef) -> PathBuf {
    dir.join("blobs").join(blob.digest.to_hex())
}

fn text(verified: &Verified) -> String {
    let report = &verified.report;
    let paid: Vec<String> = report
        .providers
        .iter()
        .map(|party| {
            let speed = party.meters.tokens_per_s();
            let speed = speed.map(|speed| {
                let tokens = party.meters.tokens;
                format!("  {tokens} tokens, {speed:.1}/s of device time")
            });
            let speed = speed.unwrap_or_default();
            format!("  {}  {}{speed}", party.provider.short(), party.paid)
        })
        .collect();
    format!(
        "verified  job {}\nresult    {} ({} bytes)\nclient    {}\nshards    {} of {} items, {} replicas, {} agreed, {} disagreed\n\
         drawn     {}\nescrowed  {}, fee {}, returned {}\npaid\n{}",
        report.job,
        report.result.digest,
        report.result.size,
        report.client,
        report.shards,
        report.items,
        report.replicas,
        report.agreements,
        report.disagreements,
        verified.draws,
        report.escrowed,
        report.fee,
        report.returned,
        paid.join("\n"),
    )
}
