//! Who said that a wrong answer is right.
//!
//! Whoever executed the whole shard and gave the very same wrong answer is as good as who gave it first. A sample
//! proves less: what a guest makes of a few items may differ from what it makes of all of them, so that somebody
//! honest found nothing. That costs reputation and whatever is not final is looked at again, but no stake.

use jobs::ids::{JobId, ProviderId};

use super::ruling::Case;
use crate::core::action::Evidence;
use crate::core::event::Finding;
use crate::core::reputation::Deed;
use crate::core::{Core, Effects};

impl Core {
    /// Somebody executed the whole shard and gave the answer that is proven wrong.
    pub(super) fn vouched(&mut self, id: ProviderId, evidence: Evidence, fx: &mut Effects) {
        let Some(known) = self.providers.get_mut(&id) else {
            return;
        };
        if known.answers.vouched().is_ok() {
            self.ban_convict(id, evidence, None, fx);
        }
    }

    /// Has samples that found nothing compared with what a referee found.
    pub(super) fn ask_about_vouchers(
        &mut self,
        id: JobId,
        index: u32,
        case: &Case,
        fx: &mut Effects,
    ) {
        let samples = case.samples.iter().filter_map(|check| check.replica);
        let pairs: Vec<(u32, u32)> = samples.map(|at| (case.judge, at)).collect();
        self.ask_to_compare(id, index, &pairs, fx);
    }

    /// Somebody's sample was compared with what a referee found in the same shard.
    pub(super) fn voucher_compared(
        &mut self,
        id: JobId,
        index: u32,
        pair: (u32, u32),
        finding: Finding,
        fx: &mut Effects,
    ) {
        let Some(shard) = self.shard(id, index) else {
            return;
        };
        let is_sample = |at: &u32| !shard.sample_of(*at).is_empty();
        let sample = [pair.0, pair.1].into_iter().find(is_sample);
        let replica = sample.and_then(|at| shard.replicas.get(at as usize));
        let Some(provider) = replica.map(|replica| replica.provider) else {
            return;
        };
        if finding != Finding::Differ || self.config.referees.contains(&provider) {
            return;
        }
        if let Some(known) = self.providers.get_mut(&provider) {
            known.answers.doubted();
        }
        self.record_deed(provider, Deed::Dissented, fx);
        self.check_again(provider, self.config.audit.recheck, fx);
    }
}
