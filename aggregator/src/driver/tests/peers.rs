//! What peers say happens in the order in which the network heard of it.

use network::{Event, Network, NetworkConfig, Role};

use super::provider::{Manner, Scripted};
use super::rig::{Rig, TestJob, config};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_market_in_one_network_needs_to_be_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.prefix_diversity = true;
    let running = crate::start(config).await.unwrap();
    let rig = Rig::of(dir, running);
    rig.fund().await;
    let _one = Scripted::join(1, Manner::Honest, &rig.running).await;
    let _two = Scripted::join(2, Manner::Honest, &rig.running).await;
    let providers = rig.http.providers().await.unwrap();
    let [one, two] = &providers[..] else {
        panic!("{providers:?}");
    };
    assert_eq!(one.prefix, two.prefix, "both are on this machine");
    assert_ne!(one.operator, two.operator);
    let job = TestJob::new();
    let refused = rig.http.submit(&job.signed(&rig.key)).await.unwrap_err();
    let text = "1 providers of different operators and networks, 2 needed";
    assert!(refused.to_string().contains(text), "{refused}");
}
