//! Who may come in.

use super::*;

fn check(change: impl FnOnce(&mut JobSpec), code: &str, text: &str) {
    let mut script = Script::new(3);
    let mut spec = spec();
    change(&mut spec);
    let refusal = script.submit(spec).unwrap_err();
    assert_eq!(refusal.code(), code);
    assert_eq!(refusal.to_string(), text);
    assert_eq!(script.core.view_client(client()), Amount(10_000_000));
}

#[test]
fn a_job_that_cannot_be_served_is_refused_by_name() {
    check(
        |s| s.replicas = 0,
        "out_of_bounds",
        "replicas = 0 is outside 1 to 12",
    );
    check(
        |s| s.max_replicas = 1,
        "out_of_bounds",
        "max_replicas = 1 is outside 2 to 12",
    );
    check(
        |s| s.items = 100_000,
        "out_of_bounds",
        "shards = 50000 is outside 1 to 4096",
    );
    check(
        |s| s.max_price = Amount(7),
        "price_too_low",
        "price ceiling 0.000007 is too low for 6 assignments",
    );
    check(
        |s| s.max_price = Amount(10_000_001),
        "insufficient_funds",
        "balance 10.000000 does not cover the price ceiling 10.000001",
    );
    check(
        |s| s.device = Some(DeviceKind::Gpu),
        "nobody_serves",
        "nobody can serve this job: 0 providers with a gpu, 2 needed",
    );
    check(
        |s| s.limits.fuel = 11_000_000_000,
        "nobody_serves",
        "nobody can serve this job: 0 providers accepting a fuel limit of 11000000000, 2 needed",
    );
    check(
        |s| (s.replicas, s.max_replicas) = (4, 4),
        "nobody_serves",
        "nobody can serve this job: 3 connected providers in good standing, 4 needed",
    );
    check(
        |s| s.max_price = Amount(50_000),
        "nobody_serves",
        "nobody can serve this job: 0 providers that ask at most 0.008250 for a shard at its limits, \
         2 needed",
    );
}

#[test]
fn nobody_gets_work_that_could_cost_more_than_is_reserved_for_it() {
    let mut script = Script::new(3);
    // At the job's limits four gigafuel and ten seconds: 9000 for the others.
    let price = Price {
        per_gfuel: Amount(1_000),
        per_device_second: Amount(20_000),
    };
    let dear = Offer {
        price,
        ..offer(0, "class")
    };
    script.offer(dear.clone());
    let quote = script.start(spec());
    assert!(quote.share < Amount(200_000), "{quote:?}");
    assert!(script.sent.iter().all(|a| a.provider != dear.provider));
    assert_eq!(script.sent.len(), 4, "the others serve it");

    // Whoever raises its price later gets nothing more, and the job says what it lacks.
    for index in 1..3 {
        script.offer(Offer {
            price,
            ..offer(index, "class")
        });
        script.step(Event::ProviderLost {
            provider: provider(index),
        });
        script.offer(Offer {
            price,
            ..offer(index, "class")
        });
    }
    script.sent.clear();
    for _ in 0..600 {
        script.wait(1_000);
    }
    assert_eq!(script.sent, []);
    let text = "deadline passed with 0 of 2 shards accepted: nobody can serve this job: 0 providers \
                that ask at most 0.165016 for a shard at its limits, 2 needed";
    assert_eq!(script.failure().to_string(), text);
}

#[test]
fn exact_jobs_with_models_need_enough_providers_of_one_fingerprint() {
    let mut script = Script::new(0);
    script.offer(offer(1, "one"));
    script.offer(offer(2, "two"));
    let refusal = script.submit(spec()).unwrap_err();
    let text = "nobody can serve this job: 1 providers of one fingerprint, 2 needed";
    assert_eq!(refusal.to_string(), text);
    let without = JobSpec {
        models: 0,
        ..spec()
    };
    script.submit(without).unwrap();
}

#[test]
fn a_job_that_trusts_some_waits_for_them_and_is_given_to_nobody_else() {
    let trusting = |providers: &[u8], replicas| JobSpec {
        trusted: Some(providers.iter().map(|p| provider(*p)).collect()),
        replicas,
        ..spec()
    };
    let mut script = Script::new(4);
    let refusal = script.submit(trusting(&[1, 9], 2)).unwrap_err();
    let text = "nobody can serve this job: 1 providers that the job trusts, 2 needed";
    assert_eq!(refusal.to_string(), text);
    script.start(trusting(&[1, 3], 1));
    assert!(!script.sent.is_empty());
    for order in &script.sent {
        assert!([provider(1), provider(3)].contains(&order.provider));
    }
}

#[test]
fn the_same_job_gets_the_same_answer_and_pays_once() {
    let mut script = Script::new(2);
    let quote = script.submit(spec()).unwrap();
    assert_eq!(script.submit(spec()), Ok(quote));
    assert_eq!(script.core.view_client(client()), Amount(9_000_000));
    let other = script.submit_as(ClientId(digest("other")), job(), spec());
    assert_eq!(other, Err(Refusal::NotYours));
}

#[test]
fn the_worst_case_is_funded() {
    for (micros, shards) in [(1_000_000, 2), (999, 2), (12_345_677, 9), (40, 3)] {
        let mut script = Script::new(2);
        for index in 0..2 {
            let price = Price {
                per_gfuel: Amount::ZERO,
                per_device_second: Amount::ZERO,
            };
            let offer = offer(index, "class");
            script.offer(Offer { price, ..offer });
        }
        script.pay(Movement::Deposit(client()), 1 << 40).unwrap();
        let quote = script.submit(JobSpec {
            items: shards * 2,
            max_price: Amount(micros),
            ..spec()
        });
        let quote = quote.unwrap();
        let all = Amount(quote.share.0 * 3);
        let fee = FeeBps::new(quote.fee_bps).unwrap().fee(all);
        assert!((all.0 + fee.0) * u128::from(shards) <= micros, "{quote:?}");
    }
}

#[test]
fn bounds_are_refusals() {
    let mut script = Script::new(2);
    script.core.config.jobs_open_max = 2;
    script.core.config.jobs_per_client_max = 1;
    script.submit(spec()).unwrap();
    let second = script.submit_as(client(), JobId(digest("second")), spec());
    let text = "open_jobs_of_this_client is full: 1 at most, try later";
    assert_eq!(second.unwrap_err().to_string(), text);
    script.core.config.providers_max = 2;
    let offer = Box::new(offer(9, "class"));
    let refused = script.step(Event::Offer { offer, prefix: 9 });
    assert!(
        matches!(refused, [Action::OfferRefused { refusal, .. }] if refusal.code() == "full"),
        "{refused:?}"
    );
}

#[test]
fn only_recorded_jobs_are_forgotten_and_never_run_twice() {
    let mut script = Script::new(2);
    script.start(spec());
    script.core.config.jobs_retained_max = 0;
    script.finish();
    assert!(script.core.view_job(job()).is_some(), "not recorded yet");
    script.step(Event::Recorded { job: job() });
    assert_eq!(script.core.view_job(job()), None);
    script.core.config.jobs_retained_max = 9;
    assert_eq!(script.submit(spec()), Err(Refusal::Archived));
}
