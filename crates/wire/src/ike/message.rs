//! Whole messages, and what a datagram on an IKE port may be.

use super::malformed::TooLong;
use super::{Envelope, Expected, HEADER_LEN, Header, Malformed, Payload, PayloadType, parse_payloads, write_payloads};

/// A message whose payloads can be read: one sent in the clear, or one that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its header.
    pub header: Header,
    /// Its payloads, in order.
    pub payloads: Vec<Payload>,
}

/// What arrived on an IKE port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// IKEv2 without protection. Everything in it may be forged.
    Clear(Message),
    /// IKEv2 under the keys of an IKE SA.
    Protected(Envelope<'a>),
    /// IKEv1; nothing behind the header was looked at.
    Version1(Header),
    /// A major version above 2, to be answered with INVALID_MAJOR_VERSION (RFC 7296 section 2.5); nothing behind the
    /// header was looked at.
    Newer(Header),
}

impl<'a> Datagram<'a> {
    /// Reads a datagram, without the non-ESP marker of port 4500.
    ///
    /// # Errors
    ///
    /// When it is no message of any version, or a malformed one of version 2.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let header = Header::parse(datagram)?;
        Ok(match (header.version.major, header.next_payload) {
            (2, PayloadType::SK | PayloadType::SKF) => Self::Protected(Envelope::parse(header, datagram)?),
            (2, _) => Self::Clear(parse_clear(header, datagram)?),
            (1, _) => Self::Version1(header),
            (3.., _) => Self::Newer(header),
            (0, _) => return Err(wrong_version(header)),
        })
    }
}

/// Reads a clear message of IKEv2.
///
/// # Errors
///
/// When it is malformed, protected, or of another major version.
pub fn parse_message(datagram: &[u8]) -> Result<Message, Malformed> {
    let header = Header::parse(datagram)?;
    if header.version.major == 2 { parse_clear(header, datagram) } else { Err(wrong_version(header)) }
}

fn parse_clear(header: Header, datagram: &[u8]) -> Result<Message, Malformed> {
    let chain = datagram.get(HEADER_LEN..).unwrap_or_default();
    Ok(Message { payloads: parse_payloads(header.next_payload, chain)?, header })
}

fn wrong_version(header: Header) -> Malformed {
    let found = header.version.major.into();
    Malformed { part: "IKE header", what: "major version", found, expected: Expected::Words("2 (IKEv2)") }
}

impl Message {
    /// The bytes of a clear message. Length and next payload of the header are put right on the way.
    ///
    /// # Errors
    ///
    /// When a payload, or something in it, is longer than its length field can say.
    pub fn write(&self) -> Result<Vec<u8>, TooLong> {
        let (first, chain) = write_payloads(&self.payloads)?;
        let length = HEADER_LEN.saturating_add(chain.len());
        let mut out = Vec::with_capacity(length);
        self.header.write(first, length, &mut out)?;
        out.extend_from_slice(&chain);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ExchangeType, Flags};
    use super::*;

    fn empty() -> Vec<u8> {
        let header = Header::new(1, 0, ExchangeType::INFORMATIONAL, Flags::default(), 0);
        Message { header, payloads: vec![] }.write().unwrap()
    }

    #[test]
    fn other_versions_are_recognised_by_their_header_alone() {
        let of_version = |byte: u8| [&empty()[..17], &[byte], &empty()[18..]].concat();
        assert!(matches!(Datagram::parse(&of_version(0x10)), Ok(Datagram::Version1(_))));
        assert!(matches!(Datagram::parse(&of_version(0x30)), Ok(Datagram::Newer(header)) if header.version.major == 3));
        // RFC 7296 §2.5: a higher minor version is understood as ours.
        assert!(matches!(Datagram::parse(&of_version(0x21)), Ok(Datagram::Clear(_))));
        let error = Datagram::parse(&of_version(0x00)).unwrap_err();
        assert_eq!(error.to_string(), "IKE header: major version is 0, expected 2 (IKEv2)");
        assert!(parse_message(&of_version(0x30)).is_err());
    }

    #[test]
    fn bytes_behind_the_last_payload_are_refused() {
        let mut datagram = empty();
        datagram.push(0);
        datagram[27] += 1;
        let error = Datagram::parse(&datagram).unwrap_err();
        assert_eq!(error.to_string(), "payload chain: bytes behind its end is 1, expected exactly 0");
    }
}
