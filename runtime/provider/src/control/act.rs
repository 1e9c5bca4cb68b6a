//! Doing what the operator asks.

use std::sync::Arc;

use jobs::ids::{AssignmentId, ClientId};
use jobs::money::{AMOUNT_MAX, Amount};
use jobs::offer::DeviceSpec;
use jobs::time::Timestamp;
use serde_json::Value;

use super::{Ask, BLOBS_MAX, CacheView, ChoicesView, Denial, PolicyChange, StatusView};
use crate::Error;
use crate::book::day_of;
use crate::choices::{Allowed, CLIENTS_MAX, Changes, Choices, Mode, SPELL_MS_MAX, Spell};
use crate::clock::now;
use crate::error::blocking;
use crate::shared::Shared;

/// Fewest characters by which an assignment may be named.
const PREFIX_MIN: usize = 4;

pub(super) async fn act(ask: Ask, shared: &Arc<Shared>) -> Result<Value, Denial> {
    match ask {
        Ask::Status => status(shared),
        Ask::Drain { undo } => {
            shared.draining.send_replace(!undo);
            tracing::info!(draining = !undo, "the operator says so");
            shared.renew_offers();
            status(shared)
        }
        Ask::Mode { mode, for_ms } => mode_for(shared, mode, for_ms).await,
        Ask::Choices => choices(shared),
        Ask::Price {
            per_gfuel,
            per_device_second,
            reset,
        } => {
            for amount in per_gfuel.iter().chain(&per_device_second) {
                at_most("the price", *amount, AMOUNT_MAX)?;
            }
            change(shared, move |changes, _| {
                if reset {
                    (changes.per_gfuel, changes.per_device_second) = (None, None);
                }
                changes.per_gfuel = per_gfuel.or(changes.per_gfuel);
                changes.per_device_second = per_device_second.or(changes.per_device_second);
            })
            .await
        }
        Ask::Policy(what) => policy(shared, what).await,
        Ask::Tasks => json(&shared.desk.list()),
        Ask::Abort { assignment } => abort(shared, &assignment),
        Ask::Earnings { since } => json(&shared.book.since(since)),
        Ask::Cache => {
            let task = Arc::clone(shared);
            json(&on_disk(move || Ok(cache(&task, 0))).await?)
        }
        Ask::CachePrune { keep_bytes } => {
            let task = Arc::clone(shared);
            let pruned = on_disk(move || {
                let removed = task.cache.prune(keep_bytes)?;
                Ok(cache(&task, removed))
            });
            json(&pruned.await?)
        }
        Ask::CacheRemove { blob } => {
            let task = Arc::clone(shared);
            let removed = on_disk(move || Ok((task.cache.remove(&blob)?, cache(&task, 1)))).await?;
            match removed {
                (Some(true), view) => json(&view),
                (Some(false), _) => Err(Denial::new(
                    "needed",
                    format!("blob {blob} is needed by an assignment, and stays until that is over"),
                )),
                (None, _) => Err(Denial::new(
                    "unknown",
                    format!("blob {blob} is not in the cache"),
                )),
            }
        }
    }
}

fn json(value: &impl serde::Serialize) -> Result<Value, Denial> {
    serde_json::to_value(value).map_err(|error| Denial::new("internal", error.to_string()))
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Denial> {
    let done = blocking(work).await;
    done.map_err(|error| Denial::new("internal", error.to_string()))
}

fn at_most(what: &str, value: Amount, most: Amount) -> Result<(), Denial> {
    if value <= most {
        return Ok(());
    }
    let message = format!("{what} = {value}: must be at most {most}");
    Err(Denial::new("value", message))
}

async fn change(
    shared: &Arc<Shared>,
    edit: impl FnOnce(&mut Changes, &Choices) + Send + 'static,
) -> Result<Value, Denial> {
    let task = Arc::clone(shared);
    on_disk(move || task.desired.change(edit)).await?;
    shared.renew_offers();
    choices(shared)
}

fn choices(shared: &Shared) -> Result<Value, Denial> {
    json(&ChoicesView {
        choices: shared.desired.get(),
        changes: shared.desired.changes(),
    })
}

async fn mode_for(shared: &Arc<Shared>, mode: Mode, for_ms: Option<u64>) -> Result<Value, Denial> {
    if let Some(ms) = for_ms.filter(|ms| !(1..=SPELL_MS_MAX).contains(ms)) {
        let message = format!("for {ms} ms: must be 1 to {SPELL_MS_MAX} (a year)");
        return Err(Denial::new("value", message));
    }
    let until = for_ms.map(|ms| now().plus_ms(ms));
    change(shared, move |changes, _| match until {
        Some(until) => changes.spell = Some(Spell { mode, until }),
        None => (changes.mode, changes.spell) = (Some(mode), None),
    })
    .await?;
    status(shared)
}

async fn policy(shared: &Arc<Shared>, what: PolicyChange) -> Result<Value, Denial> {
    let held = shared.desired.get();
    let largest = shared.config.largest_model();
    match &what {
        PolicyChange::ModelMax(bytes) if *bytes > largest => {
            let message = format!(
                "the largest model = {bytes}: must be at most {largest} bytes, which fit the cache"
            );
            return Err(Denial::new("value", message));
        }
        PolicyChange::RewardMin(amount) => at_most("the smallest reward", *amount, AMOUNT_MAX)?,
        PolicyChange::Allow(_) | PolicyChange::Deny(_)
            if held.allow.named().len().max(held.deny.len()) >= CLIENTS_MAX =>
        {
            let message = format!("{CLIENTS_MAX} clients are named, which is the most");
            return Err(Denial::new("value", message));
        }
        _ => {}
    }
    change(shared, move |changes, held| {
        edit_policy(what, changes, held)
    })
    .await
}

fn edit_policy(what: PolicyChange, changes: &mut Changes, held: &Choices) {
    let (mut allow, mut deny) = (held.allow.clone(), held.deny.clone());
    match what {
        PolicyChange::Allow(client) => {
            let mut clients = allow.named();
            clients.insert(client);
            allow = Allowed::These(clients);
            deny.remove(&client);
        }
        PolicyChange::Deny(client) => {
            remove(&mut allow, client);
            deny.insert(client);
        }
        PolicyChange::Forget(client) => {
            remove(&mut allow, client);
            deny.remove(&client);
        }
        PolicyChange::AllowAnyone => allow = Allowed::Anyone,
        PolicyChange::ModelMax(bytes) => return changes.model_bytes_max = Some(bytes),
        PolicyChange::RewardMin(amount) => return changes.reward_min = Some(amount),
        PolicyChange::Reset => {
            (changes.allow, changes.deny) = (None, None);
            (changes.model_bytes_max, changes.reward_min) = (None, None);
            return;
        }
    }
    if allow != held.allow {
        changes.allow = Some(allow);
    }
    if deny != held.deny {
        changes.deny = Some(deny);
    }
}

/// Takes a client off a list. When the last one goes, nobody is left: never everybody.
fn remove(allow: &mut Allowed, client: ClientId) {
    if let Allowed::These(clients) = allow {
        clients.remove(&client);
    }
}

/// Hands back the one assignment whose id begins so.
fn abort(shared: &Shared, name: &str) -> Result<Value, Denial> {
    let tasks = shared.desk.list();
    // An id has a scheme before its digits, which nobody types.
    let named = |id: AssignmentId| {
        let text = id.to_string();
        let digits = text.rsplit(':').next().unwrap_or_default();
        text == name || (name.len() >= PREFIX_MIN && digits.starts_with(name))
    };
    let found: Vec<AssignmentId> = tasks
        .iter()
        .map(|task| task.assignment)
        .filter(|id| named(*id))
        .collect();
    match found.as_slice() {
        [id] => json(&shared.desk.abort(*id)),
        [] => Err(Denial::new(
            "unknown",
            format!(
                "no assignment under way is named {name:?}: `assay provider tasks list` shows them"
            ),
        )),
        several => Err(Denial::new(
            "unknown",
            format!(
                "{name:?} names {} assignments: give more of the id",
                several.len()
            ),
        )),
    }
}

fn cache(shared: &Shared, removed: usize) -> CacheView {
    let usage = shared.cache.store().usage();
    let mut list = shared.cache.list();
    list.sort_by_key(|blob| std::cmp::Reverse(blob.bytes));
    list.truncate(BLOBS_MAX);
    CacheView {
        used_bytes: usage.used,
        max_bytes: usage.quota,
        blobs: usage.blobs,
        list,
        removed,
    }
}

fn status(shared: &Shared) -> Result<Value, Denial> {
    let today = day_of(now());
    let days = shared.book.since(today);
    let asked = days.first().map_or(Amount::ZERO, |day| day.asked);
    json(&view(shared, today, asked))
}

fn view(shared: &Shared, today: Timestamp, asked_today: Amount) -> StatusView {
    let (config, choices) = (&shared.config, shared.desired.get());
    let (rest, held) = (shared.rest(), shared.desk.count());
    let unrevealed = shared.owed.count(now());
    let (done_today, failed_today) = shared.journal.since(today);
    let device = &shared.device;
    let usage = shared.cache.store().usage();
    let spell = choices.spell.filter(|spell| now() < spell.until);
    StatusView {
        provider: shared.id,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        process: std::process::id(),
        uptime_s: shared.started.elapsed().as_secs(),
        state: StatusView::state_of(rest.as_ref(), held + unrevealed > 0).to_owned(),
        why: rest.map(|rest| rest.to_string()),
        mode: choices.mode_at(now()),
        mode_until: spell.map(|spell| spell.until),
        misbehaves: shared.misbehaves().map(|kind| kind.name().to_owned()),
        device: DeviceSpec {
            kind: device.kind,
            name: device.name.clone(),
            memory_bytes: device.memory_bytes,
        },
        no_models: shared.terms.no_models.clone(),
        price: choices.price,
        workers: config.workers,
        held,
        unrevealed,
        workers_idle: usize::from(config.workers).saturating_sub(held),
        memory_bytes_max: config.memory_bytes_max,
        fuel_max: config.fuel_max,
        model_bytes_max: choices.model_bytes_max,
        reward_min: choices.reward_min,
        listens: shared.listens.clone(),
        aggregators: shared.aggregators.views(),
        done_today,
        failed_today,
        refused: shared.refused.load(std::sync::atomic::Ordering::Relaxed),
        unreported: shared.outbox.count(),
        asked_today,
        cache_bytes: usage.used,
        cache_bytes_max: usage.quota,
        sandbox_missing: shared.pool.missing(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jobs::digest::Digest;

    use super::*;
    use crate::ProviderConfig;

    fn client(number: u8) -> ClientId {
        ClientId(Digest::of(&[number]))
    }

    #[test]
    fn whom_the_policy_names_is_taken_or_refused() {
        use PolicyChange::{Allow, AllowAnyone, Deny, Forget, Reset};
        let config = ProviderConfig::new("/tmp".into(), "/bin/true".into(), Vec::new());
        let base = Choices::of(&config);
        let (a, b) = (client(1), client(2));
        let these = |clients: &[ClientId]| Allowed::These(clients.iter().copied().collect());
        for (script, allowed, denied) in [
            (vec![Allow(a)], these(&[a]), vec![]),
            (vec![Allow(a), Allow(b)], these(&[a, b]), vec![]),
            (vec![Deny(a)], Allowed::Anyone, vec![a]),
            (vec![Deny(a), Allow(a)], these(&[a]), vec![]),
            (vec![Allow(a), Allow(b), Deny(a)], these(&[b]), vec![a]),
            // Nobody is left; never everybody.
            (vec![Allow(a), Deny(a)], these(&[]), vec![a]),
            (
                vec![Allow(a), Deny(b), Forget(a), Forget(b)],
                these(&[]),
                vec![],
            ),
            (
                vec![Allow(a), Deny(b), AllowAnyone],
                Allowed::Anyone,
                vec![b],
            ),
            (vec![Allow(a), Deny(b), Reset], Allowed::Anyone, vec![]),
        ] {
            let mut changes = Changes::default();
            for what in script.clone() {
                let held = changes.over(&base);
                edit_policy(what, &mut changes, &held);
            }
            let held = changes.over(&base);
            assert_eq!(held.allow, allowed, "{script:?}");
            assert_eq!(held.deny, BTreeSet::from_iter(denied), "{script:?}");
        }
    }
}
