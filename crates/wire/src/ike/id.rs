//! Identification payloads: RFC 7296 section 3.5.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::print::{Escaped, Hex};
use super::{IdType, Malformed};
use crate::{Reader, Short};

/// Who somebody says to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id {
    /// What the bytes are.
    pub kind: IdType,
    /// The identity itself.
    pub data: Vec<u8>,
    /// Sent as zero; kept because the AUTH payload is computed over the bytes as they came.
    reserved: [u8; 3],
}

impl Id {
    /// An identity of any kind.
    pub const fn new(kind: IdType, data: Vec<u8>) -> Self {
        Self { kind, data, reserved: [0; 3] }
    }

    /// An identity that is an address.
    pub fn address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::new(IdType::IPV4_ADDR, address.octets().to_vec()),
            IpAddr::V6(address) => Self::new(IdType::IPV6_ADDR, address.octets().to_vec()),
        }
    }

    /// An identity that is a domain name.
    pub fn domain_name(name: &str) -> Self {
        Self::new(IdType::FQDN, name.as_bytes().to_vec())
    }

    /// An identity that is an e-mail address.
    pub fn email(address: &str) -> Self {
        Self::new(IdType::RFC822_ADDR, address.as_bytes().to_vec())
    }

    /// The address, when that is what it is and the length is right.
    pub fn as_address(&self) -> Option<IpAddr> {
        match self.kind {
            IdType::IPV4_ADDR => <[u8; 4]>::try_from(self.data.as_slice()).ok().map(|a| Ipv4Addr::from(a).into()),
            IdType::IPV6_ADDR => <[u8; 16]>::try_from(self.data.as_slice()).ok().map(|a| Ipv6Addr::from(a).into()),
            _ => None,
        }
    }

    /// The payload's body as it is or was sent: what a PRF turns into the signed octets of AUTH (RFC 7296 section 2.15).
    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        self.write(&mut body);
        body
    }

    pub(super) fn parse(part: &'static str, body: &[u8]) -> Result<Self, Malformed> {
        Self::read(&mut Reader::new(body)).map_err(|short| Malformed::short(part, short))
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Short> {
        let kind = IdType(reader.u8()?);
        let reserved = reader.array()?;
        Ok(Self { kind, reserved, data: reader.rest().to_vec() })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.kind.0);
        out.extend_from_slice(&self.reserved);
        out.extend_from_slice(&self.data);
    }
}

impl fmt::Display for Id {
    /// `10.0.0.1`, `gw.example.com`, `user@example.com`; bytes that are no text in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.as_address()) {
            (_, Some(address)) => address.fmt(f),
            (IdType::FQDN | IdType::RFC822_ADDR, None) => Escaped(&self.data).fmt(f),
            (IdType::KEY_ID, None) if Escaped::is_plain(&self.data) => Escaped(&self.data).fmt(f),
            _ => Hex(&self.data).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_only_at_its_right_length() {
        let id = Id::address("192.0.2.1".parse().unwrap());
        assert_eq!((id.as_address().unwrap().to_string(), id.to_string()), ("192.0.2.1".into(), "192.0.2.1".into()));
        assert_eq!(Id::new(IdType::IPV4_ADDR, vec![192, 0, 2]).as_address(), None);
        assert_eq!(Id::new(IdType::IPV6_ADDR, vec![192, 0, 2, 1]).to_string(), "c0 00 02 01");
    }

    #[test]
    fn hostile_bytes_cannot_reach_the_terminal() {
        let id = Id::new(IdType::FQDN, b"a\x1b[2J\"\n\xff".to_vec());
        assert_eq!(id.to_string(), r#"a\x1b[2J\"\n\xff"#);
    }

    #[test]
    fn reserved_bytes_are_kept_for_the_signed_octets() {
        let body = [2, 7, 8, 9, b'a'];
        let id = Id::parse("IDi payload", &body).unwrap();
        assert_eq!(id.body(), body);
        assert_eq!(Id::domain_name("a").body(), [2, 0, 0, 0, b'a']);
    }
}
