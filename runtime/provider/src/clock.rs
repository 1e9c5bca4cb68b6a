//! The one place of this crate that reads a clock.

use std::time::{SystemTime, UNIX_EPOCH};

use jobs::time::Timestamp;

/// Milliseconds since the Unix epoch. A clock before 1970 reads as zero.
#[expect(
    clippy::disallowed_methods,
    reason = "a daemon dates its offers and knows when a commitment is overdue"
)]
pub(crate) fn now() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = elapsed.map_or(0, |elapsed| elapsed.as_millis());
    Timestamp(u64::try_from(ms).unwrap_or(u64::MAX))
}
