//! The one thread that owns the core and writes to the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ledger::{JournalEntry, Ledger, TransferId};
use store::{Batch, Kv, StoreError};
use tokio::sync::{mpsc, oneshot};

use super::actor;
use super::error::Error;
use super::handle::{Decided, Message};
use super::log::{self, Replayed};
use super::metrics::{Meters, Watch};
use super::rows::{ASSIGNMENTS, EVENTS, Fresh, LOG_HEAD, LogHead, Logged, Row};
use super::{STOP_GRACE, Shared, clock, stopwatch};
use crate::core::{Action, Config, Core, Event, Reply, RequestId};

/// Events made durable by one synced write.
const BATCH_EVENTS_MAX: usize = 128;

/// Rows after which a batch is written although more events wait: well below what one commit may
/// carry, because a single event may add many.
const BATCH_ROWS_FULL: usize = store::BATCH_ROWS_MAX / 4;

/// Bytes after which a batch is written although more events wait.
const BATCH_BYTES_FULL: usize = store::BATCH_BYTES_MAX / 8;

/// Events between two snapshots: bounds how long a restart takes.
const SNAPSHOT_EVENTS: u64 = 2000;

/// Events kept behind the snapshot, for whoever wants to replay a decision.
const EVENTS_KEPT: u64 = 100_000;

/// Owner of the core.
#[derive(Debug)]
pub(crate) struct Machine {
    core: Core,
    store: Arc<dyn Kv>,
    head: LogHead,
    /// Events that the newest snapshot stands for.
    snapshot: u64,
    /// Events at which the next snapshot is due.
    snapshot_due: u64,
    requests: u64,
    /// Rows in the batch at hand, which the store does not show yet.
    fresh: Fresh,
    meters: Meters,
    /// Why nothing is stored any more. Reads go on; every event is refused.
    halted: Option<String>,
    /// The core could not be led back to what is durable: nothing is shown any more.
    blind: bool,
}

/// The machine's thread. Dropping this ends it: a thread that outlived its executor would keep the
/// store open while the process ends, and the store's library then aborts the process.
#[derive(Debug)]
pub(crate) struct MachineThread {
    shared: Arc<Shared>,
    ended: oneshot::Receiver<()>,
    thread: std::thread::JoinHandle<()>,
}

impl MachineThread {
    /// Lets the machine finish what waits, and waits for its end.
    pub(crate) async fn finish(mut self) {
        self.shared.handle.close();
        // Either way it is over.
        let _ = (&mut self.ended).await;
    }
}

impl Drop for MachineThread {
    fn drop(&mut self) {
        self.shared.handle.close();
        // Not for ever: a sender may wait for room in a task that will never run again.
        for _ in 0..STOP_GRACE.as_millis() {
            if self.thread.is_finished() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        tracing::warn!("the machine did not end in {STOP_GRACE:?}");
    }
}

/// What stands in a batch: to be answered once it is durable.
struct Staged {
    answer: oneshot::Sender<Result<Decided, Error>>,
    decided: Decided,
    actions: Vec<Action>,
}

/// A batch and who waits for it.
#[derive(Default)]
struct Pending {
    batch: Batch,
    staged: Vec<Staged>,
}

impl Pending {
    fn is_full(&self) -> bool {
        self.batch.rows() >= BATCH_ROWS_FULL || self.batch.bytes() >= BATCH_BYTES_FULL
    }

    fn refuse(self, reason: &str) {
        for Staged { answer, .. } in self.staged {
            // A requester that went away is no concern of ours, here and below.
            let _ = answer.send(Err(Error::NotStored(reason.to_owned())));
        }
    }
}

impl Machine {
    /// Rebuilds the core from snapshot and log, and compares it with the stored ledger.
    ///
    /// # Errors
    /// If rows are missing or changed, or money stands elsewhere than the events say. Nothing is
    /// repaired.
    pub(crate) fn load(store: Arc<dyn Kv>, config: Config) -> Result<Self, Error> {
        log::begin(&*store, config.clone())?;
        let Replayed {
            mut core,
            head,
            mut snapshot,
        } = log::replay(&*store)?;
        let stored = Ledger::load(&*store)?;
        if stored != *core.ledger() {
            let (stored, derived) = (stored.head().seq, core.ledger().head().seq);
            let detail = format!("the ledger ends at entry {stored}, the events lead to {derived}");
            return Err(Error::Log(detail));
        }
        if *core.config() != config {
            let (given, known) = (config.aggregator, core.config().aggregator);
            if given != known {
                let detail = format!("identity {given}: this data directory belongs to {known}");
                return Err(Error::Config(detail));
            }
            core.reconfigure(config);
            log::write_snapshot(&*store, head, core.clone())?;
            snapshot = head.seq;
        }
        Ok(Self {
            core,
            store,
            head,
            snapshot,
            snapshot_due: snapshot.saturating_add(SNAPSHOT_EVENTS),
            requests: 0,
            fresh: Fresh::default(),
            meters: Meters::default(),
            halted: None,
            blind: false,
        })
    }

    /// Where it notes how long things take.
    pub(crate) fn meters(&self) -> Meters {
        self.meters.clone()
    }

    /// Runs on a thread of its own, because a synced write blocks.
    ///
    /// # Errors
    /// If the system grants no thread.
    pub(crate) fn spawn(
        self,
        inbox: mpsc::Receiver<Message>,
        shared: Arc<Shared>,
    ) -> Result<MachineThread, Error> {
        let executor = tokio::runtime::Handle::current();
        let (ending, ended) = oneshot::channel();
        let handle = Arc::clone(&shared);
        let run = move || {
            let _entered = executor.enter();
            self.run(inbox, shared);
            let _ = ending.send(());
        };
        let thread = std::thread::Builder::new().name("machine".into());
        match thread.spawn(run) {
            Ok(thread) => Ok(MachineThread {
                shared: handle,
                ended,
                thread,
            }),
            Err(error) => Err(Error::Config(format!("no thread for the machine: {error}"))),
        }
    }

    fn run(mut self, mut inbox: mpsc::Receiver<Message>, shared: Arc<Shared>) {
        let mut messages = Vec::with_capacity(BATCH_EVENTS_MAX);
        while let Some(first) = inbox.blocking_recv() {
            messages.push(first);
            while messages.len() < BATCH_EVENTS_MAX
                && let Ok(next) = inbox.try_recv()
            {
                messages.push(next);
            }
            self.turn(&mut messages, &mut |actions| {
                actor::perform(actions, &shared)
            });
            if self.halted.is_some() {
                shared.halted.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Takes what waits: events first, in as few batches as possible; then questions, which so see
    /// only durable state.
    pub(crate) fn turn(
        &mut self,
        messages: &mut Vec<Message>,
        perform: &mut dyn FnMut(Vec<Action>),
    ) {
        let mut pending = Pending::default();
        let mut questions = Vec::new();
        for message in messages.drain(..) {
            match message {
                Message::Ask(question) => questions.push(question),
                Message::Event {
                    event,
                    rows,
                    answer,
                } => {
                    self.requests = self.requests.wrapping_add(1);
                    let event = event(RequestId(self.requests));
                    self.take(event, &rows, answer, &mut pending);
                    if pending.is_full() {
                        self.commit(std::mem::take(&mut pending), perform);
                    }
                }
            }
        }
        self.commit(pending, perform);
        for question in questions {
            // Dropped unasked, its asker is told that there is no answer.
            if !self.blind {
                question(&self.core);
            }
        }
    }

    fn take(
        &mut self,
        event: Event,
        rows: &[Row],
        answer: oneshot::Sender<Result<Decided, Error>>,
        pending: &mut Pending,
    ) {
        if let Some(reason) = &self.halted {
            let _ = answer.send(Err(Error::NotStored(reason.clone())));
            return;
        }
        for row in rows {
            if let Err(error) = row.check(&*self.store, &self.fresh) {
                let _ = answer.send(Err(error));
                return;
            }
        }
        match self.stage(event, rows, &mut pending.batch) {
            Ok((decided, actions)) => pending.staged.push(Staged {
                answer,
                decided,
                actions,
            }),
            Err(error) => {
                let reason = error.to_string();
                let _ = answer.send(Err(Error::NotStored(reason.clone())));
                std::mem::take(pending).refuse(&reason);
                self.roll_back(&error);
            }
        }
    }

    /// Steps the core and adds everything that must be durable before anyone hears of it.
    fn stage(
        &mut self,
        event: Event,
        rows: &[Row],
        batch: &mut Batch,
    ) -> Result<(Decided, Vec<Action>), Error> {
        let now = self.core.now().max(clock());
        let head = log::next(&self.head, now, &event)?;
        let logged = Logged {
            now,
            event: event.clone(),
            chain: head.chain,
        };
        EVENTS.put(batch, &self.head.seq, &logged)?;
        LOG_HEAD.put(batch, &head)?;
        let mut decided = Decided {
            repeated_move: self.is_repeated_move(&event),
            ..Decided::default()
        };
        let watch = Watch::on(&event, &self.core);
        let actions = self.core.step(now, event);
        self.meters.note(&watch, &self.core);
        self.head = head;
        let mut journal: Vec<JournalEntry> = Vec::new();
        for action in &actions {
            match action {
                Action::Journal(entries) => journal.extend(entries.iter().cloned()),
                Action::Reply { reply, .. } => decided.reply = Some(reply.clone()),
                Action::OfferRefused { refusal, .. } => {
                    decided.offer_refused = Some(refusal.clone());
                }
                Action::Dispatch(assignment) => {
                    ASSIGNMENTS.put(batch, &assignment.id, assignment)?;
                }
                _ => {}
            }
        }
        self.core.ledger().stage(&journal, batch)?;
        // What came with a refused request is not kept: strangers must not fill the disk.
        if !matches!(decided.reply, Some(Err(_))) {
            let repeated = matches!(
                decided.reply,
                Some(Ok(Reply::Admitted { repeated: true, .. }))
            );
            for row in rows {
                row.stage(&*self.store, repeated, &mut self.fresh, batch)?;
            }
        }
        Ok((decided, actions))
    }

    /// Whether money is to be moved under an id that was used before.
    fn is_repeated_move(&self, event: &Event) -> bool {
        let Event::Move { id, .. } = event else {
            return false;
        };
        // As the core derives it.
        let id = TransferId::derive(&[b"move".as_slice(), id.as_bytes()]);
        self.core.ledger().applied_transfer(&id).is_some()
    }

    fn commit(&mut self, mut pending: Pending, perform: &mut dyn FnMut(Vec<Action>)) {
        if pending.staged.is_empty() {
            return;
        }
        if let Err(error) = self.stage_snapshot(&mut pending.batch) {
            tracing::error!(%error, "could not stage a snapshot");
        }
        let batch = std::mem::take(&mut pending.batch);
        let begun = stopwatch();
        if let Err(error) = self.store.commit(batch) {
            tracing::error!(%error, "could not store events");
            pending.refuse(&error.to_string());
            self.roll_back(&error.into());
            return;
        }
        self.meters.wrote(pending.staged.len(), begun.elapsed());
        self.fresh = Fresh::default();
        for Staged {
            answer,
            decided,
            actions,
        } in pending.staged
        {
            let _ = answer.send(Ok(decided));
            perform(actions);
        }
    }

    fn stage_snapshot(&mut self, batch: &mut Batch) -> Result<(), Error> {
        if self.head.seq < self.snapshot_due {
            return Ok(());
        }
        self.snapshot_due = self.head.seq.saturating_add(SNAPSHOT_EVENTS);
        let Some(own) = log::snapshot(self.head, self.core.clone())? else {
            // The log alone is enough; only a restart takes longer.
            tracing::warn!(events = self.head.seq, "a snapshot would be too large");
            return Ok(());
        };
        batch.append(own);
        let keep_from = self.head.seq.saturating_sub(EVENTS_KEPT);
        for seq in self.snapshot.saturating_sub(EVENTS_KEPT)..keep_from {
            EVENTS.delete(batch, &seq);
        }
        self.snapshot = self.head.seq;
        Ok(())
    }

    /// Leads the core back to what the store shows. After a failed write nobody knows what the disk
    /// kept, so the store is asked, and no event is taken any more; a batch that was merely out of
    /// bounds is gone whole, and work goes on.
    fn roll_back(&mut self, error: &Error) {
        let out_of_bounds = matches!(
            error,
            Error::Store(
                StoreError::TooLarge { .. }
                    | StoreError::BatchTooLarge { .. }
                    | StoreError::Encode { .. }
            )
        );
        if !out_of_bounds {
            tracing::error!(%error, "nothing is decided until a restart");
            self.halted = Some(error.to_string());
        }
        self.fresh = Fresh::default();
        match log::replay(&*self.store) {
            Ok(replayed) => {
                self.core = replayed.core;
                self.head = replayed.head;
                self.snapshot = replayed.snapshot;
            }
            Err(error) => {
                tracing::error!(%error, "the stored log cannot be read back");
                self.halted = Some(error.to_string());
                self.blind = true;
            }
        }
    }
}
