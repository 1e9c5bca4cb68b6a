//! Nonces of signed requests.

use std::collections::{BTreeMap, BTreeSet};

use api::signature::{Stamp, WINDOW_S};
use jobs::ids::ClientId;
use jobs::time::Timestamp;
use store::{Batch, Cell, Column, KeyRange, Kv, StoreError, Table};

use crate::driver::error::Error;

/// When each nonce was made, in seconds since 1970, by client.
const NONCES: Table<(ClientId, String), u64> = Table::new(Column::Nonces, 1);

/// The latest time at which a nonce was looked at: a clock that is set back does not make what was forgotten new.
const SEEN: Cell<Timestamp> = Cell::new("nonces.seen", 1);

/// Nonces of one client that are remembered: 54 requests a second, for as long as each is.
pub(crate) const NONCES_PER_CLIENT_MAX: usize = 32_768;

/// Nonces of all clients that are remembered, in rows and in memory.
pub(crate) const NONCES_MAX: usize = 262_144;

/// Nonces that are forgotten with each that is taken, so that none stays for long and no batch grows much.
const FORGET_MAX: usize = 8;

/// Every nonce that is too young to be forgotten. A mirror of the rows, which a failed write makes anew from them.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    taken: BTreeMap<(ClientId, String), u64>,
    by_age: BTreeSet<(u64, ClientId, String)>,
    counts: BTreeMap<ClientId, usize>,
    seen: Timestamp,
}

impl Nonces {
    /// Reads the rows.
    pub(crate) fn load(kv: &dyn Kv) -> Result<Self, StoreError> {
        let mut nonces = Self {
            seen: SEEN.get(kv)?.unwrap_or_default(),
            ..Self::default()
        };
        NONCES.for_each(kv, KeyRange::all(), |(client, nonce), created| {
            nonces.insert(client, nonce, created);
            Ok::<(), StoreError>(())
        })?;
        Ok(nonces)
    }

    /// The time that signatures are held against: never earlier than any before.
    fn now_s(&self, now: Timestamp) -> u64 {
        now.max(self.seen).0 / 1000
    }

    /// Whether a request may happen.
    ///
    /// # Errors
    /// If it happened before, its time is too far from ours, or too many did lately.
    pub(crate) fn check(&self, stamp: &Stamp, now: Timestamp) -> Result<(), Error> {
        let now = self.now_s(now);
        if stamp.created.abs_diff(now) > WINDOW_S {
            return Err(Error::SignatureTime {
                created: stamp.created,
                now,
                window: WINDOW_S,
            });
        }
        if self
            .taken
            .contains_key(&(stamp.client, stamp.nonce.clone()))
        {
            return Err(Error::Replayed {
                nonce: stamp.nonce.clone(),
            });
        }
        let own = self.counts.get(&stamp.client).copied().unwrap_or(0);
        let held = [(own, NONCES_PER_CLIENT_MAX), (self.taken.len(), NONCES_MAX)];
        // What is too old makes room as soon as one more comes.
        let old = self
            .by_age
            .first()
            .is_some_and(|(created, ..)| is_old(*created, now));
        match held.into_iter().find(|(held, max)| held >= max) {
            Some((held, max)) if !old => Err(Error::NoncesFull { held, max }),
            _ => Ok(()),
        }
    }

    /// Takes a nonce, and forgets some that are too old to be taken again anyway.
    pub(crate) fn take(
        &mut self,
        stamp: &Stamp,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        self.seen = self.seen.max(now);
        SEEN.put(batch, &self.seen)?;
        let now = self.now_s(now);
        for _ in 0..FORGET_MAX {
            match self.by_age.first() {
                Some((created, ..)) if is_old(*created, now) => {}
                _ => break,
            }
            if let Some((_, client, nonce)) = self.by_age.pop_first() {
                self.forget(client, nonce, batch);
            }
        }
        let key = (stamp.client, stamp.nonce.clone());
        NONCES.put(batch, &key, &stamp.created)?;
        self.insert(key.0, key.1, stamp.created);
        Ok(())
    }

    fn insert(&mut self, client: ClientId, nonce: String, created: u64) {
        self.by_age.insert((created, client, nonce.clone()));
        if self.taken.insert((client, nonce), created).is_none() {
            let count = self.counts.entry(client).or_default();
            *count = count.saturating_add(1);
        }
    }

    fn forget(&mut self, client: ClientId, nonce: String, batch: &mut Batch) {
        let key = (client, nonce);
        NONCES.delete(batch, &key);
        self.taken.remove(&key);
        if let Some(count) = self.counts.get_mut(&client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&client);
            }
        }
    }
}

const fn is_old(created: u64, now: u64) -> bool {
    created.saturating_add(WINDOW_S) < now
}

#[cfg(test)]
mod tests {
    use jobs::digest::Digest;
    use store::MemoryStore;

    use super::*;

    const START_S: u64 = 1_700_000_000;

    struct Scene {
        kv: MemoryStore,
        nonces: Nonces,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                kv: MemoryStore::new(),
                nonces: Nonces::default(),
            }
        }

        /// Takes a request made and heard so many seconds after the start; what came of it.
        fn ask(&mut self, client: u8, nonce: &str, made: u64, heard: u64) -> String {
            let stamp = Stamp {
                client: ClientId(Digest::of(&[client])),
                nonce: nonce.into(),
                created: START_S + made,
            };
            let now = Timestamp((START_S + heard) * 1000);
            if let Err(error) = self.nonces.check(&stamp, now) {
                return error.to_string();
            }
            let mut batch = Batch::new();
            self.nonces.take(&stamp, now, &mut batch).unwrap();
            self.kv.commit(batch).unwrap();
            "taken".into()
        }

        fn restart(&mut self) {
            self.nonces = Nonces::load(&self.kv).unwrap();
        }
    }

    #[test]
    fn a_nonce_is_taken_once_by_each_client_whatever_the_clock_does() {
        let mut scene = Scene::new();
        // Who asks, with what, when it was made, when it is heard, what comes of it, and whether we restart after it.
        let cases = [
            (1, "first-nonce", 1000, 1000, "taken", false),
            (1, "first-nonce", 1000, 1000, "was taken before", false),
            (1, "first-nonce", 1001, 1001, "was taken before", true),
            (1, "first-nonce", 1001, 1001, "was taken before", false),
            (2, "first-nonce", 1000, 1000, "taken", false),
            (1, "old", 700, 1000, "taken", false),
            (1, "older", 699, 1000, "signed at 1700000699", false),
            (1, "new", 1300, 1000, "taken", false),
            (1, "newer", 1301, 1000, "clock says 1700001000", false),
            // Much later what is old is forgotten, and still not taken.
            (1, "later-1", 3000, 3000, "taken", true),
            (1, "first-nonce", 1000, 3000, "may differ by 300 s", false),
            // A clock that is set back, before and after a restart.
            (1, "first-nonce", 1000, 1000, "clock says 1700003000", true),
            (1, "first-nonce", 1000, 1000, "clock says 1700003000", false),
            (1, "later-2", 2900, 1000, "taken", false),
        ];
        for (at, (client, nonce, made, heard, expected, restart)) in cases.into_iter().enumerate() {
            let said = scene.ask(client, nonce, made, heard);
            assert!(said.contains(expected), "case {at}: {said}");
            if restart {
                scene.restart();
            }
        }
        assert!(scene.nonces.taken.len() < 4, "{:?}", scene.nonces.taken);
    }

    #[test]
    fn a_client_that_asks_too_much_is_refused_until_its_nonces_are_old() {
        let mut scene = Scene::new();
        for number in 0..NONCES_PER_CLIENT_MAX {
            assert_eq!(scene.ask(1, &format!("nonce-{number}"), 0, 0), "taken");
        }
        let said = scene.ask(1, "one-too-many", 0, 0);
        assert!(said.contains("32768"), "{said}");
        assert_eq!(scene.ask(2, "another-client", 0, 0), "taken");
        assert_eq!(scene.ask(1, "when-they-are-old", 301, 301), "taken");
        scene.restart();
        assert_eq!(scene.ask(1, "after-a-restart", 302, 302), "taken");
        assert!(scene.nonces.taken.len() <= NONCES_PER_CLIENT_MAX);
    }
}
