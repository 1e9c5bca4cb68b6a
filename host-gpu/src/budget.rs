//! What an instance has used: a byte budget that frees itself, and counters that outlive a cancelled run.

use crate::error::GuestFault;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Host memory for one instance's tensors, in bytes.
#[derive(Debug)]
pub struct Budget {
    cap: u64,
    used: AtomicU64,
    peak: AtomicU64,
}

impl Budget {
    /// A budget of `cap` bytes.
    pub fn new(cap: u64) -> Arc<Self> {
        Arc::new(Self {
            cap,
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
        })
    }

    /// Takes `bytes` until the charge is dropped, or says that they are too many.
    pub fn charge(self: &Arc<Self>, bytes: u64) -> Result<Charge, GuestFault> {
        let grown = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.cap);
        match self
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, grown)
        {
            Ok(before) => {
                self.peak
                    .fetch_max(before.saturating_add(bytes), Ordering::AcqRel);
                Ok(Charge {
                    budget: Arc::clone(self),
                    bytes,
                })
            }
            Err(used) => Err(GuestFault::too_large(
                "tensor memory in bytes",
                used.saturating_add(bytes),
                self.cap,
            )),
        }
    }

    /// Bytes held now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// The most bytes ever held at once.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Acquire)
    }
}

/// Bytes taken from a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// What one instance has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NnMeters {
    /// Time its runs held a session, in microseconds, cancelled runs included.
    pub device_us: u64,
    /// Runs that were started.
    pub computes: u64,
    /// Bytes copied between guest memory and tensors, both ways.
    pub host_bytes: u64,
    /// The most bytes of host memory its tensors held at once.
    pub peak_host_bytes: u64,
    /// Tokens chosen for it by `argmax` or `sample`.
    pub tokens: u64,
}

/// The counters behind [`NnMeters`], shared with the threads that own the sessions.
#[derive(Debug, Default)]
pub(crate) struct MeterCells {
    device_us: AtomicU64,
    computes: AtomicU64,
    host_bytes: AtomicU64,
    tokens: AtomicU64,
}

impl MeterCells {
    pub(crate) fn add_device_time(&self, held: Duration) {
        let micros = u64::try_from(held.as_micros()).unwrap_or(u64::MAX);
        self.device_us.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn add_run(&self, held: Duration) {
        self.add_device_time(held);
        self.computes.fetch_add(1, Ordering::Relaxed);
    }

    /// Device time so far, in whole milliseconds.
    pub(crate) fn device_ms(&self) -> u64 {
        self.device_us.load(Ordering::Relaxed) / 1000
    }

    pub(crate) fn add_copied(&self, bytes: usize) {
        self.host_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_tokens(&self, tokens: usize) {
        self.tokens.fetch_add(tokens as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, budget: &Budget) -> NnMeters {
        NnMeters {
            device_us: self.device_us.load(Ordering::Relaxed),
            computes: self.computes.load(Ordering::Relaxed),
            host_bytes: self.host_bytes.load(Ordering::Relaxed),
            peak_host_bytes: budget.peak(),
            tokens: self.tokens.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_is_given_back_and_the_peak_stays() {
        let budget = Budget::new(10);
        let first = budget.charge(6).unwrap();
        assert!(budget.charge(5).is_err());
        assert!(budget.charge(u64::MAX).is_err());
        let second = budget.charge(4).unwrap();
        assert_eq!(budget.used(), 10);
        drop(first);
        drop(second);
        assert_eq!((budget.used(), budget.peak()), (0, 10));
    }
}
