//! The engine on disk: RocksDB, set up for money on a small machine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBRawIterator,
    DBRecoveryMode, ErrorKind, Options, ReadOptions, Snapshot, WriteBatch, WriteOptions,
};

use crate::kv::PageBuilder;
use crate::{Batch, Cell, Column, KeyRange, Kv, Page, StoreError, View};

/// Layout of a store directory. Raised when a program could misread what an older one wrote.
pub const FORMAT_VERSION: u32 = 3;

/// The layout a directory was created with.
const FORMAT: Cell<u32> = Cell::new("store.format", 1);

/// Bytes one column collects in memory before it is written out.
const WRITE_BUFFER_BYTES: usize = 4 << 20;
/// Bytes all columns together collect in memory.
const WRITE_BUFFERS_TOTAL_BYTES: usize = 32 << 20;
/// Bytes of write-ahead log after which the oldest column is written out: bounds recovery time.
const WAL_TOTAL_BYTES_MAX: u64 = 64 << 20;
/// Bytes of decompressed blocks kept in memory.
const BLOCK_CACHE_BYTES: usize = 16 << 20;
/// Flushes and compactions at once.
const BACKGROUND_JOBS_MAX: i32 = 2;
/// Files held open.
const OPEN_FILES_MAX: i32 = 128;
/// The engine's own text log: bytes per file, and files kept.
const ENGINE_LOG_BYTES_MAX: usize = 1 << 20;
const ENGINE_LOG_FILES_MAX: usize = 4;

/// A store in a directory of its own. One process at a time; commits are synced before they return.
pub struct RocksStore {
    pub(crate) db: DB,
    path: PathBuf,
    /// The failure after which nothing more is written. Also serialises commits, so that no commit can
    /// slip in between another's failure and its being recorded.
    halted: Mutex<Option<String>>,
}

impl fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RocksStore({})", self.path.display())
    }
}

impl RocksStore {
    /// Opens the store in `path`, creating it and missing columns as needed.
    ///
    /// A torn end of the write-ahead log (the batch that a power cut interrupted) is dropped; damage
    /// before it is refused.
    ///
    /// # Errors
    /// `Locked` when it is open elsewhere, `Format` when another layout wrote it, `Corrupt`, `Full` or
    /// `Io` when the engine cannot recover it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_path_buf();
        let table = table_options();
        let columns = Column::ALL.iter().map(|column| {
            ColumnFamilyDescriptor::new(family_name(*column), column_options(&table))
        });
        let db = DB::open_cf_descriptors(&database_options(&table), &path, columns)
            .map_err(|error| translate(&path, error))?;
        let store = Self {
            db,
            path,
            halted: Mutex::new(None),
        };
        store.check_format()?;
        Ok(store)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn check_format(&self) -> Result<(), StoreError> {
        match FORMAT.get(self)? {
            Some(FORMAT_VERSION) => Ok(()),
            Some(found) => Err(StoreError::Format {
                path: self.path.clone(),
                found,
                expected: FORMAT_VERSION,
            }),
            None => {
                let mut batch = Batch::new();
                FORMAT.put(&mut batch, &FORMAT_VERSION)?;
                self.commit(batch)
            }
        }
    }

    pub(crate) fn family(&self, column: Column) -> Result<&ColumnFamily, StoreError> {
        self.db
            .cf_handle(family_name(column))
            .ok_or_else(|| StoreError::Corrupt {
                detail: format!("column {column} is missing"),
            })
    }

    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let mut writes = WriteBatch::default();
        for op in batch.checked()? {
            let family = self.family(op.column)?;
            match op.value {
                Some(value) => writes.put_cf(family, &op.key, value),
                None => writes.delete_cf(family, &op.key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db
            .write_opt(writes, &options)
            .map_err(|error| translate(&self.path, error))
    }
}

/// One moment of a [`RocksStore`].
struct RocksView<'a> {
    store: &'a RocksStore,
    snapshot: Snapshot<'a>,
}

impl fmt::Debug for RocksView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RocksView({})", self.store.path.display())
    }
}

impl View for RocksView<'_> {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.snapshot
            .get_cf_opt(self.store.family(column)?, key, read_options())
            .map_err(|error| translate(&self.store.path, error))
    }

    fn scan(&self, column: Column, range: &KeyRange, limit: usize) -> Result<Page, StoreError> {
        let family = self.store.family(column)?;
        let rows = |options| self.snapshot.raw_iterator_cf_opt(family, options);
        page_of(&self.store.path, range, limit, rows)
    }
}

/// Reads a page from the iterator that `rows` makes.
fn page_of<'a>(
    path: &Path,
    range: &KeyRange,
    limit: usize,
    rows: impl FnOnce(ReadOptions) -> DBRawIterator<'a>,
) -> Result<Page, StoreError> {
    let mut page = PageBuilder::new(limit);
    if range.is_empty() {
        return Ok(page.finish());
    }
    let mut options = read_options();
    if let Some(until) = &range.until {
        options.set_iterate_upper_bound(until.as_slice());
    }
    let mut rows = rows(options);
    rows.seek(&range.from);
    while let Some((key, value)) = rows.item() {
        if !page.push(key, value) {
            break;
        }
        rows.next();
    }
    // An iterator that met a bad block just ends; only its status tells.
    rows.status().map_err(|error| translate(path, error))?;
    Ok(page.finish())
}

impl View for RocksStore {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db
            .get_cf_opt(self.family(column)?, key, &read_options())
            .map_err(|error| translate(&self.path, error))
    }

    fn scan(&self, column: Column, range: &KeyRange, limit: usize) -> Result<Page, StoreError> {
        let family = self.family(column)?;
        let rows = |options| self.db.raw_iterator_cf_opt(family, options);
        page_of(&self.path, range, limit, rows)
    }
}

impl Kv for RocksStore {
    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut halted = self.halted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cause) = &*halted {
            return Err(StoreError::Halted {
                cause: cause.clone(),
            });
        }
        let outcome = self.write(batch);
        if let Err(error) = &outcome
            && error.halts()
        {
            *halted = Some(error.to_string());
        }
        outcome
    }

    fn snapshot(&self) -> Box<dyn View + '_> {
        Box::new(RocksView {
            store: self,
            snapshot: self.db.snapshot(),
        })
    }
}

/// RocksDB insists on a family called "default"; ours is the one for single rows.
const fn family_name(column: Column) -> &'static str {
    match column {
        Column::Meta => rocksdb::DEFAULT_COLUMN_FAMILY_NAME,
        other => other.name(),
    }
}

fn table_options() -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
    table
}

fn column_options(table: &BlockBasedOptions) -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_block_based_table_factory(table);
    options
}

fn database_options(table: &BlockBasedOptions) -> Options {
    let mut options = column_options(table);
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // A torn tail after a power cut is legitimate; the journal's hash chain covers what this mode
    // would silently drop.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_paranoid_checks(true);
    options.set_db_write_buffer_size(WRITE_BUFFERS_TOTAL_BYTES);
    options.set_max_total_wal_size(WAL_TOTAL_BYTES_MAX);
    options.set_max_background_jobs(BACKGROUND_JOBS_MAX);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_log_file_size(ENGINE_LOG_BYTES_MAX);
    options.set_keep_log_file_num(ENGINE_LOG_FILES_MAX);
    options.set_stats_dump_period_sec(0);
    options
}

fn read_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options
}

/// The engine's error in our words. It reports the system's error number only as text.
fn translate(path: &Path, error: rocksdb::Error) -> StoreError {
    const FULL: [&str; 4] = [
        "No space left on device",
        "Disk quota exceeded",
        "File too large",
        "Max allowed space was reached",
    ];
    const LOCKED: [&str; 2] = ["lock hold by current process", "While lock file"];
    let kind = error.kind();
    let detail = error.into_string();
    let says = |texts: &[&str]| texts.iter().any(|text| detail.contains(text));
    match kind {
        _ if says(&LOCKED) => StoreError::Locked {
            path: path.to_path_buf(),
        },
        _ if says(&FULL) => StoreError::Full { detail },
        ErrorKind::Corruption => StoreError::Corrupt { detail },
        _ => StoreError::Io { detail },
    }
}
