//! How a provider ends, and what a service manager hears of it.

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::{Deadline, Job, Market, Plan, assay_binary};

use crate::provider::{alone, ask};

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Pause between two looks.
const POLL: Duration = Duration::from_millis(20);

/// Waits until the first provider runs an assignment.
fn wait_busy(market: &Market) -> Result<()> {
    let deadline = Deadline::after(PATIENCE);
    while ask(&market.providers[0].data, &["tasks", "list"])?[0]["stage"] != "running" {
        ensure!(!deadline.over(), "no assignment is held\n{}", market.logs());
        std::thread::sleep(POLL);
    }
    Ok(())
}

#[test]
fn a_stop_finishes_what_runs_and_what_was_finished_is_paid_after_the_next_start() -> Result<()> {
    let mut market = Market::up(&Plan::default().and("slow").with("--drain-seconds=60"))?;
    let job = market.submit(&alone("stopped"))?;
    wait_busy(&market)?;
    market.providers[0].terminate()?;
    let status = market.providers[0].wait_ended()?;
    ensure!(status.code() == Some(0), "it ended with {status}");
    ensure!(
        !market.providers[0].data.join("control.sock").exists(),
        "its socket is left"
    );
    market.providers[0].restart()?;
    let now = ask(&market.providers[0].data, &["status"])?;
    ensure!(
        now["done_today"].as_u64() > Some(0) && now["failed_today"] == 0,
        "{now}"
    );
    market.wait_done(&job)?;
    let id = market.provider_ids().remove(0);
    ensure!(
        market.provider(&id)?["failures"] == 0,
        "it was held against it\n{}",
        market.logs()
    );
    Ok(())
}

/// A guest that never ends by itself.
const ENDLESS: &str = r#"(component
  (import "assay:job/types@0.1.0" (instance $types
    (type $e (variant (case "bad-input" string) (case "model" string) (case "failed" string)))
    (export "job-error" (type (eq $e)))))
  (alias export $types "job-error" (type $job-error))
  (core module $endless
    (memory (export "memory") 2)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
    (func (export "run") (param i32 i32) (result i32) (loop $again (br $again)) (unreachable)))
  (core instance $main (instantiate $endless))
  (alias core export $main "memory" (core memory $memory))
  (alias core export $main "cabi_realloc" (core func $realloc))
  (alias core export $main "run" (core func $core-run))
  (type $run (func (param "items" (list (list u8)))
    (result (result (list (list u8)) (error $job-error)))))
  (func $run (type $run)
    (canon lift (core func $core-run) (memory $memory) (realloc $realloc)))
  (export "run" (func $run)))"#;

#[test]
fn a_second_signal_hands_back_what_a_first_one_waits_for() -> Result<()> {
    let mut market = Market::up(&Plan::honest(1).with("--drain-seconds=3600"))?;
    let component = market.dir().join("endless.wasm");
    std::fs::write(&component, wat::parse_str(ENDLESS)?)?;
    let job = Job {
        component: Some(component),
        wall_ms: 110_000,
        price: "20.00".into(),
        ..alone("endless")
    };
    // As much fuel as takes longer than the test waits.
    let manifest = job.write(&market.dir().join("jobs"))?;
    let text = std::fs::read_to_string(&manifest)?;
    let text = text.replace("fuel = 4000000000", "fuel = 1000000000000");
    std::fs::write(&manifest, text)?;
    market.submit_manifest(&manifest)?.ok()?;
    wait_busy(&market)?;
    let data = market.providers[0].data.clone();
    market.providers[0].terminate()?;
    let deadline = Deadline::after(PATIENCE);
    while ask(&data, &["status"])?["state"] != "stopping" {
        ensure!(!deadline.over(), "it does not stop\n{}", market.logs());
        std::thread::sleep(POLL);
    }
    ensure!(
        ask(&data, &["status"])?["held"] == 1,
        "it does not wait for what runs"
    );
    market.providers[0].terminate()?;
    let status = market.providers[0].wait_ended()?;
    ensure!(status.code() == Some(0), "it ended with {status}");
    market.providers[0].restart()?;
    let now = ask(&data, &["status"])?;
    ensure!(
        now["failed_today"].as_u64() > Some(0) && now["done_today"] == 0,
        "{now}"
    );
    Ok(())
}

/// A process that does not outlive its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Usually it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_service_manager_hears_that_a_provider_serves_lives_and_stops() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // Whom the watchdog is for is said by the process's own number.
    let mut daemon = Ended(
        Command::new("sh")
            .args(["-ec", "export WATCHDOG_PID=$$; exec \"$0\" \"$@\""])
            .arg(assay_binary()?)
            .args(["provider", "start", "--listen=none", "--data"])
            .arg(folder.path().join("p"))
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "200000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let mut heard = BTreeSet::new();
    let mut hear = |wanted: &str| -> Result<()> {
        let deadline = Deadline::after(PATIENCE);
        while !heard.contains(wanted) {
            ensure!(!deadline.over(), "{wanted} was not heard, but {heard:?}");
            let mut bytes = [0; 4096];
            let size = socket.recv(&mut bytes).context("nothing was heard")?;
            let text = String::from_utf8_lossy(&bytes[..size]).into_owned();
            heard.extend(text.lines().map(str::to_owned));
        }
        Ok(())
    };
    hear("READY=1")?;
    hear("WATCHDOG=1")?;
    Command::new("kill")
        .arg(daemon.0.id().to_string())
        .status()?;
    hear("STOPPING=1")?;
    ensure!(daemon.0.wait()?.code() == Some(0), "it did not end well");
    Ok(())
}
