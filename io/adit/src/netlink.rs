//! What the kernel says about its interfaces and routes, and what we ask it to change.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use engine::HostRoute;
use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use objects::HostInterface;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::routes::{OwnRoute, Table, Way};

/// The number that marks our routes (`proto 86` in the output of `ip route`): what a gateway left behind that was
/// killed is recognised by it.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(86);
/// One answer of the kernel fits: it makes no larger ones.
const ANSWER_MAX: usize = 64 * 1024;
/// The address that is nobody's.
const PLACEHOLDER: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// The kernel answers at once: without an answer for so long there will be none, and the packets must go on.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// A table that changes while it is read is read anew, so often at most.
const DUMPS_MAX: u32 = 8;
/// What the kernel makes of an IPv6 route without a metric.
const IPV6_METRIC: u32 = 1_024;

/// A conversation with the kernel: question, answer.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    answer: Vec<u8>,
}

impl Netlink {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIME))?;
        Ok(Self { socket, sequence: 0, answer: Vec::with_capacity(ANSWER_MAX) })
    }

    /// The host's interfaces in the kernel's order, without the loopback interface and without `own`, our TUN device.
    /// Link-local IPv6 addresses are left out: the same network is on every link.
    pub fn interfaces(&mut self, own: Option<u32>) -> io::Result<Vec<HostInterface>> {
        let mut interfaces = BTreeMap::new();
        for message in self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))? {
            let RouteNetlinkMessage::NewLink(link) = message else { continue };
            let index = link.header.index;
            if Some(index) == own || link.header.flags.contains(LinkFlags::Loopback) {
                continue;
            }
            let mut interface = HostInterface { mtu: 1_500, ..HostInterface::default() };
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(name) => interface.name = name,
                    LinkAttribute::Mtu(mtu) => interface.mtu = mtu,
                    _ => {}
                }
            }
            interfaces.insert(index, interface);
        }
        for message in self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))? {
            let RouteNetlinkMessage::NewAddress(message) = message else { continue };
            let Some(interface) = interfaces.get_mut(&message.header.index) else { continue };
            // With a peer address, IFA_LOCAL is ours and IFA_ADDRESS the peer's; without one they are the same, and
            // IPv6 leaves IFA_LOCAL out.
            let (mut address, mut local) = (None, None);
            for attribute in message.attributes {
                match attribute {
                    AddressAttribute::Address(value) => address = Some(value),
                    AddressAttribute::Local(value) => local = Some(value),
                    _ => {}
                }
            }
            if let Some(address) = local.or(address).filter(|address| !is_link_local(*address)) {
                interface.addresses.push((address, message.header.prefix_len));
            }
        }
        let mut gateways = BTreeMap::new();
        for route in self.routes()? {
            let (header, mut gateway, mut interface, mut metric) = (route.header, None, None, 0);
            for attribute in route.attributes {
                match attribute {
                    RouteAttribute::Gateway(address) => gateway = ip_address(&address),
                    RouteAttribute::Oif(index) => interface = Some(index),
                    RouteAttribute::Priority(value) => metric = value,
                    _ => {}
                }
            }
            if let (0, Some(gateway), Some(interface)) = (header.destination_prefix_length, gateway, interface) {
                let best = gateways.entry((interface, gateway.is_ipv6())).or_insert((metric, gateway));
                *best = (*best).min((metric, gateway));
            }
        }
        for ((index, _), (_, gateway)) in gateways {
            if let Some(interface) = interfaces.get_mut(&index) {
                interface.gateways.push(gateway);
            }
        }
        Ok(interfaces.into_values().filter(|interface| !interface.name.is_empty()).collect())
    }

    /// Names of the interfaces without a link: switched off, or with nothing at the other end.
    pub fn links_down(&mut self) -> io::Result<BTreeSet<String>> {
        let mut down = BTreeSet::new();
        for message in self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))? {
            let RouteNetlinkMessage::NewLink(link) = message else { continue };
            if link.header.flags.contains(LinkFlags::Up | LinkFlags::Running) {
                continue;
            }
            down.extend(link.attributes.into_iter().filter_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            }));
        }
        Ok(down)
    }

    /// The number of the interface with this name.
    pub fn index_of(&mut self, name: &str) -> io::Result<u32> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.ask(RouteNetlinkMessage::GetLink(message), 0)?
            .into_iter()
            .find_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(link) => Some(link.header.index),
                _ => None,
            })
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Switches an interface on, with this MTU and queue length.
    pub fn set_up(&mut self, index: u32, mtu: u32, queue_length: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes = vec![LinkAttribute::Mtu(mtu), LinkAttribute::TxQueueLen(queue_length)];
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(|_| ())
    }

    /// Gives an interface an IPv4 address of its own that nobody else ever uses or sees: RFC 7600 4.8 sets one aside. Where
    /// there is none, the kernel takes no packet in whose way back leads over another interface.
    pub fn give_placeholder(&mut self, index: u32) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = 32;
        message.header.scope = AddressScope::Host;
        message.header.index = index;
        message.attributes =
            vec![AddressAttribute::Local(PLACEHOLDER.into()), AddressAttribute::Address(PLACEHOLDER.into())];
        self.ask(RouteNetlinkMessage::NewAddress(message), NLM_F_ACK | NLM_F_CREATE).map(|_| ())
    }

    /// The routes of table main.
    fn routes(&mut self) -> io::Result<Vec<RouteMessage>> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            for answer in self.dump(RouteNetlinkMessage::GetRoute(message))? {
                match answer {
                    RouteNetlinkMessage::NewRoute(route) if route.header.table == RouteHeader::RT_TABLE_MAIN => {
                        routes.push(route);
                    }
                    _ => {}
                }
            }
        }
        Ok(routes)
    }

    /// A whole table as it was at one moment.
    fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..DUMPS_MAX {
            let answers = self.ask_once(message.clone(), NLM_F_DUMP)?;
            if !answers.torn {
                return Ok(answers.messages);
            }
        }
        Err(io::Error::other(format!("the kernel's table changed each of the {DUMPS_MAX} times that it was read")))
    }

    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        Ok(self.ask_once(message, flags)?.messages)
    }

    /// Sends a request and collects the answers up to their end.
    fn ask_once(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Answers> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answers = Answers { sequence: self.sequence, ..Answers::default() };
        let one_only = flags & (NLM_F_DUMP | NLM_F_ACK) == 0;
        while !answers.complete && (answers.messages.is_empty() || !one_only) {
            self.receive()?;
            answers.read(&self.answer)?;
        }
        Ok(answers)
    }

    /// Waits for one answer, which is a batch of messages.
    fn receive(&mut self) -> io::Result<()> {
        loop {
            self.answer.clear();
            match self.socket.recv(&mut self.answer, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel's netlink does not answer"));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// What has come in answer to one request.
#[derive(Default)]
struct Answers {
    /// The request's number, which answers repeat.
    sequence: u32,
    messages: Vec<RouteNetlinkMessage>,
    /// The table changed meanwhile: something may be there twice or not at all.
    torn: bool,
    /// The end has come.
    complete: bool,
}

impl Answers {
    /// Reads one batch. An error is the kernel's refusal. How it ends is read from the bytes themselves: an end that the
    /// library could not decode would be waited for in vain.
    fn read(&mut self, mut batch: &[u8]) -> io::Result<()> {
        while let Some((bytes, behind)) = next_message(batch) {
            batch = behind;
            let Some(header) = Header::read(bytes).filter(|header| header.sequence == self.sequence) else {
                // An answer to an earlier question, which was given up.
                continue;
            };
            self.torn |= header.flags & NLM_F_DUMP_INTR != 0;
            if header.kind == NLMSG_DONE || header.kind == NLMSG_ERROR {
                self.complete = true;
                return match header.status {
                    0 => Ok(()),
                    status => Err(io::Error::from_raw_os_error(status.saturating_neg())),
                };
            }
            // What this kernel says and the library does not know is not what we look for.
            if let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes)
                && let NetlinkPayload::InnerMessage(message) = message.payload
            {
                self.messages.push(message);
            }
        }
        Ok(())
    }
}

/// The beginning of every message, and what follows when it ends a conversation.
struct Header {
    kind: u16,
    flags: u16,
    sequence: u32,
    /// Zero, or an error's number negated.
    status: i32,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (_, rest) = bytes.split_first_chunk::<4>()?;
        let (kind, rest) = rest.split_first_chunk::<2>()?;
        let (flags, rest) = rest.split_first_chunk::<2>()?;
        let (sequence, rest) = rest.split_first_chunk::<4>()?;
        let (_, rest) = rest.split_first_chunk::<4>()?;
        Some(Self {
            kind: u16::from_ne_bytes(*kind),
            flags: u16::from_ne_bytes(*flags),
            sequence: u32::from_ne_bytes(*sequence),
            status: rest.first_chunk().copied().map_or(0, i32::from_ne_bytes),
        })
    }
}

impl Table for Netlink {
    fn own_routes(&mut self) -> io::Result<Vec<OwnRoute>> {
        let routes = self.routes()?;
        Ok(routes.into_iter().filter(|route| route.header.protocol == PROTOCOL).filter_map(own_route).collect())
    }

    fn add_route(&mut self, route: &OwnRoute) -> io::Result<()> {
        let message = RouteNetlinkMessage::NewRoute(route_message(route));
        self.ask(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL).map(|_| ())
    }

    fn remove_route(&mut self, route: &OwnRoute) -> io::Result<()> {
        self.ask(RouteNetlinkMessage::DelRoute(route_message(route)), NLM_F_ACK).map(|_| ())
    }
}

/// Cuts the first message off `bytes`: its own length says where it ends, and the next begins at a multiple of four.
fn next_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk::<4>()?)).ok()?;
    if length < 16 {
        return None;
    }
    let message = bytes.get(..length)?;
    Some((message, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn ip_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn route_message(OwnRoute { way, route }: &OwnRoute) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = match route.network {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    message.header.destination_prefix_length = route.network.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = PROTOCOL;
    (message.header.kind, message.header.scope) = match (way, route.network) {
        (Way::Nowhere, _) => (RouteType::Unreachable, RouteScope::Universe),
        (Way::Over(_), IpNet::V4(_)) => (RouteType::Unicast, RouteScope::Link),
        (Way::Over(_), IpNet::V6(_)) => (RouteType::Unicast, RouteScope::Universe),
    };
    message.attributes =
        vec![RouteAttribute::Destination(route.network.network().into()), RouteAttribute::Priority(route.metric)];
    if let Way::Over(interface) = way {
        message.attributes.push(RouteAttribute::Oif(*interface));
    }
    if let Some(source) = route.source {
        message.attributes.push(RouteAttribute::PrefSource(source.into()));
    }
    message
}

fn own_route(message: RouteMessage) -> Option<OwnRoute> {
    let (mut destination, mut interface, mut metric, mut source) = (None, None, 0, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip_address(address),
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Priority(value) => metric = *value,
            RouteAttribute::PrefSource(address) => source = ip_address(address),
            _ => {}
        }
    }
    // The kernel leaves the destination of a default route out.
    let destination = destination.unwrap_or(match message.header.address_family {
        AddressFamily::Inet6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    });
    let network = IpNet::new(destination, message.header.destination_prefix_length).ok()?;
    let way = match message.header.kind {
        // The loopback interface stands in such an IPv6 route; nothing was asked for.
        RouteType::Unreachable => Way::Nowhere,
        _ => Way::Over(interface?),
    };
    Some(OwnRoute { way, route: HostRoute { network, source, metric } })
}

/// The metric that the kernel will show for this route.
pub fn effective_metric(route: &HostRoute) -> u32 {
    match (route.metric, route.network) {
        (0, IpNet::V6(_)) => IPV6_METRIC,
        (metric, _) => metric,
    }
}

/// Hears of every change of interfaces, addresses and routes.
pub struct Monitor(Socket);

impl Monitor {
    /// Subscribes.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        let groups = [
            libc::RTNLGRP_LINK,
            libc::RTNLGRP_IPV4_IFADDR,
            libc::RTNLGRP_IPV6_IFADDR,
            libc::RTNLGRP_IPV4_ROUTE,
            libc::RTNLGRP_IPV6_ROUTE,
        ];
        for group in groups {
            socket.add_membership(group)?;
        }
        Ok(Self(socket))
    }

    /// Forgets the news: what is there now is asked for anew. An overrun, which loses news, is news as well.
    pub fn drain(&self) {
        let mut bytes = Vec::with_capacity(ANSWER_MAX);
        loop {
            bytes.clear();
            match self.0.recv(&mut bytes, 0) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(_) => return,
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor belongs to the socket, which lives as long as `self` does.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_survives_the_way_to_the_kernel_and_back() {
        for (way, network, source, metric) in [
            (Way::Over(7), "192.168.11.0/24", Some("172.16.1.1"), 90),
            (Way::Over(7), "0.0.0.0/0", None, 100),
            (Way::Over(7), "2001:db8::/32", None, 1),
            (Way::Nowhere, "2001:db8::/32", None, u32::MAX),
        ] {
            let route = HostRoute {
                network: network.parse().unwrap(),
                source: source.map(|source| source.parse().unwrap()),
                metric,
            };
            let own = OwnRoute { way, route };
            assert_eq!(own_route(route_message(&own)), Some(own));
        }
    }

    #[test]
    fn the_kernel_tells_its_interfaces() {
        let interfaces = Netlink::open().unwrap().interfaces(None).unwrap();
        assert!(interfaces.iter().all(|interface| interface.name != "lo"));
    }

    /// A message without content but for `status`.
    fn message(kind: u16, flags: u16, sequence: u32, status: i32) -> Vec<u8> {
        let mut bytes = 20_u32.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(status.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_kernel_that_does_not_answer_is_an_error() {
        let error = Netlink::open().unwrap().receive().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn an_interrupted_dump_is_known_by_its_flag() {
        let mut answers = Answers { sequence: 7, ..Answers::default() };
        answers.read(&message(NLMSG_DONE, 0, 7, 0)).unwrap();
        assert!(answers.complete && !answers.torn);
        let mut answers = Answers { sequence: 7, ..Answers::default() };
        answers.read(&message(NLMSG_DONE, NLM_F_DUMP_INTR, 7, 0)).unwrap();
        assert!(answers.complete && answers.torn);
    }

    #[test]
    fn a_refusal_ends_a_conversation_with_the_kernels_reason() {
        for kind in [NLMSG_ERROR, NLMSG_DONE] {
            let mut answers = Answers { sequence: 7, ..Answers::default() };
            let error = answers.read(&message(kind, 0, 7, -libc::EPERM)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
            assert!(answers.complete);
        }
    }

    #[test]
    fn an_answer_to_an_earlier_question_is_passed_over() {
        let mut answers = Answers { sequence: 7, ..Answers::default() };
        answers.read(&message(NLMSG_ERROR, 0, 6, -libc::EPERM)).unwrap();
        assert!(!answers.complete);
    }

    #[test]
    fn a_message_that_lies_about_its_length_ends_the_reading() {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&64_u32.to_ne_bytes());
        assert_eq!(next_message(&bytes), None);
        bytes[..4].copy_from_slice(&3_u32.to_ne_bytes());
        assert_eq!(next_message(&bytes), None);
        bytes[..4].copy_from_slice(&17_u32.to_ne_bytes());
        assert_eq!(next_message(&bytes).map(|(message, rest)| (message.len(), rest.len())), Some((17, 0)));
    }
}
