//! Encrypted payloads, whole (SK) and in fragments (SKF): RFC 7296 section 3.14, RFC 7383 section 2.5.
//!
//! ```text
//! | IKE header | generic header | [fragment number (2) | total (2)] | IV | ciphertext | ICV |
//! |<--------------- associated data of an AEAD --------------------->|<------ body ------>|
//! |<---------------- what a separate MAC covers ------------------------------->|
//! ```
//!
//! How long IV and ICV are is known only to who holds the keys; here the body is one piece.

use super::malformed::{TooLong, count};
use super::payload::{GENERIC_LEN, read_generic, write_generic};
use super::{Expected, HEADER_LEN, Header, Malformed, PayloadType};
use crate::Reader;

const SKF_FIELDS_LEN: usize = 4;

/// Whether a message is protected in one piece or in fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// SK: one piece.
    Whole,
    /// SKF: one of several, each protected on its own.
    Fragment {
        /// Which one, from 1.
        number: u16,
        /// Of how many.
        total: u16,
    },
}

impl Protection {
    const fn payload(self) -> PayloadType {
        match self {
            Self::Whole => PayloadType::SK,
            Self::Fragment { .. } => PayloadType::SKF,
        }
    }

    const fn fields_len(self) -> usize {
        match self {
            Self::Whole => 0,
            Self::Fragment { .. } => SKF_FIELDS_LEN,
        }
    }
}

/// A protected message that nobody has opened yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The message's header. Not authenticated before the body is.
    pub header: Header,
    /// In one piece or a fragment.
    pub protection: Protection,
    /// Type of the first payload inside; none in every fragment but the first.
    pub first: PayloadType,
    datagram: &'a [u8],
    aad: &'a [u8],
    body: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Bytes in front of the body: IKE header, generic header and, of a fragment, its two numbers.
    pub const fn prefix_len(protection: Protection) -> usize {
        HEADER_LEN + GENERIC_LEN + protection.fields_len()
    }

    /// Lays out everything in front of the body of a protected message whose body (IV, ciphertext and ICV) will be
    /// `body_len` bytes. The body is to be appended; there is room for it.
    ///
    /// # Errors
    ///
    /// When the body is longer than the payload's length field can say.
    pub fn prefix(
        header: &Header,
        protection: Protection,
        first: PayloadType,
        body_len: usize,
    ) -> Result<Vec<u8>, TooLong> {
        let prefix_len = Self::prefix_len(protection);
        let limit = usize::from(u16::MAX) - GENERIC_LEN - protection.fields_len();
        if body_len > limit {
            return Err(TooLong { what: "Encrypted payload", length: body_len, limit });
        }
        let mut out = Vec::with_capacity(prefix_len + body_len);
        header.write(protection.payload(), prefix_len + body_len, &mut out)?;
        write_generic(first, false, protection.fields_len() + body_len, &mut out)?;
        if let Protection::Fragment { number, total } = protection {
            out.extend_from_slice(&number.to_be_bytes());
            out.extend_from_slice(&total.to_be_bytes());
        }
        Ok(out)
    }

    /// Finds the Encrypted payload of a datagram whose header is `header`.
    pub(super) fn parse(header: Header, datagram: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(datagram);
        reader.take(HEADER_LEN).map_err(|short| Malformed::short("IKE header", short))?;
        let (first, _, mut body) = read_generic(&mut reader)?;
        if !reader.is_empty() {
            return Err(Malformed::trailing("Encrypted payload", reader.len()));
        }
        let protection = if header.next_payload == PayloadType::SKF {
            let mut fields = Reader::new(body);
            let protection = read_fragment(&mut fields)?;
            body = fields.rest();
            protection
        } else {
            Protection::Whole
        };
        let (aad, _) = datagram.split_at_checked(Self::prefix_len(protection)).unwrap_or((datagram, &[]));
        Ok(Self { header, protection, first, datagram, aad, body })
    }

    /// The whole message.
    pub const fn datagram(&self) -> &'a [u8] {
        self.datagram
    }

    /// From the first byte to the last before the body: the associated data of an AEAD (RFC 5282 section 5.1).
    pub const fn aad(&self) -> &'a [u8] {
        self.aad
    }

    /// IV, ciphertext and ICV.
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }
}

fn read_fragment(fields: &mut Reader<'_>) -> Result<Protection, Malformed> {
    const PART: &str = "SKF payload";
    let short = |short| Malformed::short(PART, short);
    let (number, total) = (fields.u16().map_err(short)?, fields.u16().map_err(short)?);
    // RFC 7383 §2.6: both numbers count from 1, and none is beyond the last.
    let (found, expected) = (number.into(), Expected::AtLeast(1));
    if number == 0 {
        Err(Malformed { part: PART, what: "fragment number", found, expected })
    } else if number > total {
        let expected = Expected::AtMost(count(total.into()));
        Err(Malformed { part: PART, what: "fragment number", found, expected })
    } else {
        Ok(Protection::Fragment { number, total })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Datagram, ExchangeType, Flags};
    use super::*;

    fn sealed(protection: Protection, body: &[u8]) -> Vec<u8> {
        let header = Header::new(1, 2, ExchangeType::IKE_AUTH, Flags::default(), 1);
        let mut out = Envelope::prefix(&header, protection, PayloadType::IDI, body.len()).unwrap();
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn the_associated_data_ends_where_the_body_begins() {
        let whole = sealed(Protection::Whole, &[1, 2, 3]);
        let Ok(Datagram::Protected(envelope)) = Datagram::parse(&whole) else { panic!() };
        assert_eq!((envelope.aad().len(), envelope.body(), envelope.first), (32, &[1, 2, 3][..], PayloadType::IDI));
        let fragment = sealed(Protection::Fragment { number: 2, total: 3 }, &[1, 2, 3]);
        let Ok(Datagram::Protected(envelope)) = Datagram::parse(&fragment) else { panic!() };
        assert_eq!((envelope.aad().len(), envelope.body()), (36, &[1, 2, 3][..]));
        assert_eq!(envelope.protection, Protection::Fragment { number: 2, total: 3 });
    }

    #[test]
    fn fragment_numbers_outside_their_range_are_refused() {
        for (number, total) in [(0, 0), (0, 1), (2, 1), (u16::MAX, 1)] {
            assert!(Datagram::parse(&sealed(Protection::Fragment { number, total }, &[0; 40])).is_err());
        }
        assert!(Datagram::parse(&sealed(Protection::Fragment { number: 1, total: 1 }, &[0; 40])).is_ok());
    }

    #[test]
    fn nothing_may_follow_an_encrypted_payload() {
        let mut datagram = sealed(Protection::Whole, &[0; 40]);
        datagram[31] -= 1;
        let error = Datagram::parse(&datagram).unwrap_err();
        assert_eq!(error.to_string(), "Encrypted payload: bytes behind its end is 1, expected exactly 0");
    }

    #[test]
    fn a_fragment_too_short_for_its_numbers_is_refused() {
        let mut datagram = sealed(Protection::Whole, &[0; 3]);
        datagram[16] = PayloadType::SKF.0;
        assert!(Datagram::parse(&datagram).is_err());
    }

    #[test]
    fn a_body_beyond_the_length_field_is_not_laid_out() {
        let header = Header::new(1, 2, ExchangeType::IKE_AUTH, Flags::default(), 1);
        let prefix = |len| Envelope::prefix(&header, Protection::Whole, PayloadType::NONE, len);
        assert!(prefix(65_531).is_ok());
        assert_eq!(prefix(65_532).unwrap_err().limit, 65_531);
    }
}
