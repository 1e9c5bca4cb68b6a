//! How requests travel: plain, or under TLS with the roots that this machine trusts.

use std::sync::Arc;

use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, RootCertStore};

/// A connector for `http` and `https` addresses. Whom it trusts is what this machine trusts: the system's certificates, or
/// those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
///
/// # Errors
/// If TLS cannot be set up at all.
pub fn connector() -> Result<HttpsConnector<HttpConnector>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "certificates cannot be read");
    }
    // One that cannot be read is one that nobody is trusted by.
    roots.add_parsable_certificates(found.certs);
    connector_trusting(roots)
}

/// A connector for a plain address: it trusts nobody, and reads nothing.
pub(super) fn plain() -> Result<HttpsConnector<HttpConnector>, rustls::Error> {
    connector_trusting(RootCertStore::empty())
}

fn connector_trusting(
    roots: RootCertStore,
) -> Result<HttpsConnector<HttpConnector>, rustls::Error> {
    // Named, since a process whose dependencies bring two has no default.
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut tls = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    Ok(HttpsConnector::from((http, Arc::new(tls))))
}
