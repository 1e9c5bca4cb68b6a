//! Traces: one job's, from the client's command to the providers' answers and back.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use tests::{Deadline, Job, Market, Plan, assay_with, free_port, repository};

/// Longest wait for spans that are on their way.
const PATIENCE: Duration = Duration::from_secs(60);

/// Largest delivery that is taken, in bytes.
const DELIVERY_BYTES_MAX: usize = 16 << 20;

/// A span as the collector got it.
#[derive(Clone, Debug)]
struct Span {
    service: String,
    name: String,
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
}

/// Takes spans over HTTP, on loopback.
#[derive(Clone)]
struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    fn listen() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let collector = Self {
            url,
            spans: Arc::default(),
        };
        let taking = collector.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever sends nonsense is no exporter of ours; the test then misses its spans.
                let _ = taking.take(stream);
            }
        });
        Ok(collector)
    }

    fn take(&self, stream: TcpStream) -> Result<()> {
        let mut reader = BufReader::new(stream);
        let (mut length, mut line, mut first) = (0, String::new(), None);
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            first.get_or_insert_with(|| line.clone());
            let Some((name, value)) = line.trim().split_once(": ") else {
                if line.trim().is_empty() {
                    break;
                }
                continue;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse()?;
            }
        }
        ensure!(first.is_some_and(|first| first.starts_with("POST /v1/traces ")));
        ensure!(length <= DELIVERY_BYTES_MAX);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let delivered = ExportTraceServiceRequest::decode(body.as_slice())?;
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.extend(read(&delivered));
        drop(spans);
        let mut stream = reader.into_inner();
        Ok(stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?)
    }

    fn spans(&self) -> Vec<Span> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.clone()
    }

    fn variables(&self) -> Vec<(String, OsString)> {
        let endpoint = self.url.clone().into();
        vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint),
            ("OTEL_BSP_SCHEDULE_DELAY".to_owned(), "100".into()),
        ]
    }
}

fn read(delivered: &ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource in &delivered.resource_spans {
        let attributes = resource.resource.iter().flat_map(|all| &all.attributes);
        let named = attributes.clone().find(|one| one.key == "service.name");
        let value = named.and_then(|one| one.value.as_ref()?.value.clone());
        let service = match value {
            Some(Value::StringValue(text)) => text,
            _ => String::new(),
        };
        let all = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
        spans.extend(all.map(|span| Span {
            service: service.clone(),
            name: span.name.clone(),
            trace: span.trace_id.clone(),
            id: span.span_id.clone(),
            parent: span.parent_span_id.clone(),
        }));
    }
    spans
}

/// Who, doing what, as a part of whose doing what.
type Expected = (&'static str, &'static str, (&'static str, &'static str));

const CLIENT: &str = "assay-client";
const AGGREGATOR: &str = "assay-aggregator";
const PROVIDER: &str = "assay-provider";

const EXPECTED: &[Expected] = &[
    (
        AGGREGATOR,
        "POST /api/v1/jobs",
        (CLIENT, "assay job submit"),
    ),
    (AGGREGATOR, "admit", (AGGREGATOR, "POST /api/v1/jobs")),
    (AGGREGATOR, "job", (AGGREGATOR, "POST /api/v1/jobs")),
    (AGGREGATOR, "prepare", (AGGREGATOR, "job")),
    (AGGREGATOR, "dispatch", (AGGREGATOR, "job")),
    (PROVIDER, "accept", (AGGREGATOR, "dispatch")),
    (PROVIDER, "shard", (PROVIDER, "accept")),
    (PROVIDER, "fetch", (PROVIDER, "shard")),
    (PROVIDER, "execute", (PROVIDER, "shard")),
    (PROVIDER, "commit", (PROVIDER, "shard")),
    (AGGREGATOR, "reveal", (AGGREGATOR, "job")),
    (PROVIDER, "reveal", (AGGREGATOR, "reveal")),
    (AGGREGATOR, "verdict", (AGGREGATOR, "job")),
    (AGGREGATOR, "settle", (AGGREGATOR, "job")),
    (AGGREGATOR, "merge", (AGGREGATOR, "job")),
    (AGGREGATOR, "record", (AGGREGATOR, "job")),
];

/// What of it is not in the trace of the client's command.
fn missing(spans: &[Span]) -> Vec<&'static Expected> {
    let is = |span: &Span, who: (&str, &str)| (span.service.as_str(), span.name.as_str()) == who;
    let root = spans
        .iter()
        .find(|span| is(span, (CLIENT, "assay job submit")) && span.parent.is_empty());
    let Some(root) = root else {
        return EXPECTED.iter().collect();
    };
    let trace: Vec<&Span> = spans
        .iter()
        .filter(|span| span.trace == root.trace)
        .collect();
    let by_id: BTreeMap<_, _> = trace.iter().map(|span| (&span.id, *span)).collect();
    let is_there = |(service, name, parent): &Expected| {
        let mut ours = trace.iter().filter(|span| is(span, (service, name)));
        ours.any(|span| {
            by_id
                .get(&span.parent)
                .is_some_and(|above| is(above, *parent))
        })
    };
    EXPECTED.iter().filter(|row| !is_there(row)).collect()
}

#[test]
fn one_trace_follows_a_job_through_three_processes() -> Result<()> {
    let collector = Collector::listen()?;
    let plan = Plan {
        variables: collector.variables(),
        ..Plan::honest(2)
    };
    let market = Market::up(&plan)?;
    // What is no context is no parent, and no reason to refuse anything.
    let hostile = [(
        "traceparent",
        "00-00000000000000000000000000000000-ffffffffffffffff-01",
    )];
    let answer = tests::request(market.http(), "GET", "/api/v1/epoch", &hostile, b"")?;
    ensure!(answer.status == 200, "{}", answer.status);
    let job = Job {
        replicas: 2,
        max_replicas: 2,
        ..Job::new("traced")
    };
    let id = market.submit(&job)?;
    market.wait_done(&id)?;
    let deadline = Deadline::after(PATIENCE);
    while !missing(&collector.spans()).is_empty() {
        if deadline.over() {
            let spans = collector.spans();
            let named: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
            bail!("not in the trace: {:#?} of {named:?}", missing(&spans));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let spans = collector.spans();
    let asked = spans.iter().find(|span| span.name == "GET /api/v1/epoch");
    let asked = asked.context("no span of the hostile request")?;
    ensure!(asked.parent.is_empty(), "{asked:?}");
    ensure!(spans.iter().all(|span| span.trace != [0; 16]), "{spans:?}");
    Ok(())
}

#[test]
fn without_a_collector_nobody_is_connected_to_and_one_that_is_gone_stops_nothing() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let here = format!("http://{}", listener.local_addr()?);
    let nobody = format!("http://127.0.0.1:{}", free_port()?);
    let status = ["aggregator", "status", "--aggregator", &nobody];
    let job = format!("blake3:{}", "ab".repeat(32));
    let asked = ["job", "status", &job, "--aggregator", &nobody];
    let said = |arguments: &[&str], variables: &[(&str, OsString)]| {
        assay_with(arguments, variables, &repository())
    };
    for off in [
        vec![("OTEL_SERVICE_NAME", "me".into())],
        vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", OsString::from(&here)),
            ("OTEL_TRACES_EXPORTER", "none".into()),
        ],
        vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", OsString::from(&here)),
            ("OTEL_SDK_DISABLED", "true".into()),
        ],
    ] {
        said(&asked, &off)?.refused(6, "cannot reach")?;
    }
    ensure!(listener.accept().is_err(), "somebody connected");
    let gone = [("OTEL_EXPORTER_OTLP_ENDPOINT", OsString::from(&nobody))];
    said(&asked, &gone)?.refused(6, "traces are lost")?;
    let wrong = [("OTEL_EXPORTER_OTLP_ENDPOINT", OsString::from("collector"))];
    said(&status, &wrong)?.refused(2, "OTEL_EXPORTER_OTLP_ENDPOINT = \"collector\"")?;
    Ok(())
}
