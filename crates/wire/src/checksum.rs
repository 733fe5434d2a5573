//! The Internet checksum (RFC 1071) and its update when a few bytes change (RFC 1624).

use std::net::IpAddr;

/// A running sum of 16-bit words, not yet folded. Pieces must have even lengths, except the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const fn new() -> Self {
        Self(0)
    }

    /// With all bytes of `bytes`; an odd last byte counts as if a zero followed.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        // In the byte order of the machine, which changes the bytes of the sum and nothing else (RFC 1071 section 2 B), and
        // in lanes that do not wait for each other: the compiler makes vectors of them. Half words in 64 bits do not
        // overflow before 2^32 of them, and no packet is that long.
        let mut lanes = [(0u64, 0u64); 4];
        let (blocks, rest) = bytes.as_chunks::<32>();
        for block in blocks {
            for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
                let word = u64::from_ne_bytes(*word);
                *lane = (lane.0.wrapping_add(word & 0xffff_ffff), lane.1.wrapping_add(word >> 32));
            }
        }
        let mut sum = lanes.iter().fold(0, |sum, lane| lane.0.wrapping_add(lane.1).wrapping_add(sum));
        let (words, rest) = rest.as_chunks::<4>();
        for word in words {
            sum = u64::from(u32::from_ne_bytes(*word)).wrapping_add(sum);
        }
        let (pairs, last) = rest.as_chunks::<2>();
        for pair in pairs {
            sum = u64::from(u16::from_ne_bytes(*pair)).wrapping_add(sum);
        }
        if let [byte] = last {
            sum = u64::from(u16::from_ne_bytes([*byte, 0])).wrapping_add(sum);
        }
        // Sums of 32-bit words fold like those of 16-bit words: 2^16 is 1 modulo 2^16 - 1.
        Self(self.0 + u64::from(u16::from_be_bytes(fold(sum).to_ne_bytes())))
    }

    /// With what another sum has covered, which begins at an even place.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// With one more 16-bit word.
    #[must_use]
    pub const fn with_u16(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// With the pseudo header of TCP, UDP and ICMPv6 (RFC 9293 section 3.1, RFC 8200 section 8.1).
    #[must_use]
    pub fn with_pseudo_header(self, source: IpAddr, destination: IpAddr, protocol: u8, len: u32) -> Self {
        let sum = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.with(&source.octets()).with(&destination.octets()),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.with(&source.octets()).with(&destination.octets()),
            // No packet has one address of each family; the sum of such a one is as good as any.
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => self,
        };
        sum.with(&len.to_be_bytes()).with_u16(u16::from(protocol))
    }

    /// The folded sum itself: what stands in the field of a checksum that somebody else is to complete.
    pub fn partial(self) -> u16 {
        fold(self.0)
    }

    /// The checksum: the folded sum, inverted.
    pub fn checksum(self) -> u16 {
        !fold(self.0)
    }
}

/// The checksum of `bytes`. Zero when they contain their own, correct checksum.
pub fn of(bytes: &[u8]) -> u16 {
    Sum::new().with(bytes).checksum()
}

/// The checksum after one 16-bit word has changed from `old` to `new` (RFC 1624 equation 3).
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(u64::from(!checksum) + u64::from(!old) + u64::from(new))
}

#[inline]
pub(crate) fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 section 3, the numerical example.
    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    /// RFC 1624 section 4: the case where the first update formula went wrong.
    #[test]
    fn the_example_of_rfc_1624() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    fn slow(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    proptest! {
        #[test]
        fn the_fast_sum_is_the_plain_one(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(of(&bytes), slow(&bytes));
        }

        #[test]
        fn an_update_is_what_a_new_sum_gives(mut bytes in proptest::collection::vec(any::<u8>(), 20..60), at in 0usize..9, new: u16) {
            bytes[18] = 0x11; // never all zero: 0x0000 and 0xffff are the same number, but not the same bits
            let before = of(&bytes);
            let old = u16::from_be_bytes([bytes[2 * at], bytes[2 * at + 1]]);
            bytes[2 * at..2 * at + 2].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update(before, old, new), of(&bytes));
        }
    }
}
