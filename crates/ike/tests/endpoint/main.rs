//! Stories of two endpoints, told through the public interface.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the lint list lets tests do it, but does not see that the helpers between them are tests as well"
)]

mod collisions;
mod establish;
mod explain;
mod hostile;
mod limits;
mod liveness;
mod nat;
mod rekey;
mod restart;

use base::Duration;
use ike::pair::Pair;

/// So many seconds.
fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// So many milliseconds.
fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Exactly one IKE SA and one child SA are left on either side, the same ones, and packets pass.
fn assert_settled(world: &mut Pair) {
    let spis = |side: usize| {
        let sas = world.sides[side].endpoint.ike_sas(world.now);
        assert_eq!(sas.len(), 1, "IKE SAs of side {side}: {sas:#?}");
        assert_eq!(sas[0].state, "Established");
        assert_eq!(sas[0].children.len(), 1, "child SAs of side {side}: {:#?}", sas[0].children);
        let child = &sas[0].children[0];
        assert!(child.current);
        assert_eq!(world.sides[side].children.len(), 1, "installed on side {side}");
        (sas[0].spis, child.spi_in, child.spi_out)
    };
    let (a, b) = (spis(0), spis(1));
    assert_eq!(a.0, b.0);
    assert_eq!((a.1, a.2), (b.2, b.1));
    assert!(world.ping());
}
