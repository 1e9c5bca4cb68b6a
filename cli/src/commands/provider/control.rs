//! Commands that ask the provider that runs: drain, mode, price, policy, tasks, cache.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use jobs::digest::Digest;
use jobs::ids::ClientId;
use jobs::money::Amount;
use provider::choices::{Allowed, Mode};
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

/// A command of a group, and which provider it asks.
#[derive(Debug, Args)]
pub(crate) struct Of<C: Subcommand> {
    #[command(flatten)]
    data: DataDir,
    #[command(subcommand)]
    command: C,
}

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
    Get,
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
    },
}

pub(super) async fn price(of: Of<PriceCommand>, output: Output) -> Result<()> {
    let ask = match of.command {
        PriceCommand::Get => Ask::Choices,
        PriceCommand::Set {
            per_gfuel,
            per_device_second,
            reset,
        } => Ask::Price {
            per_gfuel,
            per_device_second,
            reset,
        },
    };
    let view: ChoicesView = of.data.ask(ask).await?;
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
    Show,
    /// Execute jobs of this client; once anybody is named, of nobody else. `anyone`: of anybody who is not denied.
    Allow {
        /// The client's id, or `anyone`.
        client: String,
    },
    /// Execute no jobs of this client.
    Deny {
        /// The client's id.
        client: ClientId,
    },
    /// Neither allow nor deny this client by name.
    Forget {
        /// The client's id.
        client: ClientId,
    },
    /// Accept models up to this size, for example 500MiB.
    ModelMax {
        /// The size.
        #[arg(value_parser = bytes::parse)]
        size: u64,
    },
    /// Work for no smaller reward than this.
    RewardMin {
        /// In units with up to six decimals.
        amount: Amount,
    },
    /// Go back to what the configuration says.
    Reset,
}

pub(super) async fn policy(of: Of<PolicyCommand>, output: Output) -> Result<()> {
    let ask = match of.command {
        PolicyCommand::Show => Ask::Choices,
        PolicyCommand::Allow { client } if client == "anyone" => {
            Ask::Policy(PolicyChange::AllowAnyone)
        }
        PolicyCommand::Allow { client } => Ask::Policy(PolicyChange::Allow(client.parse()?)),
        PolicyCommand::Deny { client } => Ask::Policy(PolicyChange::Deny(client)),
        PolicyCommand::Forget { client } => Ask::Policy(PolicyChange::Forget(client)),
        PolicyCommand::ModelMax { size } => Ask::Policy(PolicyChange::ModelMax(size)),
        PolicyCommand::RewardMin { amount } => Ask::Policy(PolicyChange::RewardMin(amount)),
        PolicyCommand::Reset => Ask::Policy(PolicyChange::Reset),
    };
    let view: ChoicesView = of.data.ask(ask).await?;
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
    let named = choices.allow.named();
    if named.is_empty() {
        let who = match choices.allow {
            Allowed::Anyone => "anyone",
            Allowed::These(_) => "nobody",
        };
        rows.push(row("allow", who.to_owned(), changes.allow.is_some()));
    }
    let allowed = named
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
    List,
    /// Hand an assignment back. Its aggregator holds that against the provider, as any failure.
    Abort {
        /// Its id, or the first digits of it.
        assignment: String,
    },
}

pub(super) async fn tasks(of: Of<TasksCommand>, output: Output) -> Result<()> {
    let data = of.data;
    match of.command {
        TasksCommand::List => {
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
        TasksCommand::Abort { assignment } => {
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
    List,
    /// Remove what no assignment needs, the least recently used first.
    Prune {
        /// Stop when no more than this is left, for example 5GiB [default: remove all that can go].
        #[arg(long, value_parser = bytes::parse, default_value = "0")]
        keep: u64,
    },
    /// Remove one blob.
    Rm {
        /// Its digest.
        blob: Digest,
    },
}

pub(super) async fn cache(of: Of<CacheCommand>, output: Output) -> Result<()> {
    let (ask, lists) = match of.command {
        CacheCommand::List => (Ask::Cache, true),
        CacheCommand::Prune { keep } => (Ask::CachePrune { keep_bytes: keep }, false),
        CacheCommand::Rm { blob } => (Ask::CacheRemove { blob }, false),
    };
    let view: CacheView = of.data.ask(ask).await?;
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
