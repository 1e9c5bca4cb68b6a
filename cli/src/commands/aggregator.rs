//! `assay aggregator`: run an aggregator, or ask one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aggregator::AggregatorConfig;
use aggregator::driver::GameConfig;
use anyhow::{Context, Result};
use api::types::{BackupRequest, BackupView};
use clap::{Args, Subcommand};
use jobs::envelope::SignerPolicy;
use jobs::ids::{ClientId, ProviderId};
use jobs::money::Amount;

use crate::commands::{economics, wait_for_stop};
use crate::devnet::{Parent, Ready};
use crate::exit::{Coded, Exit};
use crate::home;
use crate::operator::Operated;
use crate::output::{Output, table};
use crate::place::At;

/// The operator's part of the game.
#[derive(Clone, Debug, Args)]
pub(crate) struct GameArgs {
    /// Take score reports of this validator; may be repeated [default: of nobody].
    #[arg(long)]
    validator: Vec<ProviderId>,
    /// Length of an epoch of the game in seconds. Another length begins a new count.
    #[arg(long, default_value_t = 3600)]
    epoch_seconds: u64,
    /// The most that one epoch is rewarded with, in units, from what was deposited to `rewards`.
    #[arg(long, default_value = "0")]
    epoch_reward: Amount,
}

impl From<GameArgs> for GameConfig {
    fn from(args: GameArgs) -> Self {
        Self {
            validators: args.validator.into_iter().collect(),
            epoch_ms: args.epoch_seconds.saturating_mul(1000),
            epoch_reward: args.epoch_reward,
        }
    }
}

/// Run an aggregator.
#[derive(Debug, Subcommand)]
pub(crate) enum AggregatorCommand {
    /// Serve until Ctrl-C or SIGTERM.
    Start {
        /// Directory of its key, store and blobs.
        #[arg(long)]
        data: PathBuf,
        /// Where its HTTP interface listens; port 0 picks one.
        #[arg(long, default_value = "127.0.0.1:7700")]
        http: SocketAddr,
        /// Multiaddress it listens on for peers; may be repeated.
        #[arg(long, default_values = ["/ip4/127.0.0.1/udp/7701/quic-v1", "/ip4/127.0.0.1/tcp/7701"])]
        p2p: Vec<String>,
        /// Fee on what providers get, in basis points (50 to 200).
        #[arg(long, default_value_t = 100)]
        fee_bps: u16,
        /// Take jobs of this client only; may be repeated [default: anyone who pays].
        #[arg(long)]
        trust: Vec<ClientId>,
        #[command(flatten)]
        auditing: economics::AuditingArgs,
        /// Name under which its HTTP interface is reached; may be repeated [default: addresses and localhost].
        /// Requests to other names are refused, so that no page can point a name of its own at this machine.
        #[arg(long)]
        http_name: Vec<String>,
        /// Origin whose pages may use the HTTP interface, such as https://example.org; may be repeated
        /// [default: none but its own].
        #[arg(long)]
        allow_origin: Vec<String>,
        /// Bound on the blobs it holds, in bytes.
        #[arg(long, default_value_t = aggregator::driver::BLOB_QUOTA)]
        blob_quota: u64,
        /// Give replicas of one shard to providers of one network too (/24 of IPv4, /48 of IPv6), as a market
        /// on one machine must. Providers of one operator stay apart in any case.
        #[arg(long)]
        one_network: bool,
        #[command(flatten)]
        game: GameArgs,
        #[command(flatten)]
        parent: Parent,
    },
    /// Show what cheating costs under the parameters of the audit policy; refuse unsafe ones by name, with
    /// code 2.
    Economics(economics::EconomicsArgs),
    /// Show an aggregator's health.
    Status {
        #[command(flatten)]
        at: At,
    },
    /// List the providers an aggregator knows.
    Providers {
        #[command(flatten)]
        at: At,
    },
    /// Give a provider no more work, whatever its reputation; its stake stays. Operators only.
    Ban {
        /// Its id.
        provider: ProviderId,
        /// Readmit it instead.
        #[arg(long)]
        undo: bool,
        #[command(flatten)]
        operated: Operated,
    },
    /// Write everything that the aggregator is into a new folder, while it serves. Operators only.
    ///
    /// The folder holds the keys too: whoever has it is the aggregator.
    Backup {
        /// A folder on the aggregator's machine, which must not exist.
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
        #[command(flatten)]
        operated: Operated,
    },
    /// Make a data directory of a backup, and audit what it holds.
    ///
    /// What was decided after the backup is not in it. Never run what is restored beside what it is a copy of.
    Restore {
        /// The backup.
        #[arg(long, value_name = "FOLDER")]
        from: PathBuf,
        /// The data directory, which must not exist.
        #[arg(long, value_name = "FOLDER")]
        data: PathBuf,
    },
}

pub(crate) async fn run(command: AggregatorCommand, output: Output) -> Result<()> {
    match command {
        AggregatorCommand::Start {
            data,
            http,
            p2p,
            fee_bps,
            trust,
            auditing,
            http_name,
            allow_origin,
            blob_quota,
            one_network,
            game,
            parent,
        } => {
            parent.bind()?;
            let config = AggregatorConfig {
                seed: identity(&data.join("identity.key"))?,
                operator_token: operator_token(&data.join("operator.token"))?,
                signers: policy(trust),
                data,
                http,
                p2p,
                fee_bps,
                http_names: http_name,
                http_origins: allow_origin,
                blob_quota,
                auditing: auditing.read()?,
                prefix_diversity: !one_network,
                game: game.into(),
            };
            start(config, output).await
        }
        AggregatorCommand::Economics(args) => economics::run(&args, output).await,
        AggregatorCommand::Status { at } => status(&at, output).await,
        AggregatorCommand::Providers { at } => providers(&at, output).await,
        AggregatorCommand::Ban {
            provider,
            undo,
            operated,
        } => {
            let client = operated.client()?;
            client
                .set_banned(&operated.token()?, provider, !undo)
                .await?;
            let value = serde_json::json!({ "provider": provider, "banned": !undo });
            let done = if undo { "readmitted" } else { "banned" };
            output.data(&value, || format!("{done} {provider}"))
        }
        AggregatorCommand::Backup { to, operated } => {
            let to = std::path::absolute(&to).with_context(|| to.display().to_string())?;
            let request = BackupRequest { to: to.clone() };
            let client = operated.client()?;
            let label = client.backup(&operated.token()?, &request).await?;
            backed_up(&label, &to, output)
        }
        AggregatorCommand::Restore { from, data } => match aggregator::restore(&from, &data) {
            Err(error) if error.is_callers_fault() => Err(error).code(Exit::Usage),
            Err(error) => Err(error).code(Exit::Verification),
            Ok(label) => backed_up(&label, &data, output),
        },
    }
}

async fn status(at: &At, output: Output) -> Result<()> {
    let health = at.client()?.health().await?;
    output.data(&health, || {
        format!(
            "status     {}\naggregator {}\nversion    {}\nproviders  {} online\njobs       {} open\n\
             events     {}\np2p        {}",
            health.status,
            health.aggregator,
            health.version,
            health.providers,
            health.open_jobs,
            health.events,
            health.p2p.join("\n           "),
        )
    })
}

fn backed_up(label: &BackupView, folder: &Path, output: Output) -> Result<()> {
    output.data(label, || {
        format!(
            "aggregator {}\nevents     {}\njournal    {} entries, {}\nblobs      {} ({} bytes)\nfolder     {}",
            label.aggregator,
            label.events,
            label.journal,
            label.journal_hash,
            label.blobs,
            label.blob_bytes,
            folder.display()
        )
    })
}

async fn start(config: AggregatorConfig, output: Output) -> Result<()> {
    let data = config.data.clone();
    let running = match aggregator::start(config).await {
        Err(error) if error.is_callers_fault() => Err(error).code(Exit::Usage)?,
        result => result?,
    };
    let ready = Ready {
        id: running.id.to_string(),
        http: format!("http://{}", running.http),
        p2p: running.p2p.clone(),
    };
    ready.write(&data)?;
    output.data(&ready, || {
        format!("aggregator {} serves at {}", ready.id, ready.http)
    })?;
    wait_for_stop().await?;
    output.say("stopping");
    running.stop().await;
    Ok(())
}

async fn providers(at: &At, output: Output) -> Result<()> {
    let providers = at.client()?.providers().await?;
    output.data(&providers, || {
        let rows: Vec<Vec<String>> = providers
            .iter()
            .map(|provider| {
                let standing = match (&provider.banned, provider.eligible) {
                    (Some(_), _) => "banned",
                    (None, false) => "demoted",
                    (None, true) => "good",
                };
                vec![
                    provider.id.to_string(),
                    if provider.online { "online" } else { "offline" }.into(),
                    standing.into(),
                    format!("{:.3}", f64::from(provider.reputation_ppm) / 1e6),
                    format!("{}/{}", provider.agreements, provider.disagreements),
                    if provider.operator == provider.id {
                        "itself".into()
                    } else {
                        provider.operator.short()
                    },
                    provider.prefix.clone(),
                    provider
                        .game_points
                        .map_or("-".into(), |points| points.to_string()),
                    provider.rewarded.to_string(),
                    format!("{:.1} %", f64::from(provider.audit_rate_ppb) / 1e7),
                    match provider.held_answers {
                        0 => "-".into(),
                        held => format!("{held} ({})", provider.held_at_most),
                    },
                    provider.device.name.clone(),
                ]
            })
            .collect();
        table(
            &[
                "provider",
                "",
                "standing",
                "reputation",
                "agreed/disagreed",
                "operator",
                "network",
                "game",
                "rewarded",
                "audited",
                "held",
                "device",
            ],
            &rows,
        )
    })
}

/// Whose jobs are taken: everyone's, unless somebody is named.
pub(crate) fn policy(trust: Vec<ClientId>) -> SignerPolicy {
    if trust.is_empty() {
        SignerPolicy::Any
    } else {
        SignerPolicy::Trusted(trust.into_iter().collect())
    }
}

/// The secret seed in `path`; made on the first start.
pub(crate) fn identity(path: &Path) -> Result<[u8; 32]> {
    let secret = secret(path)?;
    let mut seed = [0; 32];
    hex::decode_to_slice(&secret, &mut seed)
        .with_context(|| format!("{} does not hold 64 hexadecimal digits", path.display()))?;
    Ok(seed)
}

fn operator_token(path: &Path) -> Result<String> {
    secret(path)
}

/// A random secret of 32 bytes in hexadecimal; made on the first start, readable by its owner alone.
fn secret(path: &Path) -> Result<String> {
    if !path.exists() {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        home::write_secret(path, &hex::encode(bytes))?;
    }
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text.trim().to_owned())
}
