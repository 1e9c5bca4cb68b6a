//! Traces over HTTP: the header `traceparent` of W3C's Trace Context says which span a request belongs to.
//!
//! It stands beside what is signed and decides nothing. What a stranger sends is followed if it is well-formed, and
//! otherwise as if it were not there.

use hyper::header::{HeaderMap, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of all spans that traces are made of.
pub const TARGET: &str = "assay::trace";

/// The header.
pub(crate) const HEADER: &str = "traceparent";

/// Length of a context of version 00, in bytes.
const CONTEXT_BYTES: usize = 55;

/// The span at hand, as a request names it; nothing if nobody follows it.
pub(crate) fn current() -> Option<HeaderValue> {
    let context = Span::current().context();
    let span = context.span().span_context().clone();
    span.is_valid().then(|| written(&span))?
}

fn written(span: &SpanContext) -> Option<HeaderValue> {
    let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags().to_u8());
    HeaderValue::from_str(&format!("00-{trace:032x}-{id:016x}-{flags:02x}")).ok()
}

/// Makes a new span a child of the one that the headers name.
pub(crate) fn follow(span: &Span, headers: &HeaderMap) {
    let mut named = headers.get_all(HEADER).iter();
    // Several are none: nobody knows which is meant.
    if let (Some(only), None) = (named.next(), named.next())
        && let Some(parent) = only.to_str().ok().and_then(parsed)
    {
        let context = opentelemetry::Context::new().with_remote_span_context(parent);
        // Refused where nobody follows spans.
        let _ = span.set_parent(context);
    }
}

/// What a context of version 00 says, if it is one.
fn parsed(text: &str) -> Option<SpanContext> {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    if text.len() != CONTEXT_BYTES || !text.bytes().all(hex) {
        return None;
    }
    let mut parts = text.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (span, flags) = (parts.next()?, parts.next()?);
    let lengths = [version, trace, span, flags].map(str::len);
    if version != "00" || lengths != [2, 32, 16, 2] || parts.next().is_some() {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok()?;
    let span = u64::from_str_radix(span, 16).ok()?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    let context = SpanContext::new(
        TraceId::from_bytes(trace.to_be_bytes()),
        SpanId::from_bytes(span.to_be_bytes()),
        TraceFlags::new(flags) & TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_is_read_as_it_is_written() {
        let context = parsed(GOOD).unwrap();
        assert!(context.is_sampled() && context.is_remote());
        assert_eq!(written(&context).unwrap(), GOOD);
        let unsampled = parsed(&GOOD.replace("-01", "-00")).unwrap();
        assert!(!unsampled.is_sampled());
    }

    #[test]
    fn what_is_no_context_is_ignored() {
        for text in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-zz",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00 4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7 01",
        ] {
            assert!(parsed(text).is_none(), "{text:?}");
        }
        assert!(parsed(&"0".repeat(1 << 20)).is_none());
    }

    #[test]
    fn without_anybody_who_follows_there_is_no_context() {
        let span = tracing::info_span!(target: TARGET, "alone");
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_static(GOOD));
        follow(&span, &headers);
        assert_eq!(span.in_scope(current), None);
    }
}
