//! `assay aggregator`: run an aggregator, or ask one.

mod init;
pub(crate) mod start;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use api::types::{BackupRequest, BackupView, CollectionView};
use clap::Subcommand;
use jobs::ids::ProviderId;

use crate::commands::economics;
use crate::exit::{Coded, Exit};
use crate::home;
use crate::operator::Operated;
use crate::output::{Output, table};
use crate::place::At;

/// Run an aggregator.
#[derive(Debug, Subcommand)]
pub(crate) enum AggregatorCommand {
    /// Make an aggregator's keys and a commented `aggregator.toml` that says how it runs.
    Init(init::Init),
    /// Serve until Ctrl-C or SIGTERM.
    Start(Box<start::Start>),
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
    /// Remove blobs that nobody needs any more, as the aggregator does by itself from time to time. Operators only.
    ///
    /// What open jobs need stays, and so do results of finished jobs for as long as `--keep-results` of
    /// `assay aggregator start` says. A blob that was written or read within ten minutes stays too.
    Gc {
        /// Remove nothing, and say what would be removed.
        #[arg(long)]
        dry_run: bool,
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
        AggregatorCommand::Init(settings) => init::run(settings, output),
        AggregatorCommand::Start(settings) => start::run(*settings, output).await,
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
        AggregatorCommand::Gc { dry_run, operated } => gc(dry_run, &operated, output).await,
        AggregatorCommand::Restore { from, data } => match aggregator::restore(&from, &data) {
            Err(error) if error.is_callers_fault() => Err(error).code(Exit::Usage),
            Err(error) => Err(error).code(Exit::Verification),
            Ok(label) => backed_up(&label, &data, output),
        },
    }
}

async fn gc(dry_run: bool, operated: &Operated, output: Output) -> Result<()> {
    let client = operated.client()?;
    let view = client.collect(&operated.token()?, dry_run).await?;
    output.data(&view, || collected(&view))
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

/// What a round did, for people.
fn collected(view: &CollectionView) -> String {
    let did = if view.dry_run {
        "would remove"
    } else {
        "removed"
    };
    let kept = match view.keep_days {
        0 => "until their room is needed".to_owned(),
        days => format!("{days} days"),
    };
    let mut text = format!(
        "{did:<12} {} blobs ({} bytes)\nresults      of {} finished jobs, which are kept {kept}\n\
         held         {} blobs ({} of {} bytes)",
        view.blobs,
        view.bytes,
        view.jobs.len(),
        view.blobs_left,
        view.bytes_left,
        view.quota,
    );
    if view.more {
        text += "\nmore         is left for another round: say it again";
    }
    text
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

/// The secret seed in `path`; made on the first start.
pub(crate) fn identity(path: &Path) -> Result<[u8; 32]> {
    let secret = secret(path)?;
    let mut seed = [0; 32];
    hex::decode_to_slice(&secret, &mut seed)
        .with_context(|| format!("{} does not hold 64 hexadecimal digits", path.display()))?;
    Ok(seed)
}

/// The secret that lets an operator act; made on the first start.
fn operator_token(data: &Path) -> Result<String> {
    secret(&data.join("operator.token"))
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
