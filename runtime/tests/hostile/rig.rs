//! A pool of real workers with an honest neighbour, through which every case goes.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use jobs::digest::{BlobRef, Digest};
use jobs::ids::JobId;
use jobs::offer::DeviceKind;
use runtime::{
    Backend, Failure, FailureKind, LocalBlob, LocalModel, SandboxConfig, ShardOutcome, ShardTask,
    WorkerConfig, WorkerPool,
};

use crate::case::{Case, End, Way, works};
use crate::guests::echo;
use crate::watch::Watch;

/// Workers of the pool: one for the case, one for its neighbour.
const WORKERS: usize = 2;

/// What a worker may take of the machine's memory in these tests, in bytes.
const WORKER_BYTES: u64 = 4 << 30;

/// How often a case that the clock ends is run: each run is one kill whose pace is measured.
const KILLS: usize = 3;

/// Refused by the engine alone: what these break is a bound of its pool, or they want functions that
/// no interface has, which only the linker knows.
pub(crate) const ENGINES: &[&str] = &[
    "a function that an interface lacks",
    "a function by another type",
    "a resource that is another",
    "an instance too many",
    "nine hundred instances",
    "a memory too many",
];

/// What happened so far.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) cases: u64,
    pub(crate) contained: u64,
    /// After how many cases the node did not serve an honest task any more.
    pub(crate) host_deaths: u64,
    /// Workers that ended by themselves.
    pub(crate) workers_lost: u64,
    /// Milliseconds from a deadline to the answer.
    pub(crate) kills_ms: Vec<f64>,
    /// The most memory that a worker held beyond its guest's limit, in bytes, and in which case, of the
    /// cases that may have so many bytes.
    pub(crate) over: BTreeMap<u64, (u64, String)>,
    pub(crate) escaped: Vec<String>,
}

pub(crate) struct Rig {
    dir: tempfile::TempDir,
    pool: WorkerPool,
    honest: ShardTask,
    honest_items: Vec<u8>,
    watch: Watch,
    /// Whether cases are drawn by lot: then a worker may hold what the last one left there.
    pub(crate) soaking: bool,
    pub(crate) tally: Tally,
}

impl Rig {
    pub(crate) fn new(backend: Backend, worker_bytes: Option<u64>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["blobs", "outside"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("outside/secret"), "a secret").unwrap();
        let mut sandbox = SandboxConfig::new(dir.path().join("cache"));
        sandbox.backend = backend;
        let mut config = WorkerConfig::new(
            std::env::current_exe().unwrap(),
            vec![crate::WORKER_ARGUMENT.into()],
            dir.path().join("scratch"),
            sandbox,
            vec![dir.path().join("blobs")],
        );
        config.memory_bytes_max = Some(worker_bytes.unwrap_or(WORKER_BYTES));
        let honest = works("an honest neighbour", echo);
        let honest_items = jobs::items::encode(&["an honest item", ""]).unwrap();
        Self {
            pool: WorkerPool::new(config, WORKERS),
            honest: task(dir.path(), &honest, &echo()),
            honest_items,
            dir,
            watch: Watch::start(),
            soaking: false,
            tally: Tally::default(),
        }
    }

    pub(crate) fn pool(&self) -> &WorkerPool {
        &self.pool
    }

    /// Runs a case whose items come back.
    pub(crate) async fn answers(&self, case: &Case) {
        let task = task(self.dir.path(), case, &(case.make)());
        let items = jobs::items::encode(&case.items).unwrap();
        let done = self.pool.execute(task, items.clone()).await;
        let done = done.unwrap_or_else(|failure| panic!("{}: {failure}", case.name));
        assert_eq!(done.outputs, items, "{}", case.name);
    }

    /// Runs a case beside its neighbour and books how it ended.
    pub(crate) async fn run(&mut self, case: &Case) {
        match std::panic::catch_unwind(AssertUnwindSafe(&case.make)) {
            Ok(bytes) => self.run_made(case, &bytes).await,
            Err(_) => {
                let wrong = format!("{}: it could not be made", case.name);
                self.tally.escaped.push(wrong);
            }
        }
    }

    /// Runs a case whose component is made already.
    pub(crate) async fn run_made(&mut self, case: &Case, bytes: &[u8]) {
        self.tally.cases += 1;
        let kills = if case.is_timed() { KILLS } else { 0 };
        let mut wrong = self.once(case, bytes, false).await.err();
        for _ in 0..kills {
            if wrong.is_none() {
                wrong = self.once(case, bytes, true).await.err();
            }
        }
        match wrong {
            None => self.tally.contained += 1,
            Some(wrong) => {
                println!("NOT CONTAINED {}: {wrong}", case.name);
                self.tally.escaped.push(format!("{}: {wrong}", case.name));
            }
        }
    }

    async fn once(&mut self, case: &Case, bytes: &[u8], timed: bool) -> Result<(), String> {
        let task = task(self.dir.path(), case, bytes);
        let items = jobs::items::encode(&case.items).unwrap();
        if timed {
            // The kill is measured, not the start of a worker in place of the last one.
            self.neighbours().await?;
        }
        let before = files(self.dir.path());
        let idle = self.watch.take_peak();
        let start = Instant::now();
        let hostile = async {
            let ended = self.pool.execute(task, items.clone()).await;
            (ended, start.elapsed())
        };
        let ((ended, took), neighbour) = tokio::join!(hostile, self.neighbour());
        let weighed = self.weigh(case, idle);
        let after = self.neighbour().await;
        if neighbour.is_err() || after.is_err() {
            self.tally.host_deaths += 1;
        }
        neighbour.and(after).and(weighed)?;
        if files(self.dir.path()) != before {
            return Err("something was written outside of scratch and cache".to_owned());
        }
        self.judge(case, bytes, ended, &items)?;
        if timed {
            let wall = Duration::from_millis(case.limits.wall_ms);
            self.tally
                .kills_ms
                .push(took.saturating_sub(wall).as_secs_f64() * 1e3);
        }
        Ok(())
    }

    /// Books the memory beyond what the case's guest may have, and says whether it was too much.
    fn weigh(&mut self, case: &Case, idle: u64) -> Result<(), String> {
        let over = self
            .watch
            .take_peak()
            .max(idle)
            .saturating_sub(case.limits.memory_bytes);
        let most = self.tally.over.entry(case.spare).or_default();
        if over > most.0 {
            *most = (over, case.name.to_owned());
        }
        if over <= case.spare || self.soaking {
            return Ok(());
        }
        Err(format!(
            "its worker held {over} bytes beyond its guest's limit, the bound is {}",
            case.spare
        ))
    }

    /// An honest task on the same pool, with the right answer.
    async fn neighbour(&self) -> Result<(), String> {
        let (task, items) = (self.honest.clone(), self.honest_items.clone());
        let done = self.pool.execute(task, items).await;
        let done = done.map_err(|failure| format!("its neighbour failed: {failure}"))?;
        if done.outputs == self.honest_items {
            return Ok(());
        }
        Err("its neighbour answered something else".to_owned())
    }

    /// As many honest tasks as there are workers.
    async fn neighbours(&self) -> Result<(), String> {
        let (one, two) = tokio::join!(self.neighbour(), self.neighbour());
        one.and(two)
    }

    fn judge(
        &mut self,
        case: &Case,
        bytes: &[u8],
        ended: Result<ShardOutcome, Failure>,
        items: &[u8],
    ) -> Result<(), String> {
        let checked = jobs::component::check(bytes);
        let failure = match (&case.end, ended) {
            (End::Answers, Ok(done)) if done.outputs == items => return Ok(()),
            (_, Ok(_)) => return Err("it gave an answer".to_owned()),
            (_, Err(failure)) => failure,
        };
        let kind = name(&failure.kind);
        if matches!(failure.kind, FailureKind::WorkerLost { .. }) {
            self.tally.workers_lost += 1;
        }
        if kind == "Component" && checked.is_ok() && !ENGINES.contains(&case.name) {
            return Err(format!(
                "the check accepted what the engine refuses: {failure}"
            ));
        }
        let message = failure.to_string();
        let is_this = |(known, words): &Way| *known == kind && message.contains(words);
        match &case.end {
            End::Fails(ways) if ways.iter().any(is_this) => Ok(()),
            expected => Err(format!(
                "it ended as {kind}: {message}; expected {expected:?}"
            )),
        }
    }
}

/// A kind of failure as it is called in code.
pub(crate) fn name(kind: &FailureKind) -> String {
    let shown = format!("{kind:?}");
    shown
        .split([' ', '{'])
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn blob(dir: &Path, bytes: &[u8]) -> LocalBlob {
    let blob = BlobRef::of(bytes);
    let path = dir.join("blobs").join(blob.digest.to_hex());
    if !path.exists() {
        std::fs::write(&path, bytes).unwrap();
    }
    LocalBlob { path, blob }
}

fn task(dir: &Path, case: &Case, component: &[u8]) -> ShardTask {
    let model = |(name, bytes): &(&str, Vec<u8>)| LocalModel {
        name: (*name).to_owned(),
        file: blob(dir, bytes),
    };
    ShardTask {
        job: JobId(Digest::of(case.name.as_bytes())),
        shard: 0,
        first_item: 0,
        component: blob(dir, component),
        models: case.models.iter().map(model).collect(),
        device: DeviceKind::Cpu,
        cpu_nodes: false,
        noting: None,
        limits: case.limits,
    }
}

/// Every file that no worker may touch, its length and when it was written.
fn files(dir: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name());
            if folder == dir && (name == "scratch" || name == "cache") {
                continue;
            }
            let about = entry.metadata().unwrap();
            if about.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path, (about.len(), about.modified().unwrap()));
        }
    }
    found
}
