//! Whether to look for the node in dispute, or to compute everything again: whichever costs less.

use super::{ARITY_MIN, FRONTIER_TENSORS_MAX, NAME_BYTES_MAX, RANK_MAX, Terms};

/// How a disagreement is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Find the first node whose result differs, and compute that.
    Bisection,
    /// Compute the whole model again on a trusted machine, and compare the outputs.
    Recompute,
}

/// What is known of a model and an execution beforehand, or is a safe guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Positions, arity and inputs of the dispute that would be held.
    pub terms: Terms,
    /// Whether both ran under one fingerprint. Only then do honest traces agree.
    pub same_fingerprint: bool,
    /// The most tensors that cross a position.
    pub frontier_tensors: u32,
    /// The most bytes that the inputs and twice the outputs of one node have.
    pub node_bytes: u64,
    /// Microseconds that computing the dearest node takes the referee, loading included.
    pub node_us: u64,
    /// Microseconds that computing the whole model takes the referee, loading included.
    pub model_us: u64,
    /// Bytes of the inputs and of both parties' outputs.
    pub input_output_bytes: u64,
    /// Bytes of the model, if the referee would have to fetch it for computing all of it.
    pub model_bytes: u64,
    /// Bytes of the node's weights, if the referee would have to fetch them.
    pub weight_bytes: u64,
}

/// What time costs, in microseconds of the referee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prices {
    /// A question and its answer, contents aside.
    pub round_trip_us: u64,
    /// Bytes that arrive in a millisecond.
    pub bytes_per_ms: u64,
}

/// What one way of deciding costs, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Questions and answers.
    pub questions: u32,
    /// Bytes that travel.
    pub bytes: u64,
    /// Microseconds of computing.
    pub compute_us: u64,
    /// Microseconds in all.
    pub total_us: u64,
}

/// The decision, and what it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// How to decide.
    pub method: Method,
    /// What bisection would cost; `None` where it would prove nothing.
    pub bisection: Option<Cost>,
    /// What computing everything again would cost.
    pub recompute: Cost,
}

/// Picks the cheaper way. Where the fingerprints differ there is only one: honest traces differ at the first node
/// that rounds differently, whatever a liar did later.
pub fn choose(estimate: &Estimate, prices: &Prices) -> Choice {
    let recompute = recompute(estimate, prices);
    let bisection = estimate
        .same_fingerprint
        .then(|| bisection(estimate, prices));
    let cheaper = bisection.is_some_and(|bisection| bisection.total_us < recompute.total_us);
    Choice {
        method: match cheaper {
            true => Method::Bisection,
            false => Method::Recompute,
        },
        bisection,
        recompute,
    }
}

/// Bytes that a claim of a tensor takes, at most, next to its name.
const CLAIM_BYTES: u64 = 52 + 4 * RANK_MAX as u64;
/// Bytes of a tensor's name that are reckoned with.
const NAME_BYTES: u64 = NAME_BYTES_MAX as u64 / 8;

fn bisection(estimate: &Estimate, prices: &Prices) -> Cost {
    let terms = &estimate.terms;
    let rounds = terms.rounds_max();
    let depth = u64::from(u32::BITS.saturating_sub(terms.nodes().leading_zeros()));
    let opening = depth.saturating_mul(32).saturating_add(36);
    let inner = u64::from(terms.arity.max(ARITY_MIN)).saturating_sub(1);
    // Two parties open two positions first, and the inner ones in each round.
    let openings = inner
        .saturating_mul(u64::from(rounds))
        .saturating_add(2)
        .saturating_mul(2);
    let tensors = u64::from(estimate.frontier_tensors).min(FRONTIER_TENSORS_MAX as u64);
    let claims = tensors
        .saturating_mul(CLAIM_BYTES.saturating_add(NAME_BYTES))
        .saturating_mul(4);
    let bytes = openings
        .saturating_mul(opening)
        .saturating_add(claims)
        .saturating_add(estimate.node_bytes)
        .saturating_add(estimate.weight_bytes);
    // Entering, what the frontiers hold, and what the tensors hold.
    cost(rounds.saturating_add(3), bytes, estimate.node_us, prices)
}

fn recompute(estimate: &Estimate, prices: &Prices) -> Cost {
    let bytes = estimate
        .input_output_bytes
        .saturating_add(estimate.model_bytes);
    cost(1, bytes, estimate.model_us, prices)
}

fn cost(questions: u32, bytes: u64, compute_us: u64, prices: &Prices) -> Cost {
    let transfer = bytes
        .saturating_mul(1000)
        .checked_div(prices.bytes_per_ms)
        .unwrap_or(u64::MAX);
    let trips = u64::from(questions).saturating_mul(prices.round_trip_us);
    Cost {
        questions,
        bytes,
        compute_us,
        total_us: compute_us.saturating_add(transfer).saturating_add(trips),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn the_cheaper_way_is_chosen_and_other_fingerprints_leave_one() {
        let estimate = Estimate {
            terms: Terms {
                positions: 1001,
                arity: 8,
                inputs: Digest::default(),
            },
            same_fingerprint: true,
            frontier_tensors: 20,
            node_bytes: 1 << 20,
            node_us: 20_000,
            model_us: 2_000_000,
            input_output_bytes: 10_000,
            model_bytes: 0,
            weight_bytes: 0,
        };
        let prices = Prices {
            round_trip_us: 50_000,
            bytes_per_ms: 1_000,
        };
        let with = |change: fn(&mut Estimate, &mut Prices)| {
            let (mut estimate, mut prices) = (estimate, prices);
            change(&mut estimate, &mut prices);
            choose(&estimate, &prices)
        };
        let plain = with(|_, _| ());
        assert_eq!(plain.bisection.map(|cost| cost.questions), Some(4 + 3));
        type Change = fn(&mut Estimate, &mut Prices);
        let cases: [(&str, Change, Method); 6] = [
            ("a large model", |_, _| (), Method::Bisection),
            (
                "a small model",
                |e, _| e.model_us = 30_000,
                Method::Recompute,
            ),
            (
                "a slow network",
                |_, p| p.round_trip_us = 1_000_000,
                Method::Recompute,
            ),
            (
                "a thin network",
                |_, p| p.bytes_per_ms = 1,
                Method::Recompute,
            ),
            (
                "no time at all",
                |_, p| p.bytes_per_ms = 0,
                Method::Recompute,
            ),
            (
                "other fingerprints",
                |e, _| e.same_fingerprint = false,
                Method::Recompute,
            ),
        ];
        for (what, change, method) in cases {
            assert_eq!(with(change).method, method, "{what}");
        }
        assert_eq!(with(|e, _| e.same_fingerprint = false).bisection, None);
    }
}
