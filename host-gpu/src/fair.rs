//! A queue in which nobody waits behind a crowd: those who ask take turns, however much each asks for.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// First come, first served within a tenant; among tenants, turn by turn.
///
/// One entry waits at most for the entries of its own tenant before it, and for as many of each other
/// tenant as there are of those, plus one.
#[derive(Debug)]
pub struct FairQueue<K, T> {
    /// Tenants with entries, whose turn comes first in front.
    turns: VecDeque<K>,
    waiting: HashMap<K, VecDeque<T>>,
    len: usize,
}

impl<K, T> Default for FairQueue<K, T> {
    fn default() -> Self {
        Self {
            turns: VecDeque::new(),
            waiting: HashMap::new(),
            len: 0,
        }
    }
}

impl<K: Clone + Eq + Hash, T> FairQueue<K, T> {
    /// Lets an entry of a tenant wait.
    pub fn push(&mut self, tenant: K, entry: T) {
        let entries = self.waiting.entry(tenant.clone()).or_default();
        if entries.is_empty() {
            self.turns.push_back(tenant);
        }
        entries.push_back(entry);
        self.len = self.len.saturating_add(1);
    }

    /// The entry whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let tenant = self.turns.pop_front()?;
        let entries = self.waiting.get_mut(&tenant)?;
        let entry = entries.pop_front();
        if entries.is_empty() {
            self.waiting.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        self.len = self.len.saturating_sub(usize::from(entry.is_some()));
        entry
    }

    /// Drops the entries that need not wait any more.
    pub fn retain(&mut self, mut wanted: impl FnMut(&T) -> bool) {
        self.waiting.retain(|_, entries| {
            entries.retain(&mut wanted);
            !entries.is_empty()
        });
        self.turns
            .retain(|tenant| self.waiting.contains_key(tenant));
        self.len = self.waiting.values().map(VecDeque::len).sum();
    }

    /// Entries that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut FairQueue<char, u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn a_crowd_takes_turns_with_whoever_comes_late() {
        let mut queue = FairQueue::default();
        for entry in 0..5 {
            queue.push('a', entry);
        }
        queue.push('b', 10);
        queue.push('c', 20);
        queue.push('b', 11);
        assert_eq!(queue.len(), 8);
        assert_eq!(drain(&mut queue), [0, 10, 20, 1, 11, 2, 3, 4]);
        assert!(queue.is_empty());
    }

    #[test]
    fn those_who_gave_up_cost_nobody_a_turn() {
        let mut queue = FairQueue::default();
        for (tenant, entry) in [('a', 1), ('a', 2), ('b', 10), ('c', 21), ('c', 20)] {
            queue.push(tenant, entry);
        }
        queue.retain(|entry| entry % 2 == 0 && *entry != 10);
        assert_eq!(queue.len(), 2);
        assert_eq!(drain(&mut queue), [2, 20]);
    }

    #[test]
    fn who_was_just_served_goes_to_the_end() {
        let mut queue = FairQueue::default();
        queue.push('a', 1);
        queue.push('a', 2);
        assert_eq!(queue.pop(), Some(1));
        queue.push('b', 10);
        assert_eq!(drain(&mut queue), [2, 10]);
        queue.push('b', 11);
        queue.push('a', 3);
        assert_eq!(drain(&mut queue), [11, 3]);
    }
}
