//! The driver with a real network on loopback, a real store on disk and real HTTP; the providers are
//! scripted.

mod provider;
mod rig;

mod cheats;
mod life;
mod limits;
mod log;
mod refusals;
mod restart;
mod storage;
