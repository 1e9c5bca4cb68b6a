//! How often somebody may ask: a leaky bucket for each, as one time stamp (the generic cell rate algorithm). Pure but
//! for the map that holds the stamps, which is bounded: where it is full, who has asked nothing lately is forgotten,
//! which nobody can tell from being remembered.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// A rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Time that one request uses up.
    pub(crate) each: Duration,
    /// Requests that may come at once.
    pub(crate) burst: u32,
}

/// Who asked how much.
#[derive(Debug)]
pub(crate) struct Rates<K> {
    rate: Rate,
    most: usize,
    /// When what each has asked so far is used up.
    until: HashMap<K, Duration>,
}

impl<K: Eq + Hash> Rates<K> {
    /// Nobody so far; at most so many are remembered.
    pub(crate) fn new(rate: Rate, most: usize) -> Self {
        Self {
            rate,
            most,
            until: HashMap::new(),
        }
    }

    /// Charges `key` for so many requests at `now`, counted from any fixed moment; how long to wait if that is too
    /// much.
    pub(crate) fn charge(&mut self, key: K, requests: u32, now: Duration) -> Result<(), Duration> {
        let room = self.rate.each.saturating_mul(self.rate.burst);
        if !self.until.contains_key(&key) && self.until.len() >= self.most {
            self.until.retain(|_, until| *until > now);
            // Everybody is busy: strangers wait until somebody is not.
            if self.until.len() >= self.most {
                return Err(self.rate.each);
            }
        }
        let until = self.until.entry(key).or_insert(now);
        let begun = (*until).max(now);
        let after = begun.saturating_add(self.rate.each.saturating_mul(requests));
        let allowed = now.saturating_add(room);
        if after > allowed {
            return Err(after.saturating_sub(allowed));
        }
        *until = after;
        Ok(())
    }

    /// Charges for what has happened already, whether there is room or not.
    pub(crate) fn fine(&mut self, key: K, requests: u32, now: Duration) {
        if let Some(until) = self.until.get_mut(&key) {
            let after = (*until).max(now);
            let most = now.saturating_add(self.rate.each.saturating_mul(self.rate.burst));
            *until = after
                .saturating_add(self.rate.each.saturating_mul(requests))
                .min(most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        each: Duration::from_millis(100),
        burst: 3,
    };

    #[test]
    fn so_many_at_once_and_then_so_many_a_second() {
        let mut rates = Rates::new(RATE, 10);
        // Who, when in milliseconds, and how long to wait.
        let cases = [
            ("a", 0, None),
            ("a", 0, None),
            ("a", 0, None),
            ("a", 0, Some(100)),
            ("a", 50, Some(50)),
            ("b", 50, None),
            ("a", 100, None),
            ("a", 100, Some(100)),
            ("a", 1000, None),
            ("a", 1000, None),
            ("a", 1000, None),
            ("a", 1000, Some(100)),
        ];
        for (at, (who, ms, wait)) in cases.into_iter().enumerate() {
            let said = rates.charge(who, 1, Duration::from_millis(ms));
            assert_eq!(said.err(), wait.map(Duration::from_millis), "case {at}");
        }
    }

    #[test]
    fn a_fine_uses_up_what_is_left_and_no_more() {
        let mut rates = Rates::new(RATE, 10);
        rates.charge("a", 1, Duration::ZERO).unwrap();
        rates.fine("a", 1000, Duration::ZERO);
        assert!(rates.charge("a", 1, Duration::ZERO).is_err());
        assert!(rates.charge("a", 1, Duration::from_millis(100)).is_ok());
    }

    #[test]
    fn no_more_are_remembered_than_the_bound() {
        let mut rates = Rates::new(RATE, 2);
        rates.charge(1, 1, Duration::ZERO).unwrap();
        rates.charge(2, 1, Duration::ZERO).unwrap();
        assert!(rates.charge(3, 1, Duration::ZERO).is_err());
        assert!(rates.charge(1, 1, Duration::ZERO).is_ok());
        // The second one's is used up by then.
        assert!(rates.charge(3, 1, Duration::from_millis(150)).is_ok());
        assert!(rates.until.len() <= 2);
    }
}
