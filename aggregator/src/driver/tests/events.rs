//! What who watches is told of a job.

use jobs::ids::JobId;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::provider::{Manner, Scripted};
use super::rig::{Rig, TestJob};

/// Every event of a stream: its id, its name and its data.
type Told = Vec<(String, String, Value)>;

/// Reads a stream to its end.
async fn read(rig: &Rig, route: &str, last: Option<&str>) -> Told {
    let mut stream = tokio::net::TcpStream::connect(rig.running.http)
        .await
        .unwrap();
    let mut head = format!("GET /api/v1{route} HTTP/1.1\r\nhost: localhost\r\n");
    head += &last.map_or(String::new(), |last| format!("last-event-id: {last}\r\n"));
    head += "connection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let mut told = Told::new();
    let (mut id, mut name) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("id: ") {
            id = value.to_owned();
        } else if let Some(value) = line.strip_prefix("event: ") {
            name = value.to_owned();
        } else if let Some(value) = line.strip_prefix("data: ") {
            let data = serde_json::from_str(value).unwrap();
            told.push((std::mem::take(&mut id), std::mem::take(&mut name), data));
        }
    }
    told
}

fn count(told: &Told, name: &str) -> usize {
    told.iter().filter(|event| event.1 == name).count()
}

fn phases(told: &Told) -> Vec<&str> {
    let phases = told.iter().filter(|event| event.1 == "job_phase");
    phases
        .map(|event| event.2["phase"].as_str().unwrap())
        .collect()
}

async fn follow(manners: &[Manner], late: Option<Manner>) -> (Rig, JobId, Told, Vec<Scripted>) {
    let rig = Rig::new().await;
    rig.fund().await;
    let mut providers = Vec::new();
    for (manner, seed) in manners.iter().zip(1..) {
        providers.push(Scripted::join(seed, *manner, &rig.running).await);
    }
    let job = TestJob::new();
    let reply = rig.http.submit(&job.signed(&rig.key)).await.unwrap();
    let route = format!("/jobs/{}/events", reply.job);
    let told = read(&rig, &route, None);
    let uploads = async {
        for (blob, bytes) in &job.blobs {
            rig.upload(reply.job, *blob, bytes).await.unwrap();
        }
        let late = late?;
        // The first two have every shard.
        rig.until(async |http| {
            let view = http.job(reply.job).await.unwrap();
            (view.assignments >= 4).then_some(())
        })
        .await;
        Some(Scripted::join(9, late, &rig.running).await)
    };
    let (told, late) = tokio::join!(told, uploads);
    providers.extend(late);
    (rig, reply.job, told, providers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_told_step_by_step_until_it_has_ended() {
    let (rig, job, told, providers) = follow(&[Manner::Honest, Manner::Honest], None).await;
    let phases = phases(&told);
    assert_eq!(phases.first(), Some(&"waiting"), "{told:?}");
    assert_eq!(phases.last(), Some(&"done"), "{told:?}");
    assert!(
        phases.contains(&"running") && phases.contains(&"merging"),
        "{told:?}"
    );
    for (name, times) in [
        ("shard_dispatched", 4),
        ("shard_committed", 4),
        ("shard_revealed", 4),
        ("shard_accepted", 2),
        ("shard_undecided", 0),
        ("disagreement", 0),
        ("end", 1),
    ] {
        assert_eq!(count(&told, name), times, "{name}: {told:?}");
    }
    let paid = told.iter().filter(|event| event.1 == "payment");
    let paid: f64 = paid
        .map(|event| event.2["amount"].as_str().unwrap().parse::<f64>().unwrap())
        .sum();
    let view = rig.http.job(job).await.unwrap();
    let due: u128 = view.paid.iter().map(|(_, amount)| amount.0).sum();
    assert_eq!((paid * 1e6).round() as u128, due);
    // Who executes is nobody's business before the end.
    let text = format!("{told:?}");
    for provider in &providers {
        assert!(!text.contains(&provider.id.to_string()), "{text}");
    }
    // Whoever was away goes on where it was.
    let ids: Vec<&str> = told
        .iter()
        .map(|event| event.0.as_str())
        .filter(|id| !id.is_empty())
        .collect();
    let middle = ids[ids.len() / 2];
    let route = format!("/jobs/{job}/events");
    let rest = read(&rig, &route, Some(middle)).await;
    let again: Vec<&str> = rest
        .iter()
        .map(|event| event.0.as_str())
        .filter(|id| !id.is_empty())
        .collect();
    assert_eq!(again, ids[ids.len() / 2 + 1..]);
    let answer = rig.raw("GET", &route, &[("last-event-id", "x")], b"").await;
    assert_eq!(
        (answer.0, &answer.1["code"]),
        (400, &"invalid-request".into())
    );
    // After a restart what was told before is gone, and that is said.
    let rig = rig.restarted(true).await;
    let rest = read(&rig, &route, Some("1.0")).await;
    assert_eq!(
        (count(&rest, "lost"), count(&rest, "end")),
        (1, 1),
        "{rest:?}"
    );
    let unknown = format!("/jobs/{}/events", jobs::digest::Digest::of(b"none"));
    assert_eq!(rig.raw("GET", &unknown, &[], b"").await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_liar_shows_as_a_shard_undecided_and_a_disagreement() {
    let (_rig, _, told, _providers) =
        follow(&[Manner::Honest, Manner::Wrong], Some(Manner::Honest)).await;
    assert_eq!(phases(&told).last(), Some(&"done"), "{told:?}");
    assert_eq!(count(&told, "shard_accepted"), 2, "{told:?}");
    assert!(count(&told, "shard_undecided") >= 1, "{told:?}");
    assert!(count(&told, "disagreement") >= 1, "{told:?}");
}
