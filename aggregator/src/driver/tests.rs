//! The driver with a real network on loopback, a real store on disk and real HTTP; the providers are
//! scripted.

mod provider;
mod rig;

mod cheats;
mod collect;
mod events;
mod games;
mod inquiries;
mod life;
mod limits;
mod liquidations;
mod log;
mod openings;
mod operator;
mod orders;
mod peers;
mod refusals;
mod restart;
mod signing;
mod storage;
mod trouble;
mod uploads;
