//! What an operator does: moves money in, bans, reads the journal.

use std::sync::Arc;

use api::backend::{Answer, Asked, Response};
use api::problem::Problem;
use api::types::{CollectionView, DepositReply, DepositRequest, JournalView, REFERENCE_MAX};
use jobs::digest::{Digest, Domain};
use jobs::ids::ProviderId;
use jobs::money::Amount;
use ledger::{Account, JournalEntry, Transfer};

use super::backend::{Driver, internal};
use super::error::Error;
use super::once::{self, Beginning};
use super::{Shared, collect};
use crate::core::{Event, Movement, Reply};

/// Moves money in.
pub(super) async fn deposit(
    shared: &Shared,
    asked: Asked,
    deposit: DepositRequest,
) -> Answer<Response> {
    let begun = match once::begin(shared, asked, once::OPERATOR).await? {
        Beginning::Known(response) => return Ok(response),
        Beginning::New(begun) => begun,
    };
    let DepositRequest {
        account,
        amount,
        reference,
    } = deposit;
    let length = reference.chars().count();
    if length == 0 || length > REFERENCE_MAX {
        return Err(Problem::invalid(format!(
            "reference has {length} characters: must be 1 to {REFERENCE_MAX}"
        )));
    }
    if amount == Amount::ZERO || amount > jobs::money::AMOUNT_MAX {
        return Err(Problem::invalid(format!(
            "amount = {amount}: must be more than 0"
        )));
    }
    let movement = match account.parse::<Account>() {
        Ok(Account::Client(client)) => Movement::Deposit(client),
        Ok(Account::Stake(provider)) => Movement::Stake(provider),
        Ok(Account::Rewards) => Movement::Reward,
        _ => {
            let detail =
                format!("account = {account:?}: must be client:<id>, stake:<id> or rewards");
            return Err(Problem::invalid(detail));
        }
    };
    let id = Digest::bind(Domain::Transfer, &[b"deposit", reference.as_bytes()]);
    let event = move |request| Event::Move {
        request,
        id,
        movement,
        amount,
    };
    let respond = |_: &Reply, repeated: bool| {
        let status = if repeated { 200 } else { 201 };
        Response::json(status, &DepositReply { new: !repeated }).ok()
    };
    begun.settle(event, Vec::new(), None, respond).await
}

/// Bans or readmits a provider. No stake is taken.
pub(super) async fn set_banned(driver: &Driver, provider: ProviderId, banned: bool) -> Answer<()> {
    let known = driver.ask(move |core| core.view_provider(provider).is_some());
    if !known.await? {
        return Err(Problem::not_found(format_args!("provider {provider}")));
    }
    let shared = driver.shared()?;
    let decided = shared
        .handle
        .event(Event::SetBanned { provider, banned })
        .await;
    decided.map(drop).map_err(|error| internal(&error))
}

/// Removes blobs that nobody needs any more, or says which these are.
pub(super) async fn collect(shared: &Arc<Shared>, dry_run: bool) -> Answer<CollectionView> {
    let round = collect::round(shared, 0, dry_run).await;
    let round = round.map_err(|error| internal(&error))?;
    let usage = shared.blobs.usage();
    Ok(CollectionView {
        dry_run,
        jobs: round.jobs,
        blobs: round.blobs,
        bytes: round.bytes,
        more: round.more,
        blobs_left: usage.blobs as u64,
        bytes_left: usage.used,
        quota: usage.quota,
        keep_days: shared.collector.keep_days(),
    })
}

/// Entries of the ledger's journal after number `after`, at most `limit`.
pub(super) fn journal(
    shared: &Shared,
    after: u64,
    limit: usize,
) -> Result<Vec<JournalView>, Error> {
    let entries = ledger::journal(&*shared.store, after, limit)?;
    Ok(entries.iter().map(journal_view).collect())
}

/// An entry of the journal in the words of the HTTP interface.
pub(crate) fn journal_view(entry: &JournalEntry) -> JournalView {
    let mut view = JournalView {
        seq: entry.seq,
        kind: String::new(),
        id: entry.transfer.id().0,
        from: None,
        to: None,
        pending: None,
        amount: None,
        hash: entry.hash,
    };
    let kind = match entry.transfer {
        Transfer::Post {
            from, to, amount, ..
        } => {
            (view.from, view.to) = (Some(from.to_string()), Some(to.to_string()));
            view.amount = Some(amount);
            "post"
        }
        Transfer::Pend {
            from, to, amount, ..
        } => {
            (view.from, view.to) = (Some(from.to_string()), Some(to.to_string()));
            view.amount = Some(amount);
            "pend"
        }
        Transfer::PostPending {
            pending, amount, ..
        } => {
            (view.pending, view.amount) = (Some(pending.0), Some(amount));
            "post-pending"
        }
        Transfer::VoidPending { pending, .. } => {
            view.pending = Some(pending.0);
            "void-pending"
        }
        Transfer::Expire { pending, .. } => {
            view.pending = Some(pending.0);
            "expire"
        }
        Transfer::Close { account, .. } => {
            view.from = Some(account.to_string());
            "close"
        }
    };
    view.kind = kind.to_owned();
    view
}
