//! The chain of payloads and its generic header: RFC 7296 section 3.2.
//!
//! ```text
//! | next payload  |C|  reserved   |        payload length         |
//! ```
//!
//! Each payload names the type of the next; the first type comes from what encloses the chain.

use super::malformed::{TooLong, count, fit_u16};
use super::{Auth, Delete, Expected, Id, KeyExchange, Malformed, Notify, PayloadType, Proposal, TrafficSelector};
use super::{nonce, sa, ts};
use crate::Reader;

/// Payloads that one message may have.
pub const PAYLOADS_MAX: usize = 128;

/// Bytes of the generic header.
pub(super) const GENERIC_LEN: usize = 4;

const PART: &str = "payload chain";
const CRITICAL: u8 = 0x80;

/// One payload of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// What is proposed, or the one proposal chosen.
    Sa(Vec<Proposal>),
    /// A Diffie-Hellman public value.
    Ke(KeyExchange),
    /// Who the initiator is.
    IdI(Id),
    /// Who the responder is, or who the initiator wants it to be.
    IdR(Id),
    /// The proof of an identity.
    Auth(Auth),
    /// Freshness, [`NONCE_MIN`](super::NONCE_MIN) to [`NONCE_MAX`](super::NONCE_MAX) bytes.
    Nonce(Vec<u8>),
    /// An error or a status.
    Notify(Notify),
    /// SAs that the sender has deleted.
    Delete(Delete),
    /// An implementation names itself or a private extension (RFC 7296 section 3.12).
    Vendor(Vec<u8>),
    /// Traffic on the initiator's side.
    TsI(Vec<TrafficSelector>),
    /// Traffic on the responder's side.
    TsR(Vec<TrafficSelector>),
    /// A payload that is carried whole: certificates, configuration and EAP, and every type unknown here.
    Opaque {
        /// What it is.
        kind: PayloadType,
        /// The sender demands that it be understood.
        critical: bool,
        /// Everything behind the generic header.
        body: Vec<u8>,
    },
}

impl Payload {
    /// Its type.
    pub const fn kind(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::SA,
            Self::Ke(_) => PayloadType::KE,
            Self::IdI(_) => PayloadType::IDI,
            Self::IdR(_) => PayloadType::IDR,
            Self::Auth(_) => PayloadType::AUTH,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFY,
            Self::Delete(_) => PayloadType::DELETE,
            Self::Vendor(_) => PayloadType::VENDOR,
            Self::TsI(_) => PayloadType::TSI,
            Self::TsR(_) => PayloadType::TSR,
            Self::Opaque { kind, .. } => *kind,
        }
    }

    /// True when we may not ignore the payload and do not know it: the request that carries it is to be answered with
    /// UNSUPPORTED_CRITICAL_PAYLOAD and the type (RFC 7296 section 2.5).
    pub const fn is_unsupported_critical(&self) -> bool {
        matches!(self, Self::Opaque { kind, critical: true, .. } if !kind.is_base())
    }

    fn parse(kind: PayloadType, critical: bool, body: &[u8]) -> Result<Self, Malformed> {
        Ok(match kind {
            PayloadType::SA => Self::Sa(sa::parse_proposals(body)?),
            PayloadType::KE => Self::Ke(KeyExchange::parse(body)?),
            PayloadType::IDI => Self::IdI(Id::parse("IDi payload", body)?),
            PayloadType::IDR => Self::IdR(Id::parse("IDr payload", body)?),
            PayloadType::AUTH => Self::Auth(Auth::parse(body)?),
            PayloadType::NONCE => Self::Nonce(nonce::parse(body)?),
            PayloadType::NOTIFY => Self::Notify(Notify::parse(body)?),
            PayloadType::DELETE => Self::Delete(Delete::parse(body)?),
            PayloadType::VENDOR => Self::Vendor(body.to_vec()),
            PayloadType::TSI => Self::TsI(ts::parse_selectors("TSi payload", body)?),
            PayloadType::TSR => Self::TsR(ts::parse_selectors("TSr payload", body)?),
            kind => Self::Opaque { kind, critical, body: body.to_vec() },
        })
    }

    /// Appends everything behind the generic header.
    pub(super) fn write_body(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        match self {
            Self::Sa(proposals) => sa::write_proposals(proposals, out)?,
            Self::Ke(ke) => ke.write(out),
            Self::IdI(id) | Self::IdR(id) => id.write(out),
            Self::Auth(auth) => auth.write(out),
            Self::Nonce(body) | Self::Vendor(body) | Self::Opaque { body, .. } => out.extend_from_slice(body),
            Self::Notify(notify) => notify.write(out)?,
            Self::Delete(delete) => delete.write(out)?,
            Self::TsI(selectors) | Self::TsR(selectors) => ts::write_selectors(selectors, out)?,
        }
        Ok(())
    }
}

/// The first payload in `payloads` that may not be ignored and is not known.
pub fn unsupported_critical(payloads: &[Payload]) -> Option<PayloadType> {
    payloads.iter().find(|payload| payload.is_unsupported_critical()).map(Payload::kind)
}

/// Reads a whole chain that begins with a payload of type `first`: a clear message behind its header, or what an
/// Encrypted payload contained.
///
/// # Errors
///
/// When a length does not fit, a payload breaks its format, a limit is passed, or bytes follow the last payload.
pub fn parse_payloads(first: PayloadType, bytes: &[u8]) -> Result<Vec<Payload>, Malformed> {
    let mut reader = Reader::new(bytes);
    let mut payloads = Vec::new();
    let mut kind = first;
    while kind != PayloadType::NONE {
        if payloads.len() == PAYLOADS_MAX {
            return Err(Malformed::too_many(PART, "payload count", PAYLOADS_MAX + 1, PAYLOADS_MAX));
        }
        // RFC 7296 §3.14: an Encrypted payload is the last of a whole message and never inside another; its next
        // payload field belongs to what it hides, so that the chain could not go on behind it.
        if matches!(kind, PayloadType::SK | PayloadType::SKF) {
            return Err(Malformed {
                part: PART,
                what: "payload type",
                found: kind.0.into(),
                expected: Expected::Words("no Encrypted payload among others"),
            });
        }
        let (next, critical, body) = read_generic(&mut reader)?;
        payloads.push(Payload::parse(kind, critical, body)?);
        kind = next;
    }
    if reader.is_empty() { Ok(payloads) } else { Err(Malformed::trailing(PART, reader.len())) }
}

/// Reads one generic header: the next payload's type, the critical bit, and the body.
pub(super) fn read_generic<'a>(reader: &mut Reader<'a>) -> Result<(PayloadType, bool, &'a [u8]), Malformed> {
    let short = |short| Malformed::short(PART, short);
    let next = PayloadType(reader.u8().map_err(short)?);
    let critical = reader.u8().map_err(short)? & CRITICAL != 0;
    let length = usize::from(reader.u16().map_err(short)?);
    let body_len = length.checked_sub(GENERIC_LEN).ok_or(Malformed {
        part: PART,
        what: "payload length",
        found: count(length),
        expected: Expected::AtLeast(count(GENERIC_LEN)),
    })?;
    Ok((next, critical, reader.take(body_len).map_err(short)?))
}

/// Writes `payloads` as a chain and says which type it begins with, for whatever encloses it.
///
/// # Errors
///
/// When a payload, or something in it, is longer than its length field can say.
pub fn write_payloads(payloads: &[Payload]) -> Result<(PayloadType, Vec<u8>), TooLong> {
    let mut out = Vec::new();
    let mut body = Vec::new();
    let mut following = payloads.iter().map(Payload::kind).skip(1);
    for payload in payloads {
        body.clear();
        payload.write_body(&mut body)?;
        let next = following.next().unwrap_or(PayloadType::NONE);
        // RFC 7296 §3.2: zero for every type that the protocol itself defines.
        let critical = matches!(payload, Payload::Opaque { critical: true, .. });
        write_generic(next, critical, body.len(), &mut out)?;
        out.extend_from_slice(&body);
    }
    Ok((payloads.first().map_or(PayloadType::NONE, Payload::kind), out))
}

/// Appends the generic header of a payload whose body is `body_len` bytes.
pub(super) fn write_generic(
    next: PayloadType,
    critical: bool,
    body_len: usize,
    out: &mut Vec<u8>,
) -> Result<(), TooLong> {
    out.extend_from_slice(&[next.0, if critical { CRITICAL } else { 0 }]);
    out.extend_from_slice(&fit_u16("payload", body_len.saturating_add(GENERIC_LEN))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_critical_payload_is_named() {
        // Type 200, critical, then type 201, not critical.
        let chain = [201, 0x80, 0, 5, 9, 0, 0, 0, 4];
        let payloads = parse_payloads(PayloadType(200), &chain).unwrap();
        assert_eq!(unsupported_critical(&payloads), Some(PayloadType(200)));
        assert_eq!(unsupported_critical(&payloads[1..]), None);
    }

    #[test]
    fn the_critical_bit_of_a_base_payload_means_nothing() {
        let chain = [PayloadType::CP.0, 0x80, 0, 4, 0, 0x80, 0, 4];
        let payloads = parse_payloads(PayloadType::VENDOR, &chain).unwrap();
        assert_eq!(unsupported_critical(&payloads), None);
    }

    #[test]
    fn a_length_below_the_generic_header_cannot_stop_the_walk() {
        let error = parse_payloads(PayloadType::VENDOR, &[PayloadType::VENDOR.0, 0, 0, 0]).unwrap_err();
        assert_eq!(error.to_string(), "payload chain: payload length is 0, expected at least 4");
        assert!(parse_payloads(PayloadType::VENDOR, &[0, 0, 0, 5]).is_err());
        assert!(parse_payloads(PayloadType::VENDOR, &[0, 0, 0]).is_err());
    }

    #[test]
    fn one_payload_more_than_the_limit_is_refused() {
        let chain = |n: usize| {
            let mut chain = [PayloadType::VENDOR.0, 0, 0, 4].repeat(n);
            chain[(n - 1) * 4] = 0;
            chain
        };
        assert_eq!(parse_payloads(PayloadType::VENDOR, &chain(PAYLOADS_MAX)).unwrap().len(), PAYLOADS_MAX);
        assert!(parse_payloads(PayloadType::VENDOR, &chain(PAYLOADS_MAX + 1)).is_err());
    }

    #[test]
    fn an_encrypted_payload_among_others_is_refused() {
        assert!(parse_payloads(PayloadType::SK, &[0, 0, 0, 4]).is_err());
        assert!(parse_payloads(PayloadType::VENDOR, &[PayloadType::SKF.0, 0, 0, 4, 0, 0, 0, 4]).is_err());
    }

    #[test]
    fn what_its_length_field_cannot_say_is_not_written() {
        let error = write_payloads(&[Payload::Vendor(vec![0; 65_532])]).unwrap_err();
        assert_eq!((error.length, error.limit), (65_536, 65_535));
        assert!(write_payloads(&[Payload::Vendor(vec![0; 65_531])]).is_ok());
    }
}
