//! What the fuzz target of the layer does with its bytes; the seeded test does the same. Panics when a property does not
//! hold, and is called by tests alone.

use std::net::IpAddr;
use std::sync::Arc;

use base::{Buffer, Duration, Instant, IpRange, Random};
use wire::ip;

use crate::{
    Config, InterfaceId, Limits, Link, LinkInterface, Mac, Output, Port, PortId, Proxy, Publish, PublishMode, Reason,
    Role, StaticNeighbor,
};

/// Hardware address of the gateway's port.
pub const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const PORT: PortId = PortId(1);
/// Told and not to be moved.
const TOLD: (IpAddr, Mac) = (IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9)), Mac([2, 0, 0, 0, 0, 9]));
const NEIGHBOURS_MAX: usize = 8;

/// Several steps: each has a byte that says what happens, two with a length, and that many bytes: a frame, a packet to be
/// sent, or time.
pub fn frames(mut bytes: &[u8]) {
    let mut link = Link::new(Role::Leader, Random::numbered(1));
    let mut out = Vec::new();
    let mut now = Instant::from_micros(1);
    let config = Arc::new(config());
    link.configure(now, Arc::clone(&config), &mut out);
    link.link_state(now, PORT, true, &mut out);
    while let [what, high, low, rest @ ..] = bytes {
        let (data, behind) =
            rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))).unwrap_or((rest, &[]));
        bytes = behind;
        out.clear();
        match what % 8 {
            0..=3 => link.frame(now, PORT, Buffer::copy(data), &mut out),
            4 => {
                if let Ok(header) = ip::Header::parse(data) {
                    let interface = InterfaceId(u32::from(what / 8 % 3));
                    link.send(now, interface, header.destination, Buffer::copy(data), &mut out);
                }
            }
            5 => now += Duration::from_millis(u64::from(u16::from_be_bytes([*high, *low]))),
            6 => now += Duration::from_secs(u64::from(u16::from_be_bytes([*high, *low]))),
            _ => {
                link.link_state(now, PORT, false, &mut out);
                link.configure(now, Arc::clone(&config), &mut out);
                link.link_state(now, PORT, true, &mut out);
            }
        }
        link.expire(now, &mut out);
        check(&link, now, &out);
    }
    out.clear();
    link.shutdown(now, &mut out);
    check(&link, now, &out);
}

/// What holds after every step.
fn check(link: &Link, now: Instant, out: &[Output]) {
    assert!(out.len() < 200, "one step makes few outputs: {}", out.len());
    assert!(link.next_deadline().is_none_or(|at| at > now), "what was due is done");
    for output in out {
        match output {
            Output::Frame { port, frame } => {
                let header = wire::ethernet::Header::parse(frame.bytes());
                assert!(header.is_ok_and(|header| header.source.is_unicast()), "{header:?}");
                assert_eq!(*port, PORT);
            }
            Output::Packet { packet, .. } => assert!(ip::version(packet.bytes()).is_some()),
            Output::Log(record) => assert!(record.to_string().lines().count() == 1),
            _ => {}
        }
    }
    for id in [1, 2].map(InterfaceId) {
        let known = link.neighbours().filter(|neighbour| neighbour.interface == id);
        assert!(known.count() <= NEIGHBOURS_MAX + 1, "the table is bounded");
        assert!(link.neighbours().map(|neighbour| neighbour.waiting).sum::<usize>() <= 2 * 32);
    }
    if link.filter(PORT).groups.is_empty() {
        return; // shut down
    }
    assert_eq!(link.lookup(InterfaceId(1), TOLD.0), Some(TOLD.1), "what is told stays");
    let sum: u64 = Reason::ALL.iter().map(|reason| link.counters().drops(*reason)).sum();
    assert!(sum < 1 << 32);
}

fn config() -> Config {
    let network = |address: IpAddr, prefix| IpRange::network(address, prefix).unwrap_or(IpRange::host(address));
    let v4 = |last| IpAddr::from([10, 0, 0, last]);
    let v6 = |last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
    let lan = LinkInterface {
        id: InterfaceId(1),
        name: "lan".into(),
        vlan: None,
        addresses: vec![(v4(1), 24), (v6(1), 64)],
        dhcp: false,
        hostname: String::new(),
    };
    let wan = LinkInterface {
        id: InterfaceId(2),
        name: "wan".into(),
        vlan: Some(7),
        addresses: Vec::new(),
        dhcp: true,
        hostname: "gateway".into(),
    };
    Config {
        ports: vec![Port { id: PORT, mac: MAC, interfaces: vec![lan, wan] }],
        publish: vec![Publish {
            interface: InterfaceId(1),
            range: network(v4(64), 30),
            mac: Some(Mac([2, 0, 0, 0, 0, 0x64])),
            mode: PublishMode::XPublish,
        }],
        proxy: vec![Proxy { interface: InterfaceId(1), ranges: vec![network(v4(128), 25), network(v6(0x8000), 113)] }],
        statics: vec![StaticNeighbor { interface: InterfaceId(1), address: TOLD.0, mac: TOLD.1 }],
        limits: Limits { neighbours_max: NEIGHBOURS_MAX, waiting_max: 32, ..Limits::default() },
    }
}

/// Good inputs: questions and answers of both protocols, offers, packets.
pub fn seeds() -> Vec<Vec<u8>> {
    use wire::arp::{Arp, Operation};
    use wire::dhcp::{self, Kind, Message};
    use wire::ethernet::{ARP, IPV4, IPV6, Prefix, solicited_node};
    use wire::{icmp, ndp, udp};
    let peer = Mac([2, 0, 0, 0, 0, 2]);
    let (a, b): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let (a6, b6) = (
        std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
        std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
    );
    let step = |what: u8, data: &[u8]| {
        let [high, low] = u16::try_from(data.len()).unwrap_or(0).to_be_bytes();
        [&[what, high, low], data].concat()
    };
    let frame =
        |to: Mac, vlan, kind, payload: &[u8]| step(0, &[Prefix::new(to, peer, vlan, kind).bytes(), payload].concat());
    let arp = |operation, sender: [u8; 4], target: [u8; 4]| {
        let arp = Arp { operation, sender_mac: peer, sender: sender.into(), target_mac: MAC, target: target.into() };
        frame(Mac::BROADCAST, None, ARP, &arp.write())
    };
    let mut seeds = vec![
        arp(Operation::Request, [10, 0, 0, 2], [10, 0, 0, 1]),
        arp(Operation::Reply, [10, 0, 0, 2], [10, 0, 0, 1]),
        arp(Operation::Request, [10, 0, 0, 1], [10, 0, 0, 1]),
        arp(Operation::Request, [0, 0, 0, 0], [10, 0, 0, 200]),
    ];
    let ping = icmp::echo_request(a, b, 1, 1, &[7; 30]).unwrap_or_default();
    let answered = [step(4, &ping), seeds.iter().flatten().copied().collect(), step(6, &[0; 46]), step(4 + 8, &ping)];
    seeds.push(answered.concat());
    let ping6 = icmp::echo_request(a6.into(), b6.into(), 1, 1, &[7; 30]).unwrap_or_default();
    let solicitation = ndp::Message::Solicitation { target: a6, source_mac: Some(peer) };
    let advertisement = ndp::Message::Advertisement {
        target: b6,
        target_mac: Some(peer),
        router: false,
        solicited: true,
        overrides: true,
    };
    let group = Mac::of_group(solicited_node(a6).into());
    let asked = solicitation.packet(b6, solicited_node(a6)).unwrap_or_default();
    let said = advertisement.packet(b6, a6).unwrap_or_default();
    seeds.push(
        [step(6, &[0; 2]), frame(group, None, IPV6, &asked), step(12, &ping6), frame(MAC, None, IPV6, &said)].concat(),
    );
    seeds.push([frame(MAC, Some(7), IPV4, &ping), step(7, &[]), frame(MAC, None, IPV4, &ping)].concat());
    // The transaction's number is drawn from the layer's seed: the first that it draws for its client.
    let offer = Message {
        yiaddr: [10, 9, 0, 7].into(),
        lease: Some(60),
        server: Some([10, 9, 0, 1].into()),
        ..Message::new(Kind::Offer, first_xid(), MAC)
    };
    let dhcp = |kind| {
        let message = Message { kind, ..offer.clone() };
        let ports = udp::Header { source: dhcp::SERVER_PORT, destination: dhcp::CLIENT_PORT };
        let datagram = ports.datagram(a, b, &message.write()).unwrap_or_default();
        frame(MAC, Some(7), IPV4, &icmp::ip_packet(a, b, ip::UDP, &datagram).unwrap_or_default())
    };
    seeds.push([dhcp(Kind::Offer), dhcp(Kind::Ack), step(6, &[0; 9]), step(6, &[0; 40]), dhcp(Kind::Nak)].concat());
    seeds
}

/// The number under which the layer of [`frames`] asks for an address first.
fn first_xid() -> u32 {
    let mut link = Link::new(Role::Leader, Random::numbered(1));
    let (mut out, now) = (Vec::new(), Instant::from_micros(1));
    link.configure(now, Arc::new(config()), &mut out);
    link.link_state(now, PORT, true, &mut out);
    let xid = |output: &Output| match output {
        Output::Frame { frame, .. } => {
            wire::dhcp::Message::parse(frame.bytes().get(46..)?).map(|discover| discover.xid)
        }
        _ => None,
    };
    out.iter().find_map(xid).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use base::Mutations;

    use super::*;

    #[test]
    fn the_seeds_go_far() {
        assert_ne!(first_xid(), 0);
        seeds().iter().for_each(|bytes| frames(bytes));
    }

    #[test]
    fn seeded_damage_to_frames_breaks_no_property() {
        Mutations::new(1, seeds()).take(100_000).for_each(|bytes| frames(&bytes));
    }
}
