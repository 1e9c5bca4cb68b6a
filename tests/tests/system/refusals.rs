//! Bad input, through the command line and as raw bytes: a clear refusal at the first place that can
//! know, nothing paid, nothing lost, every process alive.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use jobs::envelope::ClientKey;
use tests::{
    Job, Market, Output, Plan, Response, Signed, assay, assay_with, echo_component,
    foreign_component, free_port, post, repository, signed as request_signed,
};

/// More than the largest JSON body that the interface takes.
const OVERSIZED: usize = 1 << 20;

/// A case and what it does.
type Case = (&'static str, fn(&Market) -> Result<()>);

#[test]
fn bad_input_is_refused_and_costs_nothing() -> Result<()> {
    let cases: &[Case] = &[
        ("tampered package", tampered_package),
        ("spoilt signature", spoilt_signature),
        ("malformed JSON", malformed_json),
        ("oversized body", oversized_body),
        ("tampered blobs", tampered_blobs),
        ("model that is not the declared one", other_model),
        (
            "foreign import, found by the client",
            foreign_import_at_home,
        ),
        (
            "foreign import, found by the aggregator",
            foreign_import_admitted,
        ),
        ("unfunded client", unfunded),
        ("device that nobody has", nobody_serves),
        ("price too low", price_too_low),
        ("wrong operator token", wrong_token),
        ("unknown job", unknown_job),
        ("key that is no key", wrong_key),
    ];
    let mut market = Market::up(&Plan::honest(2))?;
    let before = holdings(&market)?;
    for (name, case) in cases {
        case(&market).with_context(|| format!("case: {name}"))?;
        market
            .check_health()
            .with_context(|| format!("after: {name}"))?;
        let after = holdings(&market)?;
        ensure!(
            before == after,
            "{name} moved money: {before:?} became {after:?}"
        );
    }
    market.audit()?;
    for daemon in std::iter::once(&mut market.aggregator).chain(&mut market.providers) {
        let ended = daemon.ended()?;
        ensure!(
            ended.is_none(),
            "{} ended: {ended:?}\n{}",
            daemon.name,
            daemon.log_tail()
        );
    }
    // After all of that, work goes on.
    let id = market.submit(&Job::new("afterwards"))?;
    market.wait_done(&id)?;
    Ok(())
}

/// Net holdings of every account that has any.
fn holdings(market: &Market) -> Result<BTreeMap<String, i128>> {
    let signed = |amount: u128| i128::try_from(amount).context("more money than there is");
    let mut net = BTreeMap::new();
    for (account, balance) in market.balances()? {
        ensure!(
            balance.pending == 0,
            "{account} has {} reserved",
            balance.pending
        );
        net.insert(account, signed(balance.credits)? - signed(balance.debits)?);
    }
    net.retain(|_, amount| *amount != 0);
    Ok(net)
}

fn submit_raw(market: &Market, signed: &Signed) -> Result<Response> {
    submit_body(market, &serde_json::to_vec(&signed.package)?)
}

fn submit_body(market: &Market, body: &[u8]) -> Result<Response> {
    let key = market.client_key()?;
    request_signed(market.http(), &key, ("POST", "/api/v1/jobs"), body)
}

fn put(market: &Market, path: &str, body: &[u8]) -> Result<Response> {
    request_signed(market.http(), &market.client_key()?, ("PUT", path), body)
}

fn signed(market: &Market, name: &str) -> Result<Signed> {
    Job::new(name).sign(&market.client_key()?, &fs::read(echo_component()?)?)
}

/// Requires this status and stable code, as problem+json.
fn problem(answer: &Response, status: u16, code: &str) -> Result<()> {
    let shown = String::from_utf8_lossy(&answer.body);
    ensure!(
        answer.status == status,
        "status {}, not {status}: {shown}",
        answer.status
    );
    ensure!(
        answer.code() == code,
        "code {:?}, not {code:?}: {shown}",
        answer.code()
    );
    ensure!(
        answer.head.contains("application/problem+json"),
        "{}",
        answer.head
    );
    Ok(())
}

fn tampered_package(market: &Market) -> Result<()> {
    let mut signed = signed(market, "tampered")?;
    let changed = signed
        .package
        .package
        .replace("\"1.000000\"", "\"9.000000\"");
    ensure!(changed != signed.package.package, "nothing was changed");
    signed.package.package = changed;
    let answer = submit_raw(market, &signed)?;
    ensure!(
        [400, 401].contains(&answer.status),
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    ensure!(
        answer.head.contains("application/problem+json"),
        "{}",
        answer.head
    );
    Ok(())
}

fn spoilt_signature(market: &Market) -> Result<()> {
    let mut signed = signed(market, "spoilt")?;
    // Another package of the same client: a good signature, over something else.
    let other = self::signed(market, "other")?;
    let mut bundle: serde_json::Value = serde_json::from_str(&signed.package.bundle)?;
    let borrowed: serde_json::Value = serde_json::from_str(&other.package.bundle)?;
    bundle["messageSignature"]["signature"] = borrowed["messageSignature"]["signature"].clone();
    signed.package.bundle = bundle.to_string();
    problem(&submit_raw(market, &signed)?, 401, "signature")
}

fn malformed_json(market: &Market) -> Result<()> {
    for body in [
        &b"{"[..],
        b"",
        b"[]",
        b"{\"package\": 1}",
        b"\xff\xfe\x00",
        b"null",
    ] {
        problem(&submit_body(market, body)?, 400, "invalid-request")
            .with_context(|| format!("{:?}", String::from_utf8_lossy(body)))?;
    }
    let nothing = post(market.http(), "/api/v1/nothing", b"{}")?;
    problem(&nothing, 404, "not-found")?;
    let unsigned = post(market.http(), "/api/v1/jobs", b"{}")?;
    problem(&unsigned, 401, "unsigned")
}

fn oversized_body(market: &Market) -> Result<()> {
    let body = vec![b' '; OVERSIZED];
    problem(
        &post(market.http(), "/api/v1/jobs", &body)?,
        413,
        "too-large",
    )
}

/// Every blob with one bit changed, and with one byte more, is refused; the true ones are taken.
fn tampered_blobs(market: &Market) -> Result<()> {
    let job = Job {
        model: Some(b"no model at all".to_vec()),
        ..Job::new("blobs")
    };
    // Nobody gets this far with a guest that fails, so this job costs nothing.
    let signed = job.sign(&market.client_key()?, &foreign_component()?)?;
    let answer = submit_raw(market, &signed)?;
    ensure!(
        answer.status == 202,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    for (blob, bytes) in &signed.blobs {
        let path = format!("/api/v1/jobs/{}/blobs/{}", signed.id, blob.digest);
        let mut spoilt = bytes.clone();
        *spoilt.last_mut().context("an empty blob")? ^= 1;
        problem(&put(market, &path, &spoilt)?, 400, "invalid-request")?;
        spoilt.push(0);
        problem(&put(market, &path, &spoilt)?, 400, "invalid-request")?;
        let stored = put(market, &path, bytes)?;
        ensure!(
            stored.status == 204,
            "{}",
            String::from_utf8_lossy(&stored.body)
        );
    }
    let unasked = format!(
        "/api/v1/jobs/{}/blobs/blake3:{}",
        signed.id,
        "ab".repeat(32)
    );
    problem(&put(market, &unasked, b"unasked")?, 404, "not-found")?;
    let view = market.wait(&signed.id.to_string())?;
    ensure!(view["phase"] == "failed", "{view}");
    Ok(())
}

fn other_model(market: &Market) -> Result<()> {
    let model = market.dir().join("other.onnx");
    fs::write(&model, b"not what was promised")?;
    let zeros = "0".repeat(64);
    let extra = format!("[[model]]\nname = \"m\"\nsource = {model:?}\ndigest = \"blake3:{zeros}\"");
    let job = Job {
        extra,
        ..Job::new("other-model")
    };
    market
        .try_submit(&job)?
        .refused(4, &format!("expected blake3:{zeros}"))?;
    Ok(())
}

fn foreign_import_at_home(market: &Market) -> Result<()> {
    let component = market.dir().join("foreign.wasm");
    fs::write(&component, foreign_component()?)?;
    let job = Job {
        component: Some(component),
        ..Job::new("foreign")
    };
    market
        .try_submit(&job)?
        .refused(2, "wasi:http/outgoing-handler@0.2.0")?;
    Ok(())
}

fn foreign_import_admitted(market: &Market) -> Result<()> {
    let signed = Job::new("smuggled").sign(&market.client_key()?, &foreign_component()?)?;
    let answer = submit_raw(market, &signed)?;
    ensure!(
        answer.status == 202,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    for (blob, bytes) in &signed.blobs {
        let path = format!("/api/v1/jobs/{}/blobs/{}", signed.id, blob.digest);
        ensure!(
            put(market, &path, bytes)?.status == 204,
            "{} was refused",
            blob.digest
        );
    }
    let view = market.wait(&signed.id.to_string())?;
    ensure!(
        view["phase"] == "failed" && view["assignments"] == 0,
        "{view}"
    );
    ensure!(
        view["reason"]
            .as_str()
            .is_some_and(|why| why.contains("component")),
        "{view}"
    );
    Ok(())
}

fn unfunded(market: &Market) -> Result<()> {
    let key = market.dir().join("poor.key");
    let key = key.to_string_lossy();
    market.assay(&["key", "new", "--out", &key])?.ok()?;
    submit_with(market, &Job::new("unfunded"), &key)?.refused(5, "insufficient-funds")?;
    // A key is never replaced.
    market.assay(&["key", "new", "--out", &key])?.expect(1)?;
    Ok(())
}

fn submit_with(market: &Market, job: &Job, key: &str) -> Result<Output> {
    let manifest = job.write(&market.dir().join("jobs"))?;
    market.assay(&["job", "submit", &manifest.to_string_lossy(), "--key", key])
}

fn nobody_serves(market: &Market) -> Result<()> {
    let job = Job {
        device: "gpu".into(),
        ..Job::new("gpu")
    };
    market
        .try_submit(&job)?
        .refused(1, "providers with a gpu")?;
    Ok(())
}

fn price_too_low(market: &Market) -> Result<()> {
    let job = Job {
        price: "0.000001".into(),
        ..Job::new("cheap")
    };
    market.try_submit(&job)?.refused(5, "price-too-low")?;
    Ok(())
}

fn wrong_token(market: &Market) -> Result<()> {
    let token = market.dir().join("wrong.token");
    fs::write(&token, "0".repeat(64))?;
    let (account, token) = (format!("client:{}", market.client), token.to_string_lossy());
    let mut deposit = vec![
        "ledger",
        "deposit",
        "--account",
        &account,
        "--amount",
        "1000000",
    ];
    deposit.extend(["--reference", "theft", "--token-file", &token]);
    market.assay(&deposit)?.refused(7, "operator token")?;
    Ok(())
}

fn unknown_job(market: &Market) -> Result<()> {
    let unknown = format!("blake3:{}", "12".repeat(32));
    market
        .assay(&["job", "status", &unknown])?
        .refused(1, "not-found")?;
    market
        .assay(&["job", "status", "nonsense"])?
        .refused(2, "is not a digest")?;
    Ok(())
}

fn wrong_key(market: &Market) -> Result<()> {
    let path = market.dir().join("wrong.key");
    fs::write(
        &path,
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    )?;
    let shown = path.to_string_lossy();
    submit_with(market, &Job::new("wrong-key"), &shown)?.refused(7, &shown)?;
    submit_with(market, &Job::new("no-key"), "/nonexistent/key")?
        .refused(7, "assay key generate")?;
    Ok(())
}

#[test]
fn a_signer_who_is_not_trusted_is_refused() -> Result<()> {
    let trusted = ClientKey::generate()?;
    let plan = Plan::default().aggregator_argument(format!("--trust={}", trusted.client_id()));
    let market = Market::up(&plan)?;
    let before = holdings(&market)?;
    market
        .try_submit(&Job::new("stranger"))?
        .refused(7, "unknown-signer")?;
    assert_eq!(before, holdings(&market)?);
    market.check_health()
}

#[test]
fn an_aggregator_that_is_not_there_is_named() -> Result<()> {
    let nobody = format!("http://127.0.0.1:{}", free_port()?);
    for command in [
        &["aggregator", "status"][..],
        &["job", "list"],
        &["ledger", "balances"],
    ] {
        let arguments = [command, &["--aggregator", &nobody]].concat();
        assay(&arguments)?.refused(6, &nobody)?;
    }
    Ok(())
}

/// Each mistake in a manifest and what the program says, word for word. `ASSAY_BLESS=1` writes what
/// it says now.
#[test]
fn mistakes_in_a_manifest_are_named() -> Result<()> {
    let folder = repository().join("tests/tests/system/manifests");
    let mut manifests: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            manifests.push(path);
        }
    }
    manifests.sort();
    ensure!(
        manifests.len() >= 6,
        "hardly any manifests in {}",
        folder.display()
    );
    for manifest in manifests {
        let name = manifest.file_name().context("a manifest without name")?;
        let name = name.to_string_lossy();
        // Nothing of this machine may get into the message.
        let home = [("ASSAY_HOME", "/nonexistent".into())];
        let output = assay_with(&["job", "validate", &name], &home, &folder)?.expect(2)?;
        let said = output
            .stderr
            .replace(&folder.to_string_lossy().into_owned(), "FOLDER");
        let golden = manifest.with_extension("err");
        if std::env::var_os("ASSAY_BLESS").is_some() {
            fs::write(&golden, &said)?;
        }
        let expected = fs::read_to_string(&golden).with_context(|| golden.display().to_string())?;
        assert_eq!(said, expected, "{name}");
        assert_eq!(output.stdout, "", "{name}");
    }
    Ok(())
}
