//! Where peers reach an aggregator: at what its operator says, which no machine behind a translation of addresses can know
//! of itself, and at what it listens on.

use std::sync::Arc;

use jobs::ids::AggregatorId;
use network::blobs::BlobStore;
use network::{Client, EventLoop, EventReceiver, Multiaddr, Network, NetworkConfig, Role};

use super::{AggregatorConfig, Error};

/// What peers can connect to: an address and a port, over TCP or QUIC.
const STACKS: [&[&str]; 4] = [
    &["ip4", "tcp"],
    &["ip6", "tcp"],
    &["ip4", "udp", "quic-v1"],
    &["ip6", "udp", "quic-v1"],
];

/// What may be listened on, and is no place that anybody reaches.
const NOWHERE: [&str; 4] = ["/ip4/0.0.0.0", "/ip6/::", "/tcp/0", "/udp/0"];

/// The addresses that the operator gave, each with the aggregator's own id at its end.
#[derive(Debug)]
pub(super) struct Reached(Vec<Multiaddr>);

impl Reached {
    /// Reads what the operator gave.
    pub(super) fn new(id: AggregatorId, given: &[String]) -> Result<Self, Error> {
        let named = given.iter().map(|text| {
            named(id, text).map_err(|why| {
                Error::Config(format!("p2p_external {text:?} cannot be used: {why}"))
            })
        });
        Ok(Self(named.collect::<Result<_, _>>()?))
    }

    /// Joins the network.
    pub(super) fn join(
        &self,
        config: &AggregatorConfig,
        blobs: &BlobStore,
    ) -> Result<(Client, EventReceiver, EventLoop), Error> {
        let mut settings = NetworkConfig::new(config.seed, Role::Aggregator);
        settings.listen = config.p2p.clone();
        let mut external = self.0.clone();
        for address in &mut external {
            // The network adds the id itself where one is wanted, as to what is listened on.
            address.pop();
        }
        settings.external = external.iter().map(ToString::to_string).collect();
        settings.blobs = Some(Arc::new(blobs.clone()));
        Network::new(settings).map_err(|error| match error.is_callers_fault() {
            true => Error::Config(error.to_string()),
            false => error.into(),
        })
    }

    /// What the aggregator tells: what the operator gave first, then what it listens on.
    pub(super) fn addresses(&self, listeners: &[Multiaddr]) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for address in self.0.iter().chain(listeners) {
            let address = address.to_string();
            if !all.contains(&address) {
                all.push(address);
            }
        }
        all
    }
}

/// The address that is meant, with the id at its end, or what is wrong with it.
fn named(id: AggregatorId, text: &str) -> Result<Multiaddr, String> {
    let address: Multiaddr = text
        .parse()
        .map_err(|error| format!("it is no multiaddress: {error}"))?;
    let peer = network::peer_id_of(id).map_err(|error| error.to_string())?;
    let named = address.with_p2p(peer).map_err(|_| {
        format!("it names another peer; this aggregator is {peer}, and need not be named")
    })?;
    let mut bare = named.clone();
    bare.pop();
    let stack: Vec<&str> = bare.protocol_stack().collect();
    if !STACKS.contains(&stack.as_slice()) {
        let form = "/ip4/ADDRESS/tcp/PORT or /ip4/ADDRESS/udp/PORT/quic-v1 (or /ip6/...)";
        return Err(format!("write it as {form}"));
    }
    match bare
        .iter()
        .find(|part| NOWHERE.contains(&part.to_string().as_str()))
    {
        Some(part) => Err(format!("nobody can connect to {part}")),
        None => Ok(named),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(seed: u8) -> AggregatorId {
        network::public_key_of([seed; 32]).unwrap()
    }

    #[test]
    fn what_the_operator_gives_is_told_first_and_once_and_named() {
        let peer = network::peer_id_of(id(1)).unwrap();
        let given = [
            "/ip4/203.0.113.7/tcp/7701".to_owned(),
            format!("/ip6/2001:db8::7/udp/7701/quic-v1/p2p/{peer}"),
        ];
        let reached = Reached::new(id(1), &given).unwrap();
        let listeners = [
            format!("/ip4/172.17.0.2/tcp/7701/p2p/{peer}"),
            format!("/ip4/203.0.113.7/tcp/7701/p2p/{peer}"),
        ];
        let listeners = listeners.map(|text| text.parse().unwrap());
        assert_eq!(
            reached.addresses(&listeners),
            [
                format!("/ip4/203.0.113.7/tcp/7701/p2p/{peer}"),
                format!("/ip6/2001:db8::7/udp/7701/quic-v1/p2p/{peer}"),
                format!("/ip4/172.17.0.2/tcp/7701/p2p/{peer}"),
            ]
        );
    }

    #[test]
    fn an_address_that_nobody_could_use_is_named_with_what_is_wrong() {
        let other = network::peer_id_of(id(2)).unwrap();
        let foreign = format!("/ip4/203.0.113.7/tcp/7701/p2p/{other}");
        for (given, said) in [
            ("203.0.113.7:7701", "no multiaddress"),
            ("", "write it as"),
            ("/ip4/203.0.113.7", "write it as"),
            ("/ip4/203.0.113.7/udp/7701", "write it as"),
            ("/dns4/assay.example.org/tcp/7701", "write it as"),
            (
                "/ip4/0.0.0.0/tcp/7701",
                "nobody can connect to /ip4/0.0.0.0",
            ),
            ("/ip6/::/tcp/7701", "nobody can connect to /ip6/::"),
            ("/ip4/203.0.113.7/tcp/0", "nobody can connect to /tcp/0"),
            (&foreign, "another peer"),
        ] {
            let error = Reached::new(id(1), &[given.to_owned()]).unwrap_err();
            assert!(error.is_callers_fault());
            let error = error.to_string();
            assert!(error.contains(&format!("{given:?}")), "{error}");
            assert!(error.contains(said), "{given}: {error}");
        }
    }
}
