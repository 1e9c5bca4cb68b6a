//! Who of two providers computed wrongly, found with the work of one node.
//!
//! Two providers disagree about one execution of a model. Each runs it once more, node by node, and commits to a
//! [`CommittedTrace`]: a Merkle tree over *positions*, the places between two nodes in the model's canonical order,
//! whose leaf is a digest of the *frontier* there, all tensors that cross it. The [`Referee`] asks both for the
//! digests at a few positions, keeps the first stretch whose beginning agrees and whose end does not, and asks again
//! within it, until the stretch is one node. That node it computes itself, from inputs on which both agree.
//!
//! Nothing here knows what a node computes, what time it is, or how questions travel: the referee is a state machine,
//! [`Progress`] says what it wants, and whoever drives it tells it what came and when waiting has ended. What every
//! party says is bounded, and every refusal is a [`Fault`] with a name.
//!
//! Digests can only be compared where two honest providers get the same bits, which is within one fingerprint.
//! Across fingerprints [`choose`] says to compute everything again and to compare with a tolerance.

mod arbitrator;
mod checks;
mod referee;
mod trace;

#[cfg(test)]
mod tests;

pub use arbitrator::{Choice, Cost, Estimate, Method, Prices, choose};
pub use referee::{Progress, Referee, Tally};
pub use trace::{CommittedTrace, Opening, TensorClaim, frontier_digest};

use crate::Error;
use crate::digest::Digest;

/// The most positions of a trace: nodes and one.
pub const POSITIONS_MAX: u32 = 1 << 16;
/// The least number of parts into which a stretch is cut.
pub const ARITY_MIN: u32 = 2;
/// The most parts into which a stretch is cut.
pub const ARITY_MAX: u32 = 64;
/// Into how many parts a stretch is cut unless somebody wants another number.
pub const ARITY_DEFAULT: u32 = 8;
/// The most tensors that cross one position.
pub const FRONTIER_TENSORS_MAX: usize = 1024;
/// The longest name of a tensor, in bytes.
pub const NAME_BYTES_MAX: usize = 512;
/// The most dimensions of a tensor.
pub const RANK_MAX: usize = 16;
/// The largest tensor that is sent to a referee, in bytes.
pub const TENSOR_BYTES_MAX: u64 = 1 << 30;

/// One of the two who disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// The one that was named first.
    First,
    /// The other one.
    Second,
}

impl Party {
    /// Both, in order.
    pub const BOTH: [Self; 2] = [Self::First, Self::Second];
}

/// What a dispute is about, known to the referee before anybody says a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Positions of the model: its nodes and one.
    pub positions: u32,
    /// Into how many parts a stretch is cut in each round.
    pub arity: u32,
    /// The frontier at position 0: the inputs, which the signed job fixes.
    pub inputs: Digest,
}

impl Terms {
    /// Checks the numbers.
    ///
    /// # Errors
    /// Which one is out of its bounds.
    pub fn check(&self) -> Result<(), Error> {
        let field = |key: &str, value: u32, bound: String| {
            Err(Error::Field {
                key: key.to_owned(),
                value: value.to_string(),
                bound,
            })
        };
        if !(2..=POSITIONS_MAX).contains(&self.positions) {
            let bound = format!("must be 2 to {POSITIONS_MAX}");
            return field("dispute.positions", self.positions, bound);
        }
        if !(ARITY_MIN..=ARITY_MAX).contains(&self.arity) {
            let bound = format!("must be {ARITY_MIN} to {ARITY_MAX}");
            return field("dispute.arity", self.arity, bound);
        }
        Ok(())
    }

    /// Nodes of the model.
    pub const fn nodes(&self) -> u32 {
        self.positions.saturating_sub(1)
    }

    /// The rounds after which one node is left, at most: the logarithm of the nodes to the base of the arity,
    /// rounded up.
    pub fn rounds_max(&self) -> u32 {
        let (mut length, mut rounds) = (self.nodes(), 0_u32);
        while length > 1 {
            length = length.div_ceil(self.arity.max(ARITY_MIN));
            rounds = rounds.saturating_add(1);
        }
        rounds
    }
}

/// What the referee must know of a model's structure, and nothing of its numbers.
pub trait Graph {
    /// Names of the tensors that cross a position, in canonical order.
    fn frontier(&self, position: u32) -> Vec<String>;
    /// Names of the tensors of the frontier that a node reads.
    fn reads(&self, node: u32) -> Vec<String>;
}

/// What the referee wants to hear, from every party that [`Progress::Asking`] lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The root of the trace, and its first and last position opened.
    Enter,
    /// Openings of these positions, in this order.
    Frontiers(Vec<u32>),
    /// What the frontiers before and after this node hold.
    Claims {
        /// The node.
        node: u32,
    },
    /// The contents of these tensors, in this order: of the frontier before the node, and of that after it.
    Contents {
        /// For each party, what it has to send.
        wanted: [Vec<TensorClaim>; 2],
    },
}

/// What a party says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Question::Enter`].
    Enter {
        /// The root of the party's trace.
        root: Digest,
        /// Position 0.
        first: Opening,
        /// The last position.
        last: Opening,
    },
    /// To [`Question::Frontiers`].
    Frontiers(Vec<Opening>),
    /// To [`Question::Claims`].
    Claims {
        /// The frontier before the node.
        before: Vec<TensorClaim>,
        /// The frontier after it.
        after: Vec<TensorClaim>,
    },
    /// To [`Question::Contents`].
    Contents(Vec<Vec<u8>>),
}

/// What a party did wrong. Each is evidence: the root it committed to and what it answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It did not answer before the referee stopped waiting.
    #[error("it did not answer question {question}")]
    NoAnswer {
        /// Which one, counted from 0.
        question: u32,
    },
    /// It answered something else than it was asked, or more than is allowed.
    #[error("{what}")]
    Malformed {
        /// What, with the value and the bound.
        what: String,
    },
    /// An opening that does not lead to the root it committed to.
    #[error("its opening of position {position} does not verify")]
    BadOpening {
        /// The position.
        position: u32,
    },
    /// Its trace does not begin at the job's inputs.
    #[error("its trace begins at {found}, the job's inputs are {expected}")]
    WrongInputs {
        /// The first frontier of the trace.
        found: Digest,
        /// The frontier that the job fixes.
        expected: Digest,
    },
    /// It answered one question twice, differently.
    #[error("it answered question {question} twice, differently")]
    Contradiction {
        /// Which one, counted from 0.
        question: u32,
    },
    /// The frontier it described is not the one it opened before.
    #[error("what it says of position {position} is not what it opened there")]
    OtherFrontier {
        /// The position.
        position: u32,
    },
    /// A tensor that a node leaves alone is another one behind the node.
    #[error("tensor {tensor:?} changed at node {node}, which does not write it")]
    Changed {
        /// Which tensor.
        tensor: String,
        /// Which node.
        node: u32,
    },
    /// Contents that are not those it described.
    #[error("the contents it sent of tensor {tensor:?} are not those it described")]
    BadContent {
        /// Which tensor.
        tensor: String,
    },
    /// It did not compute what the node computes.
    #[error("its tensor {tensor:?} is not what node {node} computes: {reason}")]
    WrongResult {
        /// Which tensor.
        tensor: String,
        /// Which node.
        node: u32,
        /// By how much, in the words of whoever computed it.
        reason: String,
    },
}

/// How a dispute ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// The traces end alike: there is nothing to dispute.
    Agreed,
    /// One party is at fault.
    Culprit {
        /// Which.
        party: Party,
        /// What it did.
        fault: Fault,
    },
    /// Both are at fault.
    BothWrong {
        /// What each did.
        faults: [Fault; 2],
    },
    /// Both results of this node are what honest arithmetic may give. Nobody is to blame.
    Ambiguous {
        /// The node.
        node: u32,
    },
}

/// The node in dispute, with all that is needed to compute it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its number in the model's canonical order.
    pub node: u32,
    /// What it reads, agreed by both.
    pub inputs: Vec<(TensorClaim, Vec<u8>)>,
    /// What each party says it writes, where they differ.
    pub outputs: [Vec<(TensorClaim, Vec<u8>)>; 2],
}

/// What came of computing the node in dispute again, for one party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Its results are what honest arithmetic may give.
    Inside,
    /// One is not.
    Outside {
        /// Which tensor.
        tensor: String,
        /// By how much.
        reason: String,
    },
}
