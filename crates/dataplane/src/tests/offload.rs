//! What stands for many packets fares as these do one by one.

use base::{Checksum, Offload, SegmentKind, Segments};
use proptest::prelude::*;

use super::*;
use crate::offload::{Segmenter, complete_checksum, write_partial_checksum};

/// Which connection a packet belongs to, and how it is to be cut.
#[derive(Clone, Copy, Debug)]
struct Spec {
    v4: bool,
    tcp: bool,
    len: usize,
    size: u16,
}

const TCP_V4: Spec = Spec { v4: true, tcp: true, len: 20_000, size: 1_300 };

impl Spec {
    fn ends(&self) -> (&'static str, &'static str) {
        if self.v4 { (HEAD_HOST, BRANCH_HOST) } else { (HEAD_HOST_V6, BRANCH_HOST_V6) }
    }

    /// A packet that stands for many, as a host hands it over.
    fn large(&self) -> (Vec<u8>, Offload) {
        let (from, to) = self.ends();
        let mut packet = if self.tcp {
            let mut packet = tcp((from, 5_000), (to, 80), tcp::ACK, 1_001, 2_001);
            packet.extend(pattern(self.len));
            packet
        } else {
            udp((from, 5_000), (to, 80), &pattern(self.len))
        };
        let total = packet.len();
        if self.v4 {
            packet = changed(packet, |packet| {
                packet[2..4].copy_from_slice(&(total as u16).to_be_bytes());
                packet[6] = 0x40;
            });
        } else {
            wire::ipv6::set_payload_length(&mut packet, total - 40);
        }
        let header = ip::Header::parse(&packet).unwrap();
        let checksum = write_partial_checksum(&mut packet, &header);
        let kind = match (self.tcp, self.v4) {
            (true, true) => SegmentKind::TcpV4,
            (true, false) => SegmentKind::TcpV6,
            (false, _) => SegmentKind::Udp,
        };
        // The length of the headers is only advice.
        (packet, Offload { checksum, segments: Some(Segments { kind, size: self.size, header_len: 7 }) })
    }

    /// Two gateways with its connection open.
    fn lab(&self, keying: Keying) -> Lab {
        let mut lab = Lab::up(keying);
        let (from, to) = self.ends();
        if self.tcp {
            let handshake = [
                (true, tcp((from, 5_000), (to, 80), tcp::SYN, 1_000, 0)),
                (false, tcp((to, 80), (from, 5_000), tcp::SYN | tcp::ACK, 2_000, 1_001)),
                (true, tcp((from, 5_000), (to, 80), tcp::ACK, 1_001, 2_001)),
            ];
            for (forth, packet) in handshake {
                if forth {
                    let sent = lab.head_plain(&packet);
                    assert_eq!(plain(&lab.at_branch(&sent)).len(), 1);
                } else {
                    let sent = lab.branch_plain(&packet);
                    assert_eq!(plain(&lab.at_head(&sent)).len(), 1);
                }
            }
        }
        lab
    }
}

/// The packets that a packet stands for, complete.
fn cut(packet: &[u8], offload: Offload) -> Vec<Vec<u8>> {
    let mut packet = packet.to_vec();
    let Some(segments) = offload.segments else {
        if let Some(missing) = offload.checksum {
            complete_checksum(&mut packet, missing).unwrap();
        }
        return vec![packet];
    };
    let header = ip::Header::parse(&packet).unwrap();
    let mut segmenter = Segmenter::new(&packet, &header, segments).unwrap();
    let mut all = Vec::new();
    while let Some(len) = segmenter.next_len() {
        let mut segment = vec![0; len];
        segmenter.write_next(&mut segment).unwrap();
        all.push(segment);
    }
    all
}

/// Each sealed packet by itself.
fn apart(out: &[Output]) -> Vec<(Outer, u8, Vec<u8>)> {
    let mut all = Vec::new();
    for output in out {
        if let Output::Outer { outer, ds, packet, segment, .. } = output {
            assert!(packet.len() <= TRAIN_BYTES_MAX);
            let size = segment.map_or(packet.len(), usize::from);
            assert!(packet.len().div_ceil(size) <= TRAIN_MAX);
            all.extend(packet.bytes().chunks(size).map(|packet| (*outer, *ds, packet.to_vec())));
        }
    }
    all
}

fn delivered(out: &[Output]) -> Vec<Vec<u8>> {
    out.iter()
        .flat_map(|output| match output {
            Output::Plain { packet, offload, .. } => cut(packet.bytes(), *offload),
            _ => Vec::new(),
        })
        .collect()
}

fn offloaded(dataplane: &mut Dataplane, now: Instant, packet: &[u8], offload: Offload) -> Vec<Output> {
    let mut out = Vec::new();
    dataplane.plain_offloaded(now, Buffer::copy(packet), offload, &mut out);
    out
}

/// What of a gateway must not depend on how packets came.
pub(super) fn state(dataplane: &Dataplane, now: Instant) -> (Vec<ConnectionStatus>, Option<SaUsage>, Counters) {
    let mut connections: Vec<_> = dataplane.connections(now).collect();
    connections.sort_by_key(|connection| (connection.source.address, connection.source.port));
    (connections, dataplane.usage(SaId(1)), dataplane.counters().clone())
}

#[track_caller]
fn same_either_way(spec: Spec, keying: Keying, now: Instant) {
    let (mut many, mut single) = (spec.lab(keying), spec.lab(keying));
    let (large, offload) = spec.large();
    let together = offloaded(&mut many.head, now, &large, offload);
    let segments = cut(&large, offload);
    let one_by_one: Vec<Output> = segments.iter().flat_map(|segment| single.head_plain(segment)).collect();
    assert_eq!(apart(&together), apart(&one_by_one), "{spec:?}");
    assert_eq!(state(&many.head, now), state(&single.head, now), "{spec:?}");

    let mut out = Vec::new();
    for output in together {
        if let Output::Outer { outer, ds, packet, segment, .. } = output {
            let arrived = Outer { local: outer.remote, remote: outer.local, udp: outer.udp };
            let size = segment.map_or(packet.len(), usize::from);
            many.branch.esp_train(now, arrived, ds, packet, size, &mut out);
        }
    }
    let expected = single.at_branch(&one_by_one);
    assert_eq!(delivered(&out), delivered(&expected), "{spec:?}");
    assert_eq!(delivered(&out).len(), segments.len());
    assert_eq!(state(&many.branch, now), state(&single.branch, now), "{spec:?}");
    if spec.tcp && segments.len() > 2 && segments.len() < 40 && !keying.encryption.is_aead() {
        assert_eq!(plain(&out).len(), 1, "what was cut is one again");
    }
}

#[test]
fn a_packet_that_stands_for_many_is_carried_as_these_are() {
    for keying in [GCM, CBC, Keying { udp: false, esn: true, ..GCM }, Keying { outer_v6: true, ..CBC }] {
        for (v4, tcp) in [(true, true), (true, false), (false, true), (false, false)] {
            same_either_way(Spec { v4, tcp, ..TCP_V4 }, keying, at(1));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn whatever_its_length_it_is_carried_as_its_segments_are(v4: bool, tcp: bool, len in 0usize..60_000, size in 40u16..1_350) {
        prop_assume!(len.div_ceil(usize::from(size)) <= 1_000);
        same_either_way(Spec { v4, tcp, len: len.max(1), size }, GCM, at(1));
    }
}

#[test]
fn a_merged_packet_is_written_at_once() {
    let mut lab = TCP_V4.lab(GCM);
    let (large, offload) = TCP_V4.large();
    let sent = offloaded(&mut lab.head, lab.now, &large, offload);
    let [Output::Outer { outer, ds, packet, segment: Some(size), .. }] = &sent[..] else { panic!("{sent:?}") };
    let arrived = Outer { local: outer.remote, remote: outer.local, udp: outer.udp };
    let mut out = Vec::new();
    lab.branch.esp_train(lab.now, arrived, *ds, packet.clone(), usize::from(*size), &mut out);
    let [Output::Plain { packet, offload: Offload { checksum: Some(_), segments: Some(segments) }, .. }] = &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!((packet.len(), segments.size), (large.len(), 1_300));
}

#[test]
fn segments_that_are_too_long_for_the_tunnel_are_cut_or_their_sender_is_told() {
    for whole in [true, false] {
        let spec = Spec { size: 1_448, tcp: false, ..TCP_V4 };
        let (mut many, mut single) = (spec.lab(GCM), spec.lab(GCM));
        let (mut large, offload) = spec.large();
        if !whole {
            large = changed(large, |packet| packet[6] = 0);
        }
        let watch = Watch::over(&many.head);
        let out = offloaded(&mut many.head, at(1), &large, offload);
        if whole {
            let told = plain(&out);
            assert_eq!((told.len(), &told[0][20..22]), (1, &[3, 4][..]), "one error is enough");
            watch.only(&many.head, &[(Reason::TooBig, 14)]);
        } else {
            let expected: Vec<_> = cut(&large, offload).iter().flat_map(|segment| single.head_plain(segment)).collect();
            assert_eq!(apart(&out), apart(&expected));
            assert!(apart(&out).len() > 14);
        }
    }
}

#[test]
fn a_checksum_is_completed_before_it_is_sealed() {
    let (mut lab, mut other) = (Lab::up(GCM), Lab::up(GCM));
    for mut packet in
        [udp((HEAD_HOST, 1), (BRANCH_HOST, 2), b"data"), tcp((HEAD_HOST_V6, 1), (BRANCH_HOST_V6, 2), tcp::SYN, 1, 0)]
    {
        let header = ip::Header::parse(&packet).unwrap();
        let checksum = write_partial_checksum(&mut packet, &header);
        let complete = cut(&packet, Offload { checksum, segments: None });
        let out = offloaded(&mut lab.head, lab.now, &packet, Offload { checksum, segments: None });
        assert_eq!(apart(&out), apart(&other.head_plain(&complete[0])));
    }
}

#[test]
fn what_cannot_be_done_is_dropped() {
    let (large, offload) = TCP_V4.large();
    let bad = [
        Offload { checksum: Some(Checksum { start: 60_000, offset: 0 }), segments: None },
        Offload { segments: offload.segments.map(|segments| Segments { size: 0, ..segments }), ..offload },
        Offload {
            segments: offload.segments.map(|segments| Segments { kind: SegmentKind::Udp, ..segments }),
            ..offload
        },
    ];
    for offload in bad {
        let mut lab = TCP_V4.lab(GCM);
        let watch = Watch::over(&lab.head);
        assert!(apart(&offloaded(&mut lab.head, lab.now, &large, offload)).is_empty());
        let counted = lab.head.counters().drops(Reason::MalformedTransport);
        assert!(counted > 0);
        watch.only(&lab.head, &[(Reason::MalformedTransport, counted)]);
    }
}

#[test]
fn a_forged_packet_in_a_train_leaves_the_others_alone() {
    let mut lab = TCP_V4.lab(GCM);
    let (large, offload) = TCP_V4.large();
    let sent = offloaded(&mut lab.head, lab.now, &large, offload);
    let [Output::Outer { outer, ds, packet, segment: Some(size), .. }] = &sent[..] else { panic!("{sent:?}") };
    let (mut packet, size) = (packet.clone(), usize::from(*size));
    packet.bytes_mut()[3 * size + 100] ^= 1;
    packet.bytes_mut()[5 * size] ^= 0x80; // an SPI that nobody knows
    let arrived = Outer { local: outer.remote, remote: outer.local, udp: outer.udp };
    let (mut out, watch) = (Vec::new(), Watch::over(&lab.branch));
    lab.branch.esp_train(lab.now, arrived, *ds, packet, size, &mut out);
    watch.only(&lab.branch, &[(Reason::UnknownSpi, 1), (Reason::IcvFailure, 1)]);
    let mut expected = cut(&large, offload);
    expected.remove(5);
    expected.remove(3);
    let expected: Vec<_> = expected.into_iter().map(|packet| after_hops(packet, 2)).collect();
    assert_eq!(delivered(&out), expected);
}
