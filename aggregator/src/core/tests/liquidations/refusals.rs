//! Accusations and jobs that are turned down, each by its name.

use std::collections::BTreeSet;

use jobs::accusation::WINDOW_MS_MAX;

use super::*;
use crate::core::liquidation::{ANSWER_AGE_MS_MAX, CASES_PER_CLIENT_MAX, JOBS_PER_CASE_MAX};

fn out_of_bounds(value: u64) -> Refusal {
    Refusal::OutOfBounds {
        field: Code::new("window_ms"),
        value,
        min: 1_000,
        max: WINDOW_MS_MAX,
    }
}

#[test]
fn what_cannot_be_accused_is_refused_by_name() {
    type Change = fn(&mut Scene) -> (ClientId, u64);
    let of = |change: Change| {
        let mut scene = Scene::usual();
        let (client, window_ms) = change(&mut scene);
        let answer = scene.answer;
        let event = CaseEvent::Accuse {
            request: REQUEST,
            case: case(),
            client,
            answer,
            window_ms,
        };
        (scene.ask(event), scene)
    };
    assert!(of(|_| (client(), WINDOW_MS)).0.is_ok());
    let unjudged: [Change; 4] = [
        |scene| {
            scene.answer.root = digest("another");
            (client(), WINDOW_MS)
        },
        |scene| {
            scene.answer.assignment = AssignmentId(digest("unknown"));
            (client(), WINDOW_MS)
        },
        |scene| {
            scene.answer.shard = 1;
            (client(), WINDOW_MS)
        },
        |scene| {
            // Of the other shard nobody has an answer yet.
            let open = scene.script.sent(1).remove(0);
            scene.answer.assignment = open.id;
            scene.answer.provider = open.provider;
            scene.answer.shard = 1;
            (client(), WINDOW_MS)
        },
    ];
    for change in unjudged {
        let (reply, scene) = of(change);
        let assignment = scene.answer.assignment;
        assert_eq!(reply, Err(Refusal::NotJudged { assignment }));
    }
    assert_eq!(of(|_| (client(), 999)).0, Err(out_of_bounds(999)));
    let long = WINDOW_MS_MAX + 1;
    assert_eq!(
        of(|_| (client(), WINDOW_MS_MAX + 1)).0,
        Err(out_of_bounds(long))
    );
    let (reply, _) = of(|_| (ClientId(digest("stranger")), WINDOW_MS));
    assert!(
        matches!(reply, Err(Refusal::InsufficientFunds { .. })),
        "{reply:?}"
    );
    let (reply, scene) = of(|scene| {
        let accused = scene.answer.provider;
        scene.script.step(Event::SetBanned {
            provider: accused,
            banned: true,
        });
        (client(), WINDOW_MS)
    });
    let provider = scene.answer.provider;
    assert_eq!(reply, Err(Refusal::NothingAtStake { provider }));
    let (reply, _) = of(|scene| {
        scene.script.wait(ANSWER_AGE_MS_MAX + 1);
        (client(), WINDOW_MS)
    });
    assert!(matches!(reply, Err(Refusal::TooOld { .. })), "{reply:?}");
}

#[test]
fn an_answer_is_accused_once_by_each_and_only_so_many_at_a_time() {
    let mut scene = Scene::usual();
    let repeated = |repeated| {
        Ok(Reply::Accused {
            case: case(),
            repeated,
        })
    };
    assert_eq!(scene.accuse(), repeated(false));
    assert_eq!(scene.accuse(), repeated(true));
    let other = CaseId(digest("other"));
    assert_eq!(
        scene.accuse_as(other, client()),
        Err(Refusal::CaseOpen { case: case() })
    );
    // Whoever comes second is not kept from accusing by who came first: that may be the liar's friend.
    let stranger = ClientId(digest("stranger"));
    scene
        .script
        .pay(Movement::Deposit(stranger), 1_000_000)
        .unwrap();
    assert!(scene.accuse_as(other, stranger).is_ok());
    let open = scene.script.core.liquidations.open[&case()].clone();
    for number in 1..CASES_PER_CLIENT_MAX {
        let mut more = open.clone();
        more.accused.assignment = AssignmentId(digest(&number.to_string()));
        let id = CaseId(digest(&format!("case {number}")));
        scene.script.core.liquidations.open.insert(id, more);
    }
    scene.answer.assignment = AssignmentId(digest("fresh"));
    let full = scene.accuse_as(CaseId(digest("one more")), client());
    assert!(matches!(full, Err(Refusal::Full { .. })), "{full:?}");
}

#[test]
fn a_job_that_could_mislead_is_tied_to_no_case() {
    let not_the_same = |field: &str| {
        let field = Code::new(field);
        Err(Refusal::NotTheSame { field })
    };
    type Change = fn(&mut JobSpec);
    let changes: [(Change, &str); 9] = [
        (|spec| spec.items = 3, "items"),
        (|spec| spec.items_per_shard = 1, "items_per_shard"),
        (|spec| spec.comparison = Comparison::Numeric, "comparator"),
        (|spec| spec.limits.fuel -= 1, "limits"),
        (|spec| spec.models = 0, "models"),
        (|spec| spec.device = Some(DeviceKind::Gpu), "device"),
        (
            |spec| spec.audit = Some(jobs::policy::Unit::Shard),
            "policy",
        ),
        // Friends of the accuser's.
        (
            |spec| spec.trusted = Some(BTreeSet::from([provider(5)])),
            "trusted",
        ),
        // Nobody else would take it.
        (|spec| spec.max_price = Amount(100_000), "max_price"),
    ];
    for (change, field) in changes {
        let mut scene = Scene::usual();
        scene.script.core.config.referees.remove(&provider(5));
        scene.accuse().unwrap();
        let mut spec = scene.spec();
        change(&mut spec);
        assert_eq!(scene.tie(again(), spec), not_the_same(field), "{field}");
    }
}

#[test]
fn a_job_is_tied_by_who_opened_the_case_while_nobody_can_know_what_it_comes_to() {
    let mut scene = Scene::usual();
    let spec = scene.spec();
    assert_eq!(
        scene.tie(again(), spec.clone()),
        Err(Refusal::UnknownCase),
        "before there is one"
    );
    scene.accuse().unwrap();
    let by_stranger = CaseEvent::Tie {
        request: REQUEST,
        case: case(),
        client: ClientId(digest("stranger")),
        job: again(),
        spec: Box::new(spec.clone()),
    };
    assert_eq!(scene.ask(by_stranger), Err(Refusal::NotYourCase));
    let known = JobId(digest("known"));
    let sent = scene.submit(known, spec.clone());
    scene.script.commit(&sent[0], "right");
    assert_eq!(
        scene.tie(known, spec.clone()),
        Err(Refusal::TooLate { job: known }),
        "somebody has committed"
    );
    let tied = |job, repeated| {
        Ok(Reply::Tied {
            case: case(),
            job,
            repeated,
        })
    };
    let begun = JobId(digest("begun"));
    scene.submit(begun, spec.clone());
    assert_eq!(scene.tie(begun, spec.clone()), tied(begun, false));
    assert_eq!(scene.tie(begun, spec.clone()), tied(begun, true));
    for number in 1..JOBS_PER_CASE_MAX {
        let job = JobId(digest(&format!("more {number}")));
        assert_eq!(scene.tie(job, spec.clone()), tied(job, false));
    }
    let full = scene.tie(again(), spec.clone());
    assert!(matches!(full, Err(Refusal::Full { .. })), "{full:?}");
    scene.script.now += WINDOW_MS;
    let over = scene.tie(again(), spec);
    assert!(matches!(over, Err(Refusal::CaseOver { .. })), "{over:?}");
}
