//! Key Exchange payload: RFC 7296 section 3.4.

use super::Malformed;
use crate::{Reader, Short};

/// A public value for one Diffie-Hellman group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyExchange {
    /// The group's number, the ID of a transform of type 4.
    pub group: u16,
    /// The public value. Its length is the group's business.
    pub data: Vec<u8>,
}

impl KeyExchange {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        Self::read(&mut Reader::new(body)).map_err(|short| Malformed::short("KE payload", short))
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Short> {
        let group = reader.u16()?;
        reader.u16()?;
        Ok(Self { group, data: reader.rest().to_vec() })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.group.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&self.data);
    }
}
