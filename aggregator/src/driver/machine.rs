//! The one thread that owns the core and writes to the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use api::feed::Feed;
use api::signature::Stamp;
use jobs::time::Timestamp;
use ledger::{JournalEntry, Ledger, TransferId};
use store::{Batch, Kv, StoreError};
use tokio::sync::{mpsc, oneshot};

mod pending;
mod thread;

use pending::{Effects, Pending, Staged};
pub(crate) use thread::MachineThread;

use super::actor;
use super::error::Error;
use super::feed::{self, Teller};
use super::handle::{Decided, Message};
use super::log::{self, Replayed};
use super::metrics::{Meters, Watch};
use super::once::{Answers, Nonces, Once};
use super::rows::{ASSIGNMENTS, EVENTS, Fresh, LOG_HEAD, LogHead, Logged, Row};
use super::spans::Spans;
use super::{Shared, clock, stopwatch};
use crate::core::{Action, Config, Core, Event, Reply, RequestId};

/// Events made durable by one synced write.
const BATCH_EVENTS_MAX: usize = 128;

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
    /// The same for kept answers.
    answers: Answers,
    nonces: Nonces,
    teller: Teller,
    feed: Arc<Feed>,
    meters: Meters,
    spans: Spans,
    /// Why nothing is stored any more. Reads go on; every event is refused.
    halted: Option<String>,
    /// The core could not be led back to what is durable: nothing is shown any more.
    blind: bool,
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
        let nonces = Nonces::load(&*store)?;
        Ok(Self {
            core,
            store,
            head,
            answers: Answers::default(),
            nonces,
            teller: Teller::default(),
            feed: Arc::new(Feed::after(head.seq)),
            snapshot,
            snapshot_due: snapshot.saturating_add(SNAPSHOT_EVENTS),
            requests: 0,
            fresh: Fresh::default(),
            meters: Meters::default(),
            spans: Spans::default(),
            halted: None,
            blind: false,
        })
    }

    /// Where it tells what happens.
    pub(crate) fn feed(&self) -> Arc<Feed> {
        Arc::clone(&self.feed)
    }

    /// Where it notes how long things take.
    pub(crate) fn meters(&self) -> Meters {
        self.meters.clone()
    }

    /// The jobs that it makes spans for.
    pub(crate) fn spans(&self) -> Spans {
        self.spans.clone()
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
            Ok(thread) => Ok(MachineThread::new(handle, ended, thread)),
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
                    once,
                    answer,
                } => {
                    self.requests = self.requests.wrapping_add(1);
                    let event = event(RequestId(self.requests));
                    self.take(event, &rows, once, answer, &mut pending);
                    if pending.is_full() {
                        self.commit(std::mem::take(&mut pending), perform);
                    }
                }
                Message::Note { stamp, answer } => {
                    let noted = self.note(&stamp, &mut pending.batch);
                    self.staged(noted, answer, &mut pending);
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
        once: Option<Box<Once>>,
        answer: oneshot::Sender<Result<Decided, Error>>,
        pending: &mut Pending,
    ) {
        let staged = match self.check(once.as_deref()) {
            Err(error) => Err(error),
            Ok(Some(decided)) => match once.and_then(|once| once.stamp) {
                Some(stamp) => self.note(&stamp, &mut pending.batch).map(|_| decided),
                None => Ok(decided),
            }
            .map(|decided| (decided, Effects::default())),
            Ok(None) => self.stage(event, rows, once, &mut pending.batch),
        };
        self.staged(staged, answer, pending);
    }

    /// Whether a stranger's request may happen now, and what was answered to it before.
    fn check(&self, once: Option<&Once>) -> Result<Option<Decided>, Error> {
        if let Some(reason) = &self.halted {
            return Err(Error::NotStored(reason.clone()));
        }
        let Some(once) = once else { return Ok(None) };
        let now = self.now();
        if let Some(stamp) = &once.stamp {
            self.nonces.check(stamp, now)?;
        }
        let Some(keyed) = &once.keyed else {
            return Ok(None);
        };
        let kept = self.answers.check(&*self.store, keyed, now)?;
        Ok(kept.map(|kept| Decided {
            response: Some(kept.response()),
            ..Decided::default()
        }))
    }

    /// Uses a nonce up, without an event.
    fn note(&mut self, stamp: &Stamp, batch: &mut Batch) -> Result<(Decided, Effects), Error> {
        if let Some(reason) = &self.halted {
            return Err(Error::NotStored(reason.clone()));
        }
        let now = self.now();
        self.nonces.check(stamp, now)?;
        self.nonces.take(stamp, now, batch)?;
        Ok((Decided::default(), Effects::default()))
    }

    /// The time that the next event is stamped with.
    fn now(&self) -> Timestamp {
        self.core.now().max(clock())
    }

    /// Answers at once who is refused, and the others when the batch is durable.
    fn staged(
        &mut self,
        staged: Result<(Decided, Effects), Error>,
        answer: oneshot::Sender<Result<Decided, Error>>,
        pending: &mut Pending,
    ) {
        match staged {
            Ok((decided, effects)) => pending.staged.push(Staged {
                answer,
                decided,
                effects,
            }),
            Err(error) if error.is_a_refusal() => {
                let _ = answer.send(Err(error));
            }
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
        once: Option<Box<Once>>,
        batch: &mut Batch,
    ) -> Result<(Decided, Effects), Error> {
        let now = self.now();
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
        let (before, watch) = (
            feed::before(&self.core, &event),
            Watch::on(&event, &self.core),
        );
        let actions = self.core.step(now, event);
        let news = self.teller.after(&self.core, &before, &actions);
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
        if let Some(once) = once {
            self.keep(*once, &mut decided, now, batch)?;
        }
        let effects = Effects {
            actions,
            spans: self.spans.of_news(&news),
            news: (head.seq, news),
        };
        Ok((decided, effects))
    }

    /// Uses a request's nonce up, refused or not, and keeps its answer if it was granted.
    fn keep(
        &mut self,
        once: Once,
        decided: &mut Decided,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        if let Some(stamp) = &once.stamp {
            self.nonces.take(stamp, now, batch)?;
        }
        if let Some(Ok(reply)) = &decided.reply {
            decided.response = (once.respond)(reply, decided.repeated_move);
        }
        if let (Some(keyed), Some(response)) = (&once.keyed, &decided.response) {
            let both = (&*self.store, &self.core);
            self.answers.keep(both, keyed, response, now, batch)?;
        }
        Ok(())
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
        self.answers = Answers::default();
        for Staged {
            answer,
            decided,
            effects:
                Effects {
                    actions,
                    spans,
                    news,
                },
        } in pending.staged
        {
            drop(spans);
            let _ = answer.send(Ok(decided));
            self.feed.publish(news.0, news.1);
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
        self.answers = Answers::default();
        let nonces = Nonces::load(&*self.store).map_err(Error::from);
        match log::replay(&*self.store).and_then(|replayed| Ok((replayed, nonces?))) {
            Ok((replayed, nonces)) => {
                self.nonces = nonces;
                self.teller = Teller::default();
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
