//! The corpus of hostile guests, one after the other through one pool of workers.

use std::time::Instant;

use runtime::Backend;
use serde_json::json;

use crate::case::Case as Hostile;
use crate::harness::Case;
use crate::rig::{Rig, Tally};
use crate::{boundary, compute, handles, inference, memory, shape, size};

pub(crate) const CASES: &[Case] = &[(
    "no_hostile_guest_harms_the_node_or_its_neighbours",
    no_hostile_guest_harms_the_node_or_its_neighbours,
)];

/// Cases that a soak leaves out, since it would do little else.
const LONG: &[&str] = &[
    "as many functions as may be",
    "as large a function of vectors as may be",
    "ten million calls of the host",
    "four thousand signatures",
    "table fills without end",
    "eight megabytes of zeros",
    "a component that is too large",
    "a tensor of a hundred megabytes",
];

/// Fewer cases are no corpus.
const CASES_MIN: u64 = 60;

fn corpus() -> Vec<Hostile> {
    let mut cases = compute::cases();
    for more in [
        memory::cases(),
        boundary::cases(),
        handles::cases(),
        inference::cases(),
        shape::cases(),
        size::cases(),
    ] {
        cases.extend(more);
    }
    cases
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

fn no_hostile_guest_harms_the_node_or_its_neighbours() {
    let mut rig = Rig::new(Backend::Reference, None);
    let cases = corpus();
    // One executor for both: workers that are left from the first go on in the second.
    let whole = block_on(async {
        let whole = each(&mut rig, &cases).await;
        if let Some(instances) = number("ASSAY_SOAK") {
            soak(&mut rig, &cases, instances).await;
        }
        whole
    });
    report(&rig, "guests", "ASSAY_CORPUS_JSON");
    assert!(!whole || rig.tally.cases >= CASES_MIN);
}

/// A number from the environment.
pub(crate) fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is {text:?}, which is no number")),
    )
}

/// Runs so many instances of cases that are drawn by lot, those left out that take long.
async fn soak(rig: &mut Rig, cases: &[Hostile], instances: u64) {
    let short: Vec<&Hostile> = cases
        .iter()
        .filter(|case| !LONG.contains(&case.name))
        .collect();
    let mut made = std::collections::BTreeMap::new();
    let mut lot = 0x9e37_79b9_7f4a_7c15_u64;
    for instance in 1..=instances {
        lot ^= lot << 13;
        lot ^= lot >> 7;
        lot ^= lot << 17;
        let at = (lot % short.len() as u64) as usize;
        let bytes = made.entry(at).or_insert_with(|| (short[at].make)());
        rig.run_made(short[at], bytes).await;
        if instance % 1_000 == 0 {
            println!(
                "soak: {instance} of {instances}, {} escaped",
                rig.tally.escaped.len()
            );
        }
    }
}

/// Runs the cases, or those whose name has the words of `ASSAY_CORPUS_ONLY`; whether it was all of
/// them. `ASSAY_CORPUS_TIMES` says how long each took.
pub(crate) fn play(rig: &mut Rig, cases: &[Hostile]) -> bool {
    block_on(each(rig, cases))
}

async fn each(rig: &mut Rig, cases: &[Hostile]) -> bool {
    let times = std::env::var_os("ASSAY_CORPUS_TIMES").is_some();
    let only = std::env::var("ASSAY_CORPUS_ONLY").unwrap_or_default();
    for case in cases.iter().filter(|case| case.name.contains(&only)) {
        let start = Instant::now();
        rig.run(case).await;
        if times {
            println!("{:>6} ms  {}", start.elapsed().as_millis(), case.name);
        }
    }
    only.is_empty()
}

/// One line for people, and the same as JSON where the variable says so. Fails if anything escaped.
pub(crate) fn report(rig: &Rig, what: &str, variable: &str) {
    let tally = &rig.tally;
    let (p50, p99) = (percentile(tally, 50), percentile(tally, 99));
    let over_mib = tally.over.0 as f64 / f64::from(1 << 20);
    println!(
        "{what}: {} cases, {} contained, {} host deaths, {} workers lost, {} started; kill latency \
         p50 {p50:.1} ms, p99 {p99:.1} ms ({} kills); worker memory over the guest's limit at most \
         {over_mib:.0} MiB ({})",
        tally.cases,
        tally.contained,
        tally.host_deaths,
        tally.workers_lost,
        rig.pool().started(),
        tally.kills_ms.len(),
        tally.over.1,
    );
    if let Some(path) = std::env::var_os(variable) {
        let summary = json!({
            "cases": tally.cases,
            "contained": tally.contained,
            "host_deaths": tally.host_deaths,
            "workers_lost": tally.workers_lost,
            "workers_started": rig.pool().started(),
            "kills": tally.kills_ms.len(),
            "kill_latency_ms": { "p50": p50, "p99": p99 },
            "worker_memory_over_limit": { "mib": over_mib, "case": tally.over.1 },
            "escaped": tally.escaped,
        });
        std::fs::write(path, format!("{summary:#}\n")).unwrap();
    }
    assert!(
        tally.escaped.is_empty(),
        "not contained:\n{}",
        tally.escaped.join("\n")
    );
    assert_eq!((tally.host_deaths, tally.contained), (0, tally.cases));
}

fn percentile(tally: &Tally, percent: usize) -> f64 {
    let mut sorted = tally.kills_ms.clone();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(at).copied().unwrap_or(0.0)
}
