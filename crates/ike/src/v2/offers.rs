//! Between the SA payload and the words of `proposal.rs`.

use crypto::{Encryption, Group, Integrity, Prf};
use wire::ike::{Proposal, ProtocolId, Transform, TransformType, transform_id_name};

use crate::proposal::{Named, Offer};

/// Reads the proposals for `protocol`; those for another protocol are passed over, but keep their numbers.
pub(super) fn read(proposals: &[Proposal], protocol: ProtocolId) -> Vec<Offer> {
    proposals.iter().filter(|proposal| proposal.protocol == protocol).map(read_one).collect()
}

fn read_one(proposal: &Proposal) -> Offer {
    let mut offer = Offer { number: proposal.number, spi: proposal.spi.clone(), ..Offer::default() };
    for transform in &proposal.transforms {
        let id = transform.id;
        // RFC 7296 section 3.3.6: a transform with an attribute that we do not understand is not for us.
        let plain = transform.attributes.is_empty();
        let bare = plain && transform.key_bits.is_none();
        match transform.kind {
            TransformType::ENCR => {
                let known = if plain { Encryption::from_iana(id, transform.key_bits) } else { None };
                offer.encryption.push(named(known, transform));
            }
            TransformType::PRF => offer.prf.push(named(Prf::from_iana(id).filter(|_| bare), transform)),
            TransformType::INTEG => {
                let known = if id == 0 { Some(None) } else { Integrity::from_iana(id).map(Some) };
                offer.integrity.push(named(known.filter(|_| bare), transform));
            }
            TransformType::DH => {
                let known = if id == 0 { Some(None) } else { Group::from_iana(id).map(Some) };
                offer.groups.push(named(known.filter(|_| bare), transform));
            }
            TransformType::ESN if bare && id <= 1 => offer.esn.push(id == 1),
            TransformType::ESN => {}
            // A further key exchange of "none" asks for nothing (RFC 9370).
            kind if (TransformType::ADDKE1.0..=TransformType::ADDKE7.0).contains(&kind.0) && id == 0 => {}
            kind => offer.strange_type = Some(kind.0),
        }
    }
    offer
}

fn named<T>(known: Option<T>, transform: &Transform) -> Named<T> {
    known.ok_or_else(|| {
        let name = transform_id_name(transform.kind, transform.id)
            .map_or_else(|| format!("{} {}", transform.kind, transform.id), str::to_owned);
        match transform.key_bits {
            Some(bits) => format!("{name}-{bits}"),
            None => name,
        }
    })
}

/// The SA payload's proposals for these offers.
pub(super) fn write(offers: &[Offer], protocol: ProtocolId) -> Vec<Proposal> {
    offers.iter().map(|offer| write_one(offer, protocol)).collect()
}

fn write_one(offer: &Offer, protocol: ProtocolId) -> Proposal {
    let mut transforms = Vec::new();
    for one in offer.encryption.iter().flatten() {
        let (id, key_bits) = one.iana();
        transforms.push(Transform { key_bits, ..Transform::new(TransformType::ENCR, id) });
    }
    for one in offer.prf.iter().flatten() {
        transforms.push(Transform::new(TransformType::PRF, one.iana()));
    }
    for one in offer.integrity.iter().flatten() {
        transforms.push(Transform::new(TransformType::INTEG, one.map_or(0, Integrity::iana)));
    }
    for one in offer.groups.iter().flatten() {
        transforms.push(Transform::new(TransformType::DH, one.map_or(0, Group::iana)));
    }
    for extended in &offer.esn {
        transforms.push(Transform::new(TransformType::ESN, u16::from(*extended)));
    }
    Proposal { number: offer.number, protocol, spi: offer.spi.clone(), transforms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithms;
    use crate::proposal::{GroupRule, Policy, propose};

    #[test]
    fn an_offer_survives_the_wire() {
        let list = Algorithms {
            name: "x".into(),
            encryption: vec![Encryption::AesCbc(256), Encryption::TripleDes, Encryption::AesGcm16(128)],
            integrity: vec![Integrity::HmacSha2_256_128],
            prf: vec![Prf::HmacSha2_256],
        };
        let ike = propose(&Policy::ike(&list, &[Group::Modp2048, Group::Curve25519]), &[]);
        assert_eq!(read(&write(&ike, ProtocolId::IKE), ProtocolId::IKE), ike);
        let esp = propose(&Policy::esp(&list, GroupRule::Without, true), &[1, 2, 3, 4]);
        assert_eq!(read(&write(&esp, ProtocolId::ESP), ProtocolId::ESP), esp);
        assert!(read(&write(&esp, ProtocolId::ESP), ProtocolId::IKE).is_empty());
    }

    #[test]
    fn what_we_cannot_compute_keeps_a_name() {
        let transforms = vec![
            Transform::with_key_bits(TransformType::ENCR, 23, 256),
            Transform::new(TransformType::DH, 24),
            Transform::new(TransformType(99), 1),
        ];
        let offer = read_one(&Proposal { number: 1, protocol: ProtocolId::IKE, spi: Vec::new(), transforms });
        assert_eq!(offer.encryption, vec![Err("Camellia-cbc-256".to_owned())]);
        assert_eq!(offer.groups, vec![Err("MODP 2048, subgroup 256".to_owned())]);
        assert_eq!(offer.strange_type, Some(99));
    }
}
