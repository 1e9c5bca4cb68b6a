//! `assay devnet`: a whole market on this machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use api::client::Client;
use api::types::DepositRequest;
use clap::{Args, Subcommand};
use jobs::money::Amount;
use serde_json::json;

use crate::commands::demo;
use crate::devnet::{Devnet, Parent, Plan};
use crate::exit::{Exit, fail};
use crate::home;
use crate::job::load_manifest;
use crate::output::Output;

/// Run a whole market on this machine.
#[derive(Debug, Subcommand)]
pub(crate) enum DevnetCommand {
    /// Start an aggregator and providers as separate processes on loopback, until interrupted.
    Up {
        #[command(flatten)]
        market: Market,
    },
    /// Start a market, run a signed job through it, verify the result offline and tell what happened.
    Demo {
        #[command(flatten)]
        market: Market,
        /// The manifest.
        #[arg(long, default_value = "examples/embed/job.toml")]
        job: PathBuf,
        /// Text to embed with the same job; the nearest items are shown.
        #[arg(long, default_value = "a friend who helps in hard times")]
        query: String,
        #[command(flatten)]
        parent: Parent,
    },
}

/// Who takes part.
#[derive(Clone, Debug, Args)]
pub(crate) struct Market {
    /// Providers in all.
    #[arg(long, default_value_t = 5)]
    providers: u16,
    /// Of these, how many misbehave.
    #[arg(long, default_value_t = 0)]
    cheating: u16,
    /// How they misbehave: wrong, lazy, copy, stall, crash, equivocate or another of `assay provider start`.
    #[arg(long, default_value = "wrong")]
    misbehave: String,
    /// The aggregator's fee in basis points (50 to 200).
    #[arg(long, default_value_t = 100)]
    fee_bps: u16,
    /// Where every process keeps its data [default: a new directory under ~/.cache/assay/devnet].
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Market {
    /// The plan, with its directory made.
    pub(crate) fn plan(&self) -> Result<Plan> {
        let dir = match &self.dir {
            Some(dir) => dir.clone(),
            None => home::home()?.join("devnet").join(format!(
                "{}-{}",
                unix_seconds(),
                std::process::id()
            )),
        };
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(Plan {
            dir: dir.canonicalize()?,
            providers: self.providers,
            cheating: self.cheating,
            misbehave: self.misbehave.clone(),
            fee_bps: self.fee_bps,
        })
    }
}

pub(crate) async fn run(command: DevnetCommand, output: Output) -> Result<()> {
    match command {
        DevnetCommand::Up { market } => up(&market.plan()?, output).await,
        DevnetCommand::Demo {
            market,
            job,
            query,
            parent,
        } => {
            parent.bind()?;
            demo::run(&market.plan()?, &job, &query, output).await
        }
    }
}

async fn up(plan: &Plan, output: Output) -> Result<()> {
    let market = async {
        let devnet = Devnet::up(plan).await?;
        fund(&devnet, &plan.dir).await?;
        Ok(devnet)
    };
    let devnet = unless_stopped(market, output).await?;
    let value = json!({
        "http": devnet.ready.http,
        "p2p": devnet.ready.p2p,
        "dir": plan.dir,
        "key": plan.dir.join("client.key"),
        "aggregator": { "id": devnet.ready.id, "pid": devnet.aggregator.pid() },
        "providers": devnet.providers.iter().map(|(daemon, id)| json!({
            "name": daemon.name, "id": id, "pid": daemon.pid(), "data": daemon.data,
        })).collect::<Vec<_>>(),
    });
    let example = example();
    output.data(&value, || {
        format!(
            "aggregator  {}\nproviders   {} ({} misbehave: {})\nclient key  {}\nlogs        {}/*/log\n\
             try: {}assay job submit {} --aggregator {} --key {} --wait\n\
             stop with Ctrl-C",
            devnet.ready.http,
            plan.providers,
            plan.cheating,
            plan.misbehave,
            plan.dir.join("client.key").display(),
            plan.dir.display(),
            example.build,
            example.manifest,
            devnet.ready.http,
            plan.dir.join("client.key").display(),
        )
    })?;
    crate::commands::wait_for_stop().await?;
    output.say("stopping");
    devnet.down()
}

/// Does the work unless this process is asked to stop first; then what the work holds is dropped, which
/// stops its daemons.
pub(crate) async fn unless_stopped<T>(
    work: impl Future<Output = Result<T>>,
    output: Output,
) -> Result<T> {
    tokio::select! {
        done = work => done,
        stopped = crate::commands::wait_for_stop() => {
            stopped?;
            output.say("stopping");
            fail(Exit::Failure, "stopped before it was done")
        }
    }
}

/// A job to try, and what is needed before.
struct Example {
    manifest: &'static str,
    build: &'static str,
}

/// An example whose component is built, else how to build the smallest.
fn example() -> Example {
    let is_built = |manifest: &str| {
        let loaded = load_manifest(Path::new(manifest));
        loaded.is_ok_and(|(manifest, base)| home::resolve(&base, &manifest.component).is_ok())
    };
    let built = ["examples/embed/job.toml", "examples/echo/job.toml"]
        .into_iter()
        .find(|manifest| is_built(manifest));
    match built {
        Some(manifest) => Example {
            manifest,
            build: "",
        },
        None => Example {
            manifest: "examples/echo/job.toml",
            build: "assay component build examples/echo && ",
        },
    }
}

/// Makes the market's client key, and deposits its money and every provider's stake.
pub(crate) async fn fund(devnet: &Devnet, dir: &Path) -> Result<jobs::envelope::ClientKey> {
    let path = dir.join("client.key");
    let key = if path.exists() {
        super::key::load(&path)?
    } else {
        super::key::create(&path)?
    };
    let client = Client::new(&devnet.ready.http);
    let token = devnet.operator_token()?;
    let mut deposits = vec![(format!("client:{}", key.client_id()), "1000")];
    deposits.extend(
        devnet
            .providers
            .iter()
            .map(|(_, id)| (format!("stake:{id}"), "100")),
    );
    for (account, units) in deposits {
        let amount: Amount = units.parse()?;
        let reference = format!("devnet-{account}");
        client
            .deposit(
                &token,
                &DepositRequest {
                    account,
                    amount,
                    reference,
                },
            )
            .await?;
    }
    Ok(key)
}

/// Waits until the aggregator has heard from `count` providers.
pub(crate) async fn wait_for_providers(client: &Client, count: u16) -> Result<()> {
    for _ in 0..600 {
        let online = client
            .providers()
            .await?
            .iter()
            .filter(|provider| provider.online)
            .count();
        if online >= usize::from(count) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    fail(
        Exit::Timeout,
        format!("fewer than {count} providers made an offer within a minute"),
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "names a directory; nothing is decided by it"
)]
fn unix_seconds() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map(|elapsed| elapsed.as_secs()).unwrap_or_default()
}
