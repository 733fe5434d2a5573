//! Whether a packet took the fast lane cannot be told from what comes out.

use proptest::prelude::*;

use super::offload::state;
use super::*;
use crate::SourceTranslation;

/// A packet as some host may send it, mostly an ordinary one.
#[derive(Clone, Debug)]
struct Spec {
    from_head: bool,
    /// To or from beyond the outer network, under an address of the gateway's.
    outside: bool,
    v4: bool,
    tcp: bool,
    /// Which of a few ports.
    port: u16,
    len: usize,
    flags: u8,
    /// Where in the sequence, and what of the other side's.
    sequence: (u32, u32),
    ds: u8,
    ttl: u8,
    df: bool,
    /// Bytes behind the packet's own end.
    padding: usize,
    /// A byte that is not as it should be.
    damage: Option<(usize, u8)>,
    /// The mark of the network, whether it arrives twice, and seconds until the next.
    path: (u8, bool, u64),
}

fn spec() -> impl Strategy<Value = Spec> {
    let flags = prop_oneof![
        6 => Just(tcp::ACK),
        2 => Just(tcp::ACK | 8),
        1 => Just(tcp::SYN),
        2 => Just(tcp::SYN | tcp::ACK),
        1 => Just(tcp::FIN | tcp::ACK),
        1 => Just(tcp::RST | tcp::ACK),
        1 => any::<u8>()
    ];
    let len = prop_oneof![4 => 0usize..200, 1 => 1_300usize..1_500];
    let ttl = prop_oneof![6 => Just(64u8), 1 => 0u8..4];
    let damage = prop_oneof![8 => Just(None), 1 => (0usize..48, any::<u8>()).prop_map(Some)];
    let padding = prop_oneof![4 => Just(0usize), 1 => 1usize..9];
    let time = prop_oneof![8 => Just(0u64), 1 => 1u64..200];
    (
        (any::<bool>(), proptest::bool::weighted(0.3), any::<bool>(), any::<bool>(), 0u16..2, len, flags),
        ((0u32..4, 0u32..4), any::<u8>(), ttl, any::<bool>(), padding, damage),
        (any::<u8>(), proptest::bool::weighted(0.1), time),
    )
        .prop_map(|(who, how, path)| {
            let (from_head, outside, v4, tcp, port, len, flags) = who;
            let (sequence, ds, ttl, df, padding, damage) = how;
            Spec { from_head, outside, v4, tcp, port, len, flags, sequence, ds, ttl, df, padding, damage, path }
        })
}

impl Spec {
    fn packet(&self) -> Vec<u8> {
        let (head, other) = match (self.outside, self.v4) {
            (true, _) if self.from_head => (HEAD_HOST, "203.0.113.9"),
            (true, _) => (HEAD.wan, "203.0.113.9"),
            (false, true) => (HEAD_HOST, BRANCH_HOST),
            (false, false) => (HEAD_HOST_V6, BRANCH_HOST_V6),
        };
        let (near, far) = ((head, 5_000 + self.port), (other, 80));
        let (from, to) = if self.from_head { (near, far) } else { (far, near) };
        let mut packet = if self.tcp {
            let (sequence, acknowledgement) = (1_000 + self.sequence.0 * 100, 1_000 + self.sequence.1 * 100);
            let mut packet = tcp(from, to, self.flags, sequence, acknowledgement);
            packet.extend(pattern(self.len));
            packet
        } else {
            udp(from, to, &pattern(self.len))
        };
        let total = packet.len();
        if packet[0] >> 4 == 4 {
            packet = changed(packet, |packet| {
                packet[1] = self.ds;
                packet[2..4].copy_from_slice(&(total as u16).to_be_bytes());
                packet[6] = if self.df { 0x40 } else { 0 };
                packet[8] = self.ttl;
            });
        } else {
            wire::ipv6::set_payload_length(&mut packet, total - 40);
            ip::set_ds(&mut packet, self.ds);
            packet[7] = self.ttl;
        }
        packet.extend(vec![0x5a; self.padding]);
        if let Some((at, value)) = self.damage {
            if let Some(byte) = packet.get_mut(at) {
                *byte = value;
            }
            // Half of the damage is such that the header is sound.
            if value % 2 == 0 && packet[0] == 0x45 {
                packet = changed(packet, |_| {});
            }
        }
        packet
    }
}

/// Everything that came out: packets in order, and what was said about them. A batch is opened before it is carried on, so
/// that what is said of the one comes before what is said of the other.
fn facts(out: &[Output]) -> Vec<(String, Vec<u8>)> {
    out.iter()
        .map(|output| {
            let bytes = match output {
                Output::Plain { packet, .. }
                | Output::Local { packet, .. }
                | Output::Outer { packet, .. }
                | Output::Link { packet, .. } => packet.bytes().to_vec(),
                _ => Vec::new(),
            };
            (format!("{output:?}"), bytes)
        })
        .collect()
}

fn lab(lane: bool, strip_df_max: u16, keying: Keying) -> Lab {
    let mut lab = Lab::new();
    for (dataplane, office) in [(&mut lab.head, &HEAD), (&mut lab.branch, &BRANCH)] {
        let mut policy = policy(office);
        policy.settings.strip_df_max = strip_df_max;
        for interface in policy.interfaces.iter_mut().filter(|interface| interface.id == WAN) {
            interface.addresses = vec![ip(office.wan)];
        }
        policy
            .rules
            .push(Rule { source: SourceTranslation::Interface, ..rule("internet", &[LAN], &[WAN], RuleAction::Allow) });
        *dataplane = Dataplane::new(Arc::new(policy));
        dataplane.without_lane = !lane;
    }
    lab.install(keying);
    lab
}

/// Sends a packet and carries what comes of it to the other gateway.
fn step(lab: &mut Lab, spec: &Spec, batch: bool) -> Vec<(String, Vec<u8>)> {
    let packet = spec.packet();
    let (ds, twice, later) = spec.path;
    let Lab { head, branch, now } = lab;
    let (own, other) = if spec.from_head || spec.outside { (head, branch) } else { (branch, head) };
    let mut out = Vec::new();
    if batch {
        let mut packets = vec![Buffer::copy(&packet); 3];
        own.plain_batch(*now, &mut packets, &mut out);
        assert!(packets.is_empty());
    } else {
        for _ in 0..3 {
            own.plain(*now, Buffer::copy(&packet), &mut out);
        }
    }
    let mut all = facts(&out);
    for output in &out {
        if let Output::Outer { outer, packet, .. } = output {
            let arrived = Outer { local: outer.remote, remote: outer.local, udp: outer.udp };
            let mut arriving = vec![(arrived, ds, packet.clone()); 1 + usize::from(twice)];
            let mut out = Vec::new();
            if batch {
                other.esp_batch(*now, &mut arriving, &mut out);
            }
            for (outer, ds, packet) in arriving {
                other.esp(*now, outer, ds, packet, &mut out);
            }
            all.extend(facts(&out));
        }
    }
    let (packets, mut said): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, bytes)| !bytes.is_empty());
    said.sort();
    let mut all = [packets, said].concat();
    *now += Duration::from_secs(later);
    for dataplane in [&mut lab.head, &mut lab.branch] {
        let mut out = Vec::new();
        dataplane.expire(lab.now, &mut out);
        all.extend(facts(&out));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 150 } else { 2_000 }))]
    #[test]
    fn it_does_what_the_path_does(
        specs in proptest::collection::vec(spec(), 1..40),
        strip_df in any::<bool>(),
        udp in any::<bool>(),
        limited in any::<bool>(),
    ) {
        let keying = Keying { udp, hard_bytes: limited.then_some(9_000), soft_bytes: limited.then_some(5_000), ..GCM };
        let strip_df_max = if strip_df { 65_535 } else { 0 };
        let [mut lane, mut batch, mut path] =
            [true, true, false].map(|lane| lab(lane, strip_df_max, keying));
        for spec in specs {
            let expected = step(&mut path, &spec, false);
            prop_assert_eq!(step(&mut lane, &spec, false), expected.clone());
            prop_assert_eq!(step(&mut batch, &spec, true), expected);
            for other in [&lane, &batch] {
                prop_assert_eq!(state(&other.head, other.now), state(&path.head, path.now));
                prop_assert_eq!(state(&other.branch, other.now), state(&path.branch, path.now));
            }
        }
    }
}

#[test]
fn ordinary_packets_take_it() {
    let mut lab = lab(true, 65_535, GCM);
    let forth = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), b"data");
    let sent = lab.head_plain(&forth);
    assert_eq!(plain(&lab.at_branch(&sent)).len(), 1);
    let mut packet = Buffer::copy(&forth);
    let mut out = Vec::new();
    assert!(lab.head.express(lab.now, path::Source::Port, &mut packet, &mut out));
    assert_eq!(sealed(&out), 1);
}
