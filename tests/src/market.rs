//! A market: one aggregator and its providers, each a process.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ed25519_dalek::SigningKey;
use jobs::digest::Digest;
use jobs::envelope::ClientKey;
use jobs::ids::ProviderId;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Daemon, Deadline, Job, Output, assay_with, free_port, get, repository, target_dir};

/// Longest wait for a job, and for providers to be known.
const PATIENCE: Duration = Duration::from_secs(240);

/// Pause between two looks.
const POLL: Duration = Duration::from_millis(25);

/// Attempts to start an aggregator on ports that were free a moment ago.
const PORT_ATTEMPTS: usize = 3;

/// Who takes part.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// One entry a provider: nothing, or how it misbehaves.
    pub providers: Vec<Option<String>>,
    /// More arguments of `assay provider start`, by position in the list.
    pub provider_arguments: BTreeMap<usize, Vec<String>>,
    /// How many of the first providers are the aggregator's referees.
    pub referees: usize,
    /// More arguments of `assay aggregator start`.
    pub aggregator: Vec<String>,
    /// Where the aggregator keeps its data, if not with the rest.
    pub aggregator_data: Option<PathBuf>,
    /// Variables of every process, the client's commands included.
    pub variables: Vec<(String, OsString)>,
}

impl Plan {
    /// So many honest providers.
    pub fn honest(providers: usize) -> Self {
        Self {
            providers: vec![None; providers],
            ..Self::default()
        }
    }

    /// One more provider, which misbehaves.
    #[must_use]
    pub fn and(mut self, misbehaviour: &str) -> Self {
        self.providers.push(Some(misbehaviour.to_owned()));
        self
    }

    /// One more argument of the last provider.
    #[must_use]
    pub fn with(mut self, argument: impl Into<String>) -> Self {
        let last = self.providers.len().saturating_sub(1);
        let arguments = self.provider_arguments.entry(last).or_default();
        arguments.push(argument.into());
        self
    }

    /// The first so many providers are the aggregator's referees.
    #[must_use]
    pub const fn referees(mut self, referees: usize) -> Self {
        self.referees = referees;
        self
    }

    /// One more argument of the aggregator.
    #[must_use]
    pub fn aggregator_argument(mut self, argument: impl Into<String>) -> Self {
        self.aggregator.push(argument.into());
        self
    }
}

/// A running market with a funded client.
#[derive(Debug)]
pub struct Market {
    /// The aggregator.
    pub aggregator: Daemon,
    /// Its providers, in the plan's order, named `provider-1` and so on.
    pub providers: Vec<Daemon>,
    /// The client's key file.
    pub key: PathBuf,
    /// The client's id.
    pub client: String,
    dir: TempDir,
    variables: Vec<(String, OsString)>,
    // One market at a time: two on a small machine only slow one another down.
    _turn: File,
}

impl Market {
    /// Starts every process, waits until the aggregator knows every provider, and deposits the
    /// client's money (100 units) and every provider's stake (10 units).
    ///
    /// # Errors
    /// With the end of a log if a process does not serve.
    pub fn up(plan: &Plan) -> Result<Self> {
        let turns = target_dir()?.join("system-tests");
        fs::create_dir_all(&turns)?;
        let turn = File::create(turns.join("market.lock"))?;
        turn.lock()?;
        let dir = TempDir::with_prefix("assay-market-")?;
        let mut plan = plan.clone();
        for index in 0..plan.referees {
            let id = referee(&dir.path().join(format!("provider-{}", index + 1)))?;
            plan.aggregator.push(format!("--referee={id}"));
        }
        let plan = &plan;
        let aggregator = start_aggregator(plan, dir.path())?;
        let key = dir.path().join("client.key");
        let mut market = Self {
            variables: plan.variables.clone(),
            aggregator,
            providers: Vec::new(),
            key: key.clone(),
            client: String::new(),
            dir,
            _turn: turn,
        };
        for (index, misbehaviour) in plan.providers.iter().enumerate() {
            let more = plan.provider_arguments.get(&index).cloned();
            let mut more = more.unwrap_or_default();
            more.extend(
                misbehaviour
                    .as_ref()
                    .map(|how| format!("--misbehave={how}")),
            );
            market.add_provider(&format!("provider-{}", index + 1), more)?;
        }
        let path = key.to_string_lossy().into_owned();
        let made = market
            .assay(&["--json", "key", "new", "--out", &path])?
            .ok()?
            .json()?;
        market.client = text(&made, "client")?;
        market.deposit(&format!("client:{}", market.client), "100")?;
        for id in market.provider_ids() {
            market.deposit(&format!("stake:{id}"), "10")?;
        }
        market.wait_for_providers(plan.providers.len())?;
        Ok(market)
    }

    fn add_provider(&mut self, name: &str, more: Vec<String>) -> Result<()> {
        let data = self.dir.path().join(name);
        let mut arguments = vec![
            "provider".to_owned(),
            "start".into(),
            format!("--data={}", data.display()),
            // Dear enough for a small job to cost something, cheap enough for what any job here
            // reserves for a shard at its limits.
            "--price-per-gfuel=0.001".into(),
        ];
        arguments.extend(
            self.aggregator
                .ready
                .p2p
                .iter()
                .map(|at| format!("--aggregator={at}")),
        );
        if !more.iter().any(|one| one.starts_with("--drain-seconds")) {
            // Less than a test waits for a daemon to end.
            arguments.push("--drain-seconds=5".into());
        }
        arguments.extend(more);
        let arguments = arguments.into_iter().map(OsString::from).collect();
        let variables = self.variables.clone();
        let daemon = Daemon::start_with(name, &data, arguments, variables)?;
        self.providers.push(daemon);
        Ok(())
    }

    /// The folder of everything.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The aggregator's HTTP interface.
    pub fn http(&self) -> &str {
        &self.aggregator.ready.http
    }

    /// Every provider's id, in the plan's order.
    pub fn provider_ids(&self) -> Vec<String> {
        self.providers
            .iter()
            .map(|provider| provider.ready.id.clone())
            .collect()
    }

    /// The client's key.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn client_key(&self) -> Result<ClientKey> {
        Ok(ClientKey::from_pem(&fs::read_to_string(&self.key)?)?)
    }

    /// Runs `assay` as this market's client.
    ///
    /// # Errors
    /// If it cannot be started or does not end.
    pub fn assay<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Output> {
        let mut variables = vec![
            ("ASSAY_AGGREGATOR", self.http().into()),
            ("ASSAY_KEY", self.key.clone().into()),
        ];
        let more = self.variables.iter();
        variables.extend(more.map(|(name, value)| (name.as_str(), value.clone())));
        assay_with(arguments, &variables, &repository())
    }

    /// Deposits as the operator, once for each account.
    ///
    /// # Errors
    /// If refused.
    pub fn deposit(&self, account: &str, units: &str) -> Result<Output> {
        let token = self.aggregator.data.join("operator.token");
        let token = token.to_string_lossy();
        let reference = format!("test-{account}");
        let mut arguments = vec!["ledger", "deposit", "--account", account, "--amount", units];
        // A long account name would exceed what a reference may hold.
        let reference: String = reference.chars().take(100).collect();
        arguments.extend(["--reference", &reference, "--token-file", &token]);
        self.assay(&arguments)?.ok()
    }

    /// Submits without waiting; returns the job's id.
    ///
    /// # Errors
    /// If refused.
    pub fn submit(&self, job: &Job) -> Result<String> {
        submitted(self.try_submit(job)?)
    }

    /// Submits without waiting, whatever comes of it.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn try_submit(&self, job: &Job) -> Result<Output> {
        self.submit_manifest(&job.write(&self.dir.path().join("jobs"))?)
    }

    /// Submits the job of a manifest without waiting, whatever comes of it.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn submit_manifest(&self, manifest: &Path) -> Result<Output> {
        self.assay(&["--json", "job", "submit", &manifest.to_string_lossy()])
    }

    /// A job as the aggregator shows it.
    ///
    /// # Errors
    /// If the aggregator does not answer or does not know it.
    pub fn view(&self, job: &str) -> Result<Value> {
        let answer = get(self.http(), &format!("/api/v1/jobs/{job}"))?;
        ensure!(
            answer.status == 200,
            "job {job}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        answer.json()
    }

    /// Waits until `reached` holds of a job. An aggregator that does not answer is asked again.
    ///
    /// # Errors
    /// With every log's end if it takes too long.
    pub fn wait_until(&self, job: &str, reached: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Deadline::after(PATIENCE);
        let mut last = Value::Null;
        while !deadline.over() {
            if let Ok(view) = self.view(job) {
                if reached(&view) {
                    return Ok(view);
                }
                last = view;
            }
            std::thread::sleep(POLL);
        }
        bail!("after {PATIENCE:?} the job is {last}\n{}", self.logs())
    }

    /// Waits until a job ends, well or badly.
    ///
    /// # Errors
    /// As [`Market::wait_until`].
    pub fn wait(&self, job: &str) -> Result<Value> {
        self.wait_until(job, |view| {
            matches!(
                view.get("phase").and_then(Value::as_str),
                Some("done" | "failed")
            )
        })
    }

    /// Waits until a job is done.
    ///
    /// # Errors
    /// As [`Market::wait`], or if it failed.
    pub fn wait_done(&self, job: &str) -> Result<Value> {
        let view = self.wait(job)?;
        ensure!(
            view["phase"] == "done",
            "the job failed: {view}\n{}",
            self.logs()
        );
        Ok(view)
    }

    /// Fetches result and record, which the program verifies; returns their folder.
    ///
    /// # Errors
    /// If anything is missing or does not verify.
    pub fn fetch(&self, job: &str) -> Result<PathBuf> {
        let name: String = job.chars().rev().take(12).collect();
        let out = self.dir.path().join(format!("result-{name}"));
        self.assay(&["job", "result", job, "--out", &out.to_string_lossy()])?
            .ok()?;
        Ok(out)
    }

    /// The end of every log.
    pub fn logs(&self) -> String {
        let daemons = std::iter::once(&self.aggregator).chain(&self.providers);
        let tails = daemons.map(|daemon| format!("--- {}\n{}", daemon.name, daemon.log_tail()));
        tails.collect::<Vec<_>>().join("\n")
    }

    /// A provider as the aggregator sees it.
    ///
    /// # Errors
    /// If the aggregator does not know it.
    pub fn provider(&self, id: &str) -> Result<Value> {
        let views = self
            .assay(&["--json", "aggregator", "providers"])?
            .ok()?
            .json()?;
        let views = views.as_array().context("no list of providers")?;
        let found = views.iter().find(|view| view["id"] == id);
        found
            .cloned()
            .with_context(|| format!("the aggregator does not know {id}"))
    }

    /// Waits until so many providers are online.
    ///
    /// # Errors
    /// With every log's end if they are not in time.
    pub fn wait_for_providers(&self, count: usize) -> Result<()> {
        let deadline = Deadline::after(PATIENCE);
        while !deadline.over() {
            let health = get(self.http(), "/api/v1/health").and_then(|answer| answer.json());
            if health.is_ok_and(|health| health["providers"].as_u64() >= Some(count as u64)) {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        bail!(
            "fewer than {count} providers are online after {PATIENCE:?}\n{}",
            self.logs()
        )
    }

    /// Requires that the aggregator answers and is well.
    ///
    /// # Errors
    /// With its log's end if it is not.
    pub fn check_health(&self) -> Result<()> {
        let health = get(self.http(), "/api/v1/health").and_then(|answer| answer.json());
        let well = health.as_ref().is_ok_and(|health| health["status"] == "ok");
        ensure!(
            well,
            "the aggregator is not well: {health:?}\n{}",
            self.aggregator.log_tail()
        );
        Ok(())
    }
}

/// Starts the aggregator on ports that it keeps when it is started again.
/// Gives a provider its key before it starts, so that the aggregator can be told of it.
fn referee(data: &Path) -> Result<ProviderId> {
    fs::create_dir_all(data)?;
    let seed = *Digest::of(data.to_string_lossy().as_bytes()).as_bytes();
    let path = data.join("identity.key");
    fs::write(&path, Digest::from_bytes(seed).to_hex())?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    let key = SigningKey::from_bytes(&seed);
    Ok(ProviderId(key.verifying_key().to_bytes()))
}

fn start_aggregator(plan: &Plan, dir: &Path) -> Result<Daemon> {
    let data = plan
        .aggregator_data
        .clone()
        .unwrap_or_else(|| dir.join("aggregator"));
    let mut last = None;
    for _ in 0..PORT_ATTEMPTS {
        let mut arguments = vec![
            "aggregator".to_owned(),
            "start".into(),
            format!("--data={}", data.display()),
            format!("--http=127.0.0.1:{}", free_port()?),
            format!("--p2p=/ip4/127.0.0.1/tcp/{}", free_port()?),
            "--one-network".into(),
        ];
        arguments.extend(plan.aggregator.iter().cloned());
        let arguments = arguments.into_iter().map(OsString::from).collect();
        match Daemon::start_with("aggregator", &data, arguments, plan.variables.clone()) {
            Ok(daemon) => return Ok(daemon),
            // Another process may have taken a port since it was found free.
            Err(error) if error.to_string().contains("in use") => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("no port was tried")))
}

/// The id of the job that a submission made.
///
/// # Errors
/// If it was refused.
pub fn submitted(submission: Output) -> Result<String> {
    text(&submission.ok()?.json()?, "job")
}

pub(crate) fn text(value: &Value, key: &str) -> Result<String> {
    let found = value.get(key).and_then(Value::as_str);
    Ok(found
        .with_context(|| format!("no {key} in {value}"))?
        .to_owned())
}
