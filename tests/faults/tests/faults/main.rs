//! The fault matrix, by id: the real host as a process that is killed, starved and lied to, in the stand-in world, on a
//! real SQLite file or several of them on a real PostgreSQL server. After every row the invariants of [`promises`] are
//! checked.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod customers;
mod disk;
mod link;
mod process;
mod promises;
mod proxy;
mod room;
mod setup;
mod stage;
mod street;
mod tls;

mod answers;
mod clocks;
mod compiling;
mod crash;
mod inbox;
mod leases;
mod notices;
mod random;
mod releases;
mod roads;
mod rotation;
mod server;
mod soak;
mod standby;
mod stopping;
mod storage;
