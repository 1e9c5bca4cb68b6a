//! Whether an answer is one: its size, its form, and whether it fits what the party said before.

use super::{
    Answer, FRONTIER_TENSORS_MAX, Fault, Graph, NAME_BYTES_MAX, Opening, Question, RANK_MAX,
    TENSOR_BYTES_MAX, TensorClaim, Terms, frontier_digest,
};
use crate::digest::{BlobRef, Digest, Domain};

/// The longest way from a leaf to the root of a trace.
const SIBLINGS_MAX: usize = 32;

pub(super) fn malformed(what: impl Into<String>) -> Fault {
    Fault::Malformed { what: what.into() }
}

/// Opens the first and the last position, and begins at the job's inputs.
pub(super) fn entry(
    terms: &Terms,
    root: &Digest,
    first: &Opening,
    last: &Opening,
) -> Result<(), Fault> {
    opening(terms, root, first, 0)?;
    opening(terms, root, last, terms.nodes())?;
    if first.frontier == terms.inputs {
        return Ok(());
    }
    Err(Fault::WrongInputs {
        found: first.frontier,
        expected: terms.inputs,
    })
}

/// Opens every position that was asked for, in order.
pub(super) fn openings(
    terms: &Terms,
    root: &Digest,
    asked: &[u32],
    given: &[Opening],
) -> Result<(), Fault> {
    if given.len() != asked.len() {
        return Err(malformed(format!(
            "it opened {} positions, asked for were {}",
            given.len(),
            asked.len()
        )));
    }
    asked
        .iter()
        .zip(given)
        .try_for_each(|(position, given)| opening(terms, root, given, *position))
}

fn opening(terms: &Terms, root: &Digest, given: &Opening, position: u32) -> Result<(), Fault> {
    if given.position != position {
        return Err(malformed(format!(
            "it opened position {}, asked for was {position}",
            given.position
        )));
    }
    if given.siblings.len() > SIBLINGS_MAX || !given.verify(root, terms.positions) {
        return Err(Fault::BadOpening { position });
    }
    Ok(())
}

/// Describes the frontiers before and after a node that were opened, and leaves alone what the node does.
pub(super) fn claims(
    graph: &impl Graph,
    node: u32,
    opened: [Digest; 2],
    [before, after]: [&[TensorClaim]; 2],
) -> Result<(), Fault> {
    let behind = node.saturating_add(1);
    for (position, digest, given) in [(node, opened[0], before), (behind, opened[1], after)] {
        frontier(given, &graph.frontier(position), position)?;
        let found = frontier_digest(given).map_err(|error| malformed(error.to_string()))?;
        if found != digest {
            return Err(Fault::OtherFrontier { position });
        }
    }
    for claim in after {
        let old = before.iter().find(|old| old.name == claim.name);
        if old.is_some_and(|old| old != claim) {
            return Err(Fault::Changed {
                tensor: claim.name.clone(),
                node,
            });
        }
    }
    Ok(())
}

/// Names what the model has at this position, and nothing too large.
fn frontier(given: &[TensorClaim], names: &[String], position: u32) -> Result<(), Fault> {
    if given.len() > FRONTIER_TENSORS_MAX {
        return Err(malformed(format!(
            "{} tensors at position {position}, the bound is {FRONTIER_TENSORS_MAX}",
            given.len()
        )));
    }
    if !given.iter().map(|claim| &claim.name).eq(names) {
        return Err(malformed(format!(
            "the tensors it names at position {position} are not those of the model"
        )));
    }
    for claim in given {
        let bound = |what: &str, value: u64, max: u64| match value > max {
            true => Err(malformed(format!(
                "the {what} of a tensor at position {position} is {value}, the bound is {max}"
            ))),
            false => Ok(()),
        };
        bound(
            "name's length",
            claim.name.len() as u64,
            NAME_BYTES_MAX as u64,
        )?;
        bound("rank", claim.dims.len() as u64, RANK_MAX as u64)?;
        bound("size in bytes", claim.content.size, TENSOR_BYTES_MAX)?;
    }
    Ok(())
}

/// Holds exactly the contents of the tensors that were asked for.
pub(super) fn contents(wanted: &[TensorClaim], given: &[Vec<u8>]) -> Result<(), Fault> {
    if given.len() != wanted.len() {
        return Err(malformed(format!(
            "it sent {} tensors, asked for were {}",
            given.len(),
            wanted.len()
        )));
    }
    let fits = |(claim, bytes): &(&TensorClaim, &Vec<u8>)| {
        claim.content.size == bytes.len() as u64 && claim.content == BlobRef::of(bytes)
    };
    match wanted.iter().zip(given).find(|pair| !fits(pair)) {
        None => Ok(()),
        Some((claim, _)) => Err(Fault::BadContent {
            tensor: claim.name.clone(),
        }),
    }
}

/// Bytes of a question, nearly: numbers of four bytes, and what names the tensors.
pub(super) fn question_bytes(question: &Question) -> u64 {
    let claims = |claims: &[TensorClaim]| {
        let sum = claims.iter().map(TensorClaim::bytes);
        sum.fold(0, u64::saturating_add)
    };
    match question {
        Question::Enter | Question::Claims { .. } => 8,
        Question::Frontiers(positions) => {
            let each = (positions.len() as u64).saturating_mul(4);
            each.saturating_mul(2).saturating_add(8)
        }
        Question::Contents { wanted } => claims(&wanted[0]).saturating_add(claims(&wanted[1])),
    }
}

/// Bytes of an answer without contents of tensors, nearly; and those contents.
pub(super) fn answer_bytes(answer: &Answer) -> (u64, u64) {
    match answer {
        Answer::Enter { first, last, .. } => {
            let openings = first.bytes().saturating_add(last.bytes());
            (openings.saturating_add(32), 0)
        }
        Answer::Frontiers(openings) => {
            let sum = openings.iter().map(Opening::bytes);
            (sum.fold(0, u64::saturating_add), 0)
        }
        Answer::Claims { before, after } => {
            let all = before.iter().chain(after).map(TensorClaim::bytes);
            (all.fold(0, u64::saturating_add), 0)
        }
        Answer::Contents(contents) => {
            let all = contents.iter().map(|bytes| bytes.len() as u64);
            (0, all.fold(0, u64::saturating_add))
        }
    }
}

/// What tells two answers apart.
pub(super) fn answer_digest(answer: &Answer) -> Digest {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut opening = |opening: &Opening| {
        parts.push(opening.position.to_le_bytes().to_vec());
        parts.push(opening.frontier.as_bytes().to_vec());
        for sibling in &opening.siblings {
            parts.push(sibling.as_bytes().to_vec());
        }
    };
    match answer {
        Answer::Enter { root, first, last } => {
            opening(first);
            opening(last);
            parts.push(root.as_bytes().to_vec());
        }
        Answer::Frontiers(openings) => openings.iter().for_each(opening),
        Answer::Claims { before, after } => {
            for claims in [before, after] {
                let digest = frontier_digest(claims).unwrap_or_default();
                parts.push(digest.as_bytes().to_vec());
            }
        }
        Answer::Contents(contents) => {
            for bytes in contents {
                parts.push(Digest::of(bytes).as_bytes().to_vec());
            }
        }
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    Digest::bind(Domain::DisputeAnswer, &parts)
}
