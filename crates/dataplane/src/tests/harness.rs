//! The harnesses of the fuzz targets, as seeded tests.

use base::Mutations;

use super::fragments::nested;
use super::*;
use crate::harness::{Gateway, traffic};

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
        nested(&ping(HEAD_HOST_V6, BRANCH_HOST_V6, 40), 1),
        nested(&ping(HEAD_HOST_V6, BRANCH_HOST_V6, 40), 5),
    ]
}

#[test]
fn no_plain_packet_stops_the_gateway() {
    let mut gateway = Gateway::new();
    Mutations::new(1, seeds()).take(CASES).for_each(|bytes| gateway.plain(&bytes));
    assert!(gateway.dataplane().counters().drops(Reason::MalformedIp) > 1000);
    assert!(gateway.dataplane().usage(SaId(1)).unwrap().packets_out > 1000);
}

#[test]
fn no_esp_packet_stops_the_gateway() {
    let mut gateway = Gateway::new();
    let seeds = vec![vec![0; 80], [0, 0, 0x10, 1, 0, 0, 0, 9].repeat(9)];
    Mutations::new(2, seeds).take(CASES).for_each(|bytes| gateway.esp(&bytes));
    let counters = gateway.dataplane().counters();
    assert!(counters.drops(Reason::UnknownSpi) > 1000 && counters.drops(Reason::IcvFailure) > 1000);
}

#[test]
fn no_authentic_text_stops_the_gateway() {
    let mut gateway = Gateway::new();
    let texts = seeds().into_iter().map(|mut packet| {
        ip::swap_addresses(&mut packet);
        packet.extend([0, packet[0] >> 4]);
        let last = packet.len() - 1;
        packet[last] = if packet[last] == 4 { 4 } else { 41 };
        packet
    });
    Mutations::new(3, texts.collect()).take(CASES).for_each(|bytes| gateway.sealed(&bytes));
    assert!(gateway.dataplane().usage(SaId(1)).unwrap().packets_in > 50_000);
    assert!(gateway.dataplane().usage(SaId(1)).unwrap().bytes_in > 100_000);
}

#[test]
fn no_sequence_of_packets_stops_the_gateway() {
    let session: Vec<u8> = seeds()
        .iter()
        .enumerate()
        .flat_map(|(index, packet)| {
            let [high, low] = u16::try_from(packet.len()).unwrap().to_be_bytes();
            [&[index as u8, high, low], packet.as_slice()].concat()
        })
        .collect();
    Mutations::new(4, vec![session]).take(2_000).for_each(|bytes| traffic(&bytes));
}

#[test]
fn esp_packets_of_every_size_are_refused_for_a_reason() {
    let mut gateway = Gateway::new();
    let mut refused = 0;
    for len in (0..300).chain([1499, 1500, 1501, 9000, 65_507, 65_535]) {
        for spi in [0x1001_u32, 0x9999] {
            let mut packet = vec![0x55; len];
            wire::octets::put(&mut packet, 0, spi.to_be_bytes());
            gateway.esp(&packet);
            refused += 1;
        }
    }
    let counted: u64 = Reason::ALL.iter().map(|reason| gateway.dataplane().counters().drops(*reason)).sum();
    assert_eq!(counted, refused);
}
