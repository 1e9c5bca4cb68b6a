//! A client that doubts an answer: it may know some itself, and ask for what it does not get right to be looked at.

use jobs::ids::JobId;

use super::finality::is_provisional;
use crate::core::action::Reply;
use crate::core::event::{Chance, Code};
use crate::core::refusal::Refusal;
use crate::core::state::{By, Check, Shard};
use crate::core::{Core, Effects};

impl Core {
    /// Has the shard of an item executed again, by a referee where there is one. Asking twice asks once.
    pub(in crate::core) fn challenge(
        &mut self,
        id: JobId,
        chance: Chance,
        item: u32,
        fx: &mut Effects,
    ) -> Result<Reply, Refusal> {
        let job = self.jobs.get(&id).ok_or(Refusal::UnknownJob)?;
        let given = job.draw.client;
        if given != Some(chance) {
            return Err(Refusal::WrongShare);
        }
        if item >= job.spec.items {
            return Err(Refusal::OutOfBounds {
                field: Code::new("item"),
                value: u64::from(item),
                min: 0,
                max: u64::from(job.spec.items.saturating_sub(1)),
            });
        }
        let index = item.checked_div(job.spec.items_per_shard).unwrap_or(0);
        let shard = self.shard(id, index);
        let shard = shard.filter(|shard| is_provisional(shard));
        let shard = shard.ok_or(Refusal::NotProvisional { item })?;
        let by = match self.has_referee(job, shard) {
            true => By::Referee,
            false => By::Peer,
        };
        if !is_checked(shard, by) && !self.add_check(id, index, by, Vec::new(), fx) {
            return Err(Refusal::NothingLeft { item });
        }
        Ok(Reply::Challenged {
            job: id,
            shard: index,
        })
    }
}

/// Whether somebody of this kind executes the whole shard again, or did.
fn is_checked(shard: &Shard, by: By) -> bool {
    let checks = shard.audit.iter().flat_map(|audit| &audit.checks);
    let mut whole = checks.filter(|check: &&Check| check.is_whole());
    whole.any(|check| check.by == by)
}
