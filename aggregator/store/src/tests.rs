//! One suite, two engines. Every test of `suite` runs against both; what only a disk can do is in `disk`.

mod disk;
mod suite;

use serde::{Deserialize, Serialize};

use crate::{Batch, Cell, Column, Kv, MemoryStore, RocksStore, Table, View};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    name: String,
    count: u128,
}

const JOBS: Table<(u32, String), Row> = Table::new(Column::Jobs, 1);
const NUMBERS: Table<u64, u64> = Table::new(Column::Journal, 1);
const NUMBERS_LATER: Table<u64, u64> = Table::new(Column::Journal, 2);
const HEAD: Cell<u64> = Cell::new("test.head", 1);

fn row(name: &str, count: u128) -> Row {
    Row {
        name: name.into(),
        count,
    }
}

fn numbers(values: impl IntoIterator<Item = u64>) -> Batch {
    let mut batch = Batch::new();
    for value in values {
        NUMBERS.put(&mut batch, &value, &(value * 10)).unwrap();
    }
    batch
}

fn stored_numbers(kv: &dyn View) -> Vec<u64> {
    let mut keys = Vec::new();
    let each = |key, value| {
        assert_eq!(value, key * 10);
        keys.push(key);
        Ok::<_, crate::StoreError>(())
    };
    NUMBERS.for_each(kv, crate::KeyRange::all(), each).unwrap();
    keys
}

/// A place where a store can be closed and opened again.
enum Place {
    Memory(MemoryStore),
    Disk(tempfile::TempDir),
}

impl Place {
    fn both() -> [Self; 2] {
        [
            Self::Memory(MemoryStore::new()),
            Self::Disk(tempfile::tempdir().unwrap()),
        ]
    }

    fn open(&self) -> Box<dyn Kv> {
        match self {
            Self::Memory(store) => Box::new(store.clone()),
            Self::Disk(dir) => Box::new(RocksStore::open(dir.path()).unwrap()),
        }
    }
}
