//! Knows who lied, and looks at what the core decided: no wrong result is accepted, no honest provider
//! slashed, no acknowledgement forgotten, no money held when all is over.

use std::collections::BTreeSet;

use jobs::digest::Digest;
use jobs::ids::{JobId, ProviderId};
use ledger::TransferId;
use policy::params::RAMP_CHECKS_MAX;

use super::peer::{Peer, Vice, position};
use super::plan::{JobPlan, TOLERANCE, honest_fuel, honest_noted};
use crate::core::view::RecordParts;
use crate::core::{Comparison, Config, Core, Evidence, JobOutcome};

/// What it watches over in one seed.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// Whether wrong outputs or meters of two parties can be equal, so that a quorum may be wrong.
    collusion: bool,
    /// Jobs whose admission the client was told.
    pub(super) admitted: BTreeSet<JobId>,
    /// Deposits the operator was told are done.
    pub(super) deposited: BTreeSet<Digest>,
}

impl Oracle {
    pub(super) fn new(peers: &[Peer]) -> Self {
        // One party's many names may not vouch for one another.
        let apart = |one: &Peer, two: &Peer| {
            one.offer.operator() != two.offer.operator() && one.prefix != two.prefix
        };
        let two_of = |vice: Vice| {
            let of_it = || peers.iter().filter(|peer| peer.vice == vice);
            of_it().any(|one| of_it().any(|two| apart(one, two)))
        };
        let vices = [
            Vice::Collude,
            Vice::Lazy,
            Vice::Straddle,
            Vice::Understate,
            Vice::Overstate,
        ];
        Self {
            collusion: vices.into_iter().any(two_of),
            ..Self::default()
        }
    }

    /// A provider was banned.
    pub(super) fn banned(
        &self,
        peers: &[Peer],
        id: ProviderId,
        evidence: Evidence,
    ) -> Result<(), String> {
        let peer = peers.iter().find(|peer| peer.id() == id);
        let guilty = peer.is_some_and(|peer| match evidence {
            Evidence::AuditFailed { .. }
            | Evidence::Vouched { .. }
            | Evidence::Liquidated { .. } => peer.vice.answers_wrongly(),
            _ => peer.vice.is_provable(),
        });
        if guilty && evidence != Evidence::Operator {
            Ok(())
        } else {
            let vice = peer.map(|peer| peer.vice);
            Err(format!("{id} ({vice:?}) was banned for {evidence:?}"))
        }
    }

    /// A job ended.
    pub(super) fn finished(
        &self,
        core: &Core,
        plan: &JobPlan,
        outcome: &JobOutcome,
    ) -> Result<(), String> {
        if !matches!(outcome, JobOutcome::Done { .. }) {
            return Ok(());
        }
        let Some(parts) = core.record_parts(plan.id) else {
            return Err(format!("job {} is done and has no record", plan.id));
        };
        let shards = jobs::plan::shard_count(plan.spec.items, plan.spec.items_per_shard);
        if parts.shards.len() != shards as usize {
            return Err(format!("job {} is done with shards missing", plan.id));
        }
        let checked = match plan.spec.audit {
            Some(_) => audits_everything(core.config()),
            None => plan.spec.replicas >= 2,
        };
        if !checked {
            return Ok(());
        }
        nothing_made_up(plan, &parts)?;
        if self.collusion {
            return Ok(());
        }
        let judged = parts.shards.iter().flat_map(|shard| &shard.replicas);
        for replica in judged.filter(|replica| replica.agreed) {
            let at = position(&replica.opening.outcome.outputs);
            if !is_right(plan, at) {
                let provider = replica.provider;
                return Err(format!("a wrong result of {provider} was accepted: {at}"));
            }
            let fuel = replica.opening.outcome.meters.fuel;
            if !is_fair(fuel) {
                let provider = replica.provider;
                return Err(format!("a wrong meter of {provider} was accepted: {fuel}"));
            }
        }
        Ok(())
    }

    /// The aggregator is back: whatever it acknowledged must still be known.
    pub(super) fn remembered(&self, core: &Core) -> Result<(), String> {
        for job in &self.admitted {
            if core.view_job(*job).is_none() {
                return Err(format!("job {job} was acknowledged and is forgotten"));
            }
        }
        for id in &self.deposited {
            let transfer = TransferId::derive(&[b"move".as_slice(), id.as_bytes()]);
            if core.ledger().applied_transfer(&transfer).is_none() {
                return Err(format!("deposit {id} was acknowledged and is forgotten"));
            }
        }
        Ok(())
    }

    /// Faults have stopped long ago: every job has ended and nothing is held.
    pub(super) fn settled(&self, core: &Core) -> Result<(), String> {
        self.remembered(core)?;
        if core.open_jobs() > 0 {
            return Err(format!("{} jobs never ended", core.open_jobs()));
        }
        if core.open_cases() > 0 {
            return Err(format!("{} cases were never decided", core.open_cases()));
        }
        let balances = core.view_balances();
        let held = core.ledger().open_pendings().count();
        if held > 0 || !balances.escrow.is_zero() || !balances.reserved.is_zero() {
            let escrow = balances.escrow;
            return Err(format!("{held} reservations and {escrow} are still held"));
        }
        Ok(())
    }
}

/// Whether everyone who is held to be right has noted what only an execution gives. Nobody makes up what another does, so
/// this holds whoever colludes.
fn nothing_made_up(plan: &JobPlan, parts: &RecordParts) -> Result<(), String> {
    for shard in parts.shards.iter().filter(|_| plan.spec.openings) {
        let honest = honest_noted(plan.id, shard.index);
        for replica in shard.replicas.iter().filter(|replica| replica.agreed) {
            if replica.opening.outcome.noted != Some(honest) {
                let provider = replica.provider;
                return Err(format!("{provider} was paid for what it made up"));
            }
        }
    }
    Ok(())
}

/// Whether no provider ever comes to be checked less than always.
pub(super) fn audits_everything(config: &Config) -> bool {
    config.audit.ramp_checks == RAMP_CHECKS_MAX
}

/// Whether fuel is honest, or of another class than an honest replica's and within twice of it.
fn is_fair(fuel: u64) -> bool {
    let (least, most) = (honest_fuel(0, 0), honest_fuel(2, u32::from(u8::MAX)));
    (least / 2..=most.saturating_mul(2)).contains(&fuel)
}

/// Whether an output lies where an honest one, or one within tolerance of it, can lie.
fn is_right(plan: &JobPlan, at: i64) -> bool {
    match plan.spec.comparison {
        Comparison::Exact if plan.spec.models > 0 => [0, 1_000, 2_000].contains(&at),
        Comparison::Exact => at == 0,
        Comparison::Numeric => at.abs() <= plan.scatter.saturating_add(TOLERANCE),
    }
}
