//! From nothing to traffic.

use base::Duration;
use ike::pair::{A, B, pair};

#[test]
fn a_tunnel_comes_up_and_carries_packets_both_ways() {
    let mut world = pair(1, |_, _| {});
    world.connect(A);
    world.run(Duration::from_secs(1));
    for side in [A, B] {
        for record in &world.sides[side].records {
            println!("{side} {record}");
        }
    }
    assert_eq!(world.seen.len(), 4);
    assert!(world.ping());
}
