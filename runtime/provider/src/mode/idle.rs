//! Whether somebody else uses the machine: by the processor's time that is neither idle nor ours, by the power supply,
//! and by the processes on its GPUs.

use std::collections::BTreeSet;
use std::path::Path;

/// Default of [`crate::ProviderConfig::idle_cpu_percent`].
pub const IDLE_CPU_PERCENT_DEFAULT: u8 = 25;

/// Processes whose parents are looked at, at most.
const PROCESSES_MAX: usize = 1 << 16;

/// The processor's time since the machine started, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ticks {
    /// Somebody's, ours included.
    busy: u64,
    /// All of it.
    total: u64,
    /// Ours and our workers'.
    own: u64,
}

/// Looks now and then, and compares.
#[derive(Debug)]
pub(super) struct Looker {
    percent_max: u8,
    before: Option<Ticks>,
}

impl Looker {
    pub(super) const fn new(percent_max: u8) -> Self {
        Self {
            percent_max,
            before: None,
        }
    }

    /// Whether there is a look to compare the next one with.
    pub(super) const fn has_seen(&self) -> bool {
        self.before.is_some()
    }

    /// Who uses the machine, if somebody does; nothing at the first look, which has nothing to compare with.
    pub(super) fn look(&mut self) -> Option<Option<String>> {
        let (own, ours) = own();
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let ticks = ticks(&read("/proc/stat"), own)?;
        let before = self.before.replace(ticks)?;
        let cpu = others(before, ticks, self.percent_max);
        let supplies = supplies(Path::new("/sys/class/power_supply"));
        let battery =
            || on_battery(&supplies).then(|| "the machine runs on its battery".to_owned());
        Some(cpu.or_else(battery).or_else(|| on_gpu(&ours)))
    }
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal. What is stolen is nobody's
/// here.
fn ticks(stat: &str, own: u64) -> Option<Ticks> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let mut fields = line.split_whitespace().map(|field| field.parse::<u64>());
    let mut next = || fields.next()?.ok();
    let [user, nice, system, idle, wait] = [next()?, next()?, next()?, next()?, next()?];
    let [irq, soft] = [next()?, next()?];
    let busy = [user, nice, system, irq, soft];
    let busy = busy.into_iter().fold(0, u64::saturating_add);
    Some(Ticks {
        busy,
        total: busy.saturating_add(idle).saturating_add(wait),
        own,
    })
}

/// What others used between two looks, if it is more than allowed.
fn others(before: Ticks, after: Ticks, percent_max: u8) -> Option<String> {
    let busy = after.busy.saturating_sub(before.busy);
    let own = after.own.saturating_sub(before.own);
    let total = after.total.saturating_sub(before.total).max(1);
    let percent = busy.saturating_sub(own).saturating_mul(100) / total;
    let most = u64::from(percent_max);
    // At most nothing is never idle: there is always a process that wakes up.
    (percent > most || most == 0)
        .then(|| format!("others use {percent} % of the processors, more than {most} %"))
}

/// Our ticks, children included, and the processes whose they are.
fn own() -> (u64, BTreeSet<u32>) {
    let own = std::process::id();
    let stat = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let mut pids = BTreeSet::from([own]);
    let mut used = process(&stat(own)).map_or(0, |(_, used)| used);
    let listed = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let listed = listed.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in listed.take(PROCESSES_MAX) {
        if let Some((parent, ticks)) = process(&stat(pid))
            && parent == own
        {
            used = used.saturating_add(ticks);
            pids.insert(pid);
        }
    }
    (used, pids)
}

/// Parent and ticks of a process, those of the children that it buried included, from its `stat` line. The name in
/// parentheses may hold anything.
fn process(stat: &str) -> Option<(u32, u64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let times = fields.get(11..15)?.iter();
    let used = times.filter_map(|field| field.parse::<u64>().ok());
    Some((parent, used.fold(0, u64::saturating_add)))
}

/// Kind and state of each power supply.
fn supplies(folder: &Path) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.trim().to_owned()
    };
    let each = entries.map(|entry| {
        (
            read(entry.path().join("type")),
            read(entry.path().join("online")),
        )
    });
    each.collect()
}

/// Whether there is a mains supply, and none is on: where nothing is known, nothing is assumed.
fn on_battery(supplies: &[(String, String)]) -> bool {
    let mut mains = supplies
        .iter()
        .filter(|(kind, _)| kind == "Mains")
        .peekable();
    mains.peek().is_some() && mains.all(|(_, online)| online == "0")
}

/// A process on a GPU that is not ours. One that cannot be seen, as from inside a container, is nobody's.
fn on_gpu(ours: &BTreeSet<u32>) -> Option<String> {
    let visible = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
    let mut others = runtime::gpu_processes().into_iter();
    let other = others.find(|pid| !ours.contains(pid) && visible(pid))?;
    Some(format!("process {other} uses a GPU"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_use_ourselves_does_not_count() {
        let at = |busy, own| Ticks {
            busy,
            total: 1000,
            own,
        };
        let start = Ticks::default();
        for (after, most, expected) in [
            (at(900, 900), 25, None),
            (at(900, 650), 25, None),
            (
                at(900, 640),
                25,
                Some("others use 26 % of the processors, more than 25 %"),
            ),
            (at(900, 0), 100, None),
            (
                at(0, 0),
                0,
                Some("others use 0 % of the processors, more than 0 %"),
            ),
            // Rounding, or a counter that went back.
            (at(10, 20), 25, None),
        ] {
            let found = others(start, after, most);
            assert_eq!(found.as_deref(), expected, "{after:?}, at most {most}");
        }
    }

    #[test]
    fn the_kernels_words_are_understood() {
        let stat = "cpu  100 10 50 800 40 5 5 300 0 0\ncpu0 1 1 1 1\n";
        let expected = Ticks {
            busy: 170,
            total: 1010,
            own: 7,
        };
        assert_eq!(ticks(stat, 7), Some(expected));
        assert_eq!(ticks("cpu 1 2", 0), None);
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 11 22 33 44 20 0 1 0";
        assert_eq!(process(line), Some((7, 110)));
        let (used, ours) = own();
        assert!(ours.contains(&std::process::id()), "{used}");
        assert!(super::ticks(&std::fs::read_to_string("/proc/stat").unwrap(), used).is_some());
    }

    #[test]
    fn a_machine_is_on_its_battery_only_where_it_says_so() {
        let case = |supplies: &[(&str, &str)]| {
            let supplies: Vec<_> = supplies
                .iter()
                .map(|(kind, online)| ((*kind).to_owned(), (*online).to_owned()))
                .collect();
            on_battery(&supplies)
        };
        assert!(!case(&[]));
        assert!(!case(&[("Battery", "")]));
        assert!(case(&[("Battery", ""), ("Mains", "0")]));
        assert!(!case(&[("Mains", "0"), ("Mains", "1")]));
    }

    #[test]
    fn the_first_look_has_nothing_to_compare_with() {
        let mut looker = Looker::new(0);
        assert_eq!(looker.look(), None);
        assert!(looker.has_seen());
        assert!(matches!(looker.look(), Some(Some(_))), "at most nothing");
    }
}
