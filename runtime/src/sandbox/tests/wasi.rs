use super::*;
use crate::log::LogLevel;
use crate::wasi_guests::{looks_around, wasi_guest};

const HOUR_NS: u64 = 3_600_000_000_000;

/// A number in the first output.
fn number(done: &ShardOutcome, at: usize) -> u64 {
    let output = outputs(done)[0];
    u64::from_le_bytes(output[at..at + 8].try_into().unwrap())
}

async fn shown(job: &str, component: &[u8]) -> ShardOutcome {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = sandbox(dir.path());
    let mut task = task(dir.path(), component);
    task.job = JobId(Digest::of(job.as_bytes()));
    let items = jobs::items::encode(&["x".repeat(64)]).unwrap();
    let prepared = sandbox.prepare(&task, wide()).unwrap();
    prepared.run(&items).await.unwrap()
}

#[tokio::test]
async fn time_and_chance_are_those_of_the_shard() {
    let component = looks_around();
    let first = shown("a", &component).await;
    assert_eq!(first, shown("a", &component).await);
    let fuel = first.outcome.meters.fuel;
    let (before, after) = (number(&first, 0), number(&first, 8));
    assert!(0 < before && before < fuel, "{before}, of {fuel} burnt");
    let slept = after - before;
    assert!(HOUR_NS < slept && slept < HOUR_NS + fuel, "slept {slept}");
    assert_eq!(number(&first, 16), 1_577_836_800 + 3600);

    let other = shown("b", &component).await;
    assert_eq!(other.outcome.meters.fuel, fuel);
    let drawn: Vec<u64> = (24..56).step_by(8).map(|at| number(&first, at)).collect();
    for (at, value) in (24..56).step_by(8).zip(&drawn) {
        assert_ne!(
            number(&other, at),
            *value,
            "at {at} another job draws alike"
        );
        assert_eq!(drawn.iter().filter(|one| *one == value).count(), 1);
    }
}

#[tokio::test]
async fn what_is_printed_is_logged_line_by_line() {
    let done = shown("a", &looks_around()).await;
    let lines: Vec<_> = done
        .log
        .iter()
        .map(|line| (line.level, line.text.as_str()))
        .collect();
    let expected = [
        (LogLevel::Info, "one line"),
        (LogLevel::Info, "half a li"),
        (LogLevel::Warn, "one line"),
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn the_hosts_work_is_paid_in_fuel_to_the_last_unit() {
    let draws = |bytes: u64| {
        let body = format!("(call $bytes (i64.const {bytes}) (i32.const 3072))");
        wasi_guest("", &body)
    };
    let fuel = async |component: &[u8], limit: u64| {
        let mut limits = wide();
        limits.job.fuel = limit;
        run(component, &["a"], limits).await
    };
    let wide_fuel = wide().job.fuel;
    let one = fuel(&draws(1), wide_fuel)
        .await
        .unwrap()
        .outcome
        .meters
        .fuel;
    let many = fuel(&draws(1001), wide_fuel)
        .await
        .unwrap()
        .outcome
        .meters
        .fuel;
    assert_eq!(many, one + 1000);
    // What is paid for a call may be missing when the guest ends, or while it is made.
    assert_eq!(
        fuel(&draws(1001), many).await.unwrap().outcome.meters.fuel,
        many
    );
    for limit in [many - 1, many - 500, many - 1000] {
        let failure = fuel(&draws(1001), limit).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::FuelExhausted { limit });
        assert_eq!(failure.fuel, limit);
    }
}
