//! What executions noted, on disk for as long as their outputs, to be opened where the aggregator wants to look
//! ([`jobs::openings`]).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobs::digest::Digest;
use jobs::ids::{AggregatorId, AssignmentId};
use jobs::merkle::Tree;
use jobs::openings::{CHUNK_BYTES, COUNT_MAX, Noted, Opened, SEEDS_MAX, TRACE_BYTES_MAX, places};
use network::protocol::{OpenReply, OpenRequest, Refusal, RefusalCode};
use runtime::Trace;
use tokio::sync::Semaphore;

use crate::Error;
use crate::clock::now;
use crate::error::blocking;
use crate::identity::sync_dir;
use crate::journal::{Journal, Report};
use crate::shared::Shared;

/// Traces whose Merkle trees are in memory at the same time: of the largest, a hundred and thirty megabytes each.
const PROOFS_MAX: usize = 2;

/// How a trace is called while it is written.
const PART: &str = "part";

/// Every trace, in a folder of their own, named after assignments.
#[derive(Debug)]
pub(crate) struct Traces {
    folder: PathBuf,
    journal: Arc<Journal>,
    bytes_max: u64,
    /// Sizes by assignment.
    held: Mutex<BTreeMap<AssignmentId, u64>>,
    proofs: Semaphore,
}

impl Traces {
    /// Opens the folder, and removes what a crash left and what nobody needs any more.
    pub(crate) fn open(
        folder: PathBuf,
        journal: Arc<Journal>,
        bytes_max: u64,
    ) -> Result<Self, Error> {
        fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
        let mut held = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(Error::io("list", &folder))? {
            let path = entry.map_err(Error::io("list", &folder))?.path();
            let id = path.file_name().and_then(|name| assignment(name.to_str()?));
            match (
                id.filter(|id| journal.keeps(*id, now())),
                fs::metadata(&path),
            ) {
                (Some(id), Ok(file)) => drop(held.insert(id, file.len())),
                _ => fs::remove_file(&path).map_err(Error::io("remove", &path))?,
            }
        }
        Ok(Self {
            folder,
            journal,
            bytes_max,
            held: Mutex::new(held),
            proofs: Semaphore::new(PROOFS_MAX),
        })
    }

    /// Keeps a trace. It is on disk when this returns, before anyone hears of it.
    pub(crate) fn put(&self, id: AssignmentId, noted: &Noted, trace: &Trace) -> Result<(), Error> {
        self.reserve(id, noted.trace_bytes())?;
        let written = self.write(id, trace);
        if written.is_err() {
            self.held().remove(&id);
        }
        written
    }

    /// Whether so many more of the largest traces fit, so that an assignment is refused rather than executed in vain.
    pub(crate) fn has_room_for(&self, traces: usize) -> Result<bool, Error> {
        let needed = TRACE_BYTES_MAX.saturating_mul(traces as u64);
        let used = self.make_room(&mut self.held(), needed)?;
        Ok(used.saturating_add(needed) <= self.bytes_max)
    }

    /// Keeps a place for a trace.
    fn reserve(&self, id: AssignmentId, needed: u64) -> Result<(), Error> {
        let mut held = self.held();
        let used = self.make_room(&mut held, needed)?;
        if used.saturating_add(needed) > self.bytes_max {
            return Err(Error::TracesFull {
                needed,
                used,
                max: self.bytes_max,
            });
        }
        held.insert(id, needed);
        Ok(())
    }

    /// Removes what nobody needs any more if that much does not fit; how much is used then.
    fn make_room(&self, held: &mut BTreeMap<AssignmentId, u64>, needed: u64) -> Result<u64, Error> {
        if used(held).saturating_add(needed) > self.bytes_max {
            let time = now();
            let old = held.keys().copied();
            let old = old.filter(|old| !self.journal.keeps(*old, time));
            for old in old.collect::<Vec<_>>() {
                let path = self.path(old);
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                held.remove(&old);
            }
        }
        Ok(used(held))
    }

    fn write(&self, id: AssignmentId, trace: &Trace) -> Result<(), Error> {
        let path = self.path(id);
        let part = path.with_extension(PART);
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&part)?;
            trace.pieces(|piece| file.write_all(&piece))?;
            file.sync_all()?;
            fs::rename(&part, &path)
        };
        write().map_err(Error::io("write", &part))?;
        sync_dir(&self.folder)
    }

    /// Chunks at these places, each with its proof. Blocks.
    fn prove(&self, id: AssignmentId, noted: &Noted, places: &[u32]) -> Result<Vec<Opened>, Error> {
        let path = self.path(id);
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let chunk = |place: u32| {
            let mut chunk = vec![0; CHUNK_BYTES];
            let at = u64::from(place).saturating_mul(CHUNK_BYTES as u64);
            file.read_exact_at(&mut chunk, at).map(|()| chunk)
        };
        let tree = tree(&path, noted.chunks)?;
        let open = |place: &u32| {
            let chunk = chunk(*place).map_err(Error::io("read", &path))?;
            let unknown = || std::io::Error::other(format!("it has no chunk {place}"));
            let proof = tree.prove(*place).ok_or_else(unknown);
            let proof = proof.map_err(Error::io("read", &path))?;
            Ok(Opened { chunk, proof })
        };
        places.iter().map(open).collect()
    }

    fn path(&self, id: AssignmentId) -> PathBuf {
        self.folder.join(id.0.to_hex())
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<AssignmentId, u64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn used(held: &BTreeMap<AssignmentId, u64>) -> u64 {
    let sizes = held.values().copied();
    sizes.fold(0, u64::saturating_add)
}

/// The tree over a trace's chunks; the file is read in pieces.
fn tree(path: &Path, chunks: u32) -> Result<Tree, Error> {
    use std::io::{BufReader, Read};
    let failed = || Error::io("read", path);
    let file = File::open(path).map_err(failed())?;
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut chunk = [0; CHUNK_BYTES];
    let mut error = None;
    let read = (0..chunks).map_while(|_| match file.read_exact(&mut chunk) {
        Ok(()) => Some(chunk),
        Err(found) => {
            error = Some(found);
            None
        }
    });
    let tree = Tree::of(read);
    error.map_or(Ok(tree), |error| Err(failed()(error)))
}

/// The assignment that a file is named after.
fn assignment(name: &str) -> Option<AssignmentId> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(name, &mut bytes).ok()?;
    Some(AssignmentId(Digest::from_bytes(bytes)))
}

/// Opens what was noted, to the aggregator that it was committed to.
pub(crate) async fn open(
    from: AggregatorId,
    request: OpenRequest,
    shared: &Arc<Shared>,
) -> OpenReply {
    let id = request.assignment;
    match answer(from, request, shared).await {
        Ok(opened) => OpenReply::Opened {
            assignment: id,
            opened,
        },
        Err((code, reason)) => {
            tracing::info!(assignment = %id, aggregator = %from, reason, "nothing is opened");
            OpenReply::Refused {
                assignment: id,
                refusal: Refusal::new(code, reason),
            }
        }
    }
}

async fn answer(
    from: AggregatorId,
    request: OpenRequest,
    shared: &Arc<Shared>,
) -> Result<Vec<Opened>, (RefusalCode, String)> {
    let refuse = |code, reason: &str| Err((code, reason.to_owned()));
    let OpenRequest {
        assignment: id,
        seeds,
        count,
    } = request;
    for (what, given, most) in [
        ("seeds", seeds.len(), SEEDS_MAX),
        ("count", usize::from(count), usize::from(COUNT_MAX)),
    ] {
        if given == 0 || given > most {
            let reason = format!("{what}: {given} asked for, 1 to {most} are allowed");
            return Err((RefusalCode::Invalid, reason));
        }
    }
    let journal = Arc::clone(&shared.journal);
    let noted = match blocking(move || journal.report(id)).await {
        Ok(Some(report)) if report.order().aggregator != from => {
            return refuse(
                RefusalCode::Policy,
                "not-the-sender: it is another aggregator's",
            );
        }
        Ok(Some(Report::Work(work))) => work.opening.outcome.noted,
        Ok(Some(Report::Failed(_))) => {
            return refuse(RefusalCode::State, "failed: it has no outcome");
        }
        Ok(None) if shared.journal.known(id).is_some() => {
            return refuse(
                RefusalCode::State,
                "not-committed: there is nothing to open",
            );
        }
        Ok(None) => return refuse(RefusalCode::Unknown, "unknown: never accepted"),
        Err(error) => return internal(id, &error),
    };
    let Some(noted) = noted else {
        return refuse(
            RefusalCode::State,
            "nothing-noted: the job has nothing opened",
        );
    };
    let Ok(_permit) = shared.traces.proofs.acquire().await else {
        return refuse(RefusalCode::Internal, "internal: the provider failed");
    };
    let task = Arc::clone(shared);
    let opened = blocking(move || {
        let wanted = seeds
            .iter()
            .flat_map(|seed| places(seed, count, noted.chunks));
        task.traces.prove(id, &noted, &wanted.collect::<Vec<_>>())
    });
    opened.await.or_else(|error| internal(id, &error))
}

fn internal<T>(id: AssignmentId, error: &Error) -> Result<T, (RefusalCode, String)> {
    tracing::error!(assignment = %id, %error, "could not open what was noted");
    let reason = "internal: the provider failed".to_owned();
    Err((RefusalCode::Internal, reason))
}

#[cfg(test)]
mod tests;
