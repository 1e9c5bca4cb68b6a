//! What happens, as it happens: typed events with ids, kept for a while for who was away.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use jobs::ids::{JobId, ProviderId};
use jobs::money::Amount;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::openapi::schema;
use crate::types::JobPhase;

/// Events that are kept for who was away.
pub const KEPT_MAX: usize = 8192;

/// Events that one reader may lag behind before it is dropped.
pub const LAG_MAX: usize = 1024;

/// Something that happened. Who executes a shard is not told before its job has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Happening {
    /// A job is in another phase.
    JobPhase {
        /// Which.
        #[schemars(with = "schema::JobId")]
        job: JobId,
        /// In which.
        phase: JobPhase,
        /// Why it failed.
        reason: Option<String>,
    },
    /// A shard was given out once more.
    ShardDispatched {
        /// Of which job.
        #[schemars(with = "schema::JobId")]
        job: JobId,
        /// Which.
        shard: u32,
    },
    /// Somebody committed to an answer.
    ShardCommitted {
        /// Of which job.
        #[schemars(with = "schema::JobId")]
        job: JobId,
        /// Which.
        shard: u32,
    },
    /// Somebody revealed an answer.
    ShardRevealed {
        /// Of which job.
        #[schemars(with = "schema::JobId")]
        job: JobId,
        /// Which.
        shard: u32,
    },
    /// A shard has an accepted answer.
    ShardAccepted {
        /// Of which job.
        #[schemars(with = "schema::JobId")]
        job: JobId,
        /// Which.
        shard: u32,
    },
    /// A shard needs more replicas than it had.
    ShardUndecided {
        /// Of which job.
        #[schemars(with = "schema::JobId")]
        job: JobId,
        /// Which.
        shard: u32,
        /// How many it should have now.
        replicas: u32,
    },
    /// Answers were left out by a verdict.
    Disagreement {
        /// Of which job.
        #[schemars(with = "schema::JobId")]
        job: JobId,
        /// Of which shard.
        shard: u32,
        /// How many so far.
        replicas: u32,
    },
    /// Providers were paid.
    Payment {
        /// For which job.
        #[schemars(with = "schema::JobId")]
        job: JobId,
        /// How much, all of them together.
        #[schemars(with = "schema::Amount")]
        amount: Amount,
    },
    /// A provider connected.
    ProviderOnline {
        /// Which.
        #[schemars(with = "schema::ProviderId")]
        provider: ProviderId,
    },
    /// A provider is gone.
    ProviderOffline {
        /// Which.
        #[schemars(with = "schema::ProviderId")]
        provider: ProviderId,
    },
    /// A provider is banned.
    ProviderBanned {
        /// Which.
        #[schemars(with = "schema::ProviderId")]
        provider: ProviderId,
    },
}

impl Happening {
    /// Which job it is about.
    pub const fn job(&self) -> Option<JobId> {
        match self {
            Self::JobPhase { job, .. }
            | Self::ShardDispatched { job, .. }
            | Self::ShardCommitted { job, .. }
            | Self::ShardRevealed { job, .. }
            | Self::ShardAccepted { job, .. }
            | Self::ShardUndecided { job, .. }
            | Self::Disagreement { job, .. }
            | Self::Payment { job, .. } => Some(*job),
            Self::ProviderOnline { .. }
            | Self::ProviderOffline { .. }
            | Self::ProviderBanned { .. } => None,
        }
    }

    /// Its name, as in `type`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::JobPhase { .. } => "job_phase",
            Self::ShardDispatched { .. } => "shard_dispatched",
            Self::ShardCommitted { .. } => "shard_committed",
            Self::ShardRevealed { .. } => "shard_revealed",
            Self::ShardAccepted { .. } => "shard_accepted",
            Self::ShardUndecided { .. } => "shard_undecided",
            Self::Disagreement { .. } => "disagreement",
            Self::Payment { .. } => "payment",
            Self::ProviderOnline { .. } => "provider_online",
            Self::ProviderOffline { .. } => "provider_offline",
            Self::ProviderBanned { .. } => "provider_banned",
        }
    }

    /// Whether nothing about its job can follow.
    pub const fn is_last(&self) -> bool {
        matches!(self, Self::JobPhase { phase, .. } if phase.is_terminal())
    }
}

/// Names an event: the number of its entry in the aggregator's log, and its place among what that entry led to. Ids
/// ascend over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId {
    /// Number of the log entry.
    pub entry: u64,
    /// Place among its events.
    pub place: u32,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.entry, self.place)
    }
}

impl FromStr for EventId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('.');
        let parts =
            parts.and_then(|(entry, place)| Some((entry.parse().ok()?, place.parse().ok()?)));
        let (entry, place) =
            parts.ok_or_else(|| format!("Last-Event-ID = {text:?}: must be NUMBER.NUMBER"))?;
        Ok(Self { entry, place })
    }
}

/// An event with its id.
pub type Numbered = Arc<(EventId, Happening)>;

/// Events, from the one that decides to all who read.
#[derive(Debug)]
pub struct Feed {
    kept: Mutex<Kept>,
    live: broadcast::Sender<Numbered>,
}

#[derive(Debug)]
struct Kept {
    events: VecDeque<Numbered>,
    /// What came up to here, and is not kept, is lost.
    forgotten: EventId,
}

/// What a reader begins with.
#[derive(Debug)]
pub struct Reading {
    /// What it missed, if that is kept.
    pub missed: Vec<Numbered>,
    /// Whether more was missed than is kept.
    pub lost: bool,
    /// What comes.
    pub live: broadcast::Receiver<Numbered>,
}

impl Feed {
    /// A feed that goes on after an entry of the log.
    pub fn after(entry: u64) -> Self {
        let forgotten = EventId { entry, place: 0 };
        let events = VecDeque::new();
        Self {
            kept: Mutex::new(Kept { events, forgotten }),
            live: broadcast::Sender::new(LAG_MAX),
        }
    }

    /// Tells what an entry of the log led to.
    pub fn publish(&self, entry: u64, happenings: Vec<Happening>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (happening, place) in happenings.into_iter().zip(0..) {
            let numbered = Arc::new((EventId { entry, place }, happening));
            if kept.events.len() >= KEPT_MAX
                && let Some(oldest) = kept.events.pop_front()
            {
                kept.forgotten = oldest.0;
            }
            kept.events.push_back(Arc::clone(&numbered));
            // Nobody reads, most of the time.
            let _ = self.live.send(numbered);
        }
    }

    /// Begins to read, after `last` if it is given.
    pub fn read(&self, last: Option<EventId>) -> Reading {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.live.subscribe();
        let Some(last) = last else {
            return Reading {
                missed: Vec::new(),
                lost: false,
                live,
            };
        };
        let missed = kept.events.iter().filter(|event| event.0 > last);
        Reading {
            missed: missed.cloned().collect(),
            lost: last < kept.forgotten,
            live,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn online(number: u8) -> Happening {
        Happening::ProviderOnline {
            provider: jobs::ids::ProviderId([number; 32]),
        }
    }

    #[test]
    fn a_reader_goes_on_where_it_was_or_is_told_that_something_is_lost() {
        let feed = Feed::after(10);
        feed.publish(11, vec![online(1), online(2)]);
        feed.publish(13, vec![online(3)]);
        // After which id, what is missed, and whether more is lost.
        for (last, missed, lost) in [
            ("13.0", 0, false),
            ("11.1", 1, false),
            ("11.0", 2, false),
            ("12.7", 1, false),
            ("9.0", 3, true),
        ] {
            let reading = feed.read(Some(last.parse().unwrap()));
            assert_eq!(
                (reading.missed.len(), reading.lost),
                (missed, lost),
                "{last}"
            );
        }
        assert!(feed.read(None).missed.is_empty());
        for entry in 14..14 + KEPT_MAX as u64 {
            feed.publish(entry, vec![online(4)]);
        }
        let reading = feed.read(Some("13.0".parse().unwrap()));
        assert_eq!((reading.missed.len(), reading.lost), (KEPT_MAX, false));
        let reading = feed.read(Some("11.1".parse().unwrap()));
        assert_eq!((reading.missed.len(), reading.lost), (KEPT_MAX, true));
        for text in ["", "1", "1.", "a.1", "1.-1"] {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
    }
}
