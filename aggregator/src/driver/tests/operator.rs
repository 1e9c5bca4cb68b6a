//! What an operator does, and reads.

use api::client::Error;
use api::types::BackupRequest;
use jobs::digest::Digest;
use jobs::money::Amount;

use super::provider::{Manner, Scripted};
use super::rig::{DEPOSIT, Rig, TOKEN, TestJob, config};
use crate::driver::restore;
use crate::start;

/// A market that has run one job.
async fn done() -> (Rig, [Scripted; 2]) {
    let rig = Rig::new().await;
    rig.fund().await;
    let providers = [
        Scripted::join(1, Manner::Honest, &rig.running).await,
        Scripted::join(2, Manner::Honest, &rig.running).await,
    ];
    let reply = rig.run(&TestJob::new()).await;
    assert_eq!(rig.ended(reply.job).await.reason, None);
    (rig, providers)
}

fn code(error: Error) -> String {
    match error {
        Error::Refused(problem) => problem.code,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_is_read_in_pages_and_says_where_money_went() {
    let (rig, _providers) = done().await;
    let whole = rig.http.journal(0, 4096).await.unwrap();
    let numbers: Vec<u64> = whole.iter().map(|entry| entry.seq).collect();
    assert_eq!(numbers, (1..=whole.len() as u64).collect::<Vec<_>>());
    assert_eq!(
        (whole[0].kind.as_str(), whole[0].from.as_deref()),
        ("post", Some("outside"))
    );
    assert_eq!(
        whole.last().unwrap().kind,
        "close",
        "the job's escrow is closed"
    );
    let mut paged = Vec::new();
    while let Ok(page) = rig.http.journal(paged.len() as u64, 3).await
        && !page.is_empty()
    {
        assert!(page.len() <= 3);
        paged.extend(page);
    }
    assert_eq!(paged, whole);
    for limit in [0, 5000] {
        let refused = rig.http.journal(0, limit).await.unwrap_err();
        assert!(
            refused
                .to_string()
                .contains(&format!("limit = {limit}: must be 1 to 4096"))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_bans_and_readmits_and_nobody_else_does() {
    let (rig, [first, _second]) = done().await;
    let banned = async || {
        let all = rig.http.providers().await.unwrap();
        all.into_iter()
            .find(|view| view.id == first.id)
            .unwrap()
            .banned
            .is_some()
    };
    let stranger = rig.http.set_banned("guess", first.id, true).await;
    assert_eq!(code(stranger.unwrap_err()), "unauthorized");
    assert!(!banned().await);
    rig.http.set_banned(TOKEN, first.id, true).await.unwrap();
    assert!(banned().await);
    rig.http.set_banned(TOKEN, first.id, false).await.unwrap();
    assert!(!banned().await);
    let nobody = jobs::ids::ProviderId([9; 32]);
    let unknown = rig.http.set_banned(TOKEN, nobody, true).await;
    assert_eq!(code(unknown.unwrap_err()), "not-found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_restores_what_was_decided_until_then() {
    let (rig, _providers) = done().await;
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("backup");
    let request = BackupRequest { to: to.clone() };
    let stranger = rig.http.backup("guess", &request).await.unwrap_err();
    assert_eq!(code(stranger), "unauthorized");
    let label = rig.http.backup(TOKEN, &request).await.unwrap();
    let again = rig.http.backup(TOKEN, &request).await.unwrap_err();
    assert_eq!(code(again), "conflict");
    let relative = BackupRequest {
        to: "backup".into(),
    };
    let relative = rig.http.backup(TOKEN, &relative).await.unwrap_err();
    assert_eq!(code(relative), "invalid-request");

    // What comes after the backup is not in it.
    let before = rig.http.balances().await.unwrap();
    let jobs = rig.http.jobs().await.unwrap();
    assert!(rig.deposit(&rig.account(), DEPOSIT, "later").await);
    let data = place.path().join("data");
    let restored = restore(&to, &data).unwrap();
    assert_eq!(restored, label);
    assert_eq!(
        label.journal,
        rig.http.journal(0, 4096).await.unwrap().len() as u64 - 1
    );
    rig.running.stop().await;
    let running = start(config(&data)).await.unwrap();
    let http = api::client::Client::new(&format!("http://{}", running.http));
    assert_eq!(http.balances().await.unwrap(), before);
    assert_eq!(http.jobs().await.unwrap(), jobs);
    let record = http.record(jobs[0].id).await.unwrap();
    assert_eq!(record.shards.len(), 2, "the record's blob came along");
    running.stop().await;

    let there = restore(&to, &data).unwrap_err().to_string();
    assert!(there.contains("is there already"), "{there}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_not_what_it_says_is_not_restored() {
    let (rig, _providers) = done().await;
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("backup");
    let label = rig
        .http
        .backup(TOKEN, &BackupRequest { to: to.clone() })
        .await
        .unwrap();
    let text = to.join("backup.json");
    let mut changed = label.clone();
    changed.journal_hash = Digest::of(b"another");
    let mut fewer = label.clone();
    fewer.blobs += 1;
    for lie in [changed, fewer] {
        std::fs::write(&text, serde_json::to_vec(&lie).unwrap()).unwrap();
        let refused = restore(&to, &place.path().join("data"))
            .unwrap_err()
            .to_string();
        assert!(refused.contains("not what it says"), "{refused}");
        let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing is left of it");
    }
    let missing = restore(&place.path().join("nothing"), &place.path().join("data"));
    assert!(missing.unwrap_err().to_string().contains("backup.json"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_count_what_happened() {
    let (rig, _providers) = done().await;
    let text = rig.http.metrics().await.unwrap();
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(text.ends_with("# EOF\n"), "{text}");
    let listed = include_str!("../../../../docs/src/reference/metrics.md");
    let described = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    for line in described {
        let (name, kind) = line.split_once(' ').unwrap();
        let name = match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        let row = format!("| `{name}` | {kind} |");
        assert!(listed.contains(&row), "the documentation lists no {row}");
    }
    for (name, expected) in [
        ("assay_jobs{phase=\"done\"}", 1.0),
        ("assay_jobs{phase=\"running\"}", 0.0),
        ("assay_shards{state=\"working\"}", 0.0),
        ("assay_providers{standing=\"online\"}", 2.0),
        ("assay_replicas_agreed_total", 4.0),
        ("assay_replicas_outvoted_total", 0.0),
        ("assay_ledger_conserved", 1.0),
        ("assay_store_halted", 0.0),
        ("assay_money_micro_units{account=\"escrow\"}", 0.0),
        ("assay_dispatch_seconds_count", 4.0),
        ("assay_commit_seconds_count", 4.0),
        ("assay_verdict_seconds_count", 2.0),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    let provider = rig.http.balances().await.unwrap();
    let paid = provider
        .iter()
        .filter(|balance| balance.account.starts_with("provider:"));
    let paid: u128 = paid.map(|balance| balance.credits.0).sum();
    assert_ne!(Amount(paid), Amount::ZERO);
    assert_eq!(value("assay_released_micro_units_total"), paid as f64);
    assert!(value("assay_store_commit_seconds_count") >= 1.0);
    assert!(value("assay_queue_depth_max") >= 1.0);
}
