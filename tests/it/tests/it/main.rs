//! The acceptance criteria, by id, through the front door.

mod attachments;
mod backlog;
mod browser;
mod channels;
mod contacts;
mod contracts;
mod doubts;
mod gaps;
mod inbound;
mod logs;
mod making;
mod operations;
mod outages;
mod pace;
mod postgres;
mod replies;
mod round_trip;
mod sandboxed;
mod set_up;
mod threads;
mod versions;
mod voices;
mod windows;
