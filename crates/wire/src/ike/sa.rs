//! Security Association payload: proposals, transforms, attributes. RFC 7296 section 3.3.
//!
//! ```text
//! proposal:  | last? 0/2 | 0 | length (2) | number | protocol | SPI size | transforms |  SPI  transforms
//! transform: | last? 0/3 | 0 | length (2) | type   | 0        | ID (2)                |  attributes
//! attribute: |1| type (15) | value (2) |    or    |0| type (15) | length (2) |  value
//! ```

use super::malformed::{TooLong, count, fit_u8, fit_u16};
use super::{Expected, Malformed, ProtocolId, TransformType};
use crate::{Reader, Short};

/// Proposals that one SA payload may have. Some peers send one for each combination of algorithms.
pub const PROPOSALS_MAX: usize = 64;
/// Transforms that one proposal may have.
pub const TRANSFORMS_MAX: usize = 128;
/// Attributes that one transform may have.
pub const ATTRIBUTES_MAX: usize = 8;
/// The attribute that carries a key length in bits (RFC 7296 section 3.3.5).
pub const KEY_LENGTH: u16 = 14;

const SA: &str = "SA payload";
const PROPOSAL: &str = "SA payload, proposal";
const TRANSFORM: &str = "SA payload, transform";
const ATTRIBUTE: &str = "SA payload, attribute";
const MORE_PROPOSALS: u8 = 2;
const MORE_TRANSFORMS: u8 = 3;
const SHORT_FORM: u16 = 0x8000;

/// One set of algorithms that go together. Of the transforms of a type, one is to be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Counted from 1 in an offer; the answer repeats the number of the one chosen.
    pub number: u8,
    /// What the SA will be: IKE or ESP.
    pub protocol: ProtocolId,
    /// The sender's SPI: empty for a first IKE SA, 8 bytes when rekeying one, 4 bytes for ESP.
    pub spi: Vec<u8>,
    /// The algorithms.
    pub transforms: Vec<Transform>,
}

/// One algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    /// What it is for.
    pub kind: TransformType,
    /// Its number within that kind.
    pub id: u16,
    /// Length of the key in bits, for ciphers that have several.
    pub key_bits: Option<u16>,
    /// Attributes other than the key length. A transform that has any is to be passed over: nothing we know uses them
    /// (RFC 7296 section 3.3.6).
    pub attributes: Vec<Attribute>,
}

impl Transform {
    /// An algorithm without attributes.
    pub const fn new(kind: TransformType, id: u16) -> Self {
        Self { kind, id, key_bits: None, attributes: Vec::new() }
    }

    /// A cipher with a key of `bits`.
    pub const fn with_key_bits(kind: TransformType, id: u16, bits: u16) -> Self {
        Self { kind, id, key_bits: Some(bits), attributes: Vec::new() }
    }
}

/// An attribute of a transform that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its type, 15 bits.
    pub kind: u16,
    /// Its value.
    pub value: AttributeValue,
}

/// An attribute's value, in the form in which it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// Two bytes in place of a length.
    Short(u16),
    /// Any number of bytes.
    Long(Vec<u8>),
}

/// Reads the body of an SA payload.
pub(super) fn parse_proposals(body: &[u8]) -> Result<Vec<Proposal>, Malformed> {
    let mut reader = Reader::new(body);
    let mut proposals = Vec::new();
    loop {
        if proposals.len() == PROPOSALS_MAX {
            return Err(Malformed::too_many(SA, "proposal count", PROPOSALS_MAX + 1, PROPOSALS_MAX));
        }
        let (more, part) = substructure(PROPOSAL, MORE_PROPOSALS, &mut reader)?;
        proposals.push(Proposal::parse(part)?);
        if !more {
            return Ok(proposals);
        }
    }
}

/// Appends the body of an SA payload.
pub(super) fn write_proposals(proposals: &[Proposal], out: &mut Vec<u8>) -> Result<(), TooLong> {
    let mut part = Vec::new();
    for (index, proposal) in proposals.iter().enumerate() {
        part.clear();
        proposal.write(&mut part)?;
        let more = index + 1 < proposals.len();
        write_substructure(if more { MORE_PROPOSALS } else { 0 }, &part, out)?;
    }
    Ok(())
}

impl Proposal {
    /// The transforms of one kind, in the sender's order.
    pub fn of_kind(&self, kind: TransformType) -> impl Iterator<Item = &Transform> {
        self.transforms.iter().filter(move |transform| transform.kind == kind)
    }

    /// The SPI of an ESP or AH proposal.
    pub fn spi_u32(&self) -> Option<u32> {
        self.spi.as_slice().try_into().ok().map(u32::from_be_bytes)
    }

    /// The SPI of a proposal that rekeys an IKE SA.
    pub fn spi_u64(&self) -> Option<u64> {
        self.spi.as_slice().try_into().ok().map(u64::from_be_bytes)
    }

    fn parse(mut reader: Reader<'_>) -> Result<Self, Malformed> {
        let short = |short| Malformed::short(PROPOSAL, short);
        let number = reader.u8().map_err(short)?;
        let protocol = ProtocolId(reader.u8().map_err(short)?);
        let spi_size = reader.u8().map_err(short)?;
        let transform_count = usize::from(reader.u8().map_err(short)?);
        let spi = reader.take(spi_size.into()).map_err(short)?.to_vec();
        if transform_count > TRANSFORMS_MAX {
            return Err(Malformed::too_many(PROPOSAL, "transform count", transform_count, TRANSFORMS_MAX));
        }
        let mut transforms = Vec::new();
        while transforms.len() < transform_count {
            let (more, part) = substructure(TRANSFORM, MORE_TRANSFORMS, &mut reader)?;
            transforms.push(Transform::parse(part)?);
            if !more && transforms.len() < transform_count {
                return Err(Malformed {
                    part: PROPOSAL,
                    what: "transform count",
                    found: count(transform_count),
                    expected: Expected::Exactly(count(transforms.len())),
                });
            }
        }
        if reader.is_empty() {
            Ok(Self { number, protocol, spi, transforms })
        } else {
            Err(Malformed::trailing(PROPOSAL, reader.len()))
        }
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let spi_size = fit_u8("SPI", self.spi.len())?;
        let transform_count = fit_u8("transform count", self.transforms.len())?;
        out.extend_from_slice(&[self.number, self.protocol.0, spi_size, transform_count]);
        out.extend_from_slice(&self.spi);
        let mut part = Vec::new();
        for (index, transform) in self.transforms.iter().enumerate() {
            part.clear();
            transform.write(&mut part)?;
            let more = index + 1 < self.transforms.len();
            write_substructure(if more { MORE_TRANSFORMS } else { 0 }, &part, out)?;
        }
        Ok(())
    }
}

impl Transform {
    fn parse(mut reader: Reader<'_>) -> Result<Self, Malformed> {
        let (kind, id) = Self::read_kind(&mut reader).map_err(|short| Malformed::short(TRANSFORM, short))?;
        let mut transform = Self::new(kind, id);
        let mut attribute_count = 0;
        while !reader.is_empty() {
            attribute_count += 1;
            if attribute_count > ATTRIBUTES_MAX {
                return Err(Malformed::too_many(TRANSFORM, "attribute count", attribute_count, ATTRIBUTES_MAX));
            }
            let attribute = Attribute::read(&mut reader).map_err(|short| Malformed::short(ATTRIBUTE, short))?;
            match attribute.value {
                AttributeValue::Short(bits) if attribute.kind == KEY_LENGTH && transform.key_bits.is_none() => {
                    transform.key_bits = Some(bits);
                }
                _ => transform.attributes.push(attribute),
            }
        }
        Ok(transform)
    }

    fn read_kind(reader: &mut Reader<'_>) -> Result<(TransformType, u16), Short> {
        let kind = TransformType(reader.u8()?);
        reader.u8()?;
        Ok((kind, reader.u16()?))
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.extend_from_slice(&[self.kind.0, 0]);
        out.extend_from_slice(&self.id.to_be_bytes());
        if let Some(bits) = self.key_bits {
            Attribute { kind: KEY_LENGTH, value: AttributeValue::Short(bits) }.write(out)?;
        }
        self.attributes.iter().try_for_each(|attribute| attribute.write(out))
    }
}

impl Attribute {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Short> {
        let (kind, word) = (reader.u16()?, reader.u16()?);
        let value = if kind & SHORT_FORM != 0 {
            AttributeValue::Short(word)
        } else {
            AttributeValue::Long(reader.take(word.into())?.to_vec())
        };
        Ok(Self { kind: kind & !SHORT_FORM, value })
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let kind = self.kind & !SHORT_FORM;
        match &self.value {
            AttributeValue::Short(value) => {
                out.extend_from_slice(&(kind | SHORT_FORM).to_be_bytes());
                out.extend_from_slice(&value.to_be_bytes());
            }
            AttributeValue::Long(value) => {
                out.extend_from_slice(&kind.to_be_bytes());
                out.extend_from_slice(&fit_u16("attribute", value.len())?);
                out.extend_from_slice(value);
            }
        }
        Ok(())
    }
}

/// Reads the head that proposals and transforms share. True when more of them follow; the flag must agree with what is
/// left, because the two are all that says where the list ends.
fn substructure<'a>(
    part: &'static str,
    more_mark: u8,
    reader: &mut Reader<'a>,
) -> Result<(bool, Reader<'a>), Malformed> {
    let short = |short| Malformed::short(part, short);
    let mark = reader.u8().map_err(short)?;
    reader.u8().map_err(short)?;
    let length = usize::from(reader.u16().map_err(short)?);
    let content_len = length.checked_sub(4).ok_or(Malformed {
        part,
        what: "length",
        found: count(length),
        expected: Expected::AtLeast(4),
    })?;
    let content = reader.part(content_len).map_err(short)?;
    let right_mark = if reader.is_empty() { 0 } else { more_mark };
    if mark == right_mark {
        Ok((mark == more_mark, content))
    } else {
        let expected = Expected::Exactly(right_mark.into());
        Err(Malformed { part, what: "mark of the last one", found: mark.into(), expected })
    }
}

fn write_substructure(mark: u8, content: &[u8], out: &mut Vec<u8>) -> Result<(), TooLong> {
    out.extend_from_slice(&[mark, 0]);
    out.extend_from_slice(&fit_u16("proposal or transform", content.len().saturating_add(4))?);
    out.extend_from_slice(content);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One proposal for ESP with the transform AES-CBC 256 and a second one, of type 3.
    const BODY: [u8; 32] = [
        0, 0, 0, 32, 1, 3, 4, 2, 0xa, 0xb, 0xc, 0xd, //
        3, 0, 0, 12, 1, 0, 0, 12, 0x80, 14, 1, 0, //
        0, 0, 0, 8, 3, 0, 0, 12,
    ];

    fn changed(place: usize, value: u8) -> Result<Vec<Proposal>, Malformed> {
        let mut body = BODY;
        body[place] = value;
        parse_proposals(&body)
    }

    #[test]
    fn a_proposal_is_read_with_its_spi_and_key_length() {
        let proposals = parse_proposals(&BODY).unwrap();
        let [proposal] = proposals.as_slice() else { panic!("{proposals:?}") };
        assert_eq!((proposal.spi_u32(), proposal.spi_u64()), (Some(0x0a0b_0c0d), None));
        let aes = Transform::with_key_bits(TransformType::ENCR, 12, 256);
        assert_eq!(proposal.transforms, [aes.clone(), Transform::new(TransformType::INTEG, 12)]);
        assert_eq!(proposal.of_kind(TransformType::ENCR).collect::<Vec<_>>(), [&aes]);
    }

    #[test]
    fn counts_lengths_and_last_marks_must_agree() {
        assert_eq!(
            changed(7, 3).unwrap_err().to_string(),
            "SA payload, proposal: transform count is 3, expected exactly 2"
        );
        assert_eq!(
            changed(7, 1).unwrap_err().to_string(),
            "SA payload, proposal: bytes behind its end is 8, expected exactly 0"
        );
        assert_eq!(
            changed(0, 2).unwrap_err().to_string(),
            "SA payload, proposal: mark of the last one is 2, expected exactly 0"
        );
        assert_eq!(changed(3, 3).unwrap_err().to_string(), "SA payload, proposal: length is 3, expected at least 4");
        assert!(changed(12, 0).is_err(), "a transform that says it is the last and is not");
        assert!(changed(24, 3).is_err(), "a last transform that promises another");
        assert!(changed(7, 129).is_err(), "more transforms than the limit");
        assert!(parse_proposals(&[]).is_err(), "an SA payload proposes something");
    }

    #[test]
    fn an_attribute_that_is_not_understood_is_kept() {
        let kept = changed(21, 15).unwrap();
        let aes = &kept[0].transforms[0];
        assert_eq!(aes.key_bits, None);
        assert_eq!(aes.attributes, [Attribute { kind: 15, value: AttributeValue::Short(256) }]);
        let mut back = Vec::new();
        write_proposals(&kept, &mut back).unwrap();
        assert_eq!(parse_proposals(&back), Ok(kept));
    }

    #[test]
    fn proposals_and_attributes_stop_at_their_limits() {
        let offer =
            |n: usize| vec![Proposal { number: 1, protocol: ProtocolId::IKE, spi: vec![], transforms: vec![] }; n];
        let written = |n| {
            let mut out = Vec::new();
            write_proposals(&offer(n), &mut out).unwrap();
            parse_proposals(&out)
        };
        assert!(written(PROPOSALS_MAX).is_ok());
        assert!(written(PROPOSALS_MAX + 1).is_err());
        let attributes = |n: usize| {
            let attributes = vec![Attribute { kind: 1, value: AttributeValue::Short(0) }; n];
            let transforms = vec![Transform { attributes, ..Transform::new(TransformType::ENCR, 1) }];
            let mut out = Vec::new();
            write_proposals(&[Proposal { transforms, ..offer(1).remove(0) }], &mut out).unwrap();
            parse_proposals(&out)
        };
        assert!(attributes(ATTRIBUTES_MAX).is_ok());
        assert!(attributes(ATTRIBUTES_MAX + 1).is_err());
    }
}
