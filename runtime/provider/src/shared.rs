//! What every task of the daemon holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ed25519_dalek::SigningKey;
use jobs::ids::ProviderId;
use jobs::operator::Operates;
use jobs::statement::Signed;
use network::Client;
use runtime::{DeviceReport, WorkerPool};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::admission::Terms;
use crate::book::Book;
use crate::cache::Cache;
use crate::choices::Desired;
use crate::desk::Desk;
use crate::journal::Journal;
use crate::offers::Aggregators;
use crate::owed::Owed;
use crate::report::Outbox;
use crate::traces::Traces;
use crate::{Misbehaviour, ProviderConfig, misbehave};

/// One provider. Shared by its tasks.
pub(crate) struct Shared {
    pub(crate) id: ProviderId,
    /// The word of whoever runs it, for its offers.
    pub(crate) operator: Option<Signed<Operates>>,
    pub(crate) key: SigningKey,
    pub(crate) config: ProviderConfig,
    /// Those of the start; [`Shared::terms`] has what was chosen since.
    pub(crate) terms: Terms,
    pub(crate) desired: Desired,
    pub(crate) book: Book,
    pub(crate) started: Instant,
    /// Where peers reach it.
    pub(crate) listens: Vec<String>,
    pub(crate) device: DeviceReport,
    pub(crate) client: Client,
    pub(crate) pool: WorkerPool,
    pub(crate) journal: Arc<Journal>,
    pub(crate) cache: Cache,
    pub(crate) traces: Traces,
    pub(crate) desk: Arc<Desk>,
    pub(crate) outbox: Outbox,
    pub(crate) owed: Owed,
    pub(crate) aggregators: Aggregators,
    /// What a misbehaving one remembers.
    pub(crate) misbehaved: misbehave::acts::Memory,
    /// Whether the daemon finishes what it has and then stops.
    pub(crate) ending: watch::Sender<bool>,
    /// Whether everything that looks for work ends now.
    pub(crate) stopping: watch::Sender<bool>,
    /// Whether the operator lets it finish and take nothing more.
    pub(crate) draining: watch::Sender<bool>,
    /// Who else uses the machine, as far as that was looked at; matters in mode `auto`.
    pub(crate) in_use: watch::Sender<Option<String>>,
    /// Goes up whenever other terms are to be offered.
    pub(crate) offer_news: watch::Sender<u64>,
    /// Assignments refused since the start.
    pub(crate) refused: AtomicU64,
    /// Whether everything is over, so that nobody needs to ask any more.
    pub(crate) over: watch::Sender<bool>,
    /// Every log line of the daemon stands in it.
    pub(crate) span: Span,
    /// The data directory's lock.
    pub(crate) _lock: std::fs::File,
    /// Dropped with the last task, which is how a stop knows that the daemon has ended.
    pub(crate) _alive: mpsc::Sender<()>,
}

impl Shared {
    /// Starts a task whose log lines say whose they are.
    pub(crate) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task.instrument(self.span.clone()));
    }

    pub(crate) fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// Waits until the daemon is asked to stop.
    pub(crate) async fn ends(&self) {
        // The sender lives as long as we do.
        let _ = self.ending.subscribe().wait_for(|ending| *ending).await;
    }

    /// Waits until nothing looks for work any more.
    pub(crate) async fn stopped(&self) {
        // The sender lives as long as we do.
        let _ = self
            .stopping
            .subscribe()
            .wait_for(|stopping| *stopping)
            .await;
    }

    /// Waits until the daemon has stopped.
    pub(crate) async fn gone(&self) {
        // The sender lives as long as we do.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    /// On what terms assignments are taken now.
    pub(crate) fn terms(&self) -> Terms {
        let choices = self.desired.get();
        Terms {
            signers: choices.signers(),
            denied: choices.deny,
            price: choices.price,
            reward_min: choices.reward_min,
            model_bytes_max: choices.model_bytes_max,
            ..self.terms.clone()
        }
    }

    /// Has every aggregator hear of the terms that hold now.
    pub(crate) fn renew_offers(&self) {
        self.offer_news
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Counts a refusal.
    pub(crate) fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) const fn misbehaves(&self) -> Option<&Misbehaviour> {
        self.config.misbehave.as_ref()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("id", &self.id)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
