//! Answers in the place of others.

use wire::arp::{Arp, Operation};
use wire::ethernet::{self, Prefix};

use super::*;
use crate::{Proxy, Publish, PublishMode};

#[test]
fn a_networks_hosts_behind_the_gateway_are_answered_for() {
    for (range, host, from) in
        [("10.0.0.128/25", "10.0.0.200", "10.0.0.2"), ("2001:db8::8000/113", "2001:db8::9000", "2001:db8::2")]
    {
        let mut proxying = config(MAC_A, &["10.0.0.1/24", "2001:db8::1/64"]);
        proxying.proxy.push(Proxy { interface: IF, ranges: vec![net(range)] });
        let mut world = World::new(1, vec![proxying, config(MAC_B, &["10.0.0.2/24", "2001:db8::2/64"])]);
        world.send(1, host, echo(from, host));
        assert_eq!(world.stations[1].link.lookup(IF, ip(host)), Some(MAC_A));
        assert_eq!(world.packets(0), 1);
    }
}

#[test]
fn a_clients_address_is_answered_for_as_long_as_it_is_connected() {
    let mut world = World::pair(1);
    let client = net("10.0.0.200/32");
    let asks = |world: &mut World| {
        world.with(1, |link, _, out| {
            link.flush(|_, _| true, out);
        });
        world.send(1, "10.0.0.200", echo("10.0.0.2", "10.0.0.200"));
        world.run_secs(4);
        world.packets(0)
    };
    assert_eq!(asks(&mut world), 0);
    world.with(0, |link, _, _| link.proxy_add(IF, client));
    let same = Arc::new(config(MAC_A, &["10.0.0.1/24"]));
    world.with(0, |link, now, out| link.configure(now, same, out));
    assert_eq!(asks(&mut world), 1, "also after another configuration");
    world.with(0, |link, _, _| link.proxy_remove(IF, client));
    assert_eq!(asks(&mut world), 0);
}

#[test]
fn a_host_of_the_network_is_not_answered_for_and_neither_is_the_asker() {
    let mut proxying = config(MAC_A, &["10.0.0.1/24"]);
    proxying.proxy.push(Proxy { interface: IF, ranges: vec![net("10.0.0.0/24")] });
    let third = Mac([2, 0, 0, 0, 0, 0xcc]);
    let mut world = World::new(1, vec![proxying, config(MAC_B, &["10.0.0.2/24"]), config(third, &["10.0.0.3/24"])]);
    // The gateway knows that .3 is here.
    world.send(0, "10.0.0.3", echo("10.0.0.1", "10.0.0.3"));
    let before = world.frames.len();
    world.send(1, "10.0.0.3", echo("10.0.0.2", "10.0.0.3"));
    assert_eq!(world.stations[1].link.lookup(IF, ip("10.0.0.3")), Some(third));
    let replies = world.frames[before..].iter().filter(|frame| frame[12..14] == [8, 6] && frame[21] == 2).count();
    assert_eq!(replies, 1, "only .3 itself has answered");
    // An announcement asks for the announcer.
    let before = world.frames.len();
    world.with(1, |link, now, out| link.notify(now, IF, ip("10.0.0.2"), out));
    assert_eq!(world.frames.len() - before, 1);
}

#[test]
fn a_host_that_has_left_for_a_tunnel_is_answered_for_soon() {
    let mut world = World::pair(1);
    let roamer = world.join(config(Mac([2, 0, 0, 0, 0, 0xcc]), &["10.0.0.200/24"]));
    world.send(0, "10.0.0.200", echo("10.0.0.1", "10.0.0.200"));
    world.stations.remove(roamer);
    world.with(0, |link, _, _| link.proxy_add(IF, net("10.0.0.200/32")));
    world.run_secs(50);
    for _ in 0..5 {
        world.send(1, "10.0.0.200", echo("10.0.0.2", "10.0.0.200"));
        world.run_secs(1);
    }
    assert_eq!(world.stations[1].link.lookup(IF, ip("10.0.0.200")), Some(MAC_A));
}

#[test]
fn a_published_address_is_answered_for_with_its_hardware_address() {
    let special = Mac([2, 0, 0, 0, 0, 0x77]);
    for (mac, mode, said, source) in [
        (None, PublishMode::Publish, MAC_A, MAC_A),
        (Some(special), PublishMode::Publish, special, MAC_A),
        (Some(special), PublishMode::XPublish, special, special),
    ] {
        let mut publishing = config(MAC_A, &["10.0.0.1/24"]);
        publishing.publish.push(Publish { interface: IF, range: net("10.0.0.64/30"), mac, mode });
        let mut world = World::new(1, vec![publishing]);
        let ask = Arp {
            operation: Operation::Request,
            sender_mac: MAC_B,
            sender: [10, 0, 0, 2].into(),
            target_mac: Mac::ZERO,
            target: [10, 0, 0, 65].into(),
        };
        world.inject(0, &[Prefix::new(Mac::BROADCAST, MAC_B, None, ethernet::ARP).bytes(), &ask.write()].concat());
        let answer = world.frames.last().unwrap();
        let header = ethernet::Header::parse(answer).unwrap();
        let arp = Arp::parse(&answer[header.payload..]).unwrap();
        assert_eq!((header.source, arp.sender_mac, arp.sender), (source, said, ask.target));
        let ping = echo("10.0.0.2", "10.0.0.65");
        world.inject(0, &[Prefix::new(said, MAC_B, None, ethernet::IPV4).bytes(), ping.bytes()].concat());
        assert_eq!(world.packets(0), usize::from(said == source));
    }
}
