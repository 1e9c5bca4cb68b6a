//! Content that lies in a file: whole, or from where a download broke off (RFC 9110, section 14).

use std::io::SeekFrom;
use std::path::PathBuf;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jobs::digest::BlobRef;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::backend::Answer;
use crate::problem::{Code, Problem};

/// Bytes read from a file at once.
const READ_BYTES: usize = 64 * 1024;

/// What a request wants of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    /// These bytes: the first, and how many.
    Part(u64, u64),
    /// Nothing that there is.
    Nothing,
}

/// The content of a blob's file, as much of it as is wanted.
pub(super) async fn file(
    (blob, path): (BlobRef, PathBuf),
    kind: &'static str,
    headers: &HeaderMap,
) -> Answer<Response> {
    let etag = format!("\"{}\"", blob.digest);
    if names(headers, &header::IF_NONE_MATCH, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let (status, first, length) = match wanted(headers, &etag, blob.size) {
        Wanted::Whole => (StatusCode::OK, 0, blob.size),
        Wanted::Part(first, length) => (StatusCode::PARTIAL_CONTENT, first, length),
        Wanted::Nothing => return Ok(unsatisfiable(blob.size)),
    };
    let opened = async {
        let mut file = tokio::fs::File::open(&path).await?;
        file.seek(SeekFrom::Start(first)).await?;
        Ok::<_, std::io::Error>(file)
    };
    let file = opened.await.map_err(|error| {
        tracing::error!(path = %path.display(), %error, "a blob that the store names cannot be opened");
        Problem::internal()
    })?;
    let stream = ReaderStream::with_capacity(file.take(length), READ_BYTES);
    let sent = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::ETAG, etag),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
    ];
    let mut response = (status, sent, Body::from_stream(stream)).into_response();
    if status == StatusCode::PARTIAL_CONTENT {
        let last = first.saturating_add(length).saturating_sub(1);
        let range = format!("bytes {first}-{last}/{}", blob.size);
        if let Ok(range) = HeaderValue::from_str(&range) {
            response.headers_mut().insert(header::CONTENT_RANGE, range);
        }
    }
    Ok(response)
}

fn unsatisfiable(size: u64) -> Response {
    let detail = format!("the content has {size} bytes");
    let mut response = Problem::of(Code::RangeNotSatisfiable, detail).into_response();
    if let Ok(range) = HeaderValue::from_str(&format!("bytes */{size}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    response
}

/// Whether a header lists this entity tag.
fn names(headers: &HeaderMap, name: &header::HeaderName, etag: &str) -> bool {
    let listed = headers.get(name).and_then(|value| value.to_str().ok());
    listed.is_some_and(|listed| {
        let mut tags = listed.split(',').map(str::trim);
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
    })
}

/// One range. Several at once, and units that nobody knows, are the whole, as the standard allows.
fn wanted(headers: &HeaderMap, etag: &str, size: u64) -> Wanted {
    // What is resumed must be what was begun.
    let same = headers.get(header::IF_RANGE);
    if same.is_some_and(|same| same.as_bytes() != etag.as_bytes()) {
        return Wanted::Whole;
    }
    let range = headers.get(header::RANGE);
    let range = range.and_then(|range| range.to_str().ok()?.strip_prefix("bytes="));
    let Some((first, last)) = range.and_then(|range| range.trim().split_once('-')) else {
        return Wanted::Whole;
    };
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u64>().ok(),
        false => None,
    };
    match (number(first), number(last)) {
        (None, Some(suffix)) if first.is_empty() => {
            let length = suffix.min(size);
            part(size.saturating_sub(length), length, size)
        }
        (Some(first), None) if last.is_empty() => part(first, size.saturating_sub(first), size),
        (Some(first), Some(last)) if first <= last => {
            let end = last.saturating_add(1).min(size);
            part(first, end.saturating_sub(first), size)
        }
        _ => Wanted::Whole,
    }
}

const fn part(first: u64, length: u64, size: u64) -> Wanted {
    if first >= size || length == 0 {
        return Wanted::Nothing;
    }
    Wanted::Part(first, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"0123456789";

    async fn ask(headers: &[(header::HeaderName, &str)]) -> (u16, String, String) {
        let held = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(held.path(), TEXT).unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name, value.parse().unwrap());
        }
        let blob = (BlobRef::of(TEXT), held.path().to_owned());
        let response = file(blob, "application/octet-stream", &map).await.unwrap();
        let status = response.status().as_u16();
        let range = response.headers().get(header::CONTENT_RANGE);
        let range = range.map_or(String::new(), |range| range.to_str().unwrap().into());
        let body = axum::body::to_bytes(response.into_body(), 1000)
            .await
            .unwrap();
        (status, range, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn a_range_is_answered_with_just_that() {
        for (range, status, said, body) in [
            ("bytes=0-3", 206, "bytes 0-3/10", "0123"),
            ("bytes=4-", 206, "bytes 4-9/10", "456789"),
            ("bytes=-3", 206, "bytes 7-9/10", "789"),
            ("bytes=-99", 206, "bytes 0-9/10", "0123456789"),
            ("bytes=8-99", 206, "bytes 8-9/10", "89"),
            ("bytes=9-9", 206, "bytes 9-9/10", "9"),
            ("bytes=10-", 416, "bytes */10", ""),
            ("bytes=-0", 416, "bytes */10", ""),
            ("bytes=99999999999999999999-", 200, "", "0123456789"),
            ("bytes=3-2", 200, "", "0123456789"),
            ("bytes=0-1,3-4", 200, "", "0123456789"),
            ("bytes=+1-2", 200, "", "0123456789"),
            ("items=0-1", 200, "", "0123456789"),
        ] {
            let answer = ask(&[(header::RANGE, range)]).await;
            assert_eq!((answer.0, answer.1.as_str()), (status, said), "{range}");
            if status != 416 {
                assert_eq!(answer.2, body, "{range}");
            }
        }
    }

    #[tokio::test]
    async fn a_range_of_something_else_is_the_whole_and_what_is_known_is_not_sent() {
        let etag = format!("\"{}\"", BlobRef::of(TEXT).digest);
        let other = format!("\"{}\"", BlobRef::of(b"other").digest);
        let range = (header::RANGE, "bytes=4-");
        assert_eq!(
            ask(&[range.clone(), (header::IF_RANGE, &etag)]).await.0,
            206
        );
        assert_eq!(
            ask(&[range.clone(), (header::IF_RANGE, &other)]).await.0,
            200
        );
        let weak = format!("W/{etag}");
        assert_eq!(ask(&[range, (header::IF_RANGE, &weak)]).await.0, 200);
        let listed = format!("{other}, {etag}");
        assert_eq!(ask(&[(header::IF_NONE_MATCH, &listed)]).await.0, 304);
        assert_eq!(ask(&[(header::IF_NONE_MATCH, &other)]).await.0, 200);
    }
}
