//! Hosts that are asked whether they are there, over an interface of the kernel's. One thread asks them all at once: a
//! host that does not answer keeps no other waiting.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Instant;

use adit::epoll::{Epoll, Token};
use adit::nic::Nic;
use engine::{JobResult, Probe, ProbeMethod, Ticket};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RawProtocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, ipproto, recv,
    send, socket_with, sockopt,
};
use wire::arp::{Arp, Operation};
use wire::ethernet::{self, Mac};
use wire::{icmp, ip, ndp, octets};

use super::Reports;

/// Hosts that are asked at the same time.
const PROBES_MAX: usize = 512;
/// Bytes of data in an echo request.
const LENGTH: usize = 32;
/// Packets looked at in one turn of a probe: a flood must not keep the others waiting.
const TURN: usize = 64;
/// The first bytes of what is received say all.
const BUFFER: usize = 2_048;

const BELL: Token = Token(0);

/// A host to be asked.
struct Order {
    ticket: Ticket,
    probe: Probe,
    until: Instant,
}

/// Asks hosts on a thread of its own.
pub struct Prober {
    orders: SyncSender<Order>,
    bell: OwnedFd,
}

impl Prober {
    /// Starts the thread; it ends with this value.
    pub fn start(reports: Reports) -> io::Result<Self> {
        let (orders, waiting) = sync_channel(PROBES_MAX);
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let heard = bell.try_clone()?;
        let (begun, begins) = sync_channel(1);
        std::thread::Builder::new().name("probe".to_owned()).spawn(move || {
            let epoll = Epoll::new().and_then(|epoll| epoll.add(&heard, BELL).map(|()| epoll));
            let mut rounds = match epoll {
                Ok(epoll) => Rounds { epoll, bell: heard, waiting, reports, open: BTreeMap::new(), last: 0 },
                Err(error) => return drop(begun.send(Err(error))),
            };
            drop(begun.send(Ok(())));
            // An error of the waiting ends the thread; polls without answers make routes fail, and the log says so.
            while matches!(rounds.turn(), Ok(true)) {}
        })?;
        begins.recv().map_err(io::Error::other)??;
        Ok(Self { orders, bell })
    }

    /// Takes a question on; false when there are too many.
    pub fn take(&self, ticket: Ticket, probe: Probe, until: Instant) -> bool {
        let taken = self.orders.try_send(Order { ticket, probe, until }).is_ok();
        self.ring();
        taken
    }

    fn ring(&self) {
        // Fails only when 2^64 - 1 rings are waiting.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        let (closed, _) = sync_channel(0);
        self.orders = closed;
        self.ring();
    }
}

struct Rounds {
    epoll: Epoll,
    bell: OwnedFd,
    waiting: Receiver<Order>,
    reports: Reports,
    open: BTreeMap<u64, Asked>,
    last: u64,
}

/// A host that has been asked.
struct Asked {
    ticket: Ticket,
    probe: Probe,
    socket: OwnedFd,
    sent: Instant,
    until: Instant,
}

impl Rounds {
    /// Waits, and deals with what has come of that. False: nobody wants to know any more.
    fn turn(&mut self) -> io::Result<bool> {
        let now = Instant::now();
        let next = self.open.values().map(|asked| asked.until.saturating_duration_since(now)).min();
        let mut ready = Vec::new();
        self.epoll.wait(next, &mut ready)?;
        for token in ready {
            if token == BELL {
                let _ = rustix::io::read(&self.bell, &mut [0; 8]);
                continue;
            }
            let outcome = self.open.get(&token.0).and_then(Asked::look);
            if let Some(outcome) = outcome {
                self.end(token.0, outcome);
            }
        }
        let now = Instant::now();
        let late: Vec<u64> =
            self.open.iter().filter(|(_, asked)| asked.until <= now).map(|(number, _)| *number).collect();
        for number in late {
            self.end(number, Err("no answer".to_owned()));
        }
        while self.open.len() < PROBES_MAX {
            match self.waiting.try_recv() {
                Ok(order) => self.begin(order),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(false),
            }
        }
        Ok(true)
    }

    fn begin(&mut self, Order { ticket, probe, until }: Order) {
        self.last += 1;
        let token = Token(self.last);
        let begun = ask(&probe, number(ticket)).and_then(|socket| {
            self.epoll.add(&socket, token)?;
            if matches!(probe.method, ProbeMethod::Tcp(_)) {
                self.epoll.want_write(&socket, token, true)?;
            }
            Ok(socket)
        });
        match begun {
            Ok(socket) => {
                self.open.insert(self.last, Asked { ticket, probe, socket, sent: Instant::now(), until });
            }
            Err(error) => drop(self.reports.send(ticket, JobResult::Probed(Err(error.to_string())))),
        }
    }

    fn end(&mut self, number: u64, outcome: Result<std::time::Duration, String>) {
        let Some(asked) = self.open.remove(&number) else { return };
        self.epoll.remove(&asked.socket);
        self.reports.send(asked.ticket, JobResult::Probed(outcome));
    }
}

impl Asked {
    /// What has come; `None`: no answer yet.
    fn look(&self) -> Option<Result<std::time::Duration, String>> {
        if matches!(self.probe.method, ProbeMethod::Tcp(_)) {
            return Some(match sockopt::socket_error(&self.socket) {
                Ok(Ok(())) => Ok(self.sent.elapsed()),
                Ok(Err(error)) | Err(error) => Err(error.to_string()),
            });
        }
        let mut buffer = [0; BUFFER];
        for _ in 0..TURN {
            match recv(&self.socket, buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    if answers(&self.probe, number(self.ticket), bytes) {
                        return Some(Ok(self.sent.elapsed()));
                    }
                }
                Err(Errno::AGAIN) => return None,
                Err(Errno::INTR) => {}
                Err(error) => return Some(Err(error.to_string())),
            }
        }
        None
    }
}

/// Tells an echo request from others of this gateway.
fn number(ticket: Ticket) -> (u16, u16) {
    let [.., a, b, c, d] = ticket.0.to_be_bytes();
    (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

/// Sends the question, and hands back where the answer will come.
fn ask(probe: &Probe, number: (u16, u16)) -> io::Result<OwnedFd> {
    match (probe.method, probe.target) {
        (ProbeMethod::Icmp, target) => {
            let socket = icmp_socket(probe)?;
            connect(&socket, &SocketAddr::new(target, 0))?;
            let source = probe.source.unwrap_or(unspecified(target));
            let packet = icmp::echo_request(source, target, number.0, number.1, &[0; LENGTH]);
            send(&socket, payload(packet.as_deref())?, SendFlags::DONTWAIT)?;
            Ok(socket)
        }
        (ProbeMethod::Tcp(port), target) => {
            let socket = open(family(target), SocketType::STREAM, None)?;
            prepare(&socket, probe)?;
            match connect(&socket, &SocketAddr::new(target, port)) {
                Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
                Err(error) => Err(error.into()),
            }
        }
        (ProbeMethod::Neighbor, IpAddr::V4(target)) => ask_arp(probe, target),
        (ProbeMethod::Neighbor, IpAddr::V6(target)) => {
            let socket = icmp_socket(probe)?;
            // RFC 4861 section 7.1.1: with another hop limit it would be thrown away.
            sockopt::set_ipv6_multicast_hops(&socket, 255)?;
            let mac = Nic::named(&probe.device)?.state()?.mac;
            let message = ndp::Message::Solicitation { target, source_mac: Some(Mac(mac)) };
            let group = solicited_node(target);
            let packet = message.packet(Ipv6Addr::UNSPECIFIED, group);
            let to = SocketAddr::new(group.into(), 0);
            rustix::net::sendto(&socket, payload(packet.as_deref())?, SendFlags::DONTWAIT, &to)?;
            Ok(socket)
        }
    }
}

fn ask_arp(probe: &Probe, target: Ipv4Addr) -> io::Result<OwnedFd> {
    let nic = Nic::named(&probe.device)?;
    let socket = open(AddressFamily::PACKET, SocketType::RAW, None)?;
    bind_to_card(&socket, nic.index(), libc::ETH_P_ARP)?;
    let mac = Mac(nic.state()?.mac);
    let sender = match probe.source {
        Some(IpAddr::V4(source)) => source,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    let question = Arp { operation: Operation::Request, sender_mac: mac, sender, target_mac: Mac([0; 6]), target };
    let frame = [&[0xff; 6][..], &mac.0, &ethernet::ARP.to_be_bytes(), &question.write()].concat();
    send(&socket, &frame, SendFlags::DONTWAIT)?;
    Ok(socket)
}

/// True when this is what was asked for.
fn answers(probe: &Probe, (identifier, sequence): (u16, u16), bytes: &[u8]) -> bool {
    match (probe.method, probe.target) {
        (ProbeMethod::Icmp, target) => {
            let Some(message) = icmp_message(target, bytes) else { return false };
            let class = icmp::Header::parse(message, target.is_ipv6()).map(|header| header.class);
            class == Some(icmp::Class::Reply(identifier)) && octets::u16(message, 6) == Some(sequence)
        }
        (ProbeMethod::Neighbor, IpAddr::V4(target)) => bytes.get(14..).and_then(Arp::parse).is_some_and(|arp| {
            let foreign =
                Nic::named(&probe.device).and_then(|nic| nic.state()).is_ok_and(|state| state.mac != arp.sender_mac.0);
            arp.operation == Operation::Reply && arp.sender == target && foreign
        }),
        (ProbeMethod::Neighbor, IpAddr::V6(target)) => {
            // An advertisement (RFC 4861 section 4.4) that answers.
            bytes.first() == Some(&136)
                && octets::u8(bytes, 4).is_some_and(|flags| flags & 0x40 != 0)
                && octets::array::<16>(bytes, 8) == Some(target.octets())
        }
        (ProbeMethod::Tcp(_), _) => false,
    }
}

/// The ICMP message in what a raw socket delivers: for IPv4 with the IP header, for IPv6 without.
fn icmp_message(target: IpAddr, bytes: &[u8]) -> Option<&[u8]> {
    if target.is_ipv6() {
        return Some(bytes);
    }
    let header = ip::Header::parse(bytes).ok()?;
    (header.source == target).then(|| header.payload_of(bytes))
}

/// What is behind the IP header of a packet of ours: the kernel writes that itself.
fn payload(packet: Option<&[u8]>) -> io::Result<&[u8]> {
    let packet = packet.ok_or_else(|| io::Error::other("the addresses are of two families"))?;
    let header = ip::Header::parse(packet).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(header.payload_of(packet))
}

fn icmp_socket(probe: &Probe) -> io::Result<OwnedFd> {
    let protocol = if probe.target.is_ipv4() {
        Some(ipproto::ICMP)
    } else {
        RawProtocol::new(u32::from(ip::ICMPV6)).map(Protocol::from_raw)
    };
    let socket = open(family(probe.target), SocketType::RAW, protocol)?;
    prepare(&socket, probe)?;
    Ok(socket)
}

/// Over the interface, from the address.
fn prepare(socket: &OwnedFd, probe: &Probe) -> io::Result<()> {
    bind_to_device(socket, &probe.device)?;
    if let Some(source) = probe.source {
        bind(socket, &SocketAddr::new(source, 0))?;
    }
    Ok(())
}

fn open(family: AddressFamily, kind: SocketType, protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    Ok(socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, protocol)?)
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

fn unspecified(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// The group in which a neighbour hears who asks for it (RFC 4291 section 2.7.1).
fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = target.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | high & 0x00ff, low)
}

/// Packets leave by this interface and come in by it.
fn bind_to_device(socket: &impl AsFd, device: &str) -> io::Result<()> {
    let size = libc::socklen_t::try_from(device.len()).unwrap_or_default();
    // SAFETY: pointer and size describe the name, which the kernel copies.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            device.as_ptr().cast(),
            size,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Frames of this protocol come from this network card, and go to it.
fn bind_to_card(socket: &OwnedFd, index: u32, protocol: libc::c_int) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain data for which all zeroes is a value.
    let mut name: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    name.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
    name.sll_protocol = u16::try_from(protocol).unwrap_or_default().to_be();
    name.sll_ifindex = i32::try_from(index).unwrap_or_default();
    let size = libc::socklen_t::try_from(size_of_val(&name)).unwrap_or_default();
    // SAFETY: the address is the sockaddr_ll that the pointer and the size describe.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const name).cast(), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(method: ProbeMethod, target: &str) -> Probe {
        Probe { method, target: target.parse().unwrap(), source: None, device: "lo".to_owned() }
    }

    #[test]
    fn only_the_answer_to_this_very_question_counts() {
        let (asked, number) = (probe(ProbeMethod::Icmp, "192.0.2.1"), (7, 9));
        let own = "192.0.2.2".parse().unwrap();
        let mut packet = icmp::echo_request(own, asked.target, 7, 9, b"x").unwrap();
        assert!(!answers(&asked, number, &packet), "our own question");
        let header = ip::Header::parse(&packet).unwrap();
        icmp::turn_into_reply(&mut packet[header.payload..], false);
        assert!(!answers(&asked, number, &packet), "from another address");
        ip::swap_addresses(&mut packet);
        assert!(answers(&asked, number, &packet));
        assert!(!answers(&asked, (7, 10), &packet) && !answers(&asked, (8, 9), &packet));
    }

    #[test]
    fn a_neighbour_is_asked_for_in_its_group() {
        let group = solicited_node("2001:db8::1:2:abcd:ef01".parse().unwrap());
        assert_eq!(group.to_string(), "ff02::1:ffcd:ef01");
        let asked = probe(ProbeMethod::Neighbor, "2001:db8::1");
        let IpAddr::V6(target) = asked.target else { panic!() };
        let advertisement = |solicited| {
            let message =
                ndp::Message::Advertisement { target, target_mac: None, router: true, solicited, overrides: false };
            message.packet(target, "2001:db8::2".parse().unwrap()).unwrap().split_off(40)
        };
        assert!(answers(&asked, (0, 0), &advertisement(true)) && !answers(&asked, (0, 0), &advertisement(false)));
    }
}
