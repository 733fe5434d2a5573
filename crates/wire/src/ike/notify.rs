//! Notify payload: RFC 7296 section 3.10.

use super::malformed::{TooLong, fit_u8};
use super::{Malformed, NotifyType, ProtocolId};
use crate::{Reader, Short};

/// An error or a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Whose SPI follows; [`ProtocolId::NONE`] without one.
    pub protocol: ProtocolId,
    /// The SA that is meant, empty for the IKE SA that carries the message.
    pub spi: Vec<u8>,
    /// What is said.
    pub kind: NotifyType,
    /// Further data, as the kind defines it.
    pub data: Vec<u8>,
}

impl Notify {
    /// A notification about the IKE SA itself or about no SA.
    pub const fn new(kind: NotifyType, data: Vec<u8>) -> Self {
        Self { protocol: ProtocolId::NONE, spi: Vec::new(), kind, data }
    }

    /// A notification about an ESP SA: REKEY_SA, CHILD_SA_NOT_FOUND.
    pub fn esp(kind: NotifyType, spi: u32) -> Self {
        Self { protocol: ProtocolId::ESP, spi: spi.to_be_bytes().to_vec(), kind, data: Vec::new() }
    }

    /// The SPI of an ESP SA.
    pub fn spi_u32(&self) -> Option<u32> {
        self.spi.as_slice().try_into().ok().map(u32::from_be_bytes)
    }

    /// The data as one 16-bit number: the group that INVALID_KE_PAYLOAD wants.
    pub fn data_u16(&self) -> Option<u16> {
        self.data.as_slice().try_into().ok().map(u16::from_be_bytes)
    }

    pub(super) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        Self::read(&mut Reader::new(body)).map_err(|short| Malformed::short("Notify payload", short))
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Short> {
        let protocol = ProtocolId(reader.u8()?);
        let spi_size = reader.u8()?;
        let kind = NotifyType(reader.u16()?);
        let spi = reader.take(spi_size.into())?.to_vec();
        Ok(Self { protocol, spi, kind, data: reader.rest().to_vec() })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.extend_from_slice(&[self.protocol.0, fit_u8("SPI", self.spi.len())?]);
        out.extend_from_slice(&self.kind.0.to_be_bytes());
        out.extend_from_slice(&self.spi);
        out.extend_from_slice(&self.data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_ke_payload_names_the_group_it_wants() {
        let notify = Notify::parse(&[0, 0, 0, 17, 0, 19]).unwrap();
        assert_eq!((notify.kind, notify.data_u16()), (NotifyType::INVALID_KE_PAYLOAD, Some(19)));
    }

    #[test]
    fn an_spi_longer_than_the_payload_is_refused() {
        assert!(Notify::parse(&[3, 4, 0x40, 9, 1, 2, 3]).is_err());
        assert_eq!(
            Notify::parse(&[3, 4, 0x40, 9, 1, 2, 3, 4]).unwrap(),
            Notify::esp(NotifyType::REKEY_SA, 0x0102_0304)
        );
    }
}
