//! Jobs as people look at them.

use anyhow::Result;
use api::client::Client;
use api::types::{AssignmentView, JobPhase, JobView, ShardCell, ShardMap};
use jobs::ids::JobId;
use jobs::time::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::follow::watch;
use crate::clock;
use crate::output::{Output, table};
use crate::patience::patiently;
use crate::place::{At, Signer};

/// Most jobs that are asked for when only some of them are shown.
const LISTING_MAX: u32 = 1000;

/// Every phase, for the command line.
const PHASES: [JobPhase; 6] = [
    JobPhase::Waiting,
    JobPhase::Running,
    JobPhase::Merging,
    JobPhase::Provisional,
    JobPhase::Done,
    JobPhase::Failed,
];

/// Reads a phase.
pub(super) fn phase(text: &str) -> Result<JobPhase, String> {
    let found = PHASES.into_iter().find(|phase| phase.to_string() == text);
    found.ok_or_else(|| {
        let names: Vec<String> = PHASES.iter().map(ToString::to_string).collect();
        format!("{text:?} is no phase: {}", names.join(", "))
    })
}

pub(super) async fn list(
    at: &At,
    limit: u32,
    phase: Option<JobPhase>,
    mine: Option<&Signer>,
    output: Output,
) -> Result<()> {
    let owner = mine.map(Signer::load).transpose()?;
    let owner = owner.map(|key| key.client_id());
    let client = at.client()?;
    let asked = match phase.is_some() || owner.is_some() {
        true => LISTING_MAX,
        false => limit,
    };
    let mut jobs = patiently(output, || client.newest_jobs(asked)).await?;
    jobs.retain(|job| phase.is_none_or(|phase| job.phase == phase));
    jobs.retain(|job| owner.is_none_or(|owner| job.client == owner));
    jobs.truncate(limit as usize);
    output.data(&jobs, || {
        let row = |job: &JobView| {
            vec![
                job.id.to_string(),
                job.name.clone(),
                job.phase.to_string(),
                format!("{}/{}", job.shards_accepted, job.shards),
                clock::shown(job.submitted),
            ]
        };
        let rows: Vec<Vec<String>> = jobs.iter().map(row).collect();
        table(&["job", "name", "phase", "shards", "submitted"], &rows)
    })
}

/// A job in short.
pub(super) fn describe(view: &JobView) -> String {
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

/// The executions of a job, which are secret until it has ended.
async fn executions(
    client: &Client,
    view: &JobView,
    output: Output,
) -> Result<Vec<AssignmentView>> {
    match view.phase.is_terminal() {
        true => Ok(patiently(output, || client.assignments(view.id)).await?),
        false => Ok(Vec::new()),
    }
}

/// All that is known of a job.
pub(super) async fn full(client: &Client, job: JobId, output: Output) -> Result<()> {
    let view = patiently(output, || client.job(job)).await?;
    let executions = executions(client, &view, output).await?;
    let shards = patiently(output, || client.shards(job)).await?;
    let value = json!({ "job": view, "shards": shards, "assignments": executions });
    output.data(&value, || {
        let mut text = describe(&view);
        text += &format!("\nclient    {}\nitems     {}", view.client, view.items);
        text += &format!("\nsubmitted {}", clock::shown(view.submitted));
        if let Some(finished) = view.finished {
            let lasted = clock::lasted(finished.since_ms(view.submitted));
            text += &format!("\nfinished  {} after {lasted}", clock::shown(finished));
        }
        if let Some(result) = &view.result {
            text += &format!("\nresult    {} ({} bytes)", result.digest, result.size);
        }
        text += &format!("\nshards    {}\n\n", counted(&shards));
        text += &match view.phase.is_terminal() {
            true => execution_table(&executions),
            false => "who executes what is shown once the job has ended".to_owned(),
        };
        text
    })
}

/// How many shards are where.
fn counted(map: &ShardMap) -> String {
    let sum = |of: fn(&ShardCell) -> u32| map.cells.iter().map(of).fold(0, u32::saturating_add);
    let there = [
        ("waiting", sum(|cell| cell.waiting)),
        ("working", sum(|cell| cell.working)),
        ("answered", sum(|cell| cell.answered)),
        ("undecided", sum(|cell| cell.undecided)),
        ("accepted", sum(|cell| cell.accepted)),
        ("accepted against a replica", sum(|cell| cell.contested)),
        ("failed", sum(|cell| cell.failed)),
    ];
    let there = there.iter().filter(|(_, count)| *count > 0);
    let there: Vec<String> = there
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    there.join(", ")
}

fn execution_table(executions: &[AssignmentView]) -> String {
    let row = |one: &AssignmentView| {
        let last = one.first_item.saturating_add(one.items).saturating_sub(1);
        let took = one.accepted.zip(one.committed);
        let took = took.map(|(from, until)| clock::lasted(until.since_ms(from)));
        vec![
            one.shard.to_string(),
            format!("{}-{last}", one.first_item),
            one.provider.short(),
            standing(one),
            took.unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let rows: Vec<Vec<String>> = executions.iter().map(row).collect();
    table(&["shard", "items", "provider", "came to", "took"], &rows)
}

/// What an execution came to, and why.
fn standing(one: &AssignmentView) -> String {
    let standing = format!("{:?}", one.standing).to_lowercase();
    match &one.cause {
        Some(cause) => format!("{standing}: {cause}"),
        None => standing,
    }
}

/// Something that happened to a job.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Happened {
    at: Timestamp,
    time: String,
    what: String,
}

/// What happened to a job, in order of time.
pub(super) async fn logs(client: &Client, job: JobId, follow: bool, output: Output) -> Result<()> {
    let view = match follow {
        true => watch(client, job, output).await?,
        false => patiently(output, || client.job(job)).await?,
    };
    let executions = executions(client, &view, output).await?;
    let happened = timeline(&view, &executions);
    if output.json {
        for one in &happened {
            output.data(one, String::new)?;
        }
        return Ok(());
    }
    let lines = happened
        .iter()
        .map(|one| format!("{}  {}", one.time, one.what));
    output.data(&(), || lines.collect::<Vec<_>>().join("\n"))
}

fn timeline(view: &JobView, executions: &[AssignmentView]) -> Vec<Happened> {
    let mut events: Vec<(Timestamp, String)> = vec![(
        view.submitted,
        format!(
            "submitted: {} shards, {} in escrow",
            view.shards, view.escrowed
        ),
    )];
    for one in executions {
        let whose = format!("shard {} {}", one.shard, one.provider.short());
        events.push((one.dispatched, format!("{whose}: dispatched")));
        events.extend(one.accepted.map(|at| (at, format!("{whose}: accepted"))));
        events.extend(one.committed.map(|at| (at, format!("{whose}: committed"))));
        // When it came to nothing is not known, only after what.
        let last = one.committed.or(one.accepted).unwrap_or(one.dispatched);
        events.push((last, format!("{whose}: {}", standing(one))));
    }
    if let Some(finished) = view.finished {
        let paid = view.paid.len();
        let reason = view.reason.as_deref();
        let how = reason.map_or_else(|| view.phase.to_string(), |why| format!("failed: {why}"));
        let money = format!(
            "{paid} providers paid, {} fee, {} returned",
            view.fee, view.returned
        );
        events.push((finished, format!("{how}; {money}")));
    }
    // Stable: what happened at one time stays in order.
    events.sort_by_key(|(at, _)| *at);
    let happened = events.into_iter().map(|(at, what)| Happened {
        at,
        time: clock::shown(at),
        what,
    });
    let mut happened: Vec<Happened> = happened.collect();
    if !view.phase.is_terminal() {
        let what = format!(
            "{} now: {} of {} shards accepted, {} assignments, {} replicas revealed",
            view.phase, view.shards_accepted, view.shards, view.assignments, view.replicas
        );
        let (at, time) = (view.submitted, "now".to_owned());
        happened.push(Happened { at, time, what });
    }
    happened
}
