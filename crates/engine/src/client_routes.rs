//! Routes that come with SAs and go with them (`AddRouteToRemoteNet`). Where two tunnels lead to the same network the one
//! that came first has the route; when it goes, the next one gets it.

use std::collections::{BTreeMap, BTreeSet};

use base::{IpRange, Selector};
use ike::ChildId;
use objects::{Route, Snapshot, TableId, TunnelId};

/// Networks that SAs may lead to at the same time; what is more gets no route.
const NETWORKS_MAX: usize = 100_000;

/// One tunnel's claim to a network.
#[derive(Debug)]
struct Claim {
    /// Who came first.
    rank: u64,
    children: BTreeSet<ChildId>,
}

/// What has come of an SA that came or went.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Routes that are there now.
    pub(crate) added: Vec<(TableId, Route)>,
    /// Routes that are gone.
    pub(crate) removed: Vec<(TableId, Route)>,
    /// Networks to which another tunnel leads already.
    pub(crate) taken: Vec<(IpRange, TunnelId)>,
    /// Networks beyond the limit.
    pub(crate) refused: usize,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct ClientRoutes {
    claims: BTreeMap<(IpRange, TunnelId), Claim>,
    children: BTreeMap<ChildId, (TunnelId, Vec<IpRange>)>,
    last_rank: u64,
}

impl ClientRoutes {
    /// SAs of a tunnel have come up.
    pub(crate) fn add(
        &mut self,
        snapshot: &Snapshot,
        child: ChildId,
        tunnel: TunnelId,
        remote: &[Selector],
    ) -> Changes {
        let mut changes = Changes::default();
        if snapshot.tunnel_by_id(tunnel).is_none_or(|tunnel| tunnel.dynamic_routes.is_none()) {
            return changes;
        }
        let mut networks: Vec<IpRange> =
            remote.iter().map(|selector| selector.addresses).filter(|range| range.prefix().is_some()).collect();
        networks.sort();
        networks.dedup();
        networks.retain(|network| {
            let fits = self.claims.len() < NETWORKS_MAX || self.claims.contains_key(&(*network, tunnel));
            changes.refused += usize::from(!fits);
            fits
        });
        for network in &networks {
            let before = self.holder(snapshot, *network, tunnel);
            self.last_rank += 1;
            let rank = self.last_rank;
            let claim = self.claims.entry((*network, tunnel));
            let claim = claim.or_insert_with(|| Claim { rank, children: BTreeSet::new() });
            claim.children.insert(child);
            match before {
                Some(holder) if holder != tunnel => changes.taken.push((*network, holder)),
                Some(_) => {}
                None => changes.added.extend(route(snapshot, tunnel, *network)),
            }
        }
        self.children.insert(child, (tunnel, networks));
        changes
    }

    /// SAs have gone.
    pub(crate) fn remove(&mut self, snapshot: &Snapshot, child: ChildId) -> Changes {
        let mut changes = Changes::default();
        let Some((tunnel, networks)) = self.children.remove(&child) else { return changes };
        for network in networks {
            let held = self.holder(snapshot, network, tunnel) == Some(tunnel);
            let Some(claim) = self.claims.get_mut(&(network, tunnel)) else { continue };
            claim.children.remove(&child);
            if !claim.children.is_empty() {
                continue;
            }
            self.claims.remove(&(network, tunnel));
            if held {
                changes.removed.extend(route(snapshot, tunnel, network));
                let next = self.holder(snapshot, network, tunnel);
                changes.added.extend(next.and_then(|next| route(snapshot, next, network)));
            }
        }
        changes
    }

    /// All routes under this configuration.
    pub(crate) fn all(&self, snapshot: &Snapshot) -> Vec<(TableId, Route)> {
        let held =
            self.claims.keys().filter(|(network, tunnel)| self.holder(snapshot, *network, *tunnel) == Some(*tunnel));
        held.filter_map(|(network, tunnel)| route(snapshot, *tunnel, *network)).collect()
    }

    /// Whose route it is, in the table that `tunnel`'s routes go to.
    fn holder(&self, snapshot: &Snapshot, network: IpRange, tunnel: TunnelId) -> Option<TunnelId> {
        let table = table(snapshot, tunnel)?;
        let claims = self.claims.range((network, TunnelId(0))..=(network, TunnelId(u32::MAX)));
        let rivals = claims.filter(|((_, rival), _)| self::table(snapshot, *rival) == Some(table));
        rivals.min_by_key(|(_, claim)| claim.rank).map(|((_, rival), _)| *rival)
    }
}

fn table(snapshot: &Snapshot, tunnel: TunnelId) -> Option<TableId> {
    Some(snapshot.tunnel_by_id(tunnel)?.dynamic_routes.as_ref()?.table)
}

fn route(snapshot: &Snapshot, tunnel: TunnelId, network: IpRange) -> Option<(TableId, Route)> {
    snapshot.tunnel_by_id(tunnel)?.dynamic_routes.as_ref()?.route(tunnel, network)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use objects::DynamicRoutes;

    use super::*;

    fn snapshot(tunnels: &[&str]) -> Snapshot {
        let mut text = "add PSK key Type=ASCII PSKAscii=0123456789abcdef\n".to_owned();
        for (index, tunnel) in tunnels.iter().enumerate() {
            text.push_str(&format!(
                "add IPsecTunnel {tunnel} LocalNetwork=172.16.1.0/24 RemoteNetwork=10.0.0.0/8 \
                 RemoteEndpoint=203.0.113.{index} PSK=key AutoInterfaceNetworkRoute=No\n"
            ));
        }
        let mut snapshot = objects::compile_text(&text, &[]).unwrap().1;
        for tunnel in &mut snapshot.tunnels {
            let routes = DynamicRoutes { table: TableId::MAIN, metric: 90, proxy: Vec::new() };
            Arc::make_mut(tunnel).dynamic_routes = Some(routes);
        }
        snapshot
    }

    fn to(network: &str) -> Vec<Selector> {
        let (address, prefix) = network.split_once('/').unwrap();
        let range = IpRange::network(address.parse().unwrap(), prefix.parse().unwrap()).unwrap();
        vec![Selector::all(range)]
    }

    fn shown(snapshot: &Snapshot, routes: &[(TableId, Route)]) -> Vec<String> {
        let name = |route: &Route| snapshot.interface_by_id(route.interface).unwrap().name.clone();
        routes.iter().map(|(_, route)| format!("{} {}", route.network, name(route))).collect()
    }

    #[test]
    fn a_route_comes_with_the_first_sa_and_goes_with_the_last() {
        let snapshot = snapshot(&["a"]);
        let a = snapshot.tunnels[0].id;
        let mut routes = ClientRoutes::default();
        let added = routes.add(&snapshot, ChildId(1), a, &to("10.1.0.0/16")).added;
        assert_eq!(shown(&snapshot, &added), ["10.1.0.0/16 a"]);
        // Rekeying: the new pair comes before the old one goes.
        assert_eq!(routes.add(&snapshot, ChildId(2), a, &to("10.1.0.0/16")), Changes::default());
        assert_eq!(routes.remove(&snapshot, ChildId(1)), Changes::default());
        assert_eq!(routes.all(&snapshot).len(), 1);
        assert_eq!(routes.remove(&snapshot, ChildId(2)).removed, added);
        assert!(routes.all(&snapshot).is_empty() && routes.claims.is_empty());
    }

    #[test]
    fn of_two_tunnels_to_the_same_network_the_first_wins_and_the_other_takes_over() {
        let snapshot = snapshot(&["a", "b"]);
        let (a, b) = (snapshot.tunnels[0].id, snapshot.tunnels[1].id);
        let mut routes = ClientRoutes::default();
        routes.add(&snapshot, ChildId(1), b, &to("10.1.0.0/16"));
        let second = routes.add(&snapshot, ChildId(2), a, &to("10.1.0.0/16"));
        assert_eq!((second.added.len(), second.taken.len()), (0, 1));
        // The first rekeys: it stays the first.
        routes.add(&snapshot, ChildId(3), b, &to("10.1.0.0/16"));
        assert_eq!(routes.remove(&snapshot, ChildId(1)), Changes::default());
        let last = routes.remove(&snapshot, ChildId(3));
        assert_eq!(shown(&snapshot, &last.removed), ["10.1.0.0/16 b"]);
        assert_eq!(shown(&snapshot, &last.added), ["10.1.0.0/16 a"]);
        assert_eq!(routes.all(&snapshot), last.added);
    }

    #[test]
    fn what_is_no_network_and_what_wants_no_route_gets_none() {
        let mut snapshot = snapshot(&["a"]);
        let a = snapshot.tunnels[0].id;
        let range = IpRange::new("10.0.0.1".parse().unwrap(), "10.0.0.9".parse().unwrap()).unwrap();
        let odd = Selector::all(range);
        let mut routes = ClientRoutes::default();
        assert_eq!(routes.add(&snapshot, ChildId(1), a, &[odd]), Changes::default());
        Arc::make_mut(&mut snapshot.tunnels[0]).dynamic_routes = None;
        assert_eq!(routes.add(&snapshot, ChildId(2), a, &to("10.1.0.0/16")), Changes::default());
    }
}
