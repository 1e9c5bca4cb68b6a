//! Whether the provider works now, and why not.
//!
//! A provider that rests stays connected and goes on with what it has: it finishes, commits, reveals and is paid. Its
//! offer then says that it grants no fuel and no memory, so that aggregators give it nothing, and nobody has to be
//! refused.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::sleep;

use crate::choices::Mode;
use crate::clock::now;
use crate::shared::Shared;

mod idle;

pub use idle::IDLE_CPU_PERCENT_DEFAULT;
use idle::Looker;

/// Pause between two looks at the machine.
const LOOK: Duration = Duration::from_secs(10);

/// Pause before the second look, with which the first comparison can be made.
const LOOK_FIRST: Duration = Duration::from_secs(1);

/// Looks in a row that must find the machine idle before work begins again.
const IDLE_LOOKS: u32 = 3;

/// Why no work is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rest {
    /// It finishes what it has, and stops.
    Stopping,
    /// The operator drains it.
    Draining,
    /// Its mode is `never`.
    Never,
    /// Its mode is `auto`, and somebody uses the machine.
    InUse(String),
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopping => f.write_str("it stops"),
            Self::Draining => f.write_str("it is drained"),
            Self::Never => f.write_str("its mode is never"),
            Self::InUse(why) => write!(f, "its mode is auto, and {why}"),
        }
    }
}

impl Shared {
    /// Why no work is taken now, if none is.
    pub(crate) fn rest(&self) -> Option<Rest> {
        if self.is_ending() {
            return Some(Rest::Stopping);
        }
        if *self.draining.borrow() {
            return Some(Rest::Draining);
        }
        match self.desired.get().mode_at(now()) {
            Mode::Always => None,
            Mode::Never => Some(Rest::Never),
            Mode::Auto => self.in_use.borrow().clone().map(Rest::InUse),
        }
    }
}

/// Looks at the machine while that matters, and has offers renewed when work begins or ends.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let mut looker = Looker::new(shared.config.idle_cpu_percent);
    let mut choices = shared.desired.subscribe();
    let (mut told, mut idle, mut pause) = (shared.rest(), IDLE_LOOKS, LOOK_FIRST);
    loop {
        tokio::select! {
            () = sleep(pause) => {}
            _ = choices.changed() => {}
            () = shared.stopped() => return,
        }
        if shared.desired.get().mode_at(now()) == Mode::Auto {
            pause = if looker.has_seen() { LOOK } else { LOOK_FIRST };
            let look = tokio::task::spawn_blocking(move || {
                let found = looker.look();
                (looker, found)
            });
            // A look that dies is the last: what was found stays.
            let Ok((back, found)) = look.await else {
                return;
            };
            looker = back;
            if let Some(found) = found {
                idle = if found.is_some() {
                    0
                } else {
                    idle.saturating_add(1)
                };
                // What was found is told at once; that nothing was, after a while.
                if found.is_some() || idle >= IDLE_LOOKS {
                    shared.in_use.send_replace(found);
                }
            }
        } else {
            pause = LOOK;
        }
        let rest = shared.rest();
        if rest.is_some() != told.is_some() {
            match &rest {
                Some(why) => tracing::info!(%why, "takes no work"),
                None => tracing::info!("takes work"),
            }
            shared.renew_offers();
        }
        told = rest;
    }
}
