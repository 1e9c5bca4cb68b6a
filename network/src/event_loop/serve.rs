//! Requests of others: handed to the daemon, or answered from the blob source.

use std::collections::btree_map::Entry;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use jobs::ids::ProviderId;
use libp2p::kad::{self, InboundRequest};
use libp2p::{identify, ping};
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::timeout;
use tracing::debug;

use super::command::{Control, Routed};
use super::{Answer, EventLoop, Respond};
use crate::ReplyHandle;
use crate::behaviour::BehaviourEvent;
use crate::blobs;
use crate::config::{ADDRESSES_PER_PEER_MAX, ANSWERS_MAX, PEER_ANSWERS_MAX};
use crate::identity::provider_id_of;
use crate::lane::{Channel, Inbound, LaneEvent};
use crate::protocol::assign::AssignWire;
use crate::protocol::blob::BlobWire;
use crate::protocol::cancel::CancelWire;
use crate::protocol::commit::CommitWire;
use crate::protocol::offer::OfferWire;
use crate::protocol::open::OpenWire;
use crate::protocol::reveal::RevealWire;
use crate::protocol::{BlobReply, Refusal, RefusalCode, Wire};

impl EventLoop {
    pub(super) fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Offer(event) => self.on_control::<OfferWire>(event),
            BehaviourEvent::Assign(event) => self.on_control::<AssignWire>(event),
            BehaviourEvent::Commit(event) => self.on_control::<CommitWire>(event),
            BehaviourEvent::Reveal(event) => self.on_control::<RevealWire>(event),
            BehaviourEvent::Open(event) => self.on_control::<OpenWire>(event),
            BehaviourEvent::Cancel(event) => self.on_control::<CancelWire>(event),
            BehaviourEvent::Blob(event) => self.on_blob(event),
            BehaviourEvent::Ping(event) => self.on_ping(&event),
            BehaviourEvent::Identify(event) => self.on_identify(event),
            BehaviourEvent::Kad(event) => self.on_kad(event),
        }
    }

    /// A peer that does not answer pings is lost, even if its connection still looks open.
    fn on_ping(&mut self, event: &ping::Event) {
        match &event.result {
            Ok(_) | Err(ping::Failure::Unsupported) => {}
            Err(failure) => {
                debug!(peer = %event.peer, %failure, "peer does not answer pings");
                self.swarm.close_connection(event.connection);
            }
        }
    }

    fn on_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id, info, .. } = event else {
            return;
        };
        let addresses = info.listen_addrs.into_iter().take(ADDRESSES_PER_PEER_MAX);
        for address in addresses {
            self.swarm.add_peer_address(peer_id, address.clone());
            self.book.add(peer_id, address.clone());
            let kad = &mut self.swarm.behaviour_mut().kad;
            kad.add_address(&peer_id, address);
        }
    }

    fn on_kad(&mut self, event: kad::Event) {
        match event {
            kad::Event::InboundRequest {
                request:
                    InboundRequest::AddProvider {
                        record: Some(record),
                    },
            } => {
                for address in record.addresses.iter().take(ADDRESSES_PER_PEER_MAX) {
                    self.book.add(record.provider, address.clone());
                }
                self.discovery.on_announcement(&mut self.swarm, record);
            }
            kad::Event::RoutingUpdated {
                is_new_peer: true, ..
            } => self.discovery.on_new_peer(&mut self.swarm),
            kad::Event::OutboundQueryProgressed {
                id, result, step, ..
            } => self
                .discovery
                .on_query(id, result, step.last, &self.book, self.local),
            _ => {}
        }
    }

    /// Hands a request to the daemon, or refuses it by name if the daemon cannot take it.
    fn on_control<P: Control>(&mut self, event: LaneEvent<P>) {
        let Some(inbound) = P::lane(&mut self.lanes).on_event(event) else {
            return;
        };
        let connection = inbound.connection;
        let Some((from, request, channel)) = self.authenticate(inbound) else {
            return;
        };
        let address = self.connections.address(connection);
        let echo = P::echo(&request);
        let of_peer = self.waiting.get(&from).copied().unwrap_or(0);
        if of_peer >= PEER_ANSWERS_MAX || self.answers.len() >= ANSWERS_MAX {
            let reason = format!("{of_peer} of your requests wait already");
            return self.refuse::<P>(channel, echo, RefusalCode::Busy, reason);
        }
        let (handle, answer) = ReplyHandle::channel();
        match self
            .events
            .try_send(P::event(from, address, request, handle))
        {
            Ok(()) => {
                let within = self.config.request_timeout;
                let relayed = relay::<P>(from, answer, within, channel, echo);
                self.expect_answer(from, relayed.boxed());
            }
            Err(TrySendError::Full(_)) => {
                let reason = format!("{} events wait already", self.config.event_queue);
                self.refuse::<P>(channel, echo, RefusalCode::Busy, reason);
            }
            Err(TrySendError::Closed(_)) => {
                let reason = "nobody takes requests here".to_owned();
                self.refuse::<P>(channel, echo, RefusalCode::Unanswered, reason);
            }
        }
    }

    /// The sender's identity and the request, unless the frame could not be read: then that is
    /// answered.
    fn authenticate<P: Routed>(
        &mut self,
        inbound: Inbound<P>,
    ) -> Option<(ProviderId, P::Request, Channel<P>)> {
        let Inbound {
            from,
            request,
            channel,
            ..
        } = inbound;
        // A peer with another kind of key was turned away when it connected; its channel is dropped.
        let peer = provider_id_of(&from)?;
        match request {
            Ok(request) => Some((peer, request, channel)),
            Err(fault) => {
                debug!(%peer, protocol = P::NAME, %fault, "unreadable request");
                respond::<P>(channel, Err(fault))(self.swarm.behaviour_mut());
                None
            }
        }
    }

    fn refuse<P: Routed>(
        &mut self,
        channel: Channel<P>,
        echo: P::Echo,
        code: RefusalCode,
        reason: String,
    ) {
        debug!(protocol = P::NAME, ?code, reason, "request refused");
        let reply = P::refuse(echo, Refusal::new(code, reason));
        respond::<P>(channel, Ok(reply))(self.swarm.behaviour_mut());
    }

    /// Reads a chunk on a blocking thread, at most `BLOB_READS_MAX` at the same time.
    fn on_blob(&mut self, event: LaneEvent<BlobWire>) {
        let Some(inbound) = BlobWire::lane(&mut self.lanes).on_event(event) else {
            return;
        };
        let Some((from, request, channel)) = self.authenticate(inbound) else {
            return;
        };
        let digest = request.digest;
        let Some(source) = self.config.blobs.clone() else {
            let reply = BlobReply::NotFound { digest };
            return respond::<BlobWire>(channel, Ok(reply))(self.swarm.behaviour_mut());
        };
        let Ok(permit) = self.reads.clone().try_acquire_owned() else {
            let reason = "too many blobs are read already".to_owned();
            return self.refuse::<BlobWire>(channel, digest, RefusalCode::Busy, reason);
        };
        let answer = async move {
            let read = tokio::task::spawn_blocking(move || {
                let reply = blobs::serve(source.as_ref(), from, request);
                drop(permit);
                reply
            });
            let reply = read.await.unwrap_or_else(|error| {
                let refusal = Refusal::new(RefusalCode::Internal, "the blob source failed");
                debug!(%error, "blob source failed");
                BlobWire::refuse(digest, refusal)
            });
            let respond = respond::<BlobWire>(channel, Ok(reply));
            Answer { to: from, respond }
        };
        self.expect_answer(from, answer.boxed());
    }

    fn expect_answer(&mut self, from: ProviderId, answer: BoxFuture<'static, Answer>) {
        *self.waiting.entry(from).or_default() += 1;
        self.answers.push(answer);
    }

    /// Sends an answer that is ready.
    pub(super) fn on_answer(&mut self, answer: Answer) {
        if let Entry::Occupied(mut waiting) = self.waiting.entry(answer.to) {
            *waiting.get_mut() = waiting.get().saturating_sub(1);
            if *waiting.get() == 0 {
                waiting.remove();
            }
        }
        (answer.respond)(self.swarm.behaviour_mut());
    }
}

/// Waits for the daemon's answer, but no longer than the peer does.
async fn relay<P: Control>(
    to: ProviderId,
    answer: tokio::sync::oneshot::Receiver<P::Reply>,
    within: Duration,
    channel: Channel<P>,
    echo: P::Echo,
) -> Answer {
    let reply = match timeout(within, answer).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) | Err(_) => {
            let refusal = Refusal::new(RefusalCode::Unanswered, "the request was dropped");
            P::refuse(echo, refusal)
        }
    };
    let respond = respond::<P>(channel, Ok(reply));
    Answer { to, respond }
}

fn respond<P: Routed>(
    channel: Channel<P>,
    reply: Result<P::Reply, crate::protocol::Fault>,
) -> Respond {
    Box::new(move |behaviour| {
        if P::requests(behaviour)
            .send_response(channel, reply)
            .is_err()
        {
            debug!(
                protocol = P::NAME,
                "the peer stopped listening for the answer"
            );
        }
    })
}
