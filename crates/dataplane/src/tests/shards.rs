//! Several shards, whichever of them receives a packet, are one gateway.

use super::firewall::*;
use super::*;

/// Shards, and what they hand to each other, in order.
struct Shards {
    all: Vec<Dataplane>,
    now: Instant,
}

impl Shards {
    fn new(policy: Policy, count: u16) -> Self {
        let policy = Arc::new(policy);
        let shard = |index| Dataplane::shard(Arc::clone(&policy), 77, ShardId { index, count });
        Self { all: (0..count).map(shard).collect(), now: at(1) }
    }

    /// Lets shard `at` do something, and the others what it hands them.
    fn run(&mut self, at: usize, call: impl FnOnce(&mut Dataplane, Instant, &mut Vec<Output>)) -> Vec<Output> {
        let mut out = Vec::new();
        call(&mut self.all[at], self.now, &mut out);
        for _ in 0..5 {
            let handed: Vec<_> = self.all.iter_mut().flat_map(Dataplane::handoffs).collect();
            for (to, handoff) in handed {
                self.all[usize::from(to)].take_over(self.now, handoff, &mut out);
            }
        }
        assert!(self.all.iter_mut().all(|shard| shard.handoffs().next().is_none()), "they never end to hand it on");
        out
    }

    fn receive(&mut self, at: usize, interface: InterfaceId, packet: &[u8]) -> Vec<Output> {
        self.run(at, |shard, now, out| shard.link(now, interface, Buffer::copy(packet), out))
    }

    fn connections(&self) -> usize {
        self.all.iter().map(|shard| shard.connections(self.now).count()).sum()
    }
}

fn allowed() -> Policy {
    let nat = Rule { source: SourceTranslation::Interface, ..rule("nat", &[LAN], &[WAN], RuleAction::Allow) };
    let web = Rule {
        destination_networks: vec![range(PUBLIC)],
        services: vec![tcp_service(80)],
        destination: DestinationTranslation::Static {
            address: Some(AddressMap::Single(ip(SERVER))),
            port: Some(PortMap::Single(8080)),
        },
        ..rule("web", &[WAN], &[CORE], RuleAction::Allow)
    };
    Policy { rules: vec![nat, web, rule("dmz", &[LAN], &[DMZ], RuleAction::Allow)], ..bare() }
}

#[test]
fn answers_find_their_connection_whichever_shard_receives_them() {
    let mut random = base::Random::numbered(4);
    let mut shards = Shards::new(allowed(), 3);
    let any = |random: &mut base::Random| usize::try_from(random.below(3)).unwrap();
    for port in 1000..1300 {
        let question = udp((INSIDE, port), (SERVER, 53), b"question");
        assert_eq!(links(&shards.receive(any(&mut random), LAN, &question)).len(), 1);
        let answer = udp((SERVER, 53), (INSIDE, port), b"answer");
        assert_eq!(links(&shards.receive(any(&mut random), DMZ, &answer)).len(), 1);
    }
    assert_eq!(shards.connections(), 300);
    assert!(shards.all.iter().all(|shard| shard.connections(shards.now).count() > 50), "all have their share");
}

#[test]
fn translated_connections_never_share_a_port_and_their_answers_come_back() {
    let mut random = base::Random::numbered(5);
    let mut shards = Shards::new(allowed(), 3);
    let any = |random: &mut base::Random| usize::try_from(random.below(3)).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for port in 1000..1300 {
        for host in [INSIDE, "10.0.0.11"] {
            let sent = shards.receive(any(&mut random), LAN, &udp((host, port), (STRANGER, 53), b"question"));
            let (_, _, sent) = links(&sent).remove(0);
            let public = key(&sent).ports.0;
            assert!(seen.insert(public), "port {public} twice");
            let back = shards.receive(any(&mut random), WAN, &udp((STRANGER, 53), (PUBLIC, public), b"answer"));
            assert_eq!(ends(&links(&back)[0].2).1, format!("{host}:{port}"));
        }
    }
}

#[test]
fn a_server_s_answers_and_errors_about_them_find_the_connection_that_was_sent_to_its_public_address() {
    let mut random = base::Random::numbered(6);
    let mut shards = Shards::new(allowed(), 3);
    let any = |random: &mut base::Random| usize::try_from(random.below(3)).unwrap();
    for port in 1000..1200 {
        let syn = tcp((STRANGER, port), (PUBLIC, 80), tcp::SYN, 1, 0);
        let sent = links(&shards.receive(any(&mut random), WAN, &syn));
        // The server refuses it, or somebody on the way there does.
        let refused = icmp::error_packet(icmp::Problem::Prohibited, ip(SERVER), ip(STRANGER), &sent[0].2).unwrap();
        let told = links(&shards.receive(any(&mut random), DMZ, &refused));
        assert_eq!((told.len(), key_of(&told[0].2).source), (1, ip(PUBLIC)));
        let answer = tcp((SERVER, 8080), (STRANGER, port), tcp::SYN | tcp::ACK, 9, 2);
        let back = links(&shards.receive(any(&mut random), DMZ, &answer));
        assert_eq!(ends(&back[0].2).0, format!("{PUBLIC}:80"));
        let error =
            icmp::error_packet(icmp::Problem::TimeExceeded, ip("203.0.113.77"), ip(PUBLIC), &back[0].2).unwrap();
        let told = links(&shards.receive(any(&mut random), WAN, &error));
        assert_eq!(told[0].1, ip(SERVER));
    }
    assert_eq!(shards.connections(), 200);
    // When they end, nobody sends packets to where they were.
    shards.now = at(100_000_000);
    for index in 0..3 {
        for _ in 0..10 {
            shards.run(index, |shard, now, out| shard.expire(now, out));
        }
    }
    assert_eq!(shards.connections(), 0);
    assert!(shards.all.iter().all(|shard| shard.shards.claimed() == 0));
}

#[test]
fn fragments_that_different_shards_receive_are_put_together() {
    let mut shards = Shards::new(allowed(), 3);
    let packet = udp((INSIDE, 1000), (SERVER, 53), &[7; 2000]);
    let whole = ip::Header::parse(&packet).unwrap();
    let mut pool = base::Pool::new(2048, 4);
    let pieces = crate::fragments::cut(&packet, &whole, None, 600, &mut pool).unwrap();
    let mut sent = 0;
    for (index, piece) in pieces.iter().enumerate() {
        sent += links(&shards.receive(index % 3, LAN, piece.bytes())).len();
    }
    assert!(pieces.len() > 3 && sent == pieces.len(), "{sent} of {} pieces", pieces.len());
}

#[test]
fn all_packets_of_an_sa_are_sealed_by_one_shard_in_the_order_of_their_numbers() {
    let mut random = base::Random::numbered(8);
    let mut shards = Shards::new(policy(&HEAD), 3);
    let sa = GCM.sa(true);
    for shard in &mut shards.all {
        shard.control(shards.now, Control::Install(Arc::clone(&sa)), &mut Vec::new()).unwrap();
    }
    let mut numbers = Vec::new();
    for port in 1000..1200 {
        let at = usize::try_from(random.below(3)).unwrap();
        let packet = udp((HEAD_HOST, port), (BRANCH_HOST, 53), b"question");
        for output in shards.run(at, |shard, now, out| shard.plain(now, Buffer::copy(&packet), out)) {
            if let Output::Outer { packet, .. } = output {
                numbers.push(wire::esp::Header::parse(packet.bytes()).unwrap().sequence);
            }
        }
    }
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    assert!(shards.all.iter().all(|shard| shard.connections(shards.now).count() > 30));
    assert_eq!(sa.usage().packets_out, 200);
}

#[test]
fn every_shard_seals_with_a_new_pair_once_one_of_them_has_heard_the_peer_use_it() {
    let mut shards = Shards::new(policy(&HEAD), 2);
    let mut branch = Dataplane::new(Arc::new(policy(&BRANCH)));
    GCM.install(false, &mut branch, shards.now);
    let next = Keying { generation: 2, outbound_now: false, ..GCM };
    Keying { outbound_now: true, ..next }.install(false, &mut branch, shards.now);
    for sa in [GCM.sa(true), next.sa(true)] {
        for shard in &mut shards.all {
            shard.control(shards.now, Control::Install(Arc::clone(&sa)), &mut Vec::new()).unwrap();
        }
    }
    let spi = |out: &[Output]| match out.iter().find(|output| matches!(output, Output::Outer { .. })) {
        Some(Output::Outer { packet, .. }) => wire::esp::Header::parse(packet.bytes()).unwrap().spi,
        _ => panic!("not sealed: {out:?}"),
    };
    let out = |shards: &mut Shards, port| {
        let packet = udp((HEAD_HOST, port), (BRANCH_HOST, 2), b"x");
        spi(&shards.run(0, |shard, now, out| shard.plain(now, Buffer::copy(&packet), out)))
    };
    assert!((1000..1010).all(|port| out(&mut shards, port) == 0x2001));
    let mut sent = Vec::new();
    branch.plain(shards.now, Buffer::copy(&udp((BRANCH_HOST, 9), (HEAD_HOST, 9), b"x")), &mut sent);
    let Some(Output::Outer { outer, ds, packet, .. }) = sent.pop() else { panic!("not sealed") };
    let arrived = Outer { local: outer.remote, remote: outer.local, udp: outer.udp };
    shards.run(1, |shard, now, out| shard.esp(now, arrived, ds, packet, out));
    // New connections of both shards; those that stand go on until the old pair is deleted.
    assert!((2000..2010).all(|port| out(&mut shards, port) == 0x2002));
}
