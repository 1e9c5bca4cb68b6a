//! What a fresh instance costs.

use std::sync::Barrier;

use anyhow::{Context as _, Result, anyhow, ensure};
use runtime::Backend;

use super::Bench;
use crate::bare::{OnFiber, Smallest, plain};
use crate::guests;
use crate::measure::{Clock, Samples, duel};
use crate::ours::{Ours, executor, items, outputs};
use crate::table::{Row, Target};

/// Shards between two looks at who is next.
const BLOCK: usize = 200;

/// A store, an instance, a run that does nothing and their end.
pub(crate) fn fresh(bench: &Bench) -> Result<Vec<Row>> {
    let ours = Ours::new(Backend::None)?;
    let component = guests::nop()?;
    let task = ours.task(&component, &[])?;
    let item = vec![b"12345678".to_vec()];
    let encoded = items(&item)?;
    let smallest = plain(Smallest::new(&component))?;
    let on_fiber = plain(OnFiber::new(&component))?;
    let by_fiber = || ours.executor.block_on(on_fiber.run(&item));
    for answer in [plain(smallest.run(&item))?, plain(by_fiber())?] {
        ensure!(answer == item, "the bare embedding answers something else");
    }
    let (_, done) = ours.timed(&task, &encoded)?;
    ensure!(
        outputs(&done)? == item,
        "the sandbox answers something else"
    );

    let [mut all, mut bare, mut fiber] = [const { Rounds::new() }; 3];
    // The first block of each warms the pools and is thrown away.
    for round in 0..=bench.pick(100, 20) {
        let mine = ours.each(&task, &encoded, BLOCK)?;
        let mut theirs = Vec::with_capacity(BLOCK);
        for _ in 0..BLOCK {
            let clock = Clock::start();
            drop(plain(smallest.run(&item))?);
            theirs.push(clock.seconds() * 1e6);
        }
        let stoppable = plain(ours.executor.block_on(each(&on_fiber, &item)))?;
        if round > 0 {
            all.push(mine);
            bare.push(theirs);
            fiber.push(stoppable);
        }
    }
    let row = Row::new("fresh store, instance, run(nop), drop", "us", &all.each)
        .against(&all.each, &bare.each)
        .by_rounds(&all.medians, &bare.medians)
        .target(Target::RatioAtMost(1.5))
        .target(Target::AtMost(25.0))
        .note(
            "baseline: wasmtime on our engine settings, without limits, log, wall clock, fiber, \
             checked items or digests; one item of 8 bytes in and out",
        );
    let p99 = Row::new("the same, 99th percentile", "us", &all.p99).against(&all.p99, &bare.p99);
    let stoppable = Row::new("the same against one on a fiber", "us", &all.each)
        .against(&all.each, &fiber.each)
        .by_rounds(&all.medians, &fiber.medians)
        .note("baseline: as above, on a fiber that yields by fuel and whose stack is zeroed, so that it can be stopped");
    Ok(vec![row, p99, stoppable])
}

/// Measurements in rounds: every one, and what each round came to.
#[derive(Clone)]
struct Rounds {
    each: Samples,
    medians: Samples,
    p99: Samples,
}

impl Rounds {
    const fn new() -> Self {
        Self {
            each: Samples::new(),
            medians: Samples::new(),
            p99: Samples::new(),
        }
    }

    fn push(&mut self, round: Vec<f64>) {
        let round = Samples::of(round);
        self.medians.push(round.median());
        self.p99.push(round.quantile(0.99));
        self.each.extend(round.values());
    }
}

/// Microseconds of each of [`BLOCK`] fresh instances on a fiber.
async fn each(on_fiber: &OnFiber, item: &[Vec<u8>]) -> wasmtime::Result<Vec<f64>> {
    let mut all = Vec::with_capacity(BLOCK);
    for _ in 0..BLOCK {
        let clock = Clock::start();
        drop(on_fiber.run(item).await?);
        all.push(clock.seconds() * 1e6);
    }
    Ok(all)
}

/// Fresh instances a second on two cores.
pub(crate) fn throughput(bench: &Bench) -> Result<Vec<Row>> {
    const THREADS: usize = 2;
    let ours = Ours::new(Backend::None)?;
    let task = ours.task(&guests::nop()?, &[])?;
    let encoded = items(&[b"12345678"])?;
    ours.timed(&task, &encoded)?;
    let count = bench.pick(60_000, 20_000);
    let mut rates = Samples::default();
    for _ in 0..bench.pick(11, 3) {
        let start = Barrier::new(THREADS + 1);
        let seconds = std::thread::scope(|scope| -> Result<f64> {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| -> Result<()> {
                        let executor = executor()?;
                        start.wait();
                        executor.block_on(async {
                            for _ in 0..count / THREADS {
                                let done = ours.sandbox.execute(&task, &encoded).await;
                                drop(done.map_err(|failure| anyhow!("{failure}"))?);
                            }
                            Ok(())
                        })
                    })
                })
                .collect();
            start.wait();
            let clock = Clock::start();
            for thread in threads {
                thread.join().map_err(|_| anyhow!("a thread panicked"))??;
            }
            Ok(clock.seconds())
        })?;
        rates.push(count as f64 / seconds);
    }
    Ok(vec![
        Row::new(
            "fresh-instance nop shards, 2 threads, in process",
            "shards/s",
            &rates,
        )
        .target(Target::AtLeast(60_000.0)),
    ])
}

/// A call from the guest to the host and back.
pub(crate) fn host_call(bench: &Bench) -> Result<Vec<Row>> {
    let calls: u32 = bench.pick(1_000_000, 100_000);
    let ours = Ours::new(Backend::None)?;
    let task = ours.task(&guests::host_calls()?, &[])?;
    let (many, none) = (
        items(&[calls.to_le_bytes()])?,
        items(&[0_u32.to_le_bytes()])?,
    );
    let (many, none) = duel(
        bench.pick(15, 5),
        || Ok(ours.timed(&task, &many)?.0),
        || Ok(ours.timed(&task, &none)?.0),
    )?;
    let each = many.zip(&none, |many, none| (many - none) / f64::from(calls) * 1e9);
    each.median()
        .is_finite()
        .then_some(())
        .context("no calls")?;
    Ok(vec![
        Row::new(
            "host call from a guest (shard-index), fuel counted",
            "ns",
            &each,
        )
        .target(Target::AtMost(60.0)),
    ])
}
