//! Who executes: drawn by what neither the client nor the aggregator could choose.

use std::collections::BTreeMap;

use super::*;

/// Ten shards of one replica each, submitted with this share of the aggregator's.
fn wide() -> JobSpec {
    JobSpec {
        items: 10,
        items_per_shard: 1,
        replicas: 1,
        ..spec()
    }
}

fn blobs_ready(script: &mut Script) {
    let inputs = (0..10_u32).map(|shard| BlobRef::of(&shard.to_le_bytes()));
    script.step(Event::BlobsReady {
        job: job(),
        shard_inputs: inputs.collect(),
    });
}

fn share(script: &mut Script, byte: u8) {
    script.step(Event::Share {
        request: REQUEST,
        job: job(),
        client: client(),
        chance: Chance([byte; 32]),
    });
}

/// Who gets the ten shards, by shard.
fn drawn(script: &mut Script) -> Vec<ProviderId> {
    let by_shard = script.sent.drain(..).map(|a| (a.shard, a.provider));
    by_shard.collect::<BTreeMap<_, _>>().into_values().collect()
}

/// Submits with these shares, and gets to the first assignments.
fn run(own: u8, client_share: Option<u8>) -> Vec<ProviderId> {
    let mut script = Script::new(8);
    script.core.config.share_wait_ms = 1_000;
    script.step(Event::Submit {
        request: REQUEST,
        client: client(),
        job: job(),
        spec: wide(),
        chance: Chance([own; 32]),
    });
    if let Some(byte) = client_share {
        share(&mut script, byte);
    }
    blobs_ready(&mut script);
    assert_eq!(script.sent.is_empty(), client_share.is_none());
    script.wait(1_001);
    // What comes now changes nothing any more.
    share(&mut script, 77);
    let before = script.core.jobs[&job()].draw.clone();
    assert_eq!(before.by_both, client_share.is_some());
    assert_eq!(before.client.map(|chance| chance.0[0]), client_share);
    drawn(&mut script)
}

#[test]
fn either_share_decides_who_executes_and_nobody_waits_for_ever_for_the_clients() {
    let first = run(1, Some(2));
    assert_eq!(first.len(), 10);
    assert_eq!(first, run(1, Some(2)), "a draw can be repeated");
    let others = [run(2, Some(2)), run(1, Some(3)), run(1, None), run(2, None)];
    for (index, other) in others.iter().enumerate() {
        assert_eq!(other.len(), 10);
        assert_ne!(*other, first, "{index}");
        assert!(!others[..index].contains(other), "{index}");
    }
}

#[test]
fn who_has_more_at_stake_is_drawn_more_often() {
    let mut counts = BTreeMap::new();
    for own in 0..60 {
        let mut script = Script::new(2);
        script.core.config.stake_min = Amount(300);
        // Nine times as much as the other.
        script.pay(Movement::Stake(provider(1)), 2_400).unwrap();
        script.step(Event::Submit {
            request: REQUEST,
            client: client(),
            job: job(),
            spec: JobSpec {
                items: 1,
                items_per_shard: 1,
                replicas: 1,
                ..spec()
            },
            chance: Chance([own; 32]),
        });
        script.step(Event::BlobsReady {
            job: job(),
            shard_inputs: vec![BlobRef::of(b"item")],
        });
        for provider in drawn(&mut script) {
            *counts.entry(provider).or_insert(0) += 1;
        }
    }
    // 54 of 60 on average; five standard deviations are 12.
    let often = counts[&provider(1)];
    assert!((42..=60).contains(&often), "{counts:?}");
}
