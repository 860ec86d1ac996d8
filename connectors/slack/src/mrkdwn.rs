//! The way Slack writes text: three escaped letters, references in angle brackets, marks around styled words.

mod read;
mod write;

pub use read::read;
pub use write::{escaped, write};
