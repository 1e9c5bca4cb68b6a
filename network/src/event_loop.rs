//! The one task that owns the swarm. It never waits for anyone: not for the daemon, not for a disk,
//! not for a caller. Whatever takes time is a future it polls or a blocking task it hears from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jobs::ids::ProviderId;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{PeerId, Swarm};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior, timeout};
use tracing::{debug, info};

use crate::addresses::AddressBook;
use crate::behaviour::{Behaviour, BehaviourEvent, build_swarm};
use crate::config::{
    BLOB_READS_MAX, COMMAND_QUEUE, CONFIG_ADDRESSES_MAX, NetworkConfig, SHUTDOWN_GRACE,
};
use crate::identity::{keypair, provider_id_of, public_key_of};
use crate::presence::Presence;
use crate::{Client, Error, Event, EventReceiver};

mod connect;
mod connections;
mod discovery;
mod serve;

pub(crate) mod command;

use command::{Command, Lanes};
use connect::Connector;
use connections::Connections;
use discovery::Discovery;

/// Answers a request: finds the right behaviour and hands it the reply.
type Respond = Box<dyn FnOnce(&mut Behaviour) + Send>;

/// An answer that is ready, and to whom.
struct Answer {
    to: ProviderId,
    respond: Respond,
}

/// Makes the three parts of a node.
#[derive(Debug)]
pub struct Network;

impl Network {
    /// Binds the listening addresses and makes the parts: a handle for everyone, the event queue for
    /// the daemon, and the loop for one task to [`EventLoop::run`]. Must be called inside a Tokio
    /// runtime.
    ///
    /// # Errors
    /// If the configuration is invalid or an address cannot be listened on.
    #[expect(
        clippy::new_ret_no_self,
        reason = "a node is its three parts; nothing else is left"
    )]
    pub fn new(config: NetworkConfig) -> Result<(Client, EventReceiver, EventLoop), Error> {
        check(&config)?;
        let local = public_key_of(config.identity)?;
        let mut swarm = build_swarm(keypair(config.identity)?, &config)?;
        let connector = Connector::start(&mut swarm, &config)?;
        let (command_sender, commands) = mpsc::channel(COMMAND_QUEUE);
        let (events, event_receiver) = mpsc::channel(config.event_queue);
        let mut tick = tokio::time::interval(config.bootstrap_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        info!(%local, role = ?config.role, "network starts");
        let client = Client::new(local, command_sender, config.chunk_timeout);
        let event_loop = EventLoop {
            local,
            swarm,
            commands,
            events,
            lanes: Lanes::default(),
            answers: FuturesUnordered::new(),
            waiting: BTreeMap::new(),
            presence: Presence::default(),
            connections: Connections::default(),
            book: AddressBook::default(),
            connector,
            discovery: Discovery::new(config.role),
            reads: Arc::new(Semaphore::new(BLOB_READS_MAX)),
            tick,
            config,
        };
        Ok((client, EventReceiver(event_receiver), event_loop))
    }
}

fn check(config: &NetworkConfig) -> Result<(), Error> {
    let durations = [
        ("ping_interval", config.ping_interval),
        ("ping_timeout", config.ping_timeout),
        ("request_timeout", config.request_timeout),
        ("chunk_timeout", config.chunk_timeout),
        ("announce_interval", config.announce_interval),
        ("bootstrap_interval", config.bootstrap_interval),
    ];
    for (key, duration) in durations {
        if duration.is_zero() {
            return Err(Error::Config {
                key,
                value: "0".into(),
                bound: "must be more than 0".into(),
            });
        }
    }
    if config.event_queue == 0 {
        return Err(Error::Config {
            key: "event_queue",
            value: "0".into(),
            bound: "must be at least 1".into(),
        });
    }
    let lists = [
        ("listen", &config.listen),
        ("bootstrap", &config.bootstrap),
        ("external", &config.external),
    ];
    for (key, list) in lists {
        if list.len() > CONFIG_ADDRESSES_MAX {
            return Err(Error::Config {
                key,
                value: format!("{} addresses", list.len()),
                bound: format!("must be at most {CONFIG_ADDRESSES_MAX}"),
            });
        }
    }
    Ok(())
}

/// Owns the swarm. Runs until [`Client::shutdown`] or until every client is dropped.
pub struct EventLoop {
    local: ProviderId,
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    lanes: Lanes,
    /// Requests of others that wait for the daemon or a disk, at most `ANSWERS_MAX`.
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// How many of them are each peer's.
    waiting: BTreeMap<ProviderId, usize>,
    presence: Presence,
    connections: Connections,
    book: AddressBook,
    connector: Connector,
    discovery: Discovery,
    reads: Arc<Semaphore>,
    tick: Interval,
    config: NetworkConfig,
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("local", &self.local)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What woke the loop.
enum Wake {
    Swarm(Box<SwarmEvent<BehaviourEvent>>),
    Command(Option<Box<Command>>),
    Answer(Answer),
    /// The event queue has room again, or nobody listens any more.
    Room,
    Tick,
}

impl EventLoop {
    /// Runs the network. Give it a task of its own.
    pub async fn run(mut self) {
        let done = loop {
            let waits = self.tell_news();
            match self.wake(waits).await {
                Wake::Swarm(event) => self.on_swarm(*event),
                Wake::Command(None) => break None,
                Wake::Command(Some(command)) => match *command {
                    Command::Shutdown { done } => break Some(done),
                    command => self.on_command(command),
                },
                Wake::Answer(answer) => self.on_answer(answer),
                Wake::Room => {}
                Wake::Tick => self.on_tick(),
            }
        };
        self.stop(done).await;
    }

    async fn wake(&mut self, news_waits: bool) -> Wake {
        tokio::select! {
            event = self.swarm.select_next_some() => Wake::Swarm(Box::new(event)),
            command = self.commands.recv() => Wake::Command(command.map(Box::new)),
            Some(answer) = self.answers.next() => Wake::Answer(answer),
            _ = self.events.reserve(), if news_waits => Wake::Room,
            _ = self.tick.tick() => Wake::Tick,
        }
    }

    /// Tells the daemon who came and went. Returns whether there is news left for which the queue
    /// has no room.
    fn tell_news(&mut self) -> bool {
        while let Some(event) = self.presence.news() {
            match self.events.try_reserve() {
                Ok(permit) => {
                    self.presence.told(&event);
                    permit.send(event);
                }
                Err(mpsc::error::TrySendError::Full(())) => return true,
                // Nobody listens: there is nobody to tell.
                Err(mpsc::error::TrySendError::Closed(())) => self.presence.told(&event),
            }
        }
        false
    }

    fn on_tick(&mut self) {
        self.connector.redial(&mut self.swarm);
        self.discovery.announce_if_due(&mut self.swarm);
    }

    fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                self.on_connected(peer_id);
                self.connections
                    .reached(connection_id, endpoint.get_remote_address());
                self.replace_older(peer_id, connection_id, endpoint.is_listener());
                if endpoint.is_dialer() {
                    self.book
                        .add(peer_id, endpoint.get_remote_address().clone());
                }
                self.connector.on_connected(connection_id, peer_id);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                num_established,
                cause,
                ..
            } => {
                self.connections.closed(peer_id, connection_id);
                if let Some(peer) = provider_id_of(&peer_id).filter(|_| num_established == 0) {
                    let cause = cause.map(|cause| cause.to_string());
                    debug!(%peer, cause, "peer lost");
                    self.presence.lost(peer);
                }
            }
            SwarmEvent::NewExternalAddrOfPeer { peer_id, address } => {
                self.book.add(peer_id, address);
            }
            event => self.connector.on_swarm(&mut self.swarm, event),
        }
    }

    /// Closes the connections that this one replaces: what waits on them fails now instead of late.
    fn replace_older(&mut self, peer: PeerId, connection: ConnectionId, incoming: bool) {
        let now = Instant::now();
        for past in self.connections.opened(peer, connection, incoming, now) {
            debug!(%peer, ?past, "a newer connection replaces this one");
            self.swarm.close_connection(past);
        }
    }

    fn on_connected(&mut self, peer_id: PeerId) {
        match provider_id_of(&peer_id) {
            // Twice for a second connection, which changes nothing.
            Some(peer) => self.presence.connected(peer),
            None => {
                debug!(%peer_id, "peer without an ed25519 identity is turned away");
                // It fails only if the peer is gone already.
                let _ = self.swarm.disconnect_peer_id(peer_id);
            }
        }
    }

    /// Says good-bye on every connection, for at most [`SHUTDOWN_GRACE`].
    async fn stop(mut self, done: Option<oneshot::Sender<()>>) {
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let farewell = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        if timeout(SHUTDOWN_GRACE, farewell).await.is_err() {
            debug!("shutdown did not wait for every connection to close");
        }
        info!(local = %self.local, "network stopped");
        drop(self);
        if let Some(done) = done {
            // The caller may have stopped waiting.
            let _ = done.send(());
        }
    }
}
