//! Quotes, and jobs that their clients give up.

use api::client::Error;
use api::problem::Problem;
use api::types::JobPhase;
use jobs::envelope::ClientKey;
use jobs::money::Amount;
use jobs::policy::Share;

use super::provider::{Manner, Scripted};
use super::rig::{DEPOSIT, MAX_PRICE, Rig, TestJob};

const SHARE: Share = Share([3; 32]);

fn job() -> TestJob {
    let mut job = TestJob::new();
    job.package.nonce = hex::encode(SHARE.nonce());
    job
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Error>) -> Problem {
    match answer {
        Err(Error::Refused(problem)) => problem,
        answer => panic!("{answer:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quote_says_what_a_job_would_cost_and_keeps_nothing() {
    let rig = Rig::new().await;
    let job = job();
    let none = rig.http.quote(&job.package).await.unwrap();
    assert!(!none.served && none.eligible == 0, "{none:?}");
    assert!(none.missing.unwrap().contains("nobody can serve"));
    let mut joined = Vec::new();
    for seed in [1, 2] {
        joined.push(Scripted::join(seed, Manner::Silent, &rig.running).await);
    }
    let quote = rig.http.quote(&job.package).await.unwrap();
    assert!(quote.served && quote.missing.is_none(), "{quote:?}");
    assert_eq!((quote.escrow, quote.shards), (MAX_PRICE, 2));
    assert_eq!((quote.eligible, quote.cheapest.len()), (2, 2));
    assert!(quote.cheapest.iter().all(|able| able.most <= quote.share));
    // Nobody was asked for money, and there is no job.
    assert!(rig.http.jobs().await.unwrap().is_empty());
    let mut dear = job.package.clone();
    dear.max_price = Amount(1);
    let problem = refused(rig.http.quote(&dear).await);
    assert_eq!((problem.status, &*problem.code), (422, "price-too-low"));
    let mut wild = job.package.clone();
    wild.items_per_shard = 0;
    let problem = refused(rig.http.quote(&wild).await);
    assert_eq!((problem.status, &*problem.code), (400, "invalid-request"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_jobs_client_cancels_it_and_gets_its_money_back() {
    let rig = Rig::new().await;
    let mut joined = Vec::new();
    for seed in [1, 2] {
        joined.push(Scripted::join(seed, Manner::Silent, &rig.running).await);
    }
    rig.fund().await;
    let id = rig.run(&job()).await.job;
    let stranger = rig.http.clone().with_key(&ClientKey::generate().unwrap());
    let problem = refused(stranger.cancel(id).await);
    assert_eq!((problem.status, &*problem.code), (403, "not-yours"));
    assert!(!rig.http.job(id).await.unwrap().phase.is_terminal());
    rig.http.cancel(id).await.unwrap();
    let view = rig.ended(id).await;
    assert_eq!(view.phase, JobPhase::Failed);
    assert_eq!(view.reason.as_deref(), Some("cancelled by the client"));
    assert_eq!(view.returned, MAX_PRICE);
    assert_eq!(rig.balance(&rig.account()).await, DEPOSIT);
    rig.http.cancel(id).await.unwrap();
    rig.check_money().await;
}
