//! Why a request was refused: one catalogue of every stable code, from which every answer is built.

use std::fmt;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// Seconds after which to try again what was refused only for now.
const RETRY_AFTER_S: u32 = 1;

/// What is the same for every occurrence of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Stable code for programs.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// A short title.
    pub title: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What to do about it.
    pub fix: &'static str,
}

macro_rules! catalogue {
    ($($(#[$doc:meta])* $name:ident = $status:literal $code:literal: $title:literal, $meaning:literal, $fix:literal;)*) => {
        /// A stable code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// What is the same for every occurrence.
            pub const fn explained(self) -> &'static Explained {
                match self {
                    $(Self::$name => &Explained {
                        code: $code,
                        status: $status,
                        title: $title,
                        meaning: $meaning,
                        fix: $fix,
                    },)*
                }
            }

            /// Every code, in order of status.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }

        const CATALOGUE: &[Explained] = &[$(*Code::$name.explained(),)*];
    };
}

catalogue! {
    /// The request is invalid.
    InvalidRequest = 400 "invalid-request":
        "The request is invalid",
        "A value in the request is malformed or out of its bounds; the detail names it and the bound.",
        "Correct the value that the detail names and send the request again.";
    /// The body is not what was announced.
    DigestMismatch = 400 "digest-mismatch":
        "The body is not what was announced",
        "The SHA-256 of the body differs from the Content-Digest that was signed.",
        "Compute Content-Digest over exactly the bytes that are sent; look for a proxy that rewrites bodies.";
    /// Operator token required.
    Unauthorized = 401 "unauthorized":
        "Operator token required",
        "The call is the operator's, and its bearer token is missing or wrong.",
        "Send `Authorization: Bearer TOKEN` with the content of `operator.token` in the aggregator's data directory.";
    /// Signature does not verify.
    Signature = 401 "signature":
        "Signature does not verify",
        "What was handed in (a package, an accusation, a report) is not signed by the key it names.",
        "Sign again with the right key, and do not change the text after signing.";
    /// The request must be signed.
    Unsigned = 401 "unsigned":
        "The request must be signed",
        "This call changes something, so the client signs the request (RFC 9421), and no signature came with it.",
        "Use a client that signs, `assay job submit --key FILE` for example, or sign as the API page describes.";
    /// The request's signature does not verify.
    RequestSignature = 401 "request-signature":
        "The request's signature does not verify",
        "The signature over the request is malformed, covers too little, or is not by the key it names.",
        "Sign the method, path, query and body as they are sent; look for a proxy that rewrites them.";
    /// The request's signature is too old or too new.
    SignatureExpired = 401 "signature-expired":
        "The request's signature is too old or too new",
        "The time at which the request says that it was signed is too far from the aggregator's clock.",
        "Set the clock of the machine that signs; the detail names both times.";
    /// Not enough money.
    InsufficientFunds = 402 "insufficient-funds":
        "Not enough money",
        "The client's account does not hold what the job would put in escrow.",
        "Have the operator deposit to the account that the detail names, or lower max_price.";
    /// Signer not trusted.
    UnknownSigner = 403 "unknown-signer":
        "Signer not trusted",
        "This aggregator takes jobs of named clients only, and the signer is none of them.",
        "Ask the operator to start the aggregator with `--trust` and your client id.";
    /// Not what the job's client knows.
    WrongShare = 403 "wrong-share":
        "Not what the job's client knows",
        "The share is not the one that the job's nonce promises.",
        "Use the machine and the cache from which the job was submitted.";
    /// Another client's.
    NotYours = 403 "not-yours":
        "Another client's",
        "The job or case belongs to another client than the one that signed the request.",
        "Sign with the key that the job or case was made with (`--key`).";
    /// Not a validator here.
    UnknownValidator = 403 "unknown-validator":
        "Not a validator here",
        "The operator has not listed this validator.",
        "Ask the operator to start the aggregator with `--validator` and your id.";
    /// Not from another site's page.
    CrossOrigin = 403 "cross-origin":
        "Not from another site's page",
        "A browser sent the request for a page of another site, which may not change anything here.",
        "Call from a program, from this aggregator's own page, or from an origin that the operator allowed (`--allow-origin`).";
    /// Not found.
    NotFound = 404 "not-found":
        "Not found",
        "There is no such route, job, case or blob.",
        "Check the id and the path.";
    /// Method not allowed.
    MethodNotAllowed = 405 "method-not-allowed":
        "Method not allowed",
        "The route exists and has no such method.",
        "See `/api/v1/openapi.json` for the methods of each route.";
    /// The request took too long.
    RequestTimeout = 408 "request-timeout":
        "The request took too long",
        "The request did not arrive whole, or was not decided, within the route's time.",
        "Send it again; an Idempotency-Key makes that safe.";
    /// Not possible in this state.
    Conflict = 409 "conflict":
        "Not possible in this state",
        "What is asked for does not fit the state that the job, case or account is in.",
        "Look at its state, then decide whether to wait.";
    /// The upload is not so far.
    UploadOffset = 409 "upload-offset":
        "The upload is not so far",
        "An upload was to go on after bytes of which some are not here; the detail says how many are.",
        "Go on from what `GET` on the blob's `/upload` says, or begin anew without an offset.";
    /// The request was taken before.
    Replayed = 409 "replayed":
        "The request was taken before",
        "A request with this nonce was taken from this client already. Each signature counts once.",
        "Sign again with a new nonce; an Idempotency-Key makes repeating safe.";
    /// The same request is being decided.
    IdempotencyInFlight = 409 "idempotency-in-flight":
        "The same request is being decided",
        "Another request with this Idempotency-Key has not been answered yet.",
        "Wait a moment and send the same request again.";
    /// Nobody can serve this job.
    NobodyServes = 409 "nobody-serves":
        "Nobody can serve this job",
        "Too few eligible providers are online for what the job asks for.",
        "Wait for providers, or ask for fewer replicas or another device.";
    /// Not answered yet, or final.
    NotProvisional = 409 "not-provisional":
        "Not answered yet, or final",
        "The job has no provisional result that could be challenged.",
        "Challenge while the job is provisional.";
    /// Nothing left to pay it with.
    NothingLeft = 409 "nothing-left":
        "Nothing left to pay it with",
        "The job's escrow cannot pay for one more execution.",
        "Submit with a larger max_price.";
    /// The epoch takes no reports.
    EpochNotOpen = 409 "epoch-not-open":
        "The epoch takes no reports",
        "Reports are taken for the epoch that has just ended only.",
        "Ask `/api/v1/epoch` which one that is.";
    /// Accused already.
    CaseOpen = 409 "case-open":
        "Accused already",
        "Another case against this answer is open.",
        "Wait until it is decided.";
    /// Decided already.
    CaseDecided = 409 "case-decided":
        "Decided already",
        "The case is decided, or the stake was taken.",
        "Nothing is left to do.";
    /// The case takes no more jobs.
    CaseOver = 409 "case-over":
        "The case takes no more jobs",
        "The time in which jobs may be tied to the case is over.",
        "Open a case with a longer window.";
    /// Not an answer that was judged here.
    NotJudged = 409 "not-judged":
        "Not an answer that was judged here",
        "The accused answer is none of this aggregator's, or has not been judged.",
        "Accuse at the aggregator whose receipt you hold.";
    /// Answered too long ago.
    TooOld = 409 "too-old":
        "Answered too long ago",
        "Answers can be accused for a limited time only.",
        "Nothing can be done at this aggregator any more.";
    /// Nothing to take.
    NothingAtStake = 409 "nothing-at-stake":
        "Nothing to take",
        "The accused provider has no stake.",
        "Nothing can be won by accusing it.";
    /// Too late to be tied to a case.
    TooLate = 409 "too-late":
        "Too late to be tied to a case",
        "Somebody has committed to an answer of the job already.",
        "Tie a job before it is submitted.";
    /// The ledger refused.
    LedgerRefused = 409 "ledger-refused":
        "The ledger refused",
        "The movement would break a rule of the ledger; the detail names it.",
        "Look at the balances, and at whether the reference was used before.";
    /// Another report for the same epoch.
    ContradictingReport = 409 "contradicting-report":
        "Another report for the same epoch",
        "The validator has signed two different reports of one epoch. Both are kept as evidence.",
        "Sign one report for each epoch.";
    /// Ended long ago.
    Archived = 410 "archived":
        "Ended long ago",
        "The job ended so long ago that only its record is left.",
        "Use the record, or submit the job anew.";
    /// No longer kept.
    Gone = 410 "gone":
        "No longer kept",
        "The result, record or blob was removed, because nobody needed it any more or it was kept as long as the operator keeps results.",
        "Fetch results soon after a job has ended; a new job executes it again.";
    /// Too large.
    TooLarge = 413 "too-large":
        "Too large",
        "The body has more bytes than the route takes; the detail names both.",
        "Send a smaller body, or fewer bytes of the blob.";
    /// Not JSON.
    UnsupportedMediaType = 415 "unsupported-media-type":
        "Not JSON",
        "The route takes JSON, and the request says that it sends something else.",
        "Send `Content-Type: application/json`.";
    /// No such range.
    RangeNotSatisfiable = 416 "range-not-satisfiable":
        "No such range",
        "The range begins behind the end of the content.",
        "Ask for a range within the size that Content-Range names.";
    /// Not a name of this aggregator.
    UnknownHost = 421 "unknown-host":
        "Not a name of this aggregator",
        "The Host header is no address, not localhost, and no name that the operator gave.",
        "Use the aggregator's address, or ask the operator to start it with `--http-name`.";
    /// Price ceiling too low.
    PriceTooLow = 422 "price-too-low":
        "Price ceiling too low",
        "No provider executes the job's shards for what max_price leaves for each.",
        "Raise max_price; the detail names what it would take.";
    /// Idempotency key reused.
    IdempotencyMismatch = 422 "idempotency-mismatch":
        "Idempotency key reused",
        "This Idempotency-Key was used for another request.",
        "Use a new key for a new request.";
    /// The record would be too large.
    RecordTooLarge = 422 "record-too-large":
        "The record would be too large",
        "With so many replicas of so many shards nobody could fetch the job's record.",
        "Put more items in a shard.";
    /// Another work than was accused.
    NotTheSame = 422 "not-the-same":
        "Another work than was accused",
        "The job executes something else than the accused answer's job did.",
        "Take component, models and input from the accused job's record.";
    /// Too many requests.
    TooManyRequests = 429 "too-many-requests":
        "Too many requests",
        "The client, or its network, has used up what it may ask in this time.",
        "Wait for `retry_after_s` seconds, then go on more slowly.";
    /// Too many signed requests.
    NoncesFull = 429 "nonces-full":
        "Too many signed requests",
        "More signed requests were taken lately than their nonces may be remembered.",
        "Wait for `retry_after_s` seconds, then go on more slowly.";
    /// Too many idempotency keys.
    IdempotencyFull = 429 "idempotency-full":
        "Too many idempotency keys",
        "The client's kept answers have reached their bound.",
        "Reuse keys for retries only, send none where the call is idempotent by itself, or wait a day.";
    /// Headers too large.
    HeadersTooLarge = 431 "headers-too-large":
        "Headers too large",
        "The request's headers are too many or too long.",
        "Send fewer and shorter headers.";
    /// Internal error.
    Internal = 500 "internal":
        "Internal error",
        "The aggregator could not decide, for reasons of its own, which are in its log.",
        "Try again later; tell the operator the request id of the answer.";
    /// Temporarily unavailable.
    Unavailable = 503 "unavailable":
        "Temporarily unavailable",
        "The aggregator is busy, starting or stopping.",
        "Try again after `retry_after_s` seconds.";
    /// Too much at once.
    Overloaded = 503 "overloaded":
        "Too much at once",
        "The aggregator is at work on as many requests as it takes, and turned this one away unread.",
        "Try again after `retry_after_s` seconds.";
    /// Storage failed.
    StorageFull = 507 "storage-full":
        "Storage failed",
        "The aggregator cannot store anything now; nothing was changed. Reads go on.",
        "Tell the operator: the disk or the blob quota is full.";
}

/// Every code there is, in order of status.
pub const fn catalogue() -> &'static [Explained] {
    CATALOGUE
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explained().code)
    }
}

/// Why a request was refused: an RFC 9457 problem with a stable code.
#[derive(
    Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, thiserror::Error,
)]
#[error("{detail} ({code})")]
pub struct Problem {
    /// `urn:assay:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short, the same for every occurrence.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// This occurrence: offending value and bound. Never internal text.
    pub detail: String,
    /// Stable code for programs; [`catalogue`] explains it.
    pub code: String,
    /// Seconds after which it is worth trying again, where waiting helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
}

impl Problem {
    /// A problem of this code.
    pub fn of(code: Code, detail: impl Into<String>) -> Self {
        let explained = code.explained();
        let waits = matches!(
            code,
            Code::Unavailable | Code::Overloaded | Code::IdempotencyInFlight
        );
        Self {
            kind: format!("urn:assay:problem:{}", explained.code),
            title: explained.title.to_owned(),
            status: explained.status,
            detail: detail.into(),
            code: explained.code.to_owned(),
            retry_after_s: waits.then_some(RETRY_AFTER_S),
        }
    }

    /// The same, worth trying again after so long.
    #[must_use]
    pub const fn after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// 400: the request is malformed or out of bounds.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::of(Code::InvalidRequest, detail)
    }

    /// 401: the operator's token is missing or wrong.
    pub fn unauthorized() -> Self {
        Self::of(
            Code::Unauthorized,
            "send the operator token as a bearer token",
        )
    }

    /// 404: no such thing.
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::of(Code::NotFound, format!("there is no {what}"))
    }

    /// 409: not in this state.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::of(Code::Conflict, detail)
    }

    /// 413: larger than its bound.
    pub fn too_large(size: u64, max: u64) -> Self {
        let detail = format!("{size} bytes, more than the {max} allowed");
        Self::of(Code::TooLarge, detail)
    }

    /// 503: overloaded or shutting down; try again.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::of(Code::Unavailable, detail)
    }

    /// 500: ours. The cause goes to the log, not to the client.
    pub fn internal() -> Self {
        let detail = "the aggregator could not decide; see its log";
        Self::of(Code::Internal, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED.as_u16() {
            let scheme = match self.code == Code::Unauthorized.explained().code {
                true => "Bearer",
                false => "Signature",
            };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_explained_and_answered_by_the_catalogue() {
        let codes: BTreeSet<&str> = catalogue().iter().map(|known| known.code).collect();
        assert_eq!(
            codes.len(),
            Code::ALL.len(),
            "a code stands for two problems"
        );
        assert!(catalogue().is_sorted_by_key(|known| known.status));
        for code in Code::ALL {
            let known = code.explained();
            assert!(catalogue().contains(known), "{code}");
            assert!((400..=599).contains(&known.status), "{code}");
            let plain = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(known.code.chars().all(plain), "{code}");
            for text in [known.meaning, known.fix] {
                assert!(text.ends_with('.') && text.len() > 20, "{code}: {text:?}");
            }
            let problem = Problem::of(*code, "the detail");
            let document = serde_json::to_value(&problem).unwrap();
            assert_eq!(document["type"], format!("urn:assay:problem:{code}"));
            assert_eq!(document["code"], known.code);
            assert_eq!(document["status"], known.status);
            assert_eq!(document["title"], known.title);
            assert_eq!(document["detail"], "the detail");
            let waits = problem.clone().after(7).into_response();
            assert_eq!(waits.status().as_u16(), known.status);
            assert_eq!(waits.headers()[header::RETRY_AFTER], "7");
            let kind = &waits.headers()[header::CONTENT_TYPE];
            assert_eq!(kind, "application/problem+json");
            assert_eq!(
                serde_json::from_value::<Problem>(document).unwrap(),
                problem
            );
        }
    }

    #[test]
    fn what_is_refused_only_for_now_says_when_to_come_back() {
        for code in Code::ALL {
            let after = Problem::of(*code, "x").retry_after_s;
            let now = matches!(
                code,
                Code::Unavailable | Code::Overloaded | Code::IdempotencyInFlight
            );
            assert_eq!(after.is_some(), now, "{code}");
        }
    }
}
