//! Tokens in public addresses: numbers, a moment until which they hold, and a seal over both.
//!
//! Whoever has an address may use it, so it is as good as a password: it cannot be guessed, it ends, and it is good for
//! one kind of address alone, since each kind has a key of its own.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use mantle_model::clock::{Clock, Time};
use sha2::Sha256;

/// One number.
const NUMBER_BYTES: usize = 8;
/// Of the HMAC: 128 bits cannot be guessed, and addresses stay short.
const SEAL_BYTES: usize = 16;

/// Makes and reads the tokens of one kind of address.
#[derive(Clone)]
pub struct Tokens {
    key: [u8; 32],
    clock: Arc<dyn Clock>,
}

/// An address that is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkError {
    Forged,
    Expired,
}

impl Tokens {
    pub fn new(key: [u8; 32], clock: Arc<dyn Clock>) -> Self {
        Self { key, clock }
    }

    #[must_use]
    pub fn make<const N: usize>(&self, numbers: [i64; N], life: Duration) -> String {
        let until = self.clock.now().after(life).unix_ms();
        let mut token = Vec::with_capacity((N + 1) * NUMBER_BYTES + SEAL_BYTES);
        for number in numbers.into_iter().chain([until]) {
            token.extend_from_slice(&number.to_be_bytes());
        }
        let seal = self.mac(&token).finalize().into_bytes();
        token.extend_from_slice(&seal[..SEAL_BYTES]);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// # Errors
    /// The token was not made here for so many numbers, or its time is over.
    pub fn read<const N: usize>(&self, token: &str) -> Result<[i64; N], LinkError> {
        let token = URL_SAFE_NO_PAD.decode(token).map_err(|_| LinkError::Forged)?;
        let claim = token.split_at_checked((N + 1) * NUMBER_BYTES);
        let (claim, seal) = claim.ok_or(LinkError::Forged)?;
        if seal.len() != SEAL_BYTES {
            return Err(LinkError::Forged);
        }
        self.mac(claim)
            .verify_truncated_left(seal)
            .map_err(|_| LinkError::Forged)?;
        let mut numbers = claim.chunks_exact(NUMBER_BYTES).map(|bytes| {
            let bytes = bytes.try_into().map_err(|_| LinkError::Forged)?;
            Ok(i64::from_be_bytes(bytes))
        });
        let mut told = [0; N];
        for number in &mut told {
            *number = numbers.next().ok_or(LinkError::Forged)??;
        }
        let until = numbers.next().ok_or(LinkError::Forged)??;
        if Time::from_unix_ms(until) <= self.clock.now() {
            return Err(LinkError::Expired);
        }
        Ok(told)
    }

    fn mac(&self, claim: &[u8]) -> Hmac<Sha256> {
        // HMAC pads a key to the block of its hash with zeros; done here, the length is right by type.
        let mut block = [0; 64];
        block[..self.key.len()].copy_from_slice(&self.key);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(claim);
        mac
    }
}

#[cfg(test)]
mod tests {
    use mantle_model::clock::ManualClock;

    use super::*;

    const LIFE: Duration = Duration::from_secs(60);

    fn tokens(key: u8, clock: &ManualClock) -> Tokens {
        Tokens::new([key; 32], Arc::new(clock.clone()))
    }

    #[test]
    fn a_token_is_good_for_its_time_its_numbers_and_its_kind_alone() {
        let clock = ManualClock::at(Time::from_unix_seconds(1_795_000_000));
        let ours = tokens(7, &clock);
        let token = ours.make([42, -1], LIFE);
        assert_eq!(ours.read(&token), Ok([42, -1]));
        assert_eq!(ours.read::<1>(&token), Err(LinkError::Forged), "of another shape");
        assert_eq!(
            tokens(8, &clock).read::<2>(&token),
            Err(LinkError::Forged),
            "of another kind"
        );
        for place in 0..token.len() {
            let mut forged: Vec<u8> = token.bytes().collect();
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(ours.read::<2>(&forged), Err(LinkError::Forged), "changed at {place}");
        }
        for bad in ["", "A", "%", &token[..token.len() - 2], &format!("{token}AA")] {
            assert_eq!(ours.read::<2>(bad), Err(LinkError::Forged), "{bad}");
        }
        clock.advance(LIFE - Duration::from_millis(1));
        assert_eq!(ours.read(&token), Ok([42, -1]));
        clock.advance(Duration::from_millis(1));
        assert_eq!(ours.read::<2>(&token), Err(LinkError::Expired));
    }
}
