//! One signed job, from the manifest to money and verified result, with a liar in the market.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Job, Market, Plan, assay};

#[test]
fn a_signed_job_is_executed_compared_paid_and_verified_offline() -> Result<()> {
    let market = Market::up(&Plan::honest(3).and("wrong"))?;
    let job = Job {
        items: 24,
        ..Job::new("echo")
    };
    let id = market.submit(&job)?;
    let view = market.wait_done(&id)?;
    assert_eq!(view["shards"], job.shards(), "{view}");
    assert_eq!(view["shards_accepted"], job.shards(), "{view}");
    assert!(
        view["disagreements"].as_u64() >= Some(1),
        "the liar was never compared: {view}"
    );

    let liar = market.provider_ids().pop().context("no liar")?;
    let standing = market.provider(&liar)?;
    assert_eq!(standing["eligible"], false, "{standing}");
    assert!(standing["disagreements"].as_u64() >= Some(1), "{standing}");
    assert_eq!(market.balance(&format!("provider:{liar}"))?.credits, 0);
    for honest in market.provider_ids().iter().take(3) {
        let standing = market.provider(honest)?;
        assert_eq!(
            (&standing["eligible"], &standing["disagreements"]),
            (&true.into(), &0.into())
        );
    }
    check_claims(&market, &id, &liar)?;
    market.check_settled(std::slice::from_ref(&id))?;
    market.audit()?;

    let out = market.fetch(&id)?;
    job.check_result(&out.join("result.items"))?;
    let report = assay(&["--json", "receipt", "verify", &out.to_string_lossy()])?
        .ok()?
        .json()?;
    assert_eq!(report["job"], id.as_str(), "{report}");
    assert_eq!(report["disagreements"], view["disagreements"], "{report}");
    every_tampering_is_found(&out)
}

/// Whoever agreed was paid, once; the liar was not.
pub(crate) fn check_claims(market: &Market, job: &str, liar: &str) -> Result<()> {
    let mut seen = BTreeSet::new();
    for claim in market.claims(job)? {
        ensure!(
            claim.agreed == (claim.paid > 0),
            "agreement and payment differ: {claim:?}"
        );
        ensure!(
            claim.provider != liar || claim.paid == 0,
            "the liar was paid: {claim:?}"
        );
        ensure!(
            seen.insert(claim.assignment.clone()),
            "two payments of one assignment: {claim:?}"
        );
    }
    ensure!(!seen.is_empty(), "a finished job without replicas");
    Ok(())
}

fn every_tampering_is_found(out: &Path) -> Result<()> {
    let folder = out.to_string_lossy();
    let wrong = "00".repeat(32);
    assay(&["receipt", "verify", &folder, "--aggregator", &wrong])?
        .refused(7, "the settlement was signed by")?;

    let mut blobs: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(out.join("blobs"))? {
        blobs.push(entry?.path());
    }
    ensure!(blobs.len() > 2, "hardly any blobs: {blobs:?}");
    blobs.push(out.join("result.items"));
    for blob in blobs {
        let bytes = fs::read(&blob)?;
        let mut spoilt = bytes.clone();
        let middle = spoilt.len() / 2;
        let byte = spoilt
            .get_mut(middle)
            .with_context(|| blob.display().to_string())?;
        *byte ^= 1;
        fs::write(&blob, spoilt)?;
        assay(&["receipt", "verify", &folder])?
            .expect(4)
            .with_context(|| format!("{} was changed", blob.display()))?;
        fs::write(&blob, bytes)?;
    }

    let record = out.join("record.json");
    let original = fs::read(&record)?;
    let places = [
        "/package/package",
        "/package/bundle",
        "/shards/0/replicas/0/provider",
        "/shards/0/replicas/0/paid",
        "/shards/0/replicas/0/agreed",
        "/shards/0/replicas/0/receipt",
        "/shards/0/replicas/0/commitment/payload",
        "/shards/0/replicas/1/commitment/signature",
        "/shards/0/canonical/digest",
        "/settlement/payload",
        "/settlement/signature",
    ];
    for place in places {
        let mut spoilt: Value = serde_json::from_slice(&original)?;
        spoil(
            spoilt
                .pointer_mut(place)
                .with_context(|| format!("no {place} in the record"))?,
        )?;
        fs::write(&record, serde_json::to_vec(&spoilt)?)?;
        assay(&["receipt", "verify", &folder])?
            .expect(4)
            .with_context(|| format!("{place} was changed"))?;
    }
    fs::write(&record, original)?;
    assay(&["receipt", "verify", &folder])?.ok()?;
    Ok(())
}

/// Changes a value into another of the same form.
fn spoil(value: &mut Value) -> Result<()> {
    match value {
        Value::Bool(flag) => *flag = !*flag,
        Value::String(text) => {
            let middle = text.len() / 2;
            let changed = |(at, symbol): (usize, char)| match symbol {
                _ if at < middle || !symbol.is_ascii_alphanumeric() => None,
                '0' => Some((at, '1')),
                '1'..='9' => Some((at, '0')),
                'a' => Some((at, 'b')),
                _ => Some((at, 'a')),
            };
            let (at, symbol) = text
                .char_indices()
                .find_map(changed)
                .context("nothing to change")?;
            text.replace_range(at..=at, symbol.encode_utf8(&mut [0; 4]));
        }
        Value::Array(bytes) => {
            let middle = bytes.len() / 2;
            let byte = bytes.get_mut(middle).context("an empty array")?;
            *byte = (byte.as_u64().context("not a byte")? ^ 1).into();
        }
        other => anyhow::bail!("cannot change {other}"),
    }
    Ok(())
}
