//! Every limit of the room, with its unit and its reason.

use std::time::Duration;

/// The largest component that is taken, in bytes: a Rust connector has 150 KiB, one with an embedded Python 18 MiB. The
/// sandbox loads none that is larger.
pub const COMPONENT_BYTES_MAX: u64 = 48 << 20;
/// A manifest of an image with one layer has 1 KiB; registries themselves take at most 4 MiB.
pub(crate) const MANIFEST_BYTES_MAX: usize = 256 << 10;
/// A token of a registry has some KiB.
pub(crate) const TOKEN_BYTES_MAX: usize = 64 << 10;
/// A signature is 88 characters and a line end.
pub(crate) const SIGNATURE_BYTES_MAX: usize = 1 << 10;
/// A key is three lines of text.
pub(crate) const KEY_BYTES_MAX: u64 = 8 << 10;
/// A lock has half a page for each plugin.
pub(crate) const LOCK_BYTES_MAX: u64 = 4 << 20;
/// Keys of `[trust]`: each is tried on every signature.
pub const KEYS_MAX: usize = 32;
/// A registry leads to its storage, which may lead on to a mirror.
pub(crate) const REDIRECTS_MAX: u8 = 5;

/// What a fetch may cost. Tests take less.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub component_bytes: u64,
    /// For each small answer: a token, a manifest, a signature.
    pub answer_time: Duration,
    /// For the component, from the call to its last byte: 48 MiB at 160 KiB/s.
    pub component_time: Duration,
    /// A download that brings nothing for so long is given up: a registry that stalls must not hold the others up.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            component_bytes: COMPONENT_BYTES_MAX,
            answer_time: Duration::from_secs(30),
            component_time: Duration::from_secs(300),
            silence: Duration::from_secs(20),
        }
    }
}
