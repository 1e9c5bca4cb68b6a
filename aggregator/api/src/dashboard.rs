//! The dashboard: a page that reads what this interface serves, and verifies records by itself. It is part of the
//! program, so there is nothing to build or to install beside it, and it fetches nothing from anywhere else.

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jobs::digest::Digest;

/// What the page may do: run its own scripts and ask its own server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
struct Asset {
    route: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

macro_rules! asset {
    ($route:literal, $kind:expr, $file:literal) => {
        Asset {
            route: $route,
            kind: $kind,
            bytes: include_bytes!(concat!("../dashboard/", $file)),
        }
    };
}

const ASSETS: &[Asset] = &[
    asset!("/", HTML, "index.html"),
    asset!("/dashboard/style.css", STYLE, "style.css"),
    asset!("/dashboard/icon.svg", IMAGE, "icon.svg"),
    asset!("/dashboard/main.js", SCRIPT, "main.js"),
    asset!("/dashboard/api.js", SCRIPT, "api.js"),
    asset!("/dashboard/dom.js", SCRIPT, "dom.js"),
    asset!("/dashboard/format.js", SCRIPT, "format.js"),
    asset!("/dashboard/heatmap.js", SCRIPT, "heatmap.js"),
    asset!("/dashboard/overview.js", SCRIPT, "overview.js"),
    asset!("/dashboard/jobs.js", SCRIPT, "jobs.js"),
    asset!("/dashboard/providers.js", SCRIPT, "providers.js"),
    asset!("/dashboard/money.js", SCRIPT, "money.js"),
    asset!("/dashboard/verify.js", SCRIPT, "verify.js"),
    asset!("/dashboard/bytes.js", SCRIPT, "bytes.js"),
    asset!(
        "/dashboard/vendor/noble-hashes/blake3.js",
        SCRIPT,
        "vendor/noble-hashes/blake3.js"
    ),
    asset!(
        "/dashboard/vendor/noble-hashes/blake2.js",
        SCRIPT,
        "vendor/noble-hashes/blake2.js"
    ),
    asset!(
        "/dashboard/vendor/noble-hashes/_blake.js",
        SCRIPT,
        "vendor/noble-hashes/_blake.js"
    ),
    asset!(
        "/dashboard/vendor/noble-hashes/_md.js",
        SCRIPT,
        "vendor/noble-hashes/_md.js"
    ),
    asset!(
        "/dashboard/vendor/noble-hashes/_u64.js",
        SCRIPT,
        "vendor/noble-hashes/_u64.js"
    ),
    asset!(
        "/dashboard/vendor/noble-hashes/utils.js",
        SCRIPT,
        "vendor/noble-hashes/utils.js"
    ),
];

/// Every file of the page.
pub(crate) fn router() -> Router {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        router.route(
            asset.route,
            get(move |headers: HeaderMap| async move { serve(asset, &headers) }),
        )
    })
}

fn serve(asset: &'static Asset, request: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", Digest::of(asset.bytes).to_hex());
    let Ok(tag) = HeaderValue::from_str(&tag) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let known = request.get(header::IF_NONE_MATCH) == Some(&tag);
    let fixed = |value: &'static str| HeaderValue::from_static(value);
    let headers = [
        (header::CONTENT_TYPE, fixed(asset.kind)),
        (header::ETAG, tag),
        (header::CACHE_CONTROL, fixed("no-cache")),
        (header::CONTENT_SECURITY_POLICY, fixed(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (header::REFERRER_POLICY, fixed("no-referrer")),
    ];
    if known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, asset.bytes).into_response()
}
