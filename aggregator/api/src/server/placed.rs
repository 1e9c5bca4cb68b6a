//! An answer's body, with which its connection keeps its place.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};

use super::registry::{Passed, Place};

/// Passes everything on. When it is dropped, the connection waits for another request.
pub(super) struct Placed {
    body: Body,
    place: Arc<Place>,
    /// Counts for whom a proxy passed the request on, until the answer is on its way.
    _passed: Option<Passed>,
}

impl Placed {
    pub(super) const fn new(body: Body, place: Arc<Place>, passed: Option<Passed>) -> Self {
        Self {
            body,
            place,
            _passed: passed,
        }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.place.waits();
    }
}

impl hyper::body::Body for Placed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
