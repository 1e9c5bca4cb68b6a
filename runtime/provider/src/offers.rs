//! Finding aggregators, and holding a lease with each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jobs::ids::{AggregatorId, ProviderId};
use jobs::offer::{DEVICE_NAME_MAX, DeviceSpec, Offer};
use jobs::statement::Signed;
use jobs::time::Timestamp;
use network::Role;
use network::protocol::{OfferReply, OfferRequest};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::Error;
use crate::clock::now;
use crate::control::AggregatorView;
use crate::desk;
use crate::error::blocking;
use crate::identity::sync_dir;
use crate::shared::Shared;

/// Aggregators that are offered to at the same time.
const AGGREGATORS_MAX: usize = 64;

/// Pause between two searches for aggregators.
const DISCOVER_PAUSE: Duration = Duration::from_secs(30);

/// Pause before the first search and while none was found: Kademlia has to hear of them first.
const DISCOVER_PAUSE_EMPTY: Duration = Duration::from_secs(3);

/// The longest that one search or one dial may take.
const SEARCH_WALL: Duration = Duration::from_secs(20);

/// Pause after the first failed dial or offer; doubled each time.
const RETRY_MIN: Duration = Duration::from_millis(250);

/// Longest pause between two tries.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Shortest time between two offers to one aggregator, however short its lease.
const RENEW_MIN: Duration = Duration::from_millis(200);

/// Longest time between two offers to one aggregator, however long its lease.
const RENEW_MAX: Duration = Duration::from_secs(300);

/// Shortest time for which an aggregator that was sent an offer may assign, in milliseconds. Longer
/// than the longest pause between two offers, so that one which is slow or briefly away is not turned
/// down for it.
const OFFER_STANDS_MS: u64 = 60_000;

/// Failed offers in a row after which an aggregator that nobody named is forgotten, until it is found
/// again.
const FAILURES_MAX: u32 = 60;

/// The aggregators we know.
#[derive(Debug)]
pub(crate) struct Aggregators {
    known: Mutex<BTreeMap<AggregatorId, Standing>>,
    /// Goes up whenever a peer comes or goes, or an offer is accepted.
    news: watch::Sender<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// Goes up whenever it came or went.
    changes: u64,
    /// Whether it holds an offer of ours, as far as it told us since it came.
    listed: bool,
    /// Whether the operator named it.
    named: bool,
    /// Until when it may hold an offer of ours. Set before an offer is sent, since an assignment may
    /// come before the answer, and kept while it is away for as long as its lease.
    offered_until: Option<Timestamp>,
}

impl Aggregators {
    pub(crate) fn new() -> Self {
        Self {
            known: Mutex::default(),
            news: watch::Sender::new(0),
        }
    }

    /// Changes whenever it is worth trying again.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    pub(crate) fn connected(&self, peer: ProviderId) {
        self.moved(peer);
    }

    pub(crate) fn lost(&self, peer: ProviderId) {
        self.moved(peer);
    }

    fn moved(&self, peer: ProviderId) {
        if let Some(standing) = self.known().get_mut(&peer) {
            standing.changes = standing.changes.saturating_add(1);
            standing.listed = false;
        }
        self.tell();
    }

    fn tell(&self) {
        self.news
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Those that hold an offer of ours.
    pub(crate) fn listed(&self) -> Vec<AggregatorId> {
        let known = self.known();
        let listed = known.iter().filter(|(_, standing)| standing.listed);
        listed.map(|(id, _)| *id).collect()
    }

    /// Everybody that is known.
    pub(crate) fn views(&self) -> Vec<AggregatorView> {
        let known = self.known();
        let views = known.iter().map(|(id, standing)| AggregatorView {
            id: *id,
            listed: standing.listed,
            named: standing.named,
        });
        views.collect()
    }

    /// Whether it may hold an offer of ours, and so assign; if so, how it stands among the others.
    pub(crate) fn standing(&self, id: AggregatorId, now: Timestamp) -> Option<desk::Standing> {
        let known = self.known();
        let offered = |standing: &Standing| standing.offered_until.is_some_and(|end| now < end);
        let own = known.get(&id).filter(|standing| offered(standing))?;
        let mut others = known
            .iter()
            .filter(|(other, standing)| **other != id && offered(standing))
            .peekable();
        Some(if others.peek().is_none() {
            desk::Standing::Alone
        } else if own.named || !known.values().any(|standing| standing.named) {
            desk::Standing::Named
        } else {
            desk::Standing::Found
        })
    }

    /// Notes until when the aggregator may hold an offer; `None`: it refused it.
    fn set_offered(&self, id: AggregatorId, until: Option<Timestamp>) {
        if let Some(standing) = self.known().get_mut(&id) {
            standing.offered_until = until;
        }
    }

    fn is_named(&self, id: AggregatorId) -> bool {
        self.known().get(&id).is_some_and(|standing| standing.named)
    }

    /// Waits until an aggregator holds an offer of ours.
    pub(crate) async fn first(&self) {
        let mut news = self.news();
        while self.listed().is_empty() {
            if news.changed().await.is_err() {
                return;
            }
        }
    }

    fn changes(&self, id: AggregatorId) -> u64 {
        self.known().get(&id).map_or(0, |standing| standing.changes)
    }

    /// Notes an aggregator. Returns whether it is new. One that the operator named is noted however
    /// many were found.
    fn meet(&self, id: AggregatorId, named: bool) -> bool {
        let mut known = self.known();
        if let Some(standing) = known.get_mut(&id) {
            standing.named |= named;
            return false;
        }
        if known.len() >= AGGREGATORS_MAX && !named {
            return false;
        }
        let standing = Standing {
            named,
            ..Standing::default()
        };
        known.insert(id, standing);
        true
    }

    fn forget(&self, id: AggregatorId) {
        self.known().remove(&id);
    }

    fn set_listed(&self, id: AggregatorId, changes: u64, listed: bool) {
        if let Some(standing) = self.known().get_mut(&id) {
            // An answer from before it went says nothing about now.
            standing.listed = listed && standing.changes == changes;
        }
        self.tell();
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<AggregatorId, Standing>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts looking for aggregators: those named, and those that announce themselves.
pub(crate) fn start(shared: &Arc<Shared>, issued: Arc<Issued>) {
    for address in shared.config.aggregators.clone() {
        let (task, issued) = (Arc::clone(shared), Arc::clone(&issued));
        shared.spawn(async move {
            until_stopped(&task.clone(), dial(task, issued, address)).await;
        });
    }
    let (task, issued) = (Arc::clone(shared), issued);
    shared.spawn(async move {
        until_stopped(&task.clone(), discover(task, issued)).await;
    });
}

async fn until_stopped(shared: &Shared, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = shared.stopped() => {}
    }
}

/// Asks an address who is there, once: for addresses that somebody else looks after.
pub(crate) async fn reach(shared: Arc<Shared>, issued: Arc<Issued>, address: String) {
    match timeout(SEARCH_WALL, shared.client.dial(&address)).await {
        Ok(Ok(id)) => meet(&shared, &issued, id, true),
        Ok(Err(error)) => tracing::debug!(%address, %error, "aggregator not reached"),
        Err(_) => tracing::debug!(%address, "aggregator not reached in time"),
    }
}

/// Asks an address who is there until somebody answers. The network itself keeps the connection.
async fn dial(shared: Arc<Shared>, issued: Arc<Issued>, address: String) {
    let mut pause = RETRY_MIN;
    loop {
        match timeout(SEARCH_WALL, shared.client.dial(&address)).await {
            Ok(Ok(id)) => return meet(&shared, &issued, id, true),
            Ok(Err(error)) => tracing::warn!(%address, %error, "aggregator not reached"),
            Err(_) => tracing::warn!(%address, "aggregator not reached in time"),
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(RETRY_MAX);
    }
}

async fn discover(shared: Arc<Shared>, issued: Arc<Issued>) {
    loop {
        let none = shared.aggregators.known().is_empty();
        sleep(if none {
            DISCOVER_PAUSE_EMPTY
        } else {
            DISCOVER_PAUSE
        })
        .await;
        match timeout(SEARCH_WALL, shared.client.discover(Role::Aggregator)).await {
            Ok(Ok(found)) => found
                .iter()
                .for_each(|(id, _)| meet(&shared, &issued, *id, false)),
            Ok(Err(error)) => tracing::debug!(%error, "no discovery"),
            Err(_) => tracing::debug!("discovery took too long"),
        }
    }
}

fn meet(shared: &Arc<Shared>, issued: &Arc<Issued>, id: AggregatorId, named: bool) {
    if shared.aggregators.meet(id, named) {
        tracing::info!(aggregator = %id, "aggregator found");
        let (task, issued) = (Arc::clone(shared), Arc::clone(issued));
        shared.spawn(async move {
            until_stopped(&task, tend(&task, &issued, id)).await;
        });
    }
}

/// Offers, and offers again before the lease ends, when the aggregator comes back, and after a
/// failure.
async fn tend(shared: &Arc<Shared>, issued: &Arc<Issued>, id: AggregatorId) {
    let (mut retry, mut failures) = (RETRY_MIN, 0);
    let mut terms = shared.offer_news.subscribe();
    loop {
        let mut news = shared.aggregators.news();
        let changes = shared.aggregators.changes(id);
        terms.mark_unchanged();
        let pause = match offer(shared, issued, id).await {
            Ok(lease) => {
                shared.aggregators.set_listed(id, changes, true);
                (retry, failures) = (RETRY_MIN, 0);
                lease.div_f64(2.0).clamp(RENEW_MIN, RENEW_MAX)
            }
            Err(reason) => {
                shared.aggregators.set_listed(id, changes, false);
                tracing::warn!(aggregator = %id, reason, "no offer stands there");
                failures += 1;
                if failures >= FAILURES_MAX && !shared.aggregators.is_named(id) {
                    return shared.aggregators.forget(id);
                }
                let pause = retry;
                retry = retry.saturating_mul(2).min(RETRY_MAX);
                pause
            }
        };
        let pause = sleep(pause);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                _ = terms.changed() => break,
                _ = news.changed() => if shared.aggregators.changes(id) != changes { break },
            }
        }
    }
}

async fn offer(
    shared: &Arc<Shared>,
    issued: &Arc<Issued>,
    id: AggregatorId,
) -> Result<Duration, String> {
    let (task, issued) = (Arc::clone(shared), Arc::clone(issued));
    let offer = blocking(move || make_offer(&task, issued.next(now())?)).await;
    let offer = offer.map_err(|error| error.to_string())?;
    let aggregators = &shared.aggregators;
    aggregators.set_offered(id, Some(now().plus_ms(OFFER_STANDS_MS)));
    match shared.client.send_offer(id, OfferRequest { offer }).await {
        Ok(OfferReply::Accepted { lease_ms }) => {
            let stands = lease_ms.max(OFFER_STANDS_MS);
            aggregators.set_offered(id, Some(now().plus_ms(stands)));
            Ok(Duration::from_millis(lease_ms))
        }
        Ok(OfferReply::Refused(refusal)) => {
            aggregators.set_offered(id, None);
            Err(refusal.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn make_offer(shared: &Shared, issued: Timestamp) -> Result<Signed<Offer>, Error> {
    let (config, device) = (&shared.config, &shared.device);
    let terms = shared.terms();
    // Who rests grants nothing, so that nobody gives it anything.
    let granted = |most: u64| if shared.rest().is_some() { 0 } else { most };
    let mut name = device.name.clone();
    while name.len() > DEVICE_NAME_MAX {
        name.pop();
    }
    let offer = Offer {
        provider: shared.id,
        operator: shared.operator.clone(),
        device: DeviceSpec {
            kind: device.kind,
            name,
            memory_bytes: device.memory_bytes,
        },
        price: terms.price,
        fingerprint: device.fingerprint.clone(),
        capacity: config.workers,
        memory_bytes_max: granted(config.memory_bytes_max),
        fuel_max: granted(config.fuel_max),
        model_bytes_max: granted(terms.model_bytes_max),
        issued,
    };
    Ok(Signed::sign(&offer, &shared.key)?)
}

/// The time of the newest offer, on disk: offers never go back in time, whatever the clock does and
/// however often the daemon starts.
#[derive(Debug)]
pub(crate) struct Issued {
    path: PathBuf,
    last: Mutex<Timestamp>,
}

impl Issued {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let last = match fs::read_to_string(path) {
            // A file that cannot be read costs at most a refused offer: the clock goes on.
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        Ok(Self {
            path: path.to_owned(),
            last: Mutex::new(Timestamp(last)),
        })
    }

    /// A time later than every other. Blocks on the disk.
    pub(crate) fn next(&self, now: Timestamp) -> Result<Timestamp, Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let next = now.max(last.plus_ms(1));
        let part = self.path.with_extension("part");
        fs::write(&part, next.0.to_string()).map_err(Error::io("write", &part))?;
        fs::rename(&part, &self.path).map_err(Error::io("rename", &part))?;
        if let Some(dir) = self.path.parent() {
            sync_dir(dir)?;
        }
        *last = next;
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_never_go_back_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("issued");
        let issued = Issued::open(&path).unwrap();
        for (now, expected) in [(100, 100), (100, 101), (50, 102), (200, 200)] {
            assert_eq!(issued.next(Timestamp(now)).unwrap(), Timestamp(expected));
        }
        let again = Issued::open(&path).unwrap();
        assert_eq!(again.next(Timestamp(10)).unwrap(), Timestamp(201));
    }

    #[test]
    fn an_answer_from_before_a_loss_lists_nobody() {
        let (aggregators, id) = (Aggregators::new(), ProviderId([1; 32]));
        assert!(aggregators.meet(id, false) && !aggregators.meet(id, false));
        let changes = aggregators.changes(id);
        aggregators.lost(id);
        aggregators.set_listed(id, changes, true);
        assert_eq!(aggregators.listed(), []);
        aggregators.set_listed(id, aggregators.changes(id), true);
        assert_eq!(aggregators.listed(), [id]);
    }

    #[test]
    fn aggregators_are_bounded() {
        let aggregators = Aggregators::new();
        let met = (0..=u8::MAX).filter(|n| aggregators.meet(ProviderId([*n; 32]), false));
        assert_eq!(met.count(), AGGREGATORS_MAX);
        // Whoever the operator named has a place all the same.
        assert!(aggregators.meet(ProviderId([u8::MAX; 32]), true));
    }

    #[test]
    fn only_who_holds_an_offer_may_assign() {
        use desk::Standing::{Alone, Found, Named};
        let aggregators = Aggregators::new();
        let [named, found, other] = [1, 2, 3].map(|n| ProviderId([n; 32]));
        let standing = |id, now| aggregators.standing(id, Timestamp(now));
        assert_eq!(standing(named, 0), None, "a stranger");
        assert!(aggregators.meet(named, false) && !aggregators.meet(named, true));
        assert_eq!(standing(named, 0), None, "nothing was offered to it");
        aggregators.set_offered(named, Some(Timestamp(10)));
        assert_eq!(standing(named, 9), Some(Alone));
        assert_eq!(standing(named, 10), None, "its lease is over");
        aggregators.meet(found, false);
        assert_eq!(standing(named, 9), Some(Alone), "the other has no offer");
        aggregators.set_offered(found, Some(Timestamp(10)));
        assert_eq!(standing(named, 9), Some(Named));
        assert_eq!(standing(found, 9), Some(Found));
        aggregators.set_offered(named, None);
        assert_eq!(standing(named, 9), None, "it refused the offer");
        assert_eq!(standing(found, 9), Some(Alone));
        // With nobody named, those that were found are all there is.
        aggregators.forget(named);
        aggregators.meet(other, false);
        aggregators.set_offered(other, Some(Timestamp(10)));
        assert_eq!(standing(found, 9), Some(Named));
    }
}
