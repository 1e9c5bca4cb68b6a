//! Bans that audits bring about, one in a step.
//!
//! A conviction may cost several their place: the one who answered, whoever vouched for it, and those whose own wrong
//! answers come to light by what that undoes. Each may hold thousands of assignments that end with it, and a step must
//! fit into one batch of the store. So a second ban waits for the next step, in which nothing happens before it.

use jobs::ids::ProviderId;
use jobs::money::Amount;
use ledger::{Account, Transfer, TransferId};
use policy::liquidation::split;
use serde::{Deserialize, Serialize};

use crate::core::action::Evidence;
use crate::core::replica::slash_id;
use crate::core::{Core, Effects};

/// A ban that waits for a step of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::core) struct Due {
    /// Why.
    evidence: Evidence,
    /// Who found it out.
    reporter: Option<ProviderId>,
}

impl Core {
    /// Bans a convict, in this step or the next, and rewards who found it out.
    pub(super) fn ban_convict(
        &mut self,
        id: ProviderId,
        evidence: Evidence,
        reporter: Option<ProviderId>,
        fx: &mut Effects,
    ) {
        if fx.banned {
            let due = Due { evidence, reporter };
            self.bans_due.entry(id).or_insert(due);
            fx.more = true;
            return;
        }
        let slashed = self.ban(id, evidence, fx);
        self.pay_bounty((id, evidence, reporter), slashed, fx);
    }

    /// Goes on with bans for which earlier steps had no room.
    pub(in crate::core) fn continue_bans(&mut self, fx: &mut Effects) {
        while let (false, Some((id, due))) = (fx.banned, self.bans_due.pop_first()) {
            self.ban_convict(id, due.evidence, due.reporter, fx);
        }
        fx.more |= !self.bans_due.is_empty();
    }

    /// Whether a ban waits for its step: the convict gets nothing any more.
    pub(in crate::core) fn is_convicted(&self, id: &ProviderId) -> bool {
        self.bans_due.contains_key(id)
    }

    /// Gives a part of a slashed stake to who found the cheat out, if that was not the operator's own referee.
    fn pay_bounty(
        &mut self,
        (provider, evidence, reporter): (ProviderId, Evidence, Option<ProviderId>),
        slashed: Amount,
        fx: &mut Effects,
    ) {
        let reporter = reporter.filter(|id| !self.config.referees.contains(id));
        let Some(reporter) = reporter else {
            return;
        };
        let bounty = split(&self.config.audit, slashed.0, true).bounty;
        if bounty == 0 {
            return;
        }
        let id = slash_id(provider, evidence);
        let post = Transfer::Post {
            id: TransferId::derive(&[b"bounty".as_slice(), id.0.as_bytes()]),
            from: Account::Slashed,
            to: Account::Provider(reporter),
            amount: Amount(bounty),
        };
        self.transfer(&[post], fx);
    }
}
