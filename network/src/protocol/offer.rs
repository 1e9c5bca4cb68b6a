//! `/assay/offer/1`: a provider tells an aggregator what it has and what it costs, and holds a lease
//! for as long as it keeps saying so.

use jobs::offer::Offer;
use jobs::statement::Signed;
use serde::{Deserialize, Serialize};

use super::{Refusal, Wire};

/// Largest encoded request in bytes: one statement and its envelope.
pub const REQUEST_MAX: usize = jobs::statement::STATEMENT_MAX + 1024;

/// Largest encoded reply in bytes.
pub const REPLY_MAX: usize = 1024;

/// A provider's signed offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferRequest {
    /// Not verified by this crate.
    pub offer: Signed<Offer>,
}

/// The aggregator's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OfferReply {
    /// The offer is listed.
    Accepted {
        /// Milliseconds after which it lapses unless it is repeated.
        lease_ms: u64,
    },
    /// The offer is not listed.
    Refused(Refusal),
}

#[derive(Clone, Debug)]
pub(crate) struct OfferWire;

impl Wire for OfferWire {
    const NAME: &'static str = "/assay/offer/1";
    const REQUEST_MAX: usize = REQUEST_MAX;
    const REPLY_MAX: usize = REPLY_MAX;
    type Request = OfferRequest;
    type Reply = OfferReply;
    type Echo = ();

    fn echo(_: &OfferRequest) {}

    fn echoed(_: &OfferReply) {}

    fn refuse((): (), refusal: Refusal) -> OfferReply {
        OfferReply::Refused(refusal)
    }
}
