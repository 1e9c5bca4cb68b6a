//! The graphs of a process, loaded once each, within bounds on their number and bytes.

use crate::backend::{Device, DeviceInfo, FingerprintParts, GraphOptions, NnBackend};
use crate::error::NnError;
use crate::graph::{Graph, Source};
use crate::models::{ModelDigest, read_verified};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bounds on what a process keeps loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheLimits {
    /// The largest model, in bytes of its file.
    pub max_model_bytes: u64,
    /// All loaded models together, in bytes of their files.
    pub max_total_bytes: u64,
    /// The most graphs loaded at once.
    pub max_graphs: usize,
    /// The longest that one load may take.
    pub load_wall: Duration,
    /// Sessions of one graph on the processor at most; the first is loaded with the graph, others when
    /// somebody would have to wait. A device has one.
    pub sessions_per_graph: usize,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self {
            max_model_bytes: 2 << 30,
            max_total_bytes: 8 << 30,
            max_graphs: 16,
            load_wall: Duration::from_secs(120),
            sessions_per_graph: 1,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    digest: ModelDigest,
    options: GraphOptions,
}

/// A place that the first to ask fills while the others wait on its lock.
type Cell = Arc<Mutex<Option<Arc<Graph>>>>;

#[derive(Debug)]
struct Slot {
    cell: Cell,
    bytes: u64,
    used: u64,
}

#[derive(Debug, Default)]
struct Slots {
    by_key: HashMap<Key, Slot>,
    /// Counts uses, to find the slot that was idle longest without a clock.
    uses: u64,
}

/// The graphs of a process, by digest, device and options.
#[derive(Debug)]
pub struct GraphCache {
    backend: Arc<dyn NnBackend>,
    limits: CacheLimits,
    slots: Mutex<Slots>,
}

impl GraphCache {
    /// An empty cache over a backend.
    pub fn new(backend: Arc<dyn NnBackend>, limits: CacheLimits) -> Self {
        Self {
            backend,
            limits,
            slots: Mutex::default(),
        }
    }

    /// The devices that graphs can be loaded on.
    pub fn available_devices(&self) -> Vec<DeviceInfo> {
        self.backend.available_devices()
    }

    /// What a graph that is loaded with these options will answer to [`Graph::fingerprint`].
    pub fn fingerprint(&self, options: &GraphOptions) -> Result<FingerprintParts, NnError> {
        self.backend.fingerprint(options)
    }

    /// The graph of this digest on this device with one thread, loaded from `path` if it is not yet.
    ///
    /// Blocks while it loads: on an executor call it through `spawn_blocking`. `name` is for messages.
    pub fn load(
        &self,
        name: &str,
        digest: ModelDigest,
        path: &Path,
        device: Device,
    ) -> Result<Arc<Graph>, NnError> {
        self.load_with(name, digest, path, GraphOptions::on(device))
    }

    /// As [`GraphCache::load`], with options.
    pub fn load_with(
        &self,
        name: &str,
        digest: ModelDigest,
        path: &Path,
        options: GraphOptions,
    ) -> Result<Arc<Graph>, NnError> {
        let key = Key { digest, options };
        let (cell, evicted) = self.claim(key, path)?;
        // Ending a session takes a while; nobody should wait for it under the lock.
        drop(evicted);
        let mut place = cell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(graph) = place.as_ref() {
            return Ok(Arc::clone(graph));
        }
        let loaded = read_verified(path, &digest, self.limits.max_model_bytes).and_then(|bytes| {
            let source = Source {
                name,
                digest,
                path,
                bytes,
                bytes_max: self.limits.max_model_bytes,
                sessions: self.limits.sessions_per_graph,
            };
            Graph::start(
                Arc::clone(&self.backend),
                source,
                options,
                self.limits.load_wall,
            )
        });
        match loaded {
            Ok(graph) => {
                let graph = Arc::new(graph);
                *place = Some(Arc::clone(&graph));
                Ok(graph)
            }
            Err(error) => {
                drop(place);
                self.forget(&key, &cell);
                Err(error)
            }
        }
    }

    /// Graphs that are loaded or being loaded.
    pub fn len(&self) -> usize {
        self.slots().by_key.len()
    }

    /// True if nothing is loaded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Finds or makes the slot of a key, with room for its bytes.
    fn claim(&self, key: Key, path: &Path) -> Result<(Cell, Vec<Slot>), NnError> {
        let mut slots = self.slots();
        slots.uses = slots.uses.saturating_add(1);
        let now = slots.uses;
        if let Some(slot) = slots.by_key.get_mut(&key) {
            slot.used = now;
            return Ok((Arc::clone(&slot.cell), Vec::new()));
        }
        let bytes = path.metadata().map_err(NnError::io("inspect", path))?.len();
        if bytes > self.limits.max_model_bytes {
            return Err(NnError::Quota {
                what: "the model",
                value: bytes,
                bound: self.limits.max_model_bytes,
            });
        }
        let evicted = slots.make_room(bytes, &self.limits)?;
        let cell = Cell::default();
        slots.by_key.insert(
            key,
            Slot {
                cell: Arc::clone(&cell),
                bytes,
                used: now,
            },
        );
        Ok((cell, evicted))
    }

    fn forget(&self, key: &Key, cell: &Cell) {
        let mut slots = self.slots();
        if slots
            .by_key
            .get(key)
            .is_some_and(|slot| Arc::ptr_eq(&slot.cell, cell))
        {
            slots.by_key.remove(key);
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    /// Takes out idle graphs, longest idle first, until one more of `bytes` fits.
    fn make_room(&mut self, bytes: u64, limits: &CacheLimits) -> Result<Vec<Slot>, NnError> {
        let mut evicted = Vec::new();
        loop {
            let total = self
                .by_key
                .values()
                .fold(bytes, |sum, slot| sum.saturating_add(slot.bytes));
            let count = self.by_key.len();
            if total <= limits.max_total_bytes && count < limits.max_graphs {
                return Ok(evicted);
            }
            let idle = self
                .by_key
                .iter()
                .filter(|(_, slot)| slot.is_idle())
                .min_by_key(|(_, slot)| slot.used);
            let Some(slot) = idle
                .map(|(key, _)| *key)
                .and_then(|key| self.by_key.remove(&key))
            else {
                if count >= limits.max_graphs {
                    return Err(NnError::CacheFull {
                        count,
                        bound: limits.max_graphs,
                    });
                }
                let what = "the graph cache";
                return Err(NnError::Quota {
                    what,
                    value: total,
                    bound: limits.max_total_bytes,
                });
            };
            evicted.push(slot);
        }
    }
}

impl Slot {
    /// True if nobody loads it and nobody but the cache holds it.
    fn is_idle(&self) -> bool {
        let Ok(place) = self.cell.try_lock() else {
            return false;
        };
        // The cell itself is held by the slot alone unless somebody is about to lock it.
        Arc::strong_count(&self.cell) == 1
            && place
                .as_ref()
                .is_none_or(|graph| Arc::strong_count(graph) == 1)
    }
}
