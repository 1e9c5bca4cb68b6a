//! Whole stories as tables. A line is a transfer and, after `=>`, what comes of it: `ok`, `again` or a
//! rejection's code; or `balance`, an account and its four sums (debits, credits, debits pending,
//! credits pending); or lines between `all` and `end => …`, which are applied together.

use super::{account, transfer};
use crate::{Applied, Ledger, LedgerError, Transfer};

/// Plays a table and compares every line; checks the invariants after each.
fn check(table: &str) {
    let mut ledger = Ledger::new();
    let mut group: Option<Vec<Transfer>> = None;
    for line in table.lines().filter(|line| !line.trim().is_empty()) {
        let (left, expected) = line.split_once("=>").unwrap_or((line, ""));
        let words: Vec<&str> = left.split_whitespace().collect();
        match (words.as_slice(), &mut group) {
            (["balance", name, sums @ ..], _) => {
                let balance = ledger.balance(&account(name));
                let stored = [
                    balance.debits_posted,
                    balance.credits_posted,
                    balance.debits_pending,
                    balance.credits_pending,
                ];
                let stored = stored.map(|sum| sum.0.to_string());
                assert_eq!(stored.as_slice(), sums, "{line}");
            }
            (["all"], _) => group = Some(Vec::new()),
            (["end"], members) => {
                let before = ledger.clone();
                let members = members.take().unwrap();
                let outcome = match ledger.apply_all(&members) {
                    Ok(entries) => format!("ok {}", entries.len()),
                    Err(error) => {
                        assert_eq!(ledger, before, "a refused group changed something");
                        refusal(&error)
                    }
                };
                assert_eq!(outcome, expected.trim(), "{line}");
            }
            (words, Some(members)) => members.push(transfer(words)),
            (words, None) => {
                let outcome = apply(&mut ledger, transfer(words));
                assert_eq!(outcome, expected.trim(), "{line}");
            }
        }
        ledger.check().unwrap();
    }
    assert_eq!(group, None, "a group was not ended");
}

fn apply(ledger: &mut Ledger, transfer: Transfer) -> String {
    let before = ledger.clone();
    match ledger.apply(transfer) {
        Ok(Applied::Entry(_)) => "ok".into(),
        Ok(Applied::AlreadyExists { .. }) => {
            assert_eq!(*ledger, before, "a retry changed something");
            "again".into()
        }
        Err(error) => {
            assert_eq!(*ledger, before, "a refused transfer changed something");
            let reason = error.rejection().unwrap();
            match reason {
                crate::Rejection::Exists { field } => format!("{} {field}", reason.code()),
                _ => reason.code().into(),
            }
        }
    }
}

fn refusal(error: &LedgerError) -> String {
    let LedgerError::Rejected { index, reason, .. } = error else {
        panic!("{error}");
    };
    format!("{} at {index}", reason.code())
}

#[test]
fn a_job_is_funded_paid_and_refunded() {
    check(
        "
        post          deposit  outside   client:a    1000  => ok
        balance       outside     1000     0     0     0
        balance       client:a       0  1000     0     0
        post          fund     client:a  escrow:j     400  => ok
        pend          r1       escrow:j  provider:p   150  => ok
        pend          r2       escrow:j  provider:q   150  => ok
        balance       escrow:j       0   400   300     0
        balance       provider:p     0     0     0   150
        post_pending  pay      r1                     120  => ok
        balance       escrow:j     120   400   150     0
        balance       provider:p     0   120     0     0
        void          unpaid   r2                          => ok
        balance       escrow:j     120   400     0     0
        balance       provider:q     0     0     0     0
        post          refund   escrow:j  client:a     280  => ok
        close         done     escrow:j                    => ok
        balance       client:a     400  1280     0     0
        ",
    );
}

#[test]
fn only_outside_stands_below_zero() {
    check(
        "
        post  t1  client:a    provider:p    1  => insufficient_funds
        pend  t1  escrow:j    provider:p    1  => insufficient_funds
        post  t1  fee         outside       1  => insufficient_funds
        pend  t1  outside     client:a     10  => ok
        post  t2  client:a    provider:p    1  => insufficient_funds
        post_pending  t3  t1                7  => ok
        post  t4  client:a    provider:p    8  => insufficient_funds
        post  t4  client:a    provider:p    7  => ok
        post  t5  provider:p  outside       7  => ok
        balance   outside     7   7   0   0
        ",
    );
}

#[test]
fn reserved_money_cannot_be_spent_twice() {
    check(
        "
        post  d   outside   escrow:j    100  => ok
        pend  p1  escrow:j  provider:p   60  => ok
        pend  p2  escrow:j  provider:q   60  => insufficient_funds
        post  t   escrow:j  client:a     41  => insufficient_funds
        post  t   escrow:j  client:a     40  => ok
        pend  p2  escrow:j  provider:q    1  => insufficient_funds
        expire e  p1                         => ok
        pend  p2  escrow:j  provider:q   60  => ok
        ",
    );
}

#[test]
fn a_reservation_resolves_exactly_once() {
    check(
        "
        post  d   outside   escrow:j    100  => ok
        pend  p1  escrow:j  provider:p   10  => ok
        pend  p2  escrow:j  provider:p   10  => ok
        pend  p3  escrow:j  provider:p   10  => ok
        post_pending  a  p1  11              => exceeds_reserved
        post_pending  a  p1   0              => zero_amount
        post_pending  a  p1  10              => ok
        post_pending  b  p1  10              => pending_already_posted
        void          b  p1                  => pending_already_posted
        expire        b  p1                  => pending_already_posted
        void          c  p2                  => ok
        post_pending  b  p2   1              => pending_already_voided
        void          b  p2                  => pending_already_voided
        expire        d3 p3                  => ok
        post_pending  b  p3   1              => pending_already_expired
        expire        b  p3                  => pending_already_expired
        void          b  p9                  => pending_not_found
        void          b  d                   => not_pending
        post_pending  b  a    1              => not_pending
        balance  escrow:j    10  100  0  0
        balance  provider:p   0   10  0  0
        ",
    );
}

#[test]
fn the_same_transfer_again_is_a_retry_and_another_under_its_id_is_refused() {
    check(
        "
        post  d  outside   client:a  100  => ok
        post  d  outside   client:a  100  => again
        post  d  outside   client:a  101  => exists_with_different_field amount
        post  d  outside   client:b  100  => exists_with_different_field to
        post  d  fee       client:a  100  => exists_with_different_field from
        pend  d  outside   client:a  100  => exists_with_different_field kind
        pend  p  client:a  escrow:j   50  => ok
        post_pending  x  p  20            => ok
        post_pending  x  p  20            => again
        post_pending  x  p  21            => exists_with_different_field amount
        post_pending  x  q  20            => exists_with_different_field pending
        pend  p  client:a  escrow:j   50  => again
        balance  client:a  20  100  0  0
        ",
    );
}

#[test]
fn shapeless_transfers_are_refused() {
    check(
        "
        post  t  outside   client:a  0                              => zero_amount
        pend  t  outside   client:a  0                              => zero_amount
        post  t  client:a  client:a  1                              => same_account
        post  t  outside   outside   1                              => same_account
        post  t  outside   client:a  1_000_000_000_000_000_000_000  => ok
        post  u  outside   client:a  1_000_000_000_000_000_000_001  => amount_too_large
        pend  u  outside   client:a  1_000_000_000_000_000_000_001  => amount_too_large
        close u  client:a                                           => not_closable
        close u  outside                                            => not_closable
        ",
    );
}

#[test]
fn a_closed_escrow_is_never_touched_again() {
    check(
        "
        post   d   outside   escrow:j    10  => ok
        close  c   escrow:j                  => not_settled
        pend   p   escrow:j  provider:p  10  => ok
        close  c   escrow:j                  => not_settled
        post_pending  x  p               10  => ok
        close  c   escrow:j                  => ok
        close  c   escrow:j                  => again
        close  c2  escrow:j                  => account_closed
        post   e   outside   escrow:j     1  => account_closed
        pend   e   outside   escrow:j     1  => account_closed
        post   e   escrow:j  client:a     1  => account_closed
        close  n   escrow:never              => ok
        ",
    );
}

#[test]
fn a_group_is_applied_whole_or_not_at_all() {
    check(
        "
        all
        post  d   outside   client:a  100
        post  f   client:a  escrow:j   60
        pend  p   escrow:j  provider:p 60
        post_pending  x  p  60
        end => ok 4
        all
        post  g   client:a  escrow:j   40
        post  h   client:a  escrow:j    1
        end => insufficient_funds at 1
        balance  client:a  60  100  0  0
        all
        post  g   client:a  escrow:j   40
        post  g   client:a  escrow:j   40
        post  d   outside   client:a  100
        end => ok 1
        all
        end => ok 0
        all
        pend  q   escrow:j  provider:p 40
        void  v   q
        void  w   q
        end => pending_already_voided at 2
        balance  escrow:j  60  100  0  0
        ",
    );
}

#[test]
fn stake_is_locked_slashed_and_returned() {
    check(
        "
        post  d  outside     provider:p  100  => ok
        post  s  provider:p  stake:p      80  => ok
        post  w  provider:p  outside      21  => insufficient_funds
        post  x  stake:p     slashed      30  => ok
        post  y  stake:p     slashed      51  => insufficient_funds
        post  r  stake:p     provider:p   50  => ok
        post  w  provider:p  outside      70  => ok
        balance  slashed  0  30  0  0
        balance  outside  100  70  0  0
        ",
    );
}
