//! What this provider asked for its work, for its operator's own accounts.
//!
//! One line of JSON for each commitment. What was paid only an aggregator knows, whose verdict comes later: these are
//! claims, never more than the assignment could earn. Nothing depends on the file, so a line that cannot be written is
//! a warning.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jobs::assignment::Assignment;
use jobs::ids::{AggregatorId, AssignmentId, JobId};
use jobs::money::Amount;
use jobs::offer::Price;
use jobs::outcome::Meters;
use jobs::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Size in bytes at which the lines of the file are replaced by the sums of their days.
const BOOK_BYTES_MAX: u64 = 4 << 20;

/// Days that are remembered at most: ten years.
const DAYS_MAX: usize = 3653;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Fuel that [`Price::per_gfuel`] is asked for.
const FUEL_PER_PRICE: u128 = 1_000_000_000;

/// Microseconds that [`Price::per_device_second`] is asked for.
const MICROS_PER_PRICE: u128 = 1_000_000;

/// What was asked for one commitment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// When it was made.
    pub(crate) at: Timestamp,
    /// About which assignment.
    pub(crate) assignment: AssignmentId,
    /// Of which job.
    pub(crate) job: JobId,
    /// Which shard of it.
    pub(crate) shard: u32,
    /// Who gave it.
    pub(crate) aggregator: AggregatorId,
    /// Fuel that it took.
    pub(crate) fuel: u64,
    /// Device time that it took, in microseconds.
    pub(crate) device_us: u64,
    /// The price of that, at most what the assignment could earn.
    pub(crate) asked: Amount,
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
#[serde(deny_unknown_fields)]
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
    fn of(asked: &Asked) -> Self {
        Self {
            start: day_of(asked.at),
            shards: 1,
            fuel: asked.fuel,
            device_us: asked.device_us,
            asked: asked.asked,
        }
    }

    fn add(&mut self, more: &Self) {
        self.start = more.start;
        self.shards = self.shards.saturating_add(more.shards);
        self.fuel = self.fuel.saturating_add(more.fuel);
        self.device_us = self.device_us.saturating_add(more.device_us);
        self.asked = self.asked.checked_add(more.asked).unwrap_or(self.asked);
    }
}

/// A line of the file: one commitment, or the sum of a day from before the file was rewritten.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Asked(Asked),
    Day(Day),
}

/// What was asked, by the day.
#[derive(Debug)]
pub(crate) struct Book {
    path: PathBuf,
    days: Mutex<BTreeMap<Timestamp, Day>>,
}

impl Book {
    /// Reads what was asked before. A line that cannot be read was torn, and is left out. Blocks on the disk.
    pub(crate) fn open(data: &Path) -> Result<Self, Error> {
        let path = data.join("asked.jsonl");
        let mut days = BTreeMap::new();
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            file => Some(file.map_err(Error::io("open", &path))?),
        };
        for line in file
            .into_iter()
            .flat_map(|file| BufReader::new(file).split(b'\n'))
        {
            let line = line.map_err(Error::io("read", &path))?;
            match serde_json::from_slice(&line) {
                Ok(Line::Asked(asked)) => note(&mut days, &Day::of(&asked)),
                Ok(Line::Day(day)) => note(&mut days, &day),
                Err(_) => {}
            }
        }
        Ok(Self {
            path,
            days: Mutex::new(days),
        })
    }

    /// Adds a line. Blocks on the disk.
    pub(crate) fn add(&self, asked: &Asked) -> Result<(), Error> {
        let mut days = self.days();
        note(&mut days, &Day::of(asked));
        let path = &self.path;
        if fs::metadata(path).is_ok_and(|file| file.len() > BOOK_BYTES_MAX) {
            return self.rewrite(&days);
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let mut file = options.open(path).map_err(Error::io("open", path))?;
        let written = file.write_all(&line_of(asked)?);
        written.map_err(|error| {
            // What was torn by a full disk does not spoil the next line.
            let _ = file.write_all(b"\n");
            Error::io("write", path)(error)
        })
    }

    /// Puts the sums of the days in the place of their lines.
    fn rewrite(&self, days: &BTreeMap<Timestamp, Day>) -> Result<(), Error> {
        let part = self.path.with_extension("part");
        let lines = days.values().map(line_of).collect::<Result<Vec<_>, _>>()?;
        let written = File::create(&part).and_then(|mut file| {
            file.write_all(&lines.concat())?;
            file.sync_all()
        });
        written.map_err(Error::io("write", &part))?;
        fs::rename(&part, &self.path).map_err(Error::io("write", &self.path))
    }

    /// What was asked on the days since a time, that of the time included, oldest first.
    pub(crate) fn since(&self, time: Timestamp) -> Vec<Day> {
        let days = self.days();
        days.range(day_of(time)..)
            .map(|(_, day)| day.clone())
            .collect()
    }

    fn days(&self) -> MutexGuard<'_, BTreeMap<Timestamp, Day>> {
        self.days.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds to a day; beyond [`DAYS_MAX`] the oldest is forgotten.
fn note(days: &mut BTreeMap<Timestamp, Day>, more: &Day) {
    let day = days.entry(more.start).or_default();
    day.add(more);
    if days.len() > DAYS_MAX {
        days.pop_first();
    }
}

fn line_of(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut line = serde_json::to_vec(value)
        .map_err(|error| Error::io("write", Path::new("a line"))(error.into()))?;
    line.push(b'\n');
    Ok(line)
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
    fn what_was_asked_is_summed_by_day_and_outlives_torn_lines_and_a_rewrite() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::open(dir.path()).unwrap();
        assert_eq!(book.since(Timestamp(0)), []);
        let price = crate::ProviderConfig::new("/".into(), "/".into(), Vec::new()).price;
        let asked = |at, amount| Asked {
            asked: Amount(amount),
            ..Asked::of(Timestamp(at), &assignment(), price, Meters::default())
        };
        let sums = |book: &Book, since| -> Vec<_> {
            let days = book.since(Timestamp(since)).into_iter();
            days.map(|day| (day.start.0, day.shards, day.asked.0))
                .collect()
        };
        book.add(&asked(5, 1)).unwrap();
        book.add(&asked(DAY_MS - 1, 2)).unwrap();
        let mut file = OpenOptions::new().append(true).open(&book.path).unwrap();
        file.write_all(b"{\"at\": 6, \"assi\n").unwrap();
        book.add(&asked(DAY_MS + 3, 4)).unwrap();
        let expected = [(0, 2, 3), (DAY_MS, 1, 4)];
        assert_eq!(sums(&book, 0), expected);
        let book = Book::open(dir.path()).unwrap();
        assert_eq!(sums(&book, 0), expected);
        // Rewritten, it says the same in fewer bytes.
        let large = vec![b'\n'; usize::try_from(BOOK_BYTES_MAX).unwrap() + 1];
        file.write_all(&large).unwrap();
        book.add(&asked(DAY_MS + 4, 8)).unwrap();
        assert!(fs::metadata(&book.path).unwrap().len() < 1000);
        let book = Book::open(dir.path()).unwrap();
        assert_eq!(sums(&book, 0), [(0, 2, 3), (DAY_MS, 2, 12)]);
        assert_eq!(sums(&book, DAY_MS + 4), [(DAY_MS, 2, 12)]);
    }
}
