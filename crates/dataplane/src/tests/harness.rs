//! The harnesses of the fuzz targets, as seeded tests.

use base::Mutations;

use super::*;
use crate::fuzz;

const CASES: usize = 100_000;

fn seeds() -> Vec<Vec<u8>> {
    vec![
        ping(HEAD_HOST, BRANCH_HOST, 40),
        ping(HEAD_HOST_V6, BRANCH_HOST_V6, 40),
        ping(HEAD_HOST, HEAD.own[0], 4),
        udp((HEAD_HOST, 1000), (BRANCH_HOST, 53), b"question"),
        udp((HEAD_HOST_V6, 1000), (BRANCH_HOST_V6, 53), b"question"),
        tcp((HEAD_HOST, 1000), (BRANCH_HOST, 80), tcp::SYN, 1, 0),
        tcp((HEAD_HOST, 1000), (BRANCH_HOST, 98), tcp::SYN, 1, 0),
        tcp((HEAD_HOST, 1000), (BRANCH_HOST, 80), tcp::ACK, 2, 1),
        icmp::error_packet(
            icmp::Problem::TooBig(1300),
            ip(HEAD_HOST),
            ip(BRANCH_HOST),
            &udp((BRANCH_HOST, 53), (HEAD_HOST, 1000), b"answer"),
        )
        .unwrap(),
        changed(udp((HEAD_HOST, 1), (BRANCH_HOST, 2), &[7; 24]), |packet| packet[6] = 0x20),
    ]
}

#[test]
fn no_plain_packet_stops_the_gateway() {
    let mut harness = fuzz::Harness::new(Arc::new(policy(&HEAD)));
    Mutations::new(1, seeds()).take(CASES).for_each(|bytes| harness.plain(&bytes));
    assert!(harness.dataplane().counters().drops(Reason::MalformedIp) > 1000);
}

#[test]
fn no_esp_packet_stops_the_gateway() {
    let mut harness = fuzz::Harness::new(Arc::new(policy(&HEAD)));
    let seeds = vec![vec![0; 80], [0, 0, 0x10, 1, 0, 0, 0, 9].repeat(9)];
    Mutations::new(2, seeds).take(CASES).for_each(|bytes| harness.esp(&bytes));
    assert!(harness.dataplane().counters().drops(Reason::UnknownSpi) > 1000);
}

#[test]
fn no_authentic_text_stops_the_gateway() {
    let mut lab = Lab::up(GCM);
    let mut random = base::Random::numbered(3);
    for bytes in Mutations::new(3, seeds()).take(20_000) {
        let slot = lab.head.sas.by_spi(0x1001).unwrap();
        let next_header = [4, 41, 59, 6][usize::try_from(random.below(4)).unwrap()];
        let mut text = bytes;
        text.extend([0, next_header]);
        let sealed = lab.head.sas.get_mut(slot).unwrap().seal_text(&text);
        lab.branch.esp(lab.now, GCM.outer(false), 0, Buffer::copy(&sealed), &mut Vec::new());
    }
    assert!(lab.branch.usage(SaId(1)).unwrap().packets_in > 10_000);
}
