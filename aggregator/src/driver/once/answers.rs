//! Answers that are kept under idempotency keys.

use std::collections::{BTreeMap, BTreeSet};

use api::backend::Response;
use jobs::digest::Digest;
use jobs::ids::JobId;
use jobs::time::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Batch, Column, KeyRange, Kv, StoreError, Table};

use super::{Keyed, Principal};
use crate::core::Core;
use crate::core::view::JobStatus;
use crate::driver::error::Error;

/// What was answered under each key. Keys are their owner's alone.
const ANSWERS: Table<(Principal, String), Kept> = Table::new(Column::Idempotency, 2);
/// How many answers are kept for each owner of keys.
const COUNTS: Table<Principal, u32> = Table::new(Column::Clients, 2);
/// When each may be forgotten at the earliest.
const DUE: Table<(Timestamp, Principal, String), ()> = Table::new(Column::Due, 1);

/// Answers kept for one owner of keys.
pub(crate) const KEYS_MAX: u32 = 4096;

/// Milliseconds for which an answer is kept at least: a day.
pub(crate) const KEPT_MS: u64 = 24 * 3600 * 1000;

/// Answers looked at with each that is kept, whether they may be forgotten.
const FORGET_MAX: usize = 4;

/// A kept answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    request: Digest,
    status: u16,
    body: Vec<u8>,
    job: Option<JobId>,
}

impl Kept {
    /// The very same answer.
    pub(crate) fn response(self) -> Response {
        Response {
            status: self.status,
            body: self.body,
            replayed: true,
        }
    }
}

/// What was answered to a request, if it was.
///
/// # Errors
/// If its key was used for another one.
pub(crate) fn recall(kv: &dyn Kv, keyed: &Keyed) -> Result<Option<Kept>, Error> {
    let key = (keyed.principal, keyed.key.clone());
    match ANSWERS.get(kv, &key)? {
        Some(kept) if kept.request == keyed.request => Ok(Some(kept)),
        Some(_) => Err(Error::KeyReused),
        None => Ok(None),
    }
}

/// What the batch at hand does to answers, which the store does not show yet.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    kept: BTreeSet<(Principal, String)>,
    looked: BTreeSet<(Timestamp, Principal, String)>,
    counts: BTreeMap<Principal, u32>,
}

impl Answers {
    /// Whether a request may happen, or what was answered to it.
    ///
    /// # Errors
    /// If its key was used for another one, stands in the batch at hand, or is one too many.
    pub(crate) fn check(
        &self,
        kv: &dyn Kv,
        keyed: &Keyed,
        now: Timestamp,
    ) -> Result<Option<Kept>, Error> {
        if self.kept.contains(&(keyed.principal, keyed.key.clone())) {
            return Err(Error::InFlight);
        }
        if let Some(kept) = recall(kv, keyed)? {
            return Ok(Some(kept));
        }
        if self.count(kv, keyed.principal)? < KEYS_MAX {
            return Ok(None);
        }
        // What may be forgotten makes room as soon as one more comes.
        let oldest = DUE.page(kv, &KeyRange::all(), 1)?.rows;
        match oldest.first() {
            Some(((due, ..), ())) if *due <= now => Ok(None),
            _ => Err(Error::KeysFull { max: KEYS_MAX }),
        }
    }

    /// Keeps an answer, and forgets some that nobody needs any more.
    pub(crate) fn keep(
        &mut self,
        (kv, core): (&dyn Kv, &Core),
        keyed: &Keyed,
        response: &Response,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        self.forget((kv, core), now, batch)?;
        let key = (keyed.principal, keyed.key.clone());
        let kept = Kept {
            request: keyed.request,
            status: response.status,
            body: response.body.clone(),
            job: keyed.job,
        };
        ANSWERS.put(batch, &key, &kept)?;
        DUE.put(batch, &(now.plus_ms(KEPT_MS), key.0, key.1.clone()), &())?;
        let count = self.count(kv, key.0)?.saturating_add(1);
        self.set_count(key.0, count, batch)?;
        self.kept.insert(key);
        Ok(())
    }

    fn count(&self, kv: &dyn Kv, principal: Principal) -> Result<u32, StoreError> {
        match self.counts.get(&principal) {
            Some(count) => Ok(*count),
            None => Ok(COUNTS.get(kv, &principal)?.unwrap_or(0)),
        }
    }

    fn set_count(
        &mut self,
        principal: Principal,
        count: u32,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        self.counts.insert(principal, count);
        match count {
            0 => COUNTS.delete(batch, &principal),
            _ => COUNTS.put(batch, &principal, &count)?,
        }
        Ok(())
    }

    /// Looks at the oldest few. What belongs to a job that is still open is looked at again a day later.
    fn forget(
        &mut self,
        (kv, core): (&dyn Kv, &Core),
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let page = DUE.page(kv, &KeyRange::all(), FORGET_MAX)?;
        for (due, ()) in page.rows {
            if due.0 > now || !self.looked.insert(due.clone()) {
                continue;
            }
            DUE.delete(batch, &due);
            let key = (due.1, due.2);
            let Some(kept) = ANSWERS.get(kv, &key)? else {
                continue;
            };
            if kept.job.is_some_and(|job| is_open(core, job)) {
                DUE.put(batch, &(now.plus_ms(KEPT_MS), key.0, key.1), &())?;
                continue;
            }
            ANSWERS.delete(batch, &key);
            let count = self.count(kv, key.0)?.saturating_sub(1);
            self.set_count(key.0, count, batch)?;
        }
        Ok(())
    }
}

fn is_open(core: &Core, job: JobId) -> bool {
    let status = core.job_status(job);
    status.is_some_and(|status| !matches!(status, JobStatus::Done | JobStatus::Failed))
}

#[cfg(test)]
mod tests {
    use jobs::ids::ProviderId;
    use ledger::FeeBps;
    use store::MemoryStore;

    use super::*;
    use crate::core::Config;

    const START: Timestamp = Timestamp(1_700_000_000_000);

    struct Scene {
        kv: MemoryStore,
        core: Core,
    }

    impl Scene {
        fn keyed(key: &str, request: &[u8]) -> Keyed {
            Keyed {
                principal: [7; 32],
                key: key.into(),
                request: Digest::of(request),
                job: None,
            }
        }

        fn ask(&self, key: &str, request: &[u8], now: Timestamp) -> String {
            let keyed = Self::keyed(key, request);
            let mut answers = Answers::default();
            match answers.check(&self.kv, &keyed, now) {
                Ok(Some(kept)) => String::from_utf8(kept.body).unwrap(),
                Err(error) => error.to_string(),
                Ok(None) => {
                    let response = Response {
                        status: 202,
                        body: request.to_vec(),
                        replayed: false,
                    };
                    let mut batch = Batch::new();
                    let both = (&self.kv as &dyn Kv, &self.core);
                    let kept = answers.keep(both, &keyed, &response, now, &mut batch);
                    kept.unwrap();
                    let again = answers.check(&self.kv, &keyed, now).unwrap_err();
                    assert!(matches!(again, Error::InFlight), "not durable yet");
                    self.kv.commit(batch).unwrap();
                    "new".into()
                }
            }
        }
    }

    #[test]
    fn an_answer_is_kept_for_a_day_and_makes_room_then() {
        let scene = Scene {
            kv: MemoryStore::new(),
            core: Core::new(Config::new(ProviderId([1; 32]), FeeBps::new(100).unwrap())),
        };
        assert_eq!(scene.ask("key", b"one", START), "new");
        assert_eq!(scene.ask("key", b"one", START), "one");
        let said = scene.ask("key", b"two", START);
        assert!(said.contains("used for another"), "{said}");
        for number in 1..KEYS_MAX {
            assert_eq!(scene.ask(&format!("k{number}"), b"one", START), "new");
        }
        let said = scene.ask("one more", b"one", START.plus_ms(KEPT_MS - 1));
        assert!(said.contains("4096"), "{said}");
        let later = START.plus_ms(KEPT_MS);
        assert_eq!(scene.ask("one more", b"one", later), "new");
        let left = ANSWERS.page(&scene.kv, &KeyRange::all(), 2 * KEYS_MAX as usize);
        assert!(left.unwrap().rows.len() < KEYS_MAX as usize);
    }
}
