//! An aggregator behind a proxy that terminates TLS, as the world reaches it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tests::{Job, Market, Output, Plan, assay_with, repository};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A certificate authority that nobody knows.
struct Authority {
    certificate: Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate, key })
    }

    /// A server of loopback, certified by it.
    fn server(&self) -> Result<ServerConfig> {
        let key = KeyPair::generate()?;
        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let params = CertificateParams::new(names)?;
        let certificate = params.signed_by(&key, &self.certificate, &self.key)?;
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        Ok(ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)?)
    }

    fn write(&self, path: PathBuf) -> Result<PathBuf> {
        std::fs::write(&path, self.certificate.pem())?;
        Ok(path)
    }
}

/// Terminates TLS in front of `behind`, for as long as the executor lives.
async fn proxy(server: ServerConfig, behind: SocketAddr) -> Result<SocketAddr> {
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Whoever does not trust the certificate breaks off, which is its right.
                let mut outer = acceptor.accept(stream).await?;
                let mut inner = TcpStream::connect(behind).await?;
                tokio::io::copy_bidirectional(&mut outer, &mut inner).await
            });
        }
    });
    Ok(address)
}

/// What the market's client says to the address, trusting whom the file names.
fn said(market: &Market, url: &str, roots: &Path, arguments: &[&str]) -> Result<Output> {
    let variables: [(&str, OsString); 3] = [
        ("ASSAY_AGGREGATOR", url.into()),
        ("ASSAY_KEY", market.key.clone().into()),
        ("SSL_CERT_FILE", roots.into()),
    ];
    assay_with(arguments, &variables, &repository())
}

#[test]
fn a_job_runs_over_tls_and_only_where_the_certificate_is_trusted() -> Result<()> {
    let market = Market::up(&Plan::honest(1))?;
    let authority = Authority::new()?;
    let trusted = authority.write(market.dir().join("trusted.pem"))?;
    let other = Authority::new()?.write(market.dir().join("other.pem"))?;
    let behind = market
        .http()
        .strip_prefix("http://")
        .context("no address")?;
    let executor = tokio::runtime::Runtime::new()?;
    let proxy = executor.block_on(proxy(authority.server()?, behind.parse()?))?;
    let url = format!("https://{proxy}");

    let status = ["aggregator", "status"];
    said(&market, &url, &trusted, &status)?.ok()?;
    let job = Job {
        replicas: 1,
        max_replicas: 1,
        ..Job::new("tls")
    };
    let manifest = job.write(&market.dir().join("jobs"))?;
    let submit = ["--json", "job", "submit", &manifest.to_string_lossy()];
    let id = tests::submitted(said(&market, &url, &trusted, &submit)?)?;
    market.wait_done(&id)?;
    let out = market.dir().join("result");
    let results = ["job", "results", &id, "--out", &out.to_string_lossy()];
    said(&market, &url, &trusted, &results)?.ok()?;
    ensure!(out.exists(), "no result came");

    said(&market, &url, &other, &status)?.refused(6, "certificate")?;
    let plain = format!("https://{behind}");
    said(&market, &plain, &trusted, &status)?.refused(6, "write http:// instead of https://")?;
    Ok(())
}
