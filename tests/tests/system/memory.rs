//! Inputs larger than memory: neither the program that submits one nor the aggregator ever holds it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::{Job, Market, Plan, children, status_field};

/// Lines of the input.
const LINES: usize = 65_536;

/// Bytes of a line, its end included: 256 MiB in all.
const LINE_BYTES: usize = 4096;

/// What the aggregator may take more than before, in KiB.
const AGGREGATOR_GROWTH_KIB: u64 = 64 << 10;

/// What the program that submits may take at its peak, in KiB.
const CLIENT_PEAK_KIB: u64 = 128 << 10;

/// The most memory that a process ever had, in KiB.
fn peak(pid: u32) -> Result<u64> {
    let peak = status_field(pid, "VmHWM")?;
    let number = peak.split(' ').next().context("no number")?;
    Ok(number.parse()?)
}

/// Watches the submitting program until it is `over`; its peak.
fn watch(over: &AtomicBool) -> u64 {
    let mut most = 0;
    while !over.load(Ordering::Relaxed) {
        for (pid, command) in children(std::process::id()).unwrap_or_default() {
            if command.contains("job submit") {
                most = most.max(peak(pid).unwrap_or(0));
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    most
}

#[test]
fn an_input_larger_than_memory_streams_from_disk_to_disk() -> Result<()> {
    let market = Market::up(&Plan::honest(2))?;
    let job = Job {
        item_bytes: LINE_BYTES,
        items_per_shard: 1024,
        price: "50.00".into(),
        ..Job::new("large")
    };
    let folder = market.dir().join("jobs");
    let manifest = job.write(&folder)?;
    let mut input = BufWriter::new(File::create(folder.join("large.txt"))?);
    for number in 0..LINES {
        writeln!(input, "{number:0width$}", width = LINE_BYTES - 1)?;
    }
    input.flush()?;
    drop(input);

    let before = peak(market.aggregator.pid())?;
    let over = AtomicBool::new(false);
    let (submitted, client) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&over));
        let submitted = market.submit_manifest(&manifest);
        over.store(true, Ordering::Relaxed);
        (submitted, watching.join())
    });
    let (submitted, client) = (submitted?.ok()?.json()?, client.unwrap());
    let id = submitted["job"].as_str().context("no job")?.to_owned();
    // Its shards are cut out and stored once it runs.
    market.wait_until(&id, |view| view["phase"] == "running")?;
    let grown = peak(market.aggregator.pid())? - before;
    let told =
        format!("submitting took {client} KiB, the aggregator {grown} KiB more than {before}");
    println!("{told}");
    ensure!(client > 0, "nobody saw the program that submits");
    ensure!(client <= CLIENT_PEAK_KIB, "{told}");
    ensure!(grown <= AGGREGATOR_GROWTH_KIB, "{told}");
    market.assay(&["job", "cancel", &id])?.ok()?;
    market.wait(&id)?;
    Ok(())
}
