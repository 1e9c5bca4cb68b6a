//! Every column there is. A column holds the rows of one table; `Meta` holds the single-row cells.

use std::fmt;

/// A column: a named, separately sorted set of rows.
///
/// The names are on disk. A column may be added; a name may never be changed or reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Column {
    /// Single rows: store format, ledger head, counters. See [`crate::Cell`].
    Meta,
    /// Ledger: the hash-chained journal, by sequence number.
    Journal,
    /// Ledger: balances, by account.
    Balances,
    /// Ledger: pending transfers and how each was resolved, by transfer id.
    Pendings,
    /// Aggregator: snapshots of the deciding core.
    Snapshots,
    /// Aggregator: the events fed to the core since its last snapshot, in order.
    Events,
    /// Aggregator: jobs, by job id.
    Jobs,
    /// Aggregator: shards of a job, by job id and index.
    Shards,
    /// Aggregator: assignments, by assignment id.
    Assignments,
    /// Aggregator: receipts, by job, shard and provider.
    Receipts,
    /// Aggregator: results of finished jobs, by job id.
    Results,
    /// Aggregator: provider records: offers, reputation, stake standing.
    Providers,
    /// Aggregator: client records, by client id.
    Clients,
    /// Aggregator: answered requests, by idempotency key.
    Idempotency,
    /// Aggregator: effects decided but not yet carried out, in order.
    Outbox,
    /// Aggregator: the transparency log's leaves, in order.
    Log,
    /// Aggregator: what validators reported, by validator and epoch.
    Scores,
    /// Aggregator: signed accusations, by case.
    Cases,
    /// Aggregator: nonces of signed requests, by client.
    Nonces,
    /// Aggregator: kept answers, by when they may be forgotten.
    Due,
    /// Aggregator: what finished jobs left behind and is kept, by job id.
    Kept,
    /// Aggregator: finished jobs whose results are kept no longer, by job id.
    Collected,
}

impl Column {
    /// All columns, in the order a fresh store creates them.
    pub const ALL: [Self; 22] = [
        Self::Meta,
        Self::Journal,
        Self::Balances,
        Self::Pendings,
        Self::Snapshots,
        Self::Events,
        Self::Jobs,
        Self::Shards,
        Self::Assignments,
        Self::Receipts,
        Self::Results,
        Self::Providers,
        Self::Clients,
        Self::Idempotency,
        Self::Outbox,
        Self::Log,
        Self::Scores,
        Self::Cases,
        Self::Nonces,
        Self::Due,
        Self::Kept,
        Self::Collected,
    ];

    /// The name on disk and in error messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Journal => "journal",
            Self::Balances => "balances",
            Self::Pendings => "pendings",
            Self::Snapshots => "snapshots",
            Self::Events => "events",
            Self::Jobs => "jobs",
            Self::Shards => "shards",
            Self::Assignments => "assignments",
            Self::Receipts => "receipts",
            Self::Results => "results",
            Self::Providers => "providers",
            Self::Clients => "clients",
            Self::Idempotency => "idempotency",
            Self::Outbox => "outbox",
            Self::Log => "log",
            Self::Scores => "scores",
            Self::Cases => "cases",
            Self::Nonces => "nonces",
            Self::Due => "due",
            Self::Kept => "kept",
            Self::Collected => "collected",
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
