//! Every case as a task of its own, in worker processes as a provider starts them.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use jobs::digest::{BlobRef, Digest};
use jobs::ids::JobId;
use jobs::offer::DeviceKind;
use jobs::package::Limits;
use runtime::{
    Failure, FailureKind, LocalBlob, LocalModel, SandboxConfig, ShardTask, WorkerConfig, WorkerPool,
};
use tests::{assay_binary, tensors_component};

use crate::cases::{Case, Suite};
use crate::matrix::{Judged, Verdict};
use crate::tensors;

/// Worker processes.
const WORKERS: usize = 2;

/// Why a model that the library could load is refused, as pieces of our own messages: types that
/// `wasi:nn` does not have, and what the look at a model before it is loaded does not let through.
const REFUSALS: [&str; 7] = [
    "which wasi:nn cannot carry",
    "is no tensor",
    "it uses operators of",
    "it defines functions",
    "sparse",
    "has the unknown type",
    "has its content in the wrong place",
];

/// Runs and judges every case, in the order of the suite.
pub(crate) fn all(suite: &Suite) -> Result<Vec<Judged>> {
    let scratch = tempfile::tempdir()?;
    let component = tensors_component()?;
    let component = blob(&component)?;
    let readable = vec![component.path.clone(), suite.folder.clone()];
    let sandbox = SandboxConfig::new(scratch.path().join("compiled"));
    let args = vec!["worker".into()];
    let scratch_dir = scratch.path().join("scratch");
    let config = WorkerConfig::new(assay_binary()?, args, scratch_dir, sandbox, readable);
    let pool = WorkerPool::new(config, WORKERS);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let serve = async || -> Result<()> {
        while let Some(case) = suite.index.cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let verdict = judge(suite, case, &component, &pool).await?;
            done.lock().unwrap().push(Judged {
                name: case.name.clone(),
                verdict,
            });
        }
        Ok(())
    };
    runtime.block_on(async {
        let probe = pool.probe().await.context("no worker starts")?;
        ensure!(probe.no_models.is_none(), "{:?}", probe.no_models);
        let (first, second) = tokio::join!(serve(), serve());
        first.and(second)
    })?;
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(done)
}

fn blob(path: &Path) -> Result<LocalBlob> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    Ok(LocalBlob {
        path: path.to_owned(),
        blob: BlobRef::of(&bytes),
    })
}

async fn judge(
    suite: &Suite,
    case: &Case,
    component: &LocalBlob,
    pool: &WorkerPool,
) -> Result<Verdict> {
    let task = ShardTask {
        job: JobId(Digest::of(case.name.as_bytes())),
        shard: 0,
        first_item: 0,
        component: component.clone(),
        models: vec![LocalModel {
            name: "case".to_owned(),
            file: blob(&suite.model(case))?,
        }],
        device: DeviceKind::Cpu,
        cpu_nodes: false,
        noting: None,
        limits: Limits {
            fuel: 10_000_000_000,
            memory_bytes: 256 << 20,
            output_bytes_per_item: 64 << 20,
            wall_ms: 60_000,
        },
    };
    let items: Vec<&[u8]> = case
        .sets
        .iter()
        .map(|set| suite.bytes(set.inputs))
        .collect();
    let items = jobs::items::encode(&items)?;
    Ok(match pool.execute(task, items).await {
        Ok(done) => compare(suite, case, &jobs::items::decode(&done.outputs)?),
        Err(failure) => failed(case, &failure),
    })
}

fn compare(suite: &Suite, case: &Case, outputs: &[&[u8]]) -> Verdict {
    for (found, set) in outputs.iter().zip(&case.sets) {
        let wanted = tensors::decode(suite.bytes(set.outputs));
        let found = tensors::decode(found);
        let difference = tensors::difference(&found, &wanted, case.rtol, case.atol);
        if let Some(difference) = difference {
            return blame(case, difference);
        }
    }
    match outputs.len() == case.sets.len() && !outputs.is_empty() {
        true => Verdict::Passed,
        false => Verdict::Wrong(format!(
            "{} answers for {} sets",
            outputs.len(),
            case.sets.len()
        )),
    }
}

fn failed(case: &Case, failure: &Failure) -> Verdict {
    let said = failure.kind.to_string();
    if let FailureKind::ModelRefused { reason, .. } = &failure.kind
        && REFUSALS.iter().any(|words| reason.contains(words))
    {
        return Verdict::Refused(general(reason));
    }
    match &case.uncarried {
        Some(ty) => Verdict::Refused(format!("a value of type {ty}, which wasi:nn cannot carry")),
        None => blame(case, said),
    }
}

/// Whose failure it is: ours, unless ONNX Runtime under Python fails too.
fn blame(case: &Case, ours: String) -> Verdict {
    match case.library.as_str() {
        "pass" => Verdict::Wrong(ours),
        library => Verdict::Library(general(library)),
    }
}

/// A reason without the names and numbers of one model.
fn general(reason: &str) -> String {
    let reason = reason
        .rsplit("cannot be loaded: ")
        .next()
        .unwrap_or_default();
    if let Some((port, rest)) = reason.split_once(" is ")
        && (port.starts_with("input ") || port.starts_with("output "))
    {
        return format!("a port is {rest}");
    }
    if reason.contains("has the unknown type") || reason.contains("in the wrong place") {
        let words = reason.split(" has ").last().unwrap_or_default();
        return format!("a tensor has {words}");
    }
    for (words, group) in LIBRARY {
        if reason.contains(words) {
            return (*group).to_owned();
        }
    }
    reason
        .chars()
        .map(|c| if "`|".contains(c) { ' ' } else { c })
        .collect()
}

/// The library's many ways of saying few things.
const LIBRARY: &[(&str, &str)] = &[
    ("another result", "it gives another result under Python too"),
    (
        "Could not find an implementation",
        "it has no kernel for the operator and type",
    ),
    (
        "Failed to find kernel",
        "it has no kernel for the operator and type",
    ),
    (
        "is not a registered function/op",
        "it does not know the operator",
    ),
    (
        "ValidateOpsetForDomain",
        "it does not know the operator set's version",
    ),
    (
        "model IR version",
        "it does not know the version of the file format",
    ),
    (
        "can't be converted to MLDataType",
        "its Python package cannot carry the type",
    ),
    ("This is an invalid model", "it takes the model for invalid"),
    ("Type Error", "it takes the model for invalid"),
    (
        "Exception during initialization",
        "it cannot be initialised",
    ),
    ("Non-zero status code", "it fails when it runs"),
];
