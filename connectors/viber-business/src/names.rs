//! The names that this connector gives to messages.

use std::fmt;

/// How a message of ours is called at Infobip: by the host's id, and the number of the attempt after the first one.
pub struct MessageName {
    pub id: String,
    pub attempt: u32,
}

/// No id of the host has it.
const ATTEMPT_MARK: char = '~';

impl MessageName {
    /// The host's id in a name that Infobip tells.
    pub fn id_of(name: &str) -> &str {
        name.split(ATTEMPT_MARK).next().unwrap_or(name)
    }
}

impl fmt::Display for MessageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempt {
            0 => f.write_str(&self.id),
            attempt => write!(f, "{}{ATTEMPT_MARK}{attempt}", self.id),
        }
    }
}
