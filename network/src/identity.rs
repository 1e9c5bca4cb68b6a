//! A provider's id **is** its libp2p identity: an Ed25519 public key is short enough to stand inline
//! in a peer id, so the mapping needs no table and no lookup.

use jobs::ids::ProviderId;
use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey, ed25519};

use crate::Error;

/// Multihash code of the identity function: the "hash" is the key itself.
const MULTIHASH_IDENTITY: u64 = 0;

/// The peer id of a provider.
///
/// # Errors
/// [`Error::Identity`] if the bytes are not a point on the curve.
pub fn peer_id_of(provider: ProviderId) -> Result<PeerId, Error> {
    let key = ed25519::PublicKey::try_from_bytes(&provider.0).map_err(|_| Error::Identity {
        id: provider.to_string(),
    })?;
    Ok(PeerId::from_public_key(&PublicKey::from(key)))
}

/// The provider behind a peer id; `None` if the peer's key is not Ed25519.
pub fn provider_id_of(peer: &PeerId) -> Option<ProviderId> {
    let hash = peer.as_ref();
    if hash.code() != MULTIHASH_IDENTITY {
        return None;
    }
    let key = PublicKey::try_decode_protobuf(hash.digest()).ok()?;
    Some(ProviderId(key.try_into_ed25519().ok()?.to_bytes()))
}

/// The public key of an Ed25519 secret seed: the node's own id.
pub fn public_key_of(seed: [u8; 32]) -> Result<ProviderId, Error> {
    Ok(ProviderId(ed25519_keypair(seed)?.public().to_bytes()))
}

/// The libp2p key pair of a seed.
pub(crate) fn keypair(seed: [u8; 32]) -> Result<Keypair, Error> {
    ed25519_keypair(seed).map(Keypair::from)
}

fn ed25519_keypair(mut seed: [u8; 32]) -> Result<ed25519::Keypair, Error> {
    let secret = ed25519::SecretKey::try_from_bytes(&mut seed).map_err(|error| Error::Config {
        key: "identity",
        value: "(secret)".into(),
        bound: error.to_string(),
    })?;
    Ok(ed25519::Keypair::from(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provider_and_peer_ids_map_both_ways() {
        for seed in 0..20 {
            let provider = public_key_of([seed; 32]).unwrap();
            let peer = peer_id_of(provider).unwrap();
            assert_eq!(peer, keypair([seed; 32]).unwrap().public().to_peer_id());
            assert_eq!(provider_id_of(&peer), Some(provider));
        }
    }

    #[test]
    fn bytes_off_the_curve_are_no_peer() {
        let off = (0..=u8::MAX)
            .map(|byte| ProviderId([byte; 32]))
            .filter(|id| peer_id_of(*id).is_err())
            .count();
        assert!(off > 50, "{off} of 256");
    }

    #[test]
    fn a_hashed_peer_id_is_no_provider() {
        // A peer id of the old form: a SHA-256 of a key too long to stand inline.
        let mut bytes = vec![0x12, 32];
        bytes.extend_from_slice(&[7; 32]);
        let peer = PeerId::from_bytes(&bytes).unwrap();
        assert_eq!(provider_id_of(&peer), None);
    }
}
