//! Cases: whom a vote costs its stake, whom it does not, and who is refused.

mod refusals;

use jobs::accusation::Answer;
use jobs::ids::CaseId;
use ledger::Account;
use policy::Ppb;
use policy::liquidation::Reason;

use super::*;
use crate::core::liquidation::{CASE_GRACE_MS, CaseEvent, TIE_MS, pool_id};
use crate::core::state::{CaseEnd, Says};

/// What the accused has at stake.
const STAKE: u128 = 300;
/// Enough for three voters to outweigh it ten times.
const MUCH: u128 = 1_000;
/// Milliseconds in which jobs may be tied to a case.
const WINDOW_MS: u64 = 60_000;

fn case() -> CaseId {
    CaseId(digest("case"))
}

fn again() -> JobId {
    JobId(digest("again"))
}

/// A judged answer, and everybody else.
struct Scene {
    script: Script,
    answer: Answer,
    /// Everybody but the accused: first the referees, then the voters.
    others: Vec<ProviderId>,
    /// What voters of the case's first job answer, by position among the others.
    outputs: Vec<Option<&'static str>>,
    replicas: u8,
}

impl Scene {
    /// `voters` providers and `referees` of the operator's, of which two have found a shard "right"; somebody else
    /// has found it `lie`.
    fn new(referees: u8, voters: u8, lie: &'static str, spec: JobSpec) -> Self {
        let all = referees + voters + 1;
        let mut script = Script::new(all);
        script.start(spec);
        let sent = script.sent(0);
        let second = sent.get(1).map(|second| (second, "right"));
        let first = [(&sent[0], lie)].into_iter().chain(second);
        script.execute(&first.collect::<Vec<_>>());
        let third = script.sent(0);
        let third = third.first().map(|third| (third, "right"));
        script.execute(&third.into_iter().collect::<Vec<_>>());
        let accused = &sent[0];
        let answer = Answer {
            job: job(),
            shard: 0,
            provider: accused.provider,
            assignment: accused.id,
            root: digest(lie),
        };
        // It is gone, so that only others are drawn.
        script.step(Event::ProviderLost {
            provider: answer.provider,
        });
        let everybody = (0..all).map(provider);
        let others: Vec<ProviderId> = everybody.filter(|id| *id != answer.provider).collect();
        let config = &mut script.core.config;
        config.referees = others.iter().take(referees.into()).copied().collect();
        config.audit.pool_share = Ppb::millionths(500_000);
        Self {
            script,
            answer,
            outputs: vec![Some("right"); others.len()],
            replicas: u8::try_from(others.len()).unwrap(),
            others,
        }
    }

    /// Two referees, three voters with much at stake, and a liar.
    fn usual() -> Self {
        Self::new(2, 3, "wrong", spec()).with_stakes(MUCH)
    }

    /// What every voter has at stake beyond what everybody has.
    fn with_stakes(mut self, more: u128) -> Self {
        for voter in self.voters() {
            self.script.pay(Movement::Stake(voter), more).unwrap();
        }
        self
    }

    fn voters(&self) -> Vec<ProviderId> {
        let referees = self.script.core.config.referees.len();
        self.others.iter().skip(referees).copied().collect()
    }

    fn ask(&mut self, event: CaseEvent) -> Result<Reply, Refusal> {
        self.script.step(Event::Liquidation(event));
        self.script.reply()
    }

    fn accuse_as(&mut self, case: CaseId, client: ClientId) -> Result<Reply, Refusal> {
        let answer = self.answer;
        self.ask(CaseEvent::Accuse {
            request: REQUEST,
            case,
            client,
            answer,
            window_ms: WINDOW_MS,
        })
    }

    fn accuse(&mut self) -> Result<Reply, Refusal> {
        self.accuse_as(case(), client())
    }

    /// The shard once more, by so many.
    fn spec(&self) -> JobSpec {
        let spec = self.script.core.jobs[&job()].spec.clone();
        JobSpec {
            items: 2,
            items_per_shard: 2,
            replicas: self.replicas,
            max_replicas: self.replicas,
            max_price: Amount(4_000_000),
            ..spec
        }
    }

    fn tie(&mut self, job: JobId, spec: JobSpec) -> Result<Reply, Refusal> {
        self.ask(CaseEvent::Tie {
            request: REQUEST,
            case: case(),
            client: client(),
            job,
            spec: Box::new(spec),
        })
    }

    /// Submits a job; returns its assignments.
    fn submit(&mut self, job: JobId, spec: JobSpec) -> Vec<Assignment> {
        self.script.submit_as(client(), job, spec).unwrap();
        self.script.step(Event::BlobsReady {
            job,
            shard_inputs: vec![BlobRef::of(b"again")],
        });
        let sent = self.script.sent.drain(..);
        let (mine, rest) = sent.partition(|sent: &Assignment| sent.job == job);
        self.script.sent = rest;
        mine
    }

    fn output_of(&self, id: ProviderId) -> Option<&'static str> {
        let at = self.others.iter().position(|other| *other == id);
        at.and_then(|at| self.outputs[at])
    }

    /// Has everybody commit, everybody reveal who is not silent, and the job end.
    fn answer(&mut self, sent: &[Assignment]) {
        for one in sent {
            self.script
                .commit(one, self.output_of(one.provider).unwrap_or("silent"));
        }
        for one in sent {
            match self.output_of(one.provider) {
                Some(output) => self.script.reveal(one, output),
                None => self.script.step(Event::RevealFailed { assignment: one.id }),
            };
        }
        // Whichever of the two ends it: where all agreed it is being merged.
        self.script.step(Event::Merged {
            job: sent[0].job,
            result: BlobRef::of(b"result"),
            shards: digest("shards"),
            round: 1,
        });
        self.script.step(Event::Cancel {
            request: REQUEST,
            job: sent[0].job,
            client: client(),
        });
    }

    /// Opens the case, has the shard executed again by everybody, and the job end.
    fn run(&mut self) {
        self.accuse().unwrap();
        let spec = self.spec();
        self.tie(again(), spec.clone()).unwrap();
        let sent = self.submit(again(), spec);
        assert_eq!(sent.len(), usize::from(self.replicas));
        self.answer(&sent);
    }

    fn end(&self) -> Option<CaseEnd> {
        let decided = self.script.core.decided_case(case());
        decided.map(|decided| decided.end)
    }

    fn stake(&self, id: ProviderId) -> Amount {
        self.script.core.view_provider(id).unwrap().stake
    }

    fn says(&self, id: ProviderId) -> Says {
        let decided = self.script.core.decided_case(case()).unwrap();
        let mut testimony = decided.testimony.iter();
        testimony.find(|one| one.provider == id).unwrap().says
    }
}

#[test]
fn a_liar_loses_its_stake_to_ten_times_as_much_three_operators_and_two_referees() {
    let mut scene = Scene::usual();
    let before = scene.script.core.view_client(client());
    scene.run();
    let (slashed, bounty) = (Amount(STAKE), Amount(STAKE / 2));
    assert_eq!(scene.end(), Some(CaseEnd::Slashed { slashed, bounty }));
    let liar = scene.answer.provider;
    assert_eq!(scene.stake(liar), Amount::ZERO);
    let banned = scene.script.core.view_provider(liar).unwrap().banned;
    assert!(
        matches!(banned, Some(Evidence::Liquidated { assignment, .. })
        if assignment == scene.answer.assignment)
    );
    let spent = scene.script.core.paid(again());
    let fee = scene.script.core.jobs[&again()].fee;
    let spent = spent.iter().map(|(_, paid)| paid.0).sum::<u128>() + fee.0;
    let after = scene.script.core.view_client(client());
    assert_eq!(
        after.0,
        before.0 - spent + bounty.0,
        "paid by the accuser alone"
    );
    for (at, id) in scene.others.iter().enumerate() {
        let expected = if at < 2 {
            Says::Confirms
        } else {
            Says::Against
        };
        assert_eq!(scene.says(*id), expected);
        let pool = scene
            .script
            .core
            .ledger()
            .applied_transfer(&pool_id(case(), *id));
        assert!(pool.is_some(), "the pool paid who checked");
    }
    let again = scene.accuse_as(CaseId(digest("other")), client());
    assert_eq!(again, Err(Refusal::CaseDecided { case: case() }));
}

/// A case in which something is missing, and the reason why nothing is taken.
type Missing = (&'static str, fn() -> Scene, Reason);

#[test]
fn nobody_loses_a_stake_where_any_of_the_conditions_is_missing() {
    let table: [Missing; 6] = [
        (
            "as little stake as the accused has",
            || Scene::new(2, 3, "wrong", spec()),
            Reason::TooManyDefend,
        ),
        (
            "who has much is silent",
            || {
                let mut scene = Scene::new(2, 4, "wrong", spec()).with_stakes(MUCH);
                let silent = scene.voters()[0];
                scene.script.pay(Movement::Stake(silent), 9_000).unwrap();
                scene.outputs[2] = None;
                scene
            },
            Reason::TooFewSampled,
        ),
        (
            "two operators",
            || Scene::new(2, 2, "wrong", spec()).with_stakes(2 * MUCH),
            Reason::TooFewOperators,
        ),
        (
            "no referee",
            || Scene::new(0, 4, "wrong", spec()).with_stakes(MUCH),
            Reason::Unconfirmed,
        ),
        (
            "one referee of two",
            || Scene::new(1, 3, "wrong", spec()).with_stakes(MUCH),
            Reason::Unconfirmed,
        ),
        (
            "voters who agree with nobody",
            || {
                let mut scene = Scene::usual();
                scene.outputs[2] = Some("made up");
                scene.outputs[3] = Some("made up");
                scene
            },
            Reason::TooManyDefend,
        ),
    ];
    for (what, scene, reason) in table {
        let mut scene = scene();
        scene.run();
        assert_eq!(scene.end(), None, "{what}: more may still be tied");
        scene.script.wait(WINDOW_MS);
        assert_eq!(scene.end(), Some(CaseEnd::Refunded(reason)), "{what}");
        let accused = scene.answer.provider;
        assert_eq!(scene.stake(accused), Amount(STAKE), "{what}");
        let slashed = scene.script.core.view_balances().slashed;
        assert_eq!(slashed, Amount::ZERO, "{what}");
        let other = scene.accuse_as(CaseId(digest("other")), client());
        assert!(
            matches!(other, Err(Refusal::CaseDecided { .. })),
            "{what}: {other:?}"
        );
    }
}

#[test]
fn an_honest_provider_is_acquitted_by_a_referee_whoever_votes_against_it() {
    // Three colluders with much at stake say otherwise.
    let mut scene = Scene::new(2, 3, "right", spec()).with_stakes(MUCH);
    for at in 2..5 {
        scene.outputs[at] = Some("colluders");
    }
    scene.run();
    let acquitted = CaseEnd::Refunded(Reason::Acquitted);
    assert_eq!(scene.end(), Some(acquitted), "at once");
    assert_eq!(scene.stake(scene.answer.provider), Amount(STAKE));
    assert_eq!(scene.says(scene.others[0]), Says::Acquits);
    let stranger = ClientId(digest("stranger"));
    scene
        .script
        .pay(Movement::Deposit(stranger), 1_000_000)
        .unwrap();
    let again = scene.accuse_as(CaseId(digest("other")), stranger);
    assert_eq!(
        again,
        Err(Refusal::CaseDecided { case: case() }),
        "by nobody else"
    );
}

impl Scene {
    /// A shard compared with a tolerance, of which there is one answer.
    fn numeric() -> Self {
        let numeric = JobSpec {
            comparison: Comparison::Numeric,
            replicas: 1,
            max_replicas: 1,
            ..spec()
        };
        Self::new(2, 4, "wrong", numeric).with_stakes(MUCH)
    }

    /// Answers what the driver is asked to compare, until the case is decided: how everybody differs from the accused,
    /// and that all others agree. Each question is asked again after a restart.
    fn compare(&mut self, with_accused: Finding) {
        while let Some(open) = self.script.core.open_case(case()) {
            let Some((left, right)) = open.asked else {
                self.script.wait(WINDOW_MS);
                continue;
            };
            let restarted = self.script.step(Event::Restarted);
            let asked = restarted.iter().filter(|action| {
                matches!(action, Action::CompareCase { left: l, right: r, .. } if (*l, *r) == (left, right))
            });
            assert_eq!(asked.count(), 1);
            let finding = match left == self.answer.assignment {
                true => with_accused,
                false => Finding::Agree,
            };
            self.script.step(Event::Liquidation(CaseEvent::Compared {
                case: case(),
                left,
                right,
                finding,
            }));
        }
    }
}

#[test]
fn the_accuseds_own_kin_and_another_fingerprint_convict_nobody() {
    for near in [true, false] {
        let mut scene = Scene::numeric();
        let voter = scene.voters()[0];
        // A voter moves near the accused, or to another fingerprint.
        let mut moved = offer(voter.0[0], if near { "class" } else { "other" });
        moved.issued = Timestamp(2_000_000);
        let from = if near { scene.answer.provider } else { voter };
        scene.script.offer_from(moved, from.0[0].into());
        scene.run();
        scene.compare(Finding::Differ);
        assert_eq!(scene.says(voter), Says::Unclear, "near: {near}");
        assert_eq!(scene.says(scene.voters()[1]), Says::Against);
        assert_eq!(scene.says(scene.others[0]), Says::Confirms);
        // The others suffice without it.
        let decided = scene.script.core.decided_case(case()).unwrap();
        assert_eq!(decided.votes.operators, 3);
    }
}

#[test]
fn a_difference_that_hardware_might_explain_convicts_nobody() {
    for (finding, says, reason) in [
        (Finding::Unclear, Says::Unclear, Reason::TooManyDefend),
        (Finding::Agree, Says::Defends, Reason::Acquitted),
    ] {
        let mut scene = Scene::numeric();
        scene.run();
        scene.compare(finding);
        assert_eq!(scene.end(), Some(CaseEnd::Refunded(reason)));
        assert_eq!(scene.says(scene.voters()[0]), says);
    }
}

#[test]
fn a_job_that_its_accuser_gives_up_counts_everybody_who_was_drawn() {
    let mut scene = Scene::usual();
    scene.accuse().unwrap();
    let spec = scene.spec();
    scene.tie(again(), spec.clone()).unwrap();
    let sent = scene.submit(again(), spec);
    scene.outputs = vec![None; scene.others.len()];
    scene.answer(&sent);
    scene.script.wait(WINDOW_MS);
    let decided = scene.script.core.decided_case(case()).unwrap();
    assert_eq!(decided.votes.sampled, 4 * STAKE + 3 * MUCH);
    assert_eq!(decided.votes.against, 0);
    let silent = |id: &ProviderId| scene.says(*id) == Says::Nothing;
    assert!(scene.others.iter().all(silent));
}

#[test]
fn a_case_waits_for_its_jobs_and_for_nothing_without_end() {
    let mut scene = Scene::usual();
    scene.accuse().unwrap();
    let mut spec = scene.spec();
    spec.deadline_ms = 20 * CASE_GRACE_MS;
    spec.limits.wall_ms = scene.spec().limits.wall_ms;
    scene.tie(again(), spec.clone()).unwrap();
    scene.submit(again(), spec);
    scene.script.wait(WINDOW_MS);
    assert_eq!(scene.end(), None, "a job is under way");
    scene.script.wait(CASE_GRACE_MS);
    let reason = CaseEnd::Refunded(Reason::TooManyDefend);
    assert_eq!(scene.end(), Some(reason));
}

#[test]
fn a_case_without_jobs_lapses_and_leaves_nothing() {
    let mut scene = Scene::usual();
    scene
        .ask(CaseEvent::Accuse {
            request: REQUEST,
            case: case(),
            client: client(),
            answer: scene.answer,
            window_ms: 2 * TIE_MS,
        })
        .unwrap();
    scene.script.wait(TIE_MS - 1);
    assert!(scene.script.core.open_case(case()).is_some());
    scene.script.wait(1);
    assert!(!scene.script.core.is_case(case()));
    scene.accuse().unwrap();
}

#[test]
fn who_is_accused_cannot_withdraw_its_stake() {
    let mut scene = Scene::usual();
    let accused = scene.answer.provider;
    scene.accuse().unwrap();
    let unstake = Movement::Unstake(accused);
    assert_eq!(
        scene.script.pay(unstake, 100),
        Err(Refusal::StakeAccused { cases: 1 })
    );
    scene.script.wait(WINDOW_MS);
    assert_eq!(scene.script.pay(unstake, 200), Ok(Reply::Moved));
    let slash = Account::Stake(accused);
    let left = scene.script.core.ledger().balance(&slash).available();
    assert_eq!(left, Some(Amount(STAKE - 200)));
}
