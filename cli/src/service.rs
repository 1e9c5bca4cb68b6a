//! What systemd hears of a daemon, if it is listening: that it serves, that it lives, that it stops.

use std::time::Duration;

use sd_notify::NotifyState;

/// Tells it, if there is anybody to tell. That it could not be told is no reason to end.
fn tell(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!(%error, "systemd was not told");
    }
}

/// The daemon serves.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The daemon stops, which may take so long.
pub(crate) fn stopping(within: Duration) {
    let micros = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(micros),
        NotifyState::Status("finishes what it has"),
    ]);
}

/// The daemon lives.
pub(crate) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The pause between two signs of life, if somebody waits for them: half of the time after which the daemon would be
/// taken for dead.
pub(crate) fn watchdog_pause() -> Option<Duration> {
    let mut micros = 0;
    let wanted = sd_notify::watchdog_enabled(false, &mut micros) && micros > 1;
    wanted.then(|| Duration::from_micros(micros / 2))
}
