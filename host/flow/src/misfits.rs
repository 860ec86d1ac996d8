//! Hooks that were made with another secret than the channel's: told on the channel, since a wrong app secret shows
//! nowhere else.
//!
//! Kept in memory alone: anybody may send such hooks, and nobody without the secret shall make the host write to its
//! disk. One entry a channel at most, gone with the next genuine hook. Knows nothing of verification itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use mantle_model::clock::Time;
use mantle_model::failure::Cause;
use mantle_model::ids::ChannelId;
use mantle_model::inbound::{Notice, NoticeLevel};
use mantle_sandbox::Field;

#[derive(Debug, Default)]
pub(crate) struct Misfits {
    by_channel: Mutex<HashMap<ChannelId, Misfit>>,
}

#[derive(Debug)]
struct Misfit {
    /// Name of the secret that did not fit last.
    secret: String,
    count: u64,
    last_at: Time,
}

impl Misfits {
    pub(crate) fn note(&self, channel: ChannelId, secret: String, at: Time) {
        let mut by_channel = self.by_channel.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_channel.get(&channel).map_or(0, |known| known.count);
        let misfit = Misfit {
            secret,
            count: count.saturating_add(1),
            last_at: at,
        };
        by_channel.insert(channel, misfit);
    }

    /// A genuine hook came: the secret is right.
    pub(crate) fn forget(&self, channel: ChannelId) {
        let mut by_channel = self.by_channel.lock().unwrap_or_else(PoisonError::into_inner);
        by_channel.remove(&channel);
    }

    /// One sentence with the fix, in the words of the set-up form.
    pub(crate) fn notice(&self, channel: ChannelId, fields: &[Field]) -> Option<Notice> {
        let by_channel = self.by_channel.lock().unwrap_or_else(PoisonError::into_inner);
        let misfit = by_channel.get(&channel)?;
        let (secret, at) = (&misfit.secret, misfit.last_at);
        let came = match misfit.count {
            1 => format!("A hook was refused at {at}"),
            count => format!("{count} hooks were refused, the last at {at}"),
        };
        let field = fields.iter().find(|field| field.name == *secret);
        let message = match field {
            Some(field) => format!(
                "{came}: the signature or token does not match `{secret}`. If the provider sent them, edit that field \
                 ({}); until then its messages do not arrive.",
                field.label
            ),
            None => format!(
                "{came}: the signature or token does not match the secret that this host made. If the provider sent \
                 them, connect the channel again; until then its messages do not arrive."
            ),
        };
        Some(Notice {
            level: NoticeLevel::Warning,
            cause: Cause::new("hook-misfit", message),
        })
    }
}
