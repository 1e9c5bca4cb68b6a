//! What only a disk can do: be locked, be full, be damaged, outlive a killed process.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{HEAD, NUMBERS, numbers, stored_numbers};
use crate::{Batch, Cell, Column, FORMAT_VERSION, Kv, RocksStore, StoreError};

/// Set for the child processes that the tests below start from this very test binary.
const CHILD_DIR: &str = "STORE_TEST_CHILD_DIR";

/// This test binary again, running only `test`, through a shell that first runs `setup`.
fn child(setup: &str, test: &str, dir: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{setup} exec \"$@\""), "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD_DIR, dir);
    command
}

#[test]
fn a_second_handle_is_told_who_may_hold_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let held = RocksStore::open(dir.path()).unwrap();
    let error = RocksStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }));
    let text = error.to_string();
    assert!(text.contains("is another aggregator running on this directory?"));
    assert!(text.contains(&dir.path().display().to_string()));
    drop(held);
    RocksStore::open(dir.path()).unwrap();
}

#[test]
fn a_second_process_is_refused_too() {
    const TEST: &str = "tests::disk::a_second_process_is_refused_too";
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        let error = RocksStore::open(dir).unwrap_err();
        assert!(matches!(error, StoreError::Locked { .. }), "{error}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let _held = RocksStore::open(dir.path()).unwrap();
    let status = child("", TEST, dir.path()).status().unwrap();
    assert!(status.success());
}

#[test]
fn another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut batch = Batch::new();
    Cell::<u32>::new("store.format", 1)
        .put(&mut batch, &(FORMAT_VERSION + 1))
        .unwrap();
    RocksStore::open(dir.path()).unwrap().commit(batch).unwrap();
    let error = RocksStore::open(dir.path()).unwrap_err();
    assert!(
        matches!(error, StoreError::Format { found, .. } if found == FORMAT_VERSION + 1),
        "{error}"
    );
}

#[test]
fn a_file_in_the_way_is_an_error_not_a_panic() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = RocksStore::open(file.path()).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
}

/// The child may write files of 512 KiB and no more (its parent's shell says so), which is what a full
/// disk looks like to one file: some commit fails half-written.
#[test]
fn a_full_disk_loses_no_acknowledged_row_and_leaves_no_half_batch() {
    const TEST: &str =
        "tests::disk::a_full_disk_loses_no_acknowledged_row_and_leaves_no_half_batch";
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        fill_until_refused(Path::new(&dir));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // ulimit counts blocks of 512 bytes; without the trap the limit would kill the process.
    let setup = "trap '' XFSZ; ulimit -f 1024;";
    let status = child(setup, TEST, dir.path()).status().unwrap();
    assert!(status.success(), "{status}");

    let kv = RocksStore::open(dir.path()).unwrap();
    let acknowledged: u64 = std::fs::read_to_string(dir.path().join("acknowledged"))
        .unwrap()
        .parse()
        .unwrap();
    assert!(acknowledged > 0);
    check_whole_batches(&kv, acknowledged);
    kv.commit(numbers([u64::MAX / 10])).unwrap();
}

/// Rows per batch of the two tests that interrupt commits.
const ROWS: u64 = 10;

/// Batch `n`: ten numbered rows, filler that makes the log grow, and the head that counts batches.
fn numbered_batch(n: u64, filler_bytes: usize) -> Batch {
    let mut batch = numbers(n * ROWS..(n + 1) * ROWS);
    batch.put_raw(Column::Jobs, vec![0], vec![n as u8; filler_bytes]);
    HEAD.put(&mut batch, &(n + 1)).unwrap();
    batch
}

fn check_whole_batches(kv: &dyn Kv, acknowledged: u64) {
    let batches = HEAD.get(kv).unwrap().unwrap_or(0);
    // The one commit in flight may be there; it was just not heard of.
    assert!(
        batches == acknowledged || batches == acknowledged + 1,
        "{acknowledged} acknowledged, {batches} stored"
    );
    let expected: Vec<u64> = (0..batches * ROWS).collect();
    assert_eq!(stored_numbers(kv), expected);
}

fn fill_until_refused(dir: &Path) {
    let kv = RocksStore::open(dir).unwrap();
    for n in 0..1000 {
        let Err(error) = kv.commit(numbered_batch(n, 10_000)) else {
            std::fs::write(dir.join("acknowledged"), (n + 1).to_string()).unwrap();
            continue;
        };
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        let error = kv.commit(numbers([0])).unwrap_err();
        assert!(matches!(error, StoreError::Halted { .. }), "{error}");
        // Reads still answer, and do not show the refused batch.
        assert_eq!(HEAD.get(&kv).unwrap(), Some(n));
        assert_eq!(NUMBERS.get(&kv, &(n * ROWS)).unwrap(), None);
        return;
    }
    panic!("ten megabytes fitted into a file of 512 KiB");
}

#[test]
fn a_killed_process_loses_no_acknowledged_row_and_leaves_no_half_batch() {
    const TEST: &str =
        "tests::disk::a_killed_process_loses_no_acknowledged_row_and_leaves_no_half_batch";
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        commit_until_killed(Path::new(&dir));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 1..=3 {
        let mut process = child("", TEST, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Each commit is reported on a line of its own, after it was acknowledged.
        let lines =
            std::io::BufRead::lines(std::io::BufReader::new(process.stdout.take().unwrap()));
        let mut killed = false;
        for line in lines.map_while(Result::ok) {
            let Some(count) = line.strip_prefix("acknowledged ") else {
                continue;
            };
            acknowledged = count.parse().unwrap();
            if !killed && acknowledged >= round * 20 {
                process.kill().unwrap();
                killed = true;
            }
        }
        process.wait().unwrap();
        assert!(killed);
        let kv = RocksStore::open(dir.path()).unwrap();
        check_whole_batches(&kv, acknowledged);
    }
}

fn commit_until_killed(dir: &Path) {
    use std::io::Write;
    let kv = RocksStore::open(dir).unwrap();
    let start = HEAD.get(&kv).unwrap().unwrap_or(0);
    for n in start..1000 {
        kv.commit(numbered_batch(n, 100)).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nacknowledged {}", n + 1).unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn damage_in_a_written_out_file_is_reported_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let kv = RocksStore::open(dir.path()).unwrap();
    kv.commit(numbers(0..1000)).unwrap();
    let journal = kv.family(Column::Journal).unwrap();
    kv.db.flush_cf(journal).unwrap();
    drop(kv);
    let mut damaged = 0;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "sst") {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[50] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    let error = RocksStore::open(dir.path())
        .and_then(|kv| NUMBERS.get(&kv, &1).map(|_| ()))
        .unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}
