//! Traces for an OpenTelemetry collector, if the standard variables name one; else none of this runs, and nobody is
//! connected to.
//!
//! Spans wait in a bounded queue for a thread of their own. A collector that is slow or gone loses spans and delays nobody.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Runtime;

use crate::config::setting;
use crate::exit::{Coded, Exit, Fix, fail};

/// Where the collector is, for all signals, and for traces alone.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// How it is spoken to, for traces alone, and for all signals.
const PROTOCOLS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];

/// The only protocol that is spoken.
const PROTOCOL: &str = "http/protobuf";

/// The longest that one delivery may take.
const DELIVERY_WALL: Duration = Duration::from_secs(10);

/// The longest that what is left may take when the program ends.
const END_WALL: Duration = Duration::from_secs(3);

/// Largest answer of a collector that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Traces on their way to a collector, or nothing.
#[derive(Debug, Default)]
pub(crate) struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// As the variables say. `service` is who this is, unless they say that too.
    pub(crate) fn start(service: &'static str) -> anyhow::Result<Self> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if !is_wanted(&set)? {
            return Ok(Self::default());
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(Post::new()?)
            .build()
            .context("the collector of traces")
            .code(Exit::Usage)?;
        let mut resource = Resource::builder();
        let named = |text: String| text.contains("service.name=");
        if set("OTEL_SERVICE_NAME").is_none() && !set("OTEL_RESOURCE_ATTRIBUTES").is_some_and(named)
        {
            resource = resource.with_service_name(service);
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        Ok(Self(Some(provider)))
    }

    /// What makes spans of this program a part of traces.
    pub(crate) fn tracer(&self) -> Option<SdkTracer> {
        Some(self.0.as_ref()?.tracer("assay"))
    }

    /// Sends what is left.
    pub(crate) fn end(self) {
        if let Some(provider) = self.0 {
            // What a collector does not take in time is lost; it was told of when it happened.
            let _ = provider.shutdown_with_timeout(END_WALL);
        }
    }
}

/// Whether there is a collector. What is wrong with the variables is said at once.
fn is_wanted(set: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<bool> {
    let first = |names: [&'static str; 2]| {
        let mut found = names
            .into_iter()
            .filter_map(|name| Some((name, set(name)?)));
        found.next()
    };
    let off = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let none = set("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
    let Some((name, endpoint)) = first(ENDPOINTS).filter(|_| !off && !none) else {
        return Ok(false);
    };
    if let Err(reason) = setting::url(&endpoint) {
        return fail(Exit::Usage, format!("{name} = {endpoint:?}: {reason}"))
            .fix("write it as http://HOST:4318, or unset it");
    }
    match first(PROTOCOLS) {
        Some((name, protocol)) if protocol != PROTOCOL => {
            let what = format!("{name} = {protocol:?}: only {PROTOCOL} is spoken");
            fail(Exit::Usage, what).fix(format!(
                "set it to {PROTOCOL}, which collectors take at port 4318"
            ))
        }
        _ => Ok(true),
    }
}

/// Delivers batches, from the thread that they wait for.
#[derive(Debug)]
struct Post {
    executor: Mutex<Runtime>,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Whether the last delivery failed: a collector that is gone is told of once.
    failing: AtomicBool,
}

impl Post {
    fn new() -> anyhow::Result<Self> {
        let executor = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let connector = api::client::connector().context("TLS")?;
        Ok(Self {
            executor: Mutex::new(executor),
            // Kept connections would need somebody to look after them between deliveries.
            http: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build(connector),
            failing: AtomicBool::new(false),
        })
    }

    async fn deliver(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let response = self.http.request(request.map(Full::new)).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    fn note(&self, delivered: &Result<Response<Bytes>, HttpError>) {
        let trouble = match delivered {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(answer.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        let was_failing = self.failing.swap(trouble.is_some(), Ordering::Relaxed);
        if let Some(trouble) = trouble.filter(|_| !was_failing) {
            tracing::warn!(%trouble, "traces are lost: the collector does not take them");
        }
    }
}

#[async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // Whoever calls is a thread that may block, and no executor of ours.
        let executor = self.executor.lock().unwrap_or_else(PoisonError::into_inner);
        let delivered = executor.block_on(async {
            let delivered = tokio::time::timeout(DELIVERY_WALL, self.deliver(request)).await;
            delivered.unwrap_or_else(|late| Err(late.into()))
        });
        self.note(&delivered);
        delivered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_traces_only_where_the_variables_say_so_and_nonsense_is_named() {
        const AT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        for (variables, expected) in [
            (vec![], Ok(false)),
            (vec![AT], Ok(true)),
            (vec![AT, ("OTEL_SDK_DISABLED", "true")], Ok(false)),
            (vec![AT, ("OTEL_TRACES_EXPORTER", "none")], Ok(false)),
            (
                vec![AT, ("OTEL_EXPORTER_OTLP_PROTOCOL", PROTOCOL)],
                Ok(true),
            ),
            (
                vec![AT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
                Err("OTEL_EXPORTER_OTLP_PROTOCOL = \"grpc\": only http/protobuf is spoken"),
            ),
            (
                vec![("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318")],
                Err(
                    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT = \"collector:4318\": must begin with http",
                ),
            ),
        ] {
            let set = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            match (is_wanted(&set), expected) {
                (Ok(wanted), Ok(expected)) => assert_eq!(wanted, expected, "{variables:?}"),
                (Err(error), Err(said)) => {
                    assert!(error.to_string().contains(said), "{error}");
                    assert_eq!(crate::exit::code_of(&error), Exit::Usage);
                }
                (wanted, _) => panic!("{variables:?}: {wanted:?}"),
            }
        }
    }
}
