//! ARP for IPv4 over Ethernet (RFC 826).
//!
//! ```text
//!  0 hardware 1   2 protocol 0x0800   4 lengths 6, 4   6 operation
//!  8 sender's hardware   14 sender's protocol   18 target's hardware   24 target's protocol address
//! ```

use std::fmt;
use std::net::Ipv4Addr;

use crate::ethernet::{self, Mac};
use crate::octets;

/// Length of a message.
pub const LENGTH: usize = 28;

/// What a message wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target's address?
    Request,
    /// The sender has its address.
    Reply,
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: Operation,
    /// Hardware address of the sender.
    pub sender_mac: Mac,
    /// Address of the sender; unspecified in a probe (RFC 5227 section 1.1).
    pub sender: Ipv4Addr,
    /// Hardware address of the target; means nothing in a request.
    pub target_mac: Mac,
    /// Address of the target.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Reads a message; `None` when it is truncated or not about IPv4 over Ethernet. Padding may follow.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let head: [u8; 6] = octets::array(message, 0)?;
        let [p0, p1] = ethernet::IPV4.to_be_bytes();
        if head != [0, 1, p0, p1, 6, 4] {
            return None;
        }
        let operation = match octets::u16(message, 6)? {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return None,
        };
        Some(Self {
            operation,
            sender_mac: Mac(octets::array(message, 8)?),
            sender: Ipv4Addr::from_octets(octets::array(message, 14)?),
            target_mac: Mac(octets::array(message, 18)?),
            target: Ipv4Addr::from_octets(octets::array(message, 24)?),
        })
    }

    /// The message as it is sent.
    pub fn write(&self) -> [u8; LENGTH] {
        let mut message = [0; LENGTH];
        let operation = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        octets::put_u16(&mut message, 0, 1);
        octets::put_u16(&mut message, 2, ethernet::IPV4);
        octets::put(&mut message, 4, [6, 4]);
        octets::put_u16(&mut message, 6, operation);
        octets::put(&mut message, 8, self.sender_mac.0);
        octets::put(&mut message, 14, self.sender.octets());
        octets::put(&mut message, 18, self.target_mac.0);
        octets::put(&mut message, 24, self.target.octets());
        message
    }

    /// True when the sender speaks of itself to everybody: an announcement (RFC 5227 section 1.1) or a gratuitous reply.
    pub fn is_gratuitous(&self) -> bool {
        self.sender == self.target
    }
}

impl fmt::Display for Arp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.operation {
            Operation::Request => write!(f, "who has {}? tell {} at {}", self.target, self.sender, self.sender_mac),
            Operation::Reply => write!(f, "{} is at {}", self.sender, self.sender_mac),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for operation in [Operation::Request, Operation::Reply] {
            let arp = Arp {
                operation,
                sender_mac: Mac([2, 0, 0, 0, 0, 1]),
                sender: Ipv4Addr::new(10, 0, 0, 1),
                target_mac: Mac::ZERO,
                target: Ipv4Addr::new(10, 0, 0, 2),
            };
            let message = arp.write();
            assert_eq!(Arp::parse(&message), Some(arp));
            assert_eq!(Arp::parse(&[&message[..], &[0; 18]].concat()), Some(arp), "padding");
            assert!((0..LENGTH).all(|len| Arp::parse(&message[..len]).is_none()));
            assert!(arp.to_string().contains("10.0.0.1"));
        }
    }

    #[test]
    fn other_networks_are_not_ours() {
        let arp = Arp {
            operation: Operation::Request,
            sender_mac: Mac::ZERO,
            sender: Ipv4Addr::UNSPECIFIED,
            target_mac: Mac::ZERO,
            target: Ipv4Addr::UNSPECIFIED,
        };
        for (at, value) in [(1, 6), (2, 9), (4, 8), (5, 16), (7, 3)] {
            let mut message = arp.write();
            message[at] = value;
            assert_eq!(Arp::parse(&message), None);
        }
    }
}
