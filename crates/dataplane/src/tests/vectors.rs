//! ESP packets that Linux has sealed or accepted: see `vectors/README.md`.

use super::*;

/// The algorithm of a vector, if it is one of ours.
fn algorithms(vector: &serde_json::Value) -> Option<(Encryption, Option<Integrity>)> {
    let text = |name: &str| vector[name].as_str().unwrap_or_default();
    let key_bits = u16::try_from(text("key").len() * 4).unwrap();
    let icv_bits = vector["icv"].as_u64().unwrap();
    if text("aead") == "rfc4106(gcm(aes))" && icv_bits == 128 {
        return Some((Encryption::AesGcm16(key_bits - 32), None));
    }
    let encryption = match text("enc") {
        "cbc(aes)" => Encryption::AesCbc(key_bits),
        "cbc(des3_ede)" => Encryption::TripleDes,
        "ecb(cipher_null)" => Encryption::Null,
        _ => return None,
    };
    let integrity = match (text("auth"), icv_bits) {
        ("hmac(sha1)", 96) => Integrity::HmacSha1_96,
        ("hmac(sha256)", 128) => Integrity::HmacSha2_256_128,
        ("hmac(sha512)", 256) => Integrity::HmacSha2_512_256,
        _ => return None,
    };
    Some((encryption, Some(integrity)))
}

fn hex(text: &serde_json::Value) -> Vec<u8> {
    let text = text.as_str().unwrap_or_default().as_bytes();
    text.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn every_vector_of_linux_opens_and_is_sealed_again_to_the_same_bytes() {
    let vectors: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../../vectors/linux-6.1-esp.json")).unwrap();
    let mut names = std::collections::BTreeSet::new();
    for vector in &vectors {
        let Some((encryption, integrity)) = algorithms(vector) else { continue };
        names.insert(vector["name"].as_str().unwrap().to_owned());
        let (key, integrity_key) = (hex(&vector["key"]), hex(&vector["akey"]));
        let spi = u32::try_from(vector["spi"].as_u64().unwrap()).unwrap();
        let selectors = [Selector::all(IpRange::ALL_V4), Selector::all(IpRange::ALL_V6)];
        let parameters = SaParameters {
            id: SaId(1),
            tunnel: TUNNEL,
            mode: Mode::Tunnel,
            spi_in: spi,
            spi_out: spi,
            encryption,
            integrity,
            encryption_key_in: &key,
            integrity_key_in: &integrity_key,
            encryption_key_out: &key,
            integrity_key_out: &integrity_key,
            esn: vector["esn_hi"].is_u64(),
            replay_window: 64,
            local: &selectors,
            remote: &selectors,
            outer: GCM.outer(true),
            outbound_now: true,
            replaces: None,
            soft_bytes: None,
            hard_bytes: None,
        };
        let sa = Sa::new(&parameters).unwrap();
        let high = vector["esn_hi"].as_u64().unwrap_or(0);
        let sequence = high << 32 | vector["seq"].as_u64().unwrap();
        if high > 0 {
            // The window of a receiver that has come so far.
            sa.pretend_received(high << 32);
        }
        let (esp, inner) = (hex(&vector["esp"]), hex(&vector["inner"]));
        let mut packet = Buffer::copy(&esp);
        assert_eq!(sa.open_whole(&mut packet), Ok(4), "{vector}");
        assert_eq!(packet.bytes(), inner, "{vector}");
        sa.seal_again(sequence, &esp[8..8 + encryption.iv_len()], &mut packet);
        assert_eq!(packet.bytes(), esp, "{vector}");
    }
    // AES-GCM of three sizes and one with ESN; AES-CBC of three sizes with SHA-1, one each with SHA-256 and SHA-512, one
    // with ESN; 3DES and NULL with SHA-1.
    assert_eq!(names.len(), 12, "{names:?}");
}
