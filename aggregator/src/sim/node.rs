//! The aggregator's daemon in small: it persists event and journal in one batch, and only then acts.
//! It can be killed before the batch, after it, and between any two of its acts.

use jobs::time::Timestamp;
use ledger::Ledger;
use store::{Batch, Column, KeyRange, Kv, MemoryStore, Table};

use crate::core::{Action, Config, Core, Event};

/// Events since the last snapshot, by number.
const EVENTS: Table<u64, (Timestamp, Event)> = Table::new(Column::Events, 1);
/// The snapshot, by the number of the last event in it. At most one.
const SNAPSHOTS: Table<u64, Core> = Table::new(Column::Snapshots, 1);
/// Events after which a snapshot is taken.
const SNAPSHOT_EVERY: u64 = 200;

/// Where in a step the aggregator is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kill {
    /// Before the batch: the event never happened.
    BeforePersist,
    /// After the batch and this many actions.
    AfterActions(usize),
}

/// The daemon and its disk.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) core: Core,
    config: Config,
    disk: MemoryStore,
    seq: u64,
    pub(super) up: bool,
    /// Counts its starts; what it was about to do before a crash is forgotten.
    pub(super) epoch: u64,
}

impl Node {
    pub(super) fn new(config: Config) -> Self {
        Self {
            core: Core::new(config.clone()),
            config,
            disk: MemoryStore::new(),
            seq: 0,
            up: true,
            epoch: 0,
        }
    }

    /// One step, up to the kill. Returns every action decided and how many of them may be performed.
    pub(super) fn step(
        &mut self,
        now: Timestamp,
        event: Event,
        kill: Option<Kill>,
    ) -> Result<(Vec<Action>, usize), String> {
        if kill == Some(Kill::BeforePersist) {
            // Whatever it decided dies with it.
            let _ = self.core.clone().step(now, event);
            self.up = false;
            return Ok((Vec::new(), 0));
        }
        let actions = self.core.step(now, event.clone());
        self.persist(now, event, &actions)?;
        let performed = match kill {
            Some(Kill::AfterActions(count)) => {
                self.up = false;
                count.min(actions.len())
            }
            _ => actions.len(),
        };
        Ok((actions, performed))
    }

    fn persist(&mut self, now: Timestamp, event: Event, actions: &[Action]) -> Result<(), String> {
        let mut batch = Batch::new();
        self.seq = self.seq.saturating_add(1);
        let put = EVENTS.put(&mut batch, &self.seq, &(now, event));
        put.map_err(|error| error.to_string())?;
        if let Some(Action::Journal(entries)) = actions.first() {
            let staged = self.core.ledger().stage(entries, &mut batch);
            staged.map_err(|error| error.to_string())?;
        }
        // The daemon stores every order it sends.
        let orders = actions.iter().filter(|a| matches!(a, Action::Dispatch(_)));
        let (rows, max) = (batch.rows() + orders.count(), self.config.step_rows_max());
        if rows > max {
            return Err(format!("a step adds {rows} rows, {max} at most"));
        }
        if self.seq.is_multiple_of(SNAPSHOT_EVERY) {
            let past = self.seq.saturating_sub(SNAPSHOT_EVERY);
            SNAPSHOTS.delete(&mut batch, &past);
            let put = SNAPSHOTS.put(&mut batch, &self.seq, &self.core);
            put.map_err(|error| error.to_string())?;
            for seq in past..=self.seq {
                EVENTS.delete(&mut batch, &seq);
            }
        }
        self.disk.commit(batch).map_err(|error| error.to_string())
    }

    /// Starts again from the disk alone, and compares with what was there before the kill: a replay must
    /// give the same state, and the journal the same ledger.
    pub(super) fn restart(&mut self) -> Result<(), String> {
        let mut core = Core::new(self.config.clone());
        let mut seq = 0;
        let each = |at, snapshot| {
            (seq, core) = (at, snapshot);
            Ok::<_, store::StoreError>(())
        };
        let loaded = SNAPSHOTS.for_each(&self.disk, KeyRange::all(), each);
        loaded.map_err(|error| error.to_string())?;
        let each = |at, (now, event): (Timestamp, Event)| {
            let _ = core.step(now, event);
            seq = at;
            Ok::<_, store::StoreError>(())
        };
        let replayed = EVENTS.for_each(&self.disk, KeyRange::all(), each);
        replayed.map_err(|error| error.to_string())?;
        if core != self.core || seq != self.seq {
            return Err("a replay of the log gives another state".into());
        }
        let ledger = Ledger::load(&self.disk).map_err(|error| error.to_string())?;
        if ledger != *core.ledger() {
            return Err("the stored journal gives another ledger".into());
        }
        self.core = core;
        self.up = true;
        self.epoch = self.epoch.saturating_add(1);
        Ok(())
    }
}
