//! Traffic selectors: what may travel through a child SA (RFC 7296 section 2.9).
//!
//! The rule for what a peer asks of us, in one place:
//!
//! 1. What lies within the configured networks is granted as it was asked.
//! 2. An offer of several selectors (a triggering packet before its network, or a list) is narrowed: the parts that lie
//!    within the configured networks are granted, and parts that merely overlap are cut to what both have.
//! 3. An offer of everything (`0.0.0.0/0` or `::/0` as the only selector) is how route-based peers ask for "whatever
//!    you protect": it is narrowed to the configured networks.
//! 4. Any other single selector that reaches beyond the configured networks is refused. RFC 7296 would allow cutting
//!    it, but the administrator of such a peer has typed a wrong network. Half a tunnel that drops the rest of the
//!    traffic without a word is harder to find than a refusal that names both networks.

use base::{IpRange, Selector};

use crate::{SaPer, Trigger, Tunnel};

/// Selectors of one direction that we look at; a longer list is cut (RFC 7296 3.13 would allow 255).
pub(crate) const SELECTORS_MAX: usize = 64;

/// What narrowing came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Narrowed {
    /// These are granted: at least one for each side.
    Granted { local: Vec<Selector>, remote: Vec<Selector> },
    /// Nothing fits.
    Refused(Side),
}

/// Whose networks did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// What the peer believes to be behind us.
    Local,
    /// What the peer says is behind itself.
    Remote,
}

/// Narrows what a peer asks for to what is configured, by the rule at the top of this file. `local` and `remote` are
/// seen from us: the peer's TSr and TSi when it began the exchange.
pub(crate) fn narrow(
    offered_local: &[Selector],
    offered_remote: &[Selector],
    local_networks: &[IpRange],
    remote_networks: &[IpRange],
) -> Narrowed {
    let local = narrow_side(offered_local, local_networks);
    let remote = narrow_side(offered_remote, remote_networks);
    if local.is_empty() {
        return Narrowed::Refused(Side::Local);
    }
    if remote.is_empty() {
        return Narrowed::Refused(Side::Remote);
    }
    Narrowed::Granted { local, remote }
}

fn narrow_side(offered: &[Selector], networks: &[IpRange]) -> Vec<Selector> {
    let offered = offered.get(..SELECTORS_MAX.min(offered.len())).unwrap_or_default();
    let networks: Vec<Selector> = networks.iter().copied().map(Selector::all).collect();
    let within = |one: &Selector| networks.iter().any(|network| network.covers(one));
    if let [only] = offered
        && !within(only)
        && !is_everything(only)
    {
        return Vec::new();
    }
    let mut granted: Vec<Selector> = Vec::new();
    let parts = offered.iter().flat_map(|one| {
        if within(one) { vec![*one] } else { networks.iter().filter_map(|network| network.intersection(one)).collect() }
    });
    for part in parts {
        if granted.len() >= SELECTORS_MAX || granted.iter().any(|have| have.covers(&part)) {
            continue;
        }
        granted.retain(|have| !part.covers(have));
        granted.push(part);
    }
    granted
}

/// All addresses of a family, whatever the protocol: the offer of a route-based peer.
fn is_everything(selector: &Selector) -> bool {
    selector.addresses == IpRange::ALL_V4 || selector.addresses == IpRange::ALL_V6
}

/// True when every selector of `answer` is part of one in `offer`, and there is at least one: what a responder may
/// answer (RFC 7296 section 2.9).
pub(crate) fn is_subset(answer: &[Selector], offer: &[Selector]) -> bool {
    !answer.is_empty() && answer.iter().all(|one| offer.iter().any(|wide| wide.covers(one)))
}

/// The pairs of a local and a remote network of one family, by their places in the lists: each gets its own child SA.
pub(crate) fn pairs(local: &[IpRange], remote: &[IpRange]) -> Vec<(IpRange, IpRange)> {
    local
        .iter()
        .flat_map(|here| remote.iter().map(move |there| (*here, *there)))
        .filter(|(here, there)| here.is_ipv4() == there.is_ipv4())
        .collect()
}

/// What a packet wants a child SA for: the pair of networks that it belongs to, or the hosts or ports in them.
pub(crate) fn wanted_by(tunnel: &Tunnel, trigger: &Trigger) -> Option<(Selector, Selector)> {
    let (source, destination) = (trigger.source.0, trigger.destination.0);
    let (local, remote) = pairs(&tunnel.local_networks, &tunnel.remote_networks)
        .into_iter()
        .find(|(here, there)| here.contains(source) && there.contains(destination))?;
    let (here, there) = (IpRange::host(source), IpRange::host(destination));
    Some(match tunnel.sa_per {
        SaPer::Net => (Selector::all(local), Selector::all(remote)),
        SaPer::Host => (Selector::all(here), Selector::all(there)),
        SaPer::Port => {
            (exact(here, trigger.protocol, trigger.source.1), exact(there, trigger.protocol, trigger.destination.1))
        }
    })
}

/// The selectors of a request: the triggering packet first, its network behind it (RFC 7296 section 2.9).
pub(crate) fn offer(pair: (Selector, Selector), trigger: Option<&Trigger>) -> (Vec<Selector>, Vec<Selector>) {
    let (mut local, mut remote) = (Vec::new(), Vec::new());
    if let Some(trigger) = trigger {
        let (source, destination) = (IpRange::host(trigger.source.0), IpRange::host(trigger.destination.0));
        local.push(exact(source, trigger.protocol, trigger.source.1));
        remote.push(exact(destination, trigger.protocol, trigger.destination.1));
    }
    local.push(pair.0);
    remote.push(pair.1);
    (local, remote)
}

/// One address with protocol and port. Port 0 stands for "no port", and a selector of protocol 0 has no ports.
fn exact(addresses: IpRange, protocol: u8, port: u16) -> Selector {
    if protocol == 0 || port == 0 {
        Selector { protocol, ..Selector::all(addresses) }
    } else {
        Selector { addresses, protocol, port_first: port, port_last: port }
    }
}

/// `192.168.1.0/24, 10.0.0.0/8` for messages; `nothing` for an empty list.
pub(crate) fn list<T: std::fmt::Display>(items: &[T]) -> String {
    const SHOWN_MAX: usize = 8;
    if items.is_empty() {
        return "nothing".to_owned();
    }
    let mut text: Vec<String> = items.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    if items.len() > SHOWN_MAX {
        text.push(format!("and {} more", items.len() - SHOWN_MAX));
    }
    text.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpRange {
        let (address, prefix) = text.split_once('/').unwrap();
        IpRange::network(address.parse().unwrap(), prefix.parse().unwrap()).unwrap()
    }

    fn all(text: &str) -> Selector {
        Selector::all(net(text))
    }

    fn granted(offered: &[Selector], networks: &[&str]) -> Option<Vec<Selector>> {
        let networks: Vec<IpRange> = networks.iter().map(|text| net(text)).collect();
        let fixed = all("10.9.0.0/16");
        match narrow(offered, &[fixed], &networks, &[fixed.addresses]) {
            Narrowed::Granted { local, .. } => Some(local),
            Narrowed::Refused(side) => {
                assert_eq!(side, Side::Local);
                None
            }
        }
    }

    #[test]
    fn an_equal_or_smaller_offer_is_granted_as_it_is() {
        assert_eq!(granted(&[all("10.1.0.0/16")], &["10.1.0.0/16"]), Some(vec![all("10.1.0.0/16")]));
        assert_eq!(granted(&[all("10.1.2.0/24")], &["10.1.0.0/16"]), Some(vec![all("10.1.2.0/24")]));
        let web = Selector { protocol: 6, port_first: 80, port_last: 80, ..all("10.1.2.3/32") };
        assert_eq!(granted(&[web], &["10.1.0.0/16"]), Some(vec![web]));
    }

    #[test]
    fn a_larger_single_offer_is_refused() {
        assert_eq!(granted(&[all("10.0.0.0/8")], &["10.1.0.0/16"]), None);
        assert_eq!(granted(&[all("10.2.0.0/16")], &["10.1.0.0/16"]), None);
    }

    #[test]
    fn an_offer_of_everything_becomes_what_is_configured() {
        assert_eq!(
            granted(&[all("0.0.0.0/0")], &["10.1.0.0/16", "10.2.0.0/16", "2001:db8::/64"]),
            Some(vec![all("10.1.0.0/16"), all("10.2.0.0/16")])
        );
        assert_eq!(granted(&[all("0.0.0.0/0")], &["0.0.0.0/0"]), Some(vec![all("0.0.0.0/0")]));
        assert_eq!(granted(&[all("::/0")], &["10.1.0.0/16"]), None);
    }

    #[test]
    fn of_several_selectors_the_fitting_parts_are_granted() {
        let packet = Selector { protocol: 1, ..all("10.1.2.3/32") };
        assert_eq!(granted(&[packet, all("10.0.0.0/8")], &["10.1.0.0/16"]), Some(vec![all("10.1.0.0/16")]));
        assert_eq!(granted(&[packet, all("172.16.0.0/12")], &["10.1.0.0/16"]), Some(vec![packet]));
        assert_eq!(granted(&[all("172.16.0.0/12"), all("172.32.0.0/16")], &["10.1.0.0/16"]), None);
    }

    #[test]
    fn a_long_list_is_cut_not_swallowed() {
        let many: Vec<Selector> = (0..=255).map(|i| all(&format!("10.1.{i}.0/24"))).collect();
        assert_eq!(granted(&many, &["10.1.0.0/16"]).unwrap().len(), SELECTORS_MAX);
    }

    #[test]
    fn a_request_names_the_packet_before_its_network() {
        let trigger = Trigger {
            source: ("10.1.0.5".parse().unwrap(), 4_000),
            destination: ("10.9.0.7".parse().unwrap(), 80),
            protocol: 6,
        };
        let (local, remote) = offer((all("10.1.0.0/16"), all("10.9.0.0/16")), Some(&trigger));
        assert_eq!(list(&local), "10.1.0.5:tcp/4000, 10.1.0.0/16");
        assert_eq!(list(&remote), "10.9.0.7:tcp/80, 10.9.0.0/16");
        assert!(is_subset(&[all("10.1.0.0/24")], &local));
        assert!(!is_subset(&[all("10.0.0.0/8")], &local) && !is_subset(&[], &local));
    }

    #[test]
    fn networks_pair_within_their_family() {
        let (v4, v6) = (net("10.1.0.0/16"), net("2001:db8::/64"));
        assert_eq!(pairs(&[v4, v6], &[v6, v4]), vec![(v4, v4), (v6, v6)]);
    }
}
