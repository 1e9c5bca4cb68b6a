//! Which items are checked, and how. Decided after the commitment, by a beacon nobody knew before it.

use serde::{Deserialize, Serialize};

use crate::beacon::Beacon;
use crate::params::Params;
use crate::rate::{BILLION, Ppb};

/// Domain of the draw that decides whether an item is audited.
const DOMAIN: &str = "assay policy 2026 audit draw";

/// How an item is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Audit {
    /// By another provider.
    Peer,
    /// By somebody trusted. Also covers what a quorum accepted, so that holding every copy is worth nothing.
    Trusted,
}

/// How suspicious a job or provider is: a multiple of the ordinary audit rate, in thousandths. It never
/// takes the rate below the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Risk(u32);

impl Risk {
    /// The ordinary rate.
    pub const ORDINARY: Self = Self(1_000);

    /// `thousandths` of the ordinary rate; less than ordinary counts as ordinary.
    #[must_use]
    pub const fn new(thousandths: u32) -> Self {
        Self(if thousandths < 1_000 {
            1_000
        } else {
            thousandths
        })
    }

    /// Thousandths of the ordinary rate.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// At which rates an item is checked. The two exclude one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// By a peer.
    pub peer: Ppb,
    /// By somebody trusted.
    pub trusted: Ppb,
}

/// The rates for a provider that passed `passed` checks since it began or last failed: all of its items at
/// first, linearly less with each check, never below the floor.
#[must_use]
pub fn audit_rate(params: &Params, passed: u64, risk: Risk) -> Rates {
    let floor = params.peer.get();
    let above = u128::from(BILLION.saturating_sub(floor));
    let left = u128::from(params.ramp_checks.saturating_sub(passed));
    let above = above
        .saturating_mul(left)
        .checked_div(u128::from(params.ramp_checks))
        .unwrap_or(0);
    let peer = u128::from(floor).saturating_add(above);
    let peer = peer.saturating_mul(u128::from(risk.get()));
    let peer = peer.checked_div(1_000).unwrap_or(0);
    let trusted = params.trusted;
    let room = trusted.complement();
    let peer = u32::try_from(peer).map_or(room, |parts| {
        Ppb::new(parts).map_or(room, |peer| peer.min(room))
    });
    Rates { peer, trusted }
}

/// Whether, and how, item `item` of the shard that stands in `assignment` is audited. Anyone who has the
/// beacon can check the answer; before the beacon nobody can tell.
///
/// A beacon to which somebody owed a share and did not give it audits everything, so withholding a share that
/// one does not like never saves an item from being checked.
#[must_use]
pub fn audited(beacon: &Beacon, assignment: &[u8; 32], item: u64, rates: Rates) -> Option<Audit> {
    let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
    hasher.update(beacon.seed());
    hasher.update(assignment);
    hasher.update(&item.to_le_bytes());
    let draw = first_u64(&hasher.finalize());
    if rates.trusted.happens(draw) {
        return Some(Audit::Trusted);
    }
    let either = rates.trusted.or(rates.peer);
    (beacon.is_forced() || either.happens(draw)).then_some(Audit::Peer)
}

/// The first eight bytes of a hash, as a number.
pub(crate) fn first_u64(hash: &blake3::Hash) -> u64 {
    let bytes = hash.as_bytes().iter().take(8);
    bytes.fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beacon::tests::beacon;

    #[test]
    fn the_rate_falls_to_a_hard_floor_and_risk_only_raises_it() {
        let params = Params::default();
        let room = params.trusted.complement();
        for (passed, risk, peer) in [
            (0, Risk::ORDINARY, room),
            (100, Risk::ORDINARY, Ppb::millionths(537_500)),
            (199, Risk::ORDINARY, Ppb::millionths(79_625)),
            (200, Risk::ORDINARY, params.peer),
            (u64::MAX, Risk::ORDINARY, params.peer),
            (u64::MAX, Risk::new(0), params.peer),
            (u64::MAX, Risk::new(2_000), Ppb::millionths(150_000)),
            (u64::MAX, Risk::new(u32::MAX), room),
        ] {
            let rates = audit_rate(&params, passed, risk);
            assert_eq!(
                (rates.peer, rates.trusted),
                (peer, params.trusted),
                "{passed} {risk:?}"
            );
        }
    }

    #[test]
    fn items_are_audited_at_the_rate_and_each_by_its_own_draw() {
        let rates = Rates {
            peer: Ppb::millionths(100_000),
            trusted: Ppb::millionths(20_000),
        };
        let items = 200_000u64;
        let count = |beacon: &Beacon, assignment: [u8; 32]| {
            let all = (0..items).filter_map(|item| audited(beacon, &assignment, item, rates));
            let trusted = all.clone().filter(|audit| *audit == Audit::Trusted).count();
            (
                all.count() as f64 / items as f64,
                trusted as f64 / items as f64,
            )
        };
        // Five standard deviations are 0.0036 and 0.0016.
        let (all, trusted) = count(&beacon(1), [7; 32]);
        assert!((all - 0.12).abs() < 0.0036, "{all}");
        assert!((trusted - 0.02).abs() < 0.0016, "{trusted}");
        let draws = |beacon: &Beacon, assignment: [u8; 32]| {
            let draw = |item| audited(beacon, &assignment, item, rates).is_some();
            (0..256).map(draw).collect::<Vec<_>>()
        };
        let first = draws(&beacon(1), [7; 32]);
        assert_eq!(first, draws(&beacon(1), [7; 32]), "anyone can check it");
        assert_ne!(first, draws(&beacon(2), [7; 32]), "another beacon");
        assert_ne!(first, draws(&beacon(1), [8; 32]), "another assignment");
    }

    #[test]
    fn a_withheld_share_audits_everything() {
        let none = Rates {
            peer: Ppb::ZERO,
            trusted: Ppb::ZERO,
        };
        let forced = Beacon::new([1; 32], true);
        assert!((0..100).all(|item| audited(&forced, &[0; 32], item, none) == Some(Audit::Peer)));
        assert!((0..100).all(|item| audited(&beacon(1), &[0; 32], item, none).is_none()));
    }
}
