//! The event log: a hash chain of everything the core was told, and the snapshots that shorten it.

use jobs::digest::{Digest, Domain};
use jobs::time::Timestamp;
use store::{Batch, KeyRange, Kv};

use super::error::Error;
use super::rows::{EVENTS, LOG_HEAD, LogHead, SNAPSHOT, Snapshot};
use crate::core::{Config, Core, Event};

/// Largest snapshot in bytes.
const SNAPSHOT_BYTES_MAX: usize = store::VALUE_BYTES_MAX / 2;

/// What snapshot and log amount to.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) core: Core,
    pub(crate) head: LogHead,
    /// Events that the snapshot stands for.
    pub(crate) snapshot: u64,
}

/// Writes the snapshot of an aggregator to which nothing has happened yet, unless there is one: it
/// pins the configuration that the log is replayed under.
pub(crate) fn begin(kv: &dyn Kv, config: Config) -> Result<(), Error> {
    if SNAPSHOT.get(kv, &0)?.is_some() {
        return Ok(());
    }
    if LOG_HEAD.get(kv)?.is_some() {
        return Err(Error::Log("the snapshot is missing".into()));
    }
    write_snapshot(kv, LogHead::default(), Core::new(config))
}

/// Makes a snapshot durable by itself.
pub(crate) fn write_snapshot(kv: &dyn Kv, head: LogHead, core: Core) -> Result<(), Error> {
    let batch = snapshot(head, core)?.ok_or_else(|| {
        let max = SNAPSHOT_BYTES_MAX;
        Error::Config(format!(
            "the settings cannot change: the snapshot that takes has more than {max} bytes"
        ))
    })?;
    Ok(kv.commit(batch)?)
}

/// The row of a snapshot; `None` if it is too large to be kept.
pub(crate) fn snapshot(head: LogHead, core: Core) -> Result<Option<Batch>, Error> {
    let mut batch = Batch::new();
    SNAPSHOT.put(&mut batch, &0, &Snapshot { head, core })?;
    Ok((batch.bytes() <= SNAPSHOT_BYTES_MAX).then_some(batch))
}

/// Steps through everything since the snapshot.
///
/// # Errors
/// If a row is missing, changed or cannot be read.
pub(crate) fn replay(kv: &dyn Kv) -> Result<Replayed, Error> {
    let snapshot = SNAPSHOT.get(kv, &0)?;
    let Snapshot { mut core, mut head } =
        snapshot.ok_or_else(|| Error::Log("the snapshot is missing".into()))?;
    let snapshot = head.seq;
    let start = KeyRange::all().starting_at(store::Key::to_bytes(&head.seq));
    EVENTS.for_each(kv, start, |seq, row| {
        let expected = next(&head, row.now, &row.event)?;
        if seq != head.seq || expected.chain != row.chain {
            let before = head.seq;
            return Err(Error::Log(format!(
                "event {seq} does not follow the {before} before it"
            )));
        }
        head = expected;
        core.step(row.now, row.event);
        Ok(())
    })?;
    let stored = LOG_HEAD.get(kv)?.unwrap_or_default();
    if stored != head {
        let (found, says) = (head.seq, stored.seq);
        return Err(Error::Log(format!(
            "the log holds {found} events, its head says {says}"
        )));
    }
    Ok(Replayed {
        core,
        head,
        snapshot,
    })
}

/// The log's head after one more event.
pub(crate) fn next(head: &LogHead, now: Timestamp, event: &Event) -> Result<LogHead, Error> {
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
