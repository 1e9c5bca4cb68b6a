//! When an item is final, and what a failed audit undoes.
//!
//! Results are delivered at once, provisionally. An item is final, and its escrow released, when its provider
//! produced [`Params::window`] further items without a failed audit and no audit up to there is open, or by
//! the fast path of several diverse results ([`crate::credibility::fast_path`]). Items are numbered in order
//! of production, from 0, per provider.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::audit::{Rates, Risk, audit_rate};
use crate::error::Error;
use crate::params::Params;
use crate::rate::Ppb;

/// Audits of one provider that may be open at the same time; more work waits until some have ended.
pub const AUDITS_OPEN_MAX: usize = 4_096;

/// Where a provider stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Gets work.
    Active,
    /// Wants its stake back: no new work, and the items not yet final are sampled.
    Leaving,
    /// Has left; everything is final.
    Left,
    /// Failed; nothing more becomes final.
    Banned,
}

/// What a confirmed failure of an audit leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// The provider admits the wrong item: it pays the fine, the item is executed anew, the audit rate begins
    /// at all items again, and these items are recomputed at this rate before they can be final.
    Forgiven {
        /// Items not yet final.
        recheck: Range<u64>,
        /// The share of them that is recomputed.
        rate: Ppb,
    },
    /// Stake and reserved rewards are lost, and these items are executed anew.
    Banned {
        /// Items that are not final and never will be.
        invalid: Range<u64>,
    },
}

/// The items of one provider, as counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// Items produced.
    produced: u64,
    /// Of these, final: the first ones.
    finalised: u64,
    /// Checks passed since the beginning or the last failure.
    passed: u64,
    /// Failures forgiven so far.
    failures: u32,
    /// Items whose audit has no result yet.
    open: BTreeSet<u64>,
    standing: Standing,
}

impl Default for Provider {
    fn default() -> Self {
        Self {
            produced: 0,
            finalised: 0,
            passed: 0,
            failures: 0,
            open: BTreeSet::new(),
            standing: Standing::Active,
        }
    }
}

impl Provider {
    /// Items produced so far.
    #[must_use]
    pub const fn produced(&self) -> u64 {
        self.produced
    }

    /// How many of them are final: those with a lower number.
    #[must_use]
    pub const fn finalised(&self) -> u64 {
        self.finalised
    }

    /// Checks passed since the beginning or the last failure.
    #[must_use]
    pub const fn passed(&self) -> u64 {
        self.passed
    }

    /// Failures that were forgiven.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Where it stands.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Items that are not final.
    #[must_use]
    pub const fn provisional(&self) -> Range<u64> {
        self.finalised..self.produced
    }

    /// At which rates its next item is audited.
    #[must_use]
    pub fn rates(&self, params: &Params, risk: Risk) -> Rates {
        audit_rate(params, self.passed, risk)
    }

    /// `items` further items were committed. Returns those that became final.
    ///
    /// # Errors
    /// [`Error::Item`] if the provider gets no work.
    pub fn produce(&mut self, params: &Params, items: u64) -> Result<Range<u64>, Error> {
        if self.standing != Standing::Active {
            return Err(self.error("only an active provider produces", self.produced));
        }
        self.produced = self.produced.saturating_add(items);
        Ok(self.settle(params))
    }

    /// An item is to be audited; nothing from it on becomes final before the result.
    ///
    /// # Errors
    /// [`Error::Item`] for an item that is final or was not produced, [`Error::OpenAudits`] beyond
    /// [`AUDITS_OPEN_MAX`].
    pub fn audit(&mut self, item: u64) -> Result<(), Error> {
        if !self.provisional().contains(&item) {
            return Err(self.error("only a provisional item is audited", item));
        }
        if self.open.len() >= AUDITS_OPEN_MAX {
            return Err(Error::OpenAudits {
                open: self.open.len(),
                bound: AUDITS_OPEN_MAX,
            });
        }
        self.open.insert(item);
        Ok(())
    }

    /// The audit of an item found nothing. Returns what became final.
    ///
    /// # Errors
    /// [`Error::Item`] if no audit of it is open.
    pub fn pass(&mut self, params: &Params, item: u64) -> Result<Range<u64>, Error> {
        if !self.open.remove(&item) {
            return Err(self.error("no audit is open", item));
        }
        Ok(self.passed_many(params, 1))
    }

    /// What was open about an item is over, and counted elsewhere or not at all.
    pub fn close(&mut self, item: u64) {
        self.open.remove(&item);
    }

    /// `checks` audits that are not tracked one by one found nothing. Returns what became final.
    pub fn passed_many(&mut self, params: &Params, checks: u64) -> Range<u64> {
        self.passed = self.passed.saturating_add(checks);
        self.settle(params)
    }

    /// A failure of an audit of `item` is confirmed, and the provider `admits` it or stands by its answer.
    /// What was final stays final; the failure counts all the same.
    ///
    /// # Errors
    /// [`Error::Item`] if it never produced that item, or has left or been banned.
    pub fn fail(&mut self, params: &Params, item: u64, admits: bool) -> Result<Consequence, Error> {
        if item >= self.produced {
            return Err(self.error("only a produced item fails", item));
        }
        if matches!(self.standing, Standing::Left | Standing::Banned) {
            return Err(self.error("a provider that is gone cannot fail", item));
        }
        self.open.remove(&item);
        let forgiven = self.failures < params.forgiven;
        self.failures = self.failures.saturating_add(1);
        if admits && forgiven {
            self.passed = 0;
            return Ok(Consequence::Forgiven {
                recheck: self.provisional(),
                rate: params.recheck,
            });
        }
        self.standing = Standing::Banned;
        self.open.clear();
        let invalid = self.provisional();
        Ok(Consequence::Banned { invalid })
    }

    /// An item that this provider had passed as an auditor is proven wrong. Vouching is a failure like any
    /// other, but there is nothing to admit that was not known when the audit was done.
    ///
    /// # Errors
    /// [`Error::Item`] if it has left or been banned.
    pub fn vouched(&mut self) -> Result<Consequence, Error> {
        if matches!(self.standing, Standing::Left | Standing::Banned) {
            return Err(self.error("a provider that is gone cannot fail", self.produced));
        }
        self.standing = Standing::Banned;
        self.open.clear();
        Ok(Consequence::Banned {
            invalid: self.provisional(),
        })
    }

    /// A check of its did not find what it might have found: it is checked as a newcomer is.
    pub const fn doubted(&mut self) {
        self.passed = 0;
    }

    /// The provider wants to leave. Returns the items to sample, and the share of them.
    ///
    /// # Errors
    /// [`Error::Item`] if it is not active.
    pub fn leave(&mut self, params: &Params) -> Result<(Range<u64>, Ppb), Error> {
        if self.standing != Standing::Active {
            return Err(self.error("only an active provider leaves", self.produced));
        }
        self.standing = Standing::Leaving;
        Ok((self.provisional(), params.leave))
    }

    /// The sample of a leaving provider found nothing, and no audit is open: everything is final. Returns
    /// what became so.
    ///
    /// # Errors
    /// [`Error::Item`] if it is not leaving, or an audit is open.
    pub fn left(&mut self) -> Result<Range<u64>, Error> {
        let open = self.open.first().copied();
        if self.standing != Standing::Leaving || open.is_some() {
            let item = open.unwrap_or(self.produced);
            return Err(self.error("only who is leaving without open audits has left", item));
        }
        self.standing = Standing::Left;
        let last = self.provisional();
        self.finalised = self.produced;
        Ok(last)
    }

    /// Moves the boundary of what is final.
    fn settle(&mut self, params: &Params) -> Range<u64> {
        let until = self.produced.saturating_sub(params.window);
        let until = self.open.first().map_or(until, |first| until.min(*first));
        let from = self.finalised;
        if matches!(self.standing, Standing::Active | Standing::Leaving) {
            self.finalised = from.max(until);
        }
        from..self.finalised
    }

    const fn error(&self, what: &'static str, item: u64) -> Error {
        Error::Item {
            what,
            item,
            produced: self.produced,
        }
    }
}

/// An audit that was done: which item, by whom, with which result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// The item.
    pub item: u64,
    /// The auditor.
    pub auditor: [u8; 32],
    /// Whether it found nothing.
    pub passed: bool,
}

/// Who vouched for items that are proven wrong: each of them once, in order.
#[must_use]
pub fn vouchers(checked: &[Checked], wrong: &BTreeSet<u64>) -> BTreeSet<[u8; 32]> {
    let passed = checked
        .iter()
        .filter(|c| c.passed && wrong.contains(&c.item));
    passed.map(|c| c.auditor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> Params {
        Params {
            window: 10,
            ..Params::default()
        }
    }

    #[test]
    fn an_item_is_final_after_a_window_of_clean_items_and_not_before_open_audits() {
        let (params, mut provider) = (params(), Provider::default());
        assert_eq!(provider.produce(&params, 10), Ok(0..0));
        assert_eq!(provider.produce(&params, 3), Ok(0..3));
        provider.audit(5).unwrap();
        provider.audit(7).unwrap();
        assert_eq!(provider.produce(&params, 100), Ok(3..5), "held by item 5");
        assert_eq!(provider.pass(&params, 5), Ok(5..7), "held by item 7");
        assert_eq!(provider.pass(&params, 7), Ok(7..103));
        assert_eq!(provider.passed(), 2);
        assert_eq!(provider.provisional(), 103..113);
    }

    #[test]
    fn a_failure_that_is_admitted_is_forgiven_as_often_as_the_parameters_say() {
        for (forgiven, admits, banned_at) in
            [(0, true, 1), (1, true, 2), (3, true, 4), (3, false, 1)]
        {
            let params = Params {
                forgiven,
                ..params()
            };
            let mut provider = Provider::default();
            provider.produce(&params, 25).unwrap();
            provider.passed_many(&params, 9);
            for failure in 1..=banned_at {
                let consequence = provider.fail(&params, 20, admits).unwrap();
                let expected = if failure < banned_at {
                    assert_eq!(provider.passed(), 0, "audits begin at all items again");
                    let recheck = 15..25;
                    Consequence::Forgiven {
                        recheck,
                        rate: params.recheck,
                    }
                } else {
                    Consequence::Banned { invalid: 15..25 }
                };
                assert_eq!(consequence, expected, "{forgiven} {admits} {failure}");
            }
            assert_eq!(provider.standing(), Standing::Banned);
            assert_eq!(provider.finalised(), 15, "what was final stays final");
        }
    }

    #[test]
    fn who_is_banned_gets_no_work_and_nothing_of_it_becomes_final() {
        let (params, mut provider) = (params(), Provider::default());
        provider.produce(&params, 25).unwrap();
        assert_eq!(
            provider.vouched(),
            Ok(Consequence::Banned { invalid: 15..25 })
        );
        assert!(provider.produce(&params, 1).is_err());
        assert!(provider.leave(&params).is_err());
        assert!(provider.fail(&params, 20, true).is_err());
        assert!(provider.vouched().is_err());
        assert_eq!(provider.passed_many(&params, 100), 15..15);
    }

    #[test]
    fn leaving_samples_the_last_window_and_ends_with_everything_final() {
        let (params, mut provider) = (params(), Provider::default());
        provider.produce(&params, 25).unwrap();
        provider.audit(20).unwrap();
        assert_eq!(provider.leave(&params), Ok((15..25, params.leave)));
        assert!(provider.produce(&params, 1).is_err(), "no new work");
        assert!(provider.left().is_err(), "an audit is open");
        assert_eq!(
            provider.pass(&params, 20),
            Ok(15..15),
            "no clean items follow"
        );
        assert_eq!(provider.left(), Ok(15..25));
        assert_eq!(provider.standing(), Standing::Left);
        let mut other = Provider::default();
        other.produce(&params, 25).unwrap();
        other.leave(&params).unwrap();
        assert!(matches!(
            other.fail(&params, 20, false),
            Ok(Consequence::Banned { .. })
        ));
        assert!(
            other.left().is_err(),
            "a failure on the way out is a failure"
        );
    }

    #[test]
    fn only_items_that_can_be_are_audited_or_fail() {
        let (params, mut provider) = (params(), Provider::default());
        provider.produce(&params, 25).unwrap();
        for (item, fine) in [(14, false), (15, true), (24, true), (25, false)] {
            assert_eq!(provider.clone().audit(item).is_ok(), fine, "{item}");
        }
        assert!(provider.clone().fail(&params, 25, true).is_err());
        assert!(
            provider.clone().fail(&params, 3, true).is_ok(),
            "final, and wrong all the same"
        );
        assert!(
            provider.pass(&params, 15).is_err(),
            "no audit of it is open"
        );
        let mut busy = Provider::default();
        let (open, bound) = (AUDITS_OPEN_MAX, AUDITS_OPEN_MAX);
        let wide = Params {
            window: 1_000_000,
            ..params
        };
        busy.produce(&wide, 10_000).unwrap();
        (0..open as u64).for_each(|item| busy.audit(item).unwrap());
        assert_eq!(busy.audit(9_999), Err(Error::OpenAudits { open, bound }));
    }

    #[test]
    fn vouchers_are_those_who_passed_what_is_wrong() {
        let record = |item, auditor, passed| Checked {
            item,
            auditor: [auditor; 32],
            passed,
        };
        let checked = [
            record(1, 1, true),
            record(2, 2, true),
            record(2, 3, false),
            record(4, 2, true),
            record(4, 4, true),
        ];
        for (wrong, found) in [
            (vec![], vec![]),
            (vec![2], vec![2]),
            (vec![2, 4], vec![2, 4]),
        ] {
            let found: BTreeSet<[u8; 32]> = found.into_iter().map(|n: u8| [n; 32]).collect();
            assert_eq!(vouchers(&checked, &wrong.into_iter().collect()), found);
        }
    }
}
