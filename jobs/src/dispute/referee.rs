//! The one who asks: a state machine without clock or wires.

use super::{
    Answer, Fault, Finding, Graph, Leaf, Opening, Party, Question, Ruling, TensorClaim, Terms,
    checks,
};
use crate::Error;
use crate::digest::Digest;

/// What the referee wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// An answer from each of these parties.
    Asking {
        /// The question.
        question: Question,
        /// Who has not answered yet.
        waiting: Vec<Party>,
    },
    /// Somebody to compute one node again and to say [`Referee::found`].
    Examining(Leaf),
    /// Nothing: this is the end.
    Ruled(Ruling),
}

/// What a dispute has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rounds in which a stretch was cut into parts.
    pub rounds: u32,
    /// Questions asked, those about the last node included.
    pub questions: u32,
    /// Bytes of questions and answers, to and from both parties, without contents of tensors.
    pub talk_bytes: u64,
    /// Bytes of contents of tensors.
    pub content_bytes: u64,
}

/// What a party has said to the question that is open.
#[derive(Clone, Debug)]
enum Slot {
    Waiting,
    Good(Answer),
    Bad(Fault),
}

/// A stretch of the model at whose beginning both agree and at whose end they do not.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: u32,
    to: u32,
    /// The digest on which both agree.
    agreed: Digest,
    /// The digests that differ.
    ends: [Digest; 2],
}

#[derive(Clone, Debug)]
enum Stage {
    Asking(Question),
    Examining(Leaf),
    Ruled(Ruling),
}

/// Asks two parties until it knows who is wrong.
#[derive(Clone, Debug)]
pub struct Referee {
    terms: Terms,
    roots: [Digest; 2],
    stretch: Option<Stretch>,
    claims: [(Vec<TensorClaim>, Vec<TensorClaim>); 2],
    stage: Stage,
    slots: [Slot; 2],
    /// Digests of what each party answered, question by question: as many as there are questions.
    said: [Vec<Option<Digest>>; 2],
    tally: Tally,
}

impl Referee {
    /// Opens a dispute.
    ///
    /// # Errors
    /// If a number of the terms is out of its bounds.
    pub fn new(terms: Terms) -> Result<Self, Error> {
        terms.check()?;
        let mut referee = Self {
            terms,
            roots: [Digest::default(); 2],
            stretch: None,
            claims: Default::default(),
            stage: Stage::Asking(Question::Enter),
            slots: [Slot::Waiting, Slot::Waiting],
            said: [Vec::new(), Vec::new()],
            tally: Tally::default(),
        };
        referee.ask(Question::Enter);
        Ok(referee)
    }

    /// What it wants now.
    pub fn progress(&self) -> Progress {
        match &self.stage {
            Stage::Asking(question) => Progress::Asking {
                question: question.clone(),
                waiting: self.waiting(),
            },
            Stage::Examining(leaf) => Progress::Examining(leaf.clone()),
            Stage::Ruled(ruling) => Progress::Ruled(ruling.clone()),
        }
    }

    /// The number of the question that is open, counted from 0. An answer repeats it.
    pub fn question(&self) -> u32 {
        self.tally.questions.saturating_sub(1)
    }

    /// What it has cost so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Hears a party. The same answer again changes nothing; another one to a question that it has answered is
    /// a fault, whenever it comes.
    pub fn hear(&mut self, party: Party, question: u32, answer: Answer, graph: &impl Graph) {
        if matches!(self.stage, Stage::Ruled(_)) {
            return;
        }
        let (talk, contents) = checks::answer_bytes(&answer);
        self.tally.talk_bytes = self.tally.talk_bytes.saturating_add(talk);
        self.tally.content_bytes = self.tally.content_bytes.saturating_add(contents);
        let digest = checks::answer_digest(&answer);
        let fault = match self.said_to(party, question) {
            // A question that nobody asked.
            None => checks::malformed(format!(
                "it answered question {question}, asked were {}",
                self.tally.questions
            )),
            Some(Some(before)) if before == digest => return,
            Some(Some(_)) => Fault::Contradiction { question },
            Some(None) => {
                self.remember(party, question, digest);
                match self.check(party, &answer, graph) {
                    Ok(()) => {
                        self.put(party, Slot::Good(answer));
                        return self.resolve(graph);
                    }
                    Err(fault) => fault,
                }
            }
        };
        if matches!(self.stage, Stage::Examining(_)) {
            self.stage = Stage::Ruled(Ruling::Culprit { party, fault });
            return;
        }
        self.put(party, Slot::Bad(fault));
        self.resolve(graph);
    }

    /// Stops waiting: whoever has not answered the open question is at fault.
    pub fn expire(&mut self, graph: &impl Graph) {
        if !matches!(self.stage, Stage::Asking(_)) {
            return;
        }
        let question = self.question();
        for party in self.waiting() {
            self.put(party, Slot::Bad(Fault::NoAnswer { question }));
        }
        self.resolve(graph);
    }

    /// Hears what came of computing the node in dispute again, for each party.
    pub fn found(&mut self, findings: [Finding; 2]) {
        let Stage::Examining(leaf) = &self.stage else {
            return;
        };
        let node = leaf.node;
        let faults = findings.map(|finding| match finding {
            Finding::Inside => None,
            Finding::Outside { tensor, reason } => Some(Fault::WrongResult {
                tensor,
                node,
                reason,
            }),
        });
        let ruling = rule(faults).unwrap_or(Ruling::Ambiguous { node });
        self.stage = Stage::Ruled(ruling);
    }

    fn waiting(&self) -> Vec<Party> {
        let slots = Party::BOTH.into_iter().zip(&self.slots);
        slots
            .filter(|(_, slot)| matches!(slot, Slot::Waiting))
            .map(|(party, _)| party)
            .collect()
    }

    fn ask(&mut self, question: Question) {
        self.tally.questions = self.tally.questions.saturating_add(1);
        let bytes = checks::question_bytes(&question);
        // It goes to both.
        let bytes = match question {
            Question::Contents { .. } => bytes,
            _ => bytes.saturating_mul(2),
        };
        self.tally.talk_bytes = self.tally.talk_bytes.saturating_add(bytes);
        self.said.iter_mut().for_each(|said| said.push(None));
        self.slots = [Slot::Waiting, Slot::Waiting];
        self.stage = Stage::Asking(question);
    }

    fn said_to(&self, party: Party, question: u32) -> Option<Option<Digest>> {
        let [first, second] = &self.said;
        let said = match party {
            Party::First => first,
            Party::Second => second,
        };
        said.get(question as usize).copied()
    }

    fn remember(&mut self, party: Party, question: u32, digest: Digest) {
        let [first, second] = &mut self.said;
        let said = match party {
            Party::First => first,
            Party::Second => second,
        };
        if let Some(place) = said.get_mut(question as usize) {
            *place = Some(digest);
        }
    }

    fn put(&mut self, party: Party, slot: Slot) {
        let [first, second] = &mut self.slots;
        match party {
            Party::First => *first = slot,
            Party::Second => *second = slot,
        }
    }

    fn check(&self, party: Party, answer: &Answer, graph: &impl Graph) -> Result<(), Fault> {
        let at = party as usize;
        let root = self.roots.get(at).copied().unwrap_or_default();
        let Stage::Asking(question) = &self.stage else {
            return Err(checks::malformed("it answered when nothing was asked"));
        };
        match (question, answer) {
            (Question::Enter, Answer::Enter { root, first, last }) => {
                checks::entry(&self.terms, root, first, last)
            }
            (Question::Frontiers(asked), Answer::Frontiers(given)) => {
                checks::openings(&self.terms, &root, asked, given)
            }
            (Question::Claims { node }, Answer::Claims { before, after }) => {
                let stretch = self.stretch;
                let opened = stretch.map_or([Digest::default(); 2], |stretch| {
                    let end = stretch.ends.get(at).copied().unwrap_or_default();
                    [stretch.agreed, end]
                });
                checks::claims(graph, *node, opened, [before, after])
            }
            (Question::Contents { wanted }, Answer::Contents(given)) => {
                let wanted = wanted.get(at).map_or(&[][..], Vec::as_slice);
                checks::contents(wanted, given)
            }
            _ => Err(checks::malformed("it answered another question")),
        }
    }

    /// Goes on once both have answered.
    fn resolve(&mut self, graph: &impl Graph) {
        if !self.waiting().is_empty() {
            return;
        }
        let [first, second] = std::mem::replace(&mut self.slots, [Slot::Waiting, Slot::Waiting]);
        let (first, second) = match (first, second) {
            (Slot::Good(first), Slot::Good(second)) => (first, second),
            (first, second) => {
                let fault = |slot| match slot {
                    Slot::Bad(fault) => Some(fault),
                    Slot::Good(_) | Slot::Waiting => None,
                };
                if let Some(ruling) = rule([fault(first), fault(second)]) {
                    self.stage = Stage::Ruled(ruling);
                }
                return;
            }
        };
        match (first, second) {
            (
                Answer::Enter { root, first, last },
                Answer::Enter {
                    root: other,
                    last: end,
                    ..
                },
            ) => {
                self.roots = [root, other];
                if last.frontier == end.frontier {
                    self.stage = Stage::Ruled(Ruling::Agreed);
                    return;
                }
                self.narrow(Stretch {
                    from: 0,
                    to: self.terms.nodes(),
                    agreed: first.frontier,
                    ends: [last.frontier, end.frontier],
                });
            }
            (Answer::Frontiers(first), Answer::Frontiers(second)) => self.cut(&first, &second),
            (
                Answer::Claims { before, after },
                Answer::Claims {
                    before: same,
                    after: other,
                },
            ) => {
                self.claims = [(before, after), (same, other)];
                self.ask_contents(graph);
            }
            (Answer::Contents(first), Answer::Contents(second)) => self.examine(first, second),
            _ => {}
        }
    }

    /// Keeps the first part of the stretch whose beginning agrees and whose end does not.
    fn cut(&mut self, first: &[Opening], second: &[Opening]) {
        self.tally.rounds = self.tally.rounds.saturating_add(1);
        let Some(mut stretch) = self.stretch else {
            return;
        };
        for (one, other) in first.iter().zip(second) {
            if one.frontier != other.frontier {
                stretch.to = one.position;
                stretch.ends = [one.frontier, other.frontier];
                break;
            }
            stretch.from = one.position;
            stretch.agreed = one.frontier;
        }
        self.narrow(stretch);
    }

    /// Asks for the inner positions of a stretch, or about its one node.
    fn narrow(&mut self, stretch: Stretch) {
        self.stretch = Some(stretch);
        let length = u64::from(stretch.to.saturating_sub(stretch.from));
        if length <= 1 {
            self.ask(Question::Claims { node: stretch.from });
            return;
        }
        let arity = u64::from(self.terms.arity);
        let inner = (1..arity).filter_map(|part| {
            let offset = length.saturating_mul(part).checked_div(arity)?;
            u32::try_from(u64::from(stretch.from).saturating_add(offset)).ok()
        });
        let mut positions: Vec<u32> = inner.filter(|position| *position > stretch.from).collect();
        positions.dedup();
        self.ask(Question::Frontiers(positions));
    }

    /// The node's inputs, from the first party, who agrees on them; and from each its own outputs.
    fn ask_contents(&mut self, graph: &impl Graph) {
        let Some(stretch) = self.stretch else {
            return;
        };
        let reads = graph.reads(stretch.from);
        let [(before, first), (_, second)] = &self.claims;
        let inputs = before.iter().filter(|claim| reads.contains(&claim.name));
        let differing = |own: &[TensorClaim], other: &[TensorClaim]| -> Vec<TensorClaim> {
            let differs = |claim: &&TensorClaim| !other.contains(claim);
            own.iter().filter(differs).cloned().collect()
        };
        let mut from_first: Vec<TensorClaim> = inputs.cloned().collect();
        from_first.extend(differing(first, second));
        let wanted = [from_first, differing(second, first)];
        self.ask(Question::Contents { wanted });
    }

    fn examine(&mut self, first: Vec<Vec<u8>>, second: Vec<Vec<u8>>) {
        let (Some(stretch), Stage::Asking(Question::Contents { wanted })) =
            (self.stretch, &self.stage)
        else {
            return;
        };
        let [from_first, from_second] = wanted.clone();
        let (before, _) = &self.claims[0];
        let mut inputs: Vec<(TensorClaim, Vec<u8>)> = from_first.into_iter().zip(first).collect();
        let is_input = |(claim, _): &(TensorClaim, Vec<u8>)| before.contains(claim);
        let outputs = inputs.iter().position(|pair| !is_input(pair));
        let own = inputs.split_off(outputs.unwrap_or(inputs.len()));
        self.stage = Stage::Examining(Leaf {
            node: stretch.from,
            inputs,
            outputs: [own, from_second.into_iter().zip(second).collect()],
        });
    }
}

fn rule([first, second]: [Option<Fault>; 2]) -> Option<Ruling> {
    let culprit = |party, fault| Ruling::Culprit { party, fault };
    match (first, second) {
        (None, None) => None,
        (Some(fault), None) => Some(culprit(Party::First, fault)),
        (None, Some(fault)) => Some(culprit(Party::Second, fault)),
        (Some(first), Some(second)) => Some(Ruling::BothWrong {
            faults: [first, second],
        }),
    }
}
