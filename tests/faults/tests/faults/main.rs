//! The fault matrix, by id: the real host as a process that is killed, starved and lied to, in the stand-in world, on a
//! real SQLite file. After every row the invariants of [`promises`] are checked.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod disk;
mod process;
mod promises;
mod proxy;
mod room;
mod stage;
mod tls;

mod answers;
mod crash;
mod inbox;
mod random;
mod roads;
mod storage;
