//! The socket: who may speak, how much, how long.

use std::fs::{File, Permissions};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Denial, Reply, Request, SOCKET_FILE, VERSION, act};
use crate::Error;
use crate::shared::Shared;

/// Longest request, in bytes.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Connections at the same time; one more is told so and closed.
pub const CONNECTIONS_MAX: usize = 16;

/// The longest that a request may take to arrive and an answer to be taken; and the longest that a connection may say
/// nothing.
pub const LINE_WALL: Duration = Duration::from_secs(10);

/// Requests over one connection at most.
const REQUESTS_MAX: usize = 4096;

/// Pause after a connection that could not be accepted, as when there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The socket of the provider in a data directory. The kernel takes no longer path than a hundred bytes, so it is named
/// through the open directory; which is returned with it and must stay open while the path is used.
///
/// # Errors
/// If there is no such directory.
pub fn path_of(data: &Path) -> std::io::Result<(File, PathBuf)> {
    let dir = File::open(data)?;
    let path = format!("/proc/self/fd/{}/{SOCKET_FILE}", dir.as_raw_fd());
    Ok((dir, path.into()))
}

/// The listening socket. Its file goes with it.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    file: PathBuf,
}

impl Socket {
    /// Takes the place of one that a dead process left. The caller holds the directory's lock.
    pub(crate) fn bind(data: &Path) -> Result<Self, Error> {
        let file = data.join(SOCKET_FILE);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io("replace", &file)(error));
            }
            _ => {}
        }
        let (_dir, path) = path_of(data).map_err(Error::io("open", data))?;
        let listener = UnixListener::bind(path).map_err(Error::io("listen at", &file))?;
        // Until now whoever connected is only looked at, which is enough; this keeps others from trying.
        std::fs::set_permissions(&file, Permissions::from_mode(0o600))
            .map_err(Error::io("protect", &file))?;
        Ok(Self { listener, file })
    }

    /// Answers until the daemon has stopped.
    pub(crate) async fn serve(self, shared: Arc<Shared>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = shared.gone() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "no control connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                turn_away(
                    &stream,
                    &Denial::new(
                        "busy",
                        format!("{CONNECTIONS_MAX} others are connected, which is the most"),
                    ),
                );
                continue;
            };
            let task = Arc::clone(&shared);
            shared.spawn(async move {
                tokio::select! {
                    () = converse(stream, &task) => {}
                    () = task.gone() => {}
                }
                drop(place);
            });
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // One that stays is replaced at the next start.
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Tells somebody who has no place, if that goes without waiting.
fn turn_away(stream: &UnixStream, denial: &Denial) {
    let _ = stream.try_write(&line_of(&Reply::Error(denial.clone())));
}

async fn converse(stream: UnixStream, shared: &Arc<Shared>) {
    if let Err(denial) = is_owner(&stream) {
        tracing::warn!(reason = %denial, "a control connection was refused");
        return turn_away(&stream, &denial);
    }
    let mut stream = BufReader::new(stream);
    for _ in 0..REQUESTS_MAX {
        let (reply, go_on) = match timeout(LINE_WALL, read(&mut stream)).await {
            Ok(Ok(None)) => return,
            Ok(Ok(Some(line))) => (answer(&line, shared).await, true),
            Ok(Err(denial)) => (Reply::Error(denial), false),
            Err(_) => {
                let seconds = LINE_WALL.as_secs();
                let message = format!("no whole request within {seconds} s");
                (Reply::Error(Denial::new("timeout", message)), false)
            }
        };
        let written = timeout(LINE_WALL, stream.get_mut().write_all(&line_of(&reply))).await;
        if !go_on || !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

/// Whoever connects must be who runs the daemon, or root.
fn is_owner(stream: &UnixStream) -> Result<(), Denial> {
    let own = rustix::process::geteuid().as_raw();
    let peer = stream.peer_cred().map(|peer| peer.uid());
    check_peer(peer.ok(), own)
}

fn check_peer(peer: Option<u32>, own: u32) -> Result<(), Denial> {
    match peer {
        Some(uid) if uid == own || uid == 0 => Ok(()),
        Some(uid) => Err(Denial::new(
            "not-yours",
            format!("this provider is of user {own}, you are {uid}: run the command as that user"),
        )),
        None => Err(Denial::new(
            "not-yours",
            "the system does not say who you are",
        )),
    }
}

/// The next line; nothing when there are no more.
async fn read(stream: &mut BufReader<UnixStream>) -> Result<Option<Vec<u8>>, Denial> {
    let mut line = Vec::new();
    let most = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bounded = stream.take(most.saturating_add(1));
    match bounded.read_until(b'\n', &mut line).await {
        Ok(0) => Ok(None),
        Ok(_) if line.last() == Some(&b'\n') => Ok(Some(line)),
        Ok(size) if size > LINE_BYTES_MAX => Err(Denial::new(
            "too-large",
            format!("a request has more than {LINE_BYTES_MAX} bytes, which is the most"),
        )),
        // Cut short: nobody is there to hear of it.
        Ok(_) | Err(_) => Ok(None),
    }
}

async fn answer(line: &[u8], shared: &Arc<Shared>) -> Reply {
    let request = match parse(line) {
        Ok(request) => request,
        Err(denial) => return Reply::Error(denial),
    };
    match act::act(request, shared).await {
        Ok(value) => Reply::Answer(value),
        Err(denial) => Reply::Error(denial),
    }
}

fn parse(line: &[u8]) -> Result<super::Ask, Denial> {
    /// The version alone, of a request that may otherwise be of another time.
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    let bad = |error: serde_json::Error| Denial::new("request", format!("not a request: {error}"));
    let Versioned { version } = serde_json::from_slice(line).map_err(bad)?;
    if version != VERSION {
        let message = format!(
            "the request is of version {version}, this provider speaks version {VERSION}: use the program that \
             the provider was started with"
        );
        return Err(Denial::new("version", message));
    }
    let request: Request = serde_json::from_slice(line).map_err(bad)?;
    Ok(request.ask)
}

fn line_of(reply: &Reply) -> Vec<u8> {
    let mut line = serde_json::to_vec(reply).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_and_root_may_speak() {
        for (peer, own, allowed) in [
            (Some(1000), 1000, true),
            (Some(0), 1000, true),
            (Some(1001), 1000, false),
            (Some(1000), 0, false),
            (None, 1000, false),
        ] {
            let checked = check_peer(peer, own);
            assert_eq!(checked.is_ok(), allowed, "{peer:?} to {own}: {checked:?}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused_by_a_code() {
        for (line, code, said) in [
            ("", "request", "EOF"),
            ("{\"ask\": \"status\"}", "request", "version"),
            (
                "{\"version\": 2, \"ask\": \"dance\"}",
                "version",
                "version 2",
            ),
            ("{\"version\": 1, \"ask\": \"dance\"}", "request", "dance"),
            (
                "{\"version\": 1, \"ask\": {\"drain\": {}}}",
                "request",
                "undo",
            ),
            (
                "{\"version\": 1, \"ask\": \"status\", \"x\": 1}",
                "request",
                "x",
            ),
        ] {
            let denial = parse(line.as_bytes()).unwrap_err();
            assert_eq!(denial.code, code, "{line}");
            assert!(denial.message.contains(said), "{line}: {denial}");
        }
        let ask = parse(b"{\"version\": 1, \"ask\": \"status\"}\n").unwrap();
        assert_eq!(ask, super::super::Ask::Status);
    }

    #[tokio::test]
    async fn a_socket_lies_in_a_directory_of_any_length_and_replaces_a_dead_one() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("d".repeat(200));
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join(SOCKET_FILE), "left behind").unwrap();
        let socket = Socket::bind(&data).unwrap();
        let mode = data
            .join(SOCKET_FILE)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let (_open, path) = path_of(&data).unwrap();
        UnixStream::connect(path).await.unwrap();
        drop(socket);
        assert!(!data.join(SOCKET_FILE).exists());
    }
}
