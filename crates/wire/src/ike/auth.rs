//! Authentication payload: RFC 7296 section 3.8.

use super::{AuthMethod, Malformed};
use crate::{Reader, Short};

/// The proof of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// How it was made.
    pub method: AuthMethod,
    /// The signature or message authentication code.
    pub data: Vec<u8>,
}

impl Auth {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        Self::read(&mut Reader::new(body)).map_err(|short| Malformed::short("AUTH payload", short))
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Short> {
        let method = AuthMethod(reader.u8()?);
        reader.take(3)?;
        Ok(Self { method, data: reader.rest().to_vec() })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.method.0, 0, 0, 0]);
        out.extend_from_slice(&self.data);
    }
}
