//! Whatever can be said can be written, and is read as it was said.

use std::net::IpAddr;

use base::{IpRange, Selector};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

/// One payload of every kind.
pub(super) fn one_of_each() -> Vec<Payload> {
    let lan = |text: &str| TrafficSelector::from(Selector::all(IpRange::network(text.parse().unwrap(), 24).unwrap()));
    let transforms = vec![
        Transform::with_key_bits(TransformType::ENCR, 12, 256),
        Transform::new(TransformType::INTEG, 12),
        Transform {
            attributes: vec![Attribute { kind: 99, value: AttributeValue::Long(vec![1, 2, 3]) }],
            ..Transform::new(TransformType::ESN, 0)
        },
    ];
    vec![
        Payload::IdI(Id::domain_name("branch.example.com")),
        Payload::IdR(Id::address("2001:db8::1".parse().unwrap())),
        Payload::Auth(Auth { method: AuthMethod::SHARED_KEY, data: vec![0x55; 32] }),
        Payload::Sa(vec![Proposal { number: 1, protocol: ProtocolId::ESP, spi: vec![1, 2, 3, 4], transforms }]),
        Payload::TsI(vec![lan("172.16.1.0"), lan("10.0.0.0")]),
        Payload::TsR(vec![lan("192.168.1.0"), lan("2001:db8::")]),
        Payload::Nonce(vec![7; 32]),
        Payload::Ke(KeyExchange { group: 31, data: vec![9; 32] }),
        Payload::Notify(Notify::esp(NotifyType::REKEY_SA, 0x1234_5678)),
        Payload::Notify(Notify::new(NotifyType::INITIAL_CONTACT, vec![])),
        Payload::Delete(Delete::esp(&[1, 2, 3])),
        Payload::Delete(Delete::ike()),
        Payload::Vendor(b"strongSwan".to_vec()),
        Payload::Opaque { kind: PayloadType::CP, critical: false, body: vec![1, 0, 0, 0, 0, 1, 0, 0] },
        Payload::Opaque { kind: PayloadType(200), critical: true, body: vec![1] },
    ]
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=max)
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let value = prop_oneof![any::<u16>().prop_map(AttributeValue::Short), bytes(9).prop_map(AttributeValue::Long)];
    // A short key length would become the transform's own.
    (0_u16..0x8000, value)
        .prop_filter("key length", |(kind, _)| *kind != KEY_LENGTH)
        .prop_map(|(kind, value)| Attribute { kind, value })
}

fn transform() -> impl Strategy<Value = Transform> {
    (any::<u8>(), any::<u16>(), option::of(any::<u16>()), vec(attribute(), 0..ATTRIBUTES_MAX))
        .prop_map(|(kind, id, key_bits, attributes)| Transform { kind: TransformType(kind), id, key_bits, attributes })
}

fn proposal() -> impl Strategy<Value = Proposal> {
    (any::<u8>(), any::<u8>(), bytes(8), vec(transform(), 0..6)).prop_map(|(number, protocol, spi, transforms)| {
        Proposal { number, protocol: ProtocolId(protocol), spi, transforms }
    })
}

fn traffic_selector() -> impl Strategy<Value = TrafficSelector> {
    let range = |first: IpAddr, last: IpAddr, (protocol, port_first, port_last)| TrafficSelector::Range {
        protocol,
        port_first,
        port_last,
        first,
        last,
    };
    let ports = (any::<u8>(), any::<u16>(), any::<u16>());
    let unknown = any::<u8>().prop_filter("unknown", |kind| !matches!(kind, 7 | 8));
    prop_oneof![
        (any::<[u8; 4]>(), any::<[u8; 4]>(), ports).prop_map(move |(a, b, p)| range(a.into(), b.into(), p)),
        (any::<[u8; 16]>(), any::<[u8; 16]>(), ports).prop_map(move |(a, b, p)| range(a.into(), b.into(), p)),
        (unknown, any::<u8>(), bytes(20)).prop_map(|(kind, protocol, body)| TrafficSelector::Unknown {
            kind: TsType(kind),
            protocol,
            body
        }),
    ]
}

fn id() -> impl Strategy<Value = Id> {
    (any::<u8>(), bytes(40)).prop_map(|(kind, data)| Id::new(IdType(kind), data))
}

fn notify() -> impl Strategy<Value = Notify> {
    (any::<u8>(), bytes(16), any::<u16>(), bytes(64)).prop_map(|(protocol, spi, kind, data)| Notify {
        protocol: ProtocolId(protocol),
        spi,
        kind: NotifyType(kind),
        data,
    })
}

fn delete() -> impl Strategy<Value = Delete> {
    (any::<u8>(), 1_u8..9).prop_flat_map(|(protocol, spi_size)| {
        vec(vec(any::<u8>(), usize::from(spi_size)), 0..20).prop_map(move |spis| Delete {
            protocol: ProtocolId(protocol),
            spi_size,
            spis,
        })
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    let opaque = prop_oneof![Just(37_u8), Just(38), Just(47), Just(48), 1_u8..33, 54_u8..=255];
    prop_oneof![
        vec(proposal(), 1..4).prop_map(Payload::Sa),
        (any::<u16>(), bytes(80)).prop_map(|(group, data)| Payload::Ke(KeyExchange { group, data })),
        id().prop_map(Payload::IdI),
        id().prop_map(Payload::IdR),
        (any::<u8>(), bytes(80)).prop_map(|(method, data)| Payload::Auth(Auth { method: AuthMethod(method), data })),
        vec(any::<u8>(), NONCE_MIN..=NONCE_MAX).prop_map(Payload::Nonce),
        notify().prop_map(Payload::Notify),
        delete().prop_map(Payload::Delete),
        bytes(40).prop_map(Payload::Vendor),
        vec(traffic_selector(), 1..5).prop_map(Payload::TsI),
        vec(traffic_selector(), 1..5).prop_map(Payload::TsR),
        (opaque, any::<bool>(), bytes(40)).prop_map(|(kind, critical, body)| Payload::Opaque {
            kind: PayloadType(kind),
            critical,
            body
        }),
    ]
}

fn header() -> impl Strategy<Value = Header> {
    (any::<u64>(), any::<u64>(), any::<u8>(), any::<[bool; 3]>(), any::<u32>()).prop_map(
        |(initiator_spi, responder_spi, exchange, [initiator, response, version], message_id)| {
            let flags = Flags { initiator, response, version };
            Header::new(initiator_spi, responder_spi, ExchangeType(exchange), flags, message_id)
        },
    )
}

proptest! {
    #[test]
    fn every_payload_is_read_as_it_was_written(payload in payload()) {
        let (first, chain) = write_payloads(std::slice::from_ref(&payload)).unwrap();
        prop_assert_eq!(first, payload.kind());
        prop_assert_eq!(parse_payloads(first, &chain), Ok(vec![payload]));
    }

    #[test]
    fn every_message_is_read_as_it_was_written(header in header(), payloads in vec(payload(), 0..8)) {
        let written = Message { header, payloads: payloads.clone() }.write().unwrap();
        let read = parse_message(&written).unwrap();
        let length = u32::try_from(written.len()).unwrap();
        let next_payload = payloads.first().map_or(PayloadType::NONE, Payload::kind);
        prop_assert_eq!(read, Message { header: Header { length, next_payload, ..header }, payloads });
    }

    #[test]
    fn every_envelope_is_found_as_it_was_laid_out(
        header in header(),
        fragment in option::of((1_u16..9, 0_u16..9)),
        first in any::<u8>(),
        body in bytes(100),
    ) {
        let protection = match fragment {
            Some((number, more)) => Protection::Fragment { number, total: number + more },
            None => Protection::Whole,
        };
        let mut datagram = Envelope::prefix(&header, protection, PayloadType(first), body.len()).unwrap();
        let aad = datagram.clone();
        datagram.extend_from_slice(&body);
        let Ok(Datagram::Protected(envelope)) = Datagram::parse(&datagram) else { panic!("{datagram:?}") };
        prop_assert_eq!((envelope.aad(), envelope.body()), (aad.as_slice(), body.as_slice()));
        prop_assert_eq!((envelope.protection, envelope.first), (protection, PayloadType(first)));
        prop_assert_eq!(envelope.header.message_id, header.message_id);
    }
}

#[test]
fn one_of_each_payload_survives_together() {
    let payloads = one_of_each();
    let (first, chain) = write_payloads(&payloads).unwrap();
    assert_eq!(parse_payloads(first, &chain), Ok(payloads));
}
