//! The corpus of hostile guests, one after the other through one pool of workers.

use std::collections::BTreeSet;
use std::time::Instant;

use runtime::Backend;
use serde_json::json;

use crate::case::Case as Hostile;
use crate::dice::Dice;
use crate::harness::Case;
use crate::rig::{ENGINES, Rig, Tally};
use crate::{boundary, compute, handles, inference, memory, shape, size, wasi};

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

/// How many there are: SPECIFICATION.md says the same.
const GUESTS: usize = 260;

fn corpus() -> Vec<Hostile> {
    let mut cases = compute::cases();
    for more in [
        memory::cases(),
        boundary::cases(),
        handles::cases(),
        inference::cases(),
        shape::cases(),
        wasi::cases(),
        size::cases(),
    ] {
        cases.extend(more);
    }
    are_known_by_name(&cases, GUESTS);
    for name in LONG.iter().chain(ENGINES) {
        assert!(
            cases.iter().any(|case| case.name == *name),
            "no case is {name:?}"
        );
    }
    cases
}

/// So many cases, each with a name of its own.
pub(crate) fn are_known_by_name(cases: &[Hostile], count: usize) {
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
    assert_eq!(
        (cases.len(), names.len()),
        (count, count),
        "cases and names"
    );
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
    block_on(async {
        each(&mut rig, &cases).await;
        if let Some(instances) = number("ASSAY_SOAK") {
            soak(&mut rig, &cases, instances).await;
        }
    });
    report(&rig, "guests", "ASSAY_CORPUS_JSON");
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
    let mut dice = Dice::new(0);
    rig.soaking = true;
    for instance in 1..=instances {
        let at = dice.roll(short.len() as u64) as usize;
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

/// Runs the cases, or those whose name has the words of `ASSAY_CORPUS_ONLY`.
/// `ASSAY_CORPUS_TIMES` says how long each took.
pub(crate) fn play(rig: &mut Rig, cases: &[Hostile]) {
    block_on(each(rig, cases));
}

async fn each(rig: &mut Rig, cases: &[Hostile]) {
    let times = std::env::var_os("ASSAY_CORPUS_TIMES").is_some();
    let only = std::env::var("ASSAY_CORPUS_ONLY").unwrap_or_default();
    for case in cases.iter().filter(|case| case.name.contains(&only)) {
        let start = Instant::now();
        rig.run(case).await;
        if times {
            println!("{:>6} ms  {}", start.elapsed().as_millis(), case.name);
        }
    }
}

/// One line for people, and the same as JSON where the variable says so. Fails if anything escaped.
pub(crate) fn report(rig: &Rig, what: &str, variable: &str) {
    let tally = &rig.tally;
    let (p50, p99) = (percentile(tally, 50), percentile(tally, 99));
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let over: Vec<String> = tally
        .over
        .iter()
        .map(|(spare, (most, case))| {
            format!("{:.0} of {:.0} MiB ({case})", mib(*most), mib(*spare))
        })
        .collect();
    println!(
        "{what}: {} cases, {} contained, {} host deaths, {} workers lost, {} started; kill latency \
         p50 {p50:.1} ms, p99 {p99:.1} ms ({} kills); worker memory over the guest's limit {}",
        tally.cases,
        tally.contained,
        tally.host_deaths,
        tally.workers_lost,
        rig.pool().started(),
        tally.kills_ms.len(),
        over.join(", "),
    );
    if let Some(path) = std::env::var_os(variable) {
        let summary = json!({
            "what": what,
            "machine": machine(),
            "cases": tally.cases,
            "contained": tally.contained,
            "host_deaths": tally.host_deaths,
            "workers_lost": tally.workers_lost,
            "workers_started": rig.pool().started(),
            "kills": tally.kills_ms.len(),
            "kill_latency_ms": { "p50": p50, "p99": p99 },
            "worker_memory_over_limit": tally.over.iter().map(|(spare, (most, case))| json!({
                "mib": mib(*most), "bound_mib": mib(*spare), "case": case,
            })).collect::<Vec<_>>(),
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

/// What the figures are of.
fn machine() -> serde_json::Value {
    let line = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let found = text.lines().find_map(|line| line.strip_prefix(key));
        let found = found.unwrap_or_default();
        found.trim_start_matches([' ', '\t', ':']).to_owned()
    };
    json!({
        "cpu": line("/proc/cpuinfo", "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": line("/proc/meminfo", "MemTotal"),
        "os": line("/proc/sys/kernel/osrelease", ""),
        "load": line("/proc/loadavg", ""),
    })
}

fn percentile(tally: &Tally, percent: usize) -> f64 {
    let mut sorted = tally.kills_ms.clone();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(at).copied().unwrap_or(0.0)
}
