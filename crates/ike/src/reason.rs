//! Why a negotiation failed: one typed value, from which the log, the peer's answer and every view are made.

use std::net::IpAddr;

use base::{Duration, IpRange, Selector};
use crypto::Group;
use wire::ike::NotifyType;

use crate::Explanation;
use crate::proposal::{Kind, Mismatch};
use crate::selectors::{self, Side};

/// What was being negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The IKE SA.
    Ike,
    /// A child SA.
    Child,
}

/// One refusal, with everything that its explanation needs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reason {
    /// The peer offers nothing that the tunnel allows.
    NoProposal { tunnel: String, subject: Subject, mismatch: Box<Mismatch> },
    /// The peer found nothing acceptable in what we offer.
    PeerRefusedProposals { tunnel: String, subject: Subject, offered: String },
    /// The peer's AUTH was made with another key than ours.
    WrongPsk { tunnels: Vec<(String, String)>, identity: String },
    /// The peer does not accept our AUTH.
    PeerRefusedAuth { tunnel: String, psk: String, identity: String },
    /// The peer proves itself by something other than a pre-shared key.
    OtherAuthMethod { method: String, tunnels: Vec<String> },
    /// Nothing in the peer's selectors fits the networks of the tunnel.
    Selectors { tunnels: Vec<String>, side: Side, offered: Vec<Selector>, configured: Vec<IpRange> },
    /// The peer finds our selectors unacceptable.
    PeerRefusedSelectors { tunnel: String, local: Vec<Selector>, remote: Vec<Selector> },
    /// The peer answered something that we did not offer.
    AnswerNotOffered { tunnel: String, what: &'static str, answer: String, offered: String },
    /// Nothing came back.
    NoAnswer { tunnel: String, exchange: &'static str, tries: u32, after: Duration },
    /// The peer was there and is no more.
    PeerDead { tunnel: String, silent: Duration },
    /// No tunnel is for this peer; why each was passed over.
    NoTunnel { local: IpAddr, passed_over: Vec<(String, String)> },
    /// The peer wants the key exchange in a group that the tunnel does not allow.
    PeerWantsGroup { tunnel: String, wanted: u16, allowed: Vec<Group> },
    /// The tunnel cannot begin by itself.
    CannotInitiate { tunnel: String, why: String, remedy: String },
    /// The peer refused with a notification that needs no words of its own.
    PeerNotified { tunnel: String, exchange: &'static str, notify: NotifyType },
    /// The peer's message breaks a rule of the protocol.
    Misbehaved { tunnel: Option<String>, what: String },
    /// A bound of ours was reached.
    Limit { tunnel: Option<String>, what: &'static str, limit: usize },
}

impl Reason {
    /// One word for filters and tests.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::NoProposal { .. } => "no_proposal_chosen",
            Self::PeerRefusedProposals { .. } => "proposals_refused_by_peer",
            Self::WrongPsk { .. } => "wrong_psk",
            Self::PeerRefusedAuth { .. } => "authentication_refused_by_peer",
            Self::OtherAuthMethod { .. } => "other_authentication_method",
            Self::Selectors { .. } => "selectors_unacceptable",
            Self::PeerRefusedSelectors { .. } => "selectors_refused_by_peer",
            Self::AnswerNotOffered { .. } => "answer_not_offered",
            Self::NoAnswer { .. } => "no_answer",
            Self::PeerDead { .. } => "peer_dead",
            Self::NoTunnel { .. } => "no_tunnel",
            Self::PeerWantsGroup { .. } => "group_refused_by_peer",
            Self::CannotInitiate { .. } => "cannot_initiate",
            Self::PeerNotified { .. } => "refused_by_peer",
            Self::Misbehaved { .. } => "peer_misbehaved",
            Self::Limit { .. } => "limit_reached",
        }
    }

    /// What the peer is told, in the one place where that is decided; `None`: silence.
    pub(crate) const fn notify(&self) -> Option<NotifyType> {
        match self {
            Self::NoProposal { .. } => Some(NotifyType::NO_PROPOSAL_CHOSEN),
            Self::WrongPsk { .. } | Self::OtherAuthMethod { .. } => Some(NotifyType::AUTHENTICATION_FAILED),
            Self::Selectors { .. } => Some(NotifyType::TS_UNACCEPTABLE),
            // RFC 7296 section 2.21.1 leaves it open; to a stranger without a tunnel it is the honest short answer.
            Self::NoTunnel { .. } => Some(NotifyType::NO_PROPOSAL_CHOSEN),
            Self::Misbehaved { .. } => Some(NotifyType::INVALID_SYNTAX),
            Self::Limit { .. } => Some(NotifyType::NO_ADDITIONAL_SAS),
            Self::PeerRefusedProposals { .. }
            | Self::PeerRefusedAuth { .. }
            | Self::PeerRefusedSelectors { .. }
            | Self::AnswerNotOffered { .. }
            | Self::NoAnswer { .. }
            | Self::PeerDead { .. }
            | Self::PeerWantsGroup { .. }
            | Self::CannotInitiate { .. }
            | Self::PeerNotified { .. } => None,
        }
    }

    /// The words for people. `peer` is the address at the other end.
    pub(crate) fn explain(&self, peer: IpAddr) -> Explanation {
        let mut to = Explanation {
            kind: self.kind(),
            summary: String::new(),
            found: String::new(),
            expected: String::new(),
            nearest: None,
            remedy: String::new(),
        };
        self.fill(peer, &mut to);
        to
    }

    fn fill(&self, peer: IpAddr, to: &mut Explanation) {
        match self {
            Self::NoProposal { tunnel, subject, mismatch } => explain_mismatch(peer, tunnel, *subject, mismatch, to),
            Self::PeerRefusedProposals { tunnel, subject, offered } => {
                let (what, property) = subject.words();
                to.summary = format!("{peer} accepts none of our proposals for the {what} of tunnel {tunnel}");
                to.found = "NO_PROPOSAL_CHOSEN".into();
                to.expected = format!("one of: {offered}");
                to.remedy = format!(
                    "compare {property} of tunnel {tunnel} with the peer's configuration; the peer's log says what it wants"
                );
            }
            Self::WrongPsk { tunnels, identity } => {
                to.summary = format!("{peer} calls itself {identity} and uses another pre-shared key than ours");
                to.found = "an AUTH payload that none of our keys explains".into();
                to.expected = join(tunnels.iter().map(|(tunnel, psk)| format!("the key {psk} of tunnel {tunnel}")));
                to.remedy = format!(
                    "type the same key into {} and at the peer",
                    join(tunnels.iter().map(|(_, psk)| psk.clone()))
                );
            }
            Self::PeerRefusedAuth { tunnel, psk, identity } => {
                to.summary = format!("{peer} does not accept our proof of identity for tunnel {tunnel}");
                to.found = "AUTHENTICATION_FAILED".into();
                to.expected = format!("the peer to know us as {identity} with the key {psk}");
                to.remedy = format!(
                    "type the same key into {psk} and at the peer, and let the peer expect the identity {identity}"
                );
            }
            Self::OtherAuthMethod { method, tunnels } => {
                to.summary = format!("{peer} wants to prove its identity by {method}");
                to.found = method.clone();
                to.expected = format!("a pre-shared key, as tunnels {} say", join(tunnels.iter().cloned()));
                to.remedy = "configure the peer to authenticate with the pre-shared key".into();
            }
            Self::Selectors { tunnels, side, offered, configured } => {
                let (property, theirs) = match side {
                    Side::Local => ("LocalNetwork", "remote"),
                    Side::Remote => ("RemoteNetwork", "local"),
                };
                let tunnel = join(tunnels.iter().cloned());
                let (found, expected) = (selectors::list(offered), selectors::list(configured));
                to.summary = format!("{peer} asks for networks that {property} of tunnel {tunnel} does not hold");
                to.nearest = nearest_network(offered, configured);
                to.remedy = format!(
                    "set {property} of tunnel {tunnel} to {found}, or the {theirs} network at the peer to {expected}"
                );
                (to.found, to.expected) = (found, expected);
            }
            Self::PeerRefusedSelectors { tunnel, local, remote } => {
                to.summary = format!("{peer} does not accept the networks of tunnel {tunnel}");
                to.found = "TS_UNACCEPTABLE".into();
                to.expected = format!("local {} to remote {}", selectors::list(local), selectors::list(remote));
                to.remedy = format!(
                    "make LocalNetwork and RemoteNetwork of tunnel {tunnel} the mirror image of the peer's networks"
                );
            }
            Self::AnswerNotOffered { tunnel, what, answer, offered } => {
                to.summary = format!("{peer} answered with {what} that tunnel {tunnel} did not offer");
                to.found = answer.clone();
                to.expected = format!("part of: {offered}");
                to.remedy = "the peer breaks the protocol; look for a newer version of it".into();
            }
            Self::NoAnswer { tunnel, exchange, tries, after } => {
                to.summary = format!("{peer} does not answer tunnel {tunnel}");
                to.found = format!("no answer to {exchange}, sent {tries} times in {} seconds", after.as_secs());
                to.expected = "an answer".into();
                to.remedy = if *exchange == "IKE_AUTH" {
                    // The first answer came, so somebody is there.
                    format!(
                        "check that UDP port 4500 and large datagrams pass on the way, and look into the log of {peer}, \
                         which answered the first message: it may refuse in silence"
                    )
                } else {
                    format!(
                        "check that {peer} is reachable, that UDP ports 500 and 4500 are open on the way, and that an \
                         IKEv2 gateway for this address runs there"
                    )
                };
            }
            Self::PeerDead { tunnel, silent } => {
                to.summary = format!("{peer} of tunnel {tunnel} has died or cannot be reached any more");
                to.found = format!("nothing for {} seconds, though asked", silent.as_secs());
                to.expected = "an answer to the liveness check".into();
                to.remedy = format!("check the way to {peer}; the tunnel comes back when the peer does");
            }
            Self::NoTunnel { local, passed_over } => {
                to.summary = format!("no tunnel is for {peer}");
                to.found = format!("a first message from {peer} to {local}");
                to.expected = if passed_over.is_empty() {
                    "no tunnel is configured".into()
                } else {
                    join(passed_over.iter().map(|(tunnel, why)| format!("{tunnel}: {why}")))
                };
                let local_only = |(_, why): &(String, String)| why.starts_with("LocalEndpoint");
                to.remedy = if !passed_over.is_empty() && passed_over.iter().all(local_only) {
                    format!("let the peer connect to that address, or set LocalEndpoint of its tunnel to {local}")
                } else {
                    format!("set RemoteEndpoint of a tunnel to {peer}, or keep this peer away")
                };
            }
            Self::PeerWantsGroup { tunnel, wanted, allowed } => {
                let name = Group::from_iana(*wanted).map(|group| format!(" ({group})")).unwrap_or_default();
                to.summary = format!("{peer} wants a DH group that tunnel {tunnel} does not allow");
                to.found = format!("INVALID_KE_PAYLOAD, which asks for group {wanted}{name}");
                to.expected =
                    format!("one of: {}", join(allowed.iter().map(|group| format!("{} ({group})", group.iana()))));
                to.remedy =
                    format!("add {wanted} to DHGroup of tunnel {tunnel} or configure one of its groups at the peer");
            }
            Self::CannotInitiate { tunnel, why, remedy } => {
                to.summary = format!("tunnel {tunnel} cannot be set up from this side: {why}");
                to.remedy.clone_from(remedy);
            }
            Self::PeerNotified { tunnel, exchange, notify } => {
                to.summary = format!("{peer} refused {exchange} of tunnel {tunnel}");
                to.found = notify.to_string();
                to.expected = "agreement".into();
                to.remedy = "look into the peer's log for its reason".into();
            }
            Self::Misbehaved { tunnel, what } => {
                let tunnel = tunnel.as_ref().map(|name| format!(" of tunnel {name}")).unwrap_or_default();
                to.summary = format!("{peer}{tunnel} breaks a rule of the protocol");
                to.found = what.clone();
                to.expected = "a message as RFC 7296 has it".into();
                to.remedy = "look for a newer version of the peer".into();
            }
            Self::Limit { tunnel, what, limit } => {
                let tunnel = tunnel.as_ref().map(|name| format!(" of tunnel {name}")).unwrap_or_default();
                to.summary = format!("{peer}{tunnel} wants more {what} than are allowed");
                to.found = format!("more than {limit} {what}");
                to.expected = format!("at most {limit}");
                to.remedy = "let the peer use fewer".into();
            }
        }
    }
}

impl Subject {
    /// What it is called, and the properties that rule it.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Ike => ("IKE SA", "IKEAlgorithms and DHGroup"),
            Self::Child => ("IPsec SA", "IPsecAlgorithms and PFSDHGroup"),
        }
    }
}

fn explain_mismatch(peer: IpAddr, tunnel: &str, subject: Subject, mismatch: &Mismatch, to: &mut Explanation) {
    let (what, _) = subject.words();
    let (groups, list_property) = match subject {
        Subject::Ike => ("DHGroup", "IKEAlgorithms"),
        Subject::Child => ("PFSDHGroup", "IPsecAlgorithms"),
    };
    to.summary = format!("{peer} offers no protection for the {what} that tunnel {tunnel} allows");
    to.found = mismatch.offered.clone();
    to.expected = format!("list {} allows {}", mismatch.list, mismatch.allowed);
    let Some((offer, kinds)) = &mismatch.nearest else {
        to.remedy = "let the peer propose something".into();
        return;
    };
    let differing: Vec<String> = kinds
        .iter()
        .map(|kind| match (kind, offer.of_kind(*kind)) {
            (Kind::Esn, value) => format!("the {} ({value})", kind.name()),
            // What is missing does not stand in the proposal.
            (_, value) if value == "none" => format!("the {} (none)", kind.name()),
            _ => format!("the {}", kind.name()),
        })
        .collect();
    let (only, are) = if kinds.len() == 1 { ("only ", "is") } else { ("", "are") };
    to.nearest = Some(format!("{offer}: {only}{} {are} not allowed here", and(&differing)));
    let mut to_allow = Vec::new();
    let mut remedies = Vec::new();
    for kind in kinds {
        let value = offer.of_kind(*kind);
        match kind {
            Kind::Group if value == "none" => {
                remedies.push(format!("set {groups} of tunnel {tunnel} to None or configure a PFS group at the peer"))
            }
            Kind::Group => {
                let numbers: Vec<String> =
                    offer.groups.iter().flatten().flatten().map(|g| g.iana().to_string()).collect();
                let value = if numbers.is_empty() { value } else { numbers.join(",") };
                remedies.push(format!(
                    "add {value} to {groups} of tunnel {tunnel} or configure one of its groups at the peer"
                ));
            }
            Kind::Encryption | Kind::Integrity | Kind::Prf if value == "none" => {
                remedies.push(format!(
                    "let the peer offer {} as {list_property} {} allows",
                    kind.name(),
                    mismatch.list
                ));
            }
            Kind::Encryption | Kind::Integrity | Kind::Prf => to_allow.push(value),
            Kind::Esn => remedies.push("let the peer offer plain sequence numbers too".to_owned()),
            Kind::StrangeType => remedies.push("switch the extension off at the peer".to_owned()),
        }
    }
    if !to_allow.is_empty() {
        let allow = and(&to_allow);
        let list = &mismatch.list;
        remedies.insert(0, format!("allow {allow} in {list_property} {list}, or configure at the peer what it allows"));
    }
    to.remedy = join(remedies.into_iter());
}

/// `a, b and c`.
fn and(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [front @ .., last] => format!("{} and {last}", front.join(", ")),
    }
}

/// Says how an offered network lies to the nearest configured one.
fn nearest_network(offered: &[Selector], configured: &[IpRange]) -> Option<String> {
    offered.iter().find_map(|one| {
        let network = configured.iter().find(|network| network.intersection(&one.addresses).is_some())?;
        Some(if one.addresses.covers(network) {
            format!("{} is larger than {network}; equal or smaller would be accepted", one.addresses)
        } else {
            format!("{} and {network} overlap only in part", one.addresses)
        })
    })
}

fn join(parts: impl Iterator<Item = String>) -> String {
    const SHOWN_MAX: usize = 8;
    let parts: Vec<String> = parts.collect();
    let mut text = parts.get(..SHOWN_MAX.min(parts.len())).unwrap_or_default().join("; ");
    if parts.len() > SHOWN_MAX {
        text.push_str(&format!("; and {} more", parts.len() - SHOWN_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use crypto::{Encryption, Group, Integrity, Prf};

    use super::*;
    use crate::Algorithms;
    use crate::proposal::{Policy, Suite, choose};

    fn peer() -> IpAddr {
        "203.0.113.1".parse().unwrap()
    }

    #[test]
    fn the_nearest_miss_says_which_property_to_change() {
        let list = Algorithms {
            name: "High".into(),
            encryption: vec![Encryption::AesCbc(128)],
            integrity: vec![Integrity::HmacSha1_96],
            prf: vec![Prf::HmacSha1],
        };
        let offer = Suite {
            encryption: Encryption::AesCbc(128),
            integrity: Some(Integrity::HmacSha1_96),
            prf: Some(Prf::HmacSha1),
            group: Some(Group::Modp1024),
            esn: false,
        }
        .as_offer(1, Vec::new());
        let mismatch = choose(&[offer], &Policy::ike(&list, &[Group::Modp2048])).unwrap_err();
        let reason = Reason::NoProposal { tunnel: "branch".into(), subject: Subject::Ike, mismatch };
        let text = reason.explain(peer());
        assert_eq!(text.kind, "no_proposal_chosen");
        assert_eq!(text.found, "AES-CBC-128 / HMAC-SHA1-96 / PRF-HMAC-SHA1 / MODP 1024 (2)");
        assert_eq!(
            text.nearest.unwrap(),
            "AES-CBC-128 / HMAC-SHA1-96 / PRF-HMAC-SHA1 / MODP 1024 (2): only the DH group is not allowed here"
        );
        assert_eq!(text.remedy, "add 2 to DHGroup of tunnel branch or configure one of its groups at the peer");
    }

    #[test]
    fn several_misses_in_one_list_have_one_remedy() {
        let list = Algorithms {
            name: "High".into(),
            encryption: vec![Encryption::AesCbc(256)],
            integrity: vec![Integrity::HmacSha2_256_128],
            prf: vec![Prf::HmacSha2_256],
        };
        let offer = Suite {
            encryption: Encryption::TripleDes,
            integrity: Some(Integrity::HmacSha1_96),
            prf: Some(Prf::HmacSha1),
            group: Some(Group::Ecp521),
            esn: false,
        }
        .as_offer(1, Vec::new());
        let mismatch = choose(&[offer], &Policy::ike(&list, &[Group::Ecp521])).unwrap_err();
        let text = Reason::NoProposal { tunnel: "branch".into(), subject: Subject::Ike, mismatch }.explain(peer());
        assert!(
            text.nearest.unwrap().ends_with("(21): the encryption, the integrity and the PRF are not allowed here")
        );
        assert_eq!(
            text.remedy,
            "allow 3DES-CBC, HMAC-SHA1-96 and PRF-HMAC-SHA1 in IKEAlgorithms High, or configure at the peer what it allows"
        );
    }

    #[test]
    fn a_larger_network_is_explained_with_both_networks() {
        let net = |text: &str, prefix| IpRange::network(text.parse().unwrap(), prefix).unwrap();
        let reason = Reason::Selectors {
            tunnels: vec!["branch".into()],
            side: Side::Remote,
            offered: vec![Selector::all(net("10.0.0.0", 8))],
            configured: vec![net("10.1.0.0", 16)],
        };
        let text = reason.explain(peer());
        assert_eq!(text.nearest.unwrap(), "10.0.0.0/8 is larger than 10.1.0.0/16; equal or smaller would be accepted");
        assert_eq!(
            text.remedy,
            "set RemoteNetwork of tunnel branch to 10.0.0.0/8, or the local network at the peer to 10.1.0.0/16"
        );
    }
}
