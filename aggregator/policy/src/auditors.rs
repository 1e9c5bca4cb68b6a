//! Who checks an item: a draw weighted by stake, over providers that have nothing to do with the one that
//! is checked or with one another.
//!
//! Each has a [ticket](crate::ticket) of its own.

use serde::{Deserialize, Serialize};

use crate::beacon::Beacon;
use crate::error::Error;
use crate::ticket::{Purpose, Ticket};

/// A provider as far as diversity is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The provider.
    pub id: [u8; 32],
    /// Who runs it.
    pub operator: [u8; 32],
    /// Network prefix that it is reached at, as the driver groups addresses.
    pub prefix: u64,
    /// Digest of its fingerprint.
    pub class: [u8; 32],
    /// Stake; without any it is never drawn.
    pub stake: u64,
}

impl Candidate {
    /// Whether these two may check one another, or one item together.
    fn is_apart(&self, other: &Self) -> bool {
        self.id != other.id && self.operator != other.operator && self.prefix != other.prefix
    }
}

/// Which fingerprint an auditor must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// The checked one's: outputs are compared bit by bit.
    Same,
    /// Another one: a fault of a whole class is found.
    Other,
    /// Any.
    Any,
}

/// The positions in `candidates` of the `count` providers that check `item` of `subject`, best rank first.
/// No two of them, and none of them and the subject, share operator or network prefix.
///
/// # Errors
/// [`Error::FewAuditors`] if there are fewer.
pub fn auditors(
    beacon: &Beacon,
    assignment: &[u8; 32],
    item: u64,
    subject: &Candidate,
    candidates: &[Candidate],
    class: Class,
    count: usize,
) -> Result<Vec<usize>, Error> {
    let suits = |candidate: &Candidate| match class {
        Class::Same => candidate.class == subject.class,
        Class::Other => candidate.class != subject.class,
        Class::Any => true,
    };
    let eligible = candidates.iter().enumerate().filter(|(_, candidate)| {
        candidate.stake > 0 && candidate.is_apart(subject) && suits(candidate)
    });
    let ticket =
        |c: &Candidate| Ticket::of(Purpose::Audit, beacon, assignment, item, c.id, c.stake);
    let mut ranked: Vec<(Ticket, &Candidate, usize)> = eligible
        .map(|(at, candidate)| (ticket(candidate), candidate, at))
        .collect();
    ranked.sort_unstable_by_key(|(ticket, _, _)| *ticket);
    let mut chosen: Vec<(&Candidate, usize)> = Vec::new();
    for (_, candidate, at) in ranked {
        if chosen.len() == count {
            break;
        }
        if chosen.iter().all(|(other, _)| candidate.is_apart(other)) {
            chosen.push((candidate, at));
        }
    }
    if chosen.len() < count {
        return Err(Error::FewAuditors {
            eligible: chosen.len(),
            wanted: count,
        });
    }
    Ok(chosen.into_iter().map(|(_, at)| at).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beacon::tests::beacon;

    fn candidate(number: u8, operator: u8, prefix: u64, class: u8, stake: u64) -> Candidate {
        Candidate {
            id: [number; 32],
            operator: [operator; 32],
            prefix,
            class: [class; 32],
            stake,
        }
    }

    fn draw(
        item: u64,
        subject: &Candidate,
        candidates: &[Candidate],
        count: usize,
    ) -> Result<Vec<[u8; 32]>, Error> {
        let (beacon, class) = (beacon(1), Class::Any);
        let chosen = auditors(&beacon, &[2; 32], item, subject, candidates, class, count)?;
        Ok(chosen.into_iter().map(|at| candidates[at].id).collect())
    }

    #[test]
    fn who_is_drawn_is_in_proportion_to_stake() {
        let subject = candidate(0, 0, 0, 0, 1);
        let candidates: Vec<Candidate> = [1u8, 2, 3, 4]
            .map(|n| candidate(n, n, u64::from(n), 0, u64::from(n) * 1_000))
            .to_vec();
        let draws = 40_000u64;
        let mut counts = [0u32; 5];
        for item in 0..draws {
            let id = draw(item, &subject, &candidates, 1).unwrap()[0];
            counts[usize::from(id[0])] += 1;
        }
        // Five standard deviations are at most 0.0125.
        for n in 1..5 {
            let share = f64::from(counts[n]) / draws as f64;
            assert!((share - n as f64 / 10.0).abs() < 0.0125, "{counts:?}");
        }
    }

    #[test]
    fn nobody_checks_itself_its_operators_others_or_its_neighbours() {
        let subject = candidate(1, 1, 1, 0, 10);
        let near = [
            subject,
            candidate(2, 1, 2, 0, 1_000_000),
            candidate(3, 3, 1, 0, 1_000_000),
            candidate(4, 4, 4, 0, 0),
        ];
        let far = candidate(5, 5, 5, 0, 1);
        let error = Error::FewAuditors {
            eligible: 0,
            wanted: 1,
        };
        let all: Vec<Candidate> = near.into_iter().chain([far]).collect();
        for item in 0..200 {
            assert_eq!(draw(item, &subject, &near, 1), Err(error.clone()));
            assert_eq!(draw(item, &subject, &all, 1), Ok(vec![far.id]));
        }
    }

    #[test]
    fn several_auditors_are_apart_and_the_lists_order_does_not_matter() {
        let subject = candidate(0, 0, 0, 0, 1);
        let candidates: Vec<Candidate> = (1..20)
            .map(|n| candidate(n, n % 5 + 1, u64::from(n % 7) + 1, 0, u64::from(n)))
            .collect();
        let reversed: Vec<Candidate> = candidates.iter().rev().copied().collect();
        for item in 0..200 {
            let chosen = draw(item, &subject, &candidates, 3).unwrap();
            assert_eq!(chosen, draw(item, &subject, &reversed, 3).unwrap());
            let of = |id: &[u8; 32]| *candidates.iter().find(|c| c.id == *id).unwrap();
            for (at, id) in chosen.iter().enumerate() {
                assert!(chosen[..at].iter().all(|other| of(id).is_apart(&of(other))));
            }
            // Who was not chosen may leave without changing anything.
            let stay: Vec<Candidate> = candidates
                .iter()
                .filter(|c| c.id[0] % 2 == 0 || chosen.contains(&c.id))
                .copied()
                .collect();
            assert_eq!(chosen, draw(item, &subject, &stay, 3).unwrap());
        }
    }

    #[test]
    fn fingerprints_are_chosen_as_asked() {
        let subject = candidate(0, 0, 0, 7, 1);
        let candidates = [candidate(1, 1, 1, 7, 5), candidate(2, 2, 2, 8, 5)];
        for (class, id) in [(Class::Same, 0), (Class::Other, 1)] {
            for item in 0..50 {
                let chosen = auditors(&beacon(1), &[2; 32], item, &subject, &candidates, class, 1);
                assert_eq!(chosen, Ok(vec![id]), "{class:?}");
            }
        }
    }
}
