//! The stable codes of an aggregator's refusals: what each means, what to do, and how the program ends on it.

use crate::exit::Exit;

/// A refusal, explained.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Explained {
    /// Its stable code.
    pub(crate) code: &'static str,
    /// How the program ends on it.
    pub(crate) exit: Exit,
    /// What it means.
    pub(crate) meaning: &'static str,
    /// What to do.
    pub(crate) fix: &'static str,
}

const fn row(
    code: &'static str,
    exit: Exit,
    meaning: &'static str,
    fix: &'static str,
) -> Explained {
    Explained {
        code,
        exit,
        meaning,
        fix,
    }
}

/// Every code, by name.
pub(crate) const fn catalogue() -> &'static [Explained] {
    CATALOGUE
}

const CATALOGUE: &[Explained] = &[
    row(
        "archived",
        Exit::Failure,
        "the job ended long ago; only its record is left",
        "fetch it with `assay job results JOB`; to run it again, submit it again",
    ),
    row(
        "case-decided",
        Exit::Failure,
        "a case has decided about this answer, or its stake is taken",
        "look at it with `assay liquidation show CASE`",
    ),
    row(
        "case-open",
        Exit::Failure,
        "you have accused this answer before, and the case is open",
        "go on with `assay liquidation verify CASE DIR`",
    ),
    row(
        "case-over",
        Exit::Failure,
        "the time in which jobs may be tied to the case is over",
        "wait for its decision: `assay liquidation show CASE`",
    ),
    row(
        "conflict",
        Exit::Failure,
        "not possible in the state that the job or account is in",
        "`assay job describe JOB` shows the state",
    ),
    row(
        "contradicting-report",
        Exit::Failure,
        "a validator signed two different reports of one epoch",
        "run one validator with one key; the first report counts",
    ),
    row(
        "cross-origin",
        Exit::Failure,
        "a browser sent the request for a page of another site, which may not change anything here",
        "call from a program, from this aggregator's own page, or from an origin that the operator allowed (`--allow-origin`)",
    ),
    row(
        "digest-mismatch",
        Exit::Usage,
        "the SHA-256 of the body differs from the Content-Digest that was signed",
        "compute Content-Digest over exactly the bytes that are sent; look for a proxy that rewrites bodies",
    ),
    row(
        "epoch-not-open",
        Exit::Failure,
        "the epoch is over, has not begun, or is closed",
        "compare the clocks: `assay doctor`",
    ),
    row(
        "gone",
        Exit::Failure,
        "what was asked for is not kept any more",
        "nothing brings it back",
    ),
    row(
        "headers-too-large",
        Exit::Usage,
        "the request's headers are too many or too long",
        "send fewer and shorter headers",
    ),
    row(
        "idempotency-full",
        Exit::Failure,
        "the client's kept answers have reached their bound",
        "reuse keys for retries only, send none where the call is idempotent by itself, or wait a day",
    ),
    row(
        "idempotency-in-flight",
        Exit::Failure,
        "another request with this Idempotency-Key has not been answered yet",
        "wait a moment and send the same request again",
    ),
    row(
        "idempotency-mismatch",
        Exit::Usage,
        "this idempotency key was used with another body",
        "use a new key for each request; `assay` does",
    ),
    row(
        "insufficient-funds",
        Exit::Payment,
        "your balance does not cover the job's price ceiling",
        "lower [price] max in job.toml, or have the operator deposit: `assay key show` prints your client id",
    ),
    row(
        "internal",
        Exit::Failure,
        "the aggregator could not decide, through no fault of yours",
        "try again; its operator finds the cause in its log",
    ),
    row(
        "invalid-request",
        Exit::Usage,
        "the request is malformed or a value is out of bounds",
        "correct the value that is named",
    ),
    row(
        "ledger-refused",
        Exit::Failure,
        "the ledger refused the transfer",
        "`assay ledger audit` looks for why",
    ),
    row(
        "method-not-allowed",
        Exit::Usage,
        "the route has no such method",
        "see the API's description",
    ),
    row(
        "nobody-serves",
        Exit::Failure,
        "too few providers that are there now meet what the job needs",
        "wait for providers, or ask for less: `assay job quote` says what is missing",
    ),
    row(
        "nonces-full",
        Exit::Failure,
        "more signed requests were taken lately than their nonces may be remembered",
        "wait for `retry_after_s` seconds, then go on more slowly",
    ),
    row(
        "not-found",
        Exit::Failure,
        "there is no such job, blob or route at this aggregator",
        "check the id with `assay job list`, and the aggregator with `assay config show --origin`",
    ),
    row(
        "not-judged",
        Exit::Failure,
        "not an answer that was judged here, or one that is forgotten",
        "check shard and provider with `assay receipt verify DIR`",
    ),
    row(
        "not-provisional",
        Exit::Failure,
        "the item has no answer yet, or its answer is final",
        "only results in phase `provisional` can be challenged",
    ),
    row(
        "not-the-same",
        Exit::Usage,
        "the job executes something else than the accused answer is of",
        "make the job with `assay liquidation verify`",
    ),
    row(
        "not-yours",
        Exit::Signature,
        "the job or case belongs to another client",
        "use the key that it was submitted with: `assay key list`",
    ),
    row(
        "nothing-at-stake",
        Exit::Failure,
        "the provider has nothing left that could be taken",
        "nothing is left to do",
    ),
    row(
        "nothing-left",
        Exit::Payment,
        "the job's escrow pays for no further execution",
        "give the next job a higher [price] max or max_replicas",
    ),
    row(
        "overloaded",
        Exit::Failure,
        "the aggregator is at work on as many requests as it takes, and turned this one away unread",
        "try again after `retry_after_s` seconds",
    ),
    row(
        "price-too-low",
        Exit::Payment,
        "the price ceiling leaves nothing for a single execution",
        "raise [price] max in job.toml: `assay job quote` shows what providers ask",
    ),
    row(
        "range-not-satisfiable",
        Exit::Failure,
        "the range begins behind the end of the content",
        "ask for a range within the size that Content-Range names",
    ),
    row(
        "record-too-large",
        Exit::Usage,
        "the job's record would be too large to fetch",
        "put more items into a shard: items_per_shard in job.toml",
    ),
    row(
        "replayed",
        Exit::Failure,
        "a request with this nonce was taken from this client already. Each signature counts once",
        "sign again with a new nonce; an Idempotency-Key makes repeating safe",
    ),
    row(
        "request-signature",
        Exit::Signature,
        "the signature over the request is malformed, covers too little, or is not by the key it names",
        "sign the method, path, query and body as they are sent; look for a proxy that rewrites them",
    ),
    row(
        "request-timeout",
        Exit::Failure,
        "the request did not arrive whole, or was not decided, within the route's time",
        "send it again; an Idempotency-Key makes that safe",
    ),
    row(
        "signature",
        Exit::Signature,
        "a signature does not verify, or is of something else",
        "sign again with the right key: `assay key list`",
    ),
    row(
        "signature-expired",
        Exit::Signature,
        "the time at which the request says that it was signed is too far from the aggregator's clock",
        "set the clock of the machine that signs; the detail names both times",
    ),
    row(
        "storage-full",
        Exit::Resource,
        "the aggregator cannot store anything now; nothing was changed",
        "its operator must make room; then try again",
    ),
    row(
        "too-large",
        Exit::Usage,
        "larger than the aggregator takes",
        "send less: the bound is named",
    ),
    row(
        "too-late",
        Exit::Failure,
        "too late for the job to be tied to a case",
        "tie a job before it is submitted",
    ),
    row(
        "too-many-requests",
        Exit::Failure,
        "the client, or its network, has used up what it may ask in this time",
        "wait for `retry_after_s` seconds, then go on more slowly",
    ),
    row(
        "too-old",
        Exit::Failure,
        "the answer was given too long ago to be accused",
        "nothing is left to do",
    ),
    row(
        "unauthorized",
        Exit::Signature,
        "the operator's token is missing or wrong",
        "pass --token-file with operator.token from the aggregator's data directory",
    ),
    row(
        "unavailable",
        Exit::Resource,
        "the aggregator is busy or full",
        "try again in a moment",
    ),
    row(
        "unknown-host",
        Exit::Failure,
        "the Host header is no address, not localhost, and no name that the operator gave",
        "use the aggregator's address, or ask the operator to start it with `--http-name`",
    ),
    row(
        "unknown-signer",
        Exit::Signature,
        "the aggregator does not take jobs signed by this key",
        "ask its operator to trust your client id (`assay key show`)",
    ),
    row(
        "unknown-validator",
        Exit::Signature,
        "the report's signer is not on the operator's list of validators",
        "have the operator add the key of `assay validator key`",
    ),
    row(
        "unsigned",
        Exit::Signature,
        "this call changes something, so the client signs the request (RFC 9421), and no signature came with it",
        "use a client that signs, `assay job submit --key FILE` for example, or sign as the API page describes",
    ),
    row(
        "unsupported-media-type",
        Exit::Usage,
        "the route takes JSON, and the request says that it sends something else",
        "send `Content-Type: application/json`",
    ),
    row(
        "wrong-share",
        Exit::Signature,
        "only who submitted the job knows what was asked for",
        "run the command where the job was submitted",
    ),
];

/// The code's row.
pub(crate) fn find(code: &str) -> Option<&'static Explained> {
    catalogue().iter().find(|row| row.code == code)
}

/// How the program ends on a refusal of this code.
pub(crate) fn exit_of(code: &str) -> Exit {
    find(code).map_or(Exit::Failure, |row| row.exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_an_aggregator_may_answer_is_explained() {
        for known in api::problem::catalogue() {
            assert!(find(known.code).is_some(), "{}", known.code);
        }
    }

    #[test]
    fn codes_are_in_order_and_each_is_there_once() {
        let codes: Vec<&str> = catalogue().iter().map(|row| row.code).collect();
        assert!(codes.is_sorted_by(|left, right| left < right), "{codes:?}");
    }
}
