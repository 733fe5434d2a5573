//! What the stories about two offices have in common: how a tunnel is looked at, and what must hold at rest.

use std::collections::BTreeSet;

use sim::{LanToLan, NodeId, Plan, World};

/// A world of two offices.
pub fn offices(seed: u64, plan: Plan) -> (World, LanToLan) {
    let mut world = World::seeded(seed);
    let net = world.two_offices(plan);
    (world, net)
}

/// The IKE SAs of a gateway.
pub fn ike_sas(world: &mut World, node: NodeId) -> Vec<ike::IkeStatus> {
    let now = world.now();
    world.gateway(node).device().expect("switched on").gateway().ike().ike_sas(now)
}

/// A counter of a gateway's IKE side.
pub fn counter(world: &mut World, node: NodeId, name: &str) -> u64 {
    let counters = world.gateway(node).device().expect("switched on").gateway().ike().counters().list();
    counters.into_iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no counter `{name}`")).1
}

/// SPIs of all IKE SAs that are established.
pub fn ike_spis(world: &mut World, node: NodeId) -> BTreeSet<(u64, u64)> {
    ike_sas(world, node).into_iter().map(|sa| sa.spis).collect()
}

/// SPIs of all child SAs: towards the gateway, and from it.
pub fn child_spis(world: &mut World, node: NodeId) -> BTreeSet<(u32, u32)> {
    ike_sas(world, node).iter().flat_map(|sa| &sa.children).map(|child| (child.spi_in, child.spi_out)).collect()
}

/// Both ends hold the same SAs, and there is at least one pair.
pub fn agree(world: &mut World, net: &LanToLan) -> bool {
    let (hq, branch) = (child_spis(world, net.hq.gateway), child_spis(world, net.branch.gateway));
    let mirrored: BTreeSet<_> = branch.into_iter().map(|(spi_in, spi_out)| (spi_out, spi_in)).collect();
    !hq.is_empty() && hq == mirrored && ike_spis(world, net.hq.gateway) == ike_spis(world, net.branch.gateway)
}

/// At rest both ends hold the same SPIs, one pair for the one pair of networks, on one IKE SA.
pub fn assert_at_rest(world: &mut World, net: &LanToLan) {
    let sides = [net.hq.gateway, net.branch.gateway].map(|node| (ike_spis(world, node), child_spis(world, node)));
    assert!(agree(world, net), "at {} the two sides do not agree: {sides:x?}", world.now());
    assert_eq!((sides[0].0.len(), sides[0].1.len()), (1, 1), "SAs are left over at {}: {sides:x?}", world.now());
}

/// Nothing of a protected network has been seen on the internet.
pub fn assert_nothing_leaked(world: &mut World, net: &LanToLan) {
    let internet = world.router(net.internet);
    assert_eq!(internet.leaks(), 0, "in clear on the internet: {:#?}", internet.leaked());
}
