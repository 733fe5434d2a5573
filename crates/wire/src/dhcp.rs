//! DHCP messages (RFC 2131 section 2) and the options that a client needs (RFC 2132).
//!
//! ```text
//!  0 op   1 hardware 1, 6   3 hops   4 xid   8 secs   10 flags
//! 12 ciaddr   16 yiaddr   20 siaddr   24 giaddr   28 chaddr   44 sname   108 file   236 cookie   240 options
//! ```

use std::net::Ipv4Addr;

use crate::ethernet::Mac;
use crate::octets;

/// Port of the server.
pub const SERVER_PORT: u16 = 67;
/// Port of the client.
pub const CLIENT_PORT: u16 = 68;
/// Length of the fixed fields, with the cookie that says that options follow.
const FIXED: usize = 240;
const COOKIE: u32 = 0x6382_5363;
/// Messages are padded to the length that BOOTP relays expect (RFC 1542 section 2.1).
const LENGTH_MIN: usize = 300;
/// A server that sends more name servers than this is not believed further.
pub const DNS_MAX: usize = 8;

/// What a message is (option 53).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of RFC 2131")]
pub enum Kind {
    Discover,
    Offer,
    Request,
    Decline,
    Ack,
    Nak,
    Release,
    Inform,
}

impl Kind {
    const ALL: [(u8, Self); 8] = [
        (1, Self::Discover),
        (2, Self::Offer),
        (3, Self::Request),
        (4, Self::Decline),
        (5, Self::Ack),
        (6, Self::Nak),
        (7, Self::Release),
        (8, Self::Inform),
    ];

    fn number(self) -> u8 {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or(0, |(number, _)| *number)
    }
}

/// A message: the fields and options that matter between a client and its server. Absent options are `None` or empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Made by the client, repeated by the server.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// The client asks for answers by broadcast.
    pub broadcast: bool,
    /// The client's address, when it can be reached there.
    pub ciaddr: Ipv4Addr,
    /// The address given.
    pub yiaddr: Ipv4Addr,
    /// The relay's address.
    pub giaddr: Ipv4Addr,
    /// The client's hardware address.
    pub chaddr: Mac,
    /// Subnet mask (1).
    pub mask: Option<Ipv4Addr>,
    /// First router (3).
    pub router: Option<Ipv4Addr>,
    /// Name servers (6), [`DNS_MAX`] at most.
    pub dns: Vec<Ipv4Addr>,
    /// Host name of the client (12).
    pub hostname: String,
    /// Requested address (50).
    pub requested: Option<Ipv4Addr>,
    /// Seconds of the lease (51).
    pub lease: Option<u32>,
    /// The server (54).
    pub server: Option<Ipv4Addr>,
    /// Options that are asked for (55).
    pub wanted: Vec<u8>,
    /// Seconds until renewal (58).
    pub renewal: Option<u32>,
    /// Seconds until rebinding (59).
    pub rebinding: Option<u32>,
    /// Client identifier (61).
    pub client_id: Vec<u8>,
}

impl Message {
    /// A message without any option.
    pub fn new(kind: Kind, xid: u32, chaddr: Mac) -> Self {
        Self {
            kind,
            xid,
            secs: 0,
            broadcast: false,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            chaddr,
            mask: None,
            router: None,
            dns: Vec::new(),
            hostname: String::new(),
            requested: None,
            lease: None,
            server: None,
            wanted: Vec::new(),
            renewal: None,
            rebinding: None,
            client_id: Vec::new(),
        }
    }

    /// True for what only servers send.
    pub fn is_reply(&self) -> bool {
        matches!(self.kind, Kind::Offer | Kind::Ack | Kind::Nak)
    }

    /// Reads a message; `None` when it is truncated, not for Ethernet, no DHCP, or an option does not fit. Options that
    /// overflow into the fields of names (option 52) are read there.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [op, hardware, hardware_len]: [u8; 3] = octets::array(bytes, 0)?;
        if !matches!(op, 1 | 2) || (hardware, hardware_len) != (1, 6) || octets::u32(bytes, 236)? != COOKIE {
            return None;
        }
        let address = |at| octets::array(bytes, at).map(Ipv4Addr::from_octets);
        let mut options = Options::default();
        options.read(bytes.get(FIXED..)?)?;
        let overloaded = options.overload;
        if overloaded & 1 != 0 {
            options.read(bytes.get(108..236)?)?;
        }
        if overloaded & 2 != 0 {
            options.read(bytes.get(44..108)?)?;
        }
        let mut message = Self::new(options.kind?, octets::u32(bytes, 4)?, Mac(octets::array(bytes, 28)?));
        options.message(&mut message);
        message.secs = octets::u16(bytes, 8)?;
        message.broadcast = octets::u16(bytes, 10)? & 0x8000 != 0;
        (message.ciaddr, message.yiaddr, message.giaddr) = (address(12)?, address(16)?, address(24)?);
        (message.is_reply() == (op == 2)).then_some(message)
    }

    /// The message as it is sent.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        octets::put(&mut bytes, 0, [if self.is_reply() { 2 } else { 1 }, 1, 6]);
        octets::put(&mut bytes, 4, self.xid.to_be_bytes());
        octets::put_u16(&mut bytes, 8, self.secs);
        octets::put_u16(&mut bytes, 10, if self.broadcast { 0x8000 } else { 0 });
        octets::put(&mut bytes, 12, self.ciaddr.octets());
        octets::put(&mut bytes, 16, self.yiaddr.octets());
        octets::put(&mut bytes, 24, self.giaddr.octets());
        octets::put(&mut bytes, 28, self.chaddr.0);
        octets::put(&mut bytes, 236, COOKIE.to_be_bytes());
        let mut option = |code: u8, value: &[u8]| {
            let value = value.get(..value.len().min(255)).unwrap_or_default();
            if !value.is_empty() {
                bytes.extend([code, u8::try_from(value.len()).unwrap_or(u8::MAX)]);
                bytes.extend(value);
            }
        };
        let of_address = |address: Option<Ipv4Addr>| address.map(|address| address.octets());
        let of_number = |number: Option<u32>| number.map(u32::to_be_bytes);
        option(53, &[self.kind.number()]);
        option(61, &self.client_id);
        let fours = [
            (50, of_address(self.requested)),
            (54, of_address(self.server)),
            (51, of_number(self.lease)),
            (58, of_number(self.renewal)),
            (59, of_number(self.rebinding)),
            (1, of_address(self.mask)),
            (3, of_address(self.router)),
        ];
        for (code, value) in fours {
            option(code, value.as_ref().map_or(&[], <[u8; 4]>::as_slice));
        }
        option(6, &self.dns.iter().flat_map(Ipv4Addr::octets).collect::<Vec<_>>());
        option(12, self.hostname.as_bytes());
        option(55, &self.wanted);
        bytes.push(255);
        bytes.resize(bytes.len().max(LENGTH_MIN), 0);
        bytes
    }
}

/// Options as they are found; pieces of one option belong together (RFC 3396).
#[derive(Default)]
struct Options {
    kind: Option<Kind>,
    overload: u8,
    values: Vec<(u8, Vec<u8>)>,
}

impl Options {
    fn read(&mut self, mut bytes: &[u8]) -> Option<()> {
        loop {
            match bytes {
                [] | [255, ..] => return Some(()),
                [0, rest @ ..] => bytes = rest,
                [code, len, rest @ ..] => {
                    let (value, behind) = rest.split_at_checked(usize::from(*len))?;
                    match (code, value) {
                        (53, [number]) => {
                            self.kind = Kind::ALL.iter().find(|(known, _)| known == number).map(|(_, kind)| *kind);
                        }
                        (52, [fields]) => self.overload = *fields,
                        _ => match self.values.iter_mut().find(|(known, _)| known == code) {
                            Some((_, known)) => known.extend(value),
                            None => self.values.push((*code, value.to_vec())),
                        },
                    }
                    bytes = behind;
                }
                [_] => return None,
            }
        }
    }

    fn value(&self, code: u8) -> &[u8] {
        self.values.iter().find(|(known, _)| *known == code).map_or(&[], |(_, value)| value)
    }

    fn message(&self, message: &mut Message) {
        let address = |code| octets::array(self.value(code), 0).map(Ipv4Addr::from_octets);
        let number = |code| octets::u32(self.value(code), 0);
        (message.mask, message.router, message.requested, message.server) =
            (address(1), address(3), address(50), address(54));
        (message.lease, message.renewal, message.rebinding) = (number(51), number(58), number(59));
        let (servers, _) = self.value(6).as_chunks::<4>();
        message.dns = servers.iter().take(DNS_MAX).map(|octets| Ipv4Addr::from_octets(*octets)).collect();
        message.hostname = String::from_utf8_lossy(self.value(12)).into_owned();
        message.wanted = self.value(55).to_vec();
        message.client_id = self.value(61).to_vec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Message {
        Message {
            secs: 3,
            broadcast: true,
            yiaddr: Ipv4Addr::new(192, 0, 2, 77),
            giaddr: Ipv4Addr::new(192, 0, 2, 3),
            mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            router: Some(Ipv4Addr::new(192, 0, 2, 1)),
            dns: vec![Ipv4Addr::new(192, 0, 2, 53), Ipv4Addr::new(192, 0, 2, 54)],
            lease: Some(3600),
            server: Some(Ipv4Addr::new(192, 0, 2, 2)),
            renewal: Some(1800),
            rebinding: Some(3150),
            ..Message::new(Kind::Offer, 0xdead_beef, Mac([2, 0, 0, 0, 0, 1]))
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let discover = Message {
            hostname: "gw-world".into(),
            wanted: vec![1, 3, 6],
            client_id: vec![1, 2, 0, 0, 0, 0, 1],
            requested: Some(Ipv4Addr::new(192, 0, 2, 9)),
            ..Message::new(Kind::Discover, 7, Mac([2, 0, 0, 0, 0, 1]))
        };
        for message in [offer(), discover] {
            assert!(message.write().len() >= LENGTH_MIN);
            assert_eq!(Message::parse(&message.write()), Some(message));
        }
    }

    #[test]
    fn what_is_truncated_or_of_another_protocol_is_refused() {
        let good = offer().write();
        assert!((0..FIXED).all(|len| Message::parse(&good[..len]).is_none()));
        for (at, value) in [(0, 3), (1, 6), (2, 8), (239, 0), (0, 1)] {
            let mut bytes = good.clone();
            bytes[at] = value;
            assert_eq!(Message::parse(&bytes), None, "{at}");
        }
        let mut bytes = good.clone();
        bytes[241] = 255;
        assert_eq!(Message::parse(&bytes), None, "the type of the message reaches behind the end");
    }

    #[test]
    fn options_go_on_in_the_fields_of_names_and_in_pieces() {
        let mut bytes = offer().write();
        bytes.truncate(FIXED);
        bytes.extend([53, 1, 2, 52, 1, 3, 6, 4, 1, 1, 1, 1, 255]);
        bytes[108..115].copy_from_slice(&[6, 4, 2, 2, 2, 2, 255]);
        bytes[44..51].copy_from_slice(&[51, 4, 0, 0, 0, 9, 255]);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.dns, [Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(2, 2, 2, 2)]);
        assert_eq!((message.lease, message.server), (Some(9), None));
    }
}
