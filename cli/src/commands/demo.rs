//! `assay devnet demo`: one signed job, end to end, with a liar in the market.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use api::client::Client;
use api::types::{JobPhase, JobView, ProviderView};
use jobs::money::Amount;
use jobs::record::RecordReport;
use serde::Serialize;

use crate::commands::{devnet, job, provider, receipt};
use crate::devnet::{Devnet, Plan};
use crate::exit::{Exit, fail};
use crate::job::{Prepared, prepare};
use crate::output::{Output, table};

/// What happened. Printed as one JSON object with `--json`.
#[derive(Debug, Serialize)]
struct Summary {
    job: jobs::ids::JobId,
    items: u32,
    shards: u32,
    replicas: u32,
    agreements: u32,
    disagreements: u32,
    cheaters: u16,
    cheaters_caught: usize,
    honest_penalised: usize,
    escrowed: Amount,
    escrow_left: Amount,
    paid: Amount,
    fee: Amount,
    returned: Amount,
    seconds: f64,
    throughput_items_per_s: f64,
    ledger_clean: bool,
    verified_offline: bool,
    result: PathBuf,
    receipts: PathBuf,
    providers: Vec<Party>,
    query: String,
    nearest: Vec<Nearest>,
}

/// One provider's part in it.
#[derive(Debug, Serialize)]
struct Party {
    name: String,
    id: String,
    misbehaves: bool,
    agreements: u64,
    disagreements: u64,
    failures: u64,
    reputation: f64,
    eligible: bool,
    paid: Amount,
}

/// An item near the query.
#[derive(Debug, Serialize)]
struct Nearest {
    cosine: f32,
    line: usize,
    text: String,
}

pub(crate) async fn run(plan: &Plan, manifest: &Path, query: &str, output: Output) -> Result<()> {
    let prepared = prepare(manifest)?;
    output.say(format_args!(
        "starting 1 aggregator and {} providers in {}",
        plan.providers,
        plan.dir.display()
    ));
    let work = async {
        let devnet = Devnet::up(plan).await?;
        let summary = trade(&devnet, plan, &prepared, query, output).await;
        devnet.down()?;
        summary
    };
    let summary = devnet::unless_stopped(work, output).await?;
    output.data(&summary, || describe(&summary))?;
    check(&summary)
}

async fn trade(
    devnet: &Devnet,
    plan: &Plan,
    prepared: &Prepared,
    query: &str,
    output: Output,
) -> Result<Summary> {
    let client = Client::new(&devnet.ready.http);
    let key = devnet::fund(devnet, &plan.dir).await?;
    devnet::wait_for_providers(&client, plan.providers).await?;
    output.say(format_args!("{} providers made an offer", plan.providers));

    let started = now();
    let id = job::submit(&client, &devnet.ready.http, prepared, &key, output).await?;
    let view = job::watch(&client, id, output).await?;
    let seconds = started.elapsed().as_secs_f64();
    if view.phase != JobPhase::Done {
        return fail(
            Exit::JobFailed,
            format!("the job failed: {}", view.reason.unwrap_or_default()),
        );
    }
    let receipts = plan.dir.join("job");
    let result = job::fetch(&client, &view, &receipts).await?;
    let report = receipt::verify_dir(&receipts)?.report;
    let audit = client.audit().await?;
    let providers = parties(devnet, plan, &client.providers().await?, &report);
    let nearest = nearest(prepared, &result, query, output).await?;
    Ok(summary(
        &view,
        &report,
        seconds,
        audit.get("clean") == Some(&true.into()),
        result,
        receipts,
        providers,
        query,
        nearest,
    ))
}

#[expect(
    clippy::too_many_arguments,
    reason = "gathers what the run produced, once"
)]
fn summary(
    view: &JobView,
    report: &RecordReport,
    seconds: f64,
    ledger_clean: bool,
    result: PathBuf,
    receipts: PathBuf,
    providers: Vec<Party>,
    query: &str,
    nearest: Vec<Nearest>,
) -> Summary {
    // A liar is caught by losing its standing; who crashes or stalls, by failing and earning nothing.
    let caught = |party: &&Party| {
        party.misbehaves && party.paid.is_zero() && (!party.eligible || party.failures > 0)
    };
    let penalised =
        |party: &&Party| !party.misbehaves && (party.disagreements > 0 || !party.eligible);
    Summary {
        job: view.id,
        items: view.items,
        shards: view.shards,
        replicas: view.replicas,
        agreements: view.agreements,
        disagreements: view.disagreements,
        cheaters: providers
            .iter()
            .map(|party| u16::from(party.misbehaves))
            .sum(),
        cheaters_caught: providers.iter().filter(caught).count(),
        honest_penalised: providers.iter().filter(penalised).count(),
        escrowed: view.escrowed,
        escrow_left: view.escrow_left,
        paid: report.paid,
        fee: view.fee,
        returned: view.returned,
        seconds,
        throughput_items_per_s: f64::from(view.items) / seconds.max(1e-9),
        ledger_clean,
        verified_offline: true,
        result,
        receipts,
        providers,
        query: query.to_owned(),
        nearest,
    }
}

fn parties(
    devnet: &Devnet,
    plan: &Plan,
    views: &[ProviderView],
    report: &RecordReport,
) -> Vec<Party> {
    let party = |(index, (daemon, id)): (usize, &(crate::devnet::Daemon, String))| {
        let view = views.iter().find(|view| view.id.to_string() == *id);
        let paid = report
            .providers
            .iter()
            .find(|party| party.provider.to_string() == *id);
        Party {
            name: daemon.name.clone(),
            id: id.clone(),
            misbehaves: index < usize::from(plan.cheating),
            agreements: view.map_or(0, |view| view.agreements),
            disagreements: view.map_or(0, |view| view.disagreements),
            failures: view.map_or(0, |view| view.failures),
            reputation: view.map_or(0.0, |view| f64::from(view.reputation_ppm) / 1e6),
            eligible: view.is_some_and(|view| view.eligible),
            paid: paid.map_or(Amount::ZERO, |party| party.paid),
        }
    };
    devnet.providers.iter().enumerate().map(party).collect()
}

/// Runs the query through the same component on this machine and ranks the job's items by cosine.
async fn nearest(
    prepared: &Prepared,
    result: &Path,
    query: &str,
    output: Output,
) -> Result<Vec<Nearest>> {
    if !matches!(
        prepared.package.output,
        jobs::package::OutputFormat::Npy { .. }
    ) {
        return Ok(Vec::new());
    }
    let items = vec![query.as_bytes().to_vec()];
    let (outputs, _) = provider::execute_items_locally(prepared, items, output).await?;
    let wanted = floats(outputs.first().context("the query has no output")?);
    let bytes = std::fs::read(result)?;
    let rows = jobs::npy::split_rows(&bytes)?;
    let texts = prepared.items()?;
    let mut ranked: Vec<Nearest> = rows
        .iter()
        .zip(&texts)
        .enumerate()
        .map(|(line, (row, text))| Nearest {
            cosine: cosine(&wanted, &floats(row)),
            line: line + 1,
            text: String::from_utf8_lossy(text).into_owned(),
        })
        .collect();
    ranked.sort_by(|left, right| right.cosine.total_cmp(&left.cosine));
    ranked.truncate(3);
    Ok(ranked)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|chunk| f32::from_le_bytes(*chunk))
        .collect()
}

fn cosine(left: &[f32], right: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    dot(left, right)
        / (dot(left, left) * dot(right, right))
            .sqrt()
            .max(f32::MIN_POSITIVE)
}

/// Who did what and got what.
fn party_table(summary: &Summary) -> String {
    let rows: Vec<Vec<String>> = summary
        .providers
        .iter()
        .map(|party| {
            vec![
                party.name.clone(),
                party.id.chars().take(8).collect(),
                if party.misbehaves {
                    "cheats".into()
                } else {
                    "honest".into()
                },
                party.agreements.to_string(),
                party.disagreements.to_string(),
                format!("{:.3}", party.reputation),
                if party.eligible {
                    "in good standing".into()
                } else {
                    "demoted".into()
                },
                party.paid.to_string(),
            ]
        })
        .collect();
    let headings = [
        "provider",
        "id",
        "",
        "agreed",
        "disagreed",
        "reputation",
        "standing",
        "paid",
    ];
    table(&headings, &rows)
}

/// What lies near the query, if the job is one whose outputs can be compared with it.
fn nearest_lines(summary: &Summary) -> String {
    let line = |near: &Nearest| {
        format!(
            "  {:.3}  line {:>4}  {}\n",
            near.cosine, near.line, near.text
        )
    };
    let lines: String = summary.nearest.iter().map(line).collect();
    match lines.is_empty() {
        true => lines,
        false => format!("nearest to {:?}\n{lines}\n", summary.query),
    }
}

fn describe(summary: &Summary) -> String {
    format!(
        "\njob        {}\nshards     {} of {} items, {} replicas: {} agreed, {} disagreed\n\
         cheaters   {} of {} caught, {} honest providers penalised\n\
         money      {} escrowed = {} paid + {} fee + {} returned, {} left in escrow, ledger {}\n\
         speed      {:.1} s, {:.1} items/s\n\n{}\n\n{}\
         result     {}\nreceipts   {} (verified offline; again: assay receipt verify {})",
        summary.job,
        summary.shards,
        summary.items,
        summary.replicas,
        summary.agreements,
        summary.disagreements,
        summary.cheaters_caught,
        summary.cheaters,
        summary.honest_penalised,
        summary.escrowed,
        summary.paid,
        summary.fee,
        summary.returned,
        summary.escrow_left,
        if summary.ledger_clean {
            "clean"
        } else {
            "NOT CLEAN"
        },
        summary.seconds,
        summary.throughput_items_per_s,
        party_table(summary),
        nearest_lines(summary),
        summary.result.display(),
        summary.receipts.display(),
        summary.receipts.display(),
    )
}

/// The demo promises these; it fails if one is not kept.
fn check(summary: &Summary) -> Result<()> {
    if !summary.ledger_clean || !summary.escrow_left.is_zero() {
        return fail(Exit::Payment, "the ledger is not clean or escrow is left");
    }
    if summary.cheaters_caught < usize::from(summary.cheaters) || summary.honest_penalised > 0 {
        return fail(
            Exit::Verification,
            "a cheater was not caught, or an honest provider was penalised",
        );
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "measures throughput for the summary"
)]
fn now() -> Instant {
    Instant::now()
}
