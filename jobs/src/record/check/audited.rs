//! The executions that checked a shard's answers.

use super::{Check, all, piece};
use crate::assignment::Assignment;
use crate::compare::compare;
use crate::digest::BlobRef;
use crate::plan::ShardSpan;
use crate::policy::Policy;
use crate::record::{RecordError, ShardRecord};
use crate::{items, output};

impl Check<'_> {
    /// Checks what was paid for checking, and compares it with the canonical outputs.
    pub(super) fn check_checks(
        &mut self,
        shard: &ShardRecord,
        span: ShardSpan,
        canonical: &[u8],
    ) -> Result<(), RecordError> {
        let at = format!("shard {}", span.index);
        let audited = matches!(self.job.package.policy, Policy::Audit { .. });
        all(
            &at,
            &[
                (
                    audited || shard.checks.is_empty(),
                    "somebody was paid for checking, in a job whose answers are not audited",
                ),
                (
                    audited || !shard.adopted,
                    "a check found its answer, in a job whose answers are not audited",
                ),
            ],
        )?;
        let canonical = items::decode(canonical).map_err(piece(&at))?;
        for (replica, index) in shard.checks.iter().zip(0_usize..) {
            let at = format!("shard {}, check {index}", span.index);
            let answer = self.check_replica(shard, span, replica, &at)?;
            let assignment = &answer.receipt.assignment;
            self.check_sample(shard, assignment, &at)?;
            let package = &self.job.package;
            let found = output::decode(package, assignment.items, &answer.outputs);
            let found = found.map_err(piece(&at))?;
            let answered: Vec<&[u8]> = match assignment.sample.as_slice() {
                [] => canonical.clone(),
                sample => {
                    let item = |position: &u32| canonical.get(*position as usize).copied();
                    sample.iter().filter_map(item).collect()
                }
            };
            let agrees = compare(&package.comparator, &answered, &found).is_ok();
            self.checks = self.checks.saturating_add(1);
            self.contradicted = self.contradicted.saturating_add(u32::from(!agrees));
        }
        Ok(())
    }

    /// If the shard's items are at hand, checks that what was executed of them are those that the assignment names.
    fn check_sample(
        &self,
        shard: &ShardRecord,
        assignment: &Assignment,
        at: &str,
    ) -> Result<(), RecordError> {
        let whole = match assignment.sample.as_slice() {
            [] => return Ok(()),
            _ => self.fetch(&shard.input)?,
        };
        let Some(whole) = whole else {
            return Ok(());
        };
        let all_items = items::decode(&whole).map_err(piece(at))?;
        let drawn = assignment.sample.iter();
        let drawn = drawn.filter_map(|position| all_items.get(*position as usize));
        let encoded = items::encode(&drawn.collect::<Vec<_>>()).map_err(piece(at))?;
        all(
            at,
            &[(
                BlobRef::of(&encoded) == assignment.input,
                "its input is not the items of the shard that it names",
            )],
        )
    }
}
