//! The IKE header: RFC 7296 section 3.1.
//!
//! ```text
//!                      1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |                    initiator's SPI (8)                        |
//! |                    responder's SPI (8)                        |
//! | next payload  | major | minor | exchange type |     flags     |
//! |                       message ID                              |
//! |                         length                                |
//! ```

use std::fmt;

use super::malformed::{TooLong, count};
use super::{ExchangeType, Expected, Malformed, PayloadType};
use crate::Reader;

/// Bytes of the header.
pub const HEADER_LEN: usize = 28;

const PART: &str = "IKE header";
const INITIATOR: u8 = 0x08;
const VERSION: u8 = 0x10;
const RESPONSE: u8 = 0x20;

/// What every IKE message begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Chosen by the original initiator; never 0 in a proper message.
    pub initiator_spi: u64,
    /// Chosen by the original responder; 0 until it has answered.
    pub responder_spi: u64,
    /// What follows the header. Writers put in what really follows.
    pub next_payload: PayloadType,
    /// The protocol's version. Our own messages say 2.0.
    pub version: Version,
    /// Which exchange the message belongs to.
    pub exchange: ExchangeType,
    /// Who sends, and whether it answers.
    pub flags: Flags,
    /// Pairs requests with responses and tells retransmissions.
    pub message_id: u32,
    /// Bytes of the whole message, header included. Writers put in the true length.
    pub length: u32,
}

/// A version of the protocol, four bits each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 1 for IKEv1 and ISAKMP, 2 for IKEv2.
    pub major: u8,
    /// To be ignored on receipt (RFC 7296 section 3.1).
    pub minor: u8,
}

impl Version {
    /// IKEv2.
    pub const V2: Self = Self { major: 2, minor: 0 };
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The three flags of IKEv2; reserved bits are ignored on receipt and sent as zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The sender is the original initiator of the IKE SA.
    pub initiator: bool,
    /// The message answers a request with the same message ID.
    pub response: bool,
    /// The sender could speak a higher major version.
    pub version: bool,
}

impl Flags {
    fn from_bits(bits: u8) -> Self {
        Self { initiator: bits & INITIATOR != 0, response: bits & RESPONSE != 0, version: bits & VERSION != 0 }
    }

    fn bits(self) -> u8 {
        let bit = |set: bool, mask: u8| if set { mask } else { 0 };
        bit(self.initiator, INITIATOR) | bit(self.response, RESPONSE) | bit(self.version, VERSION)
    }
}

impl Header {
    /// A header of version 2.0 for a message of ours; its length and next payload are filled in when it is written.
    pub const fn new(
        initiator_spi: u64,
        responder_spi: u64,
        exchange: ExchangeType,
        flags: Flags,
        message_id: u32,
    ) -> Self {
        Self {
            initiator_spi,
            responder_spi,
            next_payload: PayloadType::NONE,
            version: Version::V2,
            exchange,
            flags,
            message_id,
            length: 0,
        }
    }

    /// Reads the header of a whole datagram (without the non-ESP marker of port 4500), of any version.
    ///
    /// # Errors
    ///
    /// When the datagram is shorter than a header, or its length is not what the header says: a datagram that was cut
    /// or has something behind its end is nothing to act upon.
    pub fn parse(datagram: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(datagram);
        let header = Self::read(&mut reader).map_err(|_| Malformed {
            part: PART,
            what: "datagram length",
            found: count(datagram.len()),
            expected: Expected::AtLeast(count(HEADER_LEN)),
        })?;
        if u64::from(header.length) != count(datagram.len()) {
            return Err(Malformed {
                part: PART,
                what: "length field",
                found: header.length.into(),
                expected: Expected::Exactly(count(datagram.len())),
            });
        }
        Ok(header)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, crate::Short> {
        let (initiator_spi, responder_spi) = (reader.u64()?, reader.u64()?);
        let next_payload = PayloadType(reader.u8()?);
        let version = reader.u8()?;
        Ok(Self {
            initiator_spi,
            responder_spi,
            next_payload,
            version: Version { major: version >> 4, minor: version & 0x0f },
            exchange: ExchangeType(reader.u8()?),
            flags: Flags::from_bits(reader.u8()?),
            message_id: reader.u32()?,
            length: reader.u32()?,
        })
    }

    /// Appends the header of a message that is `length` bytes in all and continues with `next_payload`.
    pub(super) fn write(&self, next_payload: PayloadType, length: usize, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let length = u32::try_from(length).map_err(|_| TooLong { what: "IKE message", length, limit: 0xffff_ffff })?;
        out.extend_from_slice(&self.initiator_spi.to_be_bytes());
        out.extend_from_slice(&self.responder_spi.to_be_bytes());
        let version = (self.version.major << 4) | (self.version.minor & 0x0f);
        out.extend_from_slice(&[next_payload.0, version, self.exchange.0, self.flags.bits()]);
        out.extend_from_slice(&self.message_id.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<u8> {
        let flags = Flags { initiator: true, ..Flags::default() };
        let mut out = Vec::new();
        Header::new(1, 2, ExchangeType::IKE_AUTH, flags, 7).write(PayloadType::SK, HEADER_LEN, &mut out).unwrap();
        out
    }

    #[test]
    fn the_length_field_must_be_the_datagrams_length() {
        let mut datagram = bytes();
        assert_eq!(Header::parse(&datagram).unwrap().message_id, 7);
        datagram.push(0);
        let error = Header::parse(&datagram).unwrap_err();
        assert_eq!(error.to_string(), "IKE header: length field is 28, expected exactly 29");
        let error = Header::parse(&datagram[..27]).unwrap_err();
        assert_eq!(error.to_string(), "IKE header: datagram length is 27, expected at least 28");
    }

    #[test]
    fn reserved_flags_are_ignored_and_sent_as_zero() {
        let mut datagram = bytes();
        datagram[19] |= 0xc7;
        let header = Header::parse(&datagram).unwrap();
        assert_eq!(header.flags, Flags { initiator: true, response: false, version: false });
        let mut written = Vec::new();
        header.write(header.next_payload, HEADER_LEN, &mut written).unwrap();
        assert_eq!(written, bytes());
    }
}
