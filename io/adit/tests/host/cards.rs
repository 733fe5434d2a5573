//! What becomes of a network card that the gateway owns, as the kernel sees it.

use crate::bench::{Host, wait_until};
use crate::routing::switch;

const SWITCHES: [&str; 4] = [
    "net.ipv6.conf.card.disable_ipv6",
    "net.ipv4.conf.card.arp_ignore",
    "net.ipv4.conf.card.forwarding",
    "net.ipv4.conf.card.rp_filter",
];

/// A host with a card that is switched off, and a configuration that wants it; and who is at the other end.
fn with_a_card() -> (Host, Host, String) {
    let (host, neighbour) = (Host::new(), Host::new());
    host.wire_to(&neighbour, "card", "card");
    host.ip("link set card down");
    // The one card of the host, so that the kernel has nothing to route.
    host.ip("link delete lan");
    host.ip("link delete wan");
    let configuration =
        host.folder.write("card.adit", "add Ethernet card Port=Packet IP=10.7.0.1 Network=10.7.0.0/24\n");
    (host, neighbour, configuration)
}

fn state(host: &Host) -> ([String; 4], bool) {
    let is_on = host.ip("-br link show card").contains(",UP");
    (SWITCHES.map(|name| switch(host, name)), is_on)
}

fn silent() -> ([String; 4], bool) {
    (["1", "8", "0", "1"].map(str::to_owned), true)
}

pub fn the_kernel_is_silent_on_a_card_that_is_the_gateways_and_gets_it_back_as_it_was() {
    let (host, _neighbour, configuration) = with_a_card();
    let before = state(&host);
    assert_ne!(before, silent());
    let daemon = host.start(&configuration);
    wait_until("the kernel is silent", || state(&host) == silent());
    assert_eq!(switch(&host, "net.ipv4.ip_forward"), "0");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(state(&host), before);
    host.start(&configuration).kill();
    assert_eq!(state(&host), silent());
    let next = host.start(&configuration);
    assert_eq!(next.terminate().code(), Some(0));
    assert_eq!(state(&host), before);
}

pub fn a_card_with_an_address_of_the_kernel_is_left_to_it_until_the_address_goes() {
    let (host, _neighbour, configuration) = with_a_card();
    host.ip("addr add 10.7.0.9/24 dev card");
    let before = state(&host);
    let daemon = host.start(&configuration);
    let told = || {
        let log = daemon.log();
        log.contains("event=card_refused") && log.contains("10.7.0.9/24") && log.contains("ip address flush dev card")
    };
    wait_until("the refusal is told", told);
    assert_eq!(state(&host), before);
    host.ip("addr flush dev card");
    wait_until("the card is the gateway's", || state(&host) == silent());
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(state(&host), before);
}
