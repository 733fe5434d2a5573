//! How messages look to an administrator: the layout of `ike -snoop`.
//!
//! Whatever came from a peer is escaped and cut. What may be a password or help to guess one (EAP, AUTH) is shown by its
//! length only: an opened message passes through here too.

use std::fmt::{self, Display, Formatter, Write};

use super::{
    AttributeValue, Auth, Delete, Envelope, Header, Id, KeyExchange, Message, Notify, Payload, PayloadType, Proposal,
    Protection, TrafficSelector, Transform, TransformType, transform_id_name, vendor_name,
};

/// Bytes shown of one value; the rest is counted.
const SHOWN_MAX: usize = 64;

impl Display for Header {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "ISAKMP Version   : {}", self.version)?;
        writeln!(f, "Exchange type    : {}", self.exchange)?;
        writeln!(f, "Initiator cookie : 0x{:016x}", self.initiator_spi)?;
        writeln!(f, "Responder cookie : 0x{:016x}", self.responder_spi)?;
        f.write_str("Flags            :")?;
        let encrypted = matches!(self.next_payload, PayloadType::SK | PayloadType::SKF);
        for (set, name) in [
            (encrypted, " E (encryption)"),
            (self.flags.initiator, " I (initiator)"),
            (self.flags.version, " V (higher version)"),
            (self.flags.response, " R (response)"),
        ] {
            if set {
                f.write_str(name)?;
            }
        }
        writeln!(f, "\nMessage ID       : 0x{:08x}", self.message_id)?;
        writeln!(f, "Length           : {} bytes", self.length)
    }
}

impl Display for Message {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.header.fmt(f)?;
        writeln!(f, "# payloads       : {}", self.payloads.len())?;
        writeln!(f, "Payloads:")?;
        self.payloads.iter().try_for_each(|payload| payload.fmt(f))
    }
}

impl Display for Envelope<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.header.fmt(f)?;
        writeln!(f, "Payloads:")?;
        writeln!(f, "  {}", self.header.next_payload)?;
        if let Protection::Fragment { number, total } = self.protection {
            writeln!(f, "    Fragment            : {number}/{total}")?;
        }
        writeln!(f, "    Encrypted           : {} bytes", self.body().len())
    }
}

impl Display for Payload {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {}", self.kind())?;
        let mut body = Vec::new();
        if self.write_body(&mut body).is_ok() {
            writeln!(f, "    Payload data length : {} bytes", body.len())?;
        }
        match self {
            Self::Sa(proposals) => print_proposals(proposals, f),
            Self::Ke(ke) => print_ke(ke, f),
            Self::IdI(id) | Self::IdR(id) => print_id(id, f),
            Self::Auth(Auth { method, .. }) => writeln!(f, "    Authentication method : {method}"),
            Self::Nonce(_) => Ok(()),
            Self::Notify(notify) => print_notify(notify, f),
            Self::Delete(delete) => print_delete(delete, f),
            Self::Vendor(id) => print_vendor(id, f),
            Self::TsI(selectors) | Self::TsR(selectors) => print_selectors(selectors, f),
            Self::Opaque { kind: PayloadType::EAP, .. } => Ok(()),
            Self::Opaque { critical, body, .. } => {
                if *critical {
                    writeln!(f, "    Critical            : yes")?;
                }
                writeln!(f, "    Data                : {}", Hex(body))
            }
        }
    }
}

fn print_proposals(proposals: &[Proposal], f: &mut Formatter<'_>) -> fmt::Result {
    for (proposal, place) in proposals.iter().zip(1_usize..) {
        writeln!(f, "    Proposal {place}/{}", proposals.len())?;
        if usize::from(proposal.number) != place {
            writeln!(f, "      Proposal number : {}", proposal.number)?;
        }
        writeln!(f, "      Protocol ID : {}", proposal.protocol)?;
        print_spi("      ", &proposal.spi, f)?;
        for (transform, place) in proposal.transforms.iter().zip(1_usize..) {
            writeln!(f, "      Transform {place}/{}", proposal.transforms.len())?;
            writeln!(f, "        {} : {}", transform.kind, TransformId(transform))?;
            if let Some(bits) = transform.key_bits {
                writeln!(f, "        Key length : {bits}")?;
            }
            for attribute in &transform.attributes {
                match &attribute.value {
                    AttributeValue::Short(value) => writeln!(f, "        Attribute {} : {value}", attribute.kind)?,
                    AttributeValue::Long(value) => {
                        writeln!(f, "        Attribute {} : {}", attribute.kind, Hex(value))?
                    }
                }
            }
        }
    }
    Ok(())
}

struct TransformId<'a>(&'a Transform);

impl Display for TransformId<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match transform_id_name(self.0.kind, self.0.id) {
            Some(name) => f.write_str(name),
            None => write!(f, "{} (unknown)", self.0.id),
        }
    }
}

impl Display for Transform {
    /// `Rijndael-cbc (aes) 256`, `MODP 2048`: on one line, for the reasons of a refusal.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if transform_id_name(self.kind, self.id).is_none() || self.kind == TransformType::ESN {
            write!(f, "{} ", self.kind)?;
        }
        TransformId(self).fmt(f)?;
        match self.key_bits {
            Some(bits) => write!(f, " {bits}"),
            None => Ok(()),
        }
    }
}

fn print_ke(ke: &KeyExchange, f: &mut Formatter<'_>) -> fmt::Result {
    let group = Transform::new(TransformType::DH, ke.group);
    writeln!(f, "    Group description   : {}", TransformId(&group))?;
    writeln!(f, "    Public value        : {} bytes", ke.data.len())
}

fn print_id(id: &Id, f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(f, "    ID type             : {}", id.kind)?;
    writeln!(f, "    ID                  : {id}")
}

fn print_notify(notify: &Notify, f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(f, "    Notification        : {notify}")?;
    if !notify.spi.is_empty() {
        writeln!(f, "    Protocol ID         : {}", notify.protocol)?;
        print_spi("    ", &notify.spi, f)?;
    }
    if notify.data.is_empty() { Ok(()) } else { writeln!(f, "    Notification data   : {}", Hex(&notify.data)) }
}

impl Display for Notify {
    /// `NO_PROPOSAL_CHOSEN (14)`: on one line, for the log.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.kind.name().unwrap_or("unknown"), self.kind.0)
    }
}

fn print_delete(delete: &Delete, f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(f, "    Protocol ID         : {}", delete.protocol)?;
    delete.spis.iter().try_for_each(|spi| print_spi("    ", spi, f))
}

fn print_vendor(id: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(f, "    Vendor ID           : {}", Hex(id))?;
    match vendor_name(id) {
        Some(name) => writeln!(f, "    Description         : {name}"),
        None if Escaped::is_plain(id) => writeln!(f, "    Description         : {}", Escaped(id)),
        None => writeln!(f, "    Description         : (unknown)"),
    }
}

fn print_selectors(selectors: &[TrafficSelector], f: &mut Formatter<'_>) -> fmt::Result {
    for (selector, place) in selectors.iter().zip(1_usize..) {
        writeln!(f, "    Traffic selector {place}/{}", selectors.len())?;
        match selector {
            TrafficSelector::Range { protocol, port_first, port_last, first, last } => {
                writeln!(f, "      IP protocol  : {protocol}")?;
                writeln!(f, "      Port range   : {port_first}-{port_last}")?;
                writeln!(f, "      Address range: {first}-{last}")?;
            }
            TrafficSelector::Unknown { kind, body, .. } => writeln!(f, "      {kind} : {}", Hex(body))?,
        }
    }
    Ok(())
}

fn print_spi(indent: &str, spi: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(f, "{indent}SPI Size : {}", spi.len())?;
    if spi.is_empty() {
        return Ok(());
    }
    write!(f, "{indent}SPI Value : 0x")?;
    spi.iter().take(SHOWN_MAX).try_for_each(|byte| write!(f, "{byte:02x}"))?;
    write_rest(spi, SHOWN_MAX, f)?;
    f.write_char('\n')
}

/// Bytes as pairs of hexadecimal digits.
pub(super) struct Hex<'a>(pub &'a [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().take(SHOWN_MAX).enumerate() {
            if index > 0 {
                f.write_char(' ')?;
            }
            write!(f, "{byte:02x}")?;
        }
        write_rest(self.0, SHOWN_MAX, f)
    }
}

/// Text of a peer: printable ASCII as it is, everything else escaped.
pub(super) struct Escaped<'a>(pub &'a [u8]);

impl Escaped<'_> {
    /// True for a value that is all printable, without spaces.
    pub(super) fn is_plain(bytes: &[u8]) -> bool {
        !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic)
    }
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // RFC 1035 §3.1 allows a domain name 255 bytes: those are shown whole.
        const TEXT_MAX: usize = 255;
        let shown = self.0.get(..TEXT_MAX).unwrap_or(self.0);
        write!(f, "{}", shown.escape_ascii())?;
        write_rest(self.0, TEXT_MAX, f)
    }
}

fn write_rest(bytes: &[u8], shown: usize, f: &mut Formatter<'_>) -> fmt::Result {
    match bytes.len().saturating_sub(shown) {
        0 => Ok(()),
        more => write!(f, " (and {more} bytes more)"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ExchangeType, Flags, IdType, NotifyType, ProtocolId};
    use super::*;

    #[test]
    fn a_message_prints_in_the_layout_of_the_snoop_command() {
        let aes = Transform::with_key_bits(TransformType::ENCR, 12, 256);
        let group = Transform::new(TransformType::DH, 14);
        let proposal =
            Proposal { number: 1, protocol: ProtocolId::IKE, spi: vec![], transforms: vec![aes.clone(), group] };
        let flags = Flags { initiator: true, ..Flags::default() };
        let header = Header::new(0x1bf6_4e78_5c4a_f5bf, 0, ExchangeType::IKE_SA_INIT, flags, 0);
        let payloads =
            vec![Payload::Sa(vec![proposal]), Payload::Notify(Notify::new(NotifyType::COOKIE, vec![1, 255]))];
        assert_eq!(
            Message { header, payloads }.to_string(),
            "ISAKMP Version   : 2.0\n\
             Exchange type    : IKE_SA_INIT\n\
             Initiator cookie : 0x1bf64e785c4af5bf\n\
             Responder cookie : 0x0000000000000000\n\
             Flags            : I (initiator)\n\
             Message ID       : 0x00000000\n\
             Length           : 0 bytes\n\
             # payloads       : 2\n\
             Payloads:\n  SA (Security Association)\n    Payload data length : 28 bytes\n    Proposal 1/1\n      \
             Protocol ID : IKE\n      SPI Size : 0\n      Transform 1/2\n        \
             Encryption algorithm : Rijndael-cbc (aes)\n        Key length : 256\n      Transform 2/2\n        \
             Group description : MODP 2048\n  N (Notify)\n    Payload data length : 6 bytes\n    \
             Notification        : COOKIE (16390)\n    Notification data   : 01 ff\n"
        );
        assert_eq!(aes.to_string(), "Rijndael-cbc (aes) 256");
    }

    #[test]
    fn nothing_a_peer_sends_can_steer_a_terminal() {
        let hostile = b"\x1b]0;owned\x07\r\n\xff\0".to_vec();
        let payloads = [
            Payload::IdI(Id::new(IdType::FQDN, hostile.clone())),
            Payload::Vendor(hostile.clone()),
            Payload::Opaque { kind: PayloadType(200), critical: true, body: hostile },
        ];
        for payload in payloads {
            let text = payload.to_string();
            assert!(text.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{text:?}");
        }
    }

    #[test]
    fn what_helps_to_guess_a_password_is_shown_by_its_length() {
        let eap = Payload::Opaque { kind: PayloadType::EAP, critical: false, body: b"hunter2".to_vec() };
        let text = eap.to_string();
        assert!(text.contains("7 bytes") && !text.contains("68 75"), "{text}");
        let auth = Payload::Auth(Auth { method: super::super::AuthMethod::SHARED_KEY, data: vec![0xab; 20] });
        let text = auth.to_string();
        assert!(text.contains("Pre-Shared Key") && !text.contains("ab ab"), "{text}");
    }

    #[test]
    fn a_long_value_is_cut_and_its_rest_counted() {
        let text = Payload::Vendor(vec![0; 1000]).to_string();
        assert!(text.contains("00 (and 936 bytes more)"), "{text}");
    }
}
