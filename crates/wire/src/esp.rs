//! ESP packets (RFC 4303 section 2), without their keys.
//!
//! ```text
//!  0 SPI   4 sequence number   8 IV, text, padding 1 2 3 .., pad length, next header | ICV
//! ```

use crate::octets;

/// Length of SPI and sequence number.
pub const HEADER: usize = 8;
/// Length of pad length and next header.
pub const TRAILER: usize = 2;
/// The text, trailer included, ends at a multiple of this, whatever the cipher wants (RFC 4303 section 2.4).
pub const ALIGNMENT: usize = 4;
/// SPIs up to this one are reserved (RFC 4303 section 2.1).
pub const SPI_RESERVED_MAX: u32 = 255;

/// SPI and sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which SA.
    pub spi: u32,
    /// The lower half of the sequence number.
    pub sequence: u32,
}

impl Header {
    /// Reads the header; `None` when the packet is shorter.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        Some(Self { spi: octets::u32(packet, 0)?, sequence: octets::u32(packet, 4)? })
    }

    /// The header's bytes.
    pub fn bytes(&self) -> [u8; HEADER] {
        let [a, b, c, d] = self.spi.to_be_bytes();
        let [e, f, g, h] = self.sequence.to_be_bytes();
        [a, b, c, d, e, f, g, h]
    }
}

/// Length of the padding behind a text of `len` bytes for a cipher with blocks of `block_len`.
pub fn padding(len: usize, block_len: usize) -> usize {
    let unit = block_len.max(ALIGNMENT);
    (len + TRAILER).next_multiple_of(unit) - (len + TRAILER)
}

/// Writes padding and trailer into `end`, the bytes behind the text: padding of 1, 2, 3 .., its length, next header.
pub fn write_trailer(end: &mut [u8], next_header: u8) {
    let Some(padding) = end.len().checked_sub(TRAILER) else { return };
    let (filler, trailer) = end.split_at_mut(padding);
    for (byte, value) in filler.iter_mut().zip(1..=u8::MAX) {
        *byte = value;
    }
    octets::put(trailer, 0, [u8::try_from(padding).unwrap_or(0), next_header]);
}

/// Takes padding and trailer apart: the length of the text before them, and the next header. `None` when the padding is
/// not 1, 2, 3 .. as RFC 4303 section 2.4 has it, or longer than the text.
pub fn read_trailer(text: &[u8]) -> Option<(usize, u8)> {
    let (before, [padding, next_header]) = text.split_last_chunk::<TRAILER>()?;
    let len = before.len().checked_sub(usize::from(*padding))?;
    let filler = before.get(len..)?;
    filler.iter().zip(1..=u8::MAX).all(|(byte, value)| *byte == value).then_some((len, *next_header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_fills_the_block_and_comes_off_again() {
        for block in [1, 4, 8, 16] {
            for len in 0..70 {
                let padding = padding(len, block);
                let mut text = vec![0xaa; len + padding + TRAILER];
                assert_eq!(text.len() % block.max(ALIGNMENT), 0);
                assert!(padding < block.max(ALIGNMENT));
                write_trailer(&mut text[len..], 4);
                assert_eq!(read_trailer(&text), Some((len, 4)));
            }
        }
    }

    #[test]
    fn padding_up_to_255_bytes_is_read() {
        let mut text = vec![0; 257];
        write_trailer(&mut text, 41);
        assert_eq!(read_trailer(&text), Some((0, 41)));
    }

    #[test]
    fn wrong_padding_is_refused() {
        assert_eq!(read_trailer(&[]), None);
        assert_eq!(read_trailer(&[4]), None);
        assert_eq!(read_trailer(&[0, 4]), Some((0, 4)));
        assert_eq!(read_trailer(&[1, 4]), None);
        assert_eq!(read_trailer(&[1, 2, 2, 4]), Some((0, 4)));
        assert_eq!(read_trailer(&[1, 3, 2, 4]), None);
        assert_eq!(read_trailer(&[2, 3, 2, 4]), None);
    }
}
