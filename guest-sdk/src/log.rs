//! Lines for the job's owner: `log::info!("{} items", n)`. They cost fuel and count against the job's log limit, and
//! are never part of an output.

use std::fmt;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the job's author.
    Debug,
    /// For the job's owner.
    Info,
    /// Something that may explain an odd answer.
    Warn,
    /// Something that explains a missing one.
    Error,
}

/// Writes a line. The macros [`debug!`](crate::log::debug), [`info!`](crate::log::info),
/// [`warn!`](crate::log::warn) and [`error!`](crate::log::error) format one first.
pub fn write(level: Level, message: &str) {
    write_to_host(level, message);
}

#[doc(hidden)]
pub fn write_fmt(level: Level, message: fmt::Arguments<'_>) {
    match message.as_str() {
        Some(plain) => write(level, plain),
        None => write(level, &message.to_string()),
    }
}

#[cfg(target_arch = "wasm32")]
fn write_to_host(level: Level, message: &str) {
    use crate::bindings::assay::job::log;

    let level = match level {
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    };
    log::log(level, message);
}

#[cfg(not(target_arch = "wasm32"))]
fn write_to_host(level: Level, message: &str) {
    eprintln!("{level:?}: {message}");
}

/// A line for the job's author.
#[doc(hidden)]
#[macro_export]
macro_rules! __debug {
    ($($line:tt)*) => { $crate::log::write_fmt($crate::log::Level::Debug, ::std::format_args!($($line)*)) };
}

/// A line for the job's owner.
#[doc(hidden)]
#[macro_export]
macro_rules! __info {
    ($($line:tt)*) => { $crate::log::write_fmt($crate::log::Level::Info, ::std::format_args!($($line)*)) };
}

/// A line that may explain an odd answer.
#[doc(hidden)]
#[macro_export]
macro_rules! __warn {
    ($($line:tt)*) => { $crate::log::write_fmt($crate::log::Level::Warn, ::std::format_args!($($line)*)) };
}

/// A line that explains a missing answer.
#[doc(hidden)]
#[macro_export]
macro_rules! __error {
    ($($line:tt)*) => { $crate::log::write_fmt($crate::log::Level::Error, ::std::format_args!($($line)*)) };
}

#[doc(inline)]
pub use crate::{__debug as debug, __error as error, __info as info, __warn as warn};
