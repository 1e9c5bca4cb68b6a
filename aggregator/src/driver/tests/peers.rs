//! What peers say happens in the order in which the network heard of it.

use network::{Event, Network, NetworkConfig, Role};

use super::provider::{Manner, Scripted};
use super::rig::Rig;
use crate::driver::peers::take;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_lost_and_offers_again_is_online_whatever_is_waited_for_first() {
    let rig = Rig::new().await;
    let provider = Scripted::join(1, Manner::Honest, &rig.running).await;
    // Another node hears the provider's next offer, so that the event is in the test's hands.
    let mut config = NetworkConfig::new([77; 32], Role::Aggregator);
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".into()];
    let (network, mut events, event_loop) = Network::new(config).unwrap();
    tokio::spawn(event_loop.run());
    let address = network.listeners().await.unwrap()[0].to_string();
    let answered = provider.offer_at(&address).await;
    let offered = loop {
        let event = events.recv().await.unwrap();
        if matches!(event, Event::OfferRequest { .. }) {
            break event;
        }
    };
    let shared = rig.shared();
    let lost = take(Event::Lost(provider.id), &shared).await.unwrap();
    let offered = take(offered, &shared).await.unwrap();
    offered.await;
    lost.await;
    answered.await.unwrap();
    let providers = rig.http.providers().await.unwrap();
    let found = providers.iter().find(|view| view.id == provider.id);
    assert!(found.unwrap().online);

    let lost = take(Event::Lost(provider.id), &shared).await.unwrap();
    lost.await;
    let providers = rig.http.providers().await.unwrap();
    assert!(providers.iter().all(|view| !view.online));
}
