//! Cutting a job's items into shards.

use serde::{Deserialize, Serialize};

/// A run of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardSpan {
    /// Position in the plan.
    pub index: u32,
    /// First item.
    pub first_item: u32,
    /// Number of items; only the last shard may be short.
    pub items: u32,
}

/// The plan: consecutive runs of `items_per_shard`, which must not be zero, covering all `items`.
/// An `items_per_shard` of zero is treated as one, so that the plan is total.
pub fn plan(items: u32, items_per_shard: u32) -> Vec<ShardSpan> {
    let step = items_per_shard.max(1);
    (0..items)
        .step_by(step as usize)
        .zip(0..)
        .map(|(first_item, index)| ShardSpan {
            index,
            first_item,
            items: step.min(items.saturating_sub(first_item)),
        })
        .collect()
}

/// The `index`-th shard of a plan, or `None` if the plan has fewer.
pub fn span(items: u32, items_per_shard: u32, index: u32) -> Option<ShardSpan> {
    let step = items_per_shard.max(1);
    let first_item = index.checked_mul(step).filter(|&first| first < items)?;
    Some(ShardSpan {
        index,
        first_item,
        items: step.min(items.saturating_sub(first_item)),
    })
}

/// Number of shards of a plan.
pub fn shard_count(items: u32, items_per_shard: u32) -> u32 {
    items.div_ceil(items_per_shard.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_covers_every_item_once() {
        for (items, step) in [(0, 4), (1, 4), (4, 4), (5, 4), (1024, 64), (7, 1), (3, 0)] {
            let shards = plan(items, step);
            assert_eq!(shards.len() as u32, shard_count(items, step));
            for (index, &shard) in (0..).zip(&shards) {
                assert_eq!(span(items, step, index), Some(shard));
            }
            assert_eq!(span(items, step, shards.len() as u32), None);
            assert_eq!(span(items, step, u32::MAX), None);
            let covered: Vec<u32> = shards
                .iter()
                .flat_map(|s| s.first_item..s.first_item + s.items)
                .collect();
            assert_eq!(covered, (0..items).collect::<Vec<_>>());
            assert!(
                shards
                    .iter()
                    .zip(0..)
                    .all(|(shard, index)| shard.index == index)
            );
        }
    }
}
