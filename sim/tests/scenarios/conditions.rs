//! What changes while a configuration runs: names, the time of day, routes that fail, routes of clients.

use sim::{Interface, LinkId, NodeId, Plan, Seconds, World};

use crate::office::{assert_nothing_leaked, offices};

/// A policy at the head office that lets nothing into the tunnel but what `destination` names, under `more`.
fn only(destination: &str, more: &str) -> Plan {
    Plan::example().change_head_office(
        "DestinationNetwork=192.168.11.0/24\n    Service=all_services",
        &format!("DestinationNetwork={destination}\n    Service=all_services\n    {more}"),
    )
}

#[test]
fn a_policy_follows_the_addresses_of_its_host_name() {
    let plan =
        only("server", "").change_head_office("add PSK", "add FQDNAddress server Address=server.example\nadd PSK");
    let (mut world, net) = offices(1, plan);
    let hq = net.hq.gateway;
    let ping = world.ping_out(&net, 1.secs());
    world.run_for(5.secs());
    assert_eq!(ping.answers(), 0, "nothing is known of the name");
    assert_eq!(world.gateway(hq).logged("dns_name_not_resolved"), 1);
    world.gateway(hq).name("server.example", &["192.168.11.10"], 30);
    world.cli(hq, "dns -flush");
    let listed = world.cli(hq, "dns -list").text;
    world.run_for(5.secs());
    assert!(ping.answers() >= 3, "{ping:?}\n{listed}");
    // Elsewhere now: the connection that no policy allows any more ends within the time to live.
    world.gateway(hq).name("server.example", &["192.168.11.77"], 30);
    world.run_for(31.secs());
    let before = ping.answers();
    world.run_for(10.secs());
    assert_eq!(ping.answers(), before, "{ping:?}");
    // A silent name server takes nothing away.
    world.gateway(hq).name("server.example", &["192.168.11.10"], 30);
    world.run_for(40.secs());
    let before = ping.answers();
    world.gateway(hq).silence("server.example");
    world.run_for(600.secs());
    assert!(ping.answers() >= before + 590, "{ping:?}");
    assert!(world.cli(hq, "dns -list").text.contains("no name server answers"));
    assert_nothing_leaked(&mut world, &net);
}

#[test]
fn a_policy_with_a_schedule_is_in_force_at_its_hours() {
    let days = "add ScheduleProfile early Mon=2-3\nadd PSK";
    let plan = only("192.168.11.0/24", "Schedule=early").change_head_office("add PSK", days);
    // Monday, 00:00.
    let (mut world, net) = offices(2, plan);
    world.run_for((2 * 3600 - 10).secs());
    let ping = world.ping_out(&net, 1.secs());
    world.run_for(9.secs());
    assert_eq!(ping.answers(), 0);
    world.run_for(10.secs());
    let during = ping.answers();
    assert!(during >= 5, "{ping:?}");
    world.run_for(3590.secs());
    let at_the_end = ping.answers();
    world.run_for(20.secs());
    assert!(ping.answers() <= at_the_end + 3, "{ping:?}");
    assert_eq!(world.gateway(net.hq.gateway).logged("schedule_changed"), 2);
    // A clock that is turned is noticed at the next step.
    world.gateway(net.hq.gateway).turn_clock(-1800);
    let before = ping.answers();
    world.run_for(5.secs());
    assert!(ping.answers() >= before + 3, "{ping:?}");
}

struct TwoWays {
    world: World,
    hq: NodeId,
    hosts: [NodeId; 2],
    /// What each tunnel crosses at the branch.
    ways: [LinkId; 2],
}

/// Two tunnels between the same networks over two providers of the branch; each end watches the other's host by each.
fn two_ways(seed: u64, grace: u64) -> TwoWays {
    let mut world = World::seeded(seed);
    let internet = world.add_router(
        "internet",
        vec![
            Interface::new("to-hq").address("198.51.100.254/24"),
            Interface::new("to-one").address("203.0.113.254/24"),
            Interface::new("to-two").address("192.0.2.254/24"),
        ],
    );
    let text = |local: &str, remote: &str, host: &str, ends: [&str; 2]| {
        let mut text = String::from("add PSK key Type=ASCII PSKAscii=0123456789abcdef\n");
        for (name, end) in ["one", "two"].iter().zip(ends) {
            text.push_str(&format!(
                "add IPsecTunnel {name} LocalNetwork={local} RemoteNetwork={remote} {end} PSK=key \
                 AutoInterfaceNetworkRoute=No DPDInterval=10\n"
            ));
        }
        text.push_str(&format!(
            "add InterfaceGroup ways Members=one,two\n\
             add Access Name=either Action=Accept Interface=ways Network={remote}\n\
             add IPPolicy Name=out SourceInterface=lan SourceNetwork={local} DestinationInterface=ways \
             DestinationNetwork={remote} Service=all_services Action=Allow\n\
             add IPPolicy Name=in SourceInterface=ways SourceNetwork={remote} DestinationInterface=lan \
             DestinationNetwork={local} Service=all_services Action=Allow\ncc RoutingTable main\n"
        ));
        for (name, metric) in [("one", 90), ("two", 100)] {
            text.push_str(&format!(
                "add Route Interface={name} Network={remote} Metric={metric} RouteMonitor=Yes EnableHostMonitoring=Yes \
                 GracePeriod={grace}\n"
            ));
        }
        for number in [1, 2] {
            text.push_str(&format!(
                "cc Route {number}\nadd MonitoredHost IPAddress={host} PollingInterval=1000 SampleSize=5 \
                 MaxPollFails=2\ncc ..\n"
            ));
        }
        text.push_str("cc\n");
        text
    };
    let wan = Interface::new("wan").address("198.51.100.1/24").gateway("198.51.100.254");
    let lan = Interface::new("lan").address("172.16.1.1/24");
    let ends = ["RemoteEndpoint=203.0.113.1", "RemoteEndpoint=192.0.2.1"];
    let hq_text = text("172.16.1.0/24", "192.168.11.0/24", "192.168.11.10", ends);
    let hq = world.add_gateway("hq", vec![lan, wan], "hq.adit", &hq_text);
    let lan = Interface::new("lan").address("192.168.11.1/24");
    let one = Interface::new("one").address("203.0.113.1/24").gateway("203.0.113.254");
    let two = Interface::new("two").address("192.0.2.1/24").network("198.51.100.0/25");
    let ends = [
        "RemoteEndpoint=198.51.100.1 LocalEndpoint=203.0.113.1",
        "RemoteEndpoint=198.51.100.1 LocalEndpoint=192.0.2.1",
    ];
    let branch_text = text("192.168.11.0/24", "172.16.1.0/24", "172.16.1.10", ends)
        .replace("add IPsecTunnel one ", "add IPsecTunnel first ")
        .replace("add IPsecTunnel two ", "add IPsecTunnel second ")
        .replace("Members=one,two", "Members=first,second")
        .replace("Interface=one ", "Interface=first ")
        .replace("Interface=two ", "Interface=second ");
    let branch = world.add_gateway("branch", vec![lan, one, two], "branch.adit", &branch_text);
    let hosts = [("hq-host", hq, "172.16.1"), ("branch-host", branch, "192.168.11")].map(|(name, gateway, net)| {
        let eth0 = Interface::new("eth0").address(&format!("{net}.10/24")).gateway(&format!("{net}.1"));
        let host = world.add_host(name, eth0);
        world.join((gateway, "lan"), (host, "eth0"), 1.millis());
        host
    });
    world.join((hq, "wan"), (internet, "to-hq"), 5.millis());
    let ways = [("one", "to-one"), ("two", "to-two")]
        .map(|(interface, to)| world.join((branch, interface), (internet, to), 5.millis()));
    TwoWays { world, hq, hosts, ways }
}

#[test]
fn a_route_whose_host_does_not_answer_gives_way_to_the_next_and_takes_over_again() {
    let TwoWays { mut world, hq, hosts, ways } = two_ways(3, 5);
    let target = world.address(hosts[1], true);
    let ping = world.ping_every(1.secs(), hosts[0], target);
    world.run_for(20.secs());
    assert!(ping.answers() >= 15, "{ping:?}\n{}", world.cli(hq, "hostmon").text);
    assert_eq!(world.gateway(hq).logged("route_disabled"), 0);
    world.link(ways[0]).down();
    // Three polls, one a second, and the patience with the last: five seconds, and one more for the next packet.
    world.run_for(6.secs());
    assert_eq!(world.gateway(hq).logged("route_disabled"), 1);
    let shown = world.cli(hq, "routes").text;
    assert!(shown.contains("XM"), "{shown}");
    assert_eq!(world.gateway(hq).routes().iter().map(|route| route.metric).collect::<Vec<_>>(), [100]);
    let before = ping.answers();
    world.run_for(20.secs());
    assert!(ping.answers() >= before + 18, "{ping:?}");
    world.link(ways[0]).up();
    assert!(world.run_until(120.secs(), |world| world.gateway(hq).logged("route_enabled") == 1));
    assert_eq!(world.gateway(hq).routes().len(), 2);
    let before = ping.answers();
    world.run_for(20.secs());
    assert!(ping.answers() >= before + 18, "{ping:?}");
    assert!(world.cli(hq, "hostmon").text.contains("YES"));
}

#[test]
fn a_route_to_a_flapping_host_changes_no_faster_than_its_grace_period() {
    let TwoWays { mut world, hq, hosts, ways } = two_ways(4, 30);
    let target = world.address(hosts[1], true);
    let ping = world.ping_every(1.secs(), hosts[0], target);
    world.run_for(40.secs());
    for _ in 0..20 {
        world.link(ways[0]).down();
        world.run_for(8.secs());
        world.link(ways[0]).up();
        world.run_for(8.secs());
    }
    let log = |world: &mut World, event: &str| -> Vec<u64> {
        let of = |(_, record): &&(base::Instant, base::Record)| {
            record.meta.name == event && record.field("iface") == Some("one")
        };
        world.gateway(hq).log().filter(of).map(|(at, _)| at.as_secs()).collect()
    };
    let (failed, back) = (log(&mut world, "route_disabled"), log(&mut world, "route_enabled"));
    assert!(!back.is_empty() && failed.len() >= 2, "{failed:?} {back:?}");
    for at in &failed {
        assert!(back.iter().all(|up| up > at || at - up >= 30), "failed {failed:?}, back {back:?}");
    }
    assert!(ping.answers() > 0);
}

#[test]
fn a_route_comes_with_the_sas_of_a_tunnel_and_goes_with_them() {
    let plan = Plan::example()
        .tunnel_at_head_office("AddRouteToRemoteNet=Yes AutoInterfaceNetworkRoute=No")
        .tunnel_at_branch("AutoEstablish=Yes");
    let (mut world, net) = offices(5, plan);
    let hq = net.hq.gateway;
    // Until then its network leads nowhere, and above all not to the internet.
    let metrics = |world: &mut World| world.gateway(hq).routes().iter().map(|route| route.metric).collect::<Vec<_>>();
    assert_eq!(metrics(&mut world), [engine::HostRoute::NOWHERE]);
    world.run_for(5.secs());
    assert_eq!(metrics(&mut world), [90]);
    let shown = world.cli(hq, "routes").text;
    assert!(shown.lines().any(|line| line.starts_with("D ") && line.contains("192.168.11.0/24")), "{shown}");
    let ping = world.ping_out(&net, 1.secs());
    world.run_for(5.secs());
    assert!(ping.answers() >= 4, "{ping:?}");
    world.shut_down(net.branch.gateway);
    world.run_for(2.secs());
    assert_eq!(metrics(&mut world), [engine::HostRoute::NOWHERE]);
    assert!(!world.cli(hq, "routes").text.contains("192.168.11.0/24"));
    assert_nothing_leaked(&mut world, &net);
}
