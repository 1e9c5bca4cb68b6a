//! Finding nodes by their role: each announces itself in Kademlia under its role's key.

use std::collections::{BTreeSet, HashMap};

use jobs::ids::ProviderId;
use libp2p::kad::store::RecordStore;
use libp2p::kad::{GetProvidersOk, ProviderRecord, QueryId, QueryResult, RecordKey};
use libp2p::{PeerId, Swarm};
use tokio::sync::oneshot;
use tracing::debug;

use super::command::Found;
use crate::addresses::AddressBook;
use crate::behaviour::Behaviour;
use crate::config::{ADDRESSES_PER_PEER_MAX, DISCOVERED_MAX, QUERIES_MAX};
use crate::identity::provider_id_of;
use crate::{Error, Role};

pub(super) struct Discovery {
    role: Role,
    /// Whether a peer joined the routing table since the last announcement.
    due: bool,
    /// Whether anyone was there to hear an announcement yet.
    announced: bool,
    /// Discoveries under way, at most [`QUERIES_MAX`].
    queries: HashMap<QueryId, Query>,
}

struct Query {
    found: BTreeSet<PeerId>,
    answer: oneshot::Sender<Result<Found, Error>>,
}

fn key(role: Role) -> RecordKey {
    RecordKey::new(&role.key())
}

impl Discovery {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            due: true,
            announced: false,
            queries: HashMap::new(),
        }
    }

    /// Announces at once to the first peer, and to later ones at the next tick: one announcement
    /// reaches many. Kademlia repeats it from then on.
    pub(super) fn on_new_peer(&mut self, swarm: &mut Swarm<Behaviour>) {
        self.due = true;
        if !self.announced {
            self.announced = true;
            self.announce_if_due(swarm);
            // A newcomer also has to learn who else is there.
            if let Err(error) = swarm.behaviour_mut().kad.bootstrap() {
                debug!(%error, "could not start to bootstrap");
            }
        }
    }

    pub(super) fn announce_if_due(&mut self, swarm: &mut Swarm<Behaviour>) {
        if !std::mem::take(&mut self.due) {
            return;
        }
        if let Err(error) = swarm.behaviour_mut().kad.start_providing(key(self.role)) {
            debug!(%error, "could not announce the node's role");
        }
    }

    /// Lets in a record about a role's key, and no other: strangers cannot fill our memory with
    /// records of their own invention. Kademlia has checked that the announcer is who it announces.
    pub(super) fn on_announcement(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        mut record: ProviderRecord,
    ) {
        let known = [Role::Provider, Role::Aggregator].map(key);
        if !known.contains(&record.key) {
            debug!(peer = %record.provider, "announcement under an unknown key");
            return;
        }
        record.addresses.truncate(ADDRESSES_PER_PEER_MAX);
        let store = swarm.behaviour_mut().kad.store_mut();
        if let Err(error) = store.add_provider(record) {
            debug!(%error, "announcement not stored");
        }
    }

    pub(super) fn discover(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        role: Role,
        answer: oneshot::Sender<Result<Found, Error>>,
    ) {
        if self.queries.len() >= QUERIES_MAX {
            let (what, max) = ("discoveries", QUERIES_MAX);
            return drop(answer.send(Err(Error::Busy { what, max })));
        }
        let id = swarm.behaviour_mut().kad.get_providers(key(role));
        let found = BTreeSet::new();
        self.queries.insert(id, Query { found, answer });
    }

    pub(super) fn on_query(
        &mut self,
        id: QueryId,
        result: QueryResult,
        last: bool,
        book: &AddressBook,
        local: ProviderId,
    ) {
        let Some(query) = self.queries.get_mut(&id) else {
            return;
        };
        if let QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) =
            result
        {
            let room = DISCOVERED_MAX.saturating_sub(query.found.len());
            query.found.extend(providers.into_iter().take(room));
        }
        if !last {
            return;
        }
        // A query that ran out of time has still found what it found.
        if let Some(Query { found, answer }) = self.queries.remove(&id) {
            let found = found.iter().filter_map(|peer| {
                let id = provider_id_of(peer).filter(|id| *id != local)?;
                Some((id, book.of(peer)))
            });
            drop(answer.send(Ok(found.collect())));
        }
    }
}
