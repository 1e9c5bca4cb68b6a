//! Scenario tables, random histories, and stored ledgers that someone tampered with.

mod random;
mod scenarios;
mod stored;

use jobs::digest::Digest;
use jobs::ids::{ClientId, JobId, ProviderId};
use jobs::money::Amount;

use crate::{Account, Transfer, TransferId};

/// The account that a short name stands for: `client:a`, `escrow:j`, `outside`, …
fn account(name: &str) -> Account {
    let (kind, id) = name.split_once(':').unwrap_or((name, ""));
    let digest = Digest::of(id.as_bytes());
    match kind {
        "outside" => Account::Outside,
        "client" => Account::Client(ClientId(digest)),
        "escrow" => Account::Escrow(JobId(digest)),
        "provider" => Account::Provider(ProviderId(*digest.as_bytes())),
        "stake" => Account::Stake(ProviderId(*digest.as_bytes())),
        "fee" => Account::Fee,
        "slashed" => Account::Slashed,
        "rewards" => Account::Rewards,
        _ => panic!("no such account: {name}"),
    }
}

fn id(name: &str) -> TransferId {
    TransferId::derive(&[name.as_bytes()])
}

/// The transfer that a line's words stand for: verb, id, then the verb's arguments.
fn transfer(words: &[&str]) -> Transfer {
    let amount = |word: &str| Amount(word.replace('_', "").parse().unwrap());
    match *words {
        ["post", name, from, to, sum] => Transfer::Post {
            id: id(name),
            from: account(from),
            to: account(to),
            amount: amount(sum),
        },
        ["pend", name, from, to, sum] => Transfer::Pend {
            id: id(name),
            from: account(from),
            to: account(to),
            amount: amount(sum),
        },
        ["post_pending", name, pending, sum] => Transfer::PostPending {
            id: id(name),
            pending: id(pending),
            amount: amount(sum),
        },
        ["void", name, pending] => Transfer::VoidPending {
            id: id(name),
            pending: id(pending),
        },
        ["expire", name, pending] => Transfer::Expire {
            id: id(name),
            pending: id(pending),
        },
        ["close", name, target] => Transfer::Close {
            id: id(name),
            account: account(target),
        },
        _ => panic!("no such line: {words:?}"),
    }
}

/// A whole small history: deposit, stake, a job with two replicas of which one is paid, fee, refund.
fn history() -> Vec<Transfer> {
    "
    post          deposit   outside     client:a    1_000
    post          seed      outside     provider:p    500
    post          stake     provider:p  stake:p       300
    post          fund      client:a    escrow:j      400
    pend          replica1  escrow:j    provider:p    150
    pend          replica2  escrow:j    provider:q    150
    post_pending  pay       replica1                  120
    void          unpaid    replica2
    post          fee       escrow:j    fee             2
    post          refund    escrow:j    client:a      278
    close         done      escrow:j
    post          next      client:a    escrow:k      100
    pend          held      escrow:k    provider:q     60
    "
    .lines()
    .map(|line| line.split_whitespace().collect::<Vec<_>>())
    .filter(|words| !words.is_empty())
    .map(|words| transfer(&words))
    .collect()
}
