//! A client's day: keys, contexts, configuration, models, and the tools around them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use tests::echo_component;

use crate::desk::{Desk, Parrot, job_id};

#[test]
fn once_a_context_is_in_use_no_command_needs_an_address_or_a_key() -> Result<()> {
    let desk = Desk::new();
    let (home, away) = (Parrot::job("running", None), Parrot::job("waiting", None));
    desk.run(&["key", "generate", "mine"])?.ok()?;
    let create = |name: &str, url: &str| {
        desk.run(&["context", "create", name, "--url", url, "--key", "mine"])?
            .ok()
    };
    create("home", &home.url())?;
    create("away", &away.url())?;
    let phase = |arguments: &[&str]| -> Result<String> {
        let id = job_id();
        let mut all = arguments.to_vec();
        all.extend(["--json", "job", "status", &id]);
        let view = desk.run(&all)?.ok()?.json()?;
        Ok(view["phase"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(phase(&[])?, "running", "the first is used at once");
    assert_eq!(phase(&["--context", "away"])?, "waiting");
    desk.run(&["context", "use", "away"])?.ok()?;
    assert_eq!(phase(&[])?, "waiting");
    let shown = desk.run(&["--json", "key", "show"])?.ok()?.json()?;
    assert!(
        shown["key"].as_str().unwrap().ends_with("keys/mine.pem"),
        "{shown}"
    );
    let config = desk.run(&["--json", "config", "show"])?.ok()?.json()?;
    assert_eq!(config["aggregator"]["value"], away.url());
    assert_eq!(config["aggregator"]["origin"], "context away");
    let text = desk.run(&["config", "show", "--origin"])?.ok()?.stdout;
    assert!(
        text.contains("context away") && text.contains("ASSAY_AGGREGATOR"),
        "{text}"
    );
    let other = home.url();
    let config = desk.run_with(
        &["--json", "config", "show"],
        &[("ASSAY_AGGREGATOR", &other)],
    )?;
    assert_eq!(
        config.ok()?.json()?["aggregator"]["origin"],
        "ASSAY_AGGREGATOR"
    );
    desk.run(&["context", "rm", "away"])?.ok()?;
    let listed = desk.run(&["--json", "context", "list"])?.ok()?.json()?;
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    Ok(())
}

#[test]
fn keys_travel_between_machines_and_stay_private() -> Result<()> {
    let (desk, other) = (Desk::new(), Desk::new());
    let made = desk.run(&["--json", "key", "generate"])?.ok()?.json()?;
    let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(made["key"].as_str().unwrap()), 0o600);
    let out = desk.path("moved.pem");
    desk.run(&["key", "export", "--out", &out])?.ok()?;
    assert_eq!(mode(&out), 0o600);
    let imported = other
        .run(&["--json", "key", "import", &out, "from-home"])?
        .ok()?
        .json()?;
    assert_eq!(imported["client"], made["client"]);
    let public = other
        .run(&["key", "export", "--key", "from-home", "--public"])?
        .ok()?;
    assert_eq!(
        public.stdout.trim(),
        made["public_key"].as_str().unwrap().trim()
    );
    let listed = other.run(&["--json", "key", "list"])?.ok()?.json()?;
    assert_eq!(listed[0]["name"], "from-home");
    other.run(&["key", "rm", "from-home", "--yes"])?.ok()?;
    assert_eq!(
        other.run(&["--json", "key", "list"])?.ok()?.json()?,
        serde_json::json!([])
    );
    Ok(())
}

#[test]
fn a_folder_becomes_a_job_that_runs_here() -> Result<()> {
    let desk = Desk::new();
    fs::create_dir_all(desk.at("shout"))?;
    fs::copy(echo_component()?, desk.at("shout/shout.wasm"))?;
    desk.put("shout/input.txt", "one\ntwo\n");
    let folder = desk.path("shout");
    let made = desk
        .run(&["--json", "job", "init", "--dir", &folder])?
        .ok()?
        .json()?;
    assert_eq!(made["name"], "shout");
    let manifest = made["manifest"].as_str().unwrap().to_owned();
    desk.run(&["job", "validate", &manifest])?.ok()?;
    let out = desk.path("result");
    desk.run(&["job", "run", "--local", &manifest, "--out", &out])?
        .ok()?;
    let result = fs::read(&out)?;
    let text = String::from_utf8_lossy(&result);
    assert!(text.contains("ONE") && text.contains("TWO"), "{text:?}");
    Ok(())
}

#[test]
fn a_model_is_pinned_by_what_it_is() -> Result<()> {
    let desk = Desk::new();
    desk.put("net.onnx", "model");
    let sha256 = "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4";
    let pull = ["--json", "model", "pull", "net.onnx", "--sha256", sha256];
    let pulled = desk.run(&pull)?.ok()?.json()?;
    assert_eq!(pulled["model"]["sha256"], sha256);
    let path = pulled["path"].as_str().unwrap();
    assert_eq!(fs::read(path)?, b"model");
    let lines = pulled["manifest"].as_str().unwrap();
    assert!(lines.contains("source = \"models/net.onnx\""), "{lines}");
    let listed = desk.run(&["model", "list"])?.ok()?.stdout;
    assert!(
        listed.contains("models/net.onnx") && listed.contains(sha256),
        "{listed}"
    );
    desk.run(&["model", "rm", "net.onnx"])?.ok()?;
    assert!(!fs::exists(path)?);
    Ok(())
}

#[test]
fn the_doctor_names_what_is_missing_and_what_mends_it() -> Result<()> {
    let desk = Desk::new();
    let late = Parrot::new(200, "{}", "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    let url = late.url();
    let examined = desk.run_with(
        &["--json", "doctor", "--role", "client"],
        &[("ASSAY_AGGREGATOR", &url)],
    )?;
    let examined = examined.expect(1)?;
    let report = examined.json()?;
    let of = |name: &str| {
        let checks = report["checks"].as_array().unwrap().iter();
        checks.clone().find(|check| check["name"] == name).unwrap()
    };
    for (name, status) in [
        ("configuration", "ok"),
        ("home directory", "ok"),
        ("aggregator", "ok"),
        ("clock", "fail"),
        ("key", "fail"),
        ("completions", "warn"),
    ] {
        let check = of(name);
        assert_eq!(check["status"], status, "{check}");
        assert_eq!(check["fix"].is_null(), status == "ok", "{check}");
    }
    assert_eq!(report["failed"], serde_json::json!(["key", "clock"]));
    Ok(())
}

#[test]
fn programs_find_json_and_shells_find_scripts() -> Result<()> {
    let desk = Desk::new();
    let version = desk.run(&["version", "--json"])?.ok()?.json()?;
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    let codes = desk.run(&["--json", "explain"])?.ok()?.json()?;
    assert!(codes.as_array().unwrap().len() > 40, "{codes}");
    let one = desk
        .run(&["--json", "explain", "urn:assay:problem:price-too-low"])?
        .ok()?;
    assert_eq!(one.json()?["exit"], 5);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = desk.run(&["completions", shell])?.ok()?.stdout;
        assert!(script.contains("assay"), "{shell}");
    }
    let pages = desk.path("man");
    let written = desk
        .run(&["--json", "man", "--out", &pages])?
        .ok()?
        .json()?;
    assert_eq!(
        fs::read_dir(&pages)?.count(),
        written["pages"].as_array().unwrap().len()
    );
    Ok(())
}
