//! Talking to the provider that runs in a data directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use provider::control::{Ask, LINE_WALL, Reply, Request, VERSION, path_of};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::exit::{Coded, Exit, fail};

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// The longest that an answer may take: what a request may take on its way, and a disk that is busy.
const ANSWER_WALL: Duration = LINE_WALL.saturating_mul(3);

/// Which provider of this machine.
#[derive(Clone, Debug, Args)]
pub(crate) struct DataDir {
    /// Directory of its key, configuration, journal and caches
    /// [default: $XDG_DATA_HOME/assay/provider, that is ~/.local/share/assay/provider].
    #[arg(
        long = "data",
        value_name = "DIR",
        env = "ASSAY_PROVIDER_DATA",
        global = true
    )]
    data: Option<PathBuf>,
}

impl DataDir {
    /// The directory.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let share = variable("XDG_DATA_HOME")
            .map(PathBuf::from)
            // The specification says that a relative one is to be ignored.
            .filter(|path| path.is_absolute())
            .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".local/share")));
        let share = share.context("neither --data nor XDG_DATA_HOME nor HOME is set");
        Ok(share.code(Exit::Usage)?.join("assay/provider"))
    }

    /// Asks the provider that runs there.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, ask: Ask) -> Result<T> {
        ask_at(&self.path()?, ask).await
    }
}

async fn ask_at<T: DeserializeOwned>(data: &Path, ask: Ask) -> Result<T> {
    let nobody = |error: std::io::Error| {
        let shown = data.display();
        let why = match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                format!(
                    "no provider runs in {shown}: start it with `assay provider start --data {shown}`"
                )
            }
            std::io::ErrorKind::PermissionDenied => {
                format!(
                    "{shown} is another user's: run the command as the user that runs the provider"
                )
            }
            _ => format!("the provider in {shown} does not answer: {error}"),
        };
        fail(Exit::Unreachable, why)
    };
    let (_dir, path) = match path_of(data) {
        Ok(found) => found,
        Err(error) => return nobody(error),
    };
    let mut stream = match UnixStream::connect(path).await {
        Ok(stream) => BufReader::new(stream),
        Err(error) => return nobody(error),
    };
    let request = Request {
        version: VERSION,
        ask,
    };
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    match timeout(ANSWER_WALL, exchange(&mut stream, &line)).await {
        Ok(Ok(answer)) => read(&answer),
        Ok(Err(error)) => nobody(error),
        Err(_) => {
            let seconds = ANSWER_WALL.as_secs();
            fail(
                Exit::Timeout,
                format!("the provider does not answer within {seconds} s"),
            )
        }
    }
}

async fn exchange(stream: &mut BufReader<UnixStream>, line: &[u8]) -> std::io::Result<Vec<u8>> {
    // One that turns us away says so without listening.
    let sent = stream.get_mut().write_all(line).await;
    let mut answer = Vec::new();
    let read = stream
        .take(ANSWER_BYTES_MAX)
        .read_until(b'\n', &mut answer)
        .await;
    if answer.is_empty() {
        sent?;
        read?;
        return Err(std::io::Error::other("it closed the connection"));
    }
    Ok(answer)
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T> {
    let reply: Reply =
        serde_json::from_slice(answer).context("the provider's answer is no answer")?;
    match reply {
        Reply::Answer(value) => Ok(serde_json::from_value(value)
            .context("the provider answers as another version of this program would")?),
        Reply::Error(denial) => {
            let exit = match denial.code.as_str() {
                "value" | "unknown" | "request" => Exit::Usage,
                "not-yours" => Exit::Signature,
                "timeout" => Exit::Timeout,
                _ => Exit::Failure,
            };
            Err(denial).code(exit)
        }
    }
}
