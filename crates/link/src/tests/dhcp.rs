//! The DHCP client against a server that does as it is told.

use std::net::Ipv4Addr;

use wire::arp::{Arp, Operation};
use wire::dhcp::{CLIENT_PORT, Kind, Message, SERVER_PORT};
use wire::ethernet::{self, Header, Prefix};
use wire::{ip as ip_header, ipv4, udp};

use super::*;
use crate::{Lease, events};

const SERVER: Mac = Mac([2, 0, 0, 0, 0, 0x53]);
const SERVER_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const GIVEN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

/// A gateway that gets its address, and the server's ear.
struct Story {
    world: World,
    heard: usize,
}

impl Story {
    fn new() -> Self {
        let mut asking = config(MAC_A, &[]);
        asking.ports[0].interfaces[0].dhcp = true;
        asking.ports[0].interfaces[0].hostname = "gw-world".into();
        let mut world = World::new(1, Vec::new());
        world.join(asking);
        Self { world, heard: 0 }
    }

    /// What the client has sent since, with the destinations of frame and packet.
    fn hear(&mut self) -> Vec<(Mac, IpAddr, Message)> {
        let frames = &self.world.frames[self.heard..];
        self.heard = self.world.frames.len();
        let message = |frame: &Vec<u8>| {
            let header = Header::parse(frame).unwrap();
            let packet = &frame[header.payload..];
            let ip = ip_header::Header::parse(packet).ok()?;
            let payload = udp::checked_payload(ip.payload_of(packet), ip.source, ip.destination)?;
            Some((header.destination, ip.destination, Message::parse(payload)?))
        };
        frames.iter().filter_map(message).collect()
    }

    fn hear_one(&mut self) -> Message {
        let mut heard = self.hear();
        assert_eq!(heard.len(), 1, "{heard:?}");
        heard.pop().unwrap().2
    }

    fn answer(&mut self, message: &Message) {
        let ports = udp::Header { source: SERVER_PORT, destination: CLIENT_PORT };
        let datagram = ports.datagram(SERVER_IP.into(), GIVEN.into(), &message.write()).unwrap();
        let mut header = [0; ipv4::HEADER];
        let repr = ipv4::Repr { source: SERVER_IP, destination: GIVEN, protocol: 17, ds: 0, ttl: 64, id: 0, flags: 0 };
        repr.write(&mut header, datagram.len());
        let prefix = Prefix::new(MAC_A, SERVER, None, ethernet::IPV4);
        self.world.inject(0, &[prefix.bytes(), &header, &datagram].concat());
    }

    fn reply(kind: Kind, to: &Message) -> Message {
        Message {
            yiaddr: GIVEN,
            mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            router: Some(SERVER_IP),
            dns: vec![Ipv4Addr::new(192, 0, 2, 53)],
            lease: Some(3600),
            server: Some(SERVER_IP),
            ..Message::new(kind, to.xid, to.chaddr)
        }
    }

    /// Through offer and request, to the probes.
    fn accepted(&mut self) {
        let discover = self.hear_one();
        self.answer(&Self::reply(Kind::Offer, &discover));
        let request = self.hear_one();
        self.answer(&Self::reply(Kind::Ack, &request));
    }

    fn bound(&mut self) {
        self.accepted();
        self.world.run_secs(7);
        assert_eq!(self.leases().len(), 1);
        let mut configured = config(MAC_A, &["192.0.2.77/24"]);
        configured.ports[0].interfaces[0].dhcp = true;
        self.world.with(0, |link, now, out| link.configure(now, Arc::new(configured), out));
        self.world.run_secs(3);
        self.hear();
    }

    fn leases(&self) -> Vec<&Lease> {
        let outputs = self.world.stations[0].out.iter();
        outputs.filter_map(|output| if let Output::Lease(lease) = output { Some(lease) } else { None }).collect()
    }

    fn lost(&self) -> bool {
        let lost = Output::LeaseLost { interface: IF, address: GIVEN };
        self.world.stations[0].out.contains(&lost)
    }

    fn logged<E: base::Event>(&self) -> bool {
        self.world.logs(0).iter().any(|record| record.is::<E>())
    }
}

#[test]
fn an_interface_gets_an_address_after_it_was_seen_to_be_free() {
    let mut story = Story::new();
    let discover = story.hear_one();
    assert_eq!((discover.kind, discover.hostname.as_str(), discover.chaddr), (Kind::Discover, "gw-world", MAC_A));
    assert_eq!(discover.client_id, [1, 2, 0, 0, 0, 0, 0xa]);
    story.answer(&Story::reply(Kind::Offer, &discover));
    let request = story.hear_one();
    assert_eq!((request.kind, request.requested, request.server), (Kind::Request, Some(GIVEN), Some(SERVER_IP)));
    assert_eq!(request.xid, discover.xid);
    story.answer(&Story::reply(Kind::Ack, &request));
    assert!(story.leases().is_empty(), "not before it was asked for");
    story.world.run_secs(7);
    let probes = story.world.frames.iter().filter(|frame| frame[12..14] == [8, 6]).count();
    assert_eq!(probes, 3);
    let leases = story.leases();
    let [lease] = leases.as_slice() else { panic!("{leases:?}") };
    assert_eq!((lease.interface, lease.address, lease.prefix, lease.router), (IF, GIVEN, 24, Some(SERVER_IP)));
    assert!(lease.duration.is_some_and(|left| left > Duration::from_secs(3590) && left < Duration::from_secs(3600)));
    assert!(story.logged::<events::DhcpLease>());
}

#[test]
fn an_address_that_somebody_uses_is_declined() {
    let mut story = Story::new();
    story.accepted();
    let arp = Arp {
        operation: Operation::Reply,
        sender_mac: MAC_B,
        sender: GIVEN,
        target_mac: MAC_A,
        target: Ipv4Addr::UNSPECIFIED,
    };
    story.world.inject(0, &[Prefix::new(MAC_A, MAC_B, None, ethernet::ARP).bytes(), &arp.write()].concat());
    let decline = story.hear_one();
    assert_eq!((decline.kind, decline.requested, decline.server), (Kind::Decline, Some(GIVEN), Some(SERVER_IP)));
    assert!(story.logged::<events::DhcpDeclined>());
    story.world.run_secs(9);
    assert!(story.hear().is_empty() && story.leases().is_empty());
    story.world.run_secs(2);
    let discover = story.hear_one();
    assert_eq!((discover.kind, discover.requested), (Kind::Discover, None));
}

#[test]
fn a_client_without_answer_asks_less_and_less_often() {
    let mut story = Story::new();
    story.world.run_secs(600);
    let discovers = story.hear();
    // 4, 8, 16, 32, then 64 seconds apart.
    assert!((12..=14).contains(&discovers.len()), "{}", discovers.len());
    assert!(discovers.iter().all(|(mac, to, _)| *mac == Mac::BROADCAST && *to == ip("255.255.255.255")));
    assert!(story.logged::<events::DhcpNoServer>());
}

#[test]
fn a_lease_is_renewed_with_its_server_and_then_with_any() {
    let mut story = Story::new();
    story.bound();
    story.world.run_secs(1800);
    let renewals = story.hear();
    let [(mac, to, renewal)] = renewals.as_slice() else { panic!("{renewals:?}") };
    assert_eq!((*mac, *to), (SERVER, IpAddr::V4(SERVER_IP)));
    assert_eq!((renewal.kind, renewal.ciaddr, renewal.requested, renewal.server), (Kind::Request, GIVEN, None, None));
    story.answer(&Story::reply(Kind::Ack, renewal));
    assert_eq!(story.leases().len(), 2);
    assert_eq!(
        story.leases()[1].duration,
        Some(Duration::from_secs(3600)).map(|_| story.leases()[1].duration.unwrap())
    );
    // The server is gone from here on.
    story.world.run_secs(3200);
    let tries = story.hear();
    let broadcasts = tries.iter().filter(|(mac, ..)| *mac == Mac::BROADCAST).count();
    assert!(broadcasts >= 1 && tries.len() > broadcasts, "{tries:?}");
    assert!(!story.lost());
    story.world.run_secs(600);
    assert!(story.lost() && story.logged::<events::DhcpLeaseLost>());
    assert_eq!(story.hear().last().unwrap().2.kind, Kind::Discover);
}

#[test]
fn a_refusal_ends_the_lease_and_begins_anew() {
    let mut story = Story::new();
    story.bound();
    story.world.run_secs(1800);
    let renewal = story.hear_one();
    let nak = Message { server: Some(SERVER_IP), ..Message::new(Kind::Nak, renewal.xid, renewal.chaddr) };
    story.answer(&nak);
    assert!(story.lost() && story.logged::<events::DhcpRefused>());
    story.world.run_secs(3);
    assert_eq!(story.hear_one().kind, Kind::Discover);
}

#[test]
fn a_link_that_comes_back_has_its_lease_checked() {
    let mut story = Story::new();
    story.bound();
    story.world.with(0, |link, now, out| link.link_state(now, PORT, false, out));
    story.world.with(0, |link, now, out| link.link_state(now, PORT, true, out));
    let check = story.hear_one();
    assert_eq!((check.kind, check.ciaddr), (Kind::Request, GIVEN));
}

#[test]
fn an_address_is_given_back_at_the_end_and_when_it_is_not_wanted_any_more() {
    for shutdown in [true, false] {
        let mut story = Story::new();
        story.bound();
        story.world.with(0, |link, now, out| match shutdown {
            true => link.shutdown(now, out),
            false => link.configure(now, Arc::new(config(MAC_A, &["192.0.2.77/24"])), out),
        });
        let heard = story.hear();
        let [(mac, _, release)] = heard.as_slice() else { panic!("{heard:?}") };
        assert_eq!((*mac, release.kind, release.ciaddr), (SERVER, Kind::Release, GIVEN));
        assert_eq!(release.server, Some(SERVER_IP));
    }
}

#[test]
fn what_makes_no_sense_is_counted_and_changes_nothing() {
    let mut story = Story::new();
    let discover = story.hear_one();
    let offer = Story::reply(Kind::Offer, &discover);
    let hostile = [
        Message { xid: discover.xid ^ 1, ..offer.clone() },
        Message { chaddr: MAC_B, ..offer.clone() },
        Message { yiaddr: Ipv4Addr::new(224, 0, 0, 1), ..offer.clone() },
        Message { yiaddr: Ipv4Addr::UNSPECIFIED, ..offer.clone() },
        Message { mask: Some(Ipv4Addr::new(255, 0, 255, 0)), ..offer.clone() },
        Message { lease: Some(0), ..offer.clone() },
        Message { server: None, ..offer.clone() },
        Message { kind: Kind::Ack, ..offer.clone() },
    ];
    for message in &hostile {
        story.answer(message);
    }
    assert_eq!(story.world.drops(0, Reason::DhcpUnexpected), 8);
    assert!(story.hear().is_empty());
    story.answer(&offer);
    assert_eq!(story.hear_one().kind, Kind::Request);
}
