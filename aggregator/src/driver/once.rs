//! What may happen once: signed requests, by their nonces, and requests under an idempotency key, by that.
//!
//! Nonces are kept for as long as a signature is young enough to be taken, answers under idempotency keys for a day and
//! until their job has ended. Both become durable in the batch of what they stand for, so neither a crash nor a clock
//! that is set back lets anything happen twice.

mod answers;
mod nonces;

use std::collections::BTreeSet;
use std::sync::Mutex;

use api::backend::{Answer, Asked, Response};
use api::problem::Problem;
use api::signature::Stamp;
use jobs::digest::Digest;
use jobs::ids::JobId;

pub(crate) use answers::Answers;
pub(crate) use nonces::Nonces;

use super::Shared;
use super::backend::{internal, problem};
use super::error::Error;
use super::handle::Decided;
use crate::core::{Event, Reply, RequestId};

/// Whose idempotency keys they are: a client's id, a validator's, or nobody's for the operator.
pub(crate) type Principal = [u8; 32];

/// The operator, who shows a token.
pub(crate) const OPERATOR: Principal = [0; 32];

/// Makes the answer of what was granted. Nothing for what is granted in the core and refused all the same.
type Respond = Box<dyn FnOnce(&Reply, bool) -> Option<Response> + Send>;

/// A request under an idempotency key.
#[derive(Clone, Debug)]
pub(crate) struct Keyed {
    pub(crate) principal: Principal,
    pub(crate) key: String,
    /// Digest of the request.
    pub(crate) request: Digest,
    /// Its answer is kept until this job has ended.
    pub(crate) job: Option<JobId>,
}

/// What goes with an event that a stranger asked for.
pub(crate) struct Once {
    pub(crate) stamp: Option<Stamp>,
    pub(crate) keyed: Option<Keyed>,
    pub(crate) respond: Respond,
}

/// Requests under way, by idempotency key: at most as many as there are connections.
#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<BTreeSet<(Principal, String)>>);

/// Its request is under way until this is dropped.
struct Flying<'a> {
    set: &'a InFlight,
    key: (Principal, String),
}

impl Drop for Flying<'_> {
    fn drop(&mut self) {
        if let Ok(mut set) = self.set.0.lock() {
            set.remove(&self.key);
        }
    }
}

/// A request that changes something, from here on.
pub(crate) struct Begun<'a> {
    shared: &'a Shared,
    stamp: Option<Stamp>,
    keyed: Option<Keyed>,
    _flying: Option<Flying<'a>>,
}

/// What a request leads to: its answer of old, or itself.
pub(crate) enum Beginning<'a> {
    Known(Response),
    New(Box<Begun<'a>>),
}

/// Begins a request of `principal`'s, unless it was answered before.
pub(crate) async fn begin(
    shared: &Shared,
    asked: Asked,
    principal: Principal,
) -> Answer<Beginning<'_>> {
    let Asked { stamp, idempotency } = asked;
    let Some(idempotency) = idempotency else {
        return Ok(Beginning::New(Box::new(Begun {
            shared,
            stamp,
            keyed: None,
            _flying: None,
        })));
    };
    let keyed = Keyed {
        principal,
        key: idempotency.key,
        request: idempotency.request,
        job: None,
    };
    let flying = fly(shared, &keyed)?;
    let kept = answers::recall(&*shared.store, &keyed).map_err(|error| internal(&error))?;
    let begun = Begun {
        shared,
        stamp,
        keyed: Some(keyed),
        _flying: Some(flying),
    };
    match kept {
        Some(kept) => {
            begun.note().await?;
            Ok(Beginning::Known(kept.response()))
        }
        None => Ok(Beginning::New(Box::new(begun))),
    }
}

fn fly<'a>(shared: &'a Shared, keyed: &Keyed) -> Answer<Flying<'a>> {
    let key = (keyed.principal, keyed.key.clone());
    let set = &shared.in_flight;
    let mut flying = set.0.lock().map_err(|_| Problem::internal())?;
    if !flying.insert(key.clone()) {
        return Err(internal(&Error::InFlight));
    }
    Ok(Flying { set, key })
}

impl Begun<'_> {
    /// Uses the request's nonce up, without an event.
    pub(crate) async fn note(&self) -> Answer<()> {
        let Some(stamp) = self.stamp.clone() else {
            return Ok(());
        };
        let noted = self.shared.handle.note(stamp).await;
        noted.map_err(|error| internal(&error))
    }

    /// Asks the core, and answers. `job`: whose end the answer is kept for.
    pub(crate) async fn decide(
        self,
        event: impl FnOnce(RequestId) -> Event + Send + 'static,
        rows: Vec<super::rows::Row>,
        job: Option<JobId>,
        respond: impl FnOnce(&Reply, bool) -> Option<Response> + Send + 'static,
    ) -> Answer<Result<Response, Decided>> {
        let Begun {
            shared,
            stamp,
            keyed,
            _flying,
        } = self;
        let once = Once {
            stamp,
            keyed: keyed.map(|keyed| Keyed { job, ..keyed }),
            respond: Box::new(respond),
        };
        let decided = shared.handle.request(event, rows, once).await;
        let mut decided = decided.map_err(|error| internal(&error))?;
        match (&decided.reply, decided.response.take()) {
            (_, Some(response)) => Ok(Ok(response)),
            (Some(Err(refusal)), None) => Err(problem(refusal)),
            _ => Ok(Err(decided)),
        }
    }

    /// As [`Begun::decide`], where whatever is granted has an answer.
    pub(crate) async fn settle(
        self,
        event: impl FnOnce(RequestId) -> Event + Send + 'static,
        rows: Vec<super::rows::Row>,
        job: Option<JobId>,
        respond: impl FnOnce(&Reply, bool) -> Option<Response> + Send + 'static,
    ) -> Answer<Response> {
        let decided = self.decide(event, rows, job, respond).await?;
        decided.map_err(|_| Problem::internal())
    }
}
