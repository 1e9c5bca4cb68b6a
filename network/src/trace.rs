//! Traces between peers: which span a request belongs to, beside what is signed and never in it.
//!
//! It has one size, so there is nothing to bound, and decides nothing: what a peer made up makes for a picture that is
//! wrong, and for nothing else.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use serde::{Deserialize, Serialize};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of all spans that traces are made of.
pub const TARGET: &str = "assay::trace";

/// The version that is written, and the only one that is followed: W3C's first.
const VERSION: u8 = 0;

/// A span elsewhere, as W3C's Trace Context describes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    version: u8,
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

impl TraceContext {
    /// The span at hand; nothing if nobody follows it.
    pub fn current() -> Option<Self> {
        let context = Span::current().context();
        let span = context.span().span_context().clone();
        span.is_valid().then(|| Self {
            version: VERSION,
            trace: span.trace_id().to_bytes(),
            span: span.span_id().to_bytes(),
            flags: span.trace_flags().to_u8(),
        })
    }

    /// Makes a new span a child of this one. What is no span is ignored.
    pub fn follow(&self, span: &Span) {
        if let Some(parent) = self.parent() {
            let context = opentelemetry::Context::new().with_remote_span_context(parent);
            // Refused where nobody follows spans.
            let _ = span.set_parent(context);
        }
    }

    fn parent(&self) -> Option<SpanContext> {
        let context = SpanContext::new(
            TraceId::from_bytes(self.trace),
            SpanId::from_bytes(self.span),
            TraceFlags::new(self.flags) & TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        );
        (self.version == VERSION && context.is_valid()).then_some(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_span_is_not_followed() {
        let good = TraceContext {
            version: VERSION,
            trace: [1; 16],
            span: [2; 8],
            flags: 0xff,
        };
        let parent = good.parent().unwrap();
        assert_eq!(parent.trace_flags(), TraceFlags::SAMPLED);
        assert_eq!(parent.span_id().to_bytes(), [2; 8]);
        for hostile in [
            TraceContext { version: 1, ..good },
            TraceContext {
                trace: [0; 16],
                ..good
            },
            TraceContext {
                span: [0; 8],
                ..good
            },
        ] {
            assert_eq!(hostile.parent(), None, "{hostile:?}");
        }
        assert_eq!(TraceContext::current(), None);
    }
}
