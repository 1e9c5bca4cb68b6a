//! Every documented exit code, provoked.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;
use tests::{Deadline, assay_binary, free_port};

use crate::desk::{Desk, Parrot, job_id};

/// An exit code, how it comes about, and what is said.
struct Case {
    code: i32,
    arguments: Vec<String>,
    says: &'static str,
}

fn case(code: i32, arguments: &[&str], says: &'static str) -> Case {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned());
    Case {
        code,
        arguments: arguments.collect(),
        says,
    }
}

#[test]
fn every_exit_code_can_be_provoked() -> Result<()> {
    let desk = Desk::new();
    desk.run(&["key", "generate"])?.ok()?;
    desk.put("open.key", "x");
    desk.mode("open.key", 0o644);
    desk.put("spoilt/record.json", "{}");
    let failed = Parrot::job("failed", Some("no quorum"));
    let running = Parrot::job("running", None);
    let unbalanced = Parrot::new(200, r#"{"clean":false}"#, "");
    let full = Parrot::refusing(507, "storage-full", "nothing can be stored");
    let nobody = format!("http://127.0.0.1:{}", free_port()?);
    let (id, open) = (job_id(), desk.path("open.key"));
    let (failed, running) = (failed.url(), running.url());
    let cases = [
        case(0, &["version"], ""),
        case(1, &["key", "generate"], "there is a key"),
        case(2, &["job", "frobnicate"], "unrecognized subcommand"),
        case(
            3,
            &["job", "watch", &id, "--aggregator", &failed],
            "no quorum",
        ),
        case(4, &["job", "verify", "spoilt"], "is not a job record"),
        case(
            5,
            &["ledger", "audit", "--aggregator", &unbalanced.url()],
            "does not balance",
        ),
        case(
            6,
            &["aggregator", "status", "--aggregator", &nobody],
            "cannot reach",
        ),
        case(7, &["key", "show", "--key", &open], "chmod 600"),
        case(
            8,
            &[
                "job",
                "watch",
                &id,
                "--timeout",
                "1",
                "--aggregator",
                &running,
            ],
            "after 1 s",
        ),
        case(
            9,
            &["job", "status", &id, "--aggregator", &full.url()],
            "the disk or the blob quota is full",
        ),
    ];
    for case in cases {
        let arguments: Vec<&str> = case.arguments.iter().map(String::as_str).collect();
        let output = desk.run(&arguments)?.expect(case.code)?;
        assert!(
            output.stderr.contains(case.says),
            "{}: {}",
            output.command,
            output.stderr
        );
    }
    Ok(())
}

#[test]
fn a_collector_of_another_protocol_stops_only_commands_that_would_send_it_traces() -> Result<()> {
    let desk = Desk::new();
    let foreign = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    for silent in [
        &["version"][..],
        &["completions", "bash"],
        &["key", "list"],
        &["explain", "2"],
        &["config", "show"],
    ] {
        desk.run_with(silent, &foreign)?.ok()?;
    }
    let refused = desk.run_with(&["job", "list"], &foreign)?.expect(2)?;
    assert!(
        refused.stderr.contains("OTEL_EXPORTER_OTLP_PROTOCOL"),
        "{}",
        refused.stderr
    );
    Ok(())
}

#[test]
fn ctrl_c_ends_with_130_and_says_how_to_go_on() -> Result<()> {
    let desk = Desk::new();
    let running = Parrot::job("running", None);
    let mut child = Command::new(assay_binary()?)
        .args(["job", "watch", &job_id(), "--aggregator", &running.url()])
        .envs(desk.variables())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(desk.at("stderr"))?)
        .spawn()?;
    // It says where the job is once it can be interrupted.
    let deadline = Deadline::after(Duration::from_secs(60));
    let said = || std::fs::read_to_string(desk.at("stderr")).unwrap_or_default();
    while !said().contains("running") && !deadline.over() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()?
            .success()
    );
    assert_eq!(child.wait()?.code(), Some(130), "{}", said());
    assert!(said().contains("fix: run it again"), "{}", said());
    Ok(())
}
