//! What this machine has for strangers' jobs: processor, memory, disk, devices, and what keeps jobs in.

use std::path::Path;

use anyhow::{Context, Result};
use runtime::{DeviceReport, WorkerPool};
use serde::Serialize;

use crate::machine;
use crate::output::table;

/// A protection of workers that is the kernel's to give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Protection {
    /// Which.
    pub(super) name: String,
    /// Whether workers have it here.
    pub(super) there: bool,
    /// The kernel's word if they have not.
    pub(super) why: String,
    /// What to do then.
    pub(super) fix: String,
}

/// Protections by the words with which a worker says that it goes without: name, words, what to do.
const PROTECTIONS: [(&str, &str, &str); 4] = [
    (
        "namespaces",
        "namespaces of its own",
        "let ordinary users make user namespaces: `sysctl user.max_user_namespaces=15000`, and where they are there \
         `sysctl kernel.unprivileged_userns_clone=1` and `sysctl kernel.apparmor_restrict_unprivileged_userns=0`; in a \
         container, one whose seccomp profile allows unshare",
    ),
    (
        "capabilities",
        "a life without capabilities",
        "run the provider as an ordinary user, outside of anything that filters capset",
    ),
    (
        "landlock",
        "rights on paths (Landlock)",
        "use a kernel of Linux 6.12 or later with CONFIG_SECURITY_LANDLOCK, and name landlock in the boot parameter `lsm=`",
    ),
    (
        "oom-score",
        "being the first to go when memory runs out",
        "let the provider write /proc/self/oom_score_adj",
    ),
];

/// Each protection, given what a worker goes without; nothing is known if no worker started.
pub(super) fn protections(missing: Option<&[String]>) -> Vec<Protection> {
    let all = PROTECTIONS.iter().map(|(name, words, fix)| {
        let why = missing.map_or(Some("no worker starts"), |missing| {
            missing.iter().find_map(|said| said.strip_prefix(words))
        });
        Protection {
            name: (*name).to_owned(),
            there: why.is_none(),
            why: why.unwrap_or_default().trim_start_matches(": ").to_owned(),
            fix: if why.is_some() {
                (*fix).to_owned()
            } else {
                String::new()
            },
        }
    });
    // A worker without a filter on system calls does not start at all.
    let filter = Protection {
        name: "seccomp".to_owned(),
        there: missing.is_some(),
        why: if missing.is_some() {
            ""
        } else {
            "no worker starts"
        }
        .to_owned(),
        fix: if missing.is_some() {
            ""
        } else {
            "use a kernel with CONFIG_SECCOMP_FILTER"
        }
        .to_owned(),
    };
    all.chain([filter]).collect()
}

/// The protections, a line each.
pub(super) fn protection_table(protections: &[Protection]) -> String {
    let rows: Vec<Vec<String>> = protections
        .iter()
        .map(|protection| {
            let there = if protection.there { "there" } else { "MISSING" };
            let why = match protection.there {
                true => String::new(),
                false => format!("{}; {}", protection.why, protection.fix),
            };
            vec![protection.name.clone(), there.to_owned(), why]
        })
        .collect();
    table(&["protection", "", ""], &rows)
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    pub(super) description: String,
    pub(super) cores: usize,
    pub(super) memory_bytes: u64,
    pub(super) disk_free_bytes: u64,
    pub(super) devices: Vec<DeviceReport>,
    pub(super) no_models: Option<String>,
    pub(super) protections: Vec<Protection>,
}

/// Looks at this machine, as a worker sees it and as its owner does.
pub(super) async fn look(data: &Path, pool: &WorkerPool) -> Result<Machine> {
    let report = pool.probe().await.context(
        "no worker starts: without a filter on system calls (CONFIG_SECCOMP_FILTER) none does",
    )?;
    let missing = pool.missing();
    let stat = rustix::fs::statvfs(data).with_context(|| data.display().to_string())?;
    Ok(Machine {
        description: machine::describe(),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        memory_bytes: machine::memory().unwrap_or(0),
        disk_free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        devices: report.devices,
        no_models: report.no_models,
        protections: protections(missing.as_deref()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_fix() {
        let said = ["namespaces of its own: Operation not permitted (os error 1)".to_owned()];
        let found = protections(Some(&said));
        let missing: Vec<&Protection> = found.iter().filter(|found| !found.there).collect();
        let [only] = missing.as_slice() else {
            panic!("{missing:?}")
        };
        assert_eq!(only.name, "namespaces");
        assert_eq!(only.why, "Operation not permitted (os error 1)");
        assert!(
            only.fix.contains("user.max_user_namespaces"),
            "{}",
            only.fix
        );
        assert!(protection_table(&found).contains("MISSING"));
        assert!(protections(Some(&[])).iter().all(|found| found.there));
        assert!(
            protections(None)
                .iter()
                .all(|found| !found.there && !found.fix.is_empty())
        );
    }
}
