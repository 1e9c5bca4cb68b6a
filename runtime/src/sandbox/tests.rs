//! Each limit obeyed and violated, and what makes replicas agree.

mod limits;
mod replicas;
mod wasi;

use std::path::Path;

use jobs::digest::BlobRef;
use jobs::ids::JobId;
use jobs::package::Limits;

use super::*;

/// Limits that no small guest comes near.
fn wide() -> ShardLimits {
    ShardLimits::from(Limits {
        fuel: 10_000_000_000,
        memory_bytes: 64 << 20,
        output_bytes_per_item: 1 << 20,
        wall_ms: 60_000,
    })
}

fn sandbox(dir: &Path) -> Sandbox {
    let mut config = SandboxConfig::new(dir.join("cache"));
    config.backend = Backend::Reference;
    Sandbox::new(&config).unwrap()
}

fn task(dir: &Path, component: &[u8]) -> ShardTask {
    let blob = BlobRef::of(component);
    let path = dir.join(blob.digest.to_hex());
    std::fs::write(&path, component).unwrap();
    ShardTask {
        job: JobId(Digest::of(b"job")),
        shard: 3,
        first_item: 96,
        component: LocalBlob { path, blob },
        models: Vec::new(),
        device: DeviceKind::Cpu,
        cpu_nodes: false,
        noting: None,
        limits: wide().job,
    }
}

/// Runs a component under limits in a sandbox of its own.
async fn run(
    component: &[u8],
    items: &[&str],
    limits: ShardLimits,
) -> Result<ShardOutcome, Failure> {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = sandbox(dir.path());
    let task = task(dir.path(), component);
    let items = jobs::items::encode(items).unwrap();
    sandbox.prepare(&task, limits)?.run(&items).await
}

fn outputs(done: &ShardOutcome) -> Vec<&[u8]> {
    jobs::items::decode(&done.outputs).unwrap()
}
