//! What people get wrong, and exactly what they are told.

use std::net::TcpListener;

use anyhow::Result;
use tests::free_port;

use crate::desk::{Desk, Parrot, golden, job_id};

/// Runs each and notes what was said.
struct Notes<'a> {
    desk: &'a Desk,
    text: String,
}

impl Notes<'_> {
    fn note(&mut self, arguments: &[&str], address: &str) -> Result<()> {
        self.note_with(arguments, address, &[])
    }

    fn note_with(
        &mut self,
        arguments: &[&str],
        address: &str,
        variables: &[(&'static str, &str)],
    ) -> Result<()> {
        let output = self.desk.run_with(arguments, variables)?;
        assert_ne!(output.code, 0, "{} is no mistake", output.command);
        assert_eq!(output.stdout, "", "{}: data is for success", output.command);
        assert!(output.stderr.contains("error: "), "{}", output.stderr);
        let set = variables
            .iter()
            .map(|(name, value)| format!("{name}={value} "));
        let text = format!(
            "$ {}{}\n[{}]\n{}\n",
            set.collect::<String>(),
            output.command,
            output.code,
            output.stderr
        );
        self.text += &self.desk.plain(&text, address);
        Ok(())
    }
}

#[test]
fn every_mistake_is_answered_as_it_was_looked_at() -> Result<()> {
    let desk = Desk::new();
    let mut notes = Notes {
        desk: &desk,
        text: String::new(),
    };
    words(&mut notes)?;
    addresses(&mut notes)?;
    keys(&mut notes)?;
    settings(&mut notes)?;
    files(&mut notes)?;
    refusals(&mut notes)?;
    golden("mistakes.txt", &notes.text);
    Ok(())
}

/// Commands and values that there are not.
fn words(notes: &mut Notes<'_>) -> Result<()> {
    for arguments in [
        &["jobb"] as &[&str],
        &["job", "sumbit"],
        &["job", "status"],
        &["job", "status", "42"],
        &["job", "list", "--limit", "0"],
        &["job", "list", "--phase", "dnoe"],
        &["job", "run", "--local", "--max-price", "1"],
        &["job", "submit", "--max-price", "cheap"],
        &["job", "submit", "--canaries", "3"],
        &["explain", "insufficient-fund"],
        &["explain", "10"],
        &["completions", "cmd"],
        &["doctor", "--role", "admin"],
    ] {
        notes.note(arguments, "")?;
    }
    Ok(())
}

/// Aggregators that are none, or not there.
fn addresses(notes: &mut Notes<'_>) -> Result<()> {
    let at = |address: &'static str| ["aggregator", "status", "--aggregator", address];
    for address in ["localhost:7700", "https://", "ftp://a.example", "http://"] {
        notes.note(&at(address), "")?;
    }
    let nobody = format!("127.0.0.1:{}", free_port()?);
    let url = format!("http://{nobody}");
    notes.note(&["aggregator", "status", "--aggregator", &url], &nobody)?;
    let other = Parrot::new(200, "\"hello\"", "");
    let url = other.url();
    notes.note(
        &["aggregator", "status", "--aggregator", &url],
        &other.address,
    )?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let data = notes.desk.path("aggregator");
    let p2p = format!("/ip4/127.0.0.1/tcp/{}", free_port()?);
    let start = [
        "aggregator",
        "start",
        "--data",
        &data,
        "--http",
        &address,
        "--p2p",
        &p2p,
    ];
    let output = notes.desk.run(&start)?;
    assert_ne!(output.code, 0);
    let fix = output.stderr.lines().find(|line| line.starts_with("fix: "));
    assert!(output.stderr.contains(&address), "{}", output.stderr);
    assert!(
        fix.is_some_and(|fix| fix.contains("another port")),
        "{}",
        output.stderr
    );
    Ok(())
}

/// Keys that are missing, open or something else.
fn keys(notes: &mut Notes<'_>) -> Result<()> {
    notes.note(&["key", "show"], "")?;
    notes.note(&["key", "show", "--key", "nobody"], "")?;
    notes.note(&["key", "generate", "../up"], "")?;
    notes.note(&["key", "rm", "nobody"], "")?;
    let hex = "ab".repeat(32);
    for (name, text) in [
        ("empty.key", ""),
        ("token.key", hex.as_str()),
        (
            "public.key",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ),
        ("ssh.key", "-----BEGIN OPENSSH PRIVATE KEY-----\n"),
    ] {
        notes.desk.put(name, text);
        notes.note(&["key", "show", "--key", name], "")?;
    }
    notes
        .desk
        .run(&["key", "generate", "--out", "open.key"])?
        .ok()?;
    notes.desk.mode("open.key", 0o644);
    notes.note(&["key", "show", "--key", "open.key"], "")?;
    notes.desk.run(&["key", "generate", "mine"])?.ok()?;
    notes.note(&["key", "generate", "mine"], "")?;
    notes.note(&["key", "rm", "mine"], "")
}

/// Configuration that is none.
fn settings(notes: &mut Notes<'_>) -> Result<()> {
    for text in [
        "aggregator = \"http://a",
        "agregator = \"http://a\"\n",
        "aggregator = \"a\"\n",
        "context = \"home\"\n",
        "[contexts.home]\nurl = \"http://a\"\nkye = \"k\"\n",
    ] {
        notes.desk.put("config/assay/config.toml", text);
        notes.text += &format!("# config.toml: {text:?}\n");
        notes.note(&["config", "show"], "")?;
    }
    std::fs::remove_file(notes.desk.at("config/assay/config.toml"))?;
    notes.note(&["config", "set", "agregator", "http://a"], "")?;
    notes.note(&["config", "set", "aggregator", "a"], "")?;
    notes.note(&["config", "set", "aggregator", "https:/a"], "")?;
    notes.note(&["config", "set", "hub", "a"], "")?;
    notes.note(&["config", "get", "hub"], "")?;
    notes.note(&["context", "use", "home"], "")?;
    notes.note(&["context", "show"], "")?;
    notes.note(&["context", "create", "a b", "--url", "http://a"], "")?;
    notes
        .desk
        .run(&["context", "create", "home", "--url", "http://a"])?
        .ok()?;
    notes.note(&["context", "use", "hoem"], "")?;
    notes.note(&["context", "create", "home", "--url", "http://b"], "")?;
    notes.note(&["--context", "away", "job", "list"], "")?;
    notes.note_with(&["config", "show"], "", &[("ASSAY_MAX_PRICE", "much")])?;
    notes.desk.run(&["context", "rm", "home"])?.ok().map(drop)
}

/// Files that are missing or wrong.
fn files(notes: &mut Notes<'_>) -> Result<()> {
    notes.note(&["job", "validate"], "")?;
    notes.note(&["job", "init"], "")?;
    notes.note(&["job", "verify"], "")?;
    notes.desk.put("job.toml", "schema = 1\nname = 3\n");
    notes.note(&["job", "validate"], "")?;
    notes.note(&["job", "init"], "")?;
    let id = job_id();
    notes.note(&["job", "cancel", &id, "--key", "mine"], "")?;
    notes.note(&["job", "retry", &id], "")?;
    for source in [
        "ftp://a.example/m.onnx",
        "pypi:pkg/m.onnx",
        "npm:pkg@1",
        "hf://o/n/m.onnx",
    ] {
        notes.note(&["model", "pull", source], "")?;
    }
    notes.note(&["model", "pull", "hf://o/n@main/m.onnx"], "")?;
    notes.note(&["model", "pull", "http://a.example/m.onnx"], "")?;
    notes.note(&["model", "pull", "missing.onnx"], "")?;
    notes.note(&["model", "pull", "m.onnx", "--sha256", "abc"], "")?;
    notes.desk.put("m.onnx", "model");
    let other = "ab".repeat(32);
    notes.note(&["model", "pull", "m.onnx", "--sha256", &other], "")?;
    notes.note(&["model", "rm", "m.onnx"], "")
}

/// What an aggregator refuses.
fn refusals(notes: &mut Notes<'_>) -> Result<()> {
    let id = job_id();
    for (status, code, detail) in [
        (
            402,
            "insufficient-funds",
            "balance 0 does not cover the price ceiling 1",
        ),
        (401, "signature", "the signature does not verify"),
        (403, "unknown-signer", "client is not trusted"),
        (404, "not-found", "there is no job"),
        (409, "nobody-serves", "nobody can serve this job"),
        (
            503,
            "unavailable",
            "open jobs is full: 10000 at most, try later",
        ),
        (
            500,
            "internal",
            "the aggregator could not decide; see its log",
        ),
        (418, "teapot", "a code that this program does not know"),
    ] {
        let server = Parrot::refusing(status, code, detail);
        let url = server.url();
        notes.note(
            &["job", "status", &id, "--aggregator", &url],
            &server.address,
        )?;
    }
    let failed = Parrot::job("failed", Some("no quorum"));
    let url = failed.url();
    notes.note(
        &["job", "results", &id, "--aggregator", &url],
        &failed.address,
    )
}
