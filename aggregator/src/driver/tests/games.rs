//! Reports over HTTP: who is refused, what is kept.

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;
use jobs::digest::Digest;
use jobs::game::Measure;
use jobs::game::report::{Played, Row as ReportRow, ScoreReport};
use jobs::ids::ProviderId;
use jobs::statement::Signed;

use super::rig::Rig;
use crate::driver::rows::{CONTRADICTION, REPORT, REPORTS};

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn id(key: &SigningKey) -> ProviderId {
    ProviderId(key.verifying_key().to_bytes())
}

fn report(aggregator: ProviderId, epoch: u64, points: u16) -> ScoreReport {
    let played = Played {
        game: Digest::of(b"game"),
        measure: Measure::Latency,
        weight: 1,
    };
    let row = ReportRow {
        provider: ProviderId([1; 32]),
        points: vec![Some(points)],
    };
    ScoreReport {
        aggregator,
        epoch,
        games: vec![played],
        rows: vec![row],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_checked_refused_by_name_and_kept_as_evidence() {
    let validators: BTreeSet<ProviderId> = [id(&key(1)), id(&key(2))].into();
    let rig = Rig::with(|config| {
        config.validators = validators.clone();
        // No epoch ends while this runs.
        config.epoch_ms = jobs::game::epoch::EPOCH_MS_MAX;
    })
    .await;
    let view = rig.http.epoch().await.unwrap();
    assert_eq!(view.validators, Vec::from_iter(validators));
    let (ours, epoch) = (rig.running.id, view.epoch);
    let send = async |report: &ScoreReport, by: u8| {
        let signed = Signed::sign(report, &key(by)).unwrap();
        rig.http.scores(&signed).await.map_err(|error| match error {
            api::client::Error::Refused(problem) => problem,
            other => panic!("{other}"),
        })
    };
    let mut unordered = report(ours, epoch, 1);
    unordered.rows.push(unordered.rows[0].clone());
    for (report, by, status, code) in [
        (report(ours, epoch, 1), 9, 403, "unknown-validator"),
        (report(ours, epoch + 1, 1), 1, 409, "epoch-not-open"),
        (report(id(&key(3)), epoch, 1), 1, 400, "invalid-request"),
        (unordered, 1, 400, "invalid-request"),
        (report(ours, epoch, 10_001), 1, 400, "invalid-request"),
    ] {
        let problem = send(&report, by).await.unwrap_err();
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (status, code),
            "{problem}"
        );
    }
    let first = report(ours, epoch, 5_000);
    assert!(!send(&first, 1).await.unwrap().repeated);
    assert!(send(&first, 1).await.unwrap().repeated);
    let second = report(ours, epoch, 6_000);
    let problem = send(&second, 1).await.unwrap_err();
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (409, "contradicting-report")
    );
    let shared = rig.shared();
    for (kind, said) in [(REPORT, &first), (CONTRADICTION, &second)] {
        let kept = REPORTS
            .get(&*shared.store, &(id(&key(1)), epoch, kind))
            .unwrap();
        assert_eq!(&kept.unwrap().verify().unwrap().statement, said);
    }
    let refused = REPORTS
        .get(&*shared.store, &(id(&key(9)), epoch, REPORT))
        .unwrap();
    assert!(refused.is_none(), "what is refused is not kept");
    drop(shared);
    rig.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_report_is_refused() {
    let rig = Rig::with(|config| config.validators = [id(&key(1))].into()).await;
    let epoch = rig.http.epoch().await.unwrap().epoch;
    let signed = Signed::sign(&report(rig.running.id, epoch, 1), &key(1)).unwrap();
    let text = signed.to_hex().unwrap();
    // The last byte is the signature's.
    let flipped = if text.ends_with('0') { "1" } else { "0" };
    let forged = format!("{}{flipped}", &text[..text.len() - 1]);
    let forged: Signed<ScoreReport> = Signed::from_hex(&forged).unwrap();
    let error = rig.http.scores(&forged).await.unwrap_err().to_string();
    assert!(error.contains("does not verify"), "{error}");
    rig.running.stop().await;
}
