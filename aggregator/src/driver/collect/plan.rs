//! What a round removes. Pure: who refers to what, and what is kept for how long, is told.

use std::collections::{HashMap, HashSet};

use jobs::digest::{BlobRef, Digest};
use jobs::ids::JobId;
use jobs::time::Timestamp;
use network::blobs::cost;

/// Finished jobs whose results go in one round.
pub(super) const JOBS_PER_ROUND: usize = 1_000;

/// Blobs that go in one round.
pub(super) const BLOBS_PER_ROUND: usize = 10_000;

/// Milliseconds of a day.
pub(super) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What an ended job left behind.
#[derive(Clone, Debug)]
pub(super) struct Left {
    pub(super) job: JobId,
    pub(super) ended: Timestamp,
    /// Whether there are results that somebody may fetch.
    pub(super) fetchable: bool,
    /// Each once.
    pub(super) blobs: Vec<Digest>,
}

/// For how long, and how much room is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) now: Timestamp,
    /// Days for which what ended jobs left behind is kept; 0: until its room is needed.
    pub(super) keep_days: u32,
    /// Bytes that somebody needs. Fewer are of no use to them, so nothing is given up for those.
    pub(super) need: u64,
    /// Bytes that would be good to have.
    pub(super) wish: u64,
}

impl Rules {
    fn is_over(&self, ended: Timestamp) -> bool {
        let keep_ms = u64::from(self.keep_days).saturating_mul(DAY_MS);
        self.keep_days > 0 && ended.plus_ms(keep_ms) <= self.now
    }
}

/// What goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// Jobs whose results are kept no longer, and when they ended.
    pub(super) jobs: Vec<(JobId, Timestamp)>,
    /// Blobs that nobody refers to then.
    pub(super) blobs: Vec<BlobRef>,
    /// Bytes that they take.
    pub(super) bytes: u64,
    /// Whether there would be more, in another round.
    pub(super) more: bool,
}

/// Decides what goes: ended jobs in order of their end, and every blob in `stored` to which neither an open job nor a
/// kept one refers. Whoever is to remove it looks again whether it `is_idle`.
pub(super) fn plan(
    open: &HashSet<Digest>,
    mut left: Vec<Left>,
    stored: &[BlobRef],
    is_idle: impl Fn(&Digest) -> bool,
    rules: Rules,
) -> Plan {
    let mut kept: HashMap<Digest, u32> = HashMap::new();
    for digest in left.iter().flat_map(|left| &left.blobs) {
        let count = kept.entry(*digest).or_default();
        *count = count.saturating_add(1);
    }
    let loose = |blob: &&BlobRef| !open.contains(&blob.digest) && is_idle(&blob.digest);
    let loose: HashMap<Digest, u64> = stored
        .iter()
        .filter(loose)
        .map(|blob| (blob.digest, blob.size))
        .collect();
    let free = loose
        .iter()
        .filter(|(digest, _)| !kept.contains_key(*digest));
    let mut freed: u64 = free.map(|(_, size)| cost(*size)).sum();
    let all: u64 = loose.values().map(|size| cost(*size)).sum();
    let wanted = match rules.keep_days {
        0 if rules.need <= all => rules.need.max(rules.wish),
        0 => rules.wish,
        _ => 0,
    };
    left.sort_unstable_by_key(|left| (left.ended, left.job));
    let mut plan = Plan::default();
    for ended in left {
        if !rules.is_over(ended.ended) {
            if freed >= wanted {
                break;
            }
            // What would make no room stays: somebody needed it lately, or others refer to it.
            if gain(&kept, &ended, &loose) == 0 {
                continue;
            }
        }
        if plan.jobs.len() >= JOBS_PER_ROUND {
            plan.more = true;
            break;
        }
        for digest in &ended.blobs {
            freed = freed.saturating_add(release(&mut kept, digest, &loose));
        }
        if ended.fetchable {
            plan.jobs.push((ended.job, ended.ended));
        }
    }
    for (digest, size) in loose {
        if kept.contains_key(&digest) {
            continue;
        }
        if plan.blobs.len() >= BLOBS_PER_ROUND {
            plan.more = true;
            break;
        }
        plan.bytes = plan.bytes.saturating_add(cost(size));
        plan.blobs.push(BlobRef { digest, size });
    }
    plan
}

/// How many bytes it would free to keep a job's blobs no longer.
fn gain(kept: &HashMap<Digest, u32>, left: &Left, loose: &HashMap<Digest, u64>) -> u64 {
    let own = left.blobs.iter().filter(|blob| kept.get(*blob) == Some(&1));
    own.filter_map(|blob| loose.get(blob))
        .map(|size| cost(*size))
        .sum()
}

/// One job less refers to a blob; how many bytes that frees.
fn release(kept: &mut HashMap<Digest, u32>, digest: &Digest, loose: &HashMap<Digest, u64>) -> u64 {
    let Some(count) = kept.get_mut(digest) else {
        return 0;
    };
    *count = count.saturating_sub(1);
    if *count > 0 {
        return 0;
    }
    kept.remove(digest);
    loose.get(digest).map_or(0, |size| cost(*size))
}

#[cfg(test)]
mod tests;
