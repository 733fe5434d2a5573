//! What the path takes: told by the kernel or by routers, and what follows for packets inside.

use super::*;
use crate::esp::path_mtu::{OUTER_MTU, PATH_ERRORS_PER_SECOND, PATH_MTU_LIFETIME};

const AROUND_V4_UDP: usize = 28;

/// A head office with a wide tunnel, so that the path decides.
fn wide(keying: Keying) -> Lab {
    let mut lab = Lab::new();
    let mut policy = policy(&HEAD);
    if let InterfaceKind::Tunnel(path) = &mut policy.interfaces[3].kind {
        path.plaintext_mtu = 9000;
    }
    policy.settings.mss_vpn_max = 9000;
    lab.head.control(lab.now, Control::Replace(Arc::new(policy)), &mut Vec::new()).unwrap();
    lab.install(keying);
    lab
}

fn learn(lab: &mut Lab, keying: Keying, mtu: u16) {
    let remote = keying.outer(true).remote.ip();
    lab.head.control(lab.now, Control::PathMtu(remote, mtu), &mut Vec::new()).unwrap();
}

/// Lengths of the outer packets, and whether each may not be cut.
fn outers(out: &[Output], around: usize) -> Vec<(usize, bool)> {
    out.iter()
        .filter_map(|output| match output {
            Output::Outer { df, packet, .. } => Some((packet.len() + around, *df)),
            _ => None,
        })
        .collect()
}

fn whole(packet: Vec<u8>) -> Vec<u8> {
    changed(packet, |packet| {
        if packet[0] >> 4 == 4 {
            packet[6] = 0x40;
        }
    })
}

#[test]
fn the_longest_packet_fills_the_path_with_every_cipher_and_family() {
    for (encryption, integrity) in [
        (Encryption::AesGcm16(256), None),
        (Encryption::AesCbc(128), Some(Integrity::HmacSha2_256_128)),
        (Encryption::TripleDes, Some(Integrity::HmacSha1_96)),
        (Encryption::Null, Some(Integrity::HmacSha2_512_256)),
    ] {
        for (outer_v6, udp_too, mtu) in
            [(false, true, 1500), (false, false, 1500), (true, true, 1500), (true, false, 1400), (false, true, 1381)]
        {
            let keying = Keying { encryption, integrity, outer_v6, udp: udp_too, ..GCM };
            let around = if outer_v6 { 40 } else { 20 } + if udp_too { 8 } else { 0 };
            for (from, to, headers) in [(HEAD_HOST, BRANCH_HOST, 28), (HEAD_HOST_V6, BRANCH_HOST_V6, 48)] {
                let mut lab = wide(keying);
                learn(&mut lab, keying, mtu);
                let room = lab.head.sas.newest(TUNNEL).unwrap().room(headers == 28);
                let longest = whole(udp((from, 1), (to, 2), &pattern(room - headers)));
                let sent = lab.head_plain(&longest);
                let [(len, true)] = outers(&sent, around)[..] else { panic!("{encryption} {room}: {sent:?}") };
                assert!(len <= usize::from(mtu));
                assert_eq!(plain(&lab.at_branch(&sent)), [after_hops(longest, 2)]);
                let unit = encryption.block_len().max(4);
                assert!(len + unit > usize::from(mtu), "{encryption}: {len} of {mtu}");
                let out = lab.head_plain(&whole(udp((from, 1), (to, 2), &pattern(room - headers + 1))));
                assert_eq!((sealed(&out), plain(&out).len()), (0, 1), "its sender is told");
            }
        }
    }
}

#[test]
fn a_sender_is_told_what_the_path_takes_and_pieces_fit_it() {
    let mut lab = wide(GCM);
    let v4 = whole(udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(1300)));
    let v6 = udp((HEAD_HOST_V6, 1), (BRANCH_HOST_V6, 2), &pattern(1300));
    assert_eq!((sealed(&lab.head_plain(&v4)), sealed(&lab.head_plain(&v6))), (1, 1));
    learn(&mut lab, GCM, 1370);
    let room = lab.head.sas.newest(TUNNEL).unwrap().room(true);
    assert_eq!(room, (1370 - AROUND_V4_UDP - 8 - 8 - 16) / 4 * 4 - 2);
    let watch = Watch::over(&lab.head);
    let error = &plain(&lab.head_plain(&v4))[0];
    assert_eq!((&error[20..22], &error[26..28]), (&[3, 4][..], &(room as u16).to_be_bytes()[..]));
    let error = &plain(&lab.head_plain(&v6))[0];
    assert_eq!((error[40], &error[44..48]), (2, &(room as u32).to_be_bytes()[..]));
    watch.only(&lab.head, &[(Reason::TooBig, 2)]);
    let sent = lab.head_plain(&udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(1300)));
    let lens = outers(&sent, AROUND_V4_UDP);
    assert!(lens.len() == 2 && lens.iter().all(|(len, df)| *len <= 1370 && *df), "{lens:?}");
    // Nobody's word makes it longer, but time does.
    learn(&mut lab, GCM, 1499);
    assert_eq!(lab.head.sas.newest(TUNNEL).unwrap().room(true), room);
    assert!(lab.head.next_deadline() <= Some(lab.now + PATH_MTU_LIFETIME));
    lab.now += PATH_MTU_LIFETIME;
    for _ in 0..3 {
        lab.head.expire(lab.now, &mut Vec::new());
    }
    assert_eq!(sealed(&lab.head_plain(&v4)), 1);
}

#[test]
fn a_rekeyed_pair_and_a_peer_that_moves_take_the_path_as_it_is_known() {
    let mut lab = wide(GCM);
    learn(&mut lab, GCM, 1300);
    let room = |lab: &Lab| lab.head.sas.newest(TUNNEL).unwrap().room(true);
    let narrow = room(&lab);
    lab.install(Keying { generation: 2, ..GCM });
    assert_eq!(room(&lab), narrow);
    let elsewhere = Outer { remote: (ip("192.0.2.9"), 4500).into(), ..GCM.outer(true) };
    for (outer, expected) in [(elsewhere, narrow + 200), (GCM.outer(true), narrow)] {
        lab.head.control(lab.now, Control::Move(SaId(2), outer), &mut Vec::new()).unwrap();
        assert_eq!(room(&lab), expected);
    }
}

#[test]
fn the_segment_size_follows_the_path_in_both_directions() {
    for (from, to, headers, at) in [(HEAD_HOST, BRANCH_HOST, 40, 42), (HEAD_HOST_V6, BRANCH_HOST_V6, 60, 62)] {
        let mut lab = wide(GCM);
        learn(&mut lab, GCM, 1340);
        let room = lab.head.sas.newest(TUNNEL).unwrap().room(headers == 40);
        let mss = |packet: &[u8]| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
        let sent = lab.head_plain(&tcp((from, 4000), (to, 80), tcp::SYN, 1, 0));
        let arrived = plain(&lab.at_branch(&sent));
        assert_eq!(mss(&arrived[0]), room - headers);
        // The branch knows nothing of the path, but what it answers passes the head office too.
        let back = lab.branch_plain(&tcp((to, 80), (from, 4000), tcp::SYN | tcp::ACK, 1, 2));
        assert_eq!(mss(&plain(&lab.at_head(&back))[0]), room - headers);
    }
}

#[test]
fn a_tunnel_narrower_than_ipv6_allows_has_its_outer_packets_cut() {
    let mut lab = wide(GCM);
    learn(&mut lab, GCM, 1);
    let sent = lab.head_plain(&udp((HEAD_HOST_V6, 1), (BRANCH_HOST_V6, 2), &pattern(1232)));
    let [(len, false)] = outers(&sent, AROUND_V4_UDP)[..] else { panic!("{sent:?}") };
    assert!(len > 1280);
    let sent = lab.head_plain(&udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(1232)));
    let lens = outers(&sent, AROUND_V4_UDP);
    assert!(lens.len() == 3 && lens.iter().all(|(len, df)| *len <= 576 && *df), "{lens:?}");
}

#[test]
fn a_packet_that_forbids_pieces_is_cut_all_the_same_where_the_settings_say_so() {
    let mut lab = wide(GCM);
    let mut policy = (**lab.head.policy()).clone();
    policy.settings.strip_df_max = 1460;
    lab.head.control(lab.now, Control::Replace(Arc::new(policy)), &mut Vec::new()).unwrap();
    let mut identifications = std::collections::BTreeSet::new();
    for _ in 0..10 {
        let sent = lab.head_plain(&whole(udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(1432))));
        let arrived = plain(&lab.at_branch(&sent));
        assert_eq!(arrived.len(), 2);
        assert!(arrived.iter().all(|piece| piece[6] & 0x40 == 0 && piece[4..6] == arrived[0][4..6]));
        assert!(identifications.insert(arrived[0][4..6].to_vec()));
    }
    let watch = Watch::over(&lab.head);
    lab.head_plain(&whole(udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(1433))));
    lab.head_plain(&udp((HEAD_HOST_V6, 1), (BRANCH_HOST_V6, 2), &pattern(1410)));
    watch.only(&lab.head, &[(Reason::TooBig, 2)]);
}

/// An outer packet as it was on the wire.
fn on_the_wire(output: &Output) -> Vec<u8> {
    let Output::Outer { outer, packet, .. } = output else { panic!("not sealed: {output:?}") };
    let (from, to) = (outer.local.ip(), outer.remote.ip());
    if !outer.udp {
        return icmp::ip_packet(from, to, 50, packet.bytes()).unwrap();
    }
    let mut datagram = Vec::new();
    datagram.extend(outer.local.port().to_be_bytes());
    datagram.extend(outer.remote.port().to_be_bytes());
    datagram.extend(u16::try_from(packet.len() + 8).unwrap().to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(packet.bytes());
    icmp::ip_packet(from, to, 17, &datagram).unwrap()
}

fn room(lab: &Lab) -> usize {
    lab.head.sas.newest(TUNNEL).unwrap().room(true)
}

fn error(lab: &mut Lab, about: &[u8], mtu: u16) {
    let offender = key_of(about);
    let router = if offender.is_v4() { "192.0.2.254" } else { "2001:db8:ffff::1" };
    let error = icmp::error_packet(icmp::Problem::TooBig(mtu), ip(router), offender.source, about).unwrap();
    lab.head.outer_error(lab.now, Buffer::copy(&error), &mut Vec::new());
}

#[test]
fn a_router_is_believed_that_quotes_what_we_have_sent() {
    for (outer_v6, udp_too) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut lab = wide(Keying { outer_v6, udp: udp_too, ..GCM });
        let sent = lab.head_plain(&udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(1380)));
        let full = room(&lab);
        let watch = Watch::over(&lab.head);
        error(&mut lab, &on_the_wire(sent.last().unwrap()), 1400);
        watch.only(&lab.head, &[]);
        assert_eq!(room(&lab), full - (OUTER_MTU - 1400));
    }
}

#[test]
pub(super) fn a_router_is_not_believed_that_quotes_anything_else() {
    let mut lab = wide(Keying { udp: false, ..GCM });
    let sent = lab.head_plain(&udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &pattern(1380)));
    let good = on_the_wire(sent.last().unwrap());
    let full = room(&lab);
    let watch = Watch::over(&lab.head);
    let forged: [fn(&mut Vec<u8>); 5] = [
        |packet| packet[23] ^= 1,  // another SPI
        |packet| packet[27] = 200, // a number that was not used yet
        |packet| packet[24] = 1,
        |packet| packet[19] ^= 1,                             // to another peer
        |packet| packet[2..4].copy_from_slice(&[0x05, 0x78]), // of 1400 bytes, which fitted
    ];
    for (count, forge) in forged.iter().enumerate() {
        error(&mut lab, &changed(good.clone(), forge), 1400);
        watch.only(&lab.head, &[(Reason::UnrelatedIcmpError, count as u64 + 1)]);
    }
    // Nor one that speaks of something else, or to somebody else.
    let other = icmp::error_packet(icmp::Problem::Prohibited, ip("192.0.2.254"), ip(HEAD.wan), &good).unwrap();
    lab.head.outer_error(lab.now, Buffer::copy(&other), &mut Vec::new());
    let other = icmp::error_packet(icmp::Problem::TooBig(1400), ip("192.0.2.254"), ip(HEAD_HOST), &good).unwrap();
    lab.head.outer_error(lab.now, Buffer::copy(&other), &mut Vec::new());
    watch.only(&lab.head, &[(Reason::UnrelatedIcmpError, 7)]);
    assert_eq!(room(&lab), full);
    // A flood of them is not even looked at.
    lab.now += Duration::from_secs(1);
    for _ in 0..PATH_ERRORS_PER_SECOND + 5 {
        error(&mut lab, &changed(good.clone(), |packet| packet[23] ^= 1), 1400);
    }
    let most = u64::from(PATH_ERRORS_PER_SECOND);
    watch.only(&lab.head, &[(Reason::UnrelatedIcmpError, 7 + most), (Reason::PathErrorLimit, 5)]);
    lab.head.outer_error(lab.now, Buffer::copy(&good[..30]), &mut Vec::new());
    assert_eq!(lab.head.counters().drops(Reason::MalformedIp), 1);
}

#[test]
fn nobody_elses_path_is_remembered() {
    let mut lab = wide(GCM);
    lab.head.control(lab.now, Control::PathMtu(ip("192.0.2.77"), 600), &mut Vec::new()).unwrap();
    assert_eq!(lab.head.paths.next_deadline(), None);
}
