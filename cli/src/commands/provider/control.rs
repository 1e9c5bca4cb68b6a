//! Commands that ask the provider that runs: drain, mode, price, policy, tasks, cache.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use jobs::digest::Digest;
use jobs::ids::ClientId;
use jobs::money::Amount;
use provider::choices::Mode;
use provider::control::{Ask, CacheView, ChoicesView, PolicyChange, StatusView};
use provider::{Stage, TaskView};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::control::DataDir;
use crate::exit::{Exit, fail};
use crate::output::{Output, table};
use crate::{bytes, period};

/// Pause between two looks while a provider finishes.
const DRAIN_POLL: Duration = Duration::from_millis(250);

/// How to drain.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    #[command(flatten)]
    data: DataDir,
    /// Wait until everything is finished.
    #[arg(long)]
    wait: bool,
    /// With --wait: end with code 8 if it takes longer, for example 30m.
    #[arg(long, requires = "wait", value_parser = period::parse)]
    timeout: Option<Duration>,
    /// Take work again.
    #[arg(long, conflicts_with = "wait")]
    undo: bool,
}

pub(super) async fn drain(args: Drain, output: Output) -> Result<()> {
    let mut status: StatusView = args.data.ask(Ask::Drain { undo: args.undo }).await?;
    let since = Instant::now();
    while args.wait && status.state == "draining" {
        if args.timeout.is_some_and(|most| since.elapsed() > most) {
            let held = status.held;
            return fail(
                Exit::Timeout,
                format!("{held} shards still run; the provider goes on draining"),
            );
        }
        sleep(DRAIN_POLL).await;
        status = args.data.ask(Ask::Status).await?;
    }
    output.data(&status, || match status.state.as_str() {
        "draining" => format!(
            "draining: {} shards still run, {} are to be revealed",
            status.held, status.unrevealed
        ),
        state => state.to_owned(),
    })
}

/// Which mode, and for how long.
#[derive(Debug, Args)]
pub(crate) struct ModeArgs {
    /// auto, always or never; shows the mode if nothing is said.
    mode: Option<Mode>,
    /// For how long, for example 1h; afterwards the mode before holds again [default: for good].
    #[arg(long = "for", requires = "mode", value_parser = period::parse)]
    period: Option<Duration>,
    #[command(flatten)]
    data: DataDir,
}

pub(super) async fn mode(args: ModeArgs, output: Output) -> Result<()> {
    let for_ms = args
        .period
        .map(|period| u64::try_from(period.as_millis()).unwrap_or(u64::MAX));
    let ask = match args.mode {
        Some(mode) => Ask::Mode { mode, for_ms },
        None => Ask::Status,
    };
    let status: StatusView = args.data.ask(ask).await?;
    let value = json!({
        "mode": status.mode,
        "until": status.mode_until,
        "state": status.state,
        "why": status.why,
    });
    output.data(&value, || mode_line(&status))
}

/// The mode, until when, and what that means now.
pub(super) fn mode_line(status: &StatusView) -> String {
    let until = status
        .mode_until
        .map(|until| format!(" until {}", period::moment(until.0)));
    let why = status.why.as_ref().map(|why| format!(": {why}"));
    format!(
        "{}{} ({}{})",
        status.mode,
        until.unwrap_or_default(),
        status.state,
        why.unwrap_or_default()
    )
}

/// Show or change the price.
#[derive(Debug, Subcommand)]
pub(crate) enum PriceCommand {
    /// Show what is asked.
    Get {
        #[command(flatten)]
        data: DataDir,
    },
    /// Ask another price, from the next assignment on.
    Set {
        /// Of 10^9 units of fuel, in units with up to six decimals.
        #[arg(long, required_unless_present_any = ["per_device_second", "reset"])]
        per_gfuel: Option<Amount>,
        /// Of a second of device time.
        #[arg(long)]
        per_device_second: Option<Amount>,
        /// Go back to what the configuration says, but for the prices given here.
        #[arg(long)]
        reset: bool,
        #[command(flatten)]
        data: DataDir,
    },
}

pub(super) async fn price(command: PriceCommand, output: Output) -> Result<()> {
    let view: ChoicesView = match command {
        PriceCommand::Get { data } => data.ask(Ask::Choices).await?,
        PriceCommand::Set {
            per_gfuel,
            per_device_second,
            reset,
            data,
        } => {
            let ask = Ask::Price {
                per_gfuel,
                per_device_second,
                reset,
            };
            data.ask(ask).await?
        }
    };
    let (price, changes) = (view.choices.price, &view.changes);
    let value = json!({
        "per_gfuel": price.per_gfuel,
        "per_device_second": price.per_device_second,
        "changed": {
            "per_gfuel": changes.per_gfuel.is_some(),
            "per_device_second": changes.per_device_second.is_some(),
        },
    });
    output.data(&value, || {
        let rows = [
            ("10^9 fuel", price.per_gfuel, changes.per_gfuel.is_some()),
            (
                "device second",
                price.per_device_second,
                changes.per_device_second.is_some(),
            ),
        ];
        let rows = rows.map(|(of, amount, changed)| {
            vec![
                of.to_owned(),
                amount.to_string(),
                origin(changed).to_owned(),
            ]
        });
        table(&["of", "price", "from"], &rows)
    })
}

/// Where a choice comes from.
const fn origin(changed: bool) -> &'static str {
    if changed {
        "changed while running"
    } else {
        "configuration"
    }
}

/// Show or change the policy.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Show whose jobs are executed, and which.
    Show {
        #[command(flatten)]
        data: DataDir,
    },
    /// Execute jobs of this client; once anybody is named, of nobody else. `anyone`: of anybody who is not denied.
    Allow {
        /// The client's id, or `anyone`.
        client: String,
        #[command(flatten)]
        data: DataDir,
    },
    /// Execute no jobs of this client.
    Deny {
        /// The client's id.
        client: ClientId,
        #[command(flatten)]
        data: DataDir,
    },
    /// Neither allow nor deny this client by name.
    Forget {
        /// The client's id.
        client: ClientId,
        #[command(flatten)]
        data: DataDir,
    },
    /// Accept models up to this size, for example 500MiB.
    ModelMax {
        /// The size.
        #[arg(value_parser = bytes::parse)]
        size: u64,
        #[command(flatten)]
        data: DataDir,
    },
    /// Work for no smaller reward than this.
    RewardMin {
        /// In units with up to six decimals.
        amount: Amount,
        #[command(flatten)]
        data: DataDir,
    },
    /// Go back to what the configuration says.
    Reset {
        #[command(flatten)]
        data: DataDir,
    },
}

pub(super) async fn policy(command: PolicyCommand, output: Output) -> Result<()> {
    let (data, change) = match command {
        PolicyCommand::Show { data } => (data, None),
        PolicyCommand::Allow { client, data } if client == "anyone" => {
            (data, Some(PolicyChange::AllowAnyone))
        }
        PolicyCommand::Allow { client, data } => (data, Some(PolicyChange::Allow(client.parse()?))),
        PolicyCommand::Deny { client, data } => (data, Some(PolicyChange::Deny(client))),
        PolicyCommand::Forget { client, data } => (data, Some(PolicyChange::Forget(client))),
        PolicyCommand::ModelMax { size, data } => (data, Some(PolicyChange::ModelMax(size))),
        PolicyCommand::RewardMin { amount, data } => (data, Some(PolicyChange::RewardMin(amount))),
        PolicyCommand::Reset { data } => (data, Some(PolicyChange::Reset)),
    };
    let view: ChoicesView = data.ask(change.map_or(Ask::Choices, Ask::Policy)).await?;
    output.data(&view, || policy_table(&view))
}

fn policy_table(view: &ChoicesView) -> String {
    let (choices, changes) = (&view.choices, &view.changes);
    let row = |what: &str, value: String, changed: bool| {
        vec![what.to_owned(), value, origin(changed).to_owned()]
    };
    let mut rows = vec![
        row(
            "largest model",
            format!("{} bytes", choices.model_bytes_max),
            changes.model_bytes_max.is_some(),
        ),
        row(
            "smallest reward",
            choices.reward_min.to_string(),
            changes.reward_min.is_some(),
        ),
    ];
    if choices.allow.is_empty() {
        rows.push(row("allow", "anyone".into(), changes.allow.is_some()));
    }
    let allowed = choices
        .allow
        .iter()
        .map(|client| ("allow", client, changes.allow.is_some()));
    let denied = choices
        .deny
        .iter()
        .map(|client| ("deny", client, changes.deny.is_some()));
    rows.extend(
        allowed
            .chain(denied)
            .map(|(what, client, changed)| row(what, client.to_string(), changed)),
    );
    table(&["policy", "value", "from"], &rows)
}

/// Show or abort what is being executed.
#[derive(Debug, Subcommand)]
pub(crate) enum TasksCommand {
    /// Show every assignment under way.
    List {
        #[command(flatten)]
        data: DataDir,
    },
    /// Hand an assignment back. Its aggregator holds that against the provider, as any failure.
    Abort {
        /// Its id, or the first digits of it.
        assignment: String,
        #[command(flatten)]
        data: DataDir,
    },
}

pub(super) async fn tasks(command: TasksCommand, output: Output) -> Result<()> {
    match command {
        TasksCommand::List { data } => {
            let tasks: Vec<TaskView> = data.ask(Ask::Tasks).await?;
            output.data(&tasks, || {
                let rows: Vec<Vec<String>> = tasks.iter().map(task_row).collect();
                table(
                    &[
                        "assignment",
                        "job",
                        "shard",
                        "items",
                        "stage",
                        "since",
                        "earns at most",
                        "aggregator",
                    ],
                    &rows,
                )
            })
        }
        TasksCommand::Abort { assignment, data } => {
            let aborted: bool = data.ask(Ask::Abort { assignment }).await?;
            let text = if aborted {
                "handed back"
            } else {
                "it had ended already"
            };
            output.data(&json!({ "aborted": aborted }), || text.to_owned())
        }
    }
}

fn task_row(task: &TaskView) -> Vec<String> {
    let stage = match task.stage {
        Stage::Fetching => "fetching",
        Stage::Running => "running",
    };
    vec![
        task.assignment.to_string(),
        task.job.to_string(),
        task.shard.to_string(),
        task.items.to_string(),
        stage.to_owned(),
        period::moment(task.since.0),
        task.reward_max.to_string(),
        task.aggregator.short(),
    ]
}

/// Show or empty the cache.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Show the blobs on disk, the largest first.
    List {
        #[command(flatten)]
        data: DataDir,
    },
    /// Remove what no assignment needs, the least recently used first.
    Prune {
        /// Stop when no more than this is left, for example 5GiB [default: remove all that can go].
        #[arg(long, value_parser = bytes::parse, default_value = "0")]
        keep: u64,
        #[command(flatten)]
        data: DataDir,
    },
    /// Remove one blob.
    Rm {
        /// Its digest.
        blob: Digest,
        #[command(flatten)]
        data: DataDir,
    },
}

pub(super) async fn cache(command: CacheCommand, output: Output) -> Result<()> {
    let (view, lists): (CacheView, bool) = match command {
        CacheCommand::List { data } => (data.ask(Ask::Cache).await?, true),
        CacheCommand::Prune { keep, data } => {
            (data.ask(Ask::CachePrune { keep_bytes: keep }).await?, false)
        }
        CacheCommand::Rm { blob, data } => (data.ask(Ask::CacheRemove { blob }).await?, false),
    };
    output.data(&view, || {
        let used = format!(
            "{} blobs, {} of {} bytes used",
            view.blobs, view.used_bytes, view.max_bytes
        );
        if !lists {
            return format!("{} removed; {used}", view.removed);
        }
        let rows: Vec<Vec<String>> = view
            .list
            .iter()
            .map(|blob| {
                let needed = if blob.needed { "needed" } else { "" };
                vec![
                    blob.blob.to_string(),
                    blob.bytes.to_string(),
                    needed.to_owned(),
                ]
            })
            .collect();
        format!("{}\n{used}", table(&["blob", "bytes", ""], &rows))
    })
}
