//! Sealing and opening against published vectors, against each other and against a hostile world.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends with a panic when it fails")]

use base::Random;
use crypto::{Encryption, Integrity, KeyError, Malformed, OpenError, Opener, Prf, SealError, Sealer};
use proptest::prelude::*;

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Every combination that may be negotiated.
fn suites() -> Vec<(Encryption, Option<Integrity>)> {
    let mut suites = Vec::new();
    for &encryption in Encryption::ALL {
        if encryption.is_aead() {
            suites.push((encryption, None));
        } else {
            suites.extend(Integrity::ALL.iter().map(|&integrity| (encryption, Some(integrity))));
        }
    }
    suites
}

fn keys((encryption, integrity): (Encryption, Option<Integrity>), number: u64) -> (Vec<u8>, Vec<u8>) {
    let mut random = Random::numbered(number);
    let encryption_key = random.secret(encryption.key_len() + encryption.salt_len()).expose().to_vec();
    let integrity_key = random.secret(integrity.map_or(0, Integrity::key_len)).expose().to_vec();
    (encryption_key, integrity_key)
}

fn pair(suite: (Encryption, Option<Integrity>), number: u64) -> (Sealer, Opener) {
    let (encryption_key, integrity_key) = keys(suite, number);
    (
        Sealer::new(suite.0, suite.1, &encryption_key, &integrity_key).unwrap(),
        Opener::new(suite.0, suite.1, &encryption_key, &integrity_key).unwrap(),
    )
}

/// A packet with room for what the algorithms add.
#[derive(Clone, Debug, PartialEq)]
struct Packet {
    aad: Vec<u8>,
    iv: Vec<u8>,
    text: Vec<u8>,
    tail: Vec<u8>,
    icv: Vec<u8>,
}

impl Packet {
    fn new(sealer: &Sealer, aad: &[u8], tail: &[u8], text: &[u8]) -> Self {
        let block = sealer.encryption().block_len();
        Self {
            aad: aad.to_vec(),
            iv: vec![0x17; sealer.encryption().iv_len()],
            text: text[..text.len() / block * block].to_vec(),
            tail: if sealer.encryption().is_aead() { Vec::new() } else { tail.to_vec() },
            icv: vec![0; sealer.icv_len()],
        }
    }

    fn seal(&mut self, sealer: &Sealer) -> Result<(), SealError> {
        sealer.seal(&self.iv, &self.aad, &self.tail, &mut self.text, &mut self.icv)
    }

    fn open(&mut self, opener: &Opener) -> Result<(), OpenError> {
        opener.open(&self.iv, &self.aad, &self.tail, &mut self.text, &self.icv)
    }

    /// Everything that is protected, as one row of bytes.
    fn byte(&mut self, at: usize) -> Option<&mut u8> {
        [&mut self.aad, &mut self.iv, &mut self.text, &mut self.tail, &mut self.icv]
            .into_iter()
            .flat_map(|part| part.iter_mut())
            .nth(at)
    }
}

#[test]
fn gcm_gives_the_published_texts_and_tags() {
    // "The Galois/Counter Mode of Operation", McGrew and Viega, appendix B, test cases 4, 10 and 16. The nonce's first
    // four bytes are what IPsec calls the salt.
    let text = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525\
                b16aedf5aa0de657ba637b39";
    for (bits, key, sealed, tag) in [
        (
            128,
            "feffe9928665731c6d6a8f9467308308",
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa05\
             1ba30b396a0aac973d58e091",
            "5bc94fbc3221a5db94fae95ae7121a47",
        ),
        (
            192,
            "feffe9928665731c6d6a8f9467308308feffe9928665731c",
            "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c7d773d00c144c525ac619d18c84a3f47\
             18e2448b2fe324d9ccda2710",
            "2519498e80f1478f37ba55bd6d27618c",
        ),
        (
            256,
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838\
             c5f61e6393ba7a0abcc9f662",
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ),
    ] {
        let key = [bytes(key), bytes("cafebabe")].concat();
        let sealer = Sealer::new(Encryption::AesGcm16(bits), None, &key, &[]).unwrap();
        let mut packet = Packet::new(&sealer, &bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2"), &[], &bytes(text));
        packet.iv = bytes("facedbaddecaf888");
        packet.seal(&sealer).unwrap();
        assert_eq!((packet.text.clone(), packet.icv.clone()), (bytes(sealed), bytes(tag)), "{bits}");
        packet.open(&Opener::new(Encryption::AesGcm16(bits), None, &key, &[]).unwrap()).unwrap();
        assert_eq!(packet.text, bytes(text));
    }
}

#[test]
fn cbc_gives_the_published_texts() {
    let aes = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52ef\
               f69f2445df4f9b17ad2b417be66c3710";
    let iv = "000102030405060708090a0b0c0d0e0f";
    for (encryption, key, iv, text, sealed) in [
        // NIST SP 800-38A, F.2.1, F.2.3 and F.2.5.
        (
            Encryption::AesCbc(128),
            "2b7e151628aed2a6abf7158809cf4f3c",
            iv,
            aes,
            "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b273bed6b8e3c1743b7116e69e22229516\
             3ff1caa1681fac09120eca307586e1a7",
        ),
        (
            Encryption::AesCbc(192),
            "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
            iv,
            aes,
            "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a571b242012fb7ae07fa9baac3df102e0\
             08b0e27988598881d920a9e64f5615cd",
        ),
        (
            Encryption::AesCbc(256),
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            iv,
            aes,
            "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d39f23369a9d9bacfa530e26304231461\
             b2eb05e2c39be9fcda6c19078c6a9d1b",
        ),
        // NIST, "Cryptographic Standards and Guidelines: Example Values", TDES in CBC mode with three keys.
        (
            Encryption::TripleDes,
            "0123456789abcdef23456789abcdef01456789abcdef0123",
            "f69f2445df4f9b17",
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51",
            "2079c3d53aa763e193b79e2569ab5262516570481f25b50f73c0bda85c8e0da7",
        ),
    ] {
        for &integrity in Integrity::ALL {
            let mac_key = vec![3; integrity.key_len()];
            let sealer = Sealer::new(encryption, Some(integrity), &bytes(key), &mac_key).unwrap();
            let mut packet = Packet::new(&sealer, b"spi, seq", b"esn", &bytes(text));
            packet.iv = bytes(iv);
            packet.seal(&sealer).unwrap();
            assert_eq!(packet.text, bytes(sealed), "{encryption}");
            packet.open(&Opener::new(encryption, Some(integrity), &bytes(key), &mac_key).unwrap()).unwrap();
            assert_eq!(packet.text, bytes(text), "{encryption}");
        }
    }
}

#[test]
fn the_check_value_covers_what_stands_in_front_the_vector_the_sealed_text_and_the_tail_in_this_order() {
    for (encryption, integrity) in suites() {
        let Some(integrity) = integrity else { continue };
        let prf = Prf::ALL.iter().copied().find(|&prf| Prf::for_integrity(integrity) == prf).unwrap();
        let (_, mac_key) = keys((encryption, Some(integrity)), 3);
        let (sealer, _) = pair((encryption, Some(integrity)), 3);
        let mut packet = Packet::new(&sealer, b"front", b"tail", &[9; 48]);
        packet.seal(&sealer).unwrap();
        let whole = prf.compute(&mac_key, &[b"front", &packet.iv, &packet.text, b"tail"]);
        assert_eq!(packet.icv, whole.expose()[..integrity.icv_len()], "{encryption} {integrity}");
        assert_eq!(packet.text == [9; 48], encryption == Encryption::Null);
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    for suite in suites() {
        let (sealer, opener) = pair(suite, 1);
        let packet = Packet::new(&sealer, b"front", b"tail", &[9; 48]);
        let (iv, icv, block) = (packet.iv.len(), packet.icv.len(), suite.0.block_len());
        let refuse = |change: &dyn Fn(&mut Packet), error: Malformed| {
            let mut wrong = packet.clone();
            change(&mut wrong);
            assert_eq!(wrong.seal(&sealer), Err(SealError::Malformed(error)));
            assert_eq!(wrong.open(&opener), Err(OpenError::Malformed(error)));
        };
        refuse(&|p| p.iv.push(0), Malformed::Iv { found: iv + 1, expected: iv });
        refuse(&|p| p.icv.push(0), Malformed::Icv { found: icv + 1, expected: icv });
        refuse(&|p| p.icv.truncate(4), Malformed::Icv { found: 4, expected: icv });
        refuse(&|p| p.icv.clear(), Malformed::Icv { found: 0, expected: icv });
        if block > 1 {
            refuse(&|p| p.text.push(0), Malformed::Text { found: 49, block });
        }
        if suite.0.is_aead() {
            refuse(&|p| p.tail.push(0), Malformed::Tail { found: 1 });
        }
    }
}

#[test]
fn keys_that_do_not_fit_are_refused() {
    for suite @ (encryption, integrity) in suites() {
        let (key, mac_key) = keys(suite, 1);
        let long = [&*key, &[0]].concat();
        assert_eq!(
            Sealer::new(encryption, integrity, &long, &mac_key).unwrap_err(),
            KeyError::EncryptionLength { encryption, found: long.len(), expected: key.len() }
        );
        let long = [&*mac_key, &[0]].concat();
        let other = if encryption.is_aead() { Some(Integrity::HmacSha2_256_128) } else { None };
        assert_eq!(
            Opener::new(encryption, integrity, &key, &long).unwrap_err(),
            match integrity {
                Some(integrity) =>
                    KeyError::IntegrityLength { integrity, found: long.len(), expected: integrity.key_len() },
                None => KeyError::IntegrityTwice { encryption },
            }
        );
        assert_eq!(
            Sealer::new(encryption, other, &key, &mac_key).unwrap_err(),
            match integrity {
                Some(_) => KeyError::IntegrityMissing { encryption },
                None => KeyError::IntegrityTwice { encryption },
            }
        );
    }
    let encryption = Encryption::AesCbc(64);
    assert_eq!(
        Sealer::new(encryption, Some(Integrity::HmacSha1_96), &[0; 8], &[0; 20]).unwrap_err(),
        KeyError::Unusable { encryption }
    );
}

#[test]
fn triple_des_with_three_equal_keys_is_refused() {
    let encryption = Encryption::TripleDes;
    let key = [*b"samesame"; 3].concat();
    assert_eq!(
        Sealer::new(encryption, Some(Integrity::HmacSha1_96), &key, &[0; 20]).unwrap_err(),
        KeyError::Unusable { encryption }
    );
}

#[test]
fn sealers_and_openers_print_their_cipher_alone_and_may_cross_threads() {
    fn crosses_threads<T: Send + Sync>(_: &T) {}
    let (sealer, opener) = pair((Encryption::AesGcm16(256), None), 1);
    crosses_threads(&sealer);
    crosses_threads(&opener);
    assert_eq!(format!("{sealer:?} {opener:?}"), "Sealer(AES-GCM-16-256) Opener(AES-GCM-16-256)");
}

#[test]
fn every_altered_byte_is_noticed_and_no_plaintext_comes_out() {
    for suite in suites() {
        let (sealer, opener) = pair(suite, 2);
        let plain: Vec<u8> = (0..64).collect();
        let mut packet = Packet::new(&sealer, b"spi, seq", b"esn", &plain);
        packet.seal(&sealer).unwrap();
        for at in 0.. {
            let mut altered = packet.clone();
            let Some(byte) = altered.byte(at) else { break };
            *byte ^= 0x40;
            let received = altered.text.clone();
            assert_eq!(altered.open(&opener), Err(OpenError::Forged), "{suite:?} byte {at}");
            assert!(altered.text == received || altered.text == [0; 64], "{suite:?} byte {at}");
        }
        packet.open(&opener).unwrap();
        assert_eq!(packet.text, plain);
    }
}

proptest! {
    #[test]
    fn what_was_sealed_opens_under_the_same_key_and_no_other(
        at in 0..suites().len(),
        number in any::<u64>(),
        aad in prop::collection::vec(any::<u8>(), 0..40),
        tail in prop::collection::vec(any::<u8>(), 0..8),
        text in prop::collection::vec(any::<u8>(), 0..2_000),
    ) {
        let suite = suites()[at];
        let (sealer, opener) = pair(suite, number);
        let plain = Packet::new(&sealer, &aad, &tail, &text);
        let mut packet = plain.clone();
        packet.seal(&sealer).unwrap();
        let (_, stranger) = pair(suite, number ^ 1);
        prop_assert_eq!(packet.clone().open(&stranger), Err(OpenError::Forged));
        packet.open(&opener).unwrap();
        prop_assert_eq!(packet.text, plain.text);
    }
}
