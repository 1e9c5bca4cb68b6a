//! What a record shows of how it was decided who executes and what is audited.

use std::collections::BTreeSet;

use anyhow::Result;
use jobs::digest::Digest;
use jobs::ids::JobId;
use jobs::package::Package;
use jobs::policy::{Policy, Unit};
use jobs::record::{JobRecord, ReplicaRecord};
use jobs::shares::{Floor, Shares};
use policy::Ppb;
use policy::audit::{Rates, audited};
use policy::beacon::{self, Beacon, Party, Share, ShareCommitment};
use serde::Serialize;

use crate::exit::{Coded, Exit, fail};
use crate::shares::{self, Kept};

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Draws {
    /// Whether the aggregator's share is what it promised; `None` if nobody here knows what that was.
    promise_kept: Option<bool>,
    /// Whether the client's share was in the draw of who executes.
    by_both: bool,
    /// Answers, or items of answers, that had to be audited.
    drawn: u32,
    /// Answers that a check found, in place of one that did not stand; nothing of them is drawn.
    adopted: u32,
}

/// Repeats the draws of a record that was verified.
pub(crate) fn check(
    job: JobId,
    package: &Package,
    record: &JobRecord,
    shares: &Shares,
) -> Result<Draws> {
    let kept = shares::known(job)?;
    let mut draws = Draws {
        promise_kept: promise_kept(job, shares, kept.as_ref())?,
        by_both: shares.by_both,
        ..Draws::default()
    };
    if let (Policy::Audit { unit }, Some(floor)) = (&package.policy, shares.floor) {
        check_audits(job, *unit, floor, record, shares, &mut draws)?;
    }
    Ok(draws)
}

/// Repeats what was drawn of every answer.
fn check_audits(
    job: JobId,
    unit: Unit,
    floor: Floor,
    record: &JobRecord,
    shares: &Shares,
    draws: &mut Draws,
) -> Result<()> {
    let beacon = beacon_of(job, shares)?;
    let rates = Rates {
        peer: Ppb::billionths(floor.peer),
        trusted: Ppb::billionths(floor.trusted),
    };
    for shard in &record.shards {
        if shard.adopted {
            draws.adopted = draws.adopted.saturating_add(1);
            continue;
        }
        let done = executed_again(&shard.checks)?;
        for answer in shard.replicas.iter().filter(|replica| replica.agreed) {
            let receipt = answer.receipt.verify(answer.provider);
            let items = receipt.code(Exit::Signature)?.statement.assignment.items;
            let units = match unit {
                Unit::Item => items,
                Unit::Shard => 1,
            };
            match drawn(&beacon, rates, &answer.assignment.0, units, &done) {
                Ok(count) => draws.drawn = draws.drawn.saturating_add(count),
                Err(unit) => {
                    let (index, of) = (shard.index, units);
                    let problem = format!(
                        "the draw fell on unit {unit} of {of} of shard {index}, and nobody was paid for checking it"
                    );
                    return fail(Exit::Verification, problem);
                }
            }
        }
    }
    Ok(())
}

/// Whether the aggregator's share is what it promised, as far as anybody here knows.
fn promise_kept(job: JobId, shares: &Shares, kept: Option<&Kept>) -> Result<Option<bool>> {
    let share = Share(shares.aggregator.0);
    let promise = beacon::commit(job.0.as_bytes(), Party::Aggregator, &share);
    match kept {
        Some(kept) if *kept.promise.as_bytes() != promise.0 => {
            let promised = kept.promise;
            let problem = format!("the aggregator's share is not what it promised ({promised})");
            fail(Exit::Verification, problem)
        }
        kept => Ok(kept.map(|_| true)),
    }
}

/// The beacon by which audits were drawn.
fn beacon_of(job: JobId, shares: &Shares) -> Result<Beacon> {
    let context = job.0.as_bytes();
    let own = (Party::Aggregator, Share(shares.aggregator.0));
    let client = shares.client.map(|share| (Party::Client, Share(share.0)));
    let promise = |(party, share): (Party, Share)| (party, beacon::commit(context, party, &share));
    // What a client promised that gave nothing: whatever it is, it is not opened.
    let unopened = (Party::Client, ShareCommitment([0; 32]));
    let committed = [promise(own), client.map_or(unopened, promise)];
    let revealed: Vec<_> = [own].into_iter().chain(client).collect();
    let combined = beacon::combine(context, &committed, &revealed);
    Ok(combined.code(Exit::Verification)?.beacon)
}

/// How many units of an answer were drawn at the least rates; or the first of them that nobody executed again.
fn drawn(
    beacon: &Beacon,
    rates: Rates,
    assignment: &Digest,
    units: u32,
    done: &Done,
) -> Result<u32, u32> {
    let falls =
        |unit: &u32| audited(beacon, assignment.as_bytes(), u64::from(*unit), rates).is_some();
    let mut count = 0_u32;
    for unit in (0..units).filter(falls) {
        if !done.whole && !done.items.contains(&unit) {
            return Err(unit);
        }
        count = count.saturating_add(1);
    }
    Ok(count)
}

/// What checks of a shard were about.
struct Done {
    whole: bool,
    items: BTreeSet<u32>,
}

fn executed_again(checks: &[ReplicaRecord]) -> Result<Done> {
    let mut done = Done {
        whole: false,
        items: BTreeSet::new(),
    };
    for check in checks.iter().filter(|check| check.agreed) {
        let receipt = check.receipt.verify(check.provider).code(Exit::Signature)?;
        let assignment = receipt.statement.assignment;
        done.whole |= assignment.sample.is_empty();
        done.items.extend(assignment.sample);
    }
    Ok(done)
}

impl std::fmt::Display for Draws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let who = match self.by_both {
            true => "who executes by both shares",
            false => "who executes by the aggregator's share alone",
        };
        let promise = match self.promise_kept {
            Some(true) => ", its promise kept",
            _ => "",
        };
        write!(f, "{who}{promise}")?;
        if self.drawn > 0 {
            write!(f, "; {} to be audited, and were", self.drawn)?;
        }
        if self.adopted > 0 {
            write!(f, "; {} answers found by checks", self.adopted)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId(Digest::from_bytes([3; 32]));

    fn shares(client: Option<u8>) -> Shares {
        Shares {
            aggregator: jobs::policy::Share([1; 32]),
            client: client.map(|byte| jobs::policy::Share([byte; 32])),
            by_both: client.is_some(),
            floor: None,
        }
    }

    #[test]
    fn a_share_that_was_not_promised_is_found_out() {
        let own = Share([1; 32]);
        let promise = beacon::commit(JOB.0.as_bytes(), Party::Aggregator, &own);
        let mut kept = Kept {
            share: jobs::policy::Share([2; 32]),
            promise: Digest::from_bytes(promise.0),
            manifest: None,
            work: None,
        };
        assert_eq!(promise_kept(JOB, &shares(None), None).unwrap(), None);
        let found = promise_kept(JOB, &shares(None), Some(&kept));
        assert_eq!(found.unwrap(), Some(true));
        kept.promise = Digest::of(b"another");
        let error = promise_kept(JOB, &shares(None), Some(&kept)).unwrap_err();
        assert!(
            error.to_string().contains("is not what it promised"),
            "{error}"
        );
    }

    #[test]
    fn an_audit_that_was_drawn_and_skipped_is_found_out() {
        let rates = Rates {
            peer: Ppb::millionths(75_000),
            trusted: Ppb::millionths(7_000),
        };
        let beacon = beacon_of(JOB, &shares(Some(2))).unwrap();
        let assignment = Digest::of(b"assignment");
        let (units, mut done) = (
            1_000,
            Done {
                whole: true,
                items: BTreeSet::new(),
            },
        );
        let count = drawn(&beacon, rates, &assignment, units, &done).unwrap();
        // 82 of 1,000 on average; five standard deviations are 43.
        assert!((39..126).contains(&count), "{count}");
        done.whole = false;
        let mut found = 0;
        while let Err(unit) = drawn(&beacon, rates, &assignment, units, &done) {
            assert!(done.items.insert(unit), "{unit} twice");
            found += 1;
        }
        assert_eq!(found, count);
        assert_eq!(drawn(&beacon, rates, &assignment, units, &done), Ok(count));
        // Who gave no share has everything audited.
        let forced = beacon_of(JOB, &shares(None)).unwrap();
        assert_eq!(drawn(&forced, rates, &assignment, 5, &done), Err(0));
    }
}
