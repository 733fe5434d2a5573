//! The registries that IKEv2 messages draw on. Each is a newtype that keeps values it does not know: a peer may be newer
//! than we are, and what it said must be printed and answered as it was said.

use std::fmt;

macro_rules! registry {
    ($(#[$meta:meta])* $type:ident($number:ty), $label:literal; $($constant:ident = $value:literal, $name:literal;)*) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub $number);

        impl $type {
            $(
                #[doc = concat!("`", $name, "`, number ", stringify!($value), ".")]
                pub const $constant: Self = Self($value);
            )*

            /// The registered name, when the number is one of those known here.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($name),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $type {
            /// The registered name, or the registry and the number.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.pad(name),
                    None => f.pad(&format!(concat!($label, " {}"), self.0)),
                }
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

registry! {
    /// Which exchange a message belongs to: RFC 7296 section 3.1, and the modes of IKEv1 so that they can be named.
    ExchangeType(u8), "exchange";
    MAIN_MODE = 2, "Identity Protection (main mode)";
    AGGRESSIVE_MODE = 4, "Aggressive";
    INFORMATIONAL_V1 = 5, "Informational (IKEv1)";
    TRANSACTION_V1 = 6, "Transaction (IKEv1)";
    QUICK_MODE = 32, "Quick mode";
    NEW_GROUP_MODE = 33, "New group mode";
    IKE_SA_INIT = 34, "IKE_SA_INIT";
    IKE_AUTH = 35, "IKE_AUTH";
    CREATE_CHILD_SA = 36, "CREATE_CHILD_SA";
    INFORMATIONAL = 37, "INFORMATIONAL";
    IKE_SESSION_RESUME = 38, "IKE_SESSION_RESUME";
    GSA_AUTH = 39, "GSA_AUTH";
    GSA_REGISTRATION = 40, "GSA_REGISTRATION";
    GSA_REKEY = 41, "GSA_REKEY";
    IKE_INTERMEDIATE = 43, "IKE_INTERMEDIATE";
    IKE_FOLLOWUP_KE = 44, "IKE_FOLLOWUP_KE";
}

registry! {
    /// What a payload is: RFC 7296 section 3.2 and RFC 7383 section 2.5.
    PayloadType(u8), "payload";
    NONE = 0, "none";
    SA = 33, "SA (Security Association)";
    KE = 34, "KE (Key Exchange)";
    IDI = 35, "IDi (Identification - Initiator)";
    IDR = 36, "IDr (Identification - Responder)";
    CERT = 37, "CERT (Certificate)";
    CERTREQ = 38, "CERTREQ (Certificate Request)";
    AUTH = 39, "AUTH (Authentication)";
    NONCE = 40, "NONCE (Nonce)";
    NOTIFY = 41, "N (Notify)";
    DELETE = 42, "D (Delete)";
    VENDOR = 43, "VID (Vendor ID)";
    TSI = 44, "TSi (Traffic Selector - Initiator)";
    TSR = 45, "TSr (Traffic Selector - Responder)";
    SK = 46, "SK (Encrypted and Authenticated)";
    CP = 47, "CP (Configuration)";
    EAP = 48, "EAP (Extensible Authentication)";
    GSPM = 49, "GSPM (Generic Secure Password Method)";
    IDG = 50, "IDg (Group Identification)";
    GSA = 51, "GSA (Group Security Association)";
    KD = 52, "KD (Key Download)";
    SKF = 53, "SKF (Encrypted and Authenticated Fragment)";
    PS = 54, "PS (Puzzle Solution)";
}

impl PayloadType {
    /// True for the types that RFC 7296 and RFC 7383 define. Their critical bit means nothing: whoever speaks the
    /// protocol knows them (RFC 7296 section 3.2).
    pub const fn is_base(self) -> bool {
        matches!(self.0, 33..=48 | 53)
    }
}

registry! {
    /// What a Notify payload says: RFC 7296 section 3.10.1 and the extensions registered since.
    NotifyType(u16), "notify";
    UNSUPPORTED_CRITICAL_PAYLOAD = 1, "UNSUPPORTED_CRITICAL_PAYLOAD";
    INVALID_IKE_SPI = 4, "INVALID_IKE_SPI";
    INVALID_MAJOR_VERSION = 5, "INVALID_MAJOR_VERSION";
    INVALID_SYNTAX = 7, "INVALID_SYNTAX";
    INVALID_MESSAGE_ID = 9, "INVALID_MESSAGE_ID";
    INVALID_SPI = 11, "INVALID_SPI";
    NO_PROPOSAL_CHOSEN = 14, "NO_PROPOSAL_CHOSEN";
    INVALID_KE_PAYLOAD = 17, "INVALID_KE_PAYLOAD";
    AUTHENTICATION_FAILED = 24, "AUTHENTICATION_FAILED";
    SINGLE_PAIR_REQUIRED = 34, "SINGLE_PAIR_REQUIRED";
    NO_ADDITIONAL_SAS = 35, "NO_ADDITIONAL_SAS";
    INTERNAL_ADDRESS_FAILURE = 36, "INTERNAL_ADDRESS_FAILURE";
    FAILED_CP_REQUIRED = 37, "FAILED_CP_REQUIRED";
    TS_UNACCEPTABLE = 38, "TS_UNACCEPTABLE";
    INVALID_SELECTORS = 39, "INVALID_SELECTORS";
    UNACCEPTABLE_ADDRESSES = 40, "UNACCEPTABLE_ADDRESSES";
    UNEXPECTED_NAT_DETECTED = 41, "UNEXPECTED_NAT_DETECTED";
    USE_ASSIGNED_HOA = 42, "USE_ASSIGNED_HoA";
    TEMPORARY_FAILURE = 43, "TEMPORARY_FAILURE";
    CHILD_SA_NOT_FOUND = 44, "CHILD_SA_NOT_FOUND";
    INVALID_GROUP_ID = 45, "INVALID_GROUP_ID";
    AUTHORIZATION_FAILED = 46, "AUTHORIZATION_FAILED";
    STATE_NOT_FOUND = 47, "STATE_NOT_FOUND";
    TS_MAX_QUEUE = 48, "TS_MAX_QUEUE";
    REGISTRATION_FAILED = 49, "REGISTRATION_FAILED";
    INITIAL_CONTACT = 16384, "INITIAL_CONTACT";
    SET_WINDOW_SIZE = 16385, "SET_WINDOW_SIZE";
    ADDITIONAL_TS_POSSIBLE = 16386, "ADDITIONAL_TS_POSSIBLE";
    IPCOMP_SUPPORTED = 16387, "IPCOMP_SUPPORTED";
    NAT_DETECTION_SOURCE_IP = 16388, "NAT_DETECTION_SOURCE_IP";
    NAT_DETECTION_DESTINATION_IP = 16389, "NAT_DETECTION_DESTINATION_IP";
    COOKIE = 16390, "COOKIE";
    USE_TRANSPORT_MODE = 16391, "USE_TRANSPORT_MODE";
    HTTP_CERT_LOOKUP_SUPPORTED = 16392, "HTTP_CERT_LOOKUP_SUPPORTED";
    REKEY_SA = 16393, "REKEY_SA";
    ESP_TFC_PADDING_NOT_SUPPORTED = 16394, "ESP_TFC_PADDING_NOT_SUPPORTED";
    NON_FIRST_FRAGMENTS_ALSO = 16395, "NON_FIRST_FRAGMENTS_ALSO";
    MOBIKE_SUPPORTED = 16396, "MOBIKE_SUPPORTED";
    ADDITIONAL_IP4_ADDRESS = 16397, "ADDITIONAL_IP4_ADDRESS";
    ADDITIONAL_IP6_ADDRESS = 16398, "ADDITIONAL_IP6_ADDRESS";
    NO_ADDITIONAL_ADDRESSES = 16399, "NO_ADDITIONAL_ADDRESSES";
    UPDATE_SA_ADDRESSES = 16400, "UPDATE_SA_ADDRESSES";
    COOKIE2 = 16401, "COOKIE2";
    NO_NATS_ALLOWED = 16402, "NO_NATS_ALLOWED";
    AUTH_LIFETIME = 16403, "AUTH_LIFETIME";
    MULTIPLE_AUTH_SUPPORTED = 16404, "MULTIPLE_AUTH_SUPPORTED";
    ANOTHER_AUTH_FOLLOWS = 16405, "ANOTHER_AUTH_FOLLOWS";
    REDIRECT_SUPPORTED = 16406, "REDIRECT_SUPPORTED";
    REDIRECT = 16407, "REDIRECT";
    REDIRECTED_FROM = 16408, "REDIRECTED_FROM";
    TICKET_LT_OPAQUE = 16409, "TICKET_LT_OPAQUE";
    TICKET_REQUEST = 16410, "TICKET_REQUEST";
    TICKET_ACK = 16411, "TICKET_ACK";
    TICKET_NACK = 16412, "TICKET_NACK";
    TICKET_OPAQUE = 16413, "TICKET_OPAQUE";
    LINK_ID = 16414, "LINK_ID";
    USE_WESP_MODE = 16415, "USE_WESP_MODE";
    ROHC_SUPPORTED = 16416, "ROHC_SUPPORTED";
    EAP_ONLY_AUTHENTICATION = 16417, "EAP_ONLY_AUTHENTICATION";
    CHILDLESS_IKEV2_SUPPORTED = 16418, "CHILDLESS_IKEV2_SUPPORTED";
    QUICK_CRASH_DETECTION = 16419, "QUICK_CRASH_DETECTION";
    IKEV2_MESSAGE_ID_SYNC_SUPPORTED = 16420, "IKEV2_MESSAGE_ID_SYNC_SUPPORTED";
    IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED = 16421, "IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED";
    IKEV2_MESSAGE_ID_SYNC = 16422, "IKEV2_MESSAGE_ID_SYNC";
    IPSEC_REPLAY_COUNTER_SYNC = 16423, "IPSEC_REPLAY_COUNTER_SYNC";
    SECURE_PASSWORD_METHODS = 16424, "SECURE_PASSWORD_METHODS";
    PSK_PERSIST = 16425, "PSK_PERSIST";
    PSK_CONFIRM = 16426, "PSK_CONFIRM";
    ERX_SUPPORTED = 16427, "ERX_SUPPORTED";
    IFOM_CAPABILITY = 16428, "IFOM_CAPABILITY";
    SENDER_REQUEST_ID = 16429, "SENDER_REQUEST_ID";
    IKEV2_FRAGMENTATION_SUPPORTED = 16430, "IKEV2_FRAGMENTATION_SUPPORTED";
    SIGNATURE_HASH_ALGORITHMS = 16431, "SIGNATURE_HASH_ALGORITHMS";
    CLONE_IKE_SA_SUPPORTED = 16432, "CLONE_IKE_SA_SUPPORTED";
    CLONE_IKE_SA = 16433, "CLONE_IKE_SA";
    PUZZLE = 16434, "PUZZLE";
    USE_PPK = 16435, "USE_PPK";
    PPK_IDENTITY = 16436, "PPK_IDENTITY";
    NO_PPK_AUTH = 16437, "NO_PPK_AUTH";
    INTERMEDIATE_EXCHANGE_SUPPORTED = 16438, "INTERMEDIATE_EXCHANGE_SUPPORTED";
    IP4_ALLOWED = 16439, "IP4_ALLOWED";
    IP6_ALLOWED = 16440, "IP6_ALLOWED";
    ADDITIONAL_KEY_EXCHANGE = 16441, "ADDITIONAL_KEY_EXCHANGE";
    USE_AGGFRAG = 16442, "USE_AGGFRAG";
    SUPPORTED_AUTH_METHODS = 16443, "SUPPORTED_AUTH_METHODS";
    SA_RESOURCE_INFO = 16444, "SA_RESOURCE_INFO";
}

impl NotifyType {
    /// True for errors, false for status (RFC 7296 section 3.10.1). An unknown error in a response means that the
    /// request failed; an unknown status is ignored.
    pub const fn is_error(self) -> bool {
        self.0 < 16384
    }
}

registry! {
    /// Whose SPI or whose proposal it is: RFC 7296 section 3.3.1.
    ProtocolId(u8), "protocol";
    NONE = 0, "none";
    IKE = 1, "IKE";
    AH = 2, "AH";
    ESP = 3, "ESP";
    FC_ESP_HEADER = 4, "FC_ESP_HEADER";
    FC_CT_AUTHENTICATION = 5, "FC_CT_AUTHENTICATION";
}

registry! {
    /// What a transform chooses: RFC 7296 section 3.3.2.
    TransformType(u8), "transform type";
    ENCR = 1, "Encryption algorithm";
    PRF = 2, "Pseudo-random function";
    INTEG = 3, "Integrity algorithm";
    DH = 4, "Group description";
    ESN = 5, "Extended sequence numbers";
    ADDKE1 = 6, "Additional key exchange 1";
    ADDKE2 = 7, "Additional key exchange 2";
    ADDKE3 = 8, "Additional key exchange 3";
    ADDKE4 = 9, "Additional key exchange 4";
    ADDKE5 = 10, "Additional key exchange 5";
    ADDKE6 = 11, "Additional key exchange 6";
    ADDKE7 = 12, "Additional key exchange 7";
}

registry! {
    /// What an identity is: RFC 7296 section 3.5.
    IdType(u8), "ID type";
    IPV4_ADDR = 1, "IPv4 address";
    FQDN = 2, "domain name";
    RFC822_ADDR = 3, "e-mail address";
    IPV6_ADDR = 5, "IPv6 address";
    DER_ASN1_DN = 9, "distinguished name";
    DER_ASN1_GN = 10, "general name";
    KEY_ID = 11, "key ID";
    FC_NAME = 12, "Fibre Channel name";
    NULL = 13, "anonymous";
}

registry! {
    /// How an identity is proved: RFC 7296 section 3.8.
    AuthMethod(u8), "authentication method";
    RSA_SIGNATURE = 1, "RSA signature";
    SHARED_KEY = 2, "Pre-Shared Key";
    DSS_SIGNATURE = 3, "DSS signature";
    ECDSA_256 = 9, "ECDSA signature, P-256";
    ECDSA_384 = 10, "ECDSA signature, P-384";
    ECDSA_521 = 11, "ECDSA signature, P-521";
    SECURE_PASSWORD = 12, "generic secure password";
    NULL = 13, "NULL authentication";
    DIGITAL_SIGNATURE = 14, "Digital signature";
}

registry! {
    /// What a traffic selector ranges over: RFC 7296 section 3.13.1.
    TsType(u8), "selector type";
    IPV4_ADDR_RANGE = 7, "IPv4 address range";
    IPV6_ADDR_RANGE = 8, "IPv6 address range";
    FC_ADDR_RANGE = 9, "Fibre Channel address range";
    SECLABEL = 10, "security label";
}

/// The name of a transform's ID within its type, as the product prints it.
pub const fn transform_id_name(kind: TransformType, id: u16) -> Option<&'static str> {
    match kind {
        TransformType::ENCR => encryption_name(id),
        TransformType::PRF => prf_name(id),
        TransformType::INTEG => integrity_name(id),
        TransformType::DH
        | TransformType::ADDKE1
        | TransformType::ADDKE2
        | TransformType::ADDKE3
        | TransformType::ADDKE4
        | TransformType::ADDKE5
        | TransformType::ADDKE6
        | TransformType::ADDKE7 => group_name(id),
        TransformType::ESN => match id {
            0 => Some("No"),
            1 => Some("Yes"),
            _ => None,
        },
        _ => None,
    }
}

const fn encryption_name(id: u16) -> Option<&'static str> {
    Some(match id {
        2 => "DES-cbc",
        3 => "3DES-cbc",
        6 => "CAST128-cbc",
        7 => "Blowfish-cbc",
        11 => "Null",
        12 => "Rijndael-cbc (aes)",
        13 => "AES-CTR",
        14 => "AES-CCM-8",
        15 => "AES-CCM-12",
        16 => "AES-CCM-16",
        18 => "AES-GCM-8",
        19 => "AES-GCM-12",
        20 => "AES-GCM-16",
        21 => "AES-GMAC",
        23 => "Camellia-cbc",
        28 => "ChaCha20-Poly1305",
        _ => return None,
    })
}

const fn prf_name(id: u16) -> Option<&'static str> {
    Some(match id {
        1 => "HMAC-MD5",
        2 => "HMAC-SHA-1",
        4 => "AES128-XCBC",
        5 => "HMAC-SHA-256",
        6 => "HMAC-SHA-384",
        7 => "HMAC-SHA-512",
        8 => "AES128-CMAC",
        _ => return None,
    })
}

const fn integrity_name(id: u16) -> Option<&'static str> {
    Some(match id {
        0 => "none",
        1 => "HMAC-MD5-96",
        2 => "HMAC-SHA-1-96",
        5 => "AES-XCBC-96",
        8 => "AES-CMAC-96",
        12 => "HMAC-SHA-256-128",
        13 => "HMAC-SHA-384-192",
        14 => "HMAC-SHA-512-256",
        _ => return None,
    })
}

const fn group_name(id: u16) -> Option<&'static str> {
    Some(match id {
        0 => "none",
        1 => "MODP 768",
        2 => "MODP 1024",
        5 => "MODP 1536",
        14 => "MODP 2048",
        15 => "MODP 3072",
        16 => "MODP 4096",
        17 => "MODP 6144",
        18 => "MODP 8192",
        19 => "ECP random 256",
        20 => "ECP random 384",
        21 => "ECP random 521",
        22 => "MODP 1024, subgroup 160",
        23 => "MODP 2048, subgroup 224",
        24 => "MODP 2048, subgroup 256",
        25 => "ECP random 192",
        26 => "ECP random 224",
        27 => "brainpool 224",
        28 => "brainpool 256",
        29 => "brainpool 384",
        30 => "brainpool 512",
        31 => "Curve25519",
        32 => "Curve448",
        35 => "ML-KEM-512",
        36 => "ML-KEM-768",
        37 => "ML-KEM-1024",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_nobody_registered_is_kept_and_printed() {
        assert_eq!(NotifyType(40_999).to_string(), "notify 40999");
        assert_eq!(NotifyType(16_430), NotifyType::IKEV2_FRAGMENTATION_SUPPORTED);
        assert_eq!(PayloadType(200).to_string(), "payload 200");
        assert_eq!(format!("{:?}", ExchangeType::IKE_AUTH), "IKE_AUTH");
    }

    #[test]
    fn errors_end_where_status_begins() {
        assert!(NotifyType::REGISTRATION_FAILED.is_error() && NotifyType(16_383).is_error());
        assert!(!NotifyType::INITIAL_CONTACT.is_error());
    }

    #[test]
    fn the_base_payloads_need_no_critical_bit() {
        assert!(PayloadType::SA.is_base() && PayloadType::EAP.is_base() && PayloadType::SKF.is_base());
        assert!(!PayloadType::PS.is_base() && !PayloadType(0).is_base() && !PayloadType(255).is_base());
    }

    #[test]
    fn a_transform_id_is_named_within_its_type() {
        assert_eq!(transform_id_name(TransformType::ENCR, 12), Some("Rijndael-cbc (aes)"));
        assert_eq!(transform_id_name(TransformType::DH, 19), Some("ECP random 256"));
        assert_eq!(transform_id_name(TransformType::INTEG, 12), Some("HMAC-SHA-256-128"));
        assert_eq!(transform_id_name(TransformType::DH, 999), None);
        assert_eq!(transform_id_name(TransformType(99), 1), None);
    }
}
