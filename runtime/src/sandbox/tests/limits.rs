use super::*;
use crate::failure::{Cause, GuestError};
use crate::guests::{by_hand, echo, echo_module, endless, guest};
use crate::limits::{TABLES_MAX, WASM_STACK_BYTES_MAX};

const LOG: &str = r#"(import "assay:job/log@0.1.0" "log" (func $log (param i32 i32 i32)))"#;
const TENSOR: &str = r#"
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[constructor]tensor"
    (func $tensor (param i32 i32 i32 i32 i32) (result i32)))"#;

/// Runs one guest under a limit that it obeys and under one that it does not.
async fn pair(component: &[u8], obeyed: ShardLimits, violated: ShardLimits) -> FailureKind {
    let done = run(component, &["a", "bc"], obeyed).await.unwrap();
    assert_eq!(outputs(&done), [&b"a"[..], b"bc"]);
    let failure = run(component, &["a", "bc"], violated).await.unwrap_err();
    assert_eq!(failure.cause(), Cause::Guest);
    failure.kind
}

/// `body` repeated `times` times, counted in `$i`.
fn repeat(times: u32, body: &str) -> String {
    format!(
        "(loop $again {body} (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $i) (i32.const {times}))))"
    )
}

#[tokio::test]
async fn fuel() {
    let component = guest("", 2, "", &repeat(1000, ""));
    let done = run(&component, &["a"], wide()).await.unwrap();
    let needed = done.outcome.meters.fuel;
    assert!((1000..100_000).contains(&needed), "{needed}");
    // The engine looks at the fuel at loop heads and function entries, so a few units less may pass.
    let mut exact = wide();
    exact.job.fuel = needed + 1;
    let mut short = wide();
    short.job.fuel = needed - 500;
    let kind = pair_of("a", &component, exact, short.clone()).await;
    assert_eq!(
        kind,
        FailureKind::FuelExhausted {
            limit: short.job.fuel
        }
    );
}

async fn pair_of(
    item: &str,
    component: &[u8],
    obeyed: ShardLimits,
    violated: ShardLimits,
) -> FailureKind {
    run(component, &[item], obeyed).await.unwrap();
    run(component, &[item], violated).await.unwrap_err().kind
}

#[tokio::test]
async fn an_endless_loop_burns_exactly_the_same_fuel_each_time() {
    let mut limits = wide();
    limits.job.fuel = 20_000_000;
    let first = run(&endless(), &["a"], limits.clone()).await.unwrap_err();
    let second = run(&endless(), &["a"], limits).await.unwrap_err();
    assert_eq!(first, second);
    assert_eq!(first.kind, FailureKind::FuelExhausted { limit: 20_000_000 });
    assert!(first.fuel >= 19_999_990, "{}", first.fuel);
}

#[tokio::test]
async fn memory_is_summed_over_all_memories() {
    let parts = format!(
        r#"(core module $other (memory 20))
           (core instance (instantiate $other))
           {}
           (core instance $main (instantiate $echo))"#,
        echo_module("", "")
    );
    let pages = |pages: u64| {
        let mut limits = wide();
        limits.job.memory_bytes = pages << 16;
        limits
    };
    let kind = pair(&by_hand(&parts), pages(22), pages(21)).await;
    let (wanted, limit) = (22 << 16, 21 << 16);
    assert_eq!(kind, FailureKind::MemoryLimit { wanted, limit });
}

#[tokio::test]
async fn memory_that_is_refused_to_a_running_guest_is_named_if_it_traps_for_it() {
    let grow = "(if (i32.lt_s (memory.grow (i32.const 30)) (i32.const 0)) (then unreachable))";
    let pages = |pages: u64| {
        let mut limits = wide();
        limits.job.memory_bytes = pages << 16;
        limits
    };
    let kind = pair(&guest("", 2, "", grow), pages(32), pages(31)).await;
    let (wanted, limit) = (32 << 16, 31 << 16);
    assert_eq!(kind, FailureKind::MemoryLimit { wanted, limit });

    // A guest that can live without it goes on, and its peak is what it got.
    let shrug = guest("", 2, "", "(drop (memory.grow (i32.const 30)))");
    let done = run(&shrug, &["a"], pages(31)).await.unwrap();
    assert_eq!(done.outcome.meters.memory_bytes, 2 << 16);
}

#[tokio::test]
async fn growing_memory_costs_fuel() {
    let grow = |pages: u32| {
        guest(
            "",
            2,
            "",
            &format!("(drop (memory.grow (i32.const {pages})))"),
        )
    };
    let few = run(&grow(1), &["a"], wide())
        .await
        .unwrap()
        .outcome
        .meters
        .fuel;
    let many = run(&grow(101), &["a"], wide())
        .await
        .unwrap()
        .outcome
        .meters
        .fuel;
    assert_eq!(many - few, 6400);
}

#[tokio::test]
async fn table_elements_are_summed_over_all_tables() {
    let parts = format!(
        r#"(core module $other (table 600 funcref) (table 300 funcref))
           (core instance (instantiate $other))
           {}
           (core instance $main (instantiate $echo))"#,
        echo_module("(table 100 funcref)", "")
    );
    let elements = |elements: u64| ShardLimits {
        table_elements: elements,
        ..wide()
    };
    let kind = pair(&by_hand(&parts), elements(1000), elements(999)).await;
    let (wanted, limit) = (1000, 999);
    assert_eq!(kind, FailureKind::TableLimit { wanted, limit });
}

#[tokio::test]
async fn core_instances() {
    let parts = format!(
        r#"(core module $other)
           (core instance (instantiate $other))
           (core instance (instantiate $other))
           {}
           (core instance $main (instantiate $echo))"#,
        echo_module("", "")
    );
    let instances = |instances: u32| ShardLimits {
        instances,
        ..wide()
    };
    let kind = pair(&by_hand(&parts), instances(3), instances(2)).await;
    assert!(matches!(kind, FailureKind::InstanceLimit { .. }), "{kind}");
}

#[tokio::test]
async fn a_component_with_more_tables_than_the_pool_has_is_refused() {
    let with = |tables: u32| {
        let tables = "(table 1 funcref)".repeat(tables as usize);
        let module = echo_module(&tables, "");
        by_hand(&format!(
            "{module}(core instance $main (instantiate $echo))"
        ))
    };
    run(&with(TABLES_MAX), &["a"], wide()).await.unwrap();
    let kind = run(&with(TABLES_MAX + 1), &["a"], wide())
        .await
        .unwrap_err()
        .kind;
    assert!(matches!(kind, FailureKind::Component { .. }), "{kind}");
}

#[tokio::test]
async fn stack() {
    let calls = |depth: u32| {
        let recurse = "(func $deep (param $left i32) (result i32)
            (if (result i32) (i32.eqz (local.get $left)) (then (i32.const 0))
              (else (i32.add (i32.const 1) (call $deep (i32.sub (local.get $left) (i32.const 1)))))))";
        guest(
            "",
            2,
            recurse,
            &format!("(drop (call $deep (i32.const {depth})))"),
        )
    };
    run(&calls(1000), &["a"], wide()).await.unwrap();
    let failure = run(&calls(1_000_000), &["a"], wide()).await.unwrap_err();
    let limit = WASM_STACK_BYTES_MAX as u64;
    assert_eq!(failure.kind, FailureKind::StackLimit { limit });
}

#[tokio::test]
async fn bytes_of_one_host_call() {
    let component = guest(
        LOG,
        2,
        "",
        "(call $log (i32.const 1) (i32.const 2048) (i32.const 1000))",
    );
    let bytes = |bytes: u64| ShardLimits {
        hostcall_bytes: bytes,
        ..wide()
    };
    let kind = pair(&component, bytes(1000), bytes(999)).await;
    assert_eq!(kind, FailureKind::HostcallLimit { limit: 999 });
}

#[tokio::test]
async fn handles_of_the_guests_own() {
    let new = r#"(loop $again
        (drop (call $new (i32.const 7)))
        (global.set $made (i32.add (global.get $made) (i32.const 1)))
        (br_if $again (i32.lt_u (global.get $made) (i32.const 50))))"#;
    let imports = r#"(import "own" "new" (func $new (param i32) (result i32)))
        (global $made (mut i32) (i32.const 0))"#;
    let parts = format!(
        r#"(type $thing (resource (rep i32)))
           (core func $new (canon resource.new $thing))
           (core instance $own (export "new" (func $new)))
           {}
           (core instance $main (instantiate $echo (with "own" (instance $own))))"#,
        echo_module(imports, new)
    );
    let handles = |handles: u32| ShardLimits { handles, ..wide() };
    let kind = pair(&by_hand(&parts), handles(50), handles(49)).await;
    assert_eq!(kind, FailureKind::HandleLimit { limit: 49 });
}

#[tokio::test]
async fn tensors_held_at_once() {
    let one = "(drop (call $tensor (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 1)))";
    let component = guest(TENSOR, 2, "", &repeat(20, one));
    let resources = |nn_resources: u32| ShardLimits {
        nn_resources,
        ..wide()
    };
    let kind = pair(&component, resources(20), resources(19)).await;
    assert_eq!(kind, FailureKind::ResourceLimit { limit: 19 });
}

#[tokio::test]
async fn bytes_of_one_output() {
    let bytes = |bytes: u32| {
        let mut limits = wide();
        limits.job.output_bytes_per_item = bytes;
        limits
    };
    let kind = pair(&echo(), bytes(2), bytes(1)).await;
    let (item, bytes, limit) = (1, 2, 1);
    assert_eq!(kind, FailureKind::OutputLimit { item, bytes, limit });
}

#[tokio::test]
async fn the_most_outputs_that_a_manifest_may_allow_leave_the_guest() {
    use jobs::manifest::{ITEMS_PER_SHARD_MAX, SHARD_OUTPUT_BYTES_MAX};
    let each = SHARD_OUTPUT_BYTES_MAX / u64::from(ITEMS_PER_SHARD_MAX);
    // Every output is the same piece of memory.
    let entry =
        "(local.set $j (i32.add (local.get $items) (i32.shl (local.get $i) (i32.const 3))))";
    let output = format!(
        "{entry} (i32.store (local.get $j) (i32.const 0))
         (i32.store offset=4 (local.get $j) (i32.const {each}))"
    );
    let component = guest("", 2, "", &repeat(ITEMS_PER_SHARD_MAX, &output));
    let items = vec![""; ITEMS_PER_SHARD_MAX as usize];
    let done = run(&component, &items, wide()).await.unwrap();
    let outputs = outputs(&done);
    assert_eq!(outputs.len(), items.len());
    assert!(outputs.iter().all(|output| output.len() as u64 == each));
}

#[tokio::test]
async fn one_output_per_item() {
    for (component, outputs) in [
        (
            guest(
                "",
                2,
                "",
                "(return (call $ok (local.get $items) (i32.const 1)))",
            ),
            1,
        ),
        (
            guest(
                "",
                2,
                "",
                "(return (call $ok (i32.const 4096) (i32.const 3)))",
            ),
            3,
        ),
    ] {
        let failure = run(&component, &["a", "b"], wide()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::OutputCount { outputs, items: 2 });
    }
    let none = run(&echo(), &[], wide()).await.unwrap();
    assert_eq!((none.outcome.items, outputs(&none).len()), (0, 0));
}

#[tokio::test]
async fn bytes_of_log() {
    let line = "(call $log (i32.const 2) (i32.const 2048) (i32.const 5))";
    let component = guest(
        LOG,
        2,
        r#"(data (i32.const 2048) "a\1b[0m")"#,
        &repeat(10, line),
    );
    let bytes = |log_bytes: u64| ShardLimits {
        log_bytes,
        ..wide()
    };
    let kind = pair(&component, bytes(50), bytes(49)).await;
    let (wanted, limit) = (50, 49);
    assert_eq!(kind, FailureKind::LogLimit { wanted, limit });

    let failure = run(&component, &["a"], bytes(49)).await.unwrap_err();
    assert_eq!(failure.log.len(), 9, "what was logged before is kept");
    assert_eq!(failure.log[0].text, "a\\u{1b}[0m");
    assert!(failure.fuel > 0);
}

#[tokio::test]
async fn wall_clock() {
    let mut short = wide();
    short.job.wall_ms = 100;
    short.job.fuel = u64::MAX / 2;
    let failure = run(&endless(), &["a"], short.clone()).await.unwrap_err();
    assert!(
        matches!(failure.kind, FailureKind::Deadline { limit_ms: 100, .. }),
        "{failure}"
    );
    assert_eq!(failure.cause(), Cause::Host);
    short.job.wall_ms = 60_000;
    run(&echo(), &["a"], short).await.unwrap();
}

#[tokio::test]
async fn the_guests_own_errors_and_traps() {
    let data = r#"(data (i32.const 2048) "no\0a")"#;
    let error = |case: u32| {
        let body =
            format!("(return (call $err (i32.const {case}) (i32.const 2048) (i32.const 3)))");
        guest("", 2, data, &body)
    };
    for (case, kind) in [
        (0, GuestError::BadInput),
        (1, GuestError::Model),
        (2, GuestError::Failed),
    ] {
        let failure = run(&error(case), &["a"], wide()).await.unwrap_err();
        let message = "no\\u{a}".to_owned();
        assert_eq!(failure.kind, FailureKind::Guest { kind, message });
        assert!(failure.kind.leaves_worker_clean());
    }
    for (body, expected) in [
        ("unreachable", "unreachable"),
        (
            "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
            "divide by zero",
        ),
        ("(drop (i32.load (i32.const -4)))", "out of bounds memory"),
        ("(return (i32.const -8))", ""),
    ] {
        let failure = run(&guest("", 2, "", body), &["a"], wide())
            .await
            .unwrap_err();
        let FailureKind::Trap { what } = &failure.kind else {
            panic!("{body}: {failure}")
        };
        assert!(what.contains(expected), "{body}: {what}");
        assert!(!failure.kind.leaves_worker_clean());
    }
}
