//! One thread that starts every worker.
//!
//! The kernel sends a worker its parent's death signal when the *thread* that started it ends, not
//! the process. A thread of an executor may end at any time, so workers are started by a thread that
//! never does.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Spawns that wait at most; a full queue refuses.
const SPAWNS_MAX: usize = 64;

struct Spawn {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// Starts a command on the lasting thread. Must be called on a runtime with I/O.
pub(super) async fn spawn(command: Command) -> io::Result<Child> {
    let (reply, answer) = oneshot::channel();
    let spawn = Spawn {
        command,
        runtime: Handle::current(),
        reply,
    };
    let spawner = spawner()?;
    spawner
        .try_send(spawn)
        .map_err(|_| io::Error::other(format!("more than {SPAWNS_MAX} workers wait to start")))?;
    answer
        .await
        .map_err(|_| io::Error::other("the spawner thread is gone"))?
}

fn spawner() -> io::Result<&'static SyncSender<Spawn>> {
    static SPAWNER: OnceLock<Option<SyncSender<Spawn>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, inbox) = sync_channel::<Spawn>(SPAWNS_MAX);
        let thread = std::thread::Builder::new().name("worker-spawner".into());
        let body = move || {
            for mut spawn in inbox {
                let _runtime = spawn.runtime.enter();
                // If nobody waits any more the child is dropped here, and killed by that.
                drop(spawn.reply.send(spawn.command.spawn()));
            }
        };
        thread.spawn(body).is_ok().then_some(sender)
    });
    let missing = || io::Error::other("the spawner thread could not be started");
    spawner.as_ref().ok_or_else(missing)
}
