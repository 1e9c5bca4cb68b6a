//! No room: what cannot be stored is refused by name and never half happened.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tests::{Job, Market, Plan};

/// Less than the component of the job has.
const QUOTA: &str = "--blob-quota=10000";
/// Size of the small disk in MiB: room for an empty store.
const DISK_MIB: u32 = 64;
/// Submissions after which a full disk must have been noticed.
const SUBMISSIONS_MAX: usize = 20;

#[test]
fn a_full_blob_quota_is_refused_and_costs_nothing() -> Result<()> {
    let market = Market::up(&Plan::honest(2).aggregator_argument(QUOTA))?;
    let before = market.balance(&format!("client:{}", market.client))?;
    let job = Job {
        deadline_ms: 10_000,
        ..Job::new("quota")
    };
    market.try_submit(&job)?.refused(9, "storage-full")?;
    market.check_health()?;
    // The job itself was admitted; it waits for its blobs, and its deadline ends it.
    let listed = market.assay(&["--json", "job", "list"])?.ok()?.json()?;
    let id = listed[0]["id"].as_str().context("no job")?.to_owned();
    // Submitted again, it is the same job: the interrupted submission is taken up.
    let again = market.try_submit(&job)?.refused(9, "storage-full")?;
    ensure!(
        again
            .stderr
            .contains("goes on with an interrupted submission"),
        "{}",
        again.stderr
    );
    let listed = market.assay(&["--json", "job", "list"])?.ok()?.json()?;
    ensure!(
        listed.as_array().is_some_and(|jobs| jobs.len() == 1),
        "one manifest, two escrows: {listed}"
    );
    let view = market.wait(&id)?;
    assert_eq!(view["phase"], "failed", "{view}");
    market.check_settled(&[id])?;
    let after = market.balance(&format!("client:{}", market.client))?;
    assert_eq!(before.credits - before.debits, after.credits - after.debits);
    market.audit()
}

/// A file system in memory.
#[derive(Debug)]
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one; nothing if this machine does not let us.
    fn mount(at: &Path) -> Result<Option<Self>> {
        fs::create_dir_all(at)?;
        let size = format!("size={DISK_MIB}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "assay-test"])
            .arg(at)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Some(Self(at.to_owned()))),
            refused => {
                ensure!(
                    std::env::var_os("CI").is_none(),
                    "cannot mount a tmpfs: {refused:?}"
                );
                // Past the harness, which keeps what a test that passes prints to itself.
                writeln!(
                    std::io::stderr().lock(),
                    "\nNOT TESTED: what a full disk does, because this machine does not let us mount a \
                     tmpfs (needs root, or CAP_SYS_ADMIN): {refused:?}\n"
                )?;
                Ok(None)
            }
        }
    }

    /// Leaves no byte free.
    fn fill(&self) -> Result<()> {
        let mut filler = File::create(self.0.join("filler"))?;
        let block = vec![0xa5; 4096];
        while filler.write_all(&block).is_ok() {}
        Ok(())
    }

    fn empty(&self) -> Result<()> {
        Ok(fs::remove_file(self.0.join("filler"))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a daemon that is just being killed may still hold a file.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_loses_nothing_and_work_goes_on_when_there_is_room() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk"))? else {
        return Ok(());
    };
    let data = folder.path().join("disk/aggregator");
    let plan = Plan {
        aggregator_data: Some(data),
        ..Plan::honest(2)
    };
    let mut market = Market::up(&plan)?;
    let first = market.submit(&Job::new("before"))?;
    market.wait_done(&first)?;

    disk.fill()?;
    let mut refused = None;
    for attempt in 0..SUBMISSIONS_MAX {
        let job = Job {
            deadline_ms: 15_000,
            ..Job::new(&format!("full-{attempt}"))
        };
        let output = market.try_submit(&job)?;
        if output.code != 0 {
            refused = Some(output);
            break;
        }
    }
    let refused = refused.context("a full disk was never noticed")?;
    refused.refused(9, "storage-full")?;
    market.check_health()?;
    ensure!(
        market.view(&first)?["phase"] == "done",
        "a finished job is forgotten"
    );

    market.aggregator.kill()?;
    disk.empty()?;
    market.aggregator.restart()?;
    market.wait_for_providers(2)?;
    market.audit()?;
    let last = market.submit(&Job::new("after"))?;
    market.wait_done(&last)?;
    let listed = market.assay(&["--json", "job", "list"])?.ok()?.json()?;
    let mut ids = Vec::new();
    for view in listed.as_array().context("no list")? {
        let id = view["id"].as_str().context("a job without id")?.to_owned();
        market.wait(&id)?;
        ids.push(id);
    }
    ensure!(
        ids.contains(&first) && ids.contains(&last),
        "a job is lost: {ids:?}"
    );
    market.check_settled(&ids)?;
    market.audit_at_rest()?;
    // Before the disk goes away below it.
    drop(market);
    Ok(())
}
