//! Which replicas agree.
//!
//! Agreement under a tolerance is not transitive, so a verdict looks for a maximum clique: a set in
//! which every pair agrees. A star around one replica would let a liar bridge two honest answers.
//!
//! Two replicas agree if their outputs do ([`crate::compare`]) and their meters do ([`meters_agree`]):
//! fuel is what pay is reckoned by and tokens what speed is, so a wrong meter is a wrong answer.

use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;

/// Most replicas a shard can ever have; the clique search is exhaustive over 2^12 sets.
pub const REPLICAS_MAX: usize = 12;

/// What the revealed replicas of a shard amount to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// At least `quorum` replicas agree pairwise, and no other set is as large.
    Accepted {
        /// Indices of the agreeing replicas, ascending.
        agreeing: Vec<usize>,
    },
    /// Not yet. This many more replicas might decide it.
    Undecided {
        /// Replicas missing for a quorum, if the next ones agree with the largest set.
        more: usize,
    },
}

/// Largest factor between the fuel of agreeing replicas of different fingerprints. What a guest does
/// with a tensor may depend on its last bits, and so may the fuel that this takes.
pub const FUEL_FACTOR_MAX: u64 = 2;

/// Whether what two replicas of one shard say of their work lets them agree: fuel, tokens and placement
/// equal under one fingerprint, where all are deterministic; under two, fuel apart by [`FUEL_FACTOR_MAX`] at most.
pub fn meters_agree(left: &Outcome, right: &Outcome) -> bool {
    let same = left.fingerprint == right.fingerprint;
    if same && (left.meters.tokens != right.meters.tokens || left.placement != right.placement) {
        return false;
    }
    let (less, more) = match left.meters.fuel <= right.meters.fuel {
        true => (left.meters.fuel, right.meters.fuel),
        false => (right.meters.fuel, left.meters.fuel),
    };
    less == more || !same && more <= less.saturating_mul(FUEL_FACTOR_MAX)
}

/// The lower median, by which a meter of the agreeing is paid: of a majority of honest replicas it is
/// within what honest ones metered, whatever the others say. `None` of nothing.
pub fn lower_median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    let middle = values.len().saturating_sub(1).checked_div(2)?;
    values.get(middle).copied()
}

/// Judges `replicas` revealed replicas. `agree(i, j)` is asked for `i < j` only.
///
/// Accepts the unique maximum clique of at least `quorum` members. Two different cliques of equal,
/// maximum size leave the shard undecided, whatever their size. Replicas beyond [`REPLICAS_MAX`]
/// are ignored.
pub fn judge(replicas: usize, quorum: usize, agree: impl Fn(usize, usize) -> bool) -> Verdict {
    let n = replicas.min(REPLICAS_MAX);
    // At most twelve bits are used, so no shift can overflow.
    let bit = |i: usize| 1_u32.wrapping_shl(i as u32);
    let edges: Vec<u32> = (0..n)
        .map(|i| {
            (0..n)
                .filter(|&j| i != j && agree(i.min(j), i.max(j)))
                .fold(bit(i), |mask, j| mask | bit(j))
        })
        .collect();
    let is_clique = |set: u32| {
        edges
            .iter()
            .enumerate()
            .all(|(i, row)| set & bit(i) == 0 || set & row == set)
    };
    let mut best: (u32, u32, bool) = (0, 0, true);
    for set in 1..bit(n) {
        let size = set.count_ones();
        if size >= best.1 && is_clique(set) {
            best = if size > best.1 {
                (set, size, true)
            } else {
                (best.0, size, false)
            };
        }
    }
    let (set, size, unique) = best;
    if unique && size as usize >= quorum.max(1) {
        return Verdict::Accepted {
            agreeing: (0..n).filter(|&i| set & bit(i) != 0).collect(),
        };
    }
    Verdict::Undecided {
        more: quorum.max(1).saturating_sub(size as usize).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{BlobRef, Digest};
    use crate::outcome::{Fingerprint, Meters, Placement};

    fn check(replicas: usize, quorum: usize, pairs: &[(usize, usize)], expected: Verdict) {
        let verdict = judge(replicas, quorum, |i, j| pairs.contains(&(i, j)));
        assert_eq!(
            verdict, expected,
            "{replicas} replicas, quorum {quorum}, pairs {pairs:?}"
        );
    }

    #[test]
    fn verdicts() {
        let accepted = |agreeing: &[usize]| Verdict::Accepted {
            agreeing: agreeing.to_vec(),
        };
        check(0, 2, &[], Verdict::Undecided { more: 2 });
        check(1, 1, &[], accepted(&[0]));
        check(2, 2, &[(0, 1)], accepted(&[0, 1]));
        check(2, 2, &[], Verdict::Undecided { more: 1 });
        check(3, 2, &[(0, 2)], accepted(&[0, 2]));
        // A star is not a clique: 0–1 and 1–2 agree, 0–2 do not. Two cliques of two: undecided.
        check(3, 2, &[(0, 1), (1, 2)], Verdict::Undecided { more: 1 });
        // Two camps of two: nobody wins until a fifth replica breaks the tie.
        check(4, 2, &[(0, 1), (2, 3)], Verdict::Undecided { more: 1 });
        check(
            5,
            2,
            &[(0, 1), (2, 3), (0, 4), (1, 4)],
            accepted(&[0, 1, 4]),
        );
        check(3, 3, &[(0, 1)], Verdict::Undecided { more: 1 });
        // A quorum of zero is a quorum of one: nothing is accepted unseen.
        check(0, 0, &[], Verdict::Undecided { more: 1 });
        check(2, 1, &[], Verdict::Undecided { more: 1 });
    }

    #[test]
    fn replicas_beyond_the_most_there_can_be_are_ignored() {
        let all: Vec<usize> = (0..REPLICAS_MAX).collect();
        let verdict = judge(usize::MAX, 2, |_, _| true);
        assert_eq!(verdict, Verdict::Accepted { agreeing: all });
    }

    /// What a replica on an engine of this name metered, and by how many nodes of its graph.
    fn outcome(engine: &str, meters: Meters, nodes: u32) -> Outcome {
        Outcome {
            noted: None,
            root: Digest::default(),
            outputs: BlobRef::of(b""),
            items: 0,
            meters,
            fingerprint: Fingerprint {
                engine: engine.into(),
                library: String::new(),
                execution_provider: String::new(),
                device: String::new(),
                options: String::new(),
            },
            placement: vec![Placement {
                model: "m".into(),
                execution_provider: "p".into(),
                nodes,
            }],
        }
    }

    fn agrees(left: &Outcome, right: &Outcome) -> [bool; 2] {
        [meters_agree(left, right), meters_agree(right, left)]
    }

    #[test]
    fn fuel_is_a_second_witness() {
        for (engines, fuels, expected) in [
            (["a", "a"], [7, 7], true),
            (["a", "a"], [7, 8], false),
            (["a", "b"], [7, 8], true),
            (["a", "b"], [7, 14], true),
            (["a", "b"], [7, 15], false),
            (["a", "b"], [0, 1], false),
            (["a", "b"], [u64::MAX, u64::MAX / 2 + 1], true),
        ] {
            let [left, right] = [0, 1].map(|i| {
                let meters = Meters {
                    fuel: fuels[i],
                    ..Meters::default()
                };
                outcome(engines[i], meters, 1)
            });
            let found = agrees(&left, &right);
            assert_eq!(found, [expected; 2], "{engines:?} {fuels:?}");
        }
    }

    #[test]
    fn tokens_are_a_witness_as_well() {
        for (engines, tokens, expected) in [
            (["a", "a"], [64, 64], true),
            (["a", "a"], [64, 640], false),
            (["a", "b"], [64, 63], true),
        ] {
            let [left, right] = [0, 1].map(|i| {
                let meters = Meters {
                    tokens: tokens[i],
                    ..Meters::default()
                };
                outcome(engines[i], meters, 1)
            });
            let found = agrees(&left, &right);
            assert_eq!(found, [expected; 2], "{engines:?} {tokens:?}");
        }
    }

    #[test]
    fn so_is_what_ran_the_graphs() {
        let ran = |engine, nodes| outcome(engine, Meters::default(), nodes);
        for (engines, nodes, expected) in [
            (["a", "a"], [3, 3], true),
            (["a", "a"], [3, 4], false),
            (["a", "b"], [3, 4], true),
        ] {
            let [left, right] = [0, 1].map(|i| ran(engines[i], nodes[i]));
            let found = agrees(&left, &right);
            assert_eq!(found, [expected; 2], "{engines:?} {nodes:?}");
        }
    }

    #[test]
    fn the_lower_median_is_one_of_the_values() {
        for (values, expected) in [
            (vec![], None),
            (vec![5], Some(5)),
            (vec![9, 5], Some(5)),
            (vec![9, 0, 5], Some(5)),
            (vec![9, 0, 5, 7], Some(5)),
            (vec![9, 0, 5, 7, 7], Some(7)),
        ] {
            assert_eq!(lower_median(values.clone()), expected, "{values:?}");
        }
    }

    proptest::proptest! {
        /// Whatever the pairs: the accepted are a clique of at least the quorum, and no replica
        /// outside could have joined them.
        #[test]
        fn the_accepted_agree_pairwise(
            n in 0..9_usize, quorum in 0..5_usize, bits in proptest::prelude::any::<u64>(),
        ) {
            let agree = |i: usize, j: usize| (bits >> (i * 8 + j)) & 1 == 1;
            let both = |i: usize, j: usize| agree(i.min(j), i.max(j));
            if let Verdict::Accepted { agreeing } = judge(n, quorum, agree) {
                assert!(agreeing.len() >= quorum.max(1));
                for &i in &agreeing {
                    assert!(agreeing.iter().all(|&j| i == j || both(i, j)));
                }
                let outside = (0..n).filter(|i| !agreeing.contains(i));
                for i in outside {
                    assert!(agreeing.iter().any(|&j| !both(i, j)));
                }
            }
        }
    }
}
