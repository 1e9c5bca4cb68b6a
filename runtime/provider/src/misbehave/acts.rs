//! What is done instead of an honest execution.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jobs::digest::BlobRef;
use jobs::ids::JobId;
use jobs::items;
use jobs::offer::DeviceKind;
use jobs::outcome::Outcome;
use jobs::package::OutputFormat;
use network::protocol::FailureCode;
use runtime::{DeviceReport, LocalBlob, ShardOutcome};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::invent;
use super::outputs::{self, Draws};
use super::{Misbehaviour, WHOLE_PPM};
use crate::Error;
use crate::admission::Admitted;
use crate::error::blocking;
use crate::fetch::Materials;
use crate::shared::Shared;
use crate::work::{Reason, execute};

/// How long a crashing provider executes.
const BEFORE_CRASH: Duration = Duration::from_millis(50);

/// How a crashed provider's process ends.
const CRASH_CODE: i32 = 86;

/// The time until a crash.
async fn moment() {
    tokio::time::sleep(BEFORE_CRASH).await;
}

/// Ends the process.
fn crash() -> ! {
    tracing::warn!("crashes on purpose");
    std::process::exit(CRASH_CODE)
}

/// What a GPU that is not there is called, and what would run graphs on it.
const GPU_NAME: &str = "NVIDIA A100-SXM4-80GB";
const GPU_PROVIDER: &str = "CUDAExecutionProvider";
/// Its memory in bytes.
const GPU_BYTES: u64 = 80 << 30;

/// Pause between two looks at what another provider of the same owner does.
const POLL: Duration = Duration::from_millis(50);

/// Looks for another conspirator after the own execution: two seconds' worth.
const CONSPIRE_POLLS: usize = 40;

/// Longest outcome that is read from a shared folder, in bytes.
const RELAYED_BYTES_MAX: u64 = 256 << 20;

/// What a replaying provider remembers: its answer to the first shard of the newest job.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Option<(JobId, ShardOutcome)>>);

/// An outcome as providers of one owner share it.
#[derive(Serialize, Deserialize)]
struct Relayed {
    outcome: Outcome,
    outputs: Vec<u8>,
    /// How many values it noted of each inference, in a job that has some opened: whoever has the items can count them,
    /// so this gives nothing away.
    lengths: Option<Vec<u32>>,
}

/// The device that is offered for the one there is.
pub(crate) fn claimed(kind: Option<&Misbehaviour>, there: DeviceReport) -> DeviceReport {
    if kind != Some(&Misbehaviour::CpuAsGpu) {
        return there;
    }
    let mut fingerprint = there.fingerprint;
    fingerprint.execution_provider = GPU_PROVIDER.to_owned();
    fingerprint.device = GPU_NAME.to_owned();
    DeviceReport {
        kind: DeviceKind::Gpu,
        name: GPU_NAME.to_owned(),
        memory_bytes: GPU_BYTES,
        fingerprint,
    }
}

/// How much longer a slow provider takes for a shard.
const DAWDLES: Duration = Duration::from_secs(1);

/// Does what a provider of this kind does with an assignment.
pub(crate) async fn perform(
    kind: &Misbehaviour,
    shared: &Arc<Shared>,
    admitted: &Admitted,
    materials: Materials,
) -> Result<ShardOutcome, Reason> {
    let format = &admitted.package.output;
    match kind {
        Misbehaviour::Equivocate => execute(shared, admitted, materials).await,
        Misbehaviour::Wrong => {
            let done = execute(shared, admitted, materials).await?;
            outputs::falsify(done, format).map_err(failed)
        }
        Misbehaviour::Lazy | Misbehaviour::Copy => {
            let fingerprint = shared.device.fingerprint.clone();
            let done = outputs::fabricate(admitted, fingerprint).map_err(failed)?;
            match admitted.package.openings {
                Some(_) => invent::made_up(done, None).map_err(failed),
                None => Ok(done),
            }
        }
        Misbehaviour::Slow => {
            let done = execute(shared, admitted, materials).await?;
            tokio::time::sleep(DAWDLES).await;
            Ok(done)
        }
        Misbehaviour::Stall => {
            shared.ends().await;
            Err((FailureCode::Internal, "stalled".into()))
        }
        Misbehaviour::Crash => {
            tokio::select! {
                done = execute(shared, admitted, materials) => drop(done),
                () = moment() => {}
            }
            crash()
        }
        Misbehaviour::Sometimes(ppm) => {
            let done = execute(shared, admitted, materials).await?;
            sometimes(*ppm, shared, admitted, done)
        }
        Misbehaviour::Replay => replay(shared, admitted, materials).await,
        Misbehaviour::Model(path) => {
            let swapped = swap(shared, materials, path).await?;
            execute(shared, admitted, swapped).await
        }
        Misbehaviour::CpuAsGpu => on_processor(shared, admitted, materials).await,
        Misbehaviour::Overclaim(factor) => {
            let mut done = execute(shared, admitted, materials).await?;
            let fuel = done.outcome.meters.fuel.saturating_mul(u64::from(*factor));
            // More than the limit would be refused at sight.
            done.outcome.meters.fuel = fuel.min(admitted.package.limits.fuel);
            Ok(done)
        }
        Misbehaviour::Collude(ppm, path) => {
            let (items, path) = (materials.items.clone(), path.clone());
            let secret = blocking(move || fs::read(&path).map_err(Error::io("read", &path)));
            let secret = secret.await.map_err(failed)?;
            let done = execute(shared, admitted, materials).await?;
            collude(*ppm, &secret, &items, format, done)
        }
        Misbehaviour::Conspire(folder) => conspire(folder, shared, admitted, materials).await,
        Misbehaviour::Relay(folder) => relay(folder, shared, admitted, materials).await,
    }
}

fn failed(error: impl ToString) -> Reason {
    (FailureCode::Internal, error.to_string())
}

/// Changes each item or not, as its own key says; nobody else can tell which.
fn sometimes(
    ppm: u32,
    shared: &Shared,
    admitted: &Admitted,
    done: ShardOutcome,
) -> Result<ShardOutcome, Reason> {
    let key = shared.key.to_bytes();
    let assignment = &admitted.assignment;
    let changed = outputs::change(done, |at, output| {
        let item = u64::from(assignment.first_item).saturating_add(at as u64);
        let mut draws = Draws::of(&[&key, assignment.job.0.as_bytes(), &item.to_le_bytes()]);
        if draws.below(u64::from(WHOLE_PPM)) < u64::from(ppm) {
            tracing::warn!(job = %assignment.job, item, "changes an item on purpose");
            outputs::alter(output, &admitted.package.output, &mut draws);
        }
    });
    changed.map_err(failed)
}

/// Answers what it answered before for another shard of the job, if it did.
async fn replay(
    shared: &Arc<Shared>,
    admitted: &Admitted,
    materials: Materials,
) -> Result<ShardOutcome, Reason> {
    let job = admitted.assignment.job;
    let remembered = || {
        let memory = &shared.misbehaved.0;
        memory.lock().unwrap_or_else(PoisonError::into_inner)
    };
    let before = remembered().clone().filter(|(of, _)| *of == job);
    let Some((_, before)) = before else {
        let done = execute(shared, admitted, materials).await?;
        *remembered() = Some((job, done.clone()));
        return Ok(done);
    };
    let old = items::decode(&before.outputs).map_err(failed)?;
    let count = admitted.assignment.items as usize;
    let again: Vec<&[u8]> = old.iter().copied().cycle().take(count).collect();
    let mut replayed = before.clone();
    replayed.outputs = items::encode(&again).map_err(failed)?;
    // What hashes together is made from the outputs as for any other change.
    outputs::change(replayed, |_, _| {}).map_err(failed)
}

/// Puts another file in place of the job's largest model, under the same name.
async fn swap(
    shared: &Arc<Shared>,
    mut materials: Materials,
    path: &Path,
) -> Result<Materials, Reason> {
    let (task, path) = (Arc::clone(shared), path.to_owned());
    let file = blocking(move || {
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        // Workers read nothing but the folder of blobs.
        let pins = task.cache.pin([BlobRef::of(&bytes)]);
        let blob = task.cache.put(&bytes)?;
        let path = task.cache.store().get(&blob.digest);
        Ok((path.map(|path| LocalBlob { path, blob }), pins))
    });
    let (file, pins) = file.await.map_err(failed)?;
    let file = file.ok_or_else(|| failed("the other model was not kept"))?;
    let models = materials.models.iter_mut();
    if let Some(largest) = models.max_by_key(|model| model.file.blob.size) {
        tracing::warn!(
            model = largest.name,
            "executes with another model on purpose"
        );
        largest.file = file;
    }
    materials.pins.push(pins);
    Ok(materials)
}

/// Executes on the processor and says that the GPU did.
async fn on_processor(
    shared: &Arc<Shared>,
    admitted: &Admitted,
    materials: Materials,
) -> Result<ShardOutcome, Reason> {
    let really = Admitted {
        device: DeviceKind::Cpu,
        ..admitted.clone()
    };
    let mut done = execute(shared, &really, materials).await?;
    done.outcome.fingerprint = shared.device.fingerprint.clone();
    for placed in &mut done.outcome.placement {
        placed.execution_provider = GPU_PROVIDER.to_owned();
    }
    Ok(done)
}

/// Falsifies by the item and the secret alone, so that others with the secret choose and answer alike.
fn collude(
    ppm: u32,
    secret: &[u8],
    items: &[u8],
    format: &OutputFormat,
    done: ShardOutcome,
) -> Result<ShardOutcome, Reason> {
    let items = items::decode(items).map_err(failed)?;
    let changed = outputs::change(done, |at, output| {
        let item = items.get(at).copied().unwrap_or_default();
        let mut draws = Draws::of(&[secret, item]);
        if draws.below(u64::from(WHOLE_PPM)) < u64::from(ppm) {
            outputs::alter(output, format, &mut draws);
        }
    });
    changed.map_err(failed)
}

/// Looks whether another of the conspiracy has the shard, and falsifies with it; alone it is honest. The first
/// to decide decides for both.
async fn conspire(
    folder: &Path,
    shared: &Arc<Shared>,
    admitted: &Admitted,
    materials: Materials,
) -> Result<ShardOutcome, Reason> {
    let assignment = &admitted.assignment;
    let shard = folder.join(format!(
        "{}-{}",
        assignment.job.0.to_hex(),
        assignment.shard
    ));
    let (ours, items) = (shard.join(shared.id.to_string()), materials.items.clone());
    let made = shard.clone();
    let joined = blocking(move || {
        fs::create_dir_all(&made).map_err(Error::io("make", &made))?;
        fs::write(&ours, []).map_err(Error::io("write", &ours))
    });
    joined.await.map_err(failed)?;
    let done = execute(shared, admitted, materials).await?;
    for last in [false; CONSPIRE_POLLS].into_iter().chain([true]) {
        let shard = shard.clone();
        let decided = blocking(move || decide(&shard, last)).await;
        match decided.map_err(failed)? {
            Some(true) => {
                tracing::warn!(assignment = %assignment.id, "falsifies with another on purpose");
                let format = &admitted.package.output;
                return collude(WHOLE_PPM, b"conspiracy", &items, format, done);
            }
            Some(false) => return Ok(done),
            None => sleep(POLL).await,
        }
    }
    Ok(done)
}

/// What was decided about a shard, if it is decided or can be now: to cheat where two have it, not to where
/// one waited for long enough.
fn decide(shard: &Path, is_late: bool) -> Result<Option<bool>, Error> {
    let together = fs::read_dir(shard)
        .map_err(Error::io("list", shard))?
        .count()
        > 1;
    if !together && !is_late {
        return Ok(None);
    }
    let decision = shard.with_extension("decision");
    let part = shard.join(if together { "cheat" } else { "honest" });
    fs::write(&part, [u8::from(together)]).map_err(Error::io("write", &part))?;
    // Whole or not at all, and once.
    match fs::hard_link(&part, &decision) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Error::io("make", &decision)(error));
        }
        _ => {}
    }
    let decided = fs::read(&decision).map_err(Error::io("read", &decision))?;
    Ok(Some(decided == [1]))
}

/// Whoever of an owner's providers comes first executes; the others wait for its outcome and claim it.
async fn relay(
    folder: &Path,
    shared: &Arc<Shared>,
    admitted: &Admitted,
    materials: Materials,
) -> Result<ShardOutcome, Reason> {
    let assignment = &admitted.assignment;
    let name = format!("{}-{}", assignment.job.0.to_hex(), assignment.shard);
    let (done, claim) = (folder.join(&name), folder.join(format!("{name}.claim")));
    if blocking(move || is_first(&claim)).await.map_err(failed)? {
        let outcome = execute(shared, admitted, materials).await?;
        let copy = outcome.clone();
        blocking(move || share(&done, copy)).await.map_err(failed)?;
        return Ok(outcome);
    }
    let polls = u128::from(admitted.package.limits.wall_ms) / POLL.as_millis();
    for _ in 0..polls {
        let path = done.clone();
        if let Some(relayed) = blocking(move || shared_by_another(path))
            .await
            .map_err(failed)?
        {
            tracing::warn!(assignment = %assignment.id, "answers with another's work on purpose");
            return Ok(relayed);
        }
        sleep(POLL).await;
    }
    Err((FailureCode::Internal, "the other did not answer".into()))
}

fn is_first(claim: &Path) -> Result<bool, Error> {
    match fs::File::create_new(claim) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::io("make", claim)(error)),
    }
}

fn share(path: &Path, done: ShardOutcome) -> Result<(), Error> {
    let lengths = done.trace.as_ref().map(invent::lengths).transpose();
    let relayed = Relayed {
        outcome: done.outcome,
        outputs: done.outputs,
        lengths: lengths.map_err(Error::io("read", path))?,
    };
    let bytes = postcard::to_stdvec(&relayed).map_err(|error| Error::Task(error.to_string()))?;
    let part = path.with_extension("part");
    let mut file = fs::File::create(&part).map_err(Error::io("make", &part))?;
    file.write_all(&bytes).map_err(Error::io("write", &part))?;
    fs::rename(&part, path).map_err(Error::io("rename", &part))
}

fn shared_by_another(path: PathBuf) -> Result<Option<ShardOutcome>, Error> {
    if !fs::metadata(&path).is_ok_and(|file| file.len() <= RELAYED_BYTES_MAX) {
        return Ok(None);
    }
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    let relayed: Relayed =
        postcard::from_bytes(&bytes).map_err(|error| Error::Task(error.to_string()))?;
    let done = ShardOutcome {
        outcome: relayed.outcome,
        outputs: relayed.outputs,
        log: Vec::new(),
        trace: None,
    };
    Ok(Some(match relayed.lengths {
        // It has the answer and not the values behind it.
        Some(lengths) => {
            invent::made_up(done, Some(lengths)).map_err(|error| Error::Task(error.to_string()))?
        }
        None => done,
    }))
}
