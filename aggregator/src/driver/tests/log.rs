//! A log that was tampered with is refused by name.

use store::{Batch, Column, KeyRange, Kv, RocksStore, View};

use super::rig::{Rig, config};
use crate::{Error, start};

/// Changes the rows of a column.
type Tamper = fn(&mut Vec<(Vec<u8>, Vec<u8>)>) -> Vec<Vec<u8>>;

async fn stopped() -> tempfile::TempDir {
    let rig = Rig::new().await;
    rig.fund().await;
    rig.deposit(&rig.account(), jobs::money::Amount(3), "more")
        .await;
    let Rig { dir, running, .. } = rig;
    running.stop().await;
    dir
}

fn tamper(dir: &std::path::Path, column: Column, change: Tamper) {
    let store = RocksStore::open(dir.join("store")).unwrap();
    let mut rows = store.scan(column, &KeyRange::all(), 4096).unwrap().rows;
    let mut batch = Batch::new();
    for key in change(&mut rows) {
        batch.delete_raw(column, key);
    }
    for (key, value) in rows {
        batch.put_raw(column, key, value);
    }
    store.commit(batch).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_missing_or_moved_row_is_refused() {
    let flip: Tamper = |rows| {
        let last = rows.last_mut().unwrap();
        let middle = last.1.len() / 2;
        last.1[middle] ^= 1;
        Vec::new()
    };
    let flip_first: Tamper = |rows| {
        *rows[0].1.last_mut().unwrap() ^= 1;
        Vec::new()
    };
    let cut_end: Tamper = |rows| vec![rows.pop().unwrap().0];
    let cut_middle: Tamper = |rows| vec![rows.remove(1).0];
    let swap: Tamper = |rows| {
        let first = rows[0].1.clone();
        rows[0].1 = rows[1].1.clone();
        rows[1].1 = first;
        Vec::new()
    };
    for (name, column, change) in [
        ("flip", Column::Events, flip),
        ("flip first", Column::Events, flip_first),
        ("cut end", Column::Events, cut_end),
        ("cut middle", Column::Events, cut_middle),
        ("swap", Column::Events, swap),
        ("no snapshot", Column::Snapshots, cut_end),
        ("money", Column::Balances, flip),
        ("journal", Column::Journal, flip),
    ] {
        let dir = stopped().await;
        tamper(dir.path(), column, change);
        let refused = start(config(dir.path())).await.unwrap_err();
        let named = matches!(
            refused,
            Error::Log(_) | Error::Ledger(_) | Error::Store(store::StoreError::Row { .. })
        );
        assert!(named, "{name}: {refused:?}");
    }
}
