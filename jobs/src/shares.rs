//! What draws about a job were made of, as its settlement opens it.

use serde::{Deserialize, Serialize};

use crate::policy::Share;

/// The shares by which it was drawn who executes a job's shards and which answers are audited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shares {
    /// The aggregator's, promised in its reply to the submission.
    pub aggregator: Share,
    /// The client's, promised by the package's nonce, if it gave one.
    pub client: Option<Share>,
    /// Whether the client's was there before the first assignment went out, and so decided who executes, too.
    pub by_both: bool,
    /// At which rates answers were drawn at least, in a job whose answers are audited.
    pub floor: Option<Floor>,
}

/// The rates below which audits never fall, in parts per billion of the units that are audited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// By another provider.
    pub peer: u32,
    /// By a referee.
    pub trusted: u32,
}
