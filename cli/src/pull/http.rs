//! Downloads over HTTP: bounded, resumed where they broke off, never past the first byte of another version.

use std::io::SeekFrom;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, Uri, header};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jobs::manifest::MODEL_BYTES_MAX;
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use super::store::Part;
use super::{MIB, check_size};
use crate::exit::{Coded, Exit, Fix, fail};
use crate::output::Output;

/// Most redirections that are followed.
const REDIRECTIONS_MAX: usize = 5;
/// How often a download that broke off is taken up before it is given up.
const ATTEMPTS_MAX: u32 = 5;
/// Pause before each.
const PAUSE: Duration = Duration::from_millis(500);
/// Time without a byte after which a download has broken off.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest tag of a version in bytes.
const TAG_BYTES_MAX: usize = 1024;

type Http = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// How one attempt ended.
enum Ended {
    /// Everything is there.
    Whole,
    /// It broke off.
    Broken(anyhow::Error),
}

/// Downloads a file into `part`, going on with what is there if the source still has that version.
pub(super) async fn download(url: &str, part: &Part, output: Output) -> Result<()> {
    let http = client()?;
    let mut last = None;
    for attempt in 0..ATTEMPTS_MAX {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        match once(&http, url, part, output).await? {
            Ended::Whole => return Ok(()),
            Ended::Broken(error) => {
                output.say(format_args!("{error:#}; going on"));
                last = Some(error);
            }
        }
    }
    let error = last.unwrap_or_else(|| anyhow::anyhow!("nothing was tried"));
    Err(error)
        .code(Exit::Unreachable)
        .fix("run it again: what has arrived is kept")
}

fn client() -> Result<Http> {
    let connector = api::client::connector().context("TLS")?;
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

async fn once(http: &Http, url: &str, part: &Part, output: Output) -> Result<Ended> {
    let (have, tag) = had(part).await;
    let response = match ask(http, url, have, tag.as_deref()).await? {
        Ok(response) => response,
        Err(error) => return Ok(Ended::Broken(error)),
    };
    let status = response.status();
    let from = match status {
        StatusCode::PARTIAL_CONTENT if starts_at(&response) == Some(have) => have,
        StatusCode::OK => 0,
        StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PARTIAL_CONTENT => {
            // Of another version, or more than there is: from the beginning.
            part.forget()?;
            return Ok(Ended::Broken(anyhow::anyhow!("{url} cannot be taken up")));
        }
        status if status.is_server_error() => {
            return Ok(Ended::Broken(anyhow::anyhow!("{url} answers {status}")));
        }
        status => {
            return fail(Exit::Failure, format!("{url} answers {status}"))
                .fix("check the address; a file that needs a login must be fetched by hand");
        }
    };
    let announced = length(&response).map(|length| length.saturating_add(from));
    if let Some(size) = announced {
        check_size(size)?;
    }
    note_tag(part, &response).await?;
    store(response, part.path(), from, announced, output).await
}

/// What is there of an earlier attempt, and of which version. Without a version nobody knows what it is a part of.
async fn had(part: &Part) -> (u64, Option<String>) {
    let tag = tokio::fs::read_to_string(part.tag()).await.ok();
    let size = tokio::fs::metadata(part.path())
        .await
        .map(|file| file.len());
    match (size, tag) {
        (Ok(size), Some(tag)) if size > 0 && !tag.is_empty() => (size, Some(tag)),
        _ => (0, None),
    }
}

/// The strong tag of the version that is sent, if it has one.
async fn note_tag(part: &Part, response: &Response<Incoming>) -> Result<()> {
    let tag = response.headers().get(header::ETAG);
    let tag = tag.and_then(|tag| tag.to_str().ok()).unwrap_or_default();
    let strong = !tag.starts_with("W/") && tag.len() <= TAG_BYTES_MAX;
    let path = part.tag();
    let written = tokio::fs::write(&path, if strong { tag } else { "" }).await;
    written.with_context(|| path.display().to_string())
}

/// Asks, and follows where the answer leads. The inner error is one that may pass.
async fn ask(
    http: &Http,
    url: &str,
    have: u64,
    tag: Option<&str>,
) -> Result<Result<Response<Incoming>>> {
    let mut uri: Uri = url
        .parse()
        .with_context(|| url.to_owned())
        .code(Exit::Usage)?;
    for _ in 0..=REDIRECTIONS_MAX {
        let mut request = Request::get(uri.clone()).header(header::USER_AGENT, "assay");
        if let Some(tag) = tag {
            request = request
                .header(header::RANGE, format!("bytes={have}-"))
                .header(header::IF_RANGE, tag);
        }
        let request = request.body(Empty::new())?;
        let answer = tokio::time::timeout(PROGRESS_TIMEOUT, http.request(request)).await;
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let host = uri.host().unwrap_or_default();
                let error = anyhow::Error::from(error).context(format!("cannot reach {host}"));
                return Ok(Err(error));
            }
            Err(_) => {
                let error = anyhow::anyhow!("{uri} does not answer for {PROGRESS_TIMEOUT:?}");
                return Ok(Err(error));
            }
        };
        if !response.status().is_redirection() {
            return Ok(Ok(response));
        }
        uri = next(&uri, &response)?;
    }
    fail(
        Exit::Failure,
        format!("{url} leads through more than {REDIRECTIONS_MAX} redirections"),
    )
}

/// Where a redirection leads: never from a protected place to one that is not.
fn next(from: &Uri, response: &Response<Incoming>) -> Result<Uri> {
    let location = response.headers().get(header::LOCATION);
    let location = location.and_then(|location| location.to_str().ok());
    let location = location.with_context(|| format!("{from} redirects to nowhere"))?;
    let host = from
        .authority()
        .map(ToString::to_string)
        .unwrap_or_default();
    let scheme = from.scheme_str().unwrap_or_default();
    let absolute = match location.strip_prefix("//") {
        Some(rest) => format!("{scheme}://{rest}"),
        None if location.starts_with('/') => format!("{scheme}://{host}{location}"),
        None => location.to_owned(),
    };
    let to: Uri = absolute
        .parse()
        .with_context(|| format!("{from} redirects to {absolute}"))?;
    match (scheme, to.scheme_str()) {
        (_, Some("https")) | ("http", Some("http")) => Ok(to),
        _ => fail(
            Exit::Verification,
            format!("{from} redirects to {to}, which is not protected"),
        ),
    }
}

fn length(response: &Response<Incoming>) -> Option<u64> {
    let length = response.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// The first byte of a part: `bytes 100-199/200`.
fn starts_at(response: &Response<Incoming>) -> Option<u64> {
    let range = response
        .headers()
        .get(header::CONTENT_RANGE)?
        .to_str()
        .ok()?;
    let (first, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    first.parse().ok()
}

async fn store(
    response: Response<Incoming>,
    path: &Path,
    from: u64,
    announced: Option<u64>,
    output: Output,
) -> Result<Ended> {
    let named = || format!("cannot write {}", path.display());
    let mut options = File::options();
    let options = options.create(true).write(true).truncate(from == 0);
    let mut file = options.open(path).await.with_context(named)?;
    file.seek(SeekFrom::Start(from)).await.with_context(named)?;
    let bar = output.bar(announced.unwrap_or(0) / MIB, "pull (MiB)");
    let mut body = response.into_body();
    let mut size = from;
    let ended = loop {
        let frame = match tokio::time::timeout(PROGRESS_TIMEOUT, body.frame()).await {
            Err(_) => break Some(anyhow::anyhow!("nothing arrived for {PROGRESS_TIMEOUT:?}")),
            Ok(None) => break None,
            Ok(Some(Err(error))) => break Some(error.into()),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        size = size.saturating_add(data.len() as u64);
        if size > MODEL_BYTES_MAX {
            std::fs::remove_file(path).with_context(named)?;
            check_size(size)?;
        }
        file.write_all(&data).await.with_context(named)?;
        bar.set_position(size / MIB);
    };
    file.sync_all().await.with_context(named)?;
    bar.finish_and_clear();
    let short = announced.filter(|whole| size < *whole);
    Ok(match (ended, short) {
        (Some(error), _) => Ended::Broken(error.context(format!("broke off after {size} bytes"))),
        (None, Some(whole)) => {
            Ended::Broken(anyhow::anyhow!("broke off after {size} of {whole} bytes"))
        }
        (None, None) => Ended::Whole,
    })
}
