//! Which connections there are, and which has to make room.
//!
//! A connection that has not sent a whole request head yet costs its peer nothing. So when there are too many, the one
//! that has been silent or slow for longest goes, and whoever asks something is served.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::network::Prefix;

/// Connections at once.
pub const CONNECTIONS_MAX: usize = 1024;

/// Connections at once from one network, and requests of that network through proxies.
pub const CONNECTIONS_PER_PREFIX_MAX: usize = 256;

#[derive(Default)]
struct State {
    next: u64,
    total: usize,
    per_prefix: BTreeMap<Prefix, usize>,
    /// Connections that wait for a request head, the longest first.
    waiting: BTreeMap<u64, (Option<Prefix>, Arc<Notify>)>,
}

/// Every connection.
#[derive(Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<State>>);

/// Why a connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// There are too many.
    All,
    /// There are too many from its network.
    Prefix,
}

/// A connection's place, until it is dropped.
pub(crate) struct Place {
    registry: Registry,
    /// The network that it counts for.
    prefix: Option<Prefix>,
    /// Its number while it waits for a request head.
    waits: Mutex<Option<u64>>,
    /// Told when it has to make room.
    pub(crate) leave: Arc<Notify>,
}

/// What a request through a proxy counts for its network, until it is dropped.
pub(crate) struct Passed {
    registry: Registry,
    prefix: Prefix,
}

impl Registry {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds room for a connection, if need be another's that asks nothing. One that counts for no network has only the
    /// bound of all.
    pub(crate) fn admit(&self, prefix: Option<Prefix>) -> Result<Place, Full> {
        let mut state = self.state();
        if prefix.is_some_and(|prefix| state.is_full(prefix)) {
            let oldest = state.waiting.iter().find(|(_, (of, _))| *of == prefix);
            let oldest = oldest.map(|(number, _)| *number);
            state.evict(oldest.ok_or(Full::Prefix)?);
        } else if state.total >= CONNECTIONS_MAX {
            let oldest = state.waiting.keys().next().copied();
            state.evict(oldest.ok_or(Full::All)?);
        }
        state.total = state.total.saturating_add(1);
        if let Some(prefix) = prefix {
            state.enter(prefix);
        }
        drop(state);
        let place = Place {
            registry: self.clone(),
            prefix,
            waits: Mutex::new(None),
            leave: Arc::new(Notify::new()),
        };
        place.waits();
        Ok(place)
    }

    /// Counts a request that a proxy passes on for its network, if that has not too many.
    pub(crate) fn pass(&self, prefix: Prefix) -> Result<Passed, Full> {
        let mut state = self.state();
        if state.is_full(prefix) {
            return Err(Full::Prefix);
        }
        state.enter(prefix);
        drop(state);
        let registry = self.clone();
        Ok(Passed { registry, prefix })
    }
}

impl State {
    fn is_full(&self, prefix: Prefix) -> bool {
        let own = self.per_prefix.get(&prefix);
        own.is_some_and(|own| *own >= CONNECTIONS_PER_PREFIX_MAX)
    }

    fn enter(&mut self, prefix: Prefix) {
        let own = self.per_prefix.entry(prefix).or_default();
        *own = own.saturating_add(1);
    }

    fn leave(&mut self, prefix: Prefix) {
        if let Some(own) = self.per_prefix.get_mut(&prefix) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                self.per_prefix.remove(&prefix);
            }
        }
    }

    /// Has a waiting connection leave. It counts until it has.
    fn evict(&mut self, number: u64) {
        if let Some((_, leave)) = self.waiting.remove(&number) {
            leave.notify_one();
        }
    }
}

impl Place {
    fn own(&self) -> MutexGuard<'_, Option<u64>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It waits for a request head from now on.
    pub(crate) fn waits(&self) {
        let (mut own, mut state) = (self.own(), self.registry.state());
        if own.is_none() {
            let number = state.next;
            state.next = number.wrapping_add(1);
            let entry = (self.prefix, Arc::clone(&self.leave));
            state.waiting.insert(number, entry);
            *own = Some(number);
        }
    }

    /// A request head came whole. False if it came too late.
    pub(crate) fn asks(&self) -> bool {
        let (mut own, mut state) = (self.own(), self.registry.state());
        own.take()
            .is_none_or(|number| state.waiting.remove(&number).is_some())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.asks();
        let mut state = self.registry.state();
        state.total = state.total.saturating_sub(1);
        if let Some(prefix) = self.prefix {
            state.leave(prefix);
        }
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        self.registry.state().leave(self.prefix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Option<Prefix> {
        Some(Prefix::of(text.parse().unwrap()))
    }

    #[test]
    fn who_asks_nothing_makes_room_the_oldest_first_and_who_asks_stays() {
        let registry = Registry::default();
        let crowd = prefix("192.0.2.1");
        let mut places: Vec<Place> = (0..CONNECTIONS_PER_PREFIX_MAX)
            .map(|_| registry.admit(crowd).ok().unwrap())
            .collect();
        assert!(places[0].asks(), "the first one asks, and stays");
        let newcomer = registry.admit(crowd).ok().unwrap();
        assert!(!places[1].asks(), "the second one had to go");
        assert!(places[2].asks() && newcomer.asks());
        for place in &places[3..] {
            assert!(place.asks());
        }
        drop(places.remove(1));
        assert_eq!(registry.admit(crowd).err(), Some(Full::Prefix));
        let other = registry.admit(prefix("192.0.3.1"));
        assert!(other.is_ok(), "another network has room");
        places[0].waits();
        assert!(registry.admit(crowd).is_ok(), "one asks no more");
    }

    #[test]
    fn all_places_are_bounded_and_given_back() {
        let registry = Registry::default();
        let places: Vec<Place> = (0..CONNECTIONS_MAX)
            .map(|at| registry.admit(prefix(&format!("10.0.{}.{}", at / 250, at % 250))))
            .map(|place| place.ok().unwrap())
            .collect();
        assert!(places.iter().all(Place::asks));
        assert_eq!(registry.admit(prefix("10.1.0.1")).err(), Some(Full::All));
        drop(places);
        assert!(registry.admit(prefix("10.1.0.1")).is_ok());
        assert!(registry.state().per_prefix.is_empty());
    }

    #[test]
    fn a_proxy_has_only_the_bound_of_all_and_what_it_passes_on_that_of_its_network() {
        let registry = Registry::default();
        let places: Vec<Place> = (0..CONNECTIONS_MAX)
            .map(|_| registry.admit(None).ok().unwrap())
            .collect();
        assert!(places.iter().all(Place::asks), "none had to make room");
        assert_eq!(registry.admit(None).err(), Some(Full::All));
        drop(places);

        let (crowd, other) = (prefix("192.0.2.1"), prefix("192.0.3.1"));
        let direct = registry.admit(crowd).ok().unwrap();
        let pass = |prefix: Option<Prefix>| registry.pass(prefix.unwrap());
        let mut passed: Vec<Passed> = (1..CONNECTIONS_PER_PREFIX_MAX)
            .map(|_| pass(crowd).ok().unwrap())
            .collect();
        assert_eq!(pass(crowd).err(), Some(Full::Prefix));
        assert!(pass(other).is_ok(), "another network has room");
        assert!(direct.asks());
        assert_eq!(registry.admit(crowd).err(), Some(Full::Prefix));
        passed.pop();
        assert!(pass(crowd).is_ok(), "one has been answered");
        drop((passed, direct));
        assert!(registry.state().per_prefix.is_empty());
    }
}
