//! From a manifest to a job at an aggregator: what it is, what it may cost, and handing it in.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use api::client::{Client, Error, Sent};
use api::types::{JobPhase, QuoteView};
use jobs::ids::JobId;
use jobs::package::Package;
use jobs::plan::shard_count;
use jobs::policy::Policy;
use serde_json::json;

use super::Spending;
use crate::config;
use crate::exit::{Exit, Fix, fail};
use crate::home;
use crate::job::{Prepared, prepare};
use crate::output::{Output, table};
use crate::patience::patiently;
use crate::place::At;
use crate::shares::{self, Kept};
use crate::submission::{self, Submission};

/// What an aggregator calls a job that ended long ago.
const ARCHIVED: &str = "archived";

pub(super) fn validate(manifest: &Path, output: Output) -> Result<()> {
    let package = prepare(manifest)?.package;
    output.data(&package, || format!("valid     {}", line(&package)))
}

/// A package in a line.
fn line(package: &Package) -> String {
    let shards = shard_count(package.input.items, package.items_per_shard);
    format!(
        "{} ({} items in {shards} shards, {} to {} replicas{}, at most {})",
        package.name,
        package.input.items,
        package.replication.replicas,
        package.replication.max_replicas,
        by_whom(&package.policy),
        package.max_price,
    )
}

fn by_whom(policy: &Policy) -> String {
    match policy {
        Policy::Replicate => String::new(),
        Policy::Audit { unit } => format!(", audited by {}", format!("{unit:?}").to_lowercase()),
        Policy::Trusted { providers } => format!(" of {} trusted providers", providers.len()),
    }
}

pub(super) async fn quote(manifest: &Path, at: &At, output: Output) -> Result<()> {
    let package = prepare(manifest)?.package;
    let client = at.client()?;
    let quote = patiently(output, || client.quote(&package)).await?;
    output.data(&quote, || quoted(&package, &quote))
}

/// A quote for people.
pub(super) fn quoted(package: &Package, quote: &QuoteView) -> String {
    let mut text = format!(
        "job       {}\nescrow    {} at most, of which {} at most is the fee ({} basis points)\n\
         shards    {}, {} to {} replicas each\nreserved  {} for each execution of a shard\n\
         eligible  {} providers\n",
        line(package),
        quote.escrow,
        quote.fee_most,
        quote.fee_bps,
        quote.shards,
        quote.replicas,
        quote.max_replicas,
        quote.share,
        quote.eligible,
    );
    text += &match &quote.missing {
        None => "admitted  yes, if your balance covers the escrow".to_owned(),
        Some(missing) => format!("admitted  no: {missing}"),
    };
    if !quote.cheapest.is_empty() {
        let rows: Vec<Vec<String>> = quote
            .cheapest
            .iter()
            .map(|able| {
                vec![
                    able.provider.short(),
                    able.price.per_gfuel.to_string(),
                    able.price.per_device_second.to_string(),
                    able.most.to_string(),
                ]
            })
            .collect();
        let headings = [
            "provider",
            "per 10^9 fuel",
            "per device second",
            "a shard at most",
        ];
        text += &format!("\n\n{}", table(&headings, &rows));
    }
    text
}

/// Refuses a package that may cost more than the user allows, and asks where there is somebody to ask.
pub(super) async fn check_spending(
    client: &Client,
    package: &Package,
    spending: &Spending,
    output: Output,
) -> Result<()> {
    let configured = config::load()?;
    let bound = match spending.max_price {
        Some(bound) => Some((bound, "--max-price".to_owned())),
        None => match configured.value("max_price") {
            Some(text) => Some((
                text.parse()?,
                configured.get("max_price")?.origin.to_string(),
            )),
            None => None,
        },
    };
    if let Some((bound, origin)) = bound.filter(|(bound, _)| package.max_price > *bound) {
        let price = package.max_price;
        let reason = format!("the job may cost {price}, more than {bound} ({origin})");
        return fail(Exit::Payment, reason).fix("lower [price] max in job.toml, or allow more");
    }
    if spending.yes || !output.is_watched() {
        return Ok(());
    }
    let quote = patiently(output, || client.quote(package)).await?;
    output.say(quoted(package, &quote));
    output.confirm(false, &format!("Put {} in escrow?", quote.escrow))
}

/// Shows what would be submitted and what that would cost.
pub(super) async fn dry_run(client: &Client, package: &Package, output: Output) -> Result<()> {
    let quote = patiently(output, || client.quote(package)).await?;
    output.data(&json!({ "package": package, "quote": quote }), || {
        format!("{}\nnothing was submitted", quoted(package, &quote))
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
        let kept = Kept {
            share,
            promise: reply.promise,
            manifest: prepared.manifest.clone(),
            work: Some(submission::work(&prepared.package)?),
        };
        shares::keep(job, &kept)?;
        patiently(output, || client.share(job, share)).await?;
    }
    let bytes = reply.missing.iter().map(|blob| blob.size).sum();
    let (bar, mut before) = (output.bar(bytes, "upload"), 0_u64);
    for blob in &reply.missing {
        let found = prepared.files.iter().find(|(held, _)| held == blob);
        let (_, path) = found.with_context(|| {
            format!(
                "the aggregator asks for {}, which this job does not have",
                blob.digest
            )
        })?;
        let shown = bar.clone();
        let sent: Sent = Arc::new(move |sent| shown.set_position(before.saturating_add(sent)));
        patiently(output, || client.put_blob_telling(job, *blob, path, &sent)).await?;
        before = before.saturating_add(blob.size);
        bar.set_position(before);
    }
    bar.finish_and_clear();
    Ok(Some(job))
}
