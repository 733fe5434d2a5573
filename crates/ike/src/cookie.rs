//! Cookies: an initiator proves that it receives at its address before anything is kept for it (RFC 7296 section 2.6).

use std::net::{IpAddr, SocketAddr};

use base::{Duration, Instant, Random, Secret};
use crypto::Prf;

/// How long a secret makes cookies. A cookie is good for at least this long, and at most twice as long.
const SECRET_LIFETIME: Duration = Duration::from_secs(60);

/// Makes cookies and knows them again without remembering any.
#[derive(Debug)]
pub(crate) struct CookieJar {
    version: u8,
    current: Secret,
    previous: Option<Secret>,
    renew_at: Instant,
}

impl CookieJar {
    /// A jar with its first secret.
    pub(crate) fn new(random: &mut Random) -> Self {
        Self { version: 0, current: random.secret(32), previous: None, renew_at: Instant::ZERO + SECRET_LIFETIME }
    }

    /// The cookie for this initiator.
    pub(crate) fn make(
        &mut self,
        now: Instant,
        random: &mut Random,
        from: SocketAddr,
        spi: u64,
        nonce: &[u8],
    ) -> Vec<u8> {
        self.renew(now, random);
        [&[self.version], tag(&self.current, from, spi, nonce).expose()].concat()
    }

    /// True when the cookie is one of ours for this initiator, made with the current secret or the one before.
    pub(crate) fn verify(
        &mut self,
        now: Instant,
        random: &mut Random,
        from: SocketAddr,
        spi: u64,
        nonce: &[u8],
        cookie: &[u8],
    ) -> bool {
        self.renew(now, random);
        let Some((version, mac)) = cookie.split_first() else { return false };
        let secret = if *version == self.version {
            Some(&self.current)
        } else if *version == self.version.wrapping_sub(1) {
            self.previous.as_ref()
        } else {
            None
        };
        secret.is_some_and(|secret| tag(secret, from, spi, nonce).same(mac))
    }

    fn renew(&mut self, now: Instant, random: &mut Random) {
        if now < self.renew_at {
            return;
        }
        let fresh = std::mem::replace(&mut self.current, random.secret(32));
        // A jar that lay idle for a whole lifetime has handed out nothing that could come back.
        self.previous = (now < self.renew_at + SECRET_LIFETIME).then_some(fresh);
        self.version = self.version.wrapping_add(1);
        self.renew_at = now + SECRET_LIFETIME;
    }
}

fn tag(secret: &Secret, from: SocketAddr, spi: u64, nonce: &[u8]) -> Secret {
    let address = match from.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    Prf::HmacSha2_256.compute(secret.expose(), &[&address, &from.port().to_be_bytes(), &spi.to_be_bytes(), nonce])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    #[test]
    fn a_cookie_is_good_for_its_initiator_only() {
        let (mut random, from) = (Random::numbered(1), "203.0.113.1:500".parse().unwrap());
        let mut jar = CookieJar::new(&mut random);
        let cookie = jar.make(at(1), &mut random, from, 7, &[1; 32]);
        assert!(jar.verify(at(2), &mut random, from, 7, &[1; 32], &cookie));
        assert!(!jar.verify(at(2), &mut random, from, 8, &[1; 32], &cookie));
        assert!(!jar.verify(at(2), &mut random, from, 7, &[2; 32], &cookie));
        assert!(!jar.verify(at(2), &mut random, "203.0.113.2:500".parse().unwrap(), 7, &[1; 32], &cookie));
        assert!(!jar.verify(at(2), &mut random, from, 7, &[1; 32], &cookie[..9]));
        assert!(!jar.verify(at(2), &mut random, from, 7, &[1; 32], &[]));
    }

    #[test]
    fn a_secret_that_was_replaced_is_honoured_until_the_next_replacement() {
        let (mut random, from) = (Random::numbered(1), "[2001:db8::1]:500".parse().unwrap());
        let mut jar = CookieJar::new(&mut random);
        let cookie = jar.make(at(59), &mut random, from, 7, &[1; 32]);
        assert!(jar.verify(at(61), &mut random, from, 7, &[1; 32], &cookie));
        assert!(jar.verify(at(120), &mut random, from, 7, &[1; 32], &cookie));
        assert!(!jar.verify(at(122), &mut random, from, 7, &[1; 32], &cookie));
        let cookie = jar.make(at(130), &mut random, from, 7, &[1; 32]);
        assert!(!jar.verify(at(999), &mut random, from, 7, &[1; 32], &cookie));
    }
}
