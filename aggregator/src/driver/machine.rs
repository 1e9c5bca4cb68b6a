//! The one task that owns the core and writes to the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use jobs::digest::{Digest, Domain};
use jobs::ids::AssignmentId;
use jobs::time::Timestamp;
use ledger::{JournalEntry, Ledger};
use store::{Batch, KeyRange, Kv};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::actor;
use super::error::Error;
use super::handle::{Decided, Message};
use super::rows::{ASSIGNMENTS, EVENTS, LOG_HEAD, LogHead, Logged, Row, SNAPSHOT, Snapshot};
use super::{Shared, clock};
use crate::core::{Action, Config, Core, Event, RequestId};

/// Events made durable by one synced write.
const BATCH_EVENTS_MAX: usize = 128;

/// Events between two snapshots: bounds how long a restart takes.
const SNAPSHOT_EVENTS: u64 = 2000;

/// Largest snapshot in bytes.
const SNAPSHOT_BYTES_MAX: usize = store::VALUE_BYTES_MAX / 2;

/// Events kept behind the snapshot, for whoever wants to replay a decision.
const EVENTS_KEPT: u64 = 100_000;

/// Owner of the core.
#[derive(Debug)]
pub(crate) struct Machine {
    core: Core,
    store: Arc<dyn Kv>,
    head: LogHead,
    snapshot: u64,
    requests: u64,
    /// First commitments in the batch at hand, which the store does not show yet.
    fresh: BTreeMap<AssignmentId, Vec<u8>>,
    /// Why nothing is stored any more. Reads go on; every event is refused.
    halted: Option<String>,
}

/// What stands in a batch: to be answered once it is durable.
struct Staged {
    answer: tokio::sync::oneshot::Sender<Result<Decided, Error>>,
    decided: Decided,
    actions: Vec<Action>,
}

impl Machine {
    /// Rebuilds the core from snapshot and log, and compares it with the stored ledger.
    ///
    /// # Errors
    /// If rows are missing or changed, or money stands elsewhere than the events say. Nothing is
    /// repaired.
    pub(crate) fn load(store: Arc<dyn Kv>, config: Config) -> Result<Self, Error> {
        let (core, head, snapshot) = replay(&*store, config)?;
        let stored = Ledger::load(&*store)?;
        if stored != *core.ledger() {
            let (stored, derived) = (stored.head().seq, core.ledger().head().seq);
            let detail = format!("the ledger ends at entry {stored}, the events lead to {derived}");
            return Err(Error::Log(detail));
        }
        Ok(Self {
            core,
            store,
            head,
            snapshot,
            requests: 0,
            fresh: BTreeMap::new(),
            halted: None,
        })
    }

    /// Runs on a thread of its own, because a synced write blocks.
    pub(crate) fn spawn(
        self,
        inbox: mpsc::Receiver<Message>,
        shared: Arc<Shared>,
    ) -> JoinHandle<()> {
        let executor = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            let _entered = executor.enter();
            self.run(inbox, &shared);
        })
    }

    fn run(mut self, mut inbox: mpsc::Receiver<Message>, shared: &Arc<Shared>) {
        let mut messages = Vec::with_capacity(BATCH_EVENTS_MAX);
        while let Some(first) = inbox.blocking_recv() {
            messages.push(first);
            while messages.len() < BATCH_EVENTS_MAX
                && let Ok(next) = inbox.try_recv()
            {
                messages.push(next);
            }
            self.turn(&mut messages, shared);
        }
    }

    /// Takes what waits: events first, in one batch; then questions, which so see only durable state.
    fn turn(&mut self, messages: &mut Vec<Message>, shared: &Arc<Shared>) {
        let mut batch = Batch::new();
        let mut staged = Vec::new();
        let mut questions = Vec::new();
        let before = self.head;
        self.fresh.clear();
        for message in messages.drain(..) {
            match message {
                Message::Ask(question) => questions.push(question),
                Message::Event {
                    event,
                    rows,
                    answer,
                } => {
                    if let Some(reason) = &self.halted {
                        let _ = answer.send(Err(Error::NotStored(reason.clone())));
                        continue;
                    }
                    self.requests = self.requests.wrapping_add(1);
                    let event = event(RequestId(self.requests));
                    match self.stage(event, &rows, &mut batch) {
                        Ok((decided, actions)) => staged.push(Staged {
                            answer,
                            decided,
                            actions,
                        }),
                        Err(error) => {
                            let _ = answer.send(Err(Error::NotStored(error.to_string())));
                            self.halt(&error.to_string());
                        }
                    }
                }
            }
        }
        if self.halted.is_some() {
            refuse(staged, self.halted.as_deref().unwrap_or_default());
        } else if !staged.is_empty() {
            self.commit(batch, staged, before, shared);
        }
        for question in questions {
            question(&self.core);
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
        let head = next(&self.head, now, &event)?;
        let logged = Logged {
            now,
            event: event.clone(),
            chain: head.chain,
        };
        EVENTS.put(batch, &self.head.seq, &logged)?;
        LOG_HEAD.put(batch, &head)?;
        let actions = self.core.step(now, event);
        self.head = head;
        let mut decided = Decided::default();
        let mut journal: Vec<JournalEntry> = Vec::new();
        for action in &actions {
            match action {
                Action::Journal(entries) => journal.extend(entries.iter().cloned()),
                Action::Reply { reply, .. } => decided.reply = Some(reply.clone()),
                Action::OfferRefused { refusal, .. } => {
                    decided.offer_refused = Some(refusal.clone())
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
            for row in rows {
                row.stage(&*self.store, &mut self.fresh, batch)?;
            }
        }
        Ok((decided, actions))
    }

    fn commit(
        &mut self,
        mut batch: Batch,
        staged: Vec<Staged>,
        before: LogHead,
        shared: &Arc<Shared>,
    ) {
        if let Err(error) = self.stage_snapshot(&mut batch) {
            tracing::error!(%error, "could not stage a snapshot");
        }
        if let Err(error) = self.store.commit(batch) {
            tracing::error!(%error, "could not store events: nothing is decided until a restart");
            self.head = before;
            self.halt(&error.to_string());
            refuse(staged, &error.to_string());
            return;
        }
        for Staged {
            answer,
            decided,
            actions,
        } in staged
        {
            // A requester that went away is no concern of the decision's.
            let _ = answer.send(Ok(decided));
            actor::perform(actions, shared);
        }
    }

    fn stage_snapshot(&mut self, batch: &mut Batch) -> Result<(), Error> {
        if self.head.seq < self.snapshot.saturating_add(SNAPSHOT_EVENTS) {
            return Ok(());
        }
        let mut own = Batch::new();
        SNAPSHOT.put(
            &mut own,
            &0,
            &Snapshot {
                head: self.head,
                core: self.core.clone(),
            },
        )?;
        if own.bytes() > SNAPSHOT_BYTES_MAX {
            // The log alone is enough; only a restart takes longer.
            tracing::warn!(
                bytes = own.bytes(),
                max = SNAPSHOT_BYTES_MAX,
                "snapshot too large"
            );
            self.snapshot = self.head.seq;
            return Ok(());
        }
        batch.append(own);
        let keep_from = self.head.seq.saturating_sub(EVENTS_KEPT);
        for seq in self.snapshot.saturating_sub(EVENTS_KEPT)..keep_from {
            EVENTS.delete(batch, &seq);
        }
        self.snapshot = self.head.seq;
        Ok(())
    }

    /// After a failed write nobody knows what the disk kept: the core goes back to what can be read,
    /// and no event is taken any more.
    fn halt(&mut self, reason: &str) {
        self.halted = Some(reason.to_owned());
        match replay(&*self.store, self.core.config().clone()) {
            Ok((core, head, _)) => {
                self.core = core;
                self.head = head;
            }
            Err(error) => tracing::error!(%error, "the stored log cannot be read back"),
        }
    }
}

fn refuse(staged: Vec<Staged>, reason: &str) {
    for Staged { answer, .. } in staged {
        let _ = answer.send(Err(Error::NotStored(reason.to_owned())));
    }
}

/// Snapshot and log, stepped through. Returns the core, the log's end and the snapshot's number.
fn replay(kv: &dyn Kv, config: Config) -> Result<(Core, LogHead, u64), Error> {
    let (mut core, mut head) = match SNAPSHOT.get(kv, &0)? {
        Some(snapshot) => (snapshot.core, snapshot.head),
        None => (Core::new(config), LogHead::default()),
    };
    let snapshot = head.seq;
    let start = KeyRange::all().starting_at(store::Key::to_bytes(&head.seq));
    EVENTS.for_each(kv, start, |seq, row| {
        let expected = next(&head, row.now, &row.event)?;
        if seq != head.seq || expected.chain != row.chain {
            return Err(Error::Log(format!(
                "event {seq} does not follow event {}",
                head.seq
            )));
        }
        head = expected;
        core.step(row.now, row.event);
        Ok(())
    })?;
    let stored = LOG_HEAD.get(kv)?.unwrap_or_default();
    if stored != head {
        let detail = format!(
            "the log ends at event {}, its head says {}",
            head.seq, stored.seq
        );
        return Err(Error::Log(detail));
    }
    Ok((core, head, snapshot))
}

/// The log's head after one more event.
fn next(head: &LogHead, now: Timestamp, event: &Event) -> Result<LogHead, Error> {
    let event = postcard::to_stdvec(event).map_err(|error| Error::Log(error.to_string()))?;
    let parts: [&[u8]; 4] = [
        head.chain.as_bytes(),
        &head.seq.to_le_bytes(),
        &now.0.to_le_bytes(),
        &event,
    ];
    Ok(LogHead {
        seq: head.seq.saturating_add(1),
        chain: Digest::bind(Domain::EventLog, &parts),
    })
}
