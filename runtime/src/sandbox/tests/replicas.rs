use super::*;
use crate::guests::{echo, guest};
use crate::log::LogLevel;
use crate::task::LocalModel;

#[tokio::test]
async fn two_runs_give_equal_outputs_and_equal_fuel() {
    let body = "(loop $again
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 3000000))))";
    let component = guest("", 2, "", body);
    let first = run(&component, &["one", "two", ""], wide()).await.unwrap();
    let second = run(&component, &["one", "two", ""], wide()).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(first.outcome.root, jobs::merkle::root(&["one", "two", ""]));
    assert_eq!(first.outcome.outputs, BlobRef::of(&first.outputs));
    assert!(
        first.outcome.meters.fuel > 3_000_000,
        "yields do not hide fuel"
    );
    assert_eq!(first.outcome.fingerprint.engine, crate::engine::engine_id());
    assert!(first.outcome.fingerprint.is_bounded());
}

/// Every way to make a NaN ends in the same bits, whatever payload went in.
#[tokio::test]
async fn nans_are_canonical() {
    let payload = "(f32.reinterpret_i32 (i32.const 0x7fa12345))";
    let negative = "(f32.reinterpret_i32 (i32.const 0xffc54321))";
    let wide_nan = "(f64.reinterpret_i64 (i64.const 0xfff8000012345678))";
    let quiet32 = 0x7fc0_0000_u32.to_le_bytes();
    let quiet64 = 0x7ff8_0000_0000_0000_u64.to_le_bytes();
    for (what, store, expected) in [
        (
            "add",
            format!("f32.store (local.get $j) (f32.add {payload} (f32.const 1))"),
            &quiet32[..],
        ),
        (
            "zero",
            "f32.store (local.get $j) (f32.div (f32.const 0) (f32.const 0))".into(),
            &quiet32,
        ),
        (
            "root",
            format!("f32.store (local.get $j) (f32.sqrt {negative})"),
            &quiet32,
        ),
        (
            "min",
            format!("f32.store (local.get $j) (f32.min {negative} {payload})"),
            &quiet32,
        ),
        (
            "narrow",
            format!("f32.store (local.get $j) (f32.demote_f64 {wide_nan})"),
            &quiet32,
        ),
        (
            "mul",
            format!("f64.store (local.get $j) (f64.mul {wide_nan} (f64.const 2))"),
            &quiet64,
        ),
    ] {
        // The result overwrites the bytes of the first item.
        let body = format!("(local.set $j (i32.load (local.get $items))) ({store})");
        let done = run(&guest("", 2, "", &body), &["12345678"], wide())
            .await
            .unwrap();
        let output = outputs(&done)[0];
        assert_eq!(&output[..expected.len()], expected, "{what}");
    }
}

#[tokio::test]
async fn a_guest_sees_its_seed_its_shard_and_its_models() {
    let imports = r#"
      (import "assay:job/context@0.1.0" "seed" (func $seed (param i32)))
      (import "assay:job/context@0.1.0" "shard-index" (func $shard (result i32)))
      (import "assay:job/context@0.1.0" "item-offset" (func $offset (result i64)))
      (import "assay:job/context@0.1.0" "models" (func $models (param i32)))"#;
    let body = r#"
      (local.set $j (i32.load (local.get $items)))
      (call $seed (local.get $j))
      (i32.store offset=16 (local.get $j) (call $shard))
      (i64.store offset=20 (local.get $j) (call $offset))
      (call $models (i32.const 3072))
      (i32.store offset=28 (local.get $j) (i32.load offset=4 (i32.const 3072)))"#;
    let component = guest(imports, 2, "", body);
    let item = "x".repeat(32);
    let first = run(&component, &[&item], wide()).await.unwrap();
    let seen = outputs(&first)[0].to_vec();
    let seed = Digest::bind(
        jobs::digest::Domain::Seed,
        &[Digest::of(b"job").as_bytes(), &3_u32.to_le_bytes()],
    );
    assert_eq!(seen[..16], seed.as_bytes()[..16]);
    assert_eq!(seen[16..20], 3_u32.to_le_bytes());
    assert_eq!(seen[20..28], 96_u64.to_le_bytes());
    assert_eq!(seen[28..32], [0; 4], "no models");
}

#[tokio::test]
async fn log_lines_carry_their_level() {
    let imports = r#"(import "assay:job/log@0.1.0" "log" (func $log (param i32 i32 i32)))"#;
    let body = "(call $log (i32.const 3) (i32.const 2048) (i32.const 4))";
    let component = guest(imports, 2, r#"(data (i32.const 2048) "oops")"#, body);
    let done = run(&component, &["a"], wide()).await.unwrap();
    assert_eq!(done.log.len(), 1);
    assert_eq!(
        (done.log[0].level, done.log[0].text.as_str()),
        (LogLevel::Error, "oops")
    );
}

/// A guest that asks for graph "double" and says how it went.
fn asks_for_a_graph() -> Vec<u8> {
    let imports = r#"(import "wasi:nn/graph@0.2.0-rc-2024-10-28" "load-by-name"
        (func $load (param i32 i32 i32)))"#;
    let body = "(call $load (i32.const 2048) (i32.const 6) (i32.const 3072))
        (i32.store8 (i32.load (local.get $items)) (i32.load8_u (i32.const 3072)))";
    guest(imports, 2, r#"(data (i32.const 2048) "double")"#, body)
}

#[tokio::test]
async fn graphs_of_the_task_are_found_by_name_and_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = sandbox(dir.path());
    let graph = b"assay-reference-graph 1\ninput x f32 -1\noutput y = add x x\n";
    let path = dir.path().join("double.graph");
    std::fs::write(&path, graph).unwrap();
    let items = jobs::items::encode(&["?"]).unwrap();
    let mut task = task(dir.path(), &asks_for_a_graph());
    let done = sandbox.execute(&task, &items).await.unwrap();
    assert_eq!(outputs(&done), [[1]], "an error of wasi:nn");

    let file = LocalBlob {
        path,
        blob: BlobRef::of(graph),
    };
    let name = "double".to_owned();
    task.models.push(LocalModel { name, file });
    let done = sandbox.execute(&task, &items).await.unwrap();
    assert_eq!(outputs(&done), [[0]], "found");
    assert_ne!(done.outcome.fingerprint.library, "none");

    task.models.push(task.models[0].clone());
    let twice = sandbox.execute(&task, &items).await.unwrap_err();
    assert!(matches!(twice.kind, FailureKind::Task { .. }), "{twice}");
    task.models.pop();
    task.models[0].file.blob = BlobRef::of(b"another");
    let other = sandbox.execute(&task, &items).await.unwrap_err();
    assert!(matches!(other.kind, FailureKind::Blob { .. }), "{other}");
    task.models[0].file.blob = BlobRef::of(graph);
    task.device = DeviceKind::Gpu;
    let gpu = sandbox.execute(&task, &items).await.unwrap_err();
    assert!(
        matches!(gpu.kind, FailureKind::Device { .. }),
        "no silent fallback: {gpu}"
    );
}

#[tokio::test]
async fn without_a_library_jobs_without_models_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = SandboxConfig::new(dir.path().join("cache"));
    config.backend = Backend::None;
    let sandbox = Sandbox::new(&config).unwrap();
    let items = jobs::items::encode(&["a"]).unwrap();
    let mut task = task(dir.path(), &echo());
    let done = sandbox.execute(&task, &items).await.unwrap();
    assert_eq!(done.outcome.fingerprint, without_models());
    let report = sandbox.probe();
    assert_eq!(report.devices.len(), 1);
    assert!(report.no_models.is_some());

    let file = task.component.clone();
    let name = "m".to_owned();
    task.models.push(LocalModel { name, file });
    let refused = sandbox.execute(&task, &items).await.unwrap_err();
    assert!(
        matches!(refused.kind, FailureKind::Device { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn what_is_not_the_promised_component_never_runs() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = sandbox(dir.path());
    let items = jobs::items::encode(&["a"]).unwrap();
    let refuse =
        async |task: &ShardTask, items: &[u8]| sandbox.execute(task, items).await.unwrap_err().kind;

    let good = task(dir.path(), &echo());
    let mut changed = good.clone();
    changed.component.blob = BlobRef::of(b"another");
    assert!(matches!(
        refuse(&changed, &items).await,
        FailureKind::Blob { .. }
    ));
    changed.component.path = dir.path().join("missing");
    assert!(matches!(
        refuse(&changed, &items).await,
        FailureKind::Blob { .. }
    ));
    assert!(matches!(
        refuse(&good, b"not items").await,
        FailureKind::Task { .. }
    ));

    let foreign = r#"(component (import "wasi:http/types@0.2.6" (instance)))"#;
    let module = "(module (func (export \"run\")))";
    for text in [foreign, module, "(component)"] {
        let bytes = wat::parse_str(text).unwrap();
        let kind = refuse(&task(dir.path(), &bytes), &items).await;
        assert!(
            matches!(kind, FailureKind::Component { .. }),
            "{text}: {kind}"
        );
    }
    let kind = refuse(&task(dir.path(), b"junk"), &items).await;
    assert!(matches!(kind, FailureKind::Component { .. }), "{kind}");
    // After all of that the sandbox still works.
    assert!(sandbox.execute(&good, &items).await.is_ok());
}

#[test]
fn a_sandbox_forgets_the_component_that_was_idle_longest() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = sandbox(dir.path());
    let tasks: Vec<ShardTask> = (0..=COMPONENTS_MAX)
        .map(|pages| task(dir.path(), &guest("", 2 + pages as u32, "", "")))
        .collect();
    for task in &tasks {
        sandbox.component(&task.component).unwrap();
    }
    assert!(sandbox.recall(tasks[0].component.blob.digest).is_none());
    assert!(sandbox.recall(tasks[1].component.blob.digest).is_some());
    assert_eq!(sandbox.components.lock().unwrap().len(), COMPONENTS_MAX);
}
