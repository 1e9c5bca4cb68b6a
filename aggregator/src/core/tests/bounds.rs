//! How much one step does, and that the rest follows.

use jobs::offer::CAPACITY_MAX;

use super::*;

/// Carries out what a step left for the next, until it leaves nothing.
fn drain(script: &mut Script) -> u32 {
    let mut steps = 0;
    while script.last.contains(&Action::TickAgain) {
        script.step(Event::Tick);
        steps += 1;
    }
    steps
}

#[test]
fn the_rows_of_any_step_fit_into_a_batch_beside_those_of_others() {
    let config = Config::new(provider(0xaa), FeeBps::new(100).unwrap());
    assert!(config.step_rows_max() <= store::BATCH_ROWS_MAX / 2);
}

/// A market whose state is too large to be checked after every step.
struct Large {
    core: Core,
    now: u64,
    waiting: Vec<Assignment>,
}

impl Large {
    /// Steps, and then carries out what the step left for the next. Answers how many it left it for.
    fn step(&mut self, event: Event) -> u32 {
        let mut next = Some(event);
        let mut steps = 0;
        while let Some(event) = next.take() {
            let actions = self.core.step(Timestamp(self.now), event);
            let (rows, max) = (rows(&self.core, &actions), self.core.config.step_rows_max());
            assert!(rows <= max, "{rows} rows in one step, {max} at most");
            if actions.contains(&Action::TickAgain) {
                next = Some(Event::Tick);
                steps += 1;
            }
            self.waiting
                .extend(actions.into_iter().filter_map(|action| match action {
                    Action::Dispatch(assignment) => Some(*assignment),
                    _ => None,
                }));
        }
        steps
    }

    /// A job with as many shards and replicas as any has begun, and twelve providers with as many
    /// places as any are at work.
    fn begun() -> Self {
        let mut script = Script::new(0);
        for index in 0..12 {
            script.offer(Offer {
                capacity: CAPACITY_MAX,
                ..offer(index, "class")
            });
        }
        let spec = JobSpec {
            items: 4096,
            items_per_shard: 1,
            replicas: 12,
            max_replicas: 12,
            max_price: Amount(1_000_000_000),
            ..spec()
        };
        script
            .pay(Movement::Deposit(client()), 1_000_000_000)
            .unwrap();
        script.submit(spec).unwrap();
        let mut large = Self {
            core: script.core,
            now: script.now,
            waiting: Vec::new(),
        };
        let steps = large.step(Event::BlobsReady {
            job: job(),
            shard_inputs: vec![BlobRef::of(b"input"); 4096],
        });
        assert!(steps > 0, "there are more places than one step fills");
        large
    }

    fn commit(&mut self, assignment: &Assignment) {
        let Assignment {
            id,
            job,
            shard,
            provider,
            ..
        } = *assignment;
        let commitment = Commitment {
            assignment: id,
            job,
            shard,
            provider,
            hash: digest("hash"),
        };
        self.step(Event::Committed { commitment });
    }
}

#[test]
fn the_largest_job_begins_and_ends_in_steps_that_fit() {
    let mut large = Large::begun();
    while !large.waiting.is_empty() {
        for next in std::mem::take(&mut large.waiting) {
            large.commit(&next);
        }
    }
    large.core.check().unwrap();
    assert_eq!(large.core.ledger().open_pendings().count(), 12 * 4096);
    large.now += 600_000;
    for event in [Event::Tick, Event::Restarted] {
        let mut endless = large.core.clone();
        endless.config.sabotage = Some(Sabotage::EndlessStep);
        let actions = endless.step(Timestamp(large.now), event.clone());
        assert!(rows(&endless, &actions) > store::BATCH_ROWS_MAX);

        let mut ending = Large {
            core: large.core.clone(),
            waiting: Vec::new(),
            ..large
        };
        assert!(ending.step(event) > 20);
        ending.core.check().unwrap();
        let outcome = ending.core.outcome(job());
        let Some(JobOutcome::Failed(FailReason::Deadline { .. })) = outcome else {
            panic!("{outcome:?}");
        };
        let returned = ending.core.view_client(client());
        assert_eq!(returned, Amount(1_010_000_000));
    }
}

/// A script whose steps may do next to nothing.
fn narrow(providers: u8) -> Script {
    let mut script = Script::new(providers);
    script.core.config.step_replicas_max = 2;
    script.core.config.provider_live_max = 4;
    script
}

#[test]
fn a_job_that_is_ending_accepts_and_pays_nothing_and_ends_when_nothing_is_held() {
    let mut script = narrow(2);
    script.start(spec());
    assert_eq!(drain(&mut script), 1, "two at a time");
    let sent = script.sent(0);
    script.commit(&sent[0], "right");
    script.commit(&sent[1], "right");
    script.reveal(&sent[0], "right");
    script.step(Event::Cancel {
        request: REQUEST,
        job: job(),
        client: client(),
    });
    assert_eq!(script.reply(), Ok(Reply::Cancelled { job: job() }));
    assert_eq!(script.outcome(), None, "two of four are held");
    assert_eq!(script.core.open_jobs(), 1);
    script.core.config.step_replicas_max = 1;
    script.reveal(&sent[1], "right");
    assert_eq!(script.core.view_job(job()).unwrap().accepted, 0);
    drain(&mut script);
    assert_eq!(*script.failure(), FailReason::Cancelled);
    assert_eq!(script.core.view_client(client()), Amount(10_000_000));
    assert_eq!(script.core.ledger().open_pendings().count(), 0);
}

#[test]
fn many_providers_that_fall_silent_are_missed_step_by_step() {
    let mut script = narrow(6);
    script.start(JobSpec {
        items: 12,
        deadline_ms: 10_000_000,
        ..spec()
    });
    drain(&mut script);
    script.wait(script.core.config().offer_ttl_ms + 1);
    assert!(drain(&mut script) > 2);
    assert!(script.core.view_providers().iter().all(|p| !p.online));
    assert_eq!(script.core.ledger().open_pendings().count(), 0);
}

#[test]
fn a_provider_holds_no_more_than_it_may_however_fast_it_is() {
    let mut script = narrow(2);
    script.start(JobSpec {
        items: 20,
        ..spec()
    });
    drain(&mut script);
    // The second one never answers.
    while let Some(next) = script.sent.pop() {
        if next.provider == provider(0) {
            script.commit(&next, "right");
            drain(&mut script);
        }
    }
    let held = script.core.view_job(job()).unwrap().shards;
    let held = held.iter().flat_map(|shard| &shard.replicas);
    assert_eq!(held.filter(|r| r.provider == provider(0)).count(), 4);
}

#[test]
fn capacities_have_a_bound() {
    let mut script = Script::new(1);
    script.offer(Offer {
        capacity: CAPACITY_MAX + 1,
        ..offer(1, "class")
    });
    let [Action::OfferRefused { refusal, .. }] = &script.last[..] else {
        panic!("{:?}", script.last);
    };
    assert_eq!(refusal.to_string(), "capacity = 257 is outside 1 to 256");
}

#[test]
fn whoever_can_serve_nothing_costs_no_look_at_any_shard() {
    let mut script = Script::new(3);
    script.start(JobSpec {
        items: 400,
        max_price: Amount(10_000_000),
        ..spec()
    });
    // Of the first two nobody has a place left; the third lies, and has places and no standing.
    let liar = provider(2);
    let looks = |script: &Script| {
        let mut fx = Effects {
            room: 9,
            ..Effects::default()
        };
        script.core.clone().fill(&mut fx);
        fx.looks
    };
    for _ in 0..2 {
        script
            .core
            .record_deed(liar, reputation::Deed::Dissented, &mut Effects::default());
    }
    while let Some(at) = script.sent.iter().position(|a| a.provider == liar) {
        let next = script.sent.remove(at);
        script.step(Event::AssignRefused {
            assignment: next.id,
            code: Code::new("busy"),
        });
    }
    assert!(script.core.view_provider(liar).unwrap().demoted);
    assert_eq!((script.core.free_places().len(), looks(&script)), (0, 0));

    // In good standing, with a place, but too small for the job.
    script.offer(Offer {
        fuel_max: 1,
        ..offer(7, "class")
    });
    assert_eq!((script.core.free_places().len(), looks(&script)), (1, 0));
}

#[test]
fn a_look_that_is_cut_short_goes_on_where_it_stopped() {
    let mut script = Script::new(1);
    script.core.config.step_looks_max = 3;
    script.start(JobSpec {
        items: 40,
        models: 0,
        replicas: 1,
        max_replicas: 1,
        ..spec()
    });
    // Nobody else is there for what it could not do.
    for shard in 0..10 {
        let [next] = &script.sent(shard)[..] else {
            panic!("shard {shard} was not sent");
        };
        script.step(Event::ExecutionFailed {
            assignment: next.id,
            failure: Failure::Provider(Code::new("disk_full")),
        });
        for _ in 0..10 {
            script.step(Event::Tick);
        }
    }
}
