//! Every route: what it takes, what it answers, and whose signature or token it wants.

use jobs::manifest::MODEL_BYTES_MAX;

use crate::problem::Code;

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Auth {
    /// Anybody.
    Nobody,
    /// The client whose job or case it is, by a signature over the request.
    Client,
    /// Who holds the operator's token.
    Operator,
    /// A validator, by the signed statement that is handed in.
    Statement,
}

/// What is in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Nothing,
    /// A schema by its name.
    Json(&'static str),
    /// Many of them.
    List(&'static str),
    /// An object that is described elsewhere.
    Object,
    Bytes,
    /// Text of a media type.
    Text(&'static str),
    Events,
}

/// A route and one of its methods.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) auth: Auth,
    /// Name, and what it is.
    pub(super) query: &'static [(&'static str, &'static str, u64, u64)],
    pub(super) body: Content,
    pub(super) status: &'static [u16],
    pub(super) answer: Content,
    /// Problems beside those that every route has.
    pub(super) problems: &'static [Code],
}

const READ: Operation = Operation {
    method: "get",
    path: "",
    summary: "",
    auth: Auth::Nobody,
    query: &[],
    body: Content::Nothing,
    status: &[200],
    answer: Content::Object,
    problems: &[],
};

const NO_JOB: &[Code] = &[Code::InvalidRequest, Code::NotFound];
const NO_FILE: &[Code] = &[
    Code::InvalidRequest,
    Code::NotFound,
    Code::Conflict,
    Code::Gone,
    Code::RangeNotSatisfiable,
];

macro_rules! reads {
    ($($path:literal $answer:expr, $query:expr, $problems:expr, $summary:literal;)*) => {
        &[$(Operation {
            path: $path,
            answer: $answer,
            query: $query,
            problems: $problems,
            summary: $summary,
            ..READ
        },)*]
    };
}

/// What reads.
pub(super) const READS: &[Operation] = reads! {
    "/api/v1/jobs" Content::List("JobView"), &[("limit", "How many at most", 1, 1000)], &[Code::InvalidRequest],
        "The newest jobs.";
    "/api/v1/jobs/{job}" Content::Json("JobView"), &[], NO_JOB, "One job.";
    "/api/v1/jobs/{job}/missing" Content::List("BlobRef"), &[], NO_JOB,
        "Blobs of a job that the aggregator lacks.";
    "/api/v1/jobs/{job}/events" Content::Events, &[], NO_JOB,
        "What happens to a job, as server-sent events, until it has ended. Last-Event-ID goes on after an event.";
    "/api/v1/events" Content::Events, &[], &[Code::InvalidRequest],
        "What happens to all jobs and providers, as server-sent events.";
    "/api/v1/jobs/{job}/result" Content::Bytes, &[], NO_FILE,
        "The merged result. Takes Range, If-Range and If-None-Match.";
    "/api/v1/jobs/{job}/record" Content::Object, &[], NO_FILE,
        "The public record of a finished job. Takes Range, If-Range and If-None-Match.";
    "/api/v1/jobs/{job}/blobs/{digest}" Content::Bytes, &[], NO_FILE,
        "A blob that a finished job's record names. Takes Range, If-Range and If-None-Match.";
    "/api/v1/jobs/{job}/blobs/{digest}/upload" Content::Json("UploadView"), &[], NO_JOB,
        "How far the upload of a blob that a job declared is.";
    "/api/v1/jobs/{job}/assignments" Content::List("AssignmentView"), &[],
        &[Code::InvalidRequest, Code::NotFound, Code::Conflict],
        "Every assignment of a job that has ended.";
    "/api/v1/jobs/{job}/shards" Content::Json("ShardMap"), &[("cells", "How many cells at most", 1, 4096)], NO_JOB,
        "How far a job's shards are.";
    "/api/v1/jobs/{job}/shards/{shard}" Content::Json("ShardView"), &[], NO_JOB, "One shard of a job.";
    "/api/v1/liquidations" Content::List("CaseView"), &[], &[], "The latest decided cases.";
    "/api/v1/liquidations/{case}" Content::Json("CaseView"), &[], NO_JOB,
        "One case, to whoever knows its id.";
    "/api/v1/epoch" Content::Json("EpochView"), &[], &[], "Where the game is.";
    "/api/v1/providers" Content::List("ProviderView"), &[], &[], "Every provider.";
    "/api/v1/auditing" Content::Object, &[], &[], "How answers are audited and what is at stake.";
    "/api/v1/ledger/balances" Content::List("BalanceView"), &[], &[], "Every account.";
    "/api/v1/ledger/audit" Content::Object, &[], &[], "The ledger audit's report.";
    "/api/v1/ledger/journal" Content::List("JournalView"),
        &[("after", "Entries after this number", 0, u64::MAX), ("limit", "How many at most", 1, 4096)],
        &[Code::InvalidRequest], "The ledger's journal, in pages.";
    "/api/v1/health" Content::Json("Health"), &[], &[], "The aggregator's state of health.";
    "/api/v1/openapi.json" Content::Object, &[], &[], "This description.";
    "/api/docs" Content::Text("text/html"), &[], &[], "This description, to be read.";
    "/livez" Content::Text("text/plain"), &[], &[], "Whether the process lives.";
    "/readyz" Content::Text("text/plain"), &[], &[Code::StorageFull], "Whether events are stored and peers can reach it.";
    "/metrics" Content::Text("application/openmetrics-text"), &[], &[], "What instruments read, in the text format of OpenMetrics.";
};

/// What changes something.
pub(super) const CHANGES: &[Operation] = &[
    Operation {
        method: "post",
        path: "/api/v1/jobs",
        summary: "Submits a job. The same package is the same job, however often it is submitted.",
        auth: Auth::Client,
        body: Content::Json("SignedPackage"),
        status: &[202],
        answer: Content::Json("SubmitReply"),
        problems: &[
            Code::Signature,
            Code::InsufficientFunds,
            Code::UnknownSigner,
            Code::NobodyServes,
            Code::LedgerRefused,
            Code::Conflict,
            Code::Archived,
            Code::PriceTooLow,
            Code::RecordTooLarge,
        ],
        ..READ
    },
    Operation {
        method: "put",
        path: "/api/v1/jobs/{job}/share",
        summary: "Gives the client's share of the draw.",
        auth: Auth::Client,
        body: Content::Json("ShareRequest"),
        status: &[204],
        answer: Content::Nothing,
        problems: &[
            Code::NotFound,
            Code::WrongShare,
            Code::Conflict,
            Code::Archived,
        ],
        ..READ
    },
    Operation {
        method: "post",
        path: "/api/v1/jobs/{job}/challenges",
        summary: "Has the shard of a doubted item executed again.",
        auth: Auth::Client,
        body: Content::Json("ChallengeRequest"),
        status: &[202],
        answer: Content::Json("ChallengeReply"),
        problems: &[
            Code::NotFound,
            Code::WrongShare,
            Code::NotProvisional,
            Code::NothingLeft,
            Code::Archived,
        ],
        ..READ
    },
    Operation {
        method: "post",
        path: "/api/v1/jobs/{job}/cancel",
        summary: "Ends a job that is not merged yet. What no verdict has paid returns to its client.",
        auth: Auth::Client,
        status: &[202],
        answer: Content::Json("CancelReply"),
        problems: &[Code::NotFound, Code::Conflict, Code::Archived],
        ..READ
    },
    Operation {
        method: "post",
        path: "/api/v1/quotes",
        summary: "What a job would cost now, and who could take it. Takes a package without a signature, and keeps nothing.",
        body: Content::Json("Package"),
        answer: Content::Json("QuoteView"),
        problems: &[Code::PriceTooLow, Code::RecordTooLarge],
        ..READ
    },
    Operation {
        method: "put",
        path: "/api/v1/jobs/{job}/blobs/{digest}",
        summary: "Uploads a blob that an open job declared. Its digest is in the path, so Content-Digest may be absent. \
                  What came of one that breaks off is kept for a day: offset goes on from there.",
        auth: Auth::Client,
        query: &[(
            "offset",
            "The blob's byte with which the body begins, at most what is received",
            0,
            MODEL_BYTES_MAX,
        )],
        body: Content::Bytes,
        status: &[204],
        answer: Content::Nothing,
        problems: &[Code::NotFound, Code::Conflict, Code::UploadOffset],
    },
    Operation {
        method: "post",
        path: "/api/v1/liquidations",
        summary: "Opens a case against an answer. The same accusation again is the same case.",
        auth: Auth::Client,
        body: Content::Json("SignedAccusation"),
        status: &[201],
        answer: Content::Json("CaseReply"),
        problems: &[
            Code::Signature,
            Code::UnknownSigner,
            Code::NotFound,
            Code::CaseOpen,
            Code::CaseDecided,
            Code::NotJudged,
            Code::TooOld,
            Code::NothingAtStake,
            Code::Conflict,
        ],
        ..READ
    },
    Operation {
        method: "post",
        path: "/api/v1/liquidations/{case}/jobs",
        summary: "Ties a job to a case, by its package, before anybody has answered it.",
        auth: Auth::Client,
        body: Content::Json("SignedPackage"),
        status: &[201],
        answer: Content::Json("TieReply"),
        problems: &[
            Code::Signature,
            Code::NotFound,
            Code::CaseOver,
            Code::TooLate,
            Code::NotTheSame,
        ],
        ..READ
    },
    Operation {
        method: "post",
        path: "/api/v1/scores",
        summary: "Hands in a validator's report, which is signed by itself.",
        auth: Auth::Statement,
        body: Content::Json("ScoresRequest"),
        status: &[201],
        answer: Content::Json("ScoresReply"),
        problems: &[
            Code::Signature,
            Code::UnknownValidator,
            Code::EpochNotOpen,
            Code::ContradictingReport,
        ],
        ..READ
    },
    Operation {
        method: "post",
        path: "/api/v1/ledger/deposits",
        summary: "Moves money in. A reference deposits once.",
        auth: Auth::Operator,
        body: Content::Json("DepositRequest"),
        status: &[200, 201],
        answer: Content::Json("DepositReply"),
        problems: &[Code::LedgerRefused, Code::Conflict],
        ..READ
    },
    Operation {
        method: "put",
        path: "/api/v1/providers/{provider}/ban",
        summary: "Bans a provider. No stake is taken.",
        auth: Auth::Operator,
        status: &[204],
        answer: Content::Nothing,
        problems: &[Code::InvalidRequest, Code::NotFound],
        ..READ
    },
    Operation {
        method: "delete",
        path: "/api/v1/providers/{provider}/ban",
        summary: "Readmits a provider.",
        auth: Auth::Operator,
        status: &[204],
        answer: Content::Nothing,
        problems: &[Code::InvalidRequest, Code::NotFound],
        ..READ
    },
    Operation {
        method: "post",
        path: "/api/v1/backups",
        summary: "Writes a backup into a new folder on the aggregator's machine.",
        auth: Auth::Operator,
        body: Content::Json("BackupRequest"),
        status: &[201],
        answer: Content::Json("BackupView"),
        problems: &[Code::Conflict],
        ..READ
    },
    Operation {
        method: "post",
        path: "/api/v1/collections",
        summary: "Removes blobs that nobody needs any more, or says what would be removed.",
        auth: Auth::Operator,
        body: Content::Json("CollectionRequest"),
        answer: Content::Json("CollectionView"),
        ..READ
    },
];
