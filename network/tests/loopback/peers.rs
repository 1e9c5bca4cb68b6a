//! Who is where, who came, who went.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use network::protocol::{OfferReply, RefusalCode, RevealReply, RevealRequest};
use network::{Error, Event, Network, Role, public_key_of};

use crate::harness::{self, Node, QUIC, TCP, config, node, pair, start, within};

/// A node that joins through `bootstrap`.
async fn joined(seed: u8, role: Role, listen: &str, bootstrap: &Node) -> Node {
    let mut config = config(seed, role, listen);
    config.bootstrap = vec![bootstrap.address.clone()];
    start(config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_find_each_other_through_a_bootstrap_node_and_talk() {
    for listen in [TCP, QUIC] {
        let meeting = node(3, Role::Aggregator, listen).await;
        let mut aggregator = joined(2, Role::Aggregator, listen, &meeting).await;
        let provider = joined(1, Role::Provider, listen, &meeting).await;
        let wanted = aggregator.client.local();
        let addresses = within(async {
            loop {
                let found = provider.client.discover(Role::Aggregator).await.unwrap();
                assert!(found.iter().all(|(id, _)| *id != provider.client.local()));
                if let Some((_, addresses)) = found.into_iter().find(|(id, _)| *id == wanted)
                    && !addresses.is_empty()
                {
                    return addresses;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        assert!(
            addresses
                .iter()
                .any(|a| a.to_string() == aggregator.address)
        );
        // The provider was told of the meeting point only: the request finds its own way.
        let (asked, ()) = tokio::join!(
            provider.client.send_offer(wanted, harness::offer(10)),
            async {
                if let Event::OfferRequest { reply, .. } = aggregator.request().await {
                    reply.send(OfferReply::Accepted { lease_ms: 1 });
                }
            }
        );
        assert_eq!(asked.unwrap(), OfferReply::Accepted { lease_ms: 1 });
        let providers = within(async {
            loop {
                let found = aggregator.client.discover(Role::Provider).await.unwrap();
                if !found.is_empty() {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        assert_eq!(providers.await[0].0, provider.client.local());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_dial_one_another_at_once_are_connected() {
    for round in 0..12_u8 {
        let one = node(round * 2 + 100, Role::Aggregator, TCP).await;
        let two = node(round * 2 + 101, Role::Provider, TCP).await;
        let dials =
            async { tokio::join!(one.client.dial(&two.address), two.client.dial(&one.address)) };
        let (there, back) = within(dials).await;
        let found = (there.unwrap(), back.unwrap());
        assert_eq!(found, (two.client.local(), one.client.local()), "{round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_stops_abruptly_is_lost() {
    for listen in [TCP, QUIC] {
        let (provider, mut aggregator) = pair(listen).await;
        let gone = provider.client.local();
        aggregator.hears_connected(gone).await;
        provider.task.abort();
        aggregator.hears_lost(gone).await;
        assert_eq!(aggregator.client.peers().await.unwrap(), []);
    }
}

/// A node that dials `address` and then freezes: a runtime of one thread, which blocks. Nothing of the
/// peer moves any more, and the kernel keeps its sockets, until the sender is dropped.
fn frozen(seed: u8, listen: &'static str, address: String) -> (SyncSender<()>, JoinHandle<()>) {
    let (freeze, frozen) = sync_channel::<()>(0);
    let peer = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let config = config(seed, Role::Provider, listen);
            let (client, _events, event_loop) = Network::new(config).unwrap();
            tokio::spawn(event_loop.run());
            client.dial(&address).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
            let _ = frozen.recv();
        });
    });
    (freeze, peer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_freezes_is_lost_although_its_connection_stays_open() {
    let mut aggregator = node(2, Role::Aggregator, TCP).await;
    let (freeze, peer) = frozen(1, TCP, aggregator.address.clone());
    let id = public_key_of([1; 32]).unwrap();
    aggregator.hears_connected(id).await;
    aggregator.hears_lost(id).await;
    drop(freeze);
    peer.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_comes_back_is_not_asked_over_the_connection_of_its_past_life() {
    for listen in [TCP, QUIC] {
        let mut patient = config(2, Role::Aggregator, listen);
        patient.ping_timeout = Duration::from_secs(600);
        patient.request_timeout = Duration::from_secs(600);
        let mut aggregator = start(patient).await;
        let (freeze, peer) = frozen(1, listen, aggregator.address.clone());
        let id = public_key_of([1; 32]).unwrap();
        aggregator.hears_connected(id).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let again = node(1, Role::Provider, listen).await;
        again.client.dial(&aggregator.address).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Requests take turns over the connections there are. Nobody answers for this provider's
        // daemon, which is an answer.
        drop(again.events);
        for byte in 0..4 {
            let assignment = harness::id(byte);
            let asked = aggregator.client.reveal(
                id,
                RevealRequest {
                    assignment,
                    trace: None,
                },
            );
            let reply = within(asked).await.unwrap();
            assert!(matches!(reply, RevealReply::Refused { .. }), "{reply:?}");
        }
        drop(freeze);
        peer.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_says_good_bye_and_closes_the_client() {
    let (mut provider, mut aggregator) = pair(QUIC).await;
    let gone = provider.client.local();
    aggregator.hears_connected(gone).await;
    within(provider.client.shutdown()).await;
    provider.client.shutdown().await;
    aggregator.hears_lost(gone).await;
    let error = provider.client.peers().await.unwrap_err();
    assert!(matches!(error, Error::Closed), "{error}");
    while within(provider.events.recv()).await.is_some() {}
    within(provider.task).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_node_that_comes_back_is_dialed_again() {
    let mut first = node(2, Role::Aggregator, TCP).await;
    let mut provider = joined(1, Role::Provider, TCP, &first).await;
    let (up, down) = (first.client.local(), provider.client.local());
    first.hears_connected(down).await;
    provider.hears_connected(up).await;
    let (listen, _) = first.address.split_once("/p2p/").unwrap();
    let listen = listen.to_owned();
    first.task.abort();
    provider.hears_lost(up).await;
    let mut again = node(2, Role::Aggregator, &listen).await;
    again.hears_connected(down).await;
    provider.hears_connected(up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_limit_are_refused() {
    let mut narrow = config(2, Role::Aggregator, TCP);
    narrow.connections.incoming = 1;
    let mut aggregator = start(narrow).await;
    let first = node(1, Role::Provider, TCP).await;
    first.client.dial(&aggregator.address).await.unwrap();
    aggregator.hears_connected(first.client.local()).await;
    let second = node(3, Role::Provider, TCP).await;
    // The limit is checked when the peer is known, which is after the dialer's side is done: it may
    // see a connection that closes at once.
    let _ = second.client.dial(&aggregator.address).await;
    let offer = second
        .client
        .send_offer(aggregator.client.local(), harness::offer(10));
    let error = within(offer).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let peers = aggregator.client.peers().await.unwrap();
    assert_eq!(peers, [first.client.local()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dialing_names_what_is_wrong() {
    let (provider, aggregator) = pair(TCP).await;
    let again = provider.client.dial(&aggregator.address).await.unwrap();
    assert_eq!(again, aggregator.client.local());
    let (place, _) = aggregator.address.split_once("/p2p/").unwrap();
    let stranger = network::peer_id_of(public_key_of([9; 32]).unwrap()).unwrap();
    for address in [
        "not an address".to_owned(),
        "/ip4/127.0.0.1/tcp/1".to_owned(),
        format!("{place}/p2p/{stranger}"),
    ] {
        let error = provider.client.dial(&address).await.unwrap_err();
        assert!(
            matches!(error, Error::Address { .. } | Error::Unreachable { .. }),
            "{address}: {error}"
        );
    }
    let unknown = public_key_of([9; 32]).unwrap();
    let offer = provider.client.send_offer(unknown, harness::offer(10));
    let error = within(offer).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_daemon_refuses_requests() {
    let (provider, aggregator) = pair(TCP).await;
    drop(aggregator.events);
    let offer = provider
        .client
        .send_offer(aggregator.client.local(), harness::offer(10));
    let Ok(OfferReply::Refused(refusal)) = within(offer).await else {
        panic!("not refused");
    };
    assert_eq!(refusal.code, RefusalCode::Unanswered);
}

#[tokio::test]
async fn a_bad_configuration_is_refused_by_name() {
    let mut address = config(1, Role::Provider, "/ip4/nowhere");
    address.bootstrap.clear();
    let mut queue = config(1, Role::Provider, TCP);
    queue.event_queue = 0;
    let mut pings = config(1, Role::Provider, TCP);
    pings.ping_interval = Duration::ZERO;
    let mut bootstrap = config(1, Role::Provider, TCP);
    bootstrap.bootstrap = vec!["/ip4/127.0.0.1/tcp/1".into(); 65];
    for (config, expected) in [
        (address, "/ip4/nowhere"),
        (queue, "event_queue = 0"),
        (pings, "ping_interval = 0"),
        (bootstrap, "bootstrap = 65 addresses"),
    ] {
        let error = Network::new(config).unwrap_err();
        assert!(error.is_callers_fault(), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
