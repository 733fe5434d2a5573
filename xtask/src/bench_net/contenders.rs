//! Who competes.

/// One row of the table. Its script in `bench/net/` brings the tunnel up between the namespaces.
#[derive(Debug)]
pub struct Contender {
    /// What the table calls it.
    pub name: &'static str,
    /// File in `bench/net/`.
    pub script: &'static str,
    /// What the script is called with.
    pub arguments: &'static [&'static str],
    /// Debian packages beyond those of everybody.
    pub packages: &'static [&'static str],
    /// What its packets look like between the gateways.
    pub carrier: Carrier,
}

impl Contender {
    /// Whether the command line means this one: by its name, or by the part before the first dash.
    pub fn is(&self, name: &str) -> bool {
        self.name == name || self.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
    }
}

/// What is to be seen between the gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The hosts' own packets.
    Clear,
    /// IP protocol 50.
    Esp,
    /// ESP in UDP port 4500 (RFC 3948).
    EspInUdp,
    /// UDP of this port.
    Udp(u16),
}

impl Carrier {
    /// For people.
    pub fn title(self) -> String {
        match self {
            Self::Clear => "clear text".into(),
            Self::Esp => "ESP".into(),
            Self::EspInUdp => "ESP in UDP".into(),
            Self::Udp(port) => format!("UDP {port}"),
        }
    }
}

/// In the order of the table. `plain` also proves that the look at the wire finds what it looks for.
pub const CONTENDERS: [Contender; 6] = [
    Contender { name: "plain", script: "plain.sh", arguments: &[], packages: &[], carrier: Carrier::Clear },
    Contender { name: "adit-udp", script: "adit.sh", arguments: &["udp"], packages: &[], carrier: Carrier::EspInUdp },
    Contender { name: "adit-esp", script: "adit.sh", arguments: &["esp"], packages: &[], carrier: Carrier::Esp },
    Contender {
        name: "strongswan",
        script: "strongswan.sh",
        arguments: &[],
        packages: &[
            "strongswan-charon",
            "strongswan-swanctl",
            "libcharon-extra-plugins",
            "libstrongswan-standard-plugins",
            "libstrongswan-extra-plugins",
        ],
        carrier: Carrier::EspInUdp,
    },
    Contender {
        name: "wireguard-go",
        script: "wireguard-go.sh",
        arguments: &[],
        packages: &["wireguard-go", "wireguard-tools"],
        carrier: Carrier::Udp(51820),
    },
    Contender {
        name: "openvpn",
        script: "openvpn.sh",
        arguments: &[],
        packages: &["openvpn", "openssl"],
        carrier: Carrier::Udp(1194),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_called_by_its_first_word() {
        let called = |name: &str| CONTENDERS.iter().filter(|contender| contender.is(name)).count();
        assert_eq!(called("adit"), 2);
        assert_eq!(called("adit-esp"), 1);
        assert_eq!(called("wireguard-go"), 1);
        assert_eq!(called("ad"), 0);
    }

    #[test]
    fn every_contender_has_its_script() {
        for contender in CONTENDERS {
            let script = crate::root().join("bench/net").join(contender.script);
            assert!(script.is_file(), "{}", script.display());
        }
    }
}
