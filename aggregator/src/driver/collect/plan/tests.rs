use std::time::Duration;

use network::blobs::{BlobStore, Moment, Work};

use super::*;

const NOW: Timestamp = Timestamp(100 * DAY_MS);

fn blob(name: u8) -> BlobRef {
    BlobRef::of(&[name; 1000])
}

fn left(name: u8, ended_day: u64, blobs: &[u8]) -> Left {
    Left {
        job: JobId(Digest::of(&[name])),
        ended: Timestamp(ended_day * DAY_MS),
        fetchable: true,
        blobs: blobs.iter().map(|name| blob(*name).digest).collect(),
    }
}

/// Names of the jobs and of the blobs that go.
fn gone(open: &[u8], left: Vec<Left>, busy: &[u8], keep_days: u32, need: u64) -> (usize, Vec<u8>) {
    let open = open.iter().map(|name| blob(*name).digest).collect();
    let stored: Vec<BlobRef> = (0..8).map(blob).collect();
    let is_idle = |digest: &Digest| !busy.iter().any(|name| blob(*name).digest == *digest);
    let rules = Rules {
        now: NOW,
        keep_days,
        need,
        wish: 0,
    };
    let plan = plan(&open, left, &stored, is_idle, rules);
    let names = (0..8).filter(|name| plan.blobs.contains(&blob(*name)));
    assert_eq!(plan.bytes, cost(1000) * plan.blobs.len() as u64);
    (plan.jobs.len(), names.collect())
}

#[test]
fn what_nobody_refers_to_goes_and_results_go_when_their_time_is_over() {
    let each = cost(1000);
    let old = || left(1, 10, &[0, 1]);
    let new = || left(2, 90, &[1, 2]);
    let both = || vec![new(), old()];
    let rest = [3, 4, 5, 6, 7];
    let with = |more: &[u8]| [more, &rest].concat();
    for (open, left, busy, keep_days, need, expected) in [
        (&[][..], both(), &[][..], 100, 0, (0, with(&[]))),
        // The older one's time is over; a blob that the other has too stays.
        (&[], both(), &[], 30, 0, (1, with(&[0]))),
        (&[0], both(), &[], 30, 0, (1, with(&[]))),
        (&[], both(), &[0, 7], 30, 0, (1, vec![3, 4, 5, 6])),
        (&[], both(), &[], 5, 0, (2, with(&[0, 1, 2]))),
        (&[3, 4], vec![], &[], 1, 0, (0, vec![0, 1, 2, 5, 6, 7])),
        // However much is needed, a promise of days is kept.
        (&[], both(), &[], 100, u64::MAX, (0, with(&[]))),
        // Without one, as many go as are needed, the oldest first.
        (&[], both(), &[], 0, 0, (0, with(&[]))),
        (&[], both(), &[], 0, 5 * each, (0, with(&[]))),
        (&[], both(), &[], 0, 5 * each + 1, (1, with(&[0]))),
        (&[], both(), &[], 0, 6 * each + 1, (2, with(&[0, 1, 2]))),
        (&[1], both(), &[], 0, 7 * each, (2, with(&[0, 2]))),
        // What would not be enough is not given up, and neither is what would make no room.
        (&[], both(), &[], 0, 8 * each + 1, (0, with(&[]))),
        (&[1], both(), &[], 0, 7 * each + 1, (0, with(&[]))),
        (&[], both(), &[0, 1], 0, 6 * each, (1, with(&[2]))),
        (&[], both(), &[0, 1, 2], 0, 5 * each + 1, (0, with(&[]))),
    ] {
        let found = gone(open, left, busy, keep_days, need);
        assert_eq!(found, expected, "{open:?} {busy:?} {keep_days} {need}");
    }
}

#[test]
fn a_round_is_bounded_and_says_that_there_is_more() {
    let jobs = (0..JOBS_PER_ROUND + 3).map(|number| Left {
        job: JobId(Digest::of(&number.to_le_bytes())),
        ..left(0, 1, &[])
    });
    let rules = Rules {
        now: NOW,
        keep_days: 1,
        need: 0,
        wish: 0,
    };
    let round = plan(&HashSet::new(), jobs.collect(), &[], |_| true, rules);
    assert_eq!((round.jobs.len(), round.more), (JOBS_PER_ROUND, true));
    let stored: Vec<BlobRef> = (0..BLOBS_PER_ROUND + 3)
        .map(|number| BlobRef::of(&number.to_le_bytes()))
        .collect();
    let round = plan(&HashSet::new(), Vec::new(), &stored, |_| true, rules);
    assert_eq!((round.blobs.len(), round.more), (BLOBS_PER_ROUND, true));
}

/// A small market whose steps come in any order: jobs that are admitted, run and end, and rounds that take their time.
struct World {
    store: BlobStore,
    _dir: tempfile::TempDir,
    chance: u64,
    /// Whose submission is under way: what it takes to be here is being looked at.
    admitting: Vec<(Vec<u8>, Work)>,
    open: Vec<Vec<u8>>,
    left: Vec<Left>,
    round: Round,
    removed: usize,
}

/// How far a round is.
enum Round {
    None,
    /// It has asked who is open.
    Looked(Moment, HashSet<Digest>),
    Removing(Moment, Vec<BlobRef>),
}

impl World {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            store: BlobStore::open(dir.path(), 1 << 20).unwrap(),
            _dir: dir,
            chance: seed,
            admitting: Vec::new(),
            open: Vec::new(),
            left: Vec::new(),
            round: Round::None,
            removed: 0,
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % below
    }

    fn step(&mut self, number: u64) {
        match self.draw(8) {
            0 => {
                let wanted: Vec<u8> = (0..3).map(|_| self.draw(12) as u8).collect();
                let work = self.store.at_work();
                for name in &wanted {
                    // What is not here is uploaded, which takes its time too.
                    if !self.store.contains(&blob(*name).digest) {
                        self.store.put_bytes(&[*name; 1000]).unwrap();
                    }
                }
                self.admitting.push((wanted, work));
            }
            1 | 2 if !self.admitting.is_empty() => {
                let at = self.draw(self.admitting.len() as u64) as usize;
                let (wanted, work) = self.admitting.swap_remove(at);
                self.open.push(wanted);
                drop(work);
            }
            3 if !self.open.is_empty() => {
                let at = self.draw(self.open.len() as u64) as usize;
                let blobs = self.open.swap_remove(at);
                self.left.push(left(number as u8, number, &blobs));
            }
            4 => std::thread::sleep(Duration::from_millis(1)),
            _ => self.round(),
        }
    }

    /// The next part of a round.
    fn round(&mut self) {
        self.round = match std::mem::replace(&mut self.round, Round::None) {
            Round::None => {
                let began = self.store.settled();
                let open = self.open.iter().flatten();
                Round::Looked(began, open.map(|name| blob(*name).digest).collect())
            }
            Round::Looked(began, open) => {
                let stored = self.store.list();
                let is_idle = |digest: &Digest| self.store.is_idle(digest, began);
                let rules = Rules {
                    now: NOW,
                    keep_days: 0,
                    need: 0,
                    wish: u64::MAX,
                };
                let plan = plan(
                    &open,
                    std::mem::take(&mut self.left),
                    &stored,
                    is_idle,
                    rules,
                );
                Round::Removing(began, plan.blobs)
            }
            Round::Removing(began, mut blobs) => match blobs.pop() {
                Some(blob) => {
                    let removed = self.store.remove_idle(&blob.digest, began).unwrap();
                    self.removed += usize::from(removed.is_some());
                    Round::Removing(began, blobs)
                }
                None => Round::None,
            },
        };
    }

    fn check(&self, seed: u64, step: u64) {
        let stored: HashSet<Digest> = self.store.list().iter().map(|b| b.digest).collect();
        let needed = self
            .open
            .iter()
            .chain(self.admitting.iter().map(|(blobs, _)| blobs));
        for name in needed.flatten() {
            let there = stored.contains(&blob(*name).digest);
            assert!(
                there,
                "seed {seed}, step {step}: blob {name} of an open job is gone"
            );
        }
    }
}

#[test]
fn in_whatever_order_things_happen_every_blob_of_an_open_job_is_there() {
    let mut removed = 0;
    for seed in 1..=6 {
        let mut world = World::new(seed * 0x9e37_79b9);
        for step in 0..1_000 {
            world.step(step);
            world.check(seed, step);
        }
        removed += world.removed;
    }
    assert!(removed > 100, "only {removed} blobs were ever removed");
}
