//! Ids: a prefix that tells what it names, and 64 bits that sort by time.
//!
//! All are made by [`IdSource`] on this host and unique in one database; all are stored as integers and
//! shown as `chn_0k2p9…`. Ids of providers and inboxes are plain strings and stay opaque.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Time;

/// Crockford's base 32: no I, L, O, U, so that an id can be read aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters of an encoded id: 13 × 5 bits hold 64.
const ENCODED_CHARS: usize = 13;

/// The text is not an id of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not an id of the form `{prefix}…`")]
pub struct IdError {
    given: String,
    prefix: &'static str,
}

fn encode(value: i64) -> String {
    let bits = value.cast_unsigned();
    (0..ENCODED_CHARS)
        .rev()
        .map(|place| ALPHABET[(bits >> (place * 5) & 31) as usize] as char)
        .collect()
}

fn decode(text: &str) -> Option<i64> {
    if text.len() != ENCODED_CHARS {
        return None;
    }
    let mut bits: u64 = 0;
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|known| *known == byte)? as u64;
        bits = bits.checked_mul(32)?.checked_add(digit)?;
    }
    Some(bits.cast_signed())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, encode(self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix)
                    .and_then(decode)
                    .map(Self)
                    .ok_or_else(|| IdError { given: text.chars().take(64).collect(), prefix: $prefix })
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A customer of this host.
    AccountId, "acc_"
);
id!(
    /// One connected Intercom workspace or HubSpot portal.
    WorkspaceId, "wsp_"
);
id!(
    /// One bot, number or page of a workspace. Stands in the hook address that providers call.
    ChannelId, "chn_"
);
id!(
    /// One sender on one channel, with all its aliases.
    IdentityId, "idn_"
);
id!(
    /// One raw hook as it was received.
    ReceiptId, "rcp_"
);
id!(
    /// One ordered queue: one identity and one direction, or a chore.
    LaneId, "lan_"
);
id!(
    /// One file in the host's keeping.
    MediaId, "med_"
);

/// One message in one direction: its lane and its place there.
///
/// Made when the event is stored, shown as `msg_<lane>_<seq>`, unique in one database.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    pub lane: LaneId,
    /// Place in the lane, from 1.
    pub seq: i64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "msg_{}_{}", encode(self.lane.0), self.seq)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MessageId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let parse = || {
            let (lane, seq) = text.strip_prefix("msg_")?.split_once('_')?;
            let seq = seq.parse().ok().filter(|seq| *seq > 0)?;
            Some(Self {
                lane: LaneId(decode(lane)?),
                seq,
            })
        };
        parse().ok_or_else(|| IdError {
            given: text.chars().take(64).collect(),
            prefix: "msg_",
        })
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Makes ids: milliseconds in the upper 43 bits, then the number of the host (8 bits), then a count (12 bits) that
/// starts at random in each process. Ids of one host rise; ids of hosts with numbers of their own do not meet.
#[derive(Debug)]
pub struct IdSource {
    /// Milliseconds and count of the last id.
    last: AtomicI64,
    salt: i64,
    host: AtomicI64,
}

const HOST_BITS: u32 = 8;
const COUNT_BITS: u32 = 12;
/// The count starts in the lower half, so that at least 2048 ids fit into a millisecond; more borrow from the next.
const SALT_BITS: u32 = 11;

impl IdSource {
    /// With a host number at random, which is enough where there is one host.
    ///
    /// # Errors
    /// The operating system gives no random numbers.
    pub fn new() -> Result<Self, getrandom::Error> {
        Ok(Self::salted(getrandom::u32()?))
    }

    /// A source whose ids are known beforehand: for simulations, where each host needs a salt of its own. The lowest
    /// bits choose the number of the host.
    #[must_use]
    pub fn salted(salt: u32) -> Self {
        let salt = i64::from(salt);
        Self {
            last: AtomicI64::new(0),
            salt: (salt >> HOST_BITS) & ((1 << SALT_BITS) - 1),
            host: AtomicI64::new(salt & ((1 << HOST_BITS) - 1)),
        }
    }

    /// From now on as the host of this number, which nobody else has.
    pub fn number_host(&self, number: u8) {
        self.host.store(i64::from(number), Ordering::Relaxed);
    }

    /// The next id, higher than all before it.
    pub fn next(&self, now: Time) -> i64 {
        let candidate = (now.unix_ms().max(0) << COUNT_BITS) | self.salt;
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            let next = candidate.max(last + 1);
            match self
                .last
                .compare_exchange_weak(last, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return self.id(next),
                Err(seen) => last = seen,
            }
        }
    }

    fn id(&self, place: i64) -> i64 {
        let (ms, count) = (place >> COUNT_BITS, place & ((1 << COUNT_BITS) - 1));
        (((ms << HOST_BITS) | self.host.load(Ordering::Relaxed)) << COUNT_BITS) | count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_text_and_refuse_other_kinds() {
        for value in [0, 1, 31, 32, i64::MAX, 1_795_000_000_000 << 20] {
            let id = ChannelId(value);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        let message = MessageId {
            lane: LaneId(77),
            seq: 3,
        };
        assert_eq!(message.to_string().parse(), Ok(message));
        for bad in [
            "",
            "chn_",
            "wsp_0000000000001",
            "chn_00000000000o1",
            "chn_zzzzzzzzzzzzz0",
            "msg_0000000000001_0",
        ] {
            assert!(bad.parse::<ChannelId>().is_err(), "{bad}");
            assert!(bad.parse::<MessageId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_rise_even_when_the_clock_does_not() -> Result<(), getrandom::Error> {
        let source = IdSource::new()?;
        let now = Time::from_unix_ms(1_795_000_000_000);
        let (first, second) = (source.next(now), source.next(now));
        assert!(second > first);
        assert!(source.next(Time::from_unix_ms(0)) > second);
        Ok(())
    }

    #[test]
    fn ids_of_two_hosts_do_not_meet_however_many_are_made() -> Result<(), getrandom::Error> {
        let now = Time::from_unix_ms(1_795_000_000_000);
        let mut seen = std::collections::HashSet::new();
        for number in [0, 1, 255] {
            let source = IdSource::new()?;
            source.number_host(number);
            let mut last = 0;
            // More than fit into one millisecond.
            for _ in 0..10_000 {
                let id = source.next(now);
                assert!(id > last && seen.insert(id));
                last = id;
            }
        }
        Ok(())
    }
}
