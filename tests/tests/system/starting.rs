//! Daemons that cannot start say why and leave alone what others hold.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tests::{Daemon, Job, Market, Plan, assay, assay_with, repository};

/// `assay aggregator start` on ports of the system's choice, except what `arguments` say.
fn start(data: &str, http: &str) -> Result<tests::Output> {
    let p2p = "--p2p=/ip4/127.0.0.1/tcp/0";
    assay(&["aggregator", "start", "--data", data, "--http", http, p2p])
}

#[test]
fn a_port_in_use_is_named() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let data = tempfile::tempdir()?;
    start(&data.path().to_string_lossy(), &address)?
        .refused(1, &format!("cannot listen on {address}"))?;
    Ok(())
}

#[test]
fn a_data_directory_has_one_daemon_at_a_time() -> Result<()> {
    let market = Market::up(&Plan::honest(1))?;
    start(&market.aggregator.data.to_string_lossy(), "127.0.0.1:0")?
        .refused(1, "is already open")?;
    let provider = market
        .providers
        .first()
        .map(|daemon| daemon.data.to_string_lossy());
    let data = provider.unwrap_or_default();
    assay(&["provider", "start", "--data", &data])?.refused(1, &data)?;
    market.check_health()?;
    market.wait_for_providers(1)
}

/// The same place, seen from the repository, where daemons are started.
fn relative(path: &Path) -> Result<PathBuf> {
    let root: PathBuf = repository()
        .canonicalize()?
        .components()
        .skip(1)
        .map(|_| "..")
        .collect();
    Ok(root.join(path.canonicalize()?.strip_prefix("/")?))
}

#[test]
fn a_provider_works_in_a_relative_directory() -> Result<()> {
    let market = Market::up(&Plan::default())?;
    let data = market.dir().join("provider");
    std::fs::create_dir(&data)?;
    let shown = relative(&data)?;
    assert!(shown.is_relative());
    let mut arguments: Vec<OsString> = ["provider", "start", "--data"].map(Into::into).into();
    arguments.push(shown.into());
    for address in &market.aggregator.ready.p2p {
        arguments.extend(["--aggregator".into(), address.into()]);
    }
    let provider = Daemon::start("provider", &data, arguments)?;
    market.deposit(&format!("stake:{}", provider.ready.id), "10")?;
    market.wait_for_providers(1)?;
    let job = Job {
        replicas: 1,
        max_replicas: 1,
        ..Job::new("relative")
    };
    let id = market.submit(&job)?;
    market.wait_done(&id)?;
    Ok(())
}

#[test]
fn a_log_is_a_json_object_a_line_if_asked_for() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let data = tempfile::tempdir()?;
    let data = data.path().to_string_lossy();
    let p2p = "--p2p=/ip4/127.0.0.1/tcp/0";
    let arguments = [
        "aggregator",
        "start",
        "--data",
        &data,
        "--http",
        &address,
        p2p,
    ];
    let logged = |format: &str| {
        let variables = [
            ("ASSAY_LOG", "debug".into()),
            ("ASSAY_LOG_FORMAT", format.into()),
        ];
        assay_with(&arguments, &variables, &repository())
    };
    let stderr = logged("json")?.expect(1)?.stderr;
    let lines: Vec<&str> = stderr
        .lines()
        .filter(|line| line.starts_with('{'))
        .collect();
    assert!(!lines.is_empty(), "{stderr}");
    for line in lines {
        let line: serde_json::Value = serde_json::from_str(line)?;
        for field in ["timestamp", "level", "target"] {
            assert!(line[field].is_string(), "no {field} in {line}");
        }
    }
    let plain = logged("text")?.expect(1)?.stderr;
    assert!(!plain.lines().any(|line| line.starts_with('{')), "{plain}");
    logged("xml")?.refused(2, "ASSAY_LOG_FORMAT is \"xml\"")?;
    Ok(())
}
