//! IKEAlgorithms and IPsecAlgorithms: which algorithms may be proposed and accepted.

use crypto::{Encryption, Integrity, Prf};
use schema::kind::Bool;
use schema::{Object, Problem, Tree, choice, object};

use crate::snapshot::Algorithms;

object! {
    /// A proposal list for IKE: how the negotiation itself is protected. The lists High and Medium are predefined and
    /// may be changed.
    pub struct IkeAlgorithms: "IKEAlgorithms" {
        columns: &["AESEnabled", "AESGCMEnabled", "DES3Enabled", "SHA1Enabled", "SHA256Enabled", "SHA512Enabled"],
        absent: ABSENT,
    }

    /// AES in CBC mode.
    default aes as "AESEnabled": Bool = "No";
    /// Smallest AES key in bits.
    default aes_min as "AESMinKeySize": KeySize = "128" where "AESEnabled" = "Yes";
    /// Preferred AES key in bits: proposed first.
    default aes_preferred as "AESKeySize": KeySize = "256" where "AESEnabled" = "Yes";
    /// Largest AES key in bits.
    default aes_max as "AESMaxKeySize": KeySize = "256" where "AESEnabled" = "Yes";
    /// AES in Galois/counter mode, which needs no integrity algorithm beside it.
    default gcm as "AESGCMEnabled": Bool = "No";
    /// Smallest AES-GCM key in bits.
    default gcm_min as "AESGCMMinKeySize": KeySize = "128" where "AESGCMEnabled" = "Yes";
    /// Preferred AES-GCM key in bits: proposed first.
    default gcm_preferred as "AESGCMKeySize": KeySize = "256" where "AESGCMEnabled" = "Yes";
    /// Largest AES-GCM key in bits.
    default gcm_max as "AESGCMMaxKeySize": KeySize = "256" where "AESGCMEnabled" = "Yes";
    /// Triple DES: only for old peers.
    default des3 as "DES3Enabled": Bool = "No";
    /// HMAC-SHA1: only for old peers.
    default sha1 as "SHA1Enabled": Bool = "No";
    /// HMAC-SHA2-256.
    default sha256 as "SHA256Enabled": Bool = "No";
    /// HMAC-SHA2-512.
    default sha512 as "SHA512Enabled": Bool = "No";
}

object! {
    /// A proposal list for IPsec: how the traffic in a tunnel is protected. The lists High and Medium are predefined
    /// and may be changed.
    pub struct IpsecAlgorithms: "IPsecAlgorithms" {
        columns: &["AESEnabled", "AESGCMEnabled", "DES3Enabled", "SHA1Enabled", "SHA256Enabled", "SHA512Enabled"],
        absent: ABSENT,
    }

    /// No encryption, only integrity: anybody on the way can read the traffic.
    default null as "NULLEnabled": Bool = "No";
    /// AES in CBC mode.
    default aes as "AESEnabled": Bool = "No";
    /// Smallest AES key in bits.
    default aes_min as "AESMinKeySize": KeySize = "128" where "AESEnabled" = "Yes";
    /// Preferred AES key in bits: proposed first.
    default aes_preferred as "AESKeySize": KeySize = "256" where "AESEnabled" = "Yes";
    /// Largest AES key in bits.
    default aes_max as "AESMaxKeySize": KeySize = "256" where "AESEnabled" = "Yes";
    /// AES in Galois/counter mode, which needs no integrity algorithm beside it.
    default gcm as "AESGCMEnabled": Bool = "No";
    /// Smallest AES-GCM key in bits.
    default gcm_min as "AESGCMMinKeySize": KeySize = "128" where "AESGCMEnabled" = "Yes";
    /// Preferred AES-GCM key in bits: proposed first.
    default gcm_preferred as "AESGCMKeySize": KeySize = "256" where "AESGCMEnabled" = "Yes";
    /// Largest AES-GCM key in bits.
    default gcm_max as "AESGCMMaxKeySize": KeySize = "256" where "AESGCMEnabled" = "Yes";
    /// Triple DES: only for old peers.
    default des3 as "DES3Enabled": Bool = "No";
    /// HMAC-SHA1: only for old peers.
    default sha1 as "SHA1Enabled": Bool = "No";
    /// HMAC-SHA2-256.
    default sha256 as "SHA256Enabled": Bool = "No";
    /// HMAC-SHA2-512.
    default sha512 as "SHA512Enabled": Bool = "No";
}

choice! {
    /// Size of an AES key.
    pub enum KeySize {
        /// The fastest.
        Bits128 = "128",
        /// Between.
        Bits192 = "192",
        /// The strongest.
        Bits256 = "256",
    }
}

const ABSENT: &[&str] = &[
    "DESEnabled",
    "BlowfishEnabled",
    "BlowfishMinKeySize",
    "BlowfishKeySize",
    "BlowfishMaxKeySize",
    "TwofishEnabled",
    "TwofishMinKeySize",
    "TwofishKeySize",
    "TwofishMaxKeySize",
    "CAST128Enabled",
    "MD5Enabled",
    "XCBCEnabled",
];

/// The lists that are there without being declared.
pub(crate) fn predefine(tree: &mut Tree) {
    const STRONG: &[(&str, &str)] =
        &[("AESEnabled", "Yes"), ("AESGCMEnabled", "Yes"), ("SHA256Enabled", "Yes"), ("SHA512Enabled", "Yes")];
    let with = |more: &[(&'static str, &'static str)]| [STRONG, more].concat();
    let old = with(&[("DES3Enabled", "Yes"), ("SHA1Enabled", "Yes")]);
    tree.predefine(IkeAlgorithms::TYPE, Some("High"), None, STRONG);
    tree.predefine(IkeAlgorithms::TYPE, Some("Medium"), None, &old);
    // SHA1 stays in the IPsec list because clients with nothing better are still about.
    tree.predefine(IpsecAlgorithms::TYPE, Some("High"), None, &with(&[("SHA1Enabled", "Yes")]));
    tree.predefine(IpsecAlgorithms::TYPE, Some("Medium"), None, &old);
}

impl KeySize {
    const fn bits(self) -> u16 {
        match self {
            Self::Bits128 => 128,
            Self::Bits192 => 192,
            Self::Bits256 => 256,
        }
    }
}

/// Smallest, preferred and largest key, if the cipher is enabled.
type Sizes = Option<(KeySize, KeySize, KeySize)>;

impl IkeAlgorithms {
    /// The list as the negotiation uses it.
    pub fn compile(&self, object: &Object) -> Result<(Algorithms, Vec<Problem>), Vec<Problem>> {
        compile(&Choices {
            object,
            is_ike: true,
            aes: self.aes.then_some((self.aes_min, self.aes_preferred, self.aes_max)),
            gcm: self.gcm.then_some((self.gcm_min, self.gcm_preferred, self.gcm_max)),
            des3: self.des3,
            null: false,
            integrity: [self.sha512, self.sha256, self.sha1],
        })
    }
}

impl IpsecAlgorithms {
    /// The list as the negotiation uses it.
    pub fn compile(&self, object: &Object) -> Result<(Algorithms, Vec<Problem>), Vec<Problem>> {
        compile(&Choices {
            object,
            is_ike: false,
            aes: self.aes.then_some((self.aes_min, self.aes_preferred, self.aes_max)),
            gcm: self.gcm.then_some((self.gcm_min, self.gcm_preferred, self.gcm_max)),
            des3: self.des3,
            null: self.null,
            integrity: [self.sha512, self.sha256, self.sha1],
        })
    }
}

struct Choices<'a> {
    object: &'a Object,
    is_ike: bool,
    aes: Sizes,
    gcm: Sizes,
    des3: bool,
    null: bool,
    /// SHA512, SHA256, SHA1.
    integrity: [bool; 3],
}

fn compile(choices: &Choices<'_>) -> Result<(Algorithms, Vec<Problem>), Vec<Problem>> {
    let object = choices.object;
    let problem = |problem: Problem| problem.of(object.title());
    let mut errors = Vec::new();
    let mut encryption = Vec::new();
    let gcm: fn(u16) -> Encryption = Encryption::AesGcm16;
    for (prefix, sizes, cipher) in [("AESGCM", choices.gcm, gcm), ("AES", choices.aes, Encryption::AesCbc)] {
        let Some((min, preferred, max)) = sizes else { continue };
        let (min, preferred, max) = (min.bits(), preferred.bits(), max.bits());
        if !(min <= preferred && preferred <= max) {
            let property = format!("{prefix}KeySize");
            errors.push(problem(
                Problem::error(format!("the preferred key of {preferred} bits does not lie between {min} and {max}"))
                    .remedy(format!("set {prefix}MinKeySize, {prefix}KeySize and {prefix}MaxKeySize in rising order"))
                    .at(object.place(&property))
                    .property(property),
            ));
        }
        let others = [256, 192, 128].into_iter().filter(|size| (min..=max).contains(size) && *size != preferred);
        encryption.extend(std::iter::once(preferred).chain(others).map(cipher));
    }
    encryption.extend(choices.des3.then_some(Encryption::TripleDes));
    encryption.extend(choices.null.then_some(Encryption::Null));
    let [sha512, sha256, sha1] = choices.integrity;
    let mut integrity = Vec::new();
    // What other implementations take for the ordinary choice comes first.
    integrity.extend(sha256.then_some(Integrity::HmacSha2_256_128));
    integrity.extend(sha512.then_some(Integrity::HmacSha2_512_256));
    integrity.extend(sha1.then_some(Integrity::HmacSha1_96));
    if encryption.is_empty() {
        errors.push(problem(
            Problem::error("the list enables no encryption algorithm")
                .remedy("set AESEnabled=Yes or AESGCMEnabled=Yes")
                .at(object.position),
        ));
    }
    // RFC 7296 section 3.3.3: an AEAD cipher needs no integrity algorithm, but an IKE SA always needs a PRF.
    if integrity.is_empty() && (choices.is_ike || encryption.iter().any(|cipher| !cipher.is_aead())) {
        errors.push(problem(
            Problem::error("the list enables no hash algorithm").remedy("set SHA256Enabled=Yes").at(object.position),
        ));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let prf = if choices.is_ike { integrity.iter().copied().map(Prf::for_integrity).collect() } else { Vec::new() };
    let name = object.name.clone().unwrap_or_default();
    Ok((Algorithms { name, encryption, integrity, prf }, weak(choices)))
}

/// Warnings about what the administrator enabled; the predefined lists are left in peace.
fn weak(choices: &Choices<'_>) -> Vec<Problem> {
    let object = choices.object;
    let [.., sha1] = choices.integrity;
    let reasons = [
        ("DES3Enabled", choices.des3, "3DES works on blocks of 64 bits and is kept only for old peers"),
        ("SHA1Enabled", sha1, "SHA1 has weaknesses and is kept only for old peers"),
        ("NULLEnabled", choices.null, "NULL does not encrypt: anybody on the way can read the traffic"),
    ];
    let given = |property: &str| object.given().any(|(info, _)| info.name == property);
    reasons
        .into_iter()
        .filter(|(property, enabled, _)| *enabled && given(property))
        .map(|(property, _, why)| {
            Problem::warning(why)
                .of(object.title())
                .property(property)
                .remedy("use AES or AES-GCM with SHA256 or SHA512 where the peer can")
                .at(object.place(property))
        })
        .collect()
}
