//! What every engine must do.

use super::{HEAD, JOBS, NUMBERS, NUMBERS_LATER, Place, numbers, row, stored_numbers};
use crate::{
    BATCH_ROWS_MAX, Batch, Column, Fault, FaultyStore, KEY_BYTES_MAX, KeyRange, PAGE_BYTES_MAX,
    PAGE_ROWS_MAX, StoreError, VALUE_BYTES_MAX,
};
use crate::{Key, Kv};

#[test]
fn rows_read_back_and_deletes_remove_them() {
    for place in Place::both() {
        let kv = place.open();
        let kv = kv.as_ref();
        assert_eq!(JOBS.get(kv, &(1, "a".into())).unwrap(), None);
        let mut batch = Batch::new();
        JOBS.put(&mut batch, &(1, "a".into()), &row("a", u128::MAX))
            .unwrap();
        JOBS.put(&mut batch, &(1, "b".into()), &row("b", 0))
            .unwrap();
        HEAD.put(&mut batch, &7).unwrap();
        kv.commit(batch).unwrap();
        let stored = JOBS.get(kv, &(1, "a".into())).unwrap();
        assert_eq!(stored, Some(row("a", u128::MAX)));
        assert_eq!(HEAD.get(kv).unwrap(), Some(7));

        let mut batch = Batch::new();
        JOBS.delete(&mut batch, &(1, "a".into()));
        JOBS.delete(&mut batch, &(9, "never there".into()));
        kv.commit(batch).unwrap();
        assert_eq!(JOBS.get(kv, &(1, "a".into())).unwrap(), None);
        assert!(JOBS.get(kv, &(1, "b".into())).unwrap().is_some());
    }
}

#[test]
fn later_entries_of_a_batch_win() {
    for place in Place::both() {
        let kv = place.open();
        let mut batch = Batch::new();
        HEAD.put(&mut batch, &1).unwrap();
        let mut later = Batch::new();
        HEAD.put(&mut later, &2).unwrap();
        NUMBERS.delete(&mut later, &1);
        batch.append(numbers([1]));
        batch.append(later);
        assert_eq!(batch.rows(), 4);
        kv.commit(batch).unwrap();
        assert_eq!(HEAD.get(kv.as_ref()).unwrap(), Some(2));
        assert!(stored_numbers(kv.as_ref()).is_empty());
    }
}

#[test]
fn scans_are_ordered_bounded_and_resumable() {
    let count = PAGE_ROWS_MAX as u64 + 300;
    for place in Place::both() {
        let kv = place.open();
        let kv = kv.as_ref();
        kv.commit(numbers((0..count).rev())).unwrap();
        assert_eq!(stored_numbers(kv), (0..count).collect::<Vec<_>>());

        let page = NUMBERS.page(kv, &KeyRange::all(), usize::MAX).unwrap();
        assert_eq!(page.rows.len(), PAGE_ROWS_MAX);
        let page = NUMBERS.page(kv, &KeyRange::all(), 3).unwrap();
        assert_eq!(page.rows, [(0, 0), (1, 10), (2, 20)]);
        let page = NUMBERS.page(kv, &page.next.unwrap(), 2).unwrap();
        assert_eq!(page.rows, [(3, 30), (4, 40)]);

        for (from, until, expected) in [
            (10, Some(13), vec![10, 11, 12]),
            (count - 2, None, vec![count - 2, count - 1]),
            (5, Some(5), vec![]),
            (6, Some(5), vec![]),
            (count, None, vec![]),
        ] {
            let range = KeyRange {
                from: from.to_bytes(),
                until: until.map(|until: u64| until.to_bytes()),
            };
            let page = NUMBERS.page(kv, &range, 100).unwrap();
            let keys: Vec<u64> = page.rows.into_iter().map(|(key, _)| key).collect();
            assert_eq!(keys, expected, "{from}..{until:?}");
            assert_eq!(page.next, None);
        }
    }
}

#[test]
fn a_prefix_scan_reads_one_group_only() {
    for place in Place::both() {
        let kv = place.open();
        let mut batch = Batch::new();
        for key in [(1, "z"), (2, "a"), (2, "b"), (3, "a"), (u32::MAX, "a")] {
            let key = (key.0, key.1.to_owned());
            JOBS.put(&mut batch, &key, &row("x", 1)).unwrap();
        }
        kv.commit(batch).unwrap();
        for (group, size) in [(0, 0), (2, 2), (3, 1), (u32::MAX, 1)] {
            let range = KeyRange::prefix(&u32::to_bytes(&group));
            let page = JOBS.page(kv.as_ref(), &range, 100).unwrap();
            assert_eq!(page.rows.len(), size, "group {group}");
        }
    }
}

#[test]
fn pages_end_at_their_byte_bound() {
    let value = vec![7; PAGE_BYTES_MAX / 2];
    for place in Place::both() {
        let kv = place.open();
        for key in 0..4_u8 {
            let mut batch = Batch::new();
            batch.put_raw(Column::Snapshots, vec![key], value.clone());
            kv.commit(batch).unwrap();
        }
        let page = kv.scan(Column::Snapshots, &KeyRange::all(), 100).unwrap();
        assert_eq!(page.rows.len(), 1, "two halves and their keys are too much");
        assert_eq!(page.next, Some(vec![1]));
    }
}

#[test]
fn columns_do_not_see_one_another() {
    for place in Place::both() {
        let kv = place.open();
        for (index, column) in Column::ALL.into_iter().enumerate() {
            let mut batch = Batch::new();
            batch.put_raw(column, b"same key".to_vec(), vec![index as u8]);
            kv.commit(batch).unwrap();
        }
        for (index, column) in Column::ALL.into_iter().enumerate() {
            let value = kv.get(column, b"same key").unwrap();
            assert_eq!(value, Some(vec![index as u8]), "{column}");
        }
    }
}

#[test]
fn a_snapshot_shows_one_moment_whatever_is_committed_later() {
    for place in Place::both() {
        let kv = FaultyStore::new(place.open(), []);
        let mut first = numbers([1, 2]);
        HEAD.put(&mut first, &1).unwrap();
        kv.commit(first).unwrap();
        let view = kv.snapshot();
        let mut second = numbers([3]);
        NUMBERS.delete(&mut second, &1);
        HEAD.put(&mut second, &2).unwrap();
        kv.commit(second).unwrap();
        assert_eq!(stored_numbers(&*view), [1, 2]);
        assert_eq!(NUMBERS.get(&*view, &3).unwrap(), None);
        assert_eq!(HEAD.get(&*view).unwrap(), Some(1));
        assert_eq!(stored_numbers(&*kv.snapshot()), [2, 3]);
        assert_eq!(stored_numbers(&kv), [2, 3]);
    }
}

#[test]
fn reopening_keeps_every_commit() {
    for place in Place::both() {
        for round in 0..3 {
            let kv = place.open();
            assert_eq!(stored_numbers(kv.as_ref()), (0..round).collect::<Vec<_>>());
            kv.commit(numbers([round])).unwrap();
        }
    }
}

#[test]
fn oversized_rows_and_batches_change_nothing() {
    let key_max = vec![1; KEY_BYTES_MAX];
    let cases = [
        (
            vec![1; KEY_BYTES_MAX + 1],
            1,
            "key in column jobs is 1025 bytes",
        ),
        (
            vec![1],
            VALUE_BYTES_MAX + 1,
            "value in column jobs is 67108865 bytes",
        ),
    ];
    for place in Place::both() {
        let kv = place.open();
        for (key, value_bytes, message) in &cases {
            let mut batch = numbers([1]);
            batch.put_raw(Column::Jobs, key.clone(), vec![0; *value_bytes]);
            let error = kv.commit(batch).unwrap_err();
            assert!(matches!(error, StoreError::TooLarge { .. }));
            assert!(error.to_string().starts_with(message), "{error}");
        }
        let mut batch = Batch::new();
        for _ in 0..=BATCH_ROWS_MAX {
            batch.delete_raw(Column::Jobs, Vec::new());
        }
        let error = kv.commit(batch).unwrap_err();
        assert!(matches!(error, StoreError::BatchTooLarge { .. }));
        assert!(stored_numbers(kv.as_ref()).is_empty());
        // The caller's mistakes do not halt the store, and the bounds themselves are allowed.
        let mut batch = numbers([1]);
        batch.put_raw(Column::Jobs, key_max.clone(), vec![0; 1]);
        kv.commit(batch).unwrap();
        assert_eq!(stored_numbers(kv.as_ref()), [1]);
    }
}

#[test]
fn rows_of_another_version_or_shape_are_refused() {
    for place in Place::both() {
        let kv = place.open();
        let kv = kv.as_ref();
        let mut batch = Batch::new();
        NUMBERS_LATER.put(&mut batch, &1, &10).unwrap();
        batch.put_raw(Column::Journal, 2_u64.to_bytes(), vec![1, 20, 99]);
        batch.put_raw(Column::Journal, 3_u64.to_bytes(), vec![1]);
        batch.put_raw(Column::Journal, 4_u64.to_bytes(), vec![]);
        batch.put_raw(Column::Journal, vec![5], vec![1, 20]);
        kv.commit(batch).unwrap();
        let error = NUMBERS.get(kv, &1).unwrap_err();
        let expected = "column journal, key 0000000000000001: \
                        row has schema version 2, this program reads version 1";
        assert_eq!(error.to_string(), expected);
        for (key, message) in [
            (2, "1 bytes left over"),
            (3, "malformed"),
            (4, "value is empty"),
        ] {
            let error = NUMBERS.get(kv, &key).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
        let range = KeyRange {
            from: vec![5],
            until: None,
        };
        let error = NUMBERS.page(kv, &range, 9).unwrap_err();
        assert!(error.to_string().contains("key 05: key is malformed"));
    }
}

#[test]
fn a_failed_commit_is_whole_or_absent_and_halts_the_store() {
    for (fault, landed, readable) in [
        (Fault::Full, false, true),
        (Fault::Io, false, true),
        (Fault::IoLanded, true, true),
        (Fault::CrashBefore, false, false),
        (Fault::CrashAfter, true, false),
    ] {
        for place in Place::both() {
            let kv = FaultyStore::new(place.open(), [(1, fault)]);
            kv.commit(numbers([1])).unwrap();
            let error = kv.commit(numbers([2, 3])).unwrap_err();
            assert_eq!(
                matches!(error, StoreError::Full { .. }),
                fault == Fault::Full
            );
            let error = kv.commit(numbers([4])).unwrap_err();
            assert!(matches!(error, StoreError::Halted { .. }), "{error}");
            assert_eq!(kv.commits(), 2);
            assert_eq!(NUMBERS.get(&kv, &1).is_ok(), readable, "{fault:?}");

            drop(kv.into_inner());
            let kv = place.open();
            let expected: &[u64] = if landed { &[1, 2, 3] } else { &[1] };
            assert_eq!(stored_numbers(kv.as_ref()), expected, "{fault:?}");
            kv.commit(numbers([4])).unwrap();
        }
    }
}

#[test]
fn a_copy_holds_every_row_as_it_was() {
    let count = PAGE_ROWS_MAX as u64 + 300;
    for (from, to) in Place::both()
        .into_iter()
        .zip(Place::both().into_iter().rev())
    {
        let (from, to) = (from.open(), to.open());
        let mut batch = numbers(0..count);
        HEAD.put(&mut batch, &7).unwrap();
        from.commit(batch).unwrap();
        let view = from.snapshot();
        from.commit(numbers([count])).unwrap();
        assert!(crate::copy(&*view, to.as_ref()).unwrap() > count);
        assert_eq!(stored_numbers(to.as_ref()), (0..count).collect::<Vec<_>>());
        assert_eq!(HEAD.get(to.as_ref()).unwrap(), Some(7));
    }
}
