//! What the executions of an accused shard amount to.

use std::cmp::Reverse;

use crate::core::event::Finding;
use crate::core::judge::{same_meters, same_root};
use crate::core::state::{Audit, By, Check, Shard};

/// Executions on one side that decide where there is no referee.
const MAJORITY: usize = 2;

/// What the executions of an accused shard amount to.
pub(super) enum Ruling {
    /// Not yet: what was asked for is on its way.
    Open,
    /// Not yet: another one is needed.
    More,
    /// The answer is right.
    Acquitted,
    /// The answer is wrong, say referees.
    Convicted,
    /// The answer does not stand. Whether it is a lie is not known for sure.
    Refuted,
}

/// Whether what somebody found is what a judge found.
pub(super) fn is_borne_out(shard: &Shard, exact: bool, judge: u32, at: u32) -> bool {
    same_meters(shard, judge, at) && (!exact || same_root(shard, judge, at))
}

/// Whether two replicas are of one execution class.
fn one_class(shard: &Shard, left: u32, right: u32) -> bool {
    let class = |at: u32| shard.replicas.get(at as usize).map(|replica| replica.class);
    class(left) == class(right)
}

/// The replica by which an accused answer was judged: a referee's, if there is one, of whom most found the same, and
/// of the same class, if there is one.
pub(super) fn judge_of(shard: &Shard, exact: bool) -> Option<u32> {
    let audit = shard.audit.as_ref()?;
    let checks = audit.checks.iter();
    let judges = checks.filter(|c| c.is_whole() && c.finding == Some(Finding::Differ));
    let judges: Vec<&Check> = judges.collect();
    let found: Vec<u32> = judges.iter().filter_map(|check| check.replica).collect();
    let ranked = judges.iter().filter_map(|check| {
        let at = check.replica?;
        let others = count_alike(shard, exact, &found, at);
        let alike = one_class(shard, audit.subject, at);
        let rank = (check.by == By::Referee, others, alike);
        Some((Reverse(rank), at))
    });
    ranked.min().map(|(_, at)| at)
}

/// How many of these found what one of them found.
fn count_alike(shard: &Shard, exact: bool, found: &[u32], one: u32) -> usize {
    let alike = found.iter();
    let alike = alike.filter(|other| is_borne_out(shard, exact, one, **other));
    alike.count()
}

/// An accused answer and what is needed to rule about it.
pub(super) struct Bench<'a> {
    pub(super) shard: &'a Shard,
    pub(super) audit: &'a Audit,
    /// Whether outputs are compared bit by bit.
    pub(super) exact: bool,
    /// Whether the job runs models, whose outputs, and so the fuel of a guest, may depend on the class.
    pub(super) models: bool,
    /// Referees that a conviction takes.
    pub(super) confirmations: usize,
}

/// What some executions of the whole shard say.
#[derive(Default)]
struct Votes {
    agree: usize,
    /// Those against the answer, as far as they say the same where peers are among them: two who each made something
    /// up have found nothing.
    against: usize,
    /// Those that clearly found something else.
    differ: usize,
    /// Those that prove it wrong: what another class found may differ by no fault of anybody's.
    proofs: usize,
    open: usize,
}

impl Bench<'_> {
    /// What the executions of the whole shard by these judges amount to. Whether there is one more such judge to ask
    /// decides what too few amount to.
    pub(super) fn ruling(&self, by: By, more: bool) -> Ruling {
        let votes = self.votes(|check| check.by == by);
        let (need, acquits) = match by {
            By::Referee => (self.confirmations.max(1), 1),
            By::Peer => (MAJORITY, MAJORITY),
        };
        if votes.agree >= acquits && votes.agree > votes.against {
            Ruling::Acquitted
        } else if by == By::Referee && votes.proofs >= need && votes.agree == 0 {
            Ruling::Convicted
        } else if votes.against >= need && votes.against > votes.agree {
            Ruling::Refuted
        } else if votes.open > 0 {
            Ruling::Open
        } else if more {
            Ruling::More
        } else {
            self.without_referees(&votes)
        }
    }

    /// No referee is left to ask. What some said still counts for more than what peers say, but takes no stake.
    fn without_referees(&self, referees: &Votes) -> Ruling {
        let votes = self.votes(|_| true);
        if referees.differ > referees.agree {
            Ruling::Refuted
        } else if votes.agree >= MAJORITY && votes.agree > votes.against {
            Ruling::Acquitted
        } else if votes.against >= MAJORITY && votes.against > votes.agree {
            Ruling::Refuted
        } else if votes.open > 0 {
            Ruling::Open
        } else {
            Ruling::More
        }
    }

    fn votes(&self, counts: impl Fn(&Check) -> bool) -> Votes {
        let whole = self.audit.checks.iter().filter(|check| check.is_whole());
        let judges: Vec<&Check> = whole.filter(|check| counts(check)).collect();
        let said = |finding| judges.iter().filter(move |c| c.finding == Some(finding));
        let against = said(Finding::Differ).count();
        let against = against.saturating_add(said(Finding::Unclear).count());
        let proves = |check: &&&Check| {
            let alike = |at| one_class(self.shard, self.audit.subject, at);
            !self.models || check.replica.is_some_and(alike)
        };
        Votes {
            agree: said(Finding::Agree).count(),
            against: match judges.iter().all(|check| check.by == By::Referee) {
                true => against,
                false => largest_group(self.shard, self.exact, &judges),
            },
            differ: said(Finding::Differ).count(),
            proofs: said(Finding::Differ).filter(proves).count(),
            open: judges.iter().filter(|c| c.finding.is_none()).count(),
        }
    }
}

/// How many of those who found something else found the same. Where outputs are compared with a tolerance nobody has
/// compared theirs with one another, and they are taken to agree if their meters do.
fn largest_group(shard: &Shard, exact: bool, judges: &[&Check]) -> usize {
    let against =
        |check: &&&Check| matches!(check.finding, Some(finding) if finding != Finding::Agree);
    let found: Vec<u32> = judges
        .iter()
        .filter(against)
        .filter_map(|check| check.replica)
        .collect();
    let sizes = found
        .iter()
        .map(|one| count_alike(shard, exact, &found, *one));
    sizes.max().unwrap_or(0)
}
