//! Cases over HTTP: opened, tied, decided by what providers find, and shown to who may know of them.

use api::client::Error;
use api::types::{CasePhase, CaseView, Problem};
use ed25519_dalek::SigningKey;
use jobs::accusation::{ACCUSATION_SCHEMA, Accusation, Answer};
use jobs::compare::Comparator;
use jobs::compare::json::JsonRule;
use jobs::ids::ProviderId;
use jobs::money::Amount;
use jobs::package::{InputRef, Package, Replication};
use jobs::policy::Policy;
use jobs::record::JobRecord;

use super::provider::{Manner, Scripted};
use super::rig::{Rig, TestJob};

/// Seed of the one referee.
const REFEREE: u8 = 1;
/// Seed of the liar.
const LIAR: u8 = 5;
/// What the liar has at stake.
const STAKE: Amount = Amount(1_000);

fn id(seed: u8) -> ProviderId {
    ProviderId(
        SigningKey::from_bytes(&[seed; 32])
            .verifying_key()
            .to_bytes(),
    )
}

/// A job of one shard in which a liar was outvoted, compared with a tolerance, so that whoever compares reads outputs.
async fn outvoted(rig: &Rig) -> (TestJob, JobRecord, Vec<Scripted>) {
    rig.fund().await;
    for seed in [REFEREE, 2, 3, 4] {
        let account = format!("stake:{}", id(seed));
        rig.deposit(&account, Amount(10_000), &account[..20]).await;
    }
    let account = format!("stake:{}", id(LIAR));
    rig.deposit(&account, STAKE, "liar").await;
    let mut providers = Vec::new();
    for (seed, manner) in [
        (2, Manner::Honest),
        (3, Manner::Honest),
        (LIAR, Manner::Wrong),
    ] {
        providers.push(Scripted::join(seed, manner, &rig.running).await);
    }
    let mut job = TestJob::new();
    job.package.items_per_shard = 4;
    job.package.comparator = Comparator::Json(JsonRule { fields: Vec::new() });
    job.package.replication = Replication {
        replicas: 3,
        max_replicas: 4,
    };
    let reply = rig.run(&job).await;
    // The three do not agree; whoever comes decides.
    for seed in [REFEREE, 4] {
        providers.push(Scripted::join(seed, Manner::Honest, &rig.running).await);
    }
    rig.ended(reply.job).await;
    let record = rig.until(async |http| http.record(reply.job).await.ok());
    (job, record.await, providers)
}

fn accusation(rig: &Rig, record: &JobRecord, provider: ProviderId) -> Accusation {
    let shard = &record.shards[0];
    let replica = shard.replicas.iter().find(|one| one.provider == provider);
    let receipt = replica.unwrap().receipt.verify(provider).unwrap().statement;
    Accusation {
        schema: ACCUSATION_SCHEMA.into(),
        aggregator: rig.running.id,
        client: rig.key.client_id(),
        answer: Answer {
            job: receipt.assignment.job,
            shard: 0,
            provider,
            assignment: receipt.assignment.id,
            root: receipt.opening.outcome.root,
        },
        window_ms: 600_000,
        nonce: "0".repeat(32),
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Error>, status: u16, code: &str) {
    match answer {
        Err(Error::Refused(Problem {
            status: found,
            code: name,
            ..
        })) => assert_eq!((found, name.as_str()), (status, code)),
        other => panic!("{other:?} is not {status} {code}"),
    }
}

/// The job's shard once more.
fn again(job: &TestJob, nonce: char, replicas: u8, policy: Policy) -> TestJob {
    let package = Package {
        replication: Replication {
            replicas,
            max_replicas: replicas,
        },
        policy,
        ..job.package.clone()
    };
    let blobs = job.blobs.clone();
    TestJob { package, blobs }.again(nonce)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cases_are_opened_tied_and_shown_over_http() {
    let rig = Rig::with(|config| {
        config.referees = [id(REFEREE)].into();
        config.audit.confirmations = 1;
        config.prefix_diversity = false;
    })
    .await;
    let (job, record, _providers) = outvoted(&rig).await;
    let accusation = accusation(&rig, &record, id(LIAR));
    let elsewhere = Accusation {
        aggregator: id(9),
        ..accusation.clone()
    };
    let elsewhere = rig.key.sign_accusation(&elsewhere).unwrap();
    refused(rig.http.accuse(&elsewhere).await, 400, "invalid-request");
    let mut forged = rig.key.sign_accusation(&accusation).unwrap();
    forged.accusation = forged.accusation.replace("600000", "600001");
    refused(rig.http.accuse(&forged).await, 401, "signature");

    let signed = rig.key.sign_accusation(&accusation).unwrap();
    let opened = rig.http.accuse(&signed).await.unwrap();
    assert!(!opened.repeated);
    assert!(rig.http.accuse(&signed).await.unwrap().repeated);
    let case = opened.case;
    assert_eq!(rig.http.cases().await.unwrap(), [], "shown to nobody else");
    let view = rig.http.case(case).await.unwrap();
    assert_eq!((view.phase, view.provider), (CasePhase::Open, id(LIAR)));

    let mut other = again(&job, '1', 3, Policy::Replicate);
    other.package.input = InputRef::of(&["\"else\"", "\"b\"", "\"c\"", "\"d\""])
        .unwrap()
        .0;
    let other = rig.http.tie(case, &other.signed(&rig.key)).await;
    refused(other, 422, "not-the-same");
    let friends = [id(2)].into();
    let friends = again(&job, '1', 1, Policy::Trusted { providers: friends });
    let friends = rig.http.tie(case, &friends.signed(&rig.key)).await;
    refused(friends, 422, "not-the-same");

    let jobs = [
        again(&job, '2', 4, Policy::Replicate),
        again(
            &job,
            '3',
            1,
            Policy::Trusted {
                providers: [id(REFEREE)].into(),
            },
        ),
    ];
    for job in &jobs {
        let package = job.signed(&rig.key);
        let tied = rig.http.tie(case, &package).await.unwrap();
        assert!(!tied.repeated);
        assert!(rig.http.tie(case, &package).await.unwrap().repeated);
    }
    for job in &jobs {
        let reply = rig.http.submit(&job.signed(&rig.key)).await.unwrap();
        assert_eq!(reply.missing, [], "everything is there already");
    }
    let decided = rig.until(async |http| {
        let view = http.case(case).await.unwrap();
        view.phase.is_terminal().then_some(view)
    });
    check_slashed(&rig, &decided.await).await;
}

async fn check_slashed(rig: &Rig, view: &CaseView) {
    assert_eq!(view.phase, CasePhase::Slashed, "{view:?}");
    assert_eq!((view.slashed, view.bounty), (STAKE, Amount(STAKE.0 / 2)));
    for one in &view.testimony {
        let expected = match one.referee {
            true => "confirms",
            false => "against",
        };
        assert_eq!(one.says, expected, "{view:?}");
    }
    assert_eq!(view.testimony.len(), 4);
    let stake = format!("stake:{}", id(LIAR));
    assert_eq!(rig.balance(&stake).await, Amount::ZERO);
    let listed = rig.http.cases().await.unwrap();
    assert_eq!(listed, std::slice::from_ref(view));
    rig.until(async |http| {
        let open = http.health().await.unwrap().open_jobs;
        (open == 0).then_some(())
    })
    .await;
    rig.check_money().await;
}
