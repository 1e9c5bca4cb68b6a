//! What others may read. A view never shows a root or an output of a shard that is not settled: the
//! next replica could copy it.

use std::collections::BTreeMap;

use jobs::commitment::{Commitment, Opening};
use jobs::digest::{BlobRef, Digest};
use jobs::ids::{AssignmentId, ClientId, JobId, ProviderId};
use jobs::money::Amount;
use jobs::offer::Offer;
use jobs::shares::Shares;
use jobs::time::Timestamp;
use ledger::{Account, Head};
use serde::{Deserialize, Serialize};

use super::Core;
use super::action::{Evidence, JobOutcome, Quote};
use super::audit::AuditStanding;
use super::epoch::Standing;
use super::settlement::total;
use super::state::{End, Job, Phase, Provider, Replica, ReplicaState, Shard, Tally, Times};
use super::summary::status_of;

/// Where a job is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// Its blobs are gathered.
    Preparing,
    /// Its shards are executed.
    Running,
    /// Its result is merged.
    Merging,
    /// Its result is there and may be used; it is not final yet.
    Provisional,
    /// What it holds is given back; then it is over.
    Ending,
    /// It is done.
    Done,
    /// It failed.
    Failed,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// Who pays.
    pub client: ClientId,
    /// Where it is.
    pub status: JobStatus,
    /// How it ended.
    pub outcome: Option<JobOutcome>,
    /// Whether its record is stored.
    pub recorded: bool,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// When it was admitted.
    pub admitted: Timestamp,
    /// When it must have ended.
    pub deadline: Timestamp,
    /// On what terms.
    pub quote: Quote,
    /// Its shards, in plan order.
    pub shards: Vec<ShardView>,
    /// Shards accepted.
    pub accepted: u32,
    /// Assignments so far, whatever became of them.
    pub assignments: u64,
    /// Pairs of judged replicas that did not agree with the verdict: replicas that lost a vote.
    pub dissenting: u64,
    /// What providers got so far.
    pub paid: Amount,
    /// What the aggregator kept so far.
    pub fee: Amount,
    /// What went back to the client.
    pub returned: Amount,
    /// What its escrow holds now.
    pub escrow: Amount,
}

/// A shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardView {
    /// Position in the plan.
    pub index: u32,
    /// First item.
    pub first_item: u32,
    /// Number of items.
    pub items: u32,
    /// Whether it is accepted.
    pub accepted: bool,
    /// Its assignments, in order.
    pub replicas: Vec<ReplicaView>,
}

/// A replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaView {
    /// Its assignment.
    pub assignment: AssignmentId,
    /// Whose.
    pub provider: ProviderId,
    /// Whether it checks another's answer.
    pub check: bool,
    /// How far it is, and why it ended.
    pub state: ReplicaState,
    /// When it moved.
    pub times: Times,
}

/// A provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderView {
    /// Its id.
    pub id: ProviderId,
    /// Its newest offer.
    pub offer: Offer,
    /// The network that it is reached from, as the driver groups addresses.
    pub prefix: u64,
    /// Whether it is connected.
    pub online: bool,
    /// Its score now, in points.
    pub score: u32,
    /// Whether its score is too low for work.
    pub demoted: bool,
    /// Why it is banned.
    pub banned: Option<Evidence>,
    /// Assignments it has yet to execute.
    pub busy: u32,
    /// What it did so far.
    pub tally: Tally,
    /// What stands on its account.
    pub earned: Amount,
    /// Its stake.
    pub stake: Amount,
    /// What the game says of it.
    pub game: Option<Standing>,
    /// How its answers are checked.
    pub audits: AuditStanding,
}

/// What stands where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balances {
    /// Clients' free money.
    pub clients: BTreeMap<ClientId, Amount>,
    /// Providers' earnings.
    pub providers: BTreeMap<ProviderId, Amount>,
    /// Providers' stakes.
    pub stakes: BTreeMap<ProviderId, Amount>,
    /// Sum over all escrows.
    pub escrow: Amount,
    /// Sum of open reservations.
    pub reserved: Amount,
    /// Fees.
    pub fee: Amount,
    /// Stake taken.
    pub slashed: Amount,
    /// End of the journal.
    pub journal_head: Head,
}

/// What the driver needs, beside its own signed statements, for [`jobs::record::JobRecord`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordParts {
    /// Who paid.
    pub client: ClientId,
    /// What was put in escrow.
    pub escrowed: Amount,
    /// What each provider got in all, ascending by provider.
    pub paid: Vec<(ProviderId, Amount)>,
    /// What the aggregator kept.
    pub fee: Amount,
    /// Fee in basis points of what providers got.
    pub fee_bps: u16,
    /// Accepted shards, in plan order.
    pub shards: Vec<ShardParts>,
    /// How the job ended, what went back and the journal's head; `None` while it is being merged.
    pub end: Option<End>,
    /// What decided who executed, and what was audited.
    pub draw: Shares,
}

/// One accepted shard of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardParts {
    /// Position in the plan.
    pub index: u32,
    /// Encoded items.
    pub input: BlobRef,
    /// Every replica that was judged, in order of assignment.
    pub replicas: Vec<ReplicaParts>,
    /// Every execution that checked an answer and was held to be right.
    pub checks: Vec<ReplicaParts>,
    /// Canonical outputs.
    pub canonical: BlobRef,
    /// Their root.
    pub canonical_root: Digest,
    /// Whether a check found them.
    pub adopted: bool,
}

/// One judged replica of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaParts {
    /// Which assignment.
    pub assignment: AssignmentId,
    /// Whose.
    pub provider: ProviderId,
    /// What it committed to.
    pub commitment: Commitment,
    /// What the commitment hid.
    pub opening: Opening,
    /// Whether it is among the agreeing.
    pub agreed: bool,
    /// What it was paid.
    pub paid: Amount,
}

impl Core {
    /// A job, unless unknown or forgotten.
    #[must_use]
    pub fn view_job(&self, id: JobId) -> Option<JobView> {
        self.jobs.get(&id).map(|job| self.job_view(job))
    }

    /// Every known job, in order of admission.
    #[must_use]
    pub fn view_jobs(&self) -> Vec<JobView> {
        let mut jobs: Vec<&Job> = self.jobs.values().collect();
        jobs.sort_by_key(|job| job.order);
        jobs.into_iter().map(|job| self.job_view(job)).collect()
    }

    /// The ids of the newest known jobs, newest first.
    #[must_use]
    pub fn newest_jobs(&self, limit: usize) -> Vec<JobId> {
        let mut jobs: Vec<(u64, JobId)> = self.jobs.values().map(|j| (j.order, j.id)).collect();
        jobs.sort_unstable_by(|left, right| right.cmp(left));
        jobs.truncate(limit);
        jobs.into_iter().map(|(_, id)| id).collect()
    }

    /// What each provider got for a job so far, ascending by provider.
    #[must_use]
    pub fn paid(&self, id: JobId) -> Vec<(ProviderId, Amount)> {
        let paid = self.jobs.get(&id).map(|job| job.paid.iter());
        let paid = paid.into_iter().flatten();
        paid.map(|(provider, sum)| (*provider, *sum)).collect()
    }

    /// How a job ended; `None` while it has not.
    #[must_use]
    pub fn outcome(&self, id: JobId) -> Option<&JobOutcome> {
        match &self.jobs.get(&id)?.phase {
            Phase::Ended(end) => Some(&end.outcome),
            _ => None,
        }
    }

    /// A provider.
    #[must_use]
    pub fn view_provider(&self, id: ProviderId) -> Option<ProviderView> {
        let provider = self.providers.get(&id)?;
        Some(self.provider_view(id, provider))
    }

    /// Every known provider, by id.
    #[must_use]
    pub fn view_providers(&self) -> Vec<ProviderView> {
        let providers = self.providers.iter();
        providers
            .map(|(id, p)| self.provider_view(*id, p))
            .collect()
    }

    /// A client's free money.
    #[must_use]
    pub fn view_client(&self, id: ClientId) -> Amount {
        self.amount(Account::Client(id))
    }

    /// Jobs not yet ended.
    #[must_use]
    pub fn open_jobs(&self) -> usize {
        self.open.len()
    }

    /// What stands where.
    #[must_use]
    pub fn view_balances(&self) -> Balances {
        let mut balances = Balances {
            clients: BTreeMap::new(),
            providers: BTreeMap::new(),
            stakes: BTreeMap::new(),
            escrow: Amount::ZERO,
            reserved: Amount::ZERO,
            fee: self.amount(Account::Fee),
            slashed: self.amount(Account::Slashed),
            journal_head: self.ledger.head(),
        };
        for (account, balance) in self.ledger.balances() {
            let posted = balance.posted().unwrap_or_default();
            match *account {
                Account::Client(id) => {
                    balances.clients.insert(id, posted);
                }
                Account::Provider(id) => {
                    balances.providers.insert(id, posted);
                }
                Account::Stake(id) => {
                    balances.stakes.insert(id, posted);
                }
                Account::Escrow(_) => {
                    let escrow = balances.escrow.checked_add(posted);
                    let reserved = balances.reserved.checked_add(balance.debits_pending);
                    balances.escrow = escrow.unwrap_or_default();
                    balances.reserved = reserved.unwrap_or_default();
                }
                Account::Outside | Account::Fee | Account::Slashed | Account::Rewards => {}
            }
        }
        balances
    }

    /// The data of a job's record, once every shard is accepted.
    #[must_use]
    pub fn record_parts(&self, id: JobId) -> Option<RecordParts> {
        let job = self.jobs.get(&id)?;
        let end = match &job.phase {
            Phase::Preparing | Phase::Running | Phase::Ending(_) => return None,
            Phase::Merging | Phase::Provisional { .. } => None,
            Phase::Ended(end) => Some(end.clone()),
        };
        let shards = job.shards.iter().zip(0..);
        Some(RecordParts {
            client: job.client,
            escrowed: job.quote.escrow,
            paid: job.paid.iter().map(|(id, sum)| (*id, *sum)).collect(),
            fee: job.fee,
            fee_bps: job.quote.fee_bps,
            shards: shards
                .filter_map(|(s, index)| shard_parts(s, index))
                .collect(),
            end,
            draw: self.draw_record(job),
        })
    }

    fn job_view(&self, job: &Job) -> JobView {
        let (outcome, ended, returned) = match &job.phase {
            Phase::Ended(end) => (Some(end.outcome.clone()), Some(end.at), end.returned),
            _ => (None, None, Amount::ZERO),
        };
        let replicas = || job.shards.iter().flat_map(|shard| &shard.replicas);
        let dissenting = replicas().filter(|replica| lost(replica));
        JobView {
            id: job.id,
            client: job.client,
            status: status_of(job),
            outcome,
            recorded: job.recorded,
            ended,
            admitted: job.admitted,
            deadline: job.deadline,
            quote: job.quote,
            shards: job.shards.iter().zip(0..).map(shard_view).collect(),
            accepted: job.accepted(),
            assignments: count(replicas().count()),
            dissenting: count(dissenting.count()),
            paid: total(&job.paid),
            fee: job.fee,
            returned,
            escrow: self.amount(Account::Escrow(job.id)),
        }
    }

    fn provider_view(&self, id: ProviderId, provider: &Provider) -> ProviderView {
        ProviderView {
            id,
            offer: provider.offer.clone(),
            prefix: provider.prefix,
            online: provider.online,
            score: provider.score.points(self.now),
            demoted: !provider.score.is_eligible(self.now),
            banned: provider.banned,
            busy: provider.busy,
            tally: provider.tally,
            earned: self.amount(Account::Provider(id)),
            stake: self.amount(Account::Stake(id)),
            game: provider.game,
            audits: self.audit_standing(id),
        }
    }

    fn amount(&self, account: Account) -> Amount {
        self.ledger.balance(&account).posted().unwrap_or_default()
    }
}

fn shard_view((shard, index): (&Shard, u32)) -> ShardView {
    let replicas = shard.replicas.iter().map(|replica| ReplicaView {
        assignment: replica.assignment,
        provider: replica.provider,
        check: replica.check,
        state: replica.state.clone(),
        times: replica.times,
    });
    ShardView {
        index,
        first_item: shard.first_item,
        items: shard.items,
        accepted: shard.accepted.is_some(),
        replicas: replicas.collect(),
    }
}

fn shard_parts(shard: &Shard, index: u32) -> Option<ShardParts> {
    let accepted = shard.accepted.as_ref()?;
    let canonical = shard.replicas.get(accepted.canonical as usize);
    // A check that was accepted in place of what it checked is an answer.
    let answers = |at: &u32, replica: &Replica| !replica.check || *at == accepted.canonical;
    let (replicas, checks): (Vec<_>, Vec<_>) = (0..)
        .zip(&shard.replicas)
        .partition(|(at, replica)| answers(at, replica));
    let parts = |replicas: Vec<(u32, &Replica)>| {
        let parts = replicas
            .into_iter()
            .map(|(_, replica)| replica_parts(replica));
        parts.flatten().collect::<Vec<_>>()
    };
    let mut checks = parts(checks);
    // Whoever asks nothing has checked all the same.
    checks.retain(|check| check.agreed);
    Some(ShardParts {
        index,
        input: shard.input?,
        replicas: parts(replicas),
        checks,
        adopted: canonical.is_some_and(|replica| replica.check),
        canonical: accepted.outputs,
        canonical_root: accepted.root,
    })
}

fn replica_parts(replica: &Replica) -> Option<ReplicaParts> {
    let (agreed, paid) = match replica.state {
        ReplicaState::Settled { agreed, paid } => (agreed, paid),
        ReplicaState::Provisional => (true, Amount::ZERO),
        _ => return None,
    };
    Some(ReplicaParts {
        assignment: replica.assignment,
        provider: replica.provider,
        commitment: replica.commitment?,
        opening: replica.opening.as_deref()?.clone(),
        agreed,
        paid,
    })
}

const fn lost(replica: &Replica) -> bool {
    matches!(replica.state, ReplicaState::Settled { agreed: false, .. })
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
