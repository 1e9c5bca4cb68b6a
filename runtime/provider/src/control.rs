//! What an operator asks a running provider, over a socket in its data directory.
//!
//! One line of JSON each way: [`Request`], then [`Reply`]. The socket is for its owner alone: the file's mode keeps
//! others out, and so does a look at who connects. Everything about it is bounded, and none of it is on the way of
//! an assignment: [`socket`] listens and reads, [`act`] does what is asked.

use jobs::digest::Digest;
use jobs::ids::{AggregatorId, ClientId, ProviderId};
use jobs::money::Amount;
use jobs::offer::{DeviceSpec, Price};
use jobs::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::choices::{Changes, Choices, Mode};
use crate::mode::Rest;

mod act;
mod socket;

pub(crate) use socket::Socket;
pub use socket::{CONNECTIONS_MAX, LINE_BYTES_MAX, LINE_WALL, path_of};

/// The protocol's version, which both sides name.
pub const VERSION: u32 = 1;

/// The socket's name in the data directory.
pub const SOCKET_FILE: &str = "control.sock";

/// Blobs in one list at most.
pub const BLOBS_MAX: usize = 4096;

/// What is asked, and in which version.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`VERSION`].
    pub version: u32,
    /// What.
    pub ask: Ask,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// What it is doing: [`StatusView`].
    Status,
    /// Take no more work, or take work again: [`StatusView`].
    Drain {
        /// Take work again.
        undo: bool,
    },
    /// When to work, for good or for a while: [`StatusView`].
    Mode {
        /// Which mode.
        mode: Mode,
        /// For how many milliseconds; for good if nothing is said.
        for_ms: Option<u64>,
    },
    /// What may be chosen anew: [`ChoicesView`].
    Choices,
    /// Ask another price: [`ChoicesView`].
    Price {
        /// Of 10^9 units of fuel.
        per_gfuel: Option<Amount>,
        /// Of a second of device time.
        per_device_second: Option<Amount>,
        /// Go back to the configuration first.
        reset: bool,
    },
    /// Change whose jobs are taken, and which: [`ChoicesView`].
    Policy(PolicyChange),
    /// What is under way: a list of [`crate::TaskView`].
    Tasks,
    /// Hand an assignment back: whether it was under way.
    Abort {
        /// Which: its id, or as much of it as tells it from the others.
        assignment: String,
    },
    /// What was asked for work since a time: a list of [`crate::Day`].
    Earnings {
        /// Since when.
        since: Timestamp,
    },
    /// What the cache holds: [`CacheView`].
    Cache,
    /// Remove what nobody needs until so many bytes are left: [`CacheView`].
    CachePrune {
        /// How many.
        keep_bytes: u64,
    },
    /// Remove one blob: [`CacheView`].
    CacheRemove {
        /// Which.
        blob: Digest,
    },
}

/// One change of the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PolicyChange {
    /// Take jobs of this client; once anybody is named, of nobody else.
    Allow(ClientId),
    /// Take no jobs of this client.
    Deny(ClientId),
    /// Neither allow nor deny this client.
    Forget(ClientId),
    /// Take jobs of anybody who is not denied.
    AllowAnyone,
    /// Largest model, in bytes.
    ModelMax(u64),
    /// Smallest reward.
    RewardMin(Amount),
    /// Go back to the configuration.
    Reset,
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// What was asked for.
    Answer(serde_json::Value),
    /// Why not.
    Error(Denial),
}

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Denial {
    /// For programs: `version`, `request`, `too-large`, `timeout`, `busy`, `not-yours`, `value`, `unknown`, `needed`
    /// or `internal`.
    pub code: String,
    /// For people.
    pub message: String,
}

impl Denial {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
        }
    }
}

/// An aggregator that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregatorView {
    /// Who.
    pub id: AggregatorId,
    /// Whether it holds an offer.
    pub listed: bool,
    /// Whether the operator named it.
    pub named: bool,
}

/// What a provider is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// Who it is.
    pub provider: ProviderId,
    /// Of which program.
    pub version: String,
    /// The daemon's process.
    pub process: u32,
    /// For how long it runs, in seconds.
    pub uptime_s: u64,
    /// `working`, `draining` or `drained` at the operator's wish, `resting`, or `stopping`.
    pub state: String,
    /// Why it does not work, if it does not.
    pub why: Option<String>,
    /// When it works.
    pub mode: Mode,
    /// Until when, if that is for a while.
    pub mode_until: Option<Timestamp>,
    /// How it cheats on purpose, if it does.
    pub misbehaves: Option<String>,
    /// With what it works.
    pub device: DeviceSpec,
    /// Why models cannot be used, if they cannot.
    pub no_models: Option<String>,
    /// What it asks.
    pub price: Price,
    /// Shards executed at the same time.
    pub workers: u16,
    /// Assignments under way.
    pub held: usize,
    /// Commitments that are still to be revealed.
    pub unrevealed: usize,
    /// Workers that wait for one.
    pub workers_idle: usize,
    /// Largest memory of a guest, in bytes.
    pub memory_bytes_max: u64,
    /// Largest fuel limit.
    pub fuel_max: u64,
    /// Largest model, in bytes.
    pub model_bytes_max: u64,
    /// Smallest reward.
    pub reward_min: Amount,
    /// Where peers reach it; nowhere: over the connections that it makes.
    pub listens: Vec<String>,
    /// The aggregators that it knows.
    pub aggregators: Vec<AggregatorView>,
    /// Shards committed to today (Universal Time), as far as they are remembered.
    pub done_today: u64,
    /// Shards that failed or were handed back today, as far as they are remembered.
    pub failed_today: u64,
    /// Assignments refused since the start.
    pub refused: u64,
    /// Outcomes and failures that an aggregator has not heard of yet.
    pub unreported: usize,
    /// What was asked for the shards of today.
    pub asked_today: Amount,
    /// Bytes in the cache.
    pub cache_bytes: u64,
    /// Most bytes in the cache.
    pub cache_bytes_max: u64,
    /// Protections that workers go without on this machine; nothing if none was started yet.
    pub sandbox_missing: Option<Vec<String>>,
}

impl StatusView {
    /// The word for what it is doing.
    pub(crate) const fn state_of(rest: Option<&Rest>, busy: bool) -> &'static str {
        match (rest, busy) {
            (None, _) => "working",
            (Some(Rest::Stopping), _) => "stopping",
            (Some(Rest::Draining), true) => "draining",
            (Some(Rest::Draining), false) => "drained",
            (Some(Rest::Never | Rest::InUse(_)), _) => "resting",
        }
    }
}

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChoicesView {
    /// What holds.
    pub choices: Choices,
    /// What of it was changed while a provider ran, and so goes before the configuration.
    pub changes: Changes,
}

/// A blob in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobView {
    /// Which.
    pub blob: Digest,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether an assignment needs it, so that it stays.
    pub needed: bool,
}

/// What the cache holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheView {
    /// Bytes used, hash trees and blobs that have not arrived whole included.
    pub used_bytes: u64,
    /// Most bytes.
    pub max_bytes: u64,
    /// Blobs in all.
    pub blobs: usize,
    /// The largest of them, at most [`BLOBS_MAX`].
    pub list: Vec<BlobView>,
    /// Blobs that were removed now.
    pub removed: usize,
}
