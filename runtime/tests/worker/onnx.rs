//! A guest that runs a real graph on ONNX Runtime, in a worker that has given everything up.

use jobs::digest::BlobRef;
use jobs::offer::DeviceKind;
use runtime::{Backend, FailureKind, LocalBlob, LocalModel, WorkerPool};

use crate::guests::{NN, guest};
use crate::harness::Case;
use crate::lifecycle::{block_on, config, task};

pub(crate) const CASES: &[Case] = &[(
    "a_guest_runs_a_graph_in_a_worker",
    a_guest_runs_a_graph_in_a_worker,
)];

/// Puts the first item (a row of three f32) through graph "identity" and answers with what came out.
/// Its only input and output are `x` and `y`; 2048 holds both names and the dimensions `[1, 3]`.
fn asks_the_graph() -> Vec<u8> {
    let strings = r#"(data (i32.const 2048) "identity")
      (data (i32.const 2056) "x")
      (data (i32.const 2064) "\01\00\00\00\03\00\00\00")"#;
    // Each call writes its result at 3072: zero for good, then a handle or a list.
    let body = r#"
      (call $load (i32.const 2048) (i32.const 8) (i32.const 3072))
      (if (i32.load8_u (i32.const 3072)) (then unreachable))
      (call $context (i32.load (i32.const 3076)) (i32.const 3072))
      (if (i32.load8_u (i32.const 3072)) (then unreachable))
      (local.set $i (i32.load (i32.const 3076)))
      ;; One named tensor: pointer and length of the name, then the handle. FP32 is case 1.
      (i32.store (i32.const 3104) (i32.const 2056))
      (i32.store (i32.const 3108) (i32.const 1))
      (i32.store (i32.const 3112) (call $tensor
        (i32.const 2064) (i32.const 2) (i32.const 1)
        (i32.load (local.get $items)) (i32.load offset=4 (local.get $items))))
      (call $compute (local.get $i) (i32.const 3104) (i32.const 1) (i32.const 3072))
      (if (i32.load8_u (i32.const 3072)) (then unreachable))
      (if (i32.ne (i32.load (i32.const 3080)) (i32.const 1)) (then unreachable))
      ;; The bytes of the only output become the only item of the answer.
      (call $data (i32.load offset=8 (i32.load (i32.const 3076))) (i32.const 3136))
      (return (call $ok (i32.const 3136) (i32.const 1)))"#;
    guest(NN, 2, strings, body)
}

fn a_guest_runs_a_graph_in_a_worker() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.sandbox.backend = Backend::Onnx;
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../host-gpu/tests/data/identity_f32.onnx"
    );
    config.readable.push(path.into());
    let pool = WorkerPool::new(config, 1);
    let blob = BlobRef::of(&std::fs::read(path).unwrap());
    let file = LocalBlob {
        path: path.into(),
        blob,
    };
    let mut task = task(dir.path(), &asks_the_graph());
    let name = "identity".to_owned();
    task.models.push(LocalModel { name, file });
    let row: Vec<u8> = [1.5_f32, -2.0, 3.25]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let items = jobs::items::encode(std::slice::from_ref(&row)).unwrap();

    block_on(async {
        let report = pool.probe().await.unwrap();
        assert_eq!(report.no_models, None, "run `cargo xtask setup` first");
        let cpu = report.device(DeviceKind::Cpu).unwrap();
        assert!(cpu.fingerprint.is_bounded() && cpu.fingerprint.library.contains("onnxruntime"));

        let done = pool.execute(task.clone(), items.clone()).await.unwrap();
        assert_eq!(done.outputs, items);
        assert_eq!(done.outcome.fingerprint, cpu.fingerprint);
        assert_eq!(done.outcome.meters.tensor_bytes, 2 * row.len() as u64);
        let again = pool.execute(task.clone(), items.clone()).await.unwrap();
        assert_eq!(again.outcome.root, done.outcome.root);
        assert_eq!(again.outcome.meters.fuel, done.outcome.meters.fuel);

        if report.device(DeviceKind::Gpu).is_none() {
            task.device = DeviceKind::Gpu;
            let failure = pool.execute(task, items).await.unwrap_err();
            assert!(
                matches!(failure.kind, FailureKind::Device { .. }),
                "{failure}"
            );
        }
    });
}
