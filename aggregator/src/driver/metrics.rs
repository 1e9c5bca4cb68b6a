//! What an operator's instruments read, in the text format of OpenMetrics. Names and meanings are part of the contract of
//! `/metrics` and listed in `docs/src/reference/metrics.md`.
//!
//! Everything that the core knows is counted when it is asked for, so that a restart loses none of it. Only how long things
//! took is noted as they happen.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jobs::ids::{AssignmentId, JobId};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::Shared;
use super::handle::QUEUE_MAX;
use crate::core::census::{Census, ProviderStanding, Purse};
use crate::core::progress::Progress;
use crate::core::view::JobStatus;
use crate::core::{Core, Event};

/// Most providers that are listed one by one: each is a time series for whoever stores them.
const PROVIDERS_LISTED_MAX: usize = 1_000;

/// What took how long, since the process began.
#[derive(Clone, Debug)]
pub(crate) struct Meters {
    accepted: Histogram,
    committed: Histogram,
    verdict: Histogram,
    commit: Histogram,
    batch: Histogram,
}

impl Default for Meters {
    fn default() -> Self {
        // From a millisecond to half an hour.
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 22));
        Self {
            accepted: seconds(),
            committed: seconds(),
            verdict: seconds(),
            commit: Histogram::new(exponential_buckets(0.000_1, 2.0, 18)),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 8)),
        }
    }
}

/// What an event is about, looked at before the core takes it.
pub(crate) enum Watch {
    Nothing,
    Accepted(AssignmentId),
    Committed(AssignmentId),
    Judged((JobId, u32)),
}

impl Watch {
    /// What to note once `event` is taken.
    pub(crate) fn on(event: &Event, core: &Core) -> Self {
        let judged = |shard: Option<(JobId, u32)>| match shard {
            Some(shard) if !core.is_accepted(shard) => Self::Judged(shard),
            _ => Self::Nothing,
        };
        match event {
            Event::AssignAccepted { assignment } => Self::Accepted(*assignment),
            Event::Committed { commitment } => Self::Committed(commitment.assignment),
            Event::Revealed { assignment, .. } | Event::RevealFailed { assignment } => {
                judged(core.shard_of(*assignment))
            }
            Event::Compared { job, shard, .. } => judged(Some((*job, *shard))),
            _ => Self::Nothing,
        }
    }
}

impl Meters {
    /// Notes what came of an event.
    pub(crate) fn note(&self, watch: &Watch, core: &Core) {
        let since = |assignment: &AssignmentId, accepted: bool| {
            let times = core.times(*assignment)?;
            let at = if accepted {
                times.accepted
            } else {
                times.committed
            };
            Some(at?.0.saturating_sub(times.dispatched.0))
        };
        let (histogram, ms) = match watch {
            Watch::Nothing => return,
            Watch::Accepted(assignment) => (&self.accepted, since(assignment, true)),
            Watch::Committed(assignment) => (&self.committed, since(assignment, false)),
            Watch::Judged(shard) => {
                let accepted = core.is_accepted(*shard);
                let ms = accepted.then(|| core.since_dispatched(*shard));
                (&self.verdict, ms.flatten())
            }
        };
        if let Some(ms) = ms {
            histogram.observe(ms as f64 / 1e3);
        }
    }

    /// Notes a synced write.
    pub(crate) fn wrote(&self, events: usize, took: std::time::Duration) {
        self.batch.observe(events as f64);
        self.commit.observe(took.as_secs_f64());
    }
}

/// The core and the process in numbers, as text.
pub(crate) fn render(census: &Census, shared: &Shared) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("assay");
    describe(&mut registry, shared);
    work(&mut registry, census);
    providers(&mut registry, census);
    money(&mut registry, census);
    latencies(&mut registry, &shared.meters);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn describe(registry: &mut Registry, shared: &Shared) {
    let version = ("version", env!("CARGO_PKG_VERSION"));
    let identity = ("aggregator", shared.id.to_string());
    let info = Info::new([
        (version.0.to_owned(), version.1.to_owned()),
        (identity.0.to_owned(), identity.1),
    ]);
    registry.register("build", "Which program this is, and whose", info);
    let halted = i64::from(shared.halted.load(Ordering::Relaxed));
    gauge(
        registry,
        "store_halted",
        "1 once the store failed: only reads are served",
        halted,
    );
    let usage = shared.blobs.usage();
    gauge(
        registry,
        "blob_bytes",
        "Bytes of blobs held",
        signed(usage.used),
    );
    gauge(
        registry,
        "blob_quota_bytes",
        "Most bytes of blobs held",
        signed(usage.quota),
    );
    let [blobs, bytes] = shared.collector.removed();
    counter(
        registry,
        "blobs_collected",
        "Blobs removed because nobody needs them any more",
        blobs,
    );
    counter(
        registry,
        "blob_bytes_collected",
        "Bytes that they took",
        bytes,
    );
    let waiting = shared.handle.waiting();
    gauge(
        registry,
        "queue_depth",
        "Events that wait to be decided",
        signed(waiting as u64),
    );
    gauge(
        registry,
        "queue_depth_max",
        "Events that may wait before requests are refused as busy",
        signed(QUEUE_MAX as u64),
    );
}

fn work(registry: &mut Registry, census: &Census) {
    let jobs = family(registry, "jobs", "Jobs that are known, by phase");
    for phase in JOBS {
        let count = census.jobs.get(&phase).copied().unwrap_or(0);
        set(
            &jobs,
            Named {
                phase: job_word(phase),
            },
            count,
        );
    }
    let shards = family(registry, "shards", "Shards of open jobs, by state");
    for (progress, word) in SHARDS {
        let count = census.shards.get(&progress).copied().unwrap_or(0);
        set(&shards, Stated { state: word }, count);
    }
    let busy = census
        .providers
        .iter()
        .map(|provider| u64::from(provider.busy))
        .sum();
    gauge(
        registry,
        "assignments_in_flight",
        "Assignments given out and not executed yet",
        signed(busy),
    );
    counter(
        registry,
        "replicas_agreed",
        "Replicas that agreed with a verdict",
        census.agreed,
    );
    counter(
        registry,
        "replicas_outvoted",
        "Replicas that a verdict left out: their part of all is the rate of disagreement",
        census.outvoted,
    );
    counter(
        registry,
        "assignments_failed",
        "Assignments that a provider refused, failed or let expire",
        census.failed,
    );
}

fn providers(registry: &mut Registry, census: &Census) {
    let standings = family(
        registry,
        "providers",
        "Providers that are known, by standing",
    );
    for (standing, word) in STANDINGS {
        let of = census
            .providers
            .iter()
            .filter(|provider| provider.standing == standing);
        set(&standings, Standing { standing: word }, of.count() as u64);
    }
    let reputation = Family::<Provider, Gauge<f64, AtomicU64>>::default();
    registry.register(
        "provider_reputation_ratio",
        "A provider's reputation, 0 to 1",
        reputation.clone(),
    );
    let flight = family(
        registry,
        "provider_assignments_in_flight",
        "Assignments a provider has yet to execute",
    );
    for provider in census.providers.iter().take(PROVIDERS_LISTED_MAX) {
        let label = Provider {
            provider: provider.id.to_string(),
        };
        reputation
            .get_or_create(&label)
            .set(f64::from(provider.reputation_ppm) / 1e6);
        set(&flight, label, u64::from(provider.busy));
    }
}

fn money(registry: &mut Registry, census: &Census) {
    let posted = family(
        registry,
        "money_micro_units",
        "What stands in accounts, by what they are for",
    );
    let pending = family(
        registry,
        "money_reserved_micro_units",
        "What of it is reserved by transfers that are not resolved",
    );
    let (mut debits, mut credits) = (0_u128, 0_u128);
    for (purse, word) in PURSES {
        let stand = census.money.get(&purse).copied().unwrap_or_default();
        let label = Account { account: word };
        let net = match stand.credits.checked_sub(stand.debits) {
            Some(net) => bounded(net),
            None => bounded(stand.debits.saturating_sub(stand.credits)).saturating_neg(),
        };
        posted.get_or_create(&label).set(net);
        pending.get_or_create(&label).set(bounded(stand.pending));
        debits = debits.saturating_add(stand.debits);
        credits = credits.saturating_add(stand.credits);
    }
    let credited = |purse| census.money.get(&purse).map_or(0, |stand| stand.credits);
    let total = |amount: u128| u64::try_from(amount).unwrap_or(u64::MAX);
    counter(
        registry,
        "released_micro_units",
        "What providers were paid",
        total(credited(Purse::Provider)),
    );
    counter(
        registry,
        "slashed_micro_units",
        "Stake that was taken",
        total(credited(Purse::Slashed)),
    );
    counter(
        registry,
        "escrowed_micro_units",
        "What clients put in escrow",
        total(credited(Purse::Escrow)),
    );
    counter(
        registry,
        "journal_entries",
        "Entries of the ledger's journal",
        census.journal,
    );
    gauge(
        registry,
        "ledger_conserved",
        "1 while debits equal credits over all accounts",
        i64::from(debits == credits),
    );
}

fn latencies(registry: &mut Registry, meters: &Meters) {
    let histograms = [
        (
            "dispatch_seconds",
            "From an assignment's dispatch to its acceptance",
            &meters.accepted,
        ),
        (
            "commit_seconds",
            "From an assignment's dispatch to its commitment",
            &meters.committed,
        ),
        (
            "verdict_seconds",
            "From a shard's first dispatch to its verdict",
            &meters.verdict,
        ),
        (
            "store_commit_seconds",
            "One synced write of decided events",
            &meters.commit,
        ),
        (
            "store_commit_events",
            "Events in one synced write",
            &meters.batch,
        ),
    ];
    for (name, help, histogram) in histograms {
        registry.register(name, help, histogram.clone());
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: i64) {
    registry.register(name, help, ConstGauge::new(value));
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register(name, help, ConstCounter::new(value));
}

type Counts<L> = Family<L, Gauge<i64, AtomicI64>>;

fn family<L>(registry: &mut Registry, name: &str, help: &str) -> Counts<L>
where
    L: EncodeLabelSet + Clone + Debug + Hash + Eq + Send + Sync + 'static,
{
    let family = Counts::default();
    registry.register(name, help, family.clone());
    family
}

fn set<L: Clone + Hash + Eq>(family: &Counts<L>, label: L, value: u64) {
    family.get_or_create(&label).set(signed(value));
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn bounded(value: u128) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stated {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Standing {
    standing: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Account {
    account: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Provider {
    provider: String,
}

const JOBS: [JobStatus; 7] = [
    JobStatus::Preparing,
    JobStatus::Running,
    JobStatus::Merging,
    JobStatus::Provisional,
    JobStatus::Ending,
    JobStatus::Done,
    JobStatus::Failed,
];

const fn job_word(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Preparing => "waiting",
        JobStatus::Running => "running",
        JobStatus::Merging => "merging",
        JobStatus::Provisional => "provisional",
        JobStatus::Ending => "ending",
        JobStatus::Done => "done",
        JobStatus::Failed => "failed",
    }
}

const SHARDS: [(Progress, &str); 7] = [
    (Progress::Waiting, "waiting"),
    (Progress::Working, "working"),
    (Progress::Answered, "answered"),
    (Progress::Undecided, "undecided"),
    (Progress::Accepted, "accepted"),
    (Progress::Contested, "contested"),
    (Progress::Failed, "failed"),
];

const STANDINGS: [(ProviderStanding, &str); 4] = [
    (ProviderStanding::Online, "online"),
    (ProviderStanding::Offline, "offline"),
    (ProviderStanding::Demoted, "demoted"),
    (ProviderStanding::Banned, "banned"),
];

const PURSES: [(Purse, &str); 8] = [
    (Purse::Client, "client"),
    (Purse::Escrow, "escrow"),
    (Purse::Provider, "provider"),
    (Purse::Stake, "stake"),
    (Purse::Fee, "fee"),
    (Purse::Slashed, "slashed"),
    (Purse::Rewards, "rewards"),
    (Purse::Outside, "outside"),
];
