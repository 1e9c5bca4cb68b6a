//! Removing blobs that nobody needs any more, and no others.
//!
//! A round looks at who refers to what, and then removes. It may take its time, because of three rules: what is
//! needed after the round began stays ([`network::blobs::Work`]), and so does what was needed within [`GRACE`]; and
//! whoever refers to blobs that nobody knows of yet is at work. What an ended job left behind goes as a whole: first
//! its row says that it is gone, then its blobs go. So after a crash in between no job has half of its results, and
//! the next round goes on.

mod plan;
mod referred;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::problem::{Code, Problem};
use jobs::digest::BlobRef;
use jobs::ids::JobId;
use jobs::record::JobRecord;
use jobs::time::Timestamp;
use network::blobs::{BlobStore, Moment, Usage, cost};
use store::Batch;
use tokio::sync::{Mutex, Notify, watch};

use super::error::Error;
use super::rows::{COLLECTED, Collected, KEPT, Kept};
use super::{Shared, clock, uploads};
use plan::{DAY_MS, Plan, Rules};

/// Default number of days for which the results of finished jobs are kept.
pub const KEEP_DAYS: u32 = 30;

/// Most days for which they can be kept.
pub const KEEP_DAYS_MAX: u32 = 36_500;

/// How long a blob stays after it was last needed, whoever refers to it.
const GRACE: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 600 });

/// Pause between two rounds.
const ROUND_EVERY: Duration = Duration::from_secs(600);

/// Pause between two looks whether room gets scarce, and the shortest between two rounds for that reason.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Shortest pause between two rounds that uploads without room ask for.
const ROOM_EVERY: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 5 });

/// Parts of a hundred of the quota from which on room is scarce.
const SCARCE_PERCENT: u64 = 90;

/// Parts of a hundred of the quota to which a round then makes room.
const AMPLE_PERCENT: u64 = 80;

/// Rows in one batch.
const ROWS_PER_BATCH: usize = 256;

/// Collects, one round at a time.
#[derive(Debug)]
pub(crate) struct Collector {
    keep_days: u32,
    /// When the last round ended, and for how many bytes it was to make room.
    last: Mutex<Option<(Moment, u64)>>,
    woken: Notify,
    /// Bytes that something found no room for since the last round that was asked for.
    wanted: AtomicU64,
    /// Blobs and bytes removed since the process began.
    removed: [AtomicU64; 2],
}

impl Collector {
    pub(crate) fn new(keep_days: u32) -> Result<Self, Error> {
        if keep_days > KEEP_DAYS_MAX {
            let detail = format!("keep_days = {keep_days}: must be 0 to {KEEP_DAYS_MAX}");
            return Err(Error::Config(detail));
        }
        Ok(Self {
            keep_days,
            last: Mutex::default(),
            woken: Notify::new(),
            wanted: AtomicU64::new(0),
            removed: Default::default(),
        })
    }

    pub(crate) const fn keep_days(&self) -> u32 {
        self.keep_days
    }

    /// Asks for a round, because something found no room: how many bytes it lacked, if it is known.
    pub(crate) fn wake(&self, lacked: u64) {
        self.wanted.fetch_max(lacked, Ordering::Relaxed);
        self.woken.notify_one();
    }

    /// Blobs and bytes removed since the process began.
    pub(crate) fn removed(&self) -> [u64; 2] {
        [0, 1].map(|at| {
            self.removed
                .get(at)
                .map_or(0, |n| n.load(Ordering::Relaxed))
        })
    }

    fn note(&self, bytes: u64) {
        for (counter, by) in self.removed.iter().zip([1, bytes]) {
            counter.fetch_add(by, Ordering::Relaxed);
        }
    }
}

/// What a round did, or would do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    /// Jobs whose results are kept no longer.
    pub(crate) jobs: Vec<JobId>,
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
    /// Whether there is more for another round.
    pub(crate) more: bool,
}

/// Rounds by the clock, and whenever room gets scarce.
pub(crate) async fn run(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut waited = Duration::ZERO;
    loop {
        let woken = tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => false,
            () = shared.collector.woken.notified() => true,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        waited = waited.saturating_add(LOOK_EVERY);
        let is_scarce = scarcity(shared.blobs.usage()) > 0;
        if !woken && !is_scarce && waited < ROUND_EVERY {
            continue;
        }
        waited = Duration::ZERO;
        let wanted = shared.collector.wanted.swap(0, Ordering::Relaxed);
        let round = round(&shared, wanted, false);
        let done = tokio::select! {
            done = round => done,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match done {
            // The next one goes on at the next look.
            Ok(round) if round.more => waited = ROUND_EVERY,
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "blobs were not collected"),
        }
        if woken && super::pause(ROOM_EVERY, &mut stop).await {
            return;
        }
    }
}

/// Bytes that do not give way by themselves.
fn taken(usage: Usage) -> u64 {
    let used = usage.used.saturating_sub(usage.partial);
    used.saturating_add(usage.reserved)
}

/// Bytes above what a store should hold.
fn scarcity(usage: Usage) -> u64 {
    let of_quota = |percent| usage.quota.div_euclid(100).saturating_mul(percent);
    let taken = taken(usage);
    match taken > of_quota(SCARCE_PERCENT) {
        true => taken.saturating_sub(of_quota(AMPLE_PERCENT)),
        false => 0,
    }
}

/// Makes room for a blob, if there is none.
pub(crate) async fn make_room(shared: &Arc<Shared>, blob: BlobRef) -> Result<(), Error> {
    let usage = shared.blobs.usage();
    let need = taken(usage)
        .saturating_add(cost(blob.size))
        .saturating_sub(usage.quota);
    if need == 0 || cost(blob.size) > usage.quota {
        return Ok(());
    }
    let lately = shared.blobs.now().earlier(ROOM_EVERY);
    let last = *shared.collector.last.lock().await;
    if last.is_some_and(|(at, for_whom)| at > lately && for_whom >= need) {
        return Ok(());
    }
    round(shared, need, false).await.map(drop)
}

/// One round that frees at least `need` bytes if it may, or says what it would do.
pub(crate) async fn round(shared: &Arc<Shared>, need: u64, dry: bool) -> Result<Round, Error> {
    let mut last = shared.collector.last.lock().await;
    // Before anybody is asked: whoever is at work then is not known of.
    let began = shared.blobs.settled();
    let open = referred::open(shared).await?;
    let worker = Arc::clone(shared);
    let swept = tokio::task::spawn_blocking(move || -> Result<Round, Error> {
        let Some(left) = referred::left(&worker, &open)? else {
            // Not all that is kept has its row yet.
            let more = true;
            return Ok(Round {
                more,
                ..Round::default()
            });
        };
        let before = began.earlier(GRACE);
        let usage = worker.blobs.usage();
        let rules = Rules {
            now: clock(),
            keep_days: worker.collector.keep_days,
            need,
            wish: scarcity(usage),
        };
        let is_idle = |digest: &_| worker.blobs.is_idle(digest, before);
        let plan = plan::plan(&open.blobs, left, &worker.blobs.list(), is_idle, rules);
        match dry {
            true => Ok(preview(&plan)),
            false => carry_out(&worker, plan, before, rules),
        }
    });
    let swept = swept
        .await
        .map_err(|error| Error::Log(error.to_string()))??;
    if !dry {
        *last = Some((shared.blobs.now(), need));
    }
    Ok(swept)
}

fn preview(plan: &Plan) -> Round {
    Round {
        jobs: plan.jobs.iter().map(|(job, _)| *job).collect(),
        blobs: plan.blobs.len() as u64,
        bytes: plan.bytes,
        more: plan.more,
    }
}

/// Says first what is gone, and removes it then.
fn carry_out(shared: &Shared, plan: Plan, before: Moment, rules: Rules) -> Result<Round, Error> {
    let expired = rules.now.0.saturating_sub(uploads::KEPT_MS);
    shared.blobs.expire_partials(Timestamp(expired));
    mark(shared, &plan, rules)?;
    let mut round = Round {
        blobs: 0,
        bytes: 0,
        ..preview(&plan)
    };
    for blob in &plan.blobs {
        match shared.blobs.remove_idle(&blob.digest, before) {
            Ok(Some(bytes)) => {
                shared.collector.note(bytes);
                round.blobs = round.blobs.saturating_add(1);
                round.bytes = round.bytes.saturating_add(bytes);
            }
            // Somebody needed it meanwhile.
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a blob that nobody needs stays"),
        }
    }
    if round.blobs > 0 || !round.jobs.is_empty() {
        let (blobs, bytes, jobs) = (round.blobs, round.bytes, round.jobs.len());
        tracing::info!(blobs, bytes, jobs, "blobs collected");
    }
    Ok(round)
}

/// Notes which jobs' results are gone.
fn mark(shared: &Shared, plan: &Plan, rules: Rules) -> Result<(), Error> {
    for jobs in plan.jobs.chunks(ROWS_PER_BATCH) {
        let mut batch = Batch::default();
        for (job, ended) in jobs {
            let collected = Collected {
                ended: *ended,
                at: rules.now,
                keep_days: rules.keep_days,
            };
            COLLECTED.put(&mut batch, job, &collected)?;
            KEPT.delete(&mut batch, job);
        }
        shared.store.commit(batch)?;
    }
    Ok(())
}

/// Stores a job's record, and what it takes to know later which blobs that names.
pub(crate) fn keep(blobs: &BlobStore, record: &JobRecord, ended: Timestamp) -> Result<Kept, Error> {
    let bytes = serde_json::to_vec(record).map_err(|error| Error::Log(error.to_string()))?;
    Ok(Kept {
        ended,
        record: blobs.put_bytes(&bytes)?,
        named: blobs.put_bytes(&referred::list_of(record))?,
    })
}

/// Why nothing is left of a job, if nothing is.
pub(crate) fn gone(shared: &Shared, job: JobId) -> Result<Option<Problem>, Error> {
    let collected = COLLECTED.get(&*shared.store, &job)?;
    Ok(collected.map(|collected| {
        let days = |since: Timestamp| clock().since_ms(since).div_euclid(DAY_MS);
        let why = match collected.keep_days {
            0 => "when their room was needed".to_owned(),
            days => format!("because results are kept for {days} days here"),
        };
        let detail = format!(
            "job {job} ended {} days ago; its results were removed {} days ago, {why}",
            days(collected.ended),
            days(collected.at)
        );
        Problem::of(Code::Gone, detail)
    }))
}
