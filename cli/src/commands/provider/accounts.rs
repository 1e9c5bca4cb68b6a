//! How a provider does: its own word, and its aggregator's where that can be asked.

use std::time::Duration;

use anyhow::Result;
use api::types::ProviderView;
use clap::Args;
use jobs::ids::ProviderId;
use jobs::money::Amount;
use jobs::time::Timestamp;
use provider::Day;
use provider::control::{Ask, StatusView};
use serde::Serialize;

use super::{control, start};
use crate::control::DataDir;
use crate::output::{Output, table};
use crate::period;

/// The longest that an aggregator may take to say how a provider stands.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whom to ask beside the provider.
#[derive(Debug, Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    data: DataDir,
    /// URL of an aggregator's HTTP interface, to ask what it says of this provider
    /// [default: the first URL among the configured aggregators; nobody if there is none].
    #[arg(long, value_name = "URL", env = "ASSAY_AGGREGATOR")]
    aggregator: Option<String>,
}

/// What to show.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    asked: Asked,
}

/// Which earnings.
#[derive(Debug, Args)]
pub(crate) struct Earnings {
    /// Of how long, for example 7d.
    #[arg(long, value_parser = period::parse, default_value = "30d")]
    since: Duration,
    #[command(flatten)]
    asked: Asked,
}

/// What an aggregator says of a provider.
#[derive(Debug, Serialize)]
struct Word {
    /// Which aggregator, by its URL.
    at: String,
    /// What it knows of the provider; nothing if it knows none.
    provider: Option<ProviderView>,
    /// What it paid so far, in all.
    paid: Amount,
    /// The stake that it holds.
    stake: Amount,
    /// Why it does not say, if it does not.
    unknown: Option<String>,
}

impl Asked {
    fn url(&self) -> Result<Option<String>> {
        match &self.aggregator {
            Some(url) => Ok(Some(url.clone())),
            None => start::configured_url(&self.data.path()?),
        }
    }

    /// What the aggregator says. That it does not answer is part of the answer: the rest is known all the same.
    async fn word(&self, id: ProviderId) -> Result<Option<Word>> {
        let Some(at) = self.url()? else {
            return Ok(None);
        };
        let client = api::client::Client::new(&at).with_patience(PATIENCE);
        let known = async {
            let providers = client.providers().await?;
            Ok::<_, api::client::Error>((providers, client.balances().await?))
        };
        Ok(Some(match known.await {
            Ok((providers, balances)) => {
                let account = |kind: &str| {
                    let name = format!("{kind}:{id}");
                    balances.iter().find(|balance| balance.account == name)
                };
                let paid = account("provider").map_or(Amount::ZERO, |balance| balance.credits);
                let stake = account("stake").map_or(Amount::ZERO, |balance| {
                    balance.credits.saturating_sub(balance.debits)
                });
                Word {
                    at,
                    provider: providers.into_iter().find(|view| view.id == id),
                    paid,
                    stake,
                    unknown: None,
                }
            }
            Err(error) => Word {
                at,
                provider: None,
                paid: Amount::ZERO,
                stake: Amount::ZERO,
                unknown: Some(error.to_string()),
            },
        }))
    }
}

pub(super) async fn status(args: Status, output: Output) -> Result<()> {
    #[derive(Serialize)]
    struct Whole {
        #[serde(flatten)]
        status: StatusView,
        aggregator_says: Option<Word>,
    }
    let status: StatusView = args.asked.data.ask(Ask::Status).await?;
    let word = args.asked.word(status.provider).await?;
    let whole = Whole {
        status,
        aggregator_says: word,
    };
    output.data(&whole, || {
        let mut rows = describe(&whole.status);
        rows.extend(
            whole
                .aggregator_says
                .as_ref()
                .map(standing)
                .unwrap_or_default(),
        );
        let rows = rows
            .into_iter()
            .map(|(key, value)| format!("{key:<12} {value}"));
        rows.collect::<Vec<_>>().join("\n")
    })
}

fn describe(status: &StatusView) -> Vec<(&'static str, String)> {
    let price = status.price;
    let mut rows = vec![
        ("provider", status.provider.to_string()),
        ("mode", control::mode_line(status)),
        (
            "uptime",
            format!(
                "{} s, process {}, version {}",
                status.uptime_s, status.process, status.version
            ),
        ),
        (
            "device",
            format!("{:?}, {}", status.device.kind, status.device.name),
        ),
        (
            "workers",
            format!(
                "{}: {} assignments held, {} idle; {} to be revealed",
                status.workers, status.held, status.workers_idle, status.unrevealed
            ),
        ),
        (
            "price",
            format!(
                "{} for 10^9 fuel, {} for a device second",
                price.per_gfuel, price.per_device_second
            ),
        ),
        (
            "today",
            format!(
                "{} shards done, {} failed; {} assignments refused since the start",
                status.done_today, status.failed_today, status.refused
            ),
        ),
        ("asked today", status.asked_today.to_string()),
        ("unreported", status.unreported.to_string()),
        (
            "cache",
            format!("{} of {} bytes", status.cache_bytes, status.cache_bytes_max),
        ),
    ];
    rows.extend(surroundings(status));
    rows
}

/// What keeps its jobs in, and who is around.
fn surroundings(status: &StatusView) -> Vec<(&'static str, String)> {
    let below = |lines: Vec<String>, none: &str| match lines.is_empty() {
        true => none.to_owned(),
        false => lines.join("\n             "),
    };
    let aggregators = status.aggregators.iter().map(|aggregator| {
        let listed = if aggregator.listed {
            "has the offer"
        } else {
            "has no offer"
        };
        format!("{} {listed}", aggregator.id.short())
    });
    let sandbox = match &status.sandbox_missing {
        None => "no worker was started yet".to_owned(),
        Some(missing) if missing.is_empty() => "whole".to_owned(),
        Some(missing) => format!("workers go without {}", missing.join("; ")),
    };
    let nowhere = "nowhere: over the connections that it makes";
    let mut rows = vec![
        ("sandbox", sandbox),
        ("listens", below(status.listens.clone(), nowhere)),
        ("aggregators", below(aggregators.collect(), "none")),
    ];
    let models = status.no_models.as_ref();
    rows.extend(models.map(|why| ("models", format!("cannot be used: {why}"))));
    let cheats = status.misbehaves.clone();
    rows.extend(cheats.map(|how| ("CHEATS", how)));
    rows
}

fn standing(word: &Word) -> Vec<(&'static str, String)> {
    let at = word.at.clone();
    if let Some(why) = &word.unknown {
        return vec![("says", format!("nothing at {at}: {why}"))];
    }
    let Some(view) = &word.provider else {
        return vec![(
            "says",
            format!("that it does not know this provider, at {at}"),
        )];
    };
    let reputation = format!("{:.3}", f64::from(view.reputation_ppm) / 1e6);
    vec![
        ("at", at),
        (
            "reputation",
            format!(
                "{reputation}; {} agreed, {} disagreed, {} failed{}",
                view.agreements,
                view.disagreements,
                view.failures,
                if view.eligible { "" } else { "; given no work" }
            ),
        ),
        (
            "paid",
            format!("{} in all, {} held at most", word.paid, view.held_at_most),
        ),
        ("stake", word.stake.to_string()),
    ]
}

pub(super) async fn earnings(args: Earnings, output: Output) -> Result<()> {
    #[derive(Serialize)]
    struct Whole {
        days: Vec<Day>,
        asked: Amount,
        aggregator_says: Option<Word>,
    }
    let status: StatusView = args.asked.data.ask(Ask::Status).await?;
    let ms = u64::try_from(args.since.as_millis()).unwrap_or(u64::MAX);
    let since = Timestamp(now_ms().saturating_sub(ms));
    let days: Vec<Day> = args.asked.data.ask(Ask::Earnings { since }).await?;
    let sum = days
        .iter()
        .try_fold(Amount::ZERO, |sum, day| sum.checked_add(day.asked));
    let whole = Whole {
        asked: sum.unwrap_or(Amount::ZERO),
        days,
        aggregator_says: args.asked.word(status.provider).await?,
    };
    output.data(&whole, || {
        let rows: Vec<Vec<String>> = whole.days.iter().map(day_row).collect();
        let table = table(&["day", "shards", "fuel", "device s", "asked"], &rows);
        let paid = match &whole.aggregator_says {
            Some(word) if word.unknown.is_none() => {
                let held = word
                    .provider
                    .as_ref()
                    .map_or(Amount::ZERO, |view| view.held_at_most);
                format!(
                    "{} says: {} paid in all, {held} held at most until it is final",
                    word.at, word.paid
                )
            }
            Some(word) => format!(
                "what was paid is not known: {}",
                word.unknown.clone().unwrap_or_default()
            ),
            None => {
                "what was paid only an aggregator knows: name its URL with --aggregator".to_owned()
            }
        };
        format!("{table}\n\n{} asked; {paid}", whole.asked)
    })
}

fn day_row(day: &Day) -> Vec<String> {
    vec![
        period::date(day.start.0),
        day.shards.to_string(),
        day.fuel.to_string(),
        format!("{:.1}", day.device_us as f64 / 1e6),
        day.asked.to_string(),
    ]
}

#[expect(clippy::disallowed_methods, reason = "which days a person asks about")]
fn now_ms() -> u64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| {
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    })
}
