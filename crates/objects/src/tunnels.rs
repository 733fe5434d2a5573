//! From IPsecTunnel objects to tunnels: what they refer to, and whether it fits together.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use base::{Duration, IpRange};
use crypto::Group;
use schema::{Object, Problem};

use crate::algorithms::{IkeAlgorithms, IpsecAlgorithms};
use crate::interfaces::{Ids, proxy};
use crate::ipsec_tunnel::{IdType, IpsecTunnel, OriginatorType, SaPer as Wanted, Traversal};
use crate::psk::Psk;
use crate::resolve::Resolver;
use crate::routes::tunnel_table;
use crate::snapshot::{
    Algorithms, DynamicRoutes, Interface, LocalIdentity, NatTraversal, RemoteEndpoint, SaPer, SharedKey, TableId,
    Tunnel, TunnelId,
};

/// Below these many seconds renewing keys costs more than it protects.
const IKE_LIFETIME_LOW: u64 = 600;
const IPSEC_LIFETIME_LOW: u64 = 300;

/// RFC 8200 section 5.
const IPV6_MTU_MIN: u64 = 1280;

/// A tunnel, if nothing is wrong with it. Everything that is wrong is reported.
pub(crate) fn compile(
    cx: &mut Resolver<'_>,
    object: &Object,
    id: TunnelId,
    interfaces: &[Interface],
    ids: &Ids,
) -> Option<Tunnel> {
    let read = IpsecTunnel::read(object)?;
    lifetimes(cx, object, &read);
    weak_groups(cx, object, "DHGroup", &read.groups);
    weak_groups(cx, object, "PFSDHGroup", &read.pfs_groups);
    let local = cx.addresses(object, "LocalNetwork", &read.local_network);
    let remote = cx.addresses(object, "RemoteNetwork", &read.remote_network);
    let endpoint = match &read.remote_endpoint {
        None => Some(RemoteEndpoint::Any),
        Some(terms) => cx.addresses(object, "RemoteEndpoint", terms).map(|ranges| match ranges.as_slice() {
            [range] if range.first() == range.last() => RemoteEndpoint::Address(range.first()),
            _ => RemoteEndpoint::Within(ranges),
        }),
    };
    let local_endpoint = match &read.local_endpoint {
        None => Some(None),
        Some(terms) => cx.host(object, "LocalEndpoint", terms).map(Some),
    };
    let psk = key(cx, object, &read);
    let ike = ike_list(cx, object, &read.ike_algorithms);
    let esp = ipsec_list(cx, object, &read.ipsec_algorithms);
    let local_identity = identity(cx, object, &read);
    if let (Some(endpoint), Some(local_endpoint)) = (&endpoint, &local_endpoint) {
        endpoints(cx, object, &read, endpoint, *local_endpoint, interfaces);
    }
    let (local, remote, endpoint) = (local?, remote?, endpoint?);
    networks(cx, object, &read, &local, &remote, &endpoint);
    if local.iter().any(|range| !range.is_ipv4()) && read.plaintext_mtu < IPV6_MTU_MIN {
        let message = format!("found {} bytes; IPv6 needs {IPV6_MTU_MIN} on every link", read.plaintext_mtu);
        cx.report(object, "PlaintextMTU", Problem::warning(message).remedy(format!("use {IPV6_MTU_MIN} or more")));
    }
    let originator = originator(cx, object, &read, &local, interfaces);
    let groups = |numbers: &[u16]| numbers.iter().filter_map(|number| Group::from_iana(*number)).collect::<Vec<_>>();
    Some(Tunnel {
        id,
        name: object.name.clone()?,
        local_endpoint: local_endpoint?,
        remote_endpoint: endpoint,
        local_identity: local_identity?,
        psk: psk?,
        ike: ike?,
        groups: groups(&read.groups),
        esp: esp?,
        pfs_groups: groups(&read.pfs_groups),
        local_networks: local,
        remote_networks: remote,
        ike_lifetime: Duration::from_secs(read.ike_lifetime),
        ipsec_lifetime: Duration::from_secs(read.ipsec_lifetime),
        ipsec_lifetime_kilobytes: read.ipsec_kilobytes,
        dpd_interval: read.dpd.then(|| Duration::from_secs(read.dpd_interval)),
        nat_traversal: match read.nat_traversal {
            Traversal::Off => NatTraversal::Off,
            Traversal::On => NatTraversal::On,
            Traversal::OnIfNeeded => NatTraversal::OnIfNeeded,
        },
        auto_establish: read.auto_establish,
        esn: read.esn,
        replay_window: u32::try_from(read.replay_window.next_multiple_of(64)).ok()?,
        ike_ds: u8::try_from(read.ike_ds).ok()?,
        ipsec_ds: read.ipsec_ds.and_then(|ds| u8::try_from(ds).ok()),
        plaintext_mtu: u32::try_from(read.plaintext_mtu).ok()?,
        originator,
        sa_per: match read.sa_per {
            Wanted::Net => SaPer::Net,
            Wanted::Host => SaPer::Host,
            Wanted::Port => SaPer::Port,
        },
        outgoing_table: ids.table(&read.outgoing_table)?,
        dynamic_routes: dynamic_routes(cx, object, &read, ids)?,
    })
}

/// Warns about a tunnel that no peer can ever reach because one above it takes every negotiation that fits.
pub(crate) fn hidden(cx: &mut Resolver<'_>, tunnels: &[(&Object, Option<Arc<Tunnel>>)]) {
    let whole = || tunnels.iter().filter_map(|(object, tunnel)| tunnel.as_ref().map(|tunnel| (object, tunnel)));
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (object, tunnel) in whole() {
        let key = format!(
            "{:?} {:?} {:?} {:?}",
            tunnel.local_endpoint, tunnel.remote_endpoint, tunnel.local_networks, tunnel.remote_networks
        );
        if let Some(first) = seen.get(&key) {
            let message = format!("{first} above has the same endpoints and networks, so this tunnel is never chosen");
            cx.report(
                object,
                "RemoteNetwork",
                Problem::warning(message).remedy("remove one of the two, or change one"),
            );
        } else {
            seen.insert(key, &tunnel.name);
        }
    }
}

fn lifetimes(cx: &mut Resolver<'_>, object: &Object, read: &IpsecTunnel) {
    for (property, seconds, low) in [
        ("IKELifeTimeSeconds", read.ike_lifetime, IKE_LIFETIME_LOW),
        ("IPsecLifeTimeSeconds", read.ipsec_lifetime, IPSEC_LIFETIME_LOW),
    ] {
        if seconds < low {
            let message =
                format!("found {seconds} seconds; under {low} the keys are renewed more often than is useful");
            cx.report(object, property, Problem::warning(message).remedy(format!("use {low} seconds or more")));
        }
    }
    if read.ipsec_lifetime >= read.ike_lifetime {
        let message = format!(
            "the IPsec SAs live {} seconds and the IKE SA {}; the IPsec SAs should live well below that",
            read.ipsec_lifetime, read.ike_lifetime
        );
        let remedy = "lower IPsecLifeTimeSeconds, or raise IKELifeTimeSeconds";
        cx.report(object, "IPsecLifeTimeSeconds", Problem::warning(message).remedy(remedy));
    }
}

fn weak_groups(cx: &mut Resolver<'_>, object: &Object, property: &str, numbers: &[u16]) {
    let weak: Vec<String> = numbers
        .iter()
        .filter(|number| Group::from_iana(**number).is_some_and(Group::is_weak))
        .map(ToString::to_string)
        .collect();
    if !weak.is_empty() {
        let message = format!("Diffie-Hellman group {} is weak and kept only for old peers", weak.join(" and "));
        cx.report(object, property, Problem::warning(message).remedy("use group 19, 20, 21 or 31 where the peer can"));
    }
}

fn key(cx: &mut Resolver<'_>, object: &Object, read: &IpsecTunnel) -> Option<SharedKey> {
    let named = cx.names.resolve(&[Psk::TYPE.name], object.parent, read.psk.as_deref()?)?;
    let secret = Psk::read(named)?.secret()?;
    Some(SharedKey { name: named.name.clone()?, secret })
}

fn ike_list(cx: &mut Resolver<'_>, object: &Object, name: &str) -> Option<Algorithms> {
    let named = cx.names.resolve(&[IkeAlgorithms::TYPE.name], object.parent, name)?;
    // What is wrong with a list is reported once, with the list.
    let (list, _) = IkeAlgorithms::read(named)?.compile(named).ok()?;
    weak_list(cx, object, "IKEAlgorithms", named, &list);
    Some(list)
}

fn ipsec_list(cx: &mut Resolver<'_>, object: &Object, name: &str) -> Option<Algorithms> {
    let named = cx.names.resolve(&[IpsecAlgorithms::TYPE.name], object.parent, name)?;
    let (list, _) = IpsecAlgorithms::read(named)?.compile(named).ok()?;
    weak_list(cx, object, "IPsecAlgorithms", named, &list);
    Some(list)
}

/// Nobody typed what a predefined list allows, so it is the tunnel that is told of what is weak when it asks for another
/// list than the usual one.
fn weak_list(cx: &mut Resolver<'_>, object: &Object, property: &str, named: &Object, list: &Algorithms) {
    let usual = object.info.property(property).and_then(|info| info.default);
    if !named.predefined || usual.is_some_and(|usual| named.is_called(usual)) {
        return;
    }
    let ciphers = list.encryption.iter().filter(|cipher| cipher.is_weak()).map(ToString::to_string);
    let hashes = list.integrity.iter().filter(|hash| hash.is_weak()).map(ToString::to_string);
    let weak: Vec<String> = ciphers.chain(hashes).collect();
    if !weak.is_empty() {
        let message = format!("the list {} allows {}, kept only for old peers", list.name, weak.join(" and "));
        let remedy = format!("use {} where the peer can", usual.unwrap_or("a list of your own"));
        cx.report(object, property, Problem::warning(message).remedy(remedy));
    }
}

fn identity(cx: &mut Resolver<'_>, object: &Object, read: &IpsecTunnel) -> Option<LocalIdentity> {
    let value = read.id_value.clone().unwrap_or_default();
    let (found, expected) = match read.id_type {
        IdType::Auto => return Some(LocalIdentity::Auto),
        IdType::Ip => (value.parse().ok().map(LocalIdentity::Address), "an address"),
        IdType::Dns => {
            let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            let fits = !value.is_empty() && value.len() <= 255 && value.chars().all(good);
            (fits.then(|| LocalIdentity::Dns(value.clone())), "a domain name")
        }
        IdType::Email => {
            let fits = value.len() <= 255 && value.split('@').filter(|part| !part.is_empty()).count() == 2;
            (fits.then(|| LocalIdentity::Email(value.clone())), "a mail address")
        }
    };
    // A missing value was reported when the object was checked.
    if found.is_none() && !value.is_empty() {
        cx.report(object, "LocalIDValue", Problem::error(format!("found \"{value}\"; expected {expected}")));
    }
    found
}

fn endpoints(
    cx: &mut Resolver<'_>,
    object: &Object,
    read: &IpsecTunnel,
    remote: &RemoteEndpoint,
    local: Option<IpAddr>,
    interfaces: &[Interface],
) {
    let is_single = matches!(remote, RemoteEndpoint::Address(_));
    if read.auto_establish && !is_single {
        let problem = Problem::error("the tunnel can only be set up from here when the peer has one address");
        let remedy = "set RemoteEndpoint to the peer's address, or AutoEstablish=No";
        cx.report(object, "AutoEstablish", problem.remedy(remedy));
    }
    if read.auto_establish && !matches!(read.sa_per, Wanted::Net) {
        let message =
            "SAs per host or port are set up by packets, which name the hosts: only the IKE SA comes up before";
        let problem = Problem::warning(message).remedy("set SetupSAPer=Network, or let traffic set up the tunnel");
        cx.report(object, "AutoEstablish", problem);
    }
    let own =
        |address: IpAddr| interfaces.iter().any(|interface| interface.addresses.iter().any(|(a, _)| *a == address));
    if let RemoteEndpoint::Address(address) = *remote {
        if own(address) {
            let problem = Problem::error(format!("{address} is an address of this gateway"));
            cx.report(object, "RemoteEndpoint", problem.remedy("write the peer's address"));
        } else if address.is_unspecified() || address.is_multicast() {
            let problem = Problem::error(format!("{address} cannot be the address of a peer"));
            cx.report(
                object,
                "RemoteEndpoint",
                problem.remedy("write the peer's address, or leave it out for any peer"),
            );
        }
    }
    let Some(local) = local else { return };
    if let RemoteEndpoint::Address(remote) = remote
        && remote.is_ipv4() != local.is_ipv4()
    {
        let message = format!("{local} and the remote endpoint {remote} are not of one family");
        cx.report(object, "LocalEndpoint", Problem::error(message).remedy("write an address of the other family"));
    }
    let any_known = interfaces.iter().any(|interface| !interface.addresses.is_empty());
    if any_known && !own(local) {
        let message = format!("{local} is no address of an interface, so nothing will arrive there");
        cx.report(object, "LocalEndpoint", Problem::warning(message).remedy("give the address to an interface"));
    }
}

fn networks(
    cx: &mut Resolver<'_>,
    object: &Object,
    read: &IpsecTunnel,
    local: &[IpRange],
    remote: &[IpRange],
    endpoint: &RemoteEndpoint,
) {
    if let (Some(mine), Some(theirs)) = (local.first(), remote.first())
        && mine.is_ipv4() != theirs.is_ipv4()
    {
        let message = format!("{theirs} and the local network {mine} are not of one family");
        cx.report(object, "RemoteNetwork", Problem::error(message).remedy("make a tunnel for each family"));
        return;
    }
    // A network within the other side's is how a branch sends everything through the tunnel; only the same one is odd.
    if let Some(both) = local.iter().find(|range| remote.contains(range)) {
        let message = format!("{both} is local and remote, so the tunnel cannot know which way a packet goes");
        cx.report(object, "RemoteNetwork", Problem::warning(message).remedy("use different networks at the two ends"));
    }
    if let RemoteEndpoint::Address(peer) = endpoint
        && read.route
        && remote.iter().any(|range| range.contains(*peer))
    {
        let message = format!("the peer's own address {peer} lies within the remote network");
        let remedy = "make sure that a longer route leads to the peer outside the tunnel";
        cx.report(object, "RemoteNetwork", Problem::warning(message).remedy(remedy));
    }
}

/// The gateway's own address inside the tunnel: as written, or the first interface address within the local network,
/// or else the network's second address.
fn originator(
    cx: &mut Resolver<'_>,
    object: &Object,
    read: &IpsecTunnel,
    local: &[IpRange],
    interfaces: &[Interface],
) -> Option<IpAddr> {
    if read.originator_type == OriginatorType::Manual {
        let address = cx.host(object, "OriginatorIP", read.originator.as_deref()?)?;
        if !local.iter().any(|range| range.contains(address)) {
            let message = format!("{address} does not lie within the local network, so the tunnel will not carry it");
            cx.report(
                object,
                "OriginatorIP",
                Problem::warning(message).remedy("write an address of the local network"),
            );
        }
        return Some(address);
    }
    if let Some(all) = local.iter().find(|range| matches!(**range, IpRange::ALL_V4 | IpRange::ALL_V6)) {
        let message = format!("with {all} as local network no originator address can be chosen");
        let remedy = "set OriginatorIPType=Manual and OriginatorIP if the gateway is to send packets of its own";
        cx.report(object, "LocalNetwork", Problem::warning(message).remedy(remedy));
        return None;
    }
    let within = |address: &IpAddr| local.iter().any(|range| range.contains(*address));
    let own = interfaces.iter().flat_map(|interface| &interface.addresses).map(|(address, _)| *address).find(within);
    own.or_else(|| local.first().map(second))
}

/// Outer `None`: a value is out of bounds, which was reported.
fn dynamic_routes(
    cx: &mut Resolver<'_>,
    object: &Object,
    read: &IpsecTunnel,
    ids: &Ids,
) -> Option<Option<DynamicRoutes>> {
    if !read.dynamic_route {
        return Some(None);
    }
    if read.route {
        let problem = Problem::warning("the whole remote network is routed to the tunnel already");
        let remedy = "set AutoInterfaceNetworkRoute=No to have the routes of clients only";
        cx.report(object, "AddRouteToRemoteNet", problem.remedy(remedy));
    }
    Some(Some(DynamicRoutes {
        table: tunnel_table(read, ids).unwrap_or(TableId::MAIN),
        metric: u32::try_from(read.metric).ok()?,
        proxy: proxy(cx, object, read.proxy_all, read.proxy.as_deref(), ids),
    }))
}

fn second(range: &IpRange) -> IpAddr {
    let next = match range.first() {
        IpAddr::V4(first) => first.to_bits().checked_add(1).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(first) => first.to_bits().checked_add(1).map(|bits| IpAddr::V6(bits.into())),
    };
    next.filter(|address| range.contains(*address)).unwrap_or_else(|| range.first())
}
