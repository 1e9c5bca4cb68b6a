//! A shard given to a provider.

use serde::{Deserialize, Serialize};

use crate::digest::BlobRef;
use crate::ids::{AggregatorId, AssignmentId, JobId, ProviderId};
use crate::money::Amount;
use crate::plan::ShardSpan;
use crate::statement::Statement;

/// An aggregator's order to execute one shard, signed by the aggregator. The signed package travels
/// with it, so that a provider can check the client's signature itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Derived from aggregator, job, shard, attempt and provider ([`AssignmentId::derive`]); echoed
    /// in every reply.
    pub id: AssignmentId,
    /// Of which job.
    pub job: JobId,
    /// Which shard of the plan.
    pub shard: u32,
    /// How many assignments this shard had before.
    pub attempt: u32,
    /// To whom.
    pub provider: ProviderId,
    /// By whom. Must equal the signer.
    pub aggregator: AggregatorId,
    /// The shard's encoded items.
    pub input: BlobRef,
    /// Index of the shard's first item in the job's input.
    pub first_item: u32,
    /// Number of items in the input.
    pub items: u32,
    /// Which items of the shard the input has, as positions in it, ascending; nothing for the whole shard. A few of
    /// them are asked for where an earlier answer is checked.
    pub sample: Vec<u32>,
    /// The most it can earn: what escrow reserved for it.
    pub reward_max: Amount,
    /// Milliseconds within which a commitment is due, counted from acceptance.
    pub due_ms: u64,
}

impl Assignment {
    /// Whether it is about this shard: all of it, or a sample of its items.
    #[must_use]
    pub fn fits(&self, shard: ShardSpan) -> bool {
        let items = match self.sample.len() {
            0 => Ok(shard.items),
            sampled => u32::try_from(sampled),
        };
        let mut ascending = self.sample.iter().zip(self.sample.iter().skip(1));
        let last = self.sample.last();
        (self.shard, self.first_item) == (shard.index, shard.first_item)
            && items == Ok(self.items)
            && ascending.all(|(item, next)| item < next)
            && last.is_none_or(|last| *last < shard.items)
    }
}

impl Statement for Assignment {
    const DOMAIN: &'static str = "assay/assignment/v1";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_about_a_shard_or_a_sample_of_its_items() {
        let span = ShardSpan {
            index: 1,
            first_item: 4,
            items: 4,
        };
        for (shard, first_item, items, sample, fits) in [
            (1, 4, 4, vec![], true),
            (1, 4, 1, vec![3], true),
            (1, 4, 3, vec![0, 1, 3], true),
            (0, 4, 4, vec![], false),
            (1, 0, 4, vec![], false),
            (1, 4, 3, vec![], false),
            (1, 4, 1, vec![4], false),
            (1, 4, 2, vec![1, 1], false),
            (1, 4, 2, vec![2, 1], false),
            (1, 4, 4, vec![0, 1], false),
        ] {
            let assignment = Assignment {
                id: AssignmentId::default(),
                job: JobId::default(),
                shard,
                attempt: 0,
                provider: ProviderId([1; 32]),
                aggregator: ProviderId([2; 32]),
                input: BlobRef::of(b"input"),
                first_item,
                items,
                sample,
                reward_max: Amount::ZERO,
                due_ms: 1,
            };
            assert_eq!(assignment.fits(span), fits, "{assignment:?}");
        }
    }
}
