//! Delete payload: RFC 7296 section 3.11.

use super::malformed::{TooLong, count, fit_u16};
use super::{Expected, Malformed, ProtocolId};
use crate::{Reader, Short};

/// SPIs that one Delete payload may name.
pub const SPIS_MAX: usize = 1024;

const PART: &str = "Delete payload";

/// SAs of one protocol that the sender has deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// IKE for the IKE SA that carries the message, ESP for child SAs.
    pub protocol: ProtocolId,
    /// Bytes of each SPI: 0 for IKE, 4 for ESP.
    pub spi_size: u8,
    /// The sender's inbound SPIs; empty for IKE.
    pub spis: Vec<Vec<u8>>,
}

impl Delete {
    /// The IKE SA that carries the message.
    pub const fn ike() -> Self {
        Self { protocol: ProtocolId::IKE, spi_size: 0, spis: Vec::new() }
    }

    /// ESP SAs by the SPIs under which the sender received.
    pub fn esp(spis: &[u32]) -> Self {
        let spis = spis.iter().map(|spi| spi.to_be_bytes().to_vec()).collect();
        Self { protocol: ProtocolId::ESP, spi_size: 4, spis }
    }

    /// The SPIs as numbers, when they are of the size that ESP has.
    pub fn spis_u32(&self) -> impl Iterator<Item = u32> {
        self.spis.iter().filter_map(|spi| spi.as_slice().try_into().ok().map(u32::from_be_bytes))
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let (protocol, spi_size, spi_count) =
            Self::read_head(&mut reader).map_err(|short| Malformed::short(PART, short))?;
        if spi_count > SPIS_MAX {
            return Err(Malformed::too_many(PART, "SPI count", spi_count, SPIS_MAX));
        }
        if spi_size == 0 && spi_count != 0 {
            let expected = Expected::Words("0 where the SPI size is 0");
            return Err(Malformed { part: PART, what: "SPI count", found: count(spi_count), expected });
        }
        let mut spis = Vec::new();
        for _ in 0..spi_count {
            spis.push(reader.take(spi_size.into()).map_err(|short| Malformed::short(PART, short))?.to_vec());
        }
        if reader.is_empty() {
            Ok(Self { protocol, spi_size, spis })
        } else {
            Err(Malformed::trailing(PART, reader.len()))
        }
    }

    fn read_head(reader: &mut Reader<'_>) -> Result<(ProtocolId, u8, usize), Short> {
        Ok((ProtocolId(reader.u8()?), reader.u8()?, reader.u16()?.into()))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.extend_from_slice(&[self.protocol.0, self.spi_size]);
        out.extend_from_slice(&fit_u16("SPI count", self.spis.len())?);
        for spi in &self.spis {
            if spi.len() != usize::from(self.spi_size) {
                return Err(TooLong { what: "SPI", length: spi.len(), limit: self.spi_size.into() });
            }
            out.extend_from_slice(spi);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spis_without_size_cost_no_memory() {
        let error = Delete::parse(&[1, 0, 0x03, 0xff]).unwrap_err();
        assert_eq!(error.to_string(), "Delete payload: SPI count is 1023, expected 0 where the SPI size is 0");
        assert_eq!(Delete::parse(&[1, 0, 0, 0]), Ok(Delete::ike()));
    }

    #[test]
    fn the_count_must_agree_with_the_bytes() {
        assert!(Delete::parse(&[3, 4, 0, 2, 1, 2, 3, 4]).is_err());
        assert!(Delete::parse(&[3, 4, 0, 1, 1, 2, 3, 4, 5]).is_err());
        assert!(Delete::parse(&[3, 1, 0xff, 0xff]).is_err());
        let delete = Delete::parse(&[3, 4, 0, 1, 1, 2, 3, 4]).unwrap();
        assert_eq!(delete.spis_u32().collect::<Vec<_>>(), [0x0102_0304]);
    }
}
