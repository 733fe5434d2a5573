//! Fragments across the tunnel, and their bounds.

use base::{Pool, Random};

use super::*;
use crate::fragments::{PACKETS_PER_SOURCE_MAX, TIME_MAX};

/// The packet in fragments for links of `mtu` bytes, as its sender makes them.
fn in_pieces(packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let header = key_of(packet);
    if header.is_v4() {
        let mut pool = Pool::new(2048, 0);
        let pieces = crate::fragments::cut(packet, &header, None, mtu, &mut pool).unwrap();
        return pieces.iter().map(|piece| piece.bytes().to_vec()).collect();
    }
    let payload = &packet[40..];
    let step = (mtu - 48) / 8 * 8;
    let chunks: Vec<_> = payload.chunks(step).collect();
    let count = chunks.len();
    let piece = |(index, chunk): (usize, &&[u8])| {
        let mut piece = packet[..40].to_vec();
        piece.extend([0; 8]);
        wire::ipv6::write_fragment_header(&mut piece[40..], packet[6], 0x1234, index * step, index + 1 < count);
        piece.extend(*chunk);
        piece[6] = 44;
        wire::ipv6::set_payload_length(&mut piece, chunk.len() + 8);
        piece
    };
    chunks.iter().enumerate().map(piece).collect()
}

/// Puts together what left in pieces.
fn put_together(pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut fragments = crate::fragments::Fragments::default();
    let mut whole = None;
    for piece in pieces {
        if let crate::fragments::Outcome::Whole(packet, _) =
            fragments.add(at(0), (0, true), &key_of(piece), piece, &mut Vec::new())
        {
            whole = Some(packet.bytes().to_vec());
        }
    }
    whole.expect("all pieces are there")
}

#[test]
fn a_ping_of_4000_bytes_crosses_the_tunnel_in_any_order() {
    for (from, to) in [(HEAD_HOST, BRANCH_HOST), (HEAD_HOST_V6, BRANCH_HOST_V6)] {
        let mut lab = Lab::up(CBC);
        let request = ping(from, to, 4000);
        let mut pieces = in_pieces(&request, 1500);
        pieces.reverse();
        let sent: Vec<Output> = pieces.iter().flat_map(|piece| lab.head_plain(piece)).collect();
        let arrived = plain(&lab.at_branch(&sent));
        assert!(arrived.len() >= 3 && arrived.iter().all(|piece| piece.len() <= 1420));
        assert_eq!(put_together(&arrived), after_hops(request.clone(), 2));
        let sent: Vec<Output> =
            in_pieces(&pong(&request), 1500).iter().flat_map(|piece| lab.branch_plain(piece)).collect();
        let back = plain(&lab.at_head(&sent));
        assert_eq!(put_together(&back), after_hops(pong(&request), 2));
    }
}

#[test]
fn a_long_ping_to_the_gateway_is_answered_in_pieces() {
    for (from, to) in [(HEAD_HOST, BRANCH.own[0]), (HEAD_HOST_V6, BRANCH.own[1])] {
        let mut lab = Lab::up(GCM);
        let request = ping(from, to, 4000);
        let sent: Vec<Output> = in_pieces(&request, 1500).iter().flat_map(|piece| lab.head_plain(piece)).collect();
        let answered = lab.at_branch(&sent);
        let back = plain(&lab.at_head(&answered));
        assert_eq!(put_together(&back), after_hops(pong(&request), 1));
    }
}

#[test]
fn the_longest_packet_crosses_the_tunnel() {
    let mut lab = Lab::up(GCM);
    let packet = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(65_535 - 28));
    let sent: Vec<Output> = in_pieces(&packet, 1500).iter().flat_map(|piece| lab.head_plain(piece)).collect();
    assert_eq!(put_together(&plain(&lab.at_branch(&sent))), after_hops(packet, 2));
}

#[test]
fn the_rules_see_the_ports_of_a_packet_in_pieces() {
    let mut lab = Lab::up(GCM);
    let watch = Watch::over(&lab.head);
    for piece in in_pieces(&udp((HEAD_HOST, 1), (BRANCH_HOST, 99), &pattern(3000)), 1500) {
        lab.head_plain(&piece);
    }
    watch.only(&lab.head, &[(Reason::RuleDrop, 1)]);
}

#[test]
pub(super) fn overlapping_fragments_end_their_packet() {
    let mut lab = Lab::up(GCM);
    let pieces = in_pieces(&udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(3000)), 1500);
    // The second fragment moved 8 bytes forward, over the end of the first.
    let overlap = changed(pieces[1].clone(), |piece| {
        let word = u16::from_be_bytes([piece[6], piece[7]]) - 1;
        piece[6..8].copy_from_slice(&word.to_be_bytes());
    });
    lab.head_plain(&pieces[0]);
    let watch = Watch::over(&lab.head);
    let out = lab.head_plain(&overlap);
    watch.only(&lab.head, &[(Reason::FragmentOverlap, 1)]);
    assert_eq!(logs(&out), ["fragment_dropped"]);
}

#[test]
fn a_fragment_twice_does_no_harm() {
    let mut lab = Lab::up(GCM);
    let packet = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(3000));
    let pieces = in_pieces(&packet, 1500);
    let mut sent = Vec::new();
    for piece in [&pieces[0], &pieces[1], &pieces[0], &pieces[1], &pieces[2]] {
        sent.extend(lab.head_plain(piece));
    }
    assert_eq!(put_together(&plain(&lab.at_branch(&sent))), after_hops(packet, 2));
}

#[test]
pub(super) fn unfinished_packets_are_bounded_and_forgotten() {
    let mut lab = Lab::up(GCM);
    let first = |id: u16| {
        let piece = in_pieces(&udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(3000)), 1500).remove(0);
        changed(piece, |piece| piece[4..6].copy_from_slice(&id.to_be_bytes()))
    };
    let most = u16::try_from(PACKETS_PER_SOURCE_MAX).unwrap();
    let watch = Watch::over(&lab.head);
    for id in 0..most {
        lab.head_plain(&first(id));
    }
    watch.only(&lab.head, &[]);
    let out = lab.head_plain(&first(most));
    watch.only(&lab.head, &[(Reason::FragmentLimit, 1)]);
    assert_eq!(logs(&out), ["fragment_dropped"]);
    assert_eq!(lab.head.next_deadline(), Some(lab.now + TIME_MAX));
    lab.head.expire(lab.now + TIME_MAX, &mut Vec::new());
    watch.only(&lab.head, &[(Reason::FragmentLimit, 1), (Reason::FragmentTimeout, u64::from(most))]);
    assert_eq!(lab.head.next_deadline(), None);
}

#[test]
fn any_packet_in_any_pieces_in_any_order_comes_out_whole() {
    let mut random = Random::numbered(11);
    for _ in 0..300 {
        let v6 = random.chance(1, 2);
        let (from, to) = if v6 { (HEAD_HOST_V6, BRANCH_HOST_V6) } else { (HEAD_HOST, BRANCH_HOST) };
        let len = usize::try_from(random.below(9000)).unwrap() + 1300;
        let packet = udp((from, 1), (to, 2), &pattern(len));
        let mut pieces = in_pieces(&packet, 200 + usize::try_from(random.below(1300)).unwrap());
        for i in (1..pieces.len()).rev() {
            pieces.swap(i, usize::try_from(random.below(i as u64 + 1)).unwrap());
        }
        assert_eq!(put_together(&pieces), packet);
    }
}

/// An IPv6 packet behind `count` fragment headers, each of which says that the packet is whole.
pub(crate) fn nested(packet: &[u8], count: usize) -> Vec<u8> {
    let mut nested = packet[..40].to_vec();
    for index in 0..count {
        let next = if index + 1 < count { wire::ipv6::FRAGMENT } else { packet[6] };
        let at = nested.len();
        nested.extend([0; 8]);
        wire::ipv6::write_fragment_header(&mut nested[at..], next, 7, 0, false);
    }
    nested.extend(&packet[40..]);
    nested[6] = wire::ipv6::FRAGMENT;
    let len = nested.len() - 40;
    wire::ipv6::set_payload_length(&mut nested, len);
    nested
}

#[test]
fn a_fragment_within_a_fragment_is_refused_and_put_together_no_further() {
    let mut lab = Lab::up(GCM);
    let packet = udp((HEAD_HOST_V6, 1), (BRANCH_HOST_V6, 2), b"data");
    let sent = lab.head_plain(&nested(&packet, 1));
    let arrived = plain(&lab.at_branch(&sent));
    assert_eq!(arrived, [after_hops(packet.clone(), 2)], "one header is allowed (RFC 6946)");
    for count in [2, 3, 180] {
        let watch = Watch::over(&lab.head);
        let out = lab.head_plain(&nested(&packet, count));
        watch.only(&lab.head, &[(Reason::MalformedIp, 1)]);
        assert_eq!((sealed(&out), logs(&out)), (0, vec!["malformed_packet".to_owned()]));
    }
}

/// The first fragment of a packet that will never be whole.
fn beginning(from: &str, to: &str, id: u16) -> Vec<u8> {
    changed(udp((from, 1), (to, 2), &pattern(24)), |packet| {
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        packet[6] = 0x20;
    })
}

#[test]
fn a_flood_of_beginnings_hinders_nobody_else_to_finish() {
    let mut lab = Lab::up(GCM);
    let packet = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(3000));
    let pieces = in_pieces(&packet, 1500);
    let mut sent = lab.head_plain(&pieces[0]);
    let flood = |lab: &mut Lab| {
        for (source, id) in (20..26).flat_map(|host| (0..100).map(move |id| (format!("172.16.1.{host}"), id))) {
            lab.head_plain(&beginning(&source, BRANCH_HOST, id));
        }
    };
    // Six sources fill the table; who has most makes room.
    flood(&mut lab);
    sent.extend(lab.head_plain(&pieces[1]));
    flood(&mut lab);
    sent.extend(lab.head_plain(&pieces[2]));
    assert_eq!(put_together(&plain(&lab.at_branch(&sent))), after_hops(packet.clone(), 2));
    // Who comes last finds a place too.
    let sent: Vec<Output> = pieces.iter().flat_map(|piece| lab.head_plain(piece)).collect();
    assert_eq!(put_together(&plain(&lab.at_branch(&sent))), after_hops(packet, 2));
}

#[test]
fn outsiders_at_the_host_port_take_no_room_from_tunnels() {
    let mut lab = Lab::up(GCM);
    let packet = udp((BRANCH_HOST, 1), (HEAD_HOST, 2), &pattern(3000));
    let sent: Vec<Output> = in_pieces(&packet, 1400).iter().flat_map(|piece| lab.branch_plain(piece)).collect();
    assert!(sealed(&sent) >= 3);
    let mut arrived = lab.at_head(&sent[..sent.len() - 1]);
    // More sources than there are places, each with no more than the peer has.
    for (a, b) in (1..5).flat_map(|a| (1..250).map(move |b| (a, b))) {
        lab.head_plain(&beginning(&format!("203.0.{a}.{b}"), HEAD_HOST, 1));
    }
    arrived.extend(lab.at_head(&sent[sent.len() - 1..]));
    assert_eq!(put_together(&plain(&arrived)), after_hops(packet, 2));
}

#[test]
fn sources_with_many_bytes_lose_their_own() {
    let mut lab = Lab::up(GCM);
    let packet = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(3000));
    let pieces = in_pieces(&packet, 1500);
    let mut sent = lab.head_plain(&pieces[0]);
    // Two sources with 40 packets each, of which only the last piece is missing: more bytes than there may be.
    for (source, id) in
        ["172.16.1.20", "172.16.1.21"].into_iter().flat_map(|source| (0..40_u16).map(move |id| (source, id)))
    {
        let long = in_pieces(&udp((source, 1), (BRANCH_HOST, 2), &pattern(65_000)), 9000);
        for piece in &long[..long.len() - 1] {
            lab.head_plain(&changed(piece.clone(), |piece| piece[4..6].copy_from_slice(&id.to_be_bytes())));
        }
    }
    assert!(lab.head.counters().drops(Reason::FragmentLimit) > 10);
    sent.extend(pieces[1..].iter().flat_map(|piece| lab.head_plain(piece)));
    assert_eq!(put_together(&plain(&lab.at_branch(&sent))), after_hops(packet, 2));
}

#[test]
fn a_packet_whose_fragments_overlap_stays_refused() {
    for (from, to) in [(HEAD_HOST, BRANCH_HOST), (HEAD_HOST_V6, BRANCH_HOST_V6)] {
        let mut lab = Lab::up(GCM);
        let packet = udp((from, 1), (to, 2), &pattern(3000));
        let pieces = in_pieces(&packet, 1480);
        let shifted = in_pieces(&udp((from, 1), (to, 2), &pattern(3008)), 1400);
        lab.head_plain(&pieces[0]);
        let watch = Watch::over(&lab.head);
        lab.head_plain(&shifted[1]);
        watch.only(&lab.head, &[(Reason::FragmentOverlap, 1)]);
        // What had not come yet is refused too, and all of it once more (RFC 5722 section 3).
        for piece in &pieces {
            assert_eq!(sealed(&lab.head_plain(piece)), 0);
        }
        watch.only(&lab.head, &[(Reason::FragmentOverlap, 1 + pieces.len() as u64)]);
        assert_eq!(lab.head.fragments.held(), (1, 0));
        lab.now += TIME_MAX;
        lab.head.expire(lab.now, &mut Vec::new());
        watch.only(&lab.head, &[(Reason::FragmentOverlap, 1 + pieces.len() as u64)]);
        assert_eq!(lab.head.fragments.held(), (0, 0));
        let sent: Vec<Output> = pieces.iter().flat_map(|piece| lab.head_plain(piece)).collect();
        assert_eq!(put_together(&plain(&lab.at_branch(&sent))), after_hops(packet, 2));
    }
}

#[test]
fn fragments_that_part_the_header_are_refused() {
    let segment = tcp((HEAD_HOST, 1), (BRANCH_HOST, 2), tcp::SYN, 1, 0);
    let v6 = tcp((HEAD_HOST_V6, 1), (BRANCH_HOST_V6, 2), tcp::SYN, 1, 0);
    let data = udp((HEAD_HOST_V6, 1), (BRANCH_HOST_V6, 2), &pattern(300));
    // Destination options that end only in the second fragment.
    let mut options = data[..40].to_vec();
    options[6] = 60;
    options.extend([17, 12, 1, 102]);
    options.extend([0; 100]);
    options.extend(&data[40..]);
    let len = options.len() - 40;
    wire::ipv6::set_payload_length(&mut options, len);
    for (packet, mtu, tiny) in [(segment.clone(), 36, 2), (segment, 40, 1), (v6, 64, 1), (options, 48 + 64, 1)] {
        let mut lab = Lab::up(GCM);
        let watch = Watch::over(&lab.head);
        let pieces = in_pieces(&packet, mtu);
        let refused = pieces.iter().filter(|piece| sealed(&lab.head_plain(piece)) == 0).count();
        assert_eq!(refused, pieces.len());
        let counted = lab.head.counters().drops(Reason::TinyFragment);
        watch.only(&lab.head, &[(Reason::TinyFragment, counted)]);
        assert!(counted >= tiny, "{counted}");
    }
}

#[test]
pub(super) fn a_second_fragment_within_the_header_is_refused_alone() {
    let mut lab = Lab::up(GCM);
    let segment = tcp((HEAD_HOST, 1), (BRANCH_HOST, 2), tcp::SYN, 1, 0);
    let second = in_pieces(&segment, 36).remove(1);
    let watch = Watch::over(&lab.head);
    let out = lab.head_plain(&second);
    watch.only(&lab.head, &[(Reason::TinyFragment, 1)]);
    assert_eq!(logs(&out), ["fragment_dropped"]);
}

#[test]
fn a_packet_in_one_piece_disturbs_no_other() {
    let mut lab = Lab::up(GCM);
    let packet = udp((HEAD_HOST_V6, 1), (BRANCH_HOST_V6, 2), &pattern(3000));
    let mut pieces = in_pieces(&packet, 1480);
    for piece in &mut pieces {
        piece[44..48].copy_from_slice(&7_u32.to_be_bytes());
    }
    let mut sent = lab.head_plain(&pieces[0]);
    let alone = udp((HEAD_HOST_V6, 1), (BRANCH_HOST_V6, 2), b"alone");
    let one = lab.head_plain(&nested(&alone, 1));
    assert_eq!(plain(&lab.at_branch(&one)), [after_hops(alone, 2)]);
    sent.extend(pieces[1..].iter().flat_map(|piece| lab.head_plain(piece)));
    assert_eq!(put_together(&plain(&lab.at_branch(&sent))), after_hops(packet, 2));
}

#[test]
fn one_tunnel_takes_no_room_from_another() {
    use crate::fragments::{BYTES_PER_TUNNEL_MAX, Fragments, Outcome, PACKETS_PER_TUNNEL_MAX};
    let packet = udp((BRANCH_HOST, 1), (HEAD_HOST, 2), &pattern(3000));
    let pieces = in_pieces(&packet, 1400);
    let mut fragments = Fragments::default();
    let mut add = |from, piece: &[u8]| fragments.add(at(0), (from, false), &key_of(piece), piece, &mut Vec::new());
    for piece in &pieces[..pieces.len() - 1] {
        assert!(matches!(add(8, piece), Outcome::Kept));
    }
    // As many sources as there are places for, many times, with short and with long packets.
    for (a, b) in (0..8).flat_map(|a| (1..250).map(move |b| (a, b))) {
        add(7, &beginning(&format!("10.1.{a}.{b}"), HEAD_HOST, 1));
        add(7, &in_pieces(&udp((&format!("10.2.{a}.{b}"), 1), (HEAD_HOST, 2), &pattern(50_000)), 40_000)[0]);
    }
    assert!(matches!(add(8, &pieces[pieces.len() - 1]), Outcome::Whole(..)));
    let (packets, bytes) = fragments.held();
    assert!(packets <= PACKETS_PER_TUNNEL_MAX && bytes <= BYTES_PER_TUNNEL_MAX, "{packets} {bytes}");
    assert!(packets > 10 && bytes > 1_000_000);
}
