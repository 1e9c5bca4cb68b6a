//! A dispute held in one process: two parties who execute a model, the referee who asks them, and the one who
//! computes the node that is left.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use host_gpu::{Frontier, LeafFinding, Means, StopFlag, TensorValue, Trace, Tracer};
use jobs::digest::{BlobRef, Digest};
use jobs::dispute::{
    Answer, CommittedTrace, Finding, Graph, Leaf, Opening, Party, Progress, Question, Referee,
    Ruling, Tally, TensorClaim, Terms, frontier_digest,
};

use crate::measure::Clock;

/// A model's inputs, by name.
pub(super) type Inputs = Vec<(String, Arc<TensorValue>)>;

/// What the referee knows of a model: names.
pub(super) struct Structure {
    frontiers: Vec<Vec<String>>,
    reads: Vec<Vec<String>>,
}

impl Structure {
    pub(super) fn of(tracer: &Tracer<'_>) -> Self {
        let nodes = tracer.nodes();
        let reads = (0..nodes).map(|node| tracer.node(node).map_or_else(Vec::new, |n| n.reads));
        Self {
            frontiers: (0..=nodes).map(|at| tracer.frontier(at)).collect(),
            reads: reads.collect(),
        }
    }

    /// The most tensors that cross a position.
    pub(super) fn widest(&self) -> usize {
        self.frontiers.iter().map(Vec::len).max().unwrap_or(0)
    }
}

impl Graph for Structure {
    fn frontier(&self, position: u32) -> Vec<String> {
        let found = self.frontiers.get(position as usize);
        found.cloned().unwrap_or_default()
    }

    fn reads(&self, node: u32) -> Vec<String> {
        let found = self.reads.get(node as usize);
        found.cloned().unwrap_or_default()
    }
}

/// What a party does that it should not.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Lie {
    /// Nothing.
    None,
    /// It changes the last number of the first tensor that a node makes, and goes on from there.
    Number {
        /// The node.
        node: usize,
        /// What the number becomes.
        to: f32,
    },
    /// It changes a tensor behind a node that does not write it.
    #[allow(
        dead_code,
        reason = "what tests do; it costs nothing to find, so it is not measured"
    )]
    Carried {
        /// The node.
        node: usize,
    },
}

impl Lie {
    fn node(&self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Number { node, .. } | Self::Carried { node } => Some(*node),
        }
    }
}

/// One who has executed the model.
pub(super) struct Provider {
    inputs: Inputs,
    lie: Lie,
    claims: Vec<Vec<TensorClaim>>,
    committed: CommittedTrace,
}

impl Provider {
    /// Executes, and commits to the trace.
    pub(super) fn new(tracer: &mut Tracer<'_>, inputs: Inputs, lie: Lie) -> Result<Self> {
        let mut provider = Self {
            inputs,
            lie,
            claims: Vec::new(),
            committed: CommittedTrace::new(Vec::new()),
        };
        let mut trace = Trace::default();
        provider.execute(tracer, tracer.nodes(), &mut trace)?;
        for position in 0..=tracer.nodes() {
            let crossing = tracer.crossing(&trace, position);
            let crossing = crossing.context("the execution ended early")?;
            let claim = |tensor: host_gpu::TracedTensor| TensorClaim {
                name: tensor.name,
                element: tensor.element,
                dims: tensor.dims,
                content: BlobRef {
                    digest: Digest::from_bytes(tensor.digest),
                    size: tensor.bytes,
                },
            };
            provider
                .claims
                .push(crossing.into_iter().map(claim).collect());
        }
        provider.forge();
        let digests = provider.claims.iter().map(|claims| frontier_digest(claims));
        provider.committed = CommittedTrace::new(digests.collect::<Result<_, _>>()?);
        Ok(provider)
    }

    /// Executes up to a position.
    fn execute(&self, tracer: &mut Tracer<'_>, to: usize, trace: &mut Trace) -> Result<Frontier> {
        let stop = StopFlag::default();
        let mut frontier = tracer.begin(self.inputs.clone(), trace)?;
        if let Lie::Number { node, to: value } = self.lie
            && node < to
        {
            frontier = tracer.advance(frontier, node + 1, trace, &stop)?;
            let made = tracer.node(node).context("no such node")?.makes;
            let name = made.first().context("the node makes nothing")?;
            let old = tracer.tensor(&frontier, name).context("it is not there")?;
            let mut bytes = old.host_bytes()?.to_vec();
            let place = bytes.last_chunk_mut().context("it is empty")?;
            *place = value.to_le_bytes();
            let new = tracer.receive(name, old.dims(), &bytes)?;
            tracer.replace(&mut frontier, name, new, trace)?;
        }
        Ok(tracer.advance(frontier, to, trace, &stop)?)
    }

    /// Makes the trace say of a tensor that it changed where nothing writes it.
    fn forge(&mut self) {
        let Lie::Carried { node } = self.lie else {
            return;
        };
        let (before, behind) = self.claims.split_at_mut(node + 1);
        let (Some(before), Some(first)) = (before.last(), behind.first()) else {
            return;
        };
        // One that reaches the end, or the outputs would be the same after all.
        let end = behind.last().cloned().unwrap_or_default();
        let carried = first
            .iter()
            .find(|claim| before.contains(claim) && end.contains(claim));
        let Some(name) = carried.map(|claim| claim.name.clone()) else {
            return;
        };
        for claim in behind
            .iter_mut()
            .flatten()
            .filter(|claim| claim.name == name)
        {
            claim.content.digest = Digest::of(b"something else");
        }
    }

    fn open(&self, position: u32) -> Result<Opening> {
        let opening = self.committed.open(position);
        opening.with_context(|| format!("no position {position}"))
    }

    fn claims(&self, position: u32) -> Vec<TensorClaim> {
        let found = self.claims.get(position as usize);
        found.cloned().unwrap_or_default()
    }

    fn answer(&self, tracer: &mut Tracer<'_>, party: Party, question: &Question) -> Result<Answer> {
        Ok(match question {
            Question::Enter => Answer::Enter {
                root: self.committed.root(),
                first: self.open(0)?,
                last: self.open(self.committed.positions().saturating_sub(1))?,
            },
            Question::Frontiers(asked) => {
                let opened = asked.iter().map(|position| self.open(*position));
                Answer::Frontiers(opened.collect::<Result<_>>()?)
            }
            Question::Claims { node } => Answer::Claims {
                before: self.claims(*node),
                after: self.claims(node + 1),
            },
            Question::Contents { wanted } => {
                let [first, second] = wanted;
                let wanted = match party {
                    Party::First => first,
                    Party::Second => second,
                };
                Answer::Contents(self.contents(tracer, wanted)?)
            }
        })
    }

    /// Executes once more, as far as it takes to have these tensors.
    fn contents(&self, tracer: &mut Tracer<'_>, wanted: &[TensorClaim]) -> Result<Vec<Vec<u8>>> {
        let position = |claim: &TensorClaim| self.claims.iter().position(|c| c.contains(claim));
        let Some(last) = wanted.iter().filter_map(position).max() else {
            return Ok(Vec::new());
        };
        let first = wanted.iter().filter_map(position).min().unwrap_or(last);
        let stop = StopFlag::default();
        let mut found = BTreeMap::new();
        // What was there before the node may be gone behind it.
        let before = last.saturating_sub(1).max(first);
        let lies_between = self.lie.node().is_some_and(|node| node >= before);
        let mut frontier = self.execute(tracer, before, &mut Trace::default())?;
        self.keep(tracer, &frontier, wanted, &mut found)?;
        frontier = match lies_between {
            true => self.execute(tracer, last, &mut Trace::default())?,
            false => tracer.advance(frontier, last, &mut Trace::default(), &stop)?,
        };
        self.keep(tracer, &frontier, wanted, &mut found)?;
        let take = |claim: &TensorClaim| {
            let bytes = found.get(&claim.name).cloned();
            bytes.with_context(|| format!("{} is not there any more", claim.name))
        };
        wanted.iter().map(take).collect()
    }

    fn keep(
        &self,
        tracer: &Tracer<'_>,
        frontier: &Frontier,
        wanted: &[TensorClaim],
        found: &mut BTreeMap<String, Vec<u8>>,
    ) -> Result<()> {
        for claim in wanted {
            if let Some(value) = tracer.tensor(frontier, &claim.name) {
                found.insert(claim.name.clone(), value.host_bytes()?.to_vec());
            }
        }
        Ok(())
    }
}

/// How a dispute went.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) ruling: Ruling,
    pub(super) tally: Tally,
    /// The node that was computed again, and how.
    pub(super) leaf: Option<(u32, Means)>,
    /// Seconds of the referee: checking answers, and computing the node, loading it included.
    pub(super) checking: f64,
    pub(super) examining: f64,
    /// Seconds of the slower party for its answers, executing once more included.
    pub(super) answering: f64,
}

/// Holds a dispute between two who executed the same model on the same inputs.
pub(super) fn hold(
    tracer: &mut Tracer<'_>,
    structure: &Structure,
    parties: [&Provider; 2],
    terms: Terms,
) -> Result<Outcome> {
    let mut referee = Referee::new(terms)?;
    let (mut checking, mut examining) = (0.0, 0.0);
    let mut answering = [0.0_f64; 2];
    let mut leaf = None;
    loop {
        match referee.progress() {
            Progress::Ruled(ruling) => {
                let [first, second] = answering;
                return Ok(Outcome {
                    ruling,
                    tally: referee.tally(),
                    leaf,
                    checking,
                    examining,
                    answering: first.max(second),
                });
            }
            Progress::Asking { question, waiting } => {
                let number = referee.question();
                for party in waiting {
                    let clock = Clock::start();
                    let [first, second] = parties;
                    let (provider, spent) = match party {
                        Party::First => (first, &mut answering[0]),
                        Party::Second => (second, &mut answering[1]),
                    };
                    let answer = provider.answer(tracer, party, &question)?;
                    *spent += clock.seconds();
                    let clock = Clock::start();
                    referee.hear(party, number, answer, structure);
                    checking += clock.seconds();
                }
                if referee.question() == number
                    && matches!(referee.progress(), Progress::Asking { .. })
                {
                    bail!("the referee did not go on after {question:?}");
                }
            }
            Progress::Examining(case) => {
                let clock = Clock::start();
                let (findings, means) = examine(tracer, &case)?;
                examining += clock.seconds();
                leaf = Some((case.node, means));
                referee.found(findings);
            }
        }
    }
}

/// Computes a node again, and holds both parties' results against it.
fn examine(tracer: &Tracer<'_>, leaf: &Leaf) -> Result<([Finding; 2], Means)> {
    let receive = |(claim, bytes): &(TensorClaim, Vec<u8>)| {
        let value = tracer.receive(&claim.name, &claim.dims, bytes)?;
        Ok((claim.name.clone(), value))
    };
    let inputs = leaf
        .inputs
        .iter()
        .map(receive)
        .collect::<Result<Inputs>>()?;
    let stop = StopFlag::default();
    let expected = tracer
        .expect(leaf.node as usize, &inputs, &stop)
        .map_err(|error| anyhow!("node {}: {error}", leaf.node))?;
    let judge = |outputs: &Vec<(TensorClaim, Vec<u8>)>| {
        for (claim, bytes) in outputs {
            let found = expected.judge(&claim.name, &claim.dims, bytes);
            if let LeafFinding::Outside { reason } = found {
                return Finding::Outside {
                    tensor: claim.name.clone(),
                    reason,
                };
            }
        }
        Finding::Inside
    };
    let [first, second] = &leaf.outputs;
    Ok(([judge(first), judge(second)], expected.means()))
}

/// The terms of a dispute about an execution on these inputs.
pub(super) fn terms(tracer: &Tracer<'_>, honest: &Provider, arity: u32) -> Result<Terms> {
    Ok(Terms {
        positions: u32::try_from(tracer.nodes())?.saturating_add(1),
        arity,
        inputs: frontier_digest(&honest.claims(0))?,
    })
}
