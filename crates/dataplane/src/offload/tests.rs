use std::net::IpAddr;

use base::{Buffer, Offload, Pool, SegmentKind, Segments};
use proptest::prelude::*;
use wire::checksum::Sum;
use wire::{ip, octets, tcp};

use super::*;

/// What a test says of a TCP segment; the rest is fixed.
#[derive(Clone, Debug)]
struct Spec {
    v4: bool,
    port: u16,
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    id: u16,
    ttl: u8,
    ds: u8,
    /// Of four bytes each.
    options: Vec<[u8; 4]>,
    payload: Vec<u8>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            v4: true,
            port: 5001,
            sequence: 1000,
            acknowledgement: 77,
            flags: tcp::ACK,
            id: 9,
            ttl: 63,
            ds: 0,
            options: vec![[1, 1, 8, 10], [0, 0, 0, 1], [0, 0, 0, 2]],
            payload: vec![7; 100],
        }
    }
}

impl Spec {
    fn addresses(&self) -> (IpAddr, IpAddr) {
        let (a, b) = if self.v4 { ("10.0.0.1", "10.0.0.2") } else { ("2001:db8::1", "2001:db8::2") };
        (a.parse().unwrap(), b.parse().unwrap())
    }

    fn packet(&self) -> Vec<u8> {
        let (a, b) = self.addresses();
        let mut segment = vec![0; 20];
        octets::put_u16(&mut segment, 0, self.port);
        octets::put_u16(&mut segment, 2, 80);
        octets::put(&mut segment, 4, self.sequence.to_be_bytes());
        octets::put(&mut segment, 8, self.acknowledgement.to_be_bytes());
        let words = u8::try_from(5 + self.options.len()).unwrap();
        octets::put(&mut segment, 12, [words << 4, self.flags, 0x20, 0x01]);
        segment.extend(self.options.concat());
        segment.extend(&self.payload);
        let sum = Sum::new().with_pseudo_header(a, b, ip::TCP, u32::try_from(segment.len()).unwrap());
        let sum = sum.with(&segment).checksum();
        octets::put_u16(&mut segment, 16, sum);
        let mut packet = wire::icmp::ip_packet(a, b, ip::TCP, &segment).unwrap();
        ip::set_ttl(&mut packet, self.ttl);
        ip::set_ds(&mut packet, self.ds);
        if self.v4 {
            wire::ipv4::change(&mut packet, 4, self.id);
        }
        packet
    }

    /// The packet as a kernel hands it over: its checksum partial.
    fn large(&self, size: u16) -> (Vec<u8>, Offload) {
        let mut packet = self.packet();
        let header = parse(&packet);
        let checksum = write_partial_checksum(&mut packet, &header);
        let kind = if self.v4 { SegmentKind::TcpV4 } else { SegmentKind::TcpV6 };
        let header_len = u16::try_from(packet.len() - self.payload.len()).unwrap();
        (packet, Offload { checksum, segments: Some(Segments { kind, size, header_len }) })
    }
}

fn parse(packet: &[u8]) -> ip::Header {
    ip::Header::parse(packet).unwrap()
}

/// Every checksum of the packet is right.
fn assert_sums(packet: &[u8]) {
    // Parsing looks at that of IPv4.
    let header = parse(packet);
    assert_eq!(header.total, packet.len());
    let transport = header.payload_of(packet);
    let len = u32::try_from(transport.len()).unwrap();
    let sum = Sum::new().with_pseudo_header(header.source, header.destination, header.protocol, len);
    assert_eq!(sum.with(transport).checksum(), 0);
}

fn cut(packet: &[u8], segments: Segments) -> Result<Vec<Vec<u8>>, Uncuttable> {
    let mut segmenter = Segmenter::new(packet, &parse(packet), segments)?;
    let mut pieces = Vec::new();
    while let Some(len) = segmenter.next_len() {
        let left = segmenter.left();
        assert_eq!(segmenter.write_next(&mut vec![0; len - 1]), None, "no room");
        let mut out = vec![0xee; len + 3];
        assert_eq!(segmenter.write_next(&mut out), Some(len));
        assert_eq!(out.split_off(len), [0xee; 3]);
        assert_eq!(segmenter.left(), left - 1);
        pieces.push(out);
    }
    assert_eq!((segmenter.left(), segmenter.write_next(&mut [0; 9999])), (0, None));
    Ok(pieces)
}

fn merge(packets: &[Vec<u8>], capacity: usize) -> Vec<Merged> {
    let (mut merger, mut pool, mut out) = (Merger::new(), Pool::new(1 << 16, 2), Vec::new());
    for packet in packets {
        let mut buffer = Buffer::with_capacity(capacity);
        buffer.extend(packet);
        merger.push(buffer, &parse(packet), &mut pool, &mut out);
    }
    merger.flush(&mut out);
    merger.flush(&mut out);
    out
}

/// The same within one buffer, with what stands around opened packets between them.
fn merge_train(packets: &[Vec<u8>]) -> Vec<Merged> {
    let (mut train, mut places) = (Vec::new(), Vec::new());
    for packet in packets {
        train.extend([0xaa; 16]);
        places.push(train.len()..train.len() + packet.len());
        train.extend(packet);
        train.extend([0xbb; 18]);
    }
    let (mut merger, mut out) = (TrainMerger::new(), Vec::new());
    let copy = |train: &[u8], (place, offload)| Merged { packet: Buffer::copy(&train[place]), offload };
    for (place, packet) in places.into_iter().zip(packets) {
        let finished = merger.push(&mut train, place, &parse(packet));
        out.extend(finished.map(|finished| copy(&train, finished)));
    }
    let finished = merger.flush(&mut train);
    out.extend(finished.map(|finished| copy(&train, finished)));
    out
}

/// Merges in both ways, with small and large buffers, and makes sure that all do the same.
fn merge_all_ways(packets: &[Vec<u8>]) -> Vec<Merged> {
    let merged = merge(packets, 1 << 16);
    assert_eq!(merged, merge(packets, 0));
    assert_eq!(merged, merge_train(packets));
    merged
}

/// Cuts what was merged.
fn cut_again(merged: &[Merged]) -> Vec<Vec<u8>> {
    let pieces = |merged: &Merged| match merged.offload.segments {
        Some(segments) => cut(merged.packet.bytes(), segments).unwrap(),
        None => vec![merged.packet.bytes().to_vec()],
    };
    merged.iter().flat_map(pieces).collect()
}

/// `count` segments of a connection, one behind the other.
fn stream(first: &Spec, count: usize, size: usize) -> Vec<Spec> {
    let next = |number: usize| Spec {
        sequence: first.sequence.wrapping_add(u32::try_from(number * size).unwrap()),
        id: first.id.wrapping_add(u16::try_from(number).unwrap()),
        payload: (0..size).map(|at| u8::try_from((number * 31 + at) % 251).unwrap()).collect(),
        ..first.clone()
    };
    (0..count).map(next).collect()
}

fn packets(specs: &[Spec]) -> Vec<Vec<u8>> {
    specs.iter().map(Spec::packet).collect()
}

#[test]
fn segments_count_up_and_say_once_what_is_said_once() {
    let flags = tcp::ACK | tcp::CWR | tcp::PSH | tcp::FIN;
    let payload: Vec<u8> = (0..250).collect();
    for v4 in [true, false] {
        let spec =
            Spec { v4, flags, payload: payload.clone(), sequence: u32::MAX - 50, id: u16::MAX, ..Spec::default() };
        let (packet, offload) = spec.large(100);
        let pieces = cut(&packet, offload.segments.unwrap()).unwrap();
        let expected = [
            (tcp::ACK | tcp::CWR, u32::MAX - 50, u16::MAX, &payload[..100]),
            (tcp::ACK, 49, 0, &payload[100..200]),
            (tcp::ACK | tcp::PSH | tcp::FIN, 149, 1, &payload[200..]),
        ];
        assert_eq!(pieces.len(), 3);
        for (piece, (flags, sequence, id, payload)) in pieces.iter().zip(expected) {
            let expected = Spec { flags, sequence, id, payload: payload.to_vec(), ..spec.clone() };
            assert_eq!(*piece, expected.packet());
            assert_sums(piece);
        }
    }
}

#[test]
fn datagrams_get_lengths_and_checksums_of_their_own() {
    for (a, b) in [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")] {
        let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
        let datagram = [&[0, 53, 4, 0, 0, 0, 0, 0][..], &[5; 25]].concat();
        let packet = wire::icmp::ip_packet(a, b, ip::UDP, &datagram).unwrap();
        let pieces = cut(&packet, Segments { kind: SegmentKind::Udp, size: 10, header_len: 0 }).unwrap();
        let lengths: Vec<_> = pieces.iter().map(|piece| octets::u16(parse(piece).payload_of(piece), 4)).collect();
        assert_eq!(lengths, [Some(18), Some(18), Some(13)]);
        pieces.iter().for_each(|piece| assert_sums(piece));
    }
}

#[test]
fn translated_addresses_need_no_mended_checksum() {
    let (mut packet, offload) = Spec::default().large(30);
    packet[15] = 99;
    let sum = !octets::u16(&packet, 10).unwrap();
    octets::put_u16(&mut packet, 10, !(sum + 98));
    cut(&packet, offload.segments.unwrap()).unwrap().iter().for_each(|piece| assert_sums(piece));
}

#[test]
fn a_packet_no_longer_than_a_segment_is_one() {
    for (len, size) in [(0, 1), (1, 100), (100, 100), (100, u16::MAX)] {
        let spec = Spec { payload: vec![1; len], flags: tcp::ACK | tcp::PSH, ..Spec::default() };
        let (packet, offload) = spec.large(size);
        assert_eq!(cut(&packet, offload.segments.unwrap()), Ok(vec![spec.packet()]));
    }
}

#[test]
fn what_cannot_be_cut_is_refused() {
    let spec = Spec::default();
    let (packet, offload) = spec.large(10);
    let segments = offload.segments.unwrap();
    assert!(cut(&packet, segments).is_ok());
    for kind in [SegmentKind::TcpV6, SegmentKind::Udp] {
        assert_eq!(cut(&packet, Segments { kind, ..segments }), Err(Uncuttable::Headers));
    }
    assert_eq!(cut(&packet, Segments { size: 0, ..segments }), Err(Uncuttable::Size));
    for (len, refused) in [(SEGMENTS_MAX, false), (SEGMENTS_MAX + 1, true)] {
        let (packet, offload) = Spec { payload: vec![0; len], ..spec.clone() }.large(1);
        assert_eq!(cut(&packet, offload.segments.unwrap()).err(), refused.then_some(Uncuttable::Size));
    }
    for flag in [tcp::SYN, tcp::RST, tcp::URG] {
        let (packet, offload) = Spec { flags: tcp::ACK | flag, ..spec.clone() }.large(10);
        assert_eq!(cut(&packet, offload.segments.unwrap()), Err(Uncuttable::Flags));
    }
    let mut long_header = packet.clone();
    long_header[32] = 0xf0;
    long_header.truncate(60);
    let header = ip::Header { total: 60, ..parse(&packet) };
    assert_eq!(Segmenter::new(&long_header, &header, segments).err(), Some(Uncuttable::Headers));
    for header in [
        ip::Header { total: packet.len() + 1, ..header },
        ip::Header { total: 30, ..header },
        ip::Header { total: 10, ..header },
        ip::Header { payload: packet.len(), ..header },
    ] {
        assert_eq!(Segmenter::new(&packet, &header, segments).err(), Some(Uncuttable::Headers));
    }
    let fragment = ip::Fragment { id: 1, offset: 0, more: true, header: 0, chain: 0 };
    let header = ip::Header { fragment: Some(fragment), ..parse(&packet) };
    assert_eq!(Segmenter::new(&packet, &header, segments).err(), Some(Uncuttable::Extensions));
    let (packet, offload) = Spec { v4: false, ..spec }.large(10);
    let header = ip::Header { payload: 48, ..parse(&packet) };
    assert_eq!(Segmenter::new(&packet, &header, offload.segments.unwrap()).err(), Some(Uncuttable::Extensions));
}

#[test]
fn neighbours_become_one_packet_up_to_the_shorter_or_pushed_last() {
    for v4 in [true, false] {
        let mut specs = stream(&Spec { v4, ..Spec::default() }, 7, 100);
        specs[2].flags |= tcp::PSH;
        specs[5].payload.truncate(99);
        specs[6].sequence -= 1;
        let packets = packets(&specs);
        let merged = merge_all_ways(&packets);
        let counts: Vec<_> = merged.iter().map(|merged| merged.packet.len()).collect();
        let headers = packets[0].len() - 100;
        assert_eq!(counts, [headers + 300, headers + 299, headers + 100]);
        let kind = if v4 { SegmentKind::TcpV4 } else { SegmentKind::TcpV6 };
        let segments = Segments { kind, size: 100, header_len: u16::try_from(headers).unwrap() };
        assert_eq!(merged[0].offload.segments, Some(segments));
        assert_eq!(merged[2].offload, Offload::NONE);
        assert_eq!(cut_again(&merged), packets);
        // Whoever completes the checksum gets a right one.
        let mut whole = merged[0].packet.bytes().to_vec();
        complete_checksum(&mut whole, merged[0].offload.checksum.unwrap()).unwrap();
        assert_sums(&whole);
    }
}

#[test]
fn nothing_grows_beyond_what_a_length_can_say() {
    for v4 in [true, false] {
        let packets = packets(&stream(&Spec { v4, ..Spec::default() }, 60, 1400));
        let merged = merge_all_ways(&packets);
        assert_eq!(merged.len(), 2);
        assert!(merged.iter().all(|merged| merged.packet.len() <= 65_535));
        assert_eq!(cut_again(&merged), packets);
    }
    let packets = packets(&stream(&Spec::default(), SEGMENTS_MAX + 2, 1));
    let merged = merge_all_ways(&packets);
    assert_eq!(merged.len(), 2);
    assert_eq!(cut_again(&merged), packets);
}

#[test]
fn whatever_differs_stays_apart() {
    let specs = stream(&Spec::default(), 2, 100);
    let v6 = stream(&Spec { v4: false, ..Spec::default() }, 2, 100);
    assert_eq!(merge_all_ways(&packets(&specs)).len(), 1);
    let second = |change: &dyn Fn(&mut Spec)| {
        [&specs, &v6].map(|specs| {
            let mut specs = specs.clone();
            change(&mut specs[1]);
            let packets = packets(&specs);
            let merged = merge_all_ways(&packets);
            assert_eq!(cut_again(&merged), packets);
            merged.len()
        })
    };
    assert_eq!(second(&|_| {}), [1, 1]);
    assert_eq!(second(&|spec| spec.port += 1), [2, 2]);
    assert_eq!(second(&|spec| spec.sequence += 1), [2, 2]);
    assert_eq!(second(&|spec| spec.acknowledgement += 1), [2, 2]);
    assert_eq!(second(&|spec| spec.ttl -= 1), [2, 2]);
    assert_eq!(second(&|spec| spec.ds = 3), [2, 2]);
    assert_eq!(second(&|spec| spec.options[1] = [0, 0, 0, 9]), [2, 2]);
    assert_eq!(second(&|spec| spec.options.truncate(2)), [2, 2]);
    assert_eq!(second(&|spec| spec.payload.push(1)), [2, 2]);
    assert_eq!(second(&|spec| spec.payload.clear()), [2, 2]);
    assert_eq!(second(&|spec| spec.id += 1), [2, 1]);
    for flag in [tcp::SYN, tcp::FIN, tcp::RST, tcp::URG, tcp::CWR, 0x40] {
        assert_eq!(second(&|spec| spec.flags |= flag), [2, 2]);
    }
}

#[test]
fn a_corrupt_packet_is_not_hidden() {
    for corrupt in 0..3 {
        let mut packets = packets(&stream(&Spec::default(), 3, 100));
        *packets[corrupt].last_mut().unwrap() ^= 1;
        let merged = merge_all_ways(&packets);
        assert_eq!(merged.len(), if corrupt == 1 { 3 } else { 2 });
        assert_eq!(cut_again(&merged), packets);
    }
}

#[test]
fn packets_that_all_have_one_identification_are_merged_where_it_means_nothing() {
    let mut specs = stream(&Spec::default(), 4, 100);
    for spec in &mut specs {
        spec.id = 0;
    }
    let mut packets = packets(&specs);
    assert!(parse(&packets[0]).whole);
    assert_eq!(merge_all_ways(&packets).len(), 1);
    for packet in &mut packets {
        wire::ipv4::change(packet, 6, 0);
    }
    assert_eq!(merge_all_ways(&packets).len(), 4);
}

#[test]
fn a_pool_of_small_buffers_leaves_packets_apart() {
    let packets = packets(&stream(&Spec::default(), 2, 1400));
    let (mut merger, mut pool, mut out) = (Merger::new(), Pool::new(1500, 2), Vec::new());
    for packet in &packets {
        merger.push(Buffer::copy(packet), &parse(packet), &mut pool, &mut out);
    }
    merger.flush(&mut out);
    assert_eq!(cut_again(&out), packets);
    assert_eq!(out.len(), 2);
}

fn spec() -> impl Strategy<Value = Spec> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u16>(), 2u8.., any::<u8>());
    (any::<bool>(), 0u16..3, numbers, proptest::collection::vec(any::<[u8; 4]>(), 0..=10)).prop_map(
        |(v4, port, (sequence, acknowledgement, id, ttl, ds), options)| Spec {
            v4,
            port,
            sequence,
            acknowledgement,
            id,
            ttl,
            ds,
            options,
            ..Spec::default()
        },
    )
}

proptest! {
    #[test]
    fn merging_what_was_cut_gives_it_back(
        spec in spec(),
        payload in proptest::collection::vec(any::<u8>(), 1..3000),
        size in 10u16..1500,
        pushed: bool,
    ) {
        let flags = tcp::ACK | if pushed { tcp::PSH } else { 0 };
        let several = payload.len() > usize::from(size);
        let spec = Spec { payload, flags, ..spec };
        let (packet, offload) = spec.large(size);
        let pieces = cut(&packet, offload.segments.unwrap()).unwrap();
        pieces.iter().for_each(|piece| assert_sums(piece));
        let merged = merge_all_ways(&pieces);
        prop_assert_eq!(merged.len(), 1);
        if several {
            prop_assert_eq!(merged[0].packet.bytes(), packet);
            prop_assert_eq!(merged[0].offload, offload);
        } else {
            prop_assert_eq!(merged[0].packet.bytes(), spec.packet());
        }
    }

    #[test]
    fn cutting_what_was_merged_gives_it_back_whatever_it_was(
        flows in proptest::collection::vec((spec(), 1usize..6, 1usize..300), 1..6),
        strange in proptest::collection::vec((0usize..30, 0u8..5), 0..6),
        order in proptest::collection::vec(0usize..6, 0..30),
    ) {
        let mut streams: Vec<Vec<Spec>> = flows.iter().map(|(spec, count, size)| stream(spec, *count, *size)).collect();
        // Sometimes whole streams, sometimes interleaved.
        let mut specs = Vec::new();
        for which in order {
            if let Some(stream) = streams.get_mut(which).filter(|stream| !stream.is_empty()) {
                specs.push(stream.remove(0));
            }
        }
        specs.extend(streams.into_iter().flatten());
        for (at, what) in strange {
            if let Some(spec) = specs.get_mut(at) {
                match what {
                    0 => spec.flags |= tcp::PSH,
                    1 => spec.payload.truncate(1),
                    2 => spec.payload.clear(),
                    3 => spec.flags |= tcp::FIN,
                    _ => spec.ttl ^= 1,
                }
            }
        }
        let packets = packets(&specs);
        prop_assert_eq!(cut_again(&merge_all_ways(&packets)), packets);
    }

    #[test]
    fn any_bytes_are_cut_or_refused(
        mut packet in proptest::collection::vec(any::<u8>(), 0..300),
        kind in 0u8..3,
        size: u16,
        (payload, total, protocol, v4) in (0usize..80, 0usize..320, 0u8..3, any::<bool>()),
    ) {
        let kind = [SegmentKind::TcpV4, SegmentKind::TcpV6, SegmentKind::Udp][usize::from(kind)];
        let spec = Spec { v4, ..Spec::default() };
        let (source, destination) = spec.addresses();
        let header = ip::Header {
            source,
            destination,
            protocol: [ip::TCP, ip::UDP, 1][usize::from(protocol)],
            payload,
            total,
            ..parse(&spec.packet())
        };
        if let Ok(mut segmenter) = Segmenter::new(&packet, &header, Segments { kind, size, header_len: size }) {
            let mut written = 0;
            while let Some(len) = segmenter.next_len() {
                prop_assert_eq!(segmenter.write_next(&mut [0; 400]), Some(len));
                written += 1;
            }
            prop_assert!(written <= SEGMENTS_MAX);
        }
        let end = packet.len();
        let mut train = TrainMerger::new();
        train.push(&mut packet, 0..end / 2, &header);
        train.push(&mut packet, end / 2..end, &header);
        train.push(&mut packet, end..end + 9, &header);
        train.flush(&mut packet);
    }
}
