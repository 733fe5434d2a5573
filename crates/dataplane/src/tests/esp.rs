//! SAs: rekeying, moving, their end; and what must never be accepted.

use base::Random;

use super::*;

fn spis(out: &[Output]) -> Vec<u32> {
    out.iter()
        .filter_map(|output| match output {
            Output::Outer { packet, .. } => wire::esp::Header::parse(packet.bytes()).map(|header| header.spi),
            _ => None,
        })
        .collect()
}

#[test]
fn a_new_pair_is_sent_on_once_the_peer_has_used_it() {
    let mut lab = Lab::up(GCM);
    let packet = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), b"x");
    assert_eq!(spis(&lab.head_plain(&packet)), [0x2001]);
    // The head office answered the rekeying: it installs first, and waits for the peer to be ready.
    let next = Keying { generation: 2, outbound_now: false, ..GCM };
    next.install(true, &mut lab.head, lab.now);
    assert_eq!(spis(&lab.head_plain(&packet)), [0x2001]);
    Keying { outbound_now: true, ..next }.install(false, &mut lab.branch, lab.now);
    let sent = lab.branch_plain(&udp((BRANCH_HOST, 9), (HEAD_HOST, 9), b"x"));
    assert_eq!(spis(&sent), [0x1002]);
    assert_eq!(plain(&lab.at_head(&sent)).len(), 1);
    assert_eq!(spis(&lab.head_plain(&packet)), [0x2002]);
}

#[test]
fn a_new_pair_is_sent_on_when_the_old_one_may_not_be() {
    for control in [|| Control::StopSending(SaId(1)), || Control::Remove(SaId(1))] {
        let mut lab = Lab::up(GCM);
        let packet = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), b"x");
        let next = Keying { generation: 2, outbound_now: false, ..GCM };
        lab.install(next);
        assert_eq!(spis(&lab.head_plain(&packet)), [0x2001]);
        lab.head.control(lab.now, control(), &mut Vec::new()).unwrap();
        let sent = lab.head_plain(&packet);
        assert_eq!(spis(&sent), [0x2002]);
        assert_eq!(plain(&lab.at_branch(&sent)).len(), 1);
    }
}

#[test]
fn a_forged_packet_on_the_new_pair_switches_nothing() {
    let mut lab = Lab::up(GCM);
    lab.install(Keying { generation: 2, outbound_now: false, ..GCM });
    let mut out = Vec::new();
    let mut forged = vec![0; 60];
    forged[..8].copy_from_slice(&wire::esp::Header { spi: 0x1002, sequence: 1 }.bytes());
    lab.head.esp(lab.now, GCM.outer(true), 0, Buffer::copy(&forged), &mut out);
    let packet = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), b"x");
    assert_eq!(spis(&lab.head_plain(&packet)), [0x2001]);
}

#[test]
fn both_pairs_receive_while_they_overlap() {
    let mut lab = Lab::up(GCM);
    let packet = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), b"x");
    let late = lab.head_plain(&packet);
    lab.install(Keying { generation: 2, ..GCM });
    let sent = lab.head_plain(&packet);
    assert_eq!((spis(&late), spis(&sent)), (vec![0x2001], vec![0x2002]));
    assert_eq!(plain(&lab.at_branch(&sent)).len(), 1);
    assert_eq!(plain(&lab.at_branch(&late)).len(), 1);
    assert_eq!(lab.branch.usage(SaId(1)).unwrap().packets_in, 1);
    assert_eq!(lab.branch.usage(SaId(2)).unwrap().packets_in, 1);
}

#[test]
fn the_peer_is_followed_only_by_new_authentic_packets() {
    let mut lab = Lab::up(GCM);
    let elsewhere = Outer { remote: (ip("192.0.2.9"), 7000).into(), ..GCM.outer(false) };
    let packet = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), b"x");
    let bytes = |out: &[Output]| match &out.last() {
        Some(Output::Outer { packet, .. }) => packet.clone(),
        other => panic!("not sealed: {other:?}"),
    };
    let (first, second) = (lab.head_plain(&packet), lab.head_plain(&packet));
    lab.at_branch(&second);
    let mut out = Vec::new();
    lab.branch.esp(lab.now, elsewhere, 0, bytes(&first), &mut out);
    assert_eq!(exceptions(&out), [], "an older packet may have been delayed on its old way");
    let third = lab.head_plain(&packet);
    let mut forged = bytes(&third);
    forged.bytes_mut()[30] ^= 1;
    lab.branch.esp(lab.now, elsewhere, 0, forged, &mut out);
    assert_eq!(exceptions(&out), []);
    lab.branch.esp(lab.now, elsewhere, 0, bytes(&third), &mut out);
    let moved = Exception::Moved { sa: SaId(1), remote: elsewhere.remote };
    assert_eq!(exceptions(&out), [moved]);
    let answer = lab.branch_plain(&udp((BRANCH_HOST, 2), (HEAD_HOST, 1), b"x"));
    assert!(answer.iter().any(|o| matches!(o, Output::Outer { outer, .. } if *outer == GCM.outer(false))));
    lab.branch.control(lab.now, Control::Move(SaId(1), elsewhere), &mut Vec::new()).unwrap();
    let answer = lab.branch_plain(&udp((BRANCH_HOST, 2), (HEAD_HOST, 1), b"x"));
    assert!(answer.iter().any(|o| matches!(o, Output::Outer { outer, .. } if *outer == elsewhere)));
}

#[test]
fn the_sequence_number_ends_the_sa_and_never_repeats() {
    for esn in [false, true] {
        let mut lab = Lab::up(Keying { esn, ..GCM });
        let packet = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), b"x");
        let end = if esn { u64::MAX } else { u64::from(u32::MAX) };
        let pretend = |lab: &mut Lab, sent| {
            let slot = lab.head.sas.by_spi(0x1001).unwrap();
            lab.head.sas.get_mut(slot).unwrap().sa.pretend_sent(sent);
        };
        pretend(&mut lab, end - (1 << 28) - 1);
        assert_eq!(exceptions(&lab.head_plain(&packet)), []);
        assert_eq!(exceptions(&lab.head_plain(&packet)), [Exception::SoftLimit(SaId(1))]);
        pretend(&mut lab, end - 2);
        assert_eq!(sealed(&lab.head_plain(&packet)), 1);
        let last = lab.head_plain(&packet);
        assert_eq!((sealed(&last), exceptions(&last)), (1, vec![Exception::HardLimit(SaId(1))]));
        assert_eq!(sealed(&lab.head_plain(&packet)), 0);
    }
}

#[test]
fn the_lower_half_of_an_extended_number_wraps_without_a_lost_packet() {
    for keying in [GCM, CBC] {
        let mut lab = Lab::up(Keying { esn: true, ..keying });
        let slot = lab.head.sas.by_spi(0x1001).unwrap();
        lab.head.sas.get_mut(slot).unwrap().sa.pretend_sent((1 << 32) - 20);
        let slot = lab.branch.sas.by_spi(0x2001).unwrap();
        lab.branch.sas.get_mut(slot).unwrap().sa.pretend_received((1 << 32) - 20);
        for _ in 0..40 {
            let packet = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), b"x");
            let sent = lab.head_plain(&packet);
            assert_eq!(plain(&lab.at_branch(&sent)).len(), 1);
        }
    }
}

#[test]
fn no_altered_or_truncated_packet_is_ever_accepted() {
    for keying in [GCM, CBC, Keying { esn: true, ..GCM }, Keying { esn: true, ..CBC }] {
        let mut lab = Lab::up(keying);
        let packet = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), b"some data");
        let sent = lab.head_plain(&packet);
        let Some(Output::Outer { packet: good, .. }) = sent.last() else { panic!("not sealed") };
        for at in 0..good.len() {
            for flip in [1, 0x80, 0xff] {
                let mut forged = good.clone();
                forged.bytes_mut()[at] ^= flip;
                let mut out = Vec::new();
                lab.branch.esp(lab.now, keying.outer(false), 0, forged, &mut out);
                assert!(plain(&out).is_empty() && local(&out).is_empty(), "byte {at}");
            }
            let mut short = good.clone();
            short.truncate(at);
            let mut out = Vec::new();
            lab.branch.esp(lab.now, keying.outer(false), 0, short, &mut out);
            assert!(plain(&out).is_empty(), "{at} bytes");
        }
        assert_eq!(lab.branch.usage(SaId(1)).unwrap().packets_in, 0);
        assert_eq!(plain(&lab.at_branch(&sent)).len(), 1, "and the right one still is");
    }
}

#[test]
fn a_bad_network_neither_doubles_nor_loses_what_is_within_the_window() {
    for keying in [Keying { window: 64, ..GCM }, Keying { window: 1024, esn: true, ..CBC }] {
        let mut lab = Lab::up(keying);
        let mut random = Random::numbered(5);
        let mut wire: Vec<(u64, Output)> = Vec::new();
        for i in 0..2_000_u64 {
            let packet = udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &i.to_be_bytes());
            for output in lab.head_plain(&packet) {
                if let Output::Outer { outer, ds, df, packet, segment } = output {
                    if random.chance(1, 5) {
                        wire.push((
                            i + random.below(30),
                            Output::Outer { outer, ds, df, packet: packet.clone(), segment },
                        ));
                    }
                    wire.push((i + random.below(30), Output::Outer { outer, ds, df, packet, segment }));
                }
            }
        }
        wire.sort_by_key(|(at, _)| *at);
        let sent: Vec<Output> = wire.into_iter().map(|(_, output)| output).collect();
        let mut arrived: Vec<u64> = plain(&lab.at_branch(&sent))
            .iter()
            .map(|packet| u64::from_be_bytes(packet[28..36].try_into().unwrap()))
            .collect();
        arrived.sort_unstable();
        assert_eq!(arrived, (0..2_000).collect::<Vec<_>>());
    }
}

#[test]
fn random_packets_survive_the_way_through_two_gateways() {
    let mut random = Random::numbered(3);
    let mut lab = Lab::up(CBC);
    for _ in 0..2_000 {
        let mut data = vec![0; usize::try_from(random.below(1300)).unwrap()];
        random.fill(&mut data);
        let v6 = random.chance(1, 2);
        let (from, to) = if v6 { (HEAD_HOST_V6, BRANCH_HOST_V6) } else { (HEAD_HOST, BRANCH_HOST) };
        let ports = (random.below(20) as u16 + 1000, random.below(20) as u16 + 2000);
        let packet = udp((from, ports.0), (to, ports.1), &data);
        let sent = lab.head_plain(&packet);
        assert_eq!(plain(&lab.at_branch(&sent)), [after_hops(packet, 2)]);
    }
}

#[test]
fn vectors_of_cbc_never_repeat_and_differ_between_sas() {
    let mut seen = std::collections::BTreeSet::new();
    for generation in [1, 2] {
        let mut lab = Lab::up(Keying { generation, ..CBC });
        for _ in 0..500 {
            let sent = lab.head_plain(&udp((HEAD_HOST, 1), (BRANCH_HOST, 2), b"x"));
            let Some(Output::Outer { packet, .. }) = sent.last() else { panic!("not sealed") };
            assert!(seen.insert(packet.bytes()[8..24].to_vec()));
        }
    }
}

#[test]
fn an_sa_that_cannot_be_is_refused_and_changes_nothing() {
    let mut lab = Lab::up(GCM);
    let selectors = [Selector::all(IpRange::ALL_V4)];
    let good = || SaParameters {
        id: SaId(9),
        tunnel: TUNNEL,
        mode: Mode::Tunnel,
        spi_in: 0x9000,
        spi_out: 0x9001,
        encryption: Encryption::AesGcm16(128),
        integrity: None,
        encryption_key_in: &[1; 20],
        integrity_key_in: &[],
        encryption_key_out: &[2; 20],
        integrity_key_out: &[],
        esn: false,
        replay_window: 64,
        local: &selectors,
        remote: &selectors,
        outer: GCM.outer(true),
        outbound_now: true,
        replaces: None,
        soft_bytes: None,
        hard_bytes: None,
    };
    let mut install = |parameters: SaParameters<'_>| {
        lab.head.control(at(1), Control::Install(Sa::new(&parameters)?), &mut Vec::new())
    };
    assert!(matches!(install(SaParameters { encryption_key_in: &[1; 16], ..good() }), Err(SaError::Key(_))));
    assert_eq!(install(SaParameters { spi_in: 0x1001, ..good() }), Err(SaError::DuplicateSpi(0x1001)));
    assert_eq!(install(SaParameters { spi_in: 255, ..good() }), Err(SaError::ReservedSpi(255)));
    assert_eq!(install(SaParameters { id: SaId(1), ..good() }), Err(SaError::DuplicateId(SaId(1))));
    assert_eq!(install(good()), Ok(()));
}
