//! Stake that votes take, where votes are safe.
//!
//! Losing a vote costs pay and reputation, never stake. Whoever holds a judged answer to be wrong may open a case:
//! it has the very shard executed again, in ordinary jobs that it pays for and that no provider can tell from
//! others, and says of each beforehand that it bears on the case. All of them count, so nobody can show only those
//! that came out as it likes. When they have ended, [`policy::liquidation::liquidate`] decides by what was found:
//! ten times the defending stake, two thirds of the sampled stake, three operators, and referees who executed the
//! shard themselves ([`tally`]). Then the whole stake is taken, as after a failed audit; otherwise nobody loses
//! anything, and the accuser has paid for its executions ([`ruling`]).
//!
//! Who asks is not asked why, so everything is bounded: open cases, those of one client, jobs of a case, its time.
//! A case to which no job is tied lapses soon, and who opens one can pay for an execution.

mod open;
mod ruling;
mod sabotage;
mod tally;

use jobs::accusation::Answer;
use jobs::ids::{AssignmentId, CaseId, ClientId, JobId, ProviderId};
use serde::{Deserialize, Serialize};

use super::action::{Action, Reply};
use super::event::{Finding, JobSpec, RequestId};
use super::refusal::Refusal;
use super::state::{Case, Decided};
use super::{Core, Effects};

pub(super) use ruling::pool_id;

/// Cases that are open at the same time.
pub const CASES_OPEN_MAX: usize = 32;
/// Open cases of one client.
pub const CASES_PER_CLIENT_MAX: usize = 4;
/// Jobs that may be tied to one case.
pub const JOBS_PER_CASE_MAX: usize = 12;
/// Decided cases that are remembered. The ledger remembers for ever which answers cost a stake.
pub const DECIDED_KEPT: usize = 256;
/// Milliseconds after its commitment in which an answer can be accused: a week.
pub const ANSWER_AGE_MS_MAX: u64 = 7 * 24 * 3600 * 1000;
/// Milliseconds after which a case lapses to which no job is tied: ten minutes.
pub const TIE_MS: u64 = 10 * 60 * 1000;
/// Milliseconds beyond its time that a case waits for jobs and comparisons that are under way: an hour.
pub const CASE_GRACE_MS: u64 = 3600 * 1000;

/// What happens to cases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CaseEvent {
    /// Somebody accuses an answer; its signature and its bounds are checked.
    Accuse {
        /// Whom to answer.
        request: RequestId,
        /// Digest of the accusation.
        case: CaseId,
        /// Who signed it.
        client: ClientId,
        /// Which answer.
        answer: Answer,
        /// Milliseconds in which jobs may be tied to the case.
        window_ms: u64,
    },
    /// The accuser says that a job of its own, not submitted yet or not yet answered by anybody, bears on its case. The
    /// driver compared what it executes with what the accused answer is of.
    Tie {
        /// Whom to answer.
        request: RequestId,
        /// Which case.
        case: CaseId,
        /// Who signed the package.
        client: ClientId,
        /// Digest of the package.
        job: JobId,
        /// The package, reduced.
        spec: Box<JobSpec>,
    },
    /// The driver compared two answers ([`Action::CompareCase`]).
    Compared {
        /// For which case.
        case: CaseId,
        /// One assignment.
        left: AssignmentId,
        /// The other.
        right: AssignmentId,
        /// What it found.
        finding: Finding,
    },
}

impl Core {
    pub(super) fn case_event(&mut self, event: CaseEvent, fx: &mut Effects) {
        match event {
            CaseEvent::Accuse {
                request,
                case,
                client,
                answer,
                window_ms,
            } => {
                let reply = self.accuse(case, client, &answer, window_ms);
                fx.reply(request, reply);
            }
            CaseEvent::Tie {
                request,
                case,
                client,
                job,
                spec,
            } => {
                let reply = self.tie(case, client, job, &spec);
                fx.reply(request, reply);
            }
            CaseEvent::Compared {
                case,
                left,
                right,
                finding,
            } => self.case_compared(case, (left, right), finding, fx),
        }
    }

    /// An open case.
    #[must_use]
    pub fn open_case(&self, id: CaseId) -> Option<&Case> {
        self.liquidations.open.get(&id)
    }

    /// A case that was decided not long ago.
    #[must_use]
    pub fn decided_case(&self, id: CaseId) -> Option<&Decided> {
        self.liquidations.decided.get(&id)
    }

    /// The latest decided cases, newest first.
    #[must_use]
    pub fn decided_cases(&self) -> Vec<(CaseId, &Decided)> {
        let decided = self.liquidations.decided.iter();
        let mut decided: Vec<_> = decided.map(|(id, case)| (*id, case)).collect();
        decided.sort_by_key(|(id, case)| std::cmp::Reverse((case.at, *id)));
        decided
    }

    /// How many cases are open.
    #[must_use]
    pub fn open_cases(&self) -> usize {
        self.liquidations.open.len()
    }

    /// Open cases against a provider: while there is one, its stake stays.
    pub(super) fn accusations_of(&self, provider: ProviderId) -> u64 {
        let open = self.liquidations.open.values();
        let against = open.filter(|case| case.accused.provider == provider);
        u64::try_from(against.count()).unwrap_or(u64::MAX)
    }

    /// What the driver was asked to compare for open cases.
    pub(super) fn recover_cases(&self, actions: &mut Vec<Action>) {
        let open = self.liquidations.open.iter();
        let asked = open.filter_map(|(id, case)| case.comparison(*id, case.asked?));
        actions.extend(asked);
    }
}

impl Reply {
    /// The answer to an accusation.
    pub(super) const fn accused(case: CaseId, repeated: bool) -> Result<Self, Refusal> {
        Ok(Self::Accused { case, repeated })
    }
}
