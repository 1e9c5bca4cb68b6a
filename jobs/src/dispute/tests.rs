//! Disputes about made-up models, whose nodes need not compute anything.

use super::*;
use crate::digest::BlobRef;

/// A chain: position `p` is crossed by `v<p>`, and by `kept` from beginning to end.
struct Chain;

impl Graph for Chain {
    fn frontier(&self, position: u32) -> Vec<String> {
        vec!["kept".to_owned(), format!("v{position}")]
    }

    fn reads(&self, node: u32) -> Vec<String> {
        vec![format!("v{node}")]
    }
}

/// A party whose values are wrong behind these nodes.
#[derive(Clone)]
struct Player {
    nodes: u32,
    /// From which position to which its value is another one.
    wrong: Vec<(u32, u32)>,
    /// From which position on `kept` is another one.
    kept: u32,
}

impl Player {
    fn honest(nodes: u32) -> Self {
        Self {
            nodes,
            wrong: Vec::new(),
            kept: u32::MAX,
        }
    }

    fn liar(nodes: u32, node: u32) -> Self {
        Self {
            wrong: vec![(node + 1, nodes)],
            ..Self::honest(nodes)
        }
    }

    fn contents(&self, position: u32) -> [Vec<u8>; 2] {
        let lies = self
            .wrong
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&position));
        let kept = u8::from(position >= self.kept);
        [
            vec![kept],
            [position.to_le_bytes(), [u8::from(lies); 4]].concat(),
        ]
    }

    fn claims(&self, position: u32) -> Vec<TensorClaim> {
        let names = Chain.frontier(position).into_iter();
        let claim = |(name, content): (String, Vec<u8>)| TensorClaim {
            name,
            element: 2,
            dims: vec![content.len() as u32],
            content: BlobRef::of(&content),
        };
        names.zip(self.contents(position)).map(claim).collect()
    }

    fn trace(&self) -> CommittedTrace {
        let digest = |position| frontier_digest(&self.claims(position)).unwrap();
        CommittedTrace::new((0..=self.nodes).map(digest).collect())
    }

    fn answer(&self, party: Party, question: &Question) -> Answer {
        let trace = self.trace();
        let open = |position: u32| trace.open(position).unwrap();
        match question {
            Question::Enter => Answer::Enter {
                root: trace.root(),
                first: open(0),
                last: open(self.nodes),
            },
            Question::Frontiers(asked) => {
                Answer::Frontiers(asked.iter().map(|position| open(*position)).collect())
            }
            Question::Claims { node } => Answer::Claims {
                before: self.claims(*node),
                after: self.claims(node + 1),
            },
            Question::Contents { wanted } => {
                let find = |claim: &TensorClaim| {
                    let all = (0..=self.nodes).flat_map(|at| self.contents(at));
                    let mut found = all.filter(|content| BlobRef::of(content) == claim.content);
                    found.next().unwrap()
                };
                Answer::Contents(wanted[party as usize].iter().map(find).collect())
            }
        }
    }
}

fn terms(nodes: u32, arity: u32) -> Terms {
    Terms {
        positions: nodes + 1,
        arity,
        inputs: frontier_digest(&Player::honest(nodes).claims(0)).unwrap(),
    }
}

/// A change of what a party would have answered; `None` is silence.
type Change = fn(Party, &Question, Answer) -> Option<Answer>;

fn unchanged(_: Party, _: &Question, answer: Answer) -> Option<Answer> {
    Some(answer)
}

/// Plays a dispute to its end or to the node that has to be computed.
fn play(
    terms: Terms,
    players: [&Player; 2],
    change: impl Fn(Party, &Question, Answer) -> Option<Answer>,
) -> Referee {
    let mut referee = Referee::new(terms).unwrap();
    loop {
        let Progress::Asking { question, waiting } = referee.progress() else {
            return referee;
        };
        let number = referee.question();
        for party in waiting {
            let honest = players[party as usize].answer(party, &question);
            if let Some(answer) = change(party, &question, honest) {
                referee.hear(party, number, answer, &Chain);
            }
        }
        if referee.question() == number {
            referee.expire(&Chain);
        }
    }
}

#[test]
fn a_liar_is_found_at_its_node_in_as_many_rounds_as_the_logarithm_says() {
    for (nodes, arity, rounds) in [
        (1, 8, 0),
        (2, 8, 1),
        (8, 8, 1),
        (9, 8, 2),
        (64, 8, 2),
        (65, 8, 3),
        (100, 2, 7),
        (128, 2, 7),
        (129, 2, 8),
        (300, 7, 3),
    ] {
        let terms = terms(nodes, arity);
        assert_eq!(terms.rounds_max(), rounds, "{nodes} by {arity}");
        let honest = Player::honest(nodes);
        for node in (0..nodes)
            .step_by(1 + nodes as usize / 13)
            .chain([nodes - 1])
        {
            let liar = Player::liar(nodes, node);
            let referee = play(terms, [&honest, &liar], unchanged);
            let Progress::Examining(leaf) = referee.progress() else {
                panic!("{nodes} {arity} {node}: {:?}", referee.progress());
            };
            assert_eq!(leaf.node, node);
            assert_eq!(leaf.inputs.len(), 1);
            assert_eq!(leaf.inputs[0].1, honest.contents(node)[1]);
            for (outputs, player) in leaf.outputs.iter().zip([&honest, &liar]) {
                assert_eq!(outputs[0].1, player.contents(node + 1)[1]);
            }
            assert!(referee.tally().rounds <= rounds);
        }
    }
}

#[test]
fn of_several_lies_the_first_stretch_that_differs_is_followed() {
    // Wrong at 3 to 5, right again, wrong from 40 on: with eight parts of eight nodes the first is never seen.
    let liar = Player {
        wrong: vec![(3, 5), (40, 64)],
        ..Player::honest(64)
    };
    let honest = Player::honest(64);
    for (arity, node) in [(8, 39), (64, 2)] {
        let referee = play(terms(64, arity), [&liar, &honest], unchanged);
        let Progress::Examining(leaf) = referee.progress() else {
            panic!("{:?}", referee.progress());
        };
        assert_eq!(leaf.node, node, "{arity}");
    }
}

/// The end of a dispute between an honest party and a liar at node 20, of whom one or both misbehave.
fn ruling(change: impl Fn(Party, &Question, Answer) -> Option<Answer>) -> Ruling {
    let (honest, liar) = (Player::honest(64), Player::liar(64, 20));
    match play(terms(64, 8), [&honest, &liar], change).progress() {
        Progress::Ruled(ruling) => ruling,
        other => panic!("{other:?}"),
    }
}

fn second(fault: Fault) -> Ruling {
    Ruling::Culprit {
        party: Party::Second,
        fault,
    }
}

#[test]
fn silence_is_a_fault_of_who_is_silent() {
    let silent: [(Change, Ruling); 3] = [
        (
            |party, _, answer| (party == Party::First).then_some(answer),
            second(Fault::NoAnswer { question: 0 }),
        ),
        (
            |party, question, answer| {
                let leaf = matches!(question, Question::Contents { .. });
                (party == Party::First || !leaf).then_some(answer)
            },
            second(Fault::NoAnswer { question: 4 }),
        ),
        (
            |_, _, _| None,
            Ruling::BothWrong {
                faults: [
                    Fault::NoAnswer { question: 0 },
                    Fault::NoAnswer { question: 0 },
                ],
            },
        ),
    ];
    for (change, expected) in silent {
        assert_eq!(ruling(change), expected);
    }
}

fn openings(answer: &mut Answer, spoil: fn(&mut Vec<Opening>)) {
    if let Answer::Frontiers(openings) = answer {
        spoil(openings);
    }
}

fn claims(answer: &mut Answer, spoil: fn(&mut Vec<TensorClaim>, &mut Vec<TensorClaim>)) {
    if let Answer::Claims { before, after } = answer {
        spoil(before, after);
    }
}

fn contents(answer: &mut Answer, spoil: fn(&mut Vec<Vec<u8>>)) {
    if let Answer::Contents(contents) = answer {
        spoil(contents);
    }
}

/// Spoils an answer, if it is of its kind.
type Spoil = fn(&mut Answer);

#[test]
fn answers_that_do_not_fit_the_root_or_the_question_are_faults() {
    let cases: [(Spoil, &str); 9] = [
        (
            |a| openings(a, |o| o[1].frontier = Digest::of(b"x")),
            "opening of position 16 does not verify",
        ),
        (
            |a| openings(a, |o| o[1].siblings.resize(33, Digest::default())),
            "opening of position 16 does not verify",
        ),
        (
            |a| openings(a, |o| o.swap(0, 1)),
            "it opened position 16, asked for was 8",
        ),
        (
            |a| openings(a, |o| o.truncate(6)),
            "it opened 6 positions, asked for were 7",
        ),
        (
            |a| *a = Answer::Contents(vec![]),
            "it answered another question",
        ),
        (
            |a| claims(a, |_, after| after[1].dims = vec![1]),
            "what it says of position 21 is not what it opened there",
        ),
        (
            |a| claims(a, |before, _| before.reverse()),
            "the tensors it names at position 20 are not those of the model",
        ),
        (
            |a| claims(a, |_, after| after[1].content.size = 1 << 31),
            "is 2147483648, the bound is 1073741824",
        ),
        (
            |a| contents(a, |c| c[0][0] ^= 1),
            "the contents it sent of tensor \"v21\"",
        ),
    ];
    for (spoil, expected) in cases {
        let ruling = ruling(|party, _, mut answer| {
            if party == Party::Second {
                spoil(&mut answer);
            }
            Some(answer)
        });
        let Ruling::Culprit { party, fault } = ruling else {
            panic!("no culprit: {expected}");
        };
        let text = fault.to_string();
        assert!(
            party == Party::Second && text.contains(expected),
            "{text:?} lacks {expected:?}"
        );
    }
}

#[test]
fn a_trace_that_begins_elsewhere_or_changes_what_no_node_writes_is_inconsistent() {
    let honest = Player::honest(64);
    let elsewhere = Player {
        wrong: vec![(0, 64)],
        ..Player::honest(64)
    };
    let changing = Player {
        kept: 31,
        ..Player::honest(64)
    };
    for (liar, expected) in [
        (elsewhere, "its trace begins at"),
        (
            changing,
            "tensor \"kept\" changed at node 30, which does not write it",
        ),
    ] {
        let referee = play(terms(64, 8), [&liar, &honest], unchanged);
        let Progress::Ruled(Ruling::Culprit { party, fault }) = referee.progress() else {
            panic!("{:?}", referee.progress());
        };
        let text = fault.to_string();
        assert!(
            party == Party::First && text.contains(expected),
            "{text:?} lacks {expected:?}"
        );
    }
}

#[test]
fn two_answers_to_one_question_are_a_contradiction_and_the_same_one_again_is_none() {
    let (honest, liar) = (Player::honest(64), Player::liar(64, 20));
    let mut referee = Referee::new(terms(64, 8)).unwrap();
    let enter = liar.answer(Party::Second, &Question::Enter);
    for _ in 0..2 {
        referee.hear(Party::Second, 0, enter.clone(), &Chain);
    }
    let own = honest.answer(Party::First, &Question::Enter);
    referee.hear(Party::First, 0, own, &Chain);
    assert_eq!(referee.question(), 1);
    // Late, and the same: nothing. Late, and another: the end, whatever the other party does.
    referee.hear(Party::Second, 0, enter, &Chain);
    assert!(
        matches!(referee.progress(), Progress::Asking { ref waiting, .. } if waiting.len() == 2)
    );
    let other = honest.answer(Party::Second, &Question::Enter);
    referee.hear(Party::Second, 0, other, &Chain);
    referee.expire(&Chain);
    let expected = Ruling::BothWrong {
        faults: [
            Fault::NoAnswer { question: 1 },
            Fault::Contradiction { question: 0 },
        ],
    };
    assert_eq!(referee.progress(), Progress::Ruled(expected));
}

#[test]
fn parties_that_agree_after_all_are_told_so() {
    let honest = Player::honest(64);
    let referee = play(terms(64, 8), [&honest, &honest], unchanged);
    assert_eq!(referee.progress(), Progress::Ruled(Ruling::Agreed));
}

#[test]
fn the_node_decides_and_two_honest_results_blame_nobody() {
    let outside = || Finding::Outside {
        tensor: "v21".to_owned(),
        reason: "far off".to_owned(),
    };
    let fault = || Fault::WrongResult {
        tensor: "v21".to_owned(),
        node: 20,
        reason: "far off".to_owned(),
    };
    let culprit = |party| Ruling::Culprit {
        party,
        fault: fault(),
    };
    for (findings, expected) in [
        ([Finding::Inside, outside()], culprit(Party::Second)),
        ([outside(), Finding::Inside], culprit(Party::First)),
        (
            [outside(), outside()],
            Ruling::BothWrong {
                faults: [fault(), fault()],
            },
        ),
        (
            [Finding::Inside, Finding::Inside],
            Ruling::Ambiguous { node: 20 },
        ),
    ] {
        let (honest, liar) = (Player::honest(64), Player::liar(64, 20));
        let mut referee = play(terms(64, 8), [&honest, &liar], unchanged);
        referee.found(findings);
        assert_eq!(referee.progress(), Progress::Ruled(expected));
    }
}

#[test]
fn terms_out_of_bounds_are_refused() {
    for (positions, arity, expected) in [
        (1, 8, "dispute.positions = 1: must be 2 to 65536"),
        (65_537, 8, "dispute.positions = 65537"),
        (9, 1, "dispute.arity = 1: must be 2 to 64"),
        (9, 65, "dispute.arity = 65"),
    ] {
        let terms = Terms {
            positions,
            arity,
            inputs: Digest::default(),
        };
        let error = Referee::new(terms).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }
}
