//! What passes over HTTP in numbers, since the process began. Labels are routes and methods that there are: nobody can make
//! up new ones.

use std::time::Duration;

use axum::http::Method;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// How the text of all metrics ends.
const END: &str = "# EOF\n";

/// Buckets of the time that answers take: from half a millisecond, each twice the one before, to beyond a minute.
const BUCKETS: u16 = 18;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    method: &'static str,
    route: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Why a request was not looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refused {
    /// Too much is being decided, or too many connections are open.
    Shed,
    /// One network or client asks too much.
    RateLimited,
}

fn times() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.0, BUCKETS))
}

/// The numbers. Cheap to share.
#[derive(Debug)]
pub(crate) struct Traffic {
    requests: Family<Asked, Counter>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
    refused: Family<Reason, Counter>,
}

impl Default for Traffic {
    fn default() -> Self {
        let traffic = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(times),
            refused: Family::default(),
        };
        // What has not happened is zero, and not unknown.
        for refused in [Refused::Shed, Refused::RateLimited] {
            drop(traffic.refused.get_or_create(&refused.label()));
        }
        traffic
    }
}

impl Refused {
    const fn label(self) -> Reason {
        let reason = match self {
            Self::Shed => "overloaded",
            Self::RateLimited => "rate-limited",
        };
        Reason { reason }
    }
}

/// The methods that routes have, by name; whatever else somebody sends is one.
fn method_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

const fn class_of(status: u16) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

impl Traffic {
    /// Notes an answer. `route` is the pattern, if there is such a route.
    pub(crate) fn answered(
        &self,
        method: &Method,
        route: Option<&str>,
        status: u16,
        took: Duration,
    ) {
        let route = route.unwrap_or("other").to_owned();
        let asked = Asked {
            method: method_of(method),
            route: route.clone(),
            status: class_of(status),
        };
        self.requests.get_or_create(&asked).inc();
        let seconds = self.seconds.get_or_create(&Route { route });
        seconds.observe(took.as_secs_f64());
    }

    /// Notes a refusal unseen.
    pub(crate) fn refused(&self, why: Refused) {
        self.refused.get_or_create(&why.label()).inc();
    }

    /// These numbers, after others in the same format.
    pub(crate) fn after(&self, others: &str) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("assay_http");
        registry.register(
            "requests",
            "Requests that were answered",
            self.requests.clone(),
        );
        registry.register(
            "request_seconds",
            "From a request's head to its answer's",
            self.seconds.clone(),
        );
        registry.register(
            "refused",
            "Requests and connections refused unseen",
            self.refused.clone(),
        );
        let mut text = others.strip_suffix(END).unwrap_or(others).to_owned();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_and_nobody_makes_up_labels() {
        let traffic = Traffic::default();
        let ms = Duration::from_millis(3);
        let route = Some("/api/v1/jobs/{job}");
        traffic.answered(&Method::GET, route, 200, ms);
        traffic.answered(&Method::GET, route, 204, ms);
        for method in ["FOO", "BAR"] {
            let method = method.parse().unwrap();
            traffic.answered(&method, None, 404, ms);
        }
        traffic.refused(Refused::Shed);
        let text = traffic.after("assay_other 1\n# EOF\n").unwrap();
        for line in [
            "assay_other 1",
            "assay_http_requests_total{method=\"GET\",route=\"/api/v1/jobs/{job}\",status=\"2xx\"} 2",
            "assay_http_requests_total{method=\"other\",route=\"other\",status=\"4xx\"} 2",
            "assay_http_request_seconds_count{route=\"/api/v1/jobs/{job}\"} 2",
            "assay_http_refused_total{reason=\"overloaded\"} 1",
            "assay_http_refused_total{reason=\"rate-limited\"} 0",
        ] {
            assert!(
                text.lines().any(|known| known == line),
                "no {line} in {text}"
            );
        }
        assert_eq!(text.matches(END).count(), 1);
        assert!(text.ends_with(END));
    }
}
