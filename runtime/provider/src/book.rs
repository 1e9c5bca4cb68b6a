//! What this provider asked for its work, for its operator's own accounts.
//!
//! One line of JSON for each commitment. What was paid only an aggregator knows, whose verdict comes later: these are
//! claims, never more than the assignment could earn. Nothing depends on the file, so a line that cannot be written is
//! a warning.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jobs::assignment::Assignment;
use jobs::ids::{AggregatorId, AssignmentId, JobId};
use jobs::money::Amount;
use jobs::offer::Price;
use jobs::outcome::Meters;
use jobs::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Size in bytes at which a book is put aside; the one before it is forgotten then.
const BOOK_BYTES_MAX: u64 = 8 << 20;

/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: usize = 4096;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Fuel that [`Price::per_gfuel`] is asked for.
const FUEL_PER_PRICE: u128 = 1_000_000_000;

/// Microseconds that [`Price::per_device_second`] is asked for.
const MICROS_PER_PRICE: u128 = 1_000_000;

/// What was asked for one commitment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// When it was made.
    pub at: Timestamp,
    /// About which assignment.
    pub assignment: AssignmentId,
    /// Of which job.
    pub job: JobId,
    /// Which shard of it.
    pub shard: u32,
    /// Who gave it.
    pub aggregator: AggregatorId,
    /// Fuel that it took.
    pub fuel: u64,
    /// Device time that it took, in microseconds.
    pub device_us: u64,
    /// The price of that, at most what the assignment could earn.
    pub asked: Amount,
}

impl Asked {
    /// At the price that was offered when the assignment was taken.
    pub(crate) fn of(at: Timestamp, assignment: &Assignment, price: Price, meters: Meters) -> Self {
        // As an aggregator counts: each part rounded up.
        let part = |price: Amount, used: u64, unit: u128| {
            price.0.saturating_mul(u128::from(used)).div_ceil(unit)
        };
        let fuel = part(price.per_gfuel, meters.fuel, FUEL_PER_PRICE);
        let device = part(price.per_device_second, meters.device_us, MICROS_PER_PRICE);
        let sum = Amount(fuel.saturating_add(device));
        Self {
            at,
            assignment: assignment.id,
            job: assignment.job,
            shard: assignment.shard,
            aggregator: assignment.aggregator,
            fuel: meters.fuel,
            device_us: meters.device_us,
            asked: sum.min(assignment.reward_max),
        }
    }
}

/// What was asked on one day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// When it began, in Universal Time.
    pub start: Timestamp,
    /// Commitments.
    pub shards: u64,
    /// Their fuel.
    pub fuel: u64,
    /// Their device time, in microseconds.
    pub device_us: u64,
    /// What was asked for them.
    pub asked: Amount,
}

impl Day {
    fn add(&mut self, asked: &Asked) {
        self.shards = self.shards.saturating_add(1);
        self.fuel = self.fuel.saturating_add(asked.fuel);
        self.device_us = self.device_us.saturating_add(asked.device_us);
        self.asked = self.asked.checked_add(asked.asked).unwrap_or(self.asked);
    }
}

/// The file of what was asked.
#[derive(Debug)]
pub(crate) struct Book {
    path: PathBuf,
    turn: Mutex<()>,
}

impl Book {
    pub(crate) fn new(data: &Path) -> Self {
        Self {
            path: data.join("asked.jsonl"),
            turn: Mutex::default(),
        }
    }

    /// Adds a line. Blocks on the disk.
    pub(crate) fn add(&self, asked: &Asked) -> Result<(), Error> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = &self.path;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        if fs::metadata(path).is_ok_and(|file| file.len() > BOOK_BYTES_MAX) {
            fs::rename(path, self.before()).map_err(Error::io("put aside", path))?;
        }
        let line =
            serde_json::to_string(asked).map_err(|error| Error::io("write", path)(error.into()))?;
        let mut file = options.open(path).map_err(Error::io("open", path))?;
        // A line that was torn by a full disk does not spoil the next one.
        let written = file.write_all(format!("{line}\n").as_bytes());
        written.map_err(|error| {
            let _ = file.write_all(b"\n");
            Error::io("write", path)(error)
        })
    }

    /// What was asked since a time, day by day, oldest first. Blocks on the disk.
    pub(crate) fn days(&self, since: Timestamp) -> Result<Vec<Day>, Error> {
        let mut days = std::collections::BTreeMap::<u64, Day>::new();
        for path in [self.before(), self.path.clone()] {
            let file = match File::open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                file => file.map_err(Error::io("open", &path))?,
            };
            for line in BufReader::new(file).split(b'\n') {
                let line = line.map_err(Error::io("read", &path))?;
                if line.len() > LINE_BYTES_MAX {
                    continue;
                }
                let Ok(asked) = serde_json::from_slice::<Asked>(&line) else {
                    continue;
                };
                if asked.at >= since {
                    let start = asked.at.0 - asked.at.0 % DAY_MS;
                    let day = days.entry(start).or_default();
                    day.start = Timestamp(start);
                    day.add(&asked);
                }
            }
        }
        Ok(days.into_values().collect())
    }

    fn before(&self) -> PathBuf {
        self.path.with_extension("before.jsonl")
    }
}

/// When the day of `now` began, in Universal Time.
pub(crate) const fn day_of(now: Timestamp) -> Timestamp {
    Timestamp(now.0 - now.0 % DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{guest, id, job};

    fn assignment() -> Assignment {
        let aggregator = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let provider = id(&ed25519_dalek::SigningKey::from_bytes(&[8; 32]));
        let mut assignment = job(guest("")).assignment(1, &aggregator, provider);
        assignment.reward_max = Amount(1000);
        assignment
    }

    #[test]
    fn no_more_is_asked_than_the_assignment_could_earn() {
        let price = Price {
            per_gfuel: Amount(100),
            per_device_second: Amount(10),
        };
        for (fuel, device_us, expected) in [
            (0, 0, 0),
            (1_000_000_000, 0, 100),
            (2_000_000_000, 3_000_000, 230),
            (20_000_000_000, 0, 1000),
            (u64::MAX, u64::MAX, 1000),
        ] {
            let meters = Meters {
                fuel,
                device_us,
                ..Meters::default()
            };
            let asked = Asked::of(Timestamp(1), &assignment(), price, meters);
            assert_eq!(asked.asked, Amount(expected), "{fuel} fuel, {device_us} us");
        }
    }

    #[test]
    fn what_was_asked_is_summed_by_day_and_a_torn_line_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::new(dir.path());
        assert_eq!(book.days(Timestamp(0)).unwrap(), []);
        let asked = |at, amount| Asked {
            asked: Amount(amount),
            ..Asked::of(
                Timestamp(at),
                &assignment(),
                crate::ProviderConfig::new("/".into(), "/".into(), Vec::new()).price,
                Meters::default(),
            )
        };
        book.add(&asked(5, 1)).unwrap();
        book.add(&asked(DAY_MS - 1, 2)).unwrap();
        let mut file = OpenOptions::new().append(true).open(&book.path).unwrap();
        file.write_all(b"{\"at\": 6, \"assi\n").unwrap();
        book.add(&asked(DAY_MS + 3, 4)).unwrap();
        fs::rename(&book.path, book.before()).unwrap();
        book.add(&asked(DAY_MS + 4, 8)).unwrap();
        let sums = |since| -> Vec<_> {
            let days = book.days(Timestamp(since)).unwrap();
            days.iter()
                .map(|day| (day.start.0, day.shards, day.asked.0))
                .collect()
        };
        assert_eq!(sums(0), [(0, 2, 3), (DAY_MS, 2, 12)]);
        assert_eq!(sums(DAY_MS + 4), [(DAY_MS, 1, 8)]);
        assert_eq!(day_of(Timestamp(DAY_MS + 3)), Timestamp(DAY_MS));
    }
}
