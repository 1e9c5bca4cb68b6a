//! The offline check of a record.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    JobRecord, ProviderReport, RecordError, RecordReport, ReplicaRecord, Settlement, ShardRecord,
    shards_digest,
};
use crate::Error;
use crate::compare::compare;
use crate::digest::{BlobHasher, BlobRef, Digest};
use crate::envelope::VerifiedPackage;
use crate::ids::{AggregatorId, ProviderId};
use crate::money::{self, Amount, BPS_PER_WHOLE};
use crate::outcome::Meters;
use crate::output::Merger;
use crate::plan::{self, ShardSpan};
use crate::policy::Policy;
use crate::receipt::Receipt;
use crate::verdict::{Verdict, judge, meters_agree};
use crate::{items, merkle, output};

mod audited;
mod opened;

/// What is known so far.
pub(super) struct Check<'a> {
    record: &'a JobRecord,
    blob: &'a dyn Fn(&BlobRef) -> Option<Vec<u8>>,
    job: VerifiedPackage,
    settlement: Settlement,
    aggregator: AggregatorId,
    totals: BTreeMap<ProviderId, ProviderReport>,
    fee: Amount,
    checks: u32,
    contradicted: u32,
}

/// A replica whose signatures hold, with its outputs.
struct Answer {
    receipt: Receipt,
    outputs: Vec<u8>,
}

fn invalid(at: impl Into<String>, reason: impl Into<String>) -> RecordError {
    RecordError::Invalid {
        at: at.into(),
        reason: reason.into(),
    }
}

fn piece(at: impl Into<String>) -> impl FnOnce(Error) -> RecordError {
    let at = at.into();
    move |source| RecordError::Piece { at, source }
}

fn count<T>(things: impl Iterator<Item = T>) -> u32 {
    u32::try_from(things.count()).unwrap_or(u32::MAX)
}

/// Turns a list of facts into the first one that does not hold.
fn all(at: &str, facts: &[(bool, &str)]) -> Result<(), RecordError> {
    match facts.iter().find(|(holds, _)| !holds) {
        Some((_, reason)) => Err(invalid(at, *reason)),
        None => Ok(()),
    }
}

impl<'a> Check<'a> {
    /// Checks the two signatures that frame the record.
    pub(super) fn new(
        record: &'a JobRecord,
        blob: &'a dyn Fn(&BlobRef) -> Option<Vec<u8>>,
    ) -> Result<Self, RecordError> {
        let job = record.package.verify().map_err(piece("package"))?;
        let settlement = record.settlement.verify().map_err(piece("settlement"))?;
        Ok(Self {
            record,
            blob,
            job,
            aggregator: settlement.signer,
            settlement: settlement.statement,
            totals: BTreeMap::new(),
            fee: Amount::ZERO,
            checks: 0,
            contradicted: 0,
        })
    }

    pub(super) fn run(mut self) -> Result<RecordReport, RecordError> {
        let shards = &self.record.shards;
        let digest = shards_digest(shards).map_err(piece("shards"))?;
        let package = &self.job.package;
        let expected = plan::shard_count(package.input.items, package.items_per_shard);
        let draw = &self.settlement.draw;
        all(
            "settlement",
            &[
                (self.settlement.job == self.job.id, "it is of another job"),
                (
                    self.settlement.client == self.job.client,
                    "another client paid than signed",
                ),
                (
                    self.settlement.shards == digest,
                    "it does not cover these shard records",
                ),
                (
                    shards.len() == expected as usize,
                    "the record has not every shard of the plan",
                ),
                (
                    draw.client.is_none_or(|share| share.opens(&package.nonce)),
                    "the client's share is not what the package's nonce promises",
                ),
                (
                    draw.client.is_some() || !draw.by_both,
                    "a share that it does not show cannot have decided who executes",
                ),
                (
                    draw.floor.is_some() == matches!(package.policy, Policy::Audit { .. }),
                    "it states rates of audits if, and only if, answers are audited",
                ),
            ],
        )?;
        let input_checked = self.check_input()?;
        let plan = plan::plan(package.input.items, package.items_per_shard);
        // Merged again shard by shard, so that no more than one shard's outputs are in memory.
        let (format, count) = (package.output.clone(), package.input.items);
        let (mut merger, head) = Merger::begin(&format, count).map_err(piece("result"))?;
        let mut hasher = BlobHasher::default();
        hasher.update(&head);
        for (shard, span) in shards.iter().zip(plan) {
            let canonical = self.check_shard(shard, span)?;
            let outputs = items::decode(&canonical).map_err(piece("result"))?;
            let mut merged = Vec::new();
            let added = merger.add(&outputs, &mut merged);
            added.map_err(piece("result"))?;
            hasher.update(&merged);
        }
        merger.finish().map_err(piece("result"))?;
        self.check_result(hasher.finish())?;
        self.check_payments(input_checked)
    }

    /// Fetches a blob and hashes it.
    fn fetch(&self, reference: &BlobRef) -> Result<Option<Vec<u8>>, RecordError> {
        let Some(bytes) = (self.blob)(reference) else {
            return Ok(None);
        };
        if BlobRef::of(&bytes) == *reference {
            return Ok(Some(bytes));
        }
        let reason = format!("the blob's bytes are {}, not it", Digest::of(&bytes));
        Err(invalid(format!("blob {}", reference.digest), reason))
    }

    /// If the input is at hand, checks that each shard's input is its run of items.
    fn check_input(&self) -> Result<bool, RecordError> {
        let package = &self.job.package;
        let Some(bytes) = self.fetch(&package.input.blob)? else {
            return Ok(false);
        };
        let all_items = items::decode(&bytes).map_err(piece("input"))?;
        all(
            "input",
            &[
                (
                    all_items.len() == package.input.items as usize,
                    "it has another number of items than the package says",
                ),
                (
                    merkle::root(&all_items) == package.input.root,
                    "its items have another root than the package says",
                ),
            ],
        )?;
        let runs = all_items.chunks(package.items_per_shard.max(1) as usize);
        for (shard, run) in self.record.shards.iter().zip(runs) {
            let at = format!("shard {}", shard.index);
            let encoded = items::encode(run).map_err(piece(&at))?;
            if BlobRef::of(&encoded) != shard.input {
                return Err(invalid(at, "its input is not its run of the job's items"));
            }
        }
        Ok(true)
    }

    /// Checks one shard and returns its canonical outputs.
    fn check_shard(
        &mut self,
        shard: &ShardRecord,
        span: ShardSpan,
    ) -> Result<Vec<u8>, RecordError> {
        let at = format!("shard {}", span.index);
        let replication = self.job.package.replication;
        let providers: BTreeSet<_> = shard.replicas.iter().map(|r| r.provider).collect();
        all(
            &at,
            &[
                (
                    shard.index == span.index,
                    "it is not at its place in the plan",
                ),
                (
                    shard.replicas.len() <= usize::from(replication.max_replicas),
                    "it has more replicas than the package allows",
                ),
                (
                    providers
                        .iter()
                        .all(|id| self.job.package.policy.allows(*id)),
                    "somebody executed it whom the package does not name",
                ),
                (
                    providers.len() == shard.replicas.len(),
                    "one provider executed it twice",
                ),
            ],
        )?;
        let mut answers = Vec::with_capacity(shard.replicas.len());
        for (replica, index) in shard.replicas.iter().zip(0_usize..) {
            let at = format!("shard {}, replica {index}", span.index);
            let answer = self.check_replica(shard, span, replica, &at)?;
            let whole = answer.receipt.assignment.sample.is_empty();
            all(&at, &[(whole, "it answers a part of the shard")])?;
            answers.push(answer);
        }
        self.check_verdict(shard, span, &answers, &at)?;
        self.add_fee(shard, &at)?;
        let canonical = self.pick_canonical(shard, answers, &at)?;
        self.check_checks(shard, span, &canonical)?;
        Ok(canonical)
    }

    /// Checks one replica's signatures and its outputs.
    fn check_replica(
        &mut self,
        shard: &ShardRecord,
        span: ShardSpan,
        replica: &ReplicaRecord,
        at: &str,
    ) -> Result<Answer, RecordError> {
        let commitment = replica.commitment.verify().map_err(piece(at))?;
        let receipt = replica
            .receipt
            .verify(replica.provider)
            .map_err(piece(at))?;
        let receipt = receipt.statement;
        let outcome = &receipt.opening.outcome;
        all(
            at,
            &[
                (
                    commitment.signer == replica.provider,
                    "its commitment is signed by another provider",
                ),
                (
                    receipt.commitment == commitment.statement,
                    "its receipt repeats another commitment",
                ),
                (
                    receipt.package == self.job.package,
                    "its receipt is about another package",
                ),
                (
                    receipt.assignment.id == replica.assignment,
                    "its receipt is about another assignment",
                ),
                (
                    receipt.assignment.shard == span.index,
                    "its receipt is about another shard",
                ),
                (
                    receipt.assignment.input == shard.input
                        || !receipt.assignment.sample.is_empty(),
                    "its receipt is about another input",
                ),
                (
                    receipt.assignment.aggregator == self.aggregator,
                    "its receipt is for another aggregator",
                ),
                (
                    replica.agreed || replica.paid.is_zero(),
                    "it did not agree and was paid",
                ),
                (
                    replica.paid <= receipt.assignment.reward_max,
                    "it was paid more than its assignment offered",
                ),
            ],
        )?;
        let outputs = self.fetch(&outcome.outputs)?;
        let outputs = outputs.ok_or_else(|| RecordError::Missing {
            what: format!("outputs of {at}"),
            blob: outcome.outputs,
        })?;
        let items = receipt.assignment.items;
        let decoded = output::decode(&self.job.package, items, &outputs).map_err(piece(at))?;
        if merkle::root(&decoded) != outcome.root {
            return Err(invalid(at, "its outputs have another root than revealed"));
        }
        self.count(replica, outcome.meters, at)?;
        Ok(Answer { receipt, outputs })
    }

    /// Adds the fee on what a shard's replicas were paid.
    fn add_fee(&mut self, shard: &ShardRecord, at: &str) -> Result<(), RecordError> {
        let overflow = || invalid(at, "amounts overflow");
        let executed = shard.replicas.iter().chain(&shard.checks);
        let mut paid = executed.map(|replica| replica.paid);
        let paid = paid
            .try_fold(Amount::ZERO, Amount::checked_add)
            .ok_or_else(overflow)?;
        let fee = money::fee(paid, self.settlement.fee_bps);
        self.fee = self.fee.checked_add(fee).ok_or_else(overflow)?;
        Ok(())
    }

    /// Adds a replica to the totals.
    fn count(
        &mut self,
        replica: &ReplicaRecord,
        meters: Meters,
        at: &str,
    ) -> Result<(), RecordError> {
        let overflow = || invalid(at, "amounts overflow");
        let total = self
            .totals
            .entry(replica.provider)
            .or_insert(ProviderReport {
                provider: replica.provider,
                replicas: 0,
                agreed: 0,
                paid: Amount::ZERO,
                meters: Meters::default(),
            });
        if replica.agreed {
            total.meters = total.meters.plus(meters);
        }
        total.replicas = total.replicas.saturating_add(1);
        total.agreed = total.agreed.saturating_add(u32::from(replica.agreed));
        total.paid = total.paid.checked_add(replica.paid).ok_or_else(overflow)?;
        Ok(())
    }

    /// Runs the comparator over all pairs, compares their meters, and judges again.
    fn check_verdict(
        &self,
        shard: &ShardRecord,
        span: ShardSpan,
        answers: &[Answer],
        at: &str,
    ) -> Result<(), RecordError> {
        let package = &self.job.package;
        let decoded = answers
            .iter()
            .map(|answer| output::decode(package, span.items, &answer.outputs))
            .collect::<Result<Vec<_>, _>>()
            .map_err(piece(at))?;
        let outcome = |i: usize| answers.get(i).map(|a| &a.receipt.opening.outcome);
        let same_meters = |i, j| match (outcome(i), outcome(j)) {
            (Some(left), Some(right)) => meters_agree(left, right),
            _ => false,
        };
        let agree = |i: usize, j: usize| match (decoded.get(i), decoded.get(j)) {
            (Some(left), Some(right)) => {
                same_meters(i, j) && compare(&package.comparator, left, right).is_ok()
            }
            _ => false,
        };
        let quorum = usize::from(package.replication.replicas);
        let recorded = shard.replicas.iter().zip(0_usize..);
        let recorded: Vec<usize> = recorded
            .filter(|(replica, _)| replica.agreed)
            .map(|(_, index)| index)
            .collect();
        if package.openings.is_some() {
            let refused = opened::refused(&recorded, quorum, outcome, agree);
            return refused.map_or(Ok(()), |reason| Err(invalid(at, reason)));
        }
        let Verdict::Accepted { agreeing } = judge(answers.len(), quorum, agree) else {
            let reason = format!("no {quorum} of its replicas agree without a rival set");
            return Err(invalid(at, reason));
        };
        if recorded == agreeing {
            return Ok(());
        }
        let reason = format!("replicas {agreeing:?} agree, the record says {recorded:?}");
        Err(invalid(at, reason))
    }

    /// The outputs of the agreeing replica with the lowest root.
    fn pick_canonical(
        &self,
        shard: &ShardRecord,
        answers: Vec<Answer>,
        at: &str,
    ) -> Result<Vec<u8>, RecordError> {
        let lowest = answers
            .into_iter()
            .zip(&shard.replicas)
            .filter(|(_, replica)| replica.agreed)
            .map(|(answer, _)| answer)
            .min_by_key(|answer| answer.receipt.opening.outcome.root);
        let lowest = lowest.ok_or_else(|| invalid(at, "no replica agreed"))?;
        let outcome = &lowest.receipt.opening.outcome;
        if (outcome.outputs, outcome.root) != (shard.canonical, shard.canonical_root) {
            let reason = "its canonical outputs are not those of the agreeing with the lowest root";
            return Err(invalid(at, reason));
        }
        Ok(lowest.outputs)
    }

    /// Holds what the canonical outputs are merged to against what was settled on.
    fn check_result(&self, result: BlobRef) -> Result<(), RecordError> {
        if result == self.settlement.result {
            return Ok(());
        }
        Err(invalid(
            "result",
            "it is not the canonical outputs merged in shard order",
        ))
    }

    /// Adds up the money.
    fn check_payments(self, input_checked: bool) -> Result<RecordReport, RecordError> {
        let at = "settlement";
        let settlement = &self.settlement;
        let providers: Vec<ProviderReport> = self.totals.values().copied().collect();
        let earned = providers.iter().filter(|total| !total.paid.is_zero());
        let earned: Vec<_> = earned.map(|total| (total.provider, total.paid)).collect();
        let stated = settlement.paid.iter().filter(|(_, paid)| !paid.is_zero());
        let stated: Vec<_> = stated.copied().collect();
        let paid = earned
            .iter()
            .try_fold(Amount::ZERO, |sum, (_, paid)| sum.checked_add(*paid));
        let spent = paid
            .and_then(|paid| paid.checked_add(settlement.fee))
            .and_then(|spent| spent.checked_add(settlement.returned));
        all(
            at,
            &[
                (
                    stated == earned,
                    "what it says providers got is not what their replicas were paid",
                ),
                (
                    settlement.fee_bps <= BPS_PER_WHOLE,
                    "its fee rate is more than a whole",
                ),
                (
                    settlement.fee == self.fee,
                    "its fee is not the sum of the fees on each shard",
                ),
                (
                    spent == Some(settlement.escrowed),
                    "payments, fee and what was returned do not add up to the escrow",
                ),
                (
                    settlement.escrowed <= self.job.package.max_price,
                    "more was put in escrow than the package allows",
                ),
            ],
        )?;
        let sum = |count: fn(&ProviderReport) -> u32| {
            providers.iter().map(count).fold(0, u32::saturating_add)
        };
        let (replicas, agreements) = (sum(|total| total.replicas), sum(|total| total.agreed));
        Ok(RecordReport {
            job: self.job.id,
            client: self.job.client,
            aggregator: self.aggregator,
            items: self.job.package.input.items,
            shards: count(self.record.shards.iter()),
            replicas,
            agreements,
            disagreements: replicas.saturating_sub(agreements),
            paid: paid.unwrap_or_default(),
            fee: settlement.fee,
            escrowed: settlement.escrowed,
            returned: settlement.returned,
            result: settlement.result,
            providers,
            input_checked,
            adopted: count(self.record.shards.iter().filter(|shard| shard.adopted)),
            draw: settlement.draw,
            checks: self.checks,
            contradicted: self.contradicted,
        })
    }
}
