//! What an administrator writes about rules, routes and interfaces, and what the gateway is told.

use super::*;

fn of(snapshot: &Snapshot, table: &str) -> Vec<String> {
    let routes = &snapshot.table(table).unwrap().routes;
    let name = |route: &Route| snapshot.interface_by_id(route.interface).unwrap().name.clone();
    routes.iter().map(|route| format!("{} {}", route.network, name(route))).collect()
}

fn policy(more: &str) -> String {
    format!(
        "add IPPolicy web SourceInterface=lan SourceNetwork=172.16.1.0/24 DestinationInterface=wan \
         DestinationNetwork=all-nets Service=http Action=Allow {more}\n"
    )
}

fn source(more: &str) -> SourceTranslation {
    snapshot(&policy(more)).0.policies[0].source.clone()
}

fn destination(more: &str) -> DestinationTranslation {
    let text = policy(more).replace("DestinationNetwork=all-nets", "DestinationNetwork=198.51.100.8/30");
    snapshot(&text).0.policies[0].destination.clone()
}

#[test]
fn the_source_of_what_a_policy_allows_becomes_what_it_says() {
    assert_eq!(source(""), SourceTranslation::Auto);
    assert_eq!(source("SourceAddressTranslation=None"), SourceTranslation::None);
    assert_eq!(source("SourceAddressTranslation=NAT"), SourceTranslation::Interface);
    let sender =
        "SourceAddressTranslation=NAT NATSourceAddressAction=SpecifySenderAddress NATSenderAddress=198.51.100.9";
    assert_eq!(source(sender), SourceTranslation::Address(address("198.51.100.9")));
    let single = "SourceAddressTranslation=SAT SourceNewIP=198.51.100.9";
    assert_eq!(source(single), SourceTranslation::Static(AddressMap::Single(address("198.51.100.9"))));
    let from = IpRange::network(address("172.16.1.0"), 24).unwrap();
    let transposed = AddressMap::Transposed { from, to_first: address("10.9.0.0") };
    assert_eq!(
        source("SourceAddressTranslation=SAT SourceAddressAction=TransposedBased SourceNewIP=10.9.0.0"),
        SourceTranslation::Static(transposed)
    );
    let (snapshot, _) = snapshot(&policy("").replace("Allow", "Deny"));
    assert_eq!(snapshot.policies[0].source, SourceTranslation::None, "what is denied is not translated");
}

#[test]
fn many_hosts_share_the_addresses_of_a_pool() {
    let text = format!(
        "add NATPool pool Type=Fixed IPRange=198.51.100.20-198.51.100.29\n{}",
        policy("SourceAddressTranslation=NAT NATSourceAddressAction=NATPool NATPool=pool")
    );
    let (snapshot, _) = snapshot(&text);
    let SourceTranslation::Pool(pool) = &snapshot.policies[0].source else { panic!("{:?}", snapshot.policies[0]) };
    assert_eq!((pool.name.as_str(), pool.kind), ("pool", NatPoolKind::Fixed));
    assert_eq!(pool.ranges[0].to_string(), "198.51.100.20-198.51.100.29");
}

#[test]
fn the_destination_of_what_a_policy_allows_becomes_what_it_says() {
    assert_eq!(destination(""), DestinationTranslation::None);
    let single = Some(AddressMap::Single(address("172.16.1.80")));
    let new = "DestAddressTranslation=SAT DestNewIP=172.16.1.80";
    assert_eq!(destination(new), DestinationTranslation::Static { address: single, port: None });
    let port = format!("{new} DestPortAction=SinglePort DestNewPort=8080");
    assert_eq!(
        destination(&port),
        DestinationTranslation::Static { address: single, port: Some(PortMap::Single(8080)) }
    );
    let from = IpRange::network(address("198.51.100.8"), 30).unwrap();
    let both = "DestAddressTranslation=SAT DestAddressAction=TransposedBased DestNewIP=172.16.1.80 \
                DestPortAction=TransposedBased DestNewPort=8000";
    assert_eq!(
        destination(both),
        DestinationTranslation::Static {
            address: Some(AddressMap::Transposed { from, to_first: address("172.16.1.80") }),
            port: Some(PortMap::Transposed { from_first: 80, to_first: 8000 }),
        }
    );
}

#[test]
fn a_translation_that_cannot_work_is_refused() {
    let sat = "DestAddressTranslation=SAT";
    refused(&policy(sat), "nothing says to what");
    refused(&policy(&format!("{sat} DestNewIP=2001:db8::1")), "are not of one family");
    refused(
        &policy(&format!("{sat} DestNewIP=10.0.0.1 DestAddressAction=TransposedBased")),
        "there are fewer addresses than in 0.0.0.0/0",
    );
    refused(
        &policy("SourceAddressTranslation=SAT SourceAddressAction=TransposedBased SourceNewIP=10.0.0.1")
            .replace("172.16.1.0/24", "172.16.1.1,172.16.1.7"),
        "takes one network or range",
    );
    let port = format!("{sat} DestPortAction=SinglePort DestNewPort=80");
    refused(&policy(&port).replace("=http", "=all_icmp"), "has traffic without ports");
    let many = port.replace("SinglePort", "TransposedBased");
    refused(&policy(&many).replace("=http", "=http-all"), "the service http-all has 2");
    let wide = many.replace("=80", "=65000");
    refused(&policy(&wide).replace("=http", "=all_tcp"), "there are fewer ports than from 0 to 65535");
    refused(&policy("SourceAddressTranslation=SAT"), "required for the following properties: SourceNewIP");
    refused(&policy("SourceAddressTranslation=NAT NATSourceAddressAction=NATPool NATPool=x"), "there is no NATPool x");
    warned(&policy("SourceAddressTranslation=NAT").replace("Allow", "Deny"), "not used while Action is Deny");
}

#[test]
fn stateless_policies_stand_among_the_others_and_are_numbered_with_them() {
    let stateless = policy("").replace("IPPolicy web", "StatelessPolicy fast");
    let text = format!("{}{stateless}{}", policy(""), policy("").replace("web", "last"));
    let (tree, snapshot, _) = compile_text(&text, &head_office()).unwrap();
    let found: Vec<_> = snapshot.policies.iter().map(|p| (p.index, p.name.as_str(), p.action)).collect();
    assert_eq!(found, [(1, "web", Action::Allow), (2, "fast", Action::Stateless), (3, "last", Action::Allow)]);
    let mut workspace = Workspace::new(tree);
    let command = &lex::commands("set IPPolicy last Index=1")[0];
    assert!(schema::execute(&mut workspace, &mut Context::default(), command).unwrap().done);
    let (moved, _) = compile(&workspace.candidate, &head_office()).unwrap();
    let names: Vec<&str> = moved.policies.iter().map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, ["last", "web", "fast"]);
}

#[test]
fn an_access_rule_says_where_a_network_may_come_from() {
    let (snapshot, _) =
        snapshot("add Access Name=lan_Access Interface=lan Network=lan_net Action=Expect LogEnabled=No");
    let lan = snapshot.interface("lan").unwrap().id;
    let rule = &snapshot.access[0];
    assert_eq!((rule.index, rule.name.as_str(), rule.action), (1, "lan_Access", AccessAction::Expect));
    assert_eq!((&rule.interface, rule.log), (&Interfaces::Only(vec![lan]), None));
    assert_eq!(rule.network[0].to_string(), "172.16.1.0/24");
}

#[test]
fn a_group_stands_for_its_members_and_makes_them_equivalent() {
    let text = "add InterfaceGroup inner Members=lan\nadd InterfaceGroup both Members=wan,inner Equivalent=Yes\n\
                add Access Interface=both Network=10.0.0.0/8 Action=Accept";
    let (snapshot, _) = snapshot(text);
    let (lan, wan) = (snapshot.interface("lan").unwrap(), snapshot.interface("wan").unwrap());
    assert_eq!(snapshot.access[0].interface, Interfaces::Only(vec![wan.id, lan.id]));
    assert_eq!((lan.equivalents.as_slice(), wan.equivalents.as_slice()), (&[wan.id][..], &[lan.id][..]));
    refused("add InterfaceGroup a Members=b\nadd InterfaceGroup b Members=a", "contains itself");
    refused("add InterfaceGroup a Members=any", "no group is needed");
}

const SECOND_TABLE: &str = "add RoutingTable second Ordering=Only\ncc RoutingTable second\n\
    add Route Interface=wan Network=all-nets Gateway=198.51.100.253\ncc\n";

#[test]
fn a_routing_rule_leads_a_connection_to_another_table() {
    let rule = "add RoutingRule mail SourceInterface=lan SourceNetwork=lan_net DestinationInterface=any \
                DestinationNetwork=all-nets Service=smtp ForwardRoutingTable=second ReturnRoutingTable=main";
    let (snapshot, _) = snapshot(&format!("{SECOND_TABLE}{rule}"));
    let second = snapshot.table("second").unwrap();
    assert_eq!((second.ordering, snapshot.tables[0].id), (Ordering::Only, TableId::MAIN));
    assert_eq!((snapshot.routing_rules[0].forward, snapshot.routing_rules[0].back), (second.id, TableId::MAIN));
    assert_eq!(
        of(&snapshot, "second"),
        [
            "127.0.0.1 core",
            "172.16.1.1 core",
            "198.51.100.1 core",
            "224.0.0.0/4 core",
            "ff00::/8 core",
            "0.0.0.0/0 wan"
        ]
    );
    assert!(!of(&snapshot, "main").contains(&"ff00::/8 lan".to_owned()));
    refused("set RoutingTable main Ordering=Only", "table main cannot be changed");
}

#[test]
fn an_interface_of_one_table_is_in_no_other() {
    let text = format!("{SECOND_TABLE}add Ethernet wan MemberOfRoutingTable=Specific RoutingTable=second");
    let (snapshot, _) = snapshot(&text);
    let second = snapshot.table("second").unwrap().id;
    assert_eq!(snapshot.interface("wan").unwrap().table, Some(second));
    assert!(of(&snapshot, "main").iter().all(|route| !route.contains("198.51.100") && !route.contains("wan")));
    for expected in ["198.51.100.1 core", "198.51.100.0/24 wan", "172.16.1.1 core"] {
        assert!(of(&snapshot, "second").contains(&expected.to_owned()), "{expected}: {:?}", of(&snapshot, "second"));
    }
}

#[test]
fn a_table_may_do_without_the_gateways_own_addresses() {
    let text = SECOND_TABLE.replace("Only", "Only RemoveInterfaceIPRoutes=Yes");
    assert!(of(&snapshot(&text).0, "second").iter().all(|route| !route.contains("172.16.1.1")));
}

#[test]
fn an_originator_address_written_by_hand_is_the_gateways_own_in_every_table() {
    let text = format!("{SECOND_TABLE}{}", tunnel("OriginatorIPType=Manual OriginatorIP=172.16.1.77"));
    let (snapshot, _) = snapshot(&text);
    for table in ["main", "second"] {
        assert!(of(&snapshot, table).contains(&"172.16.1.77 core".to_owned()), "{table}");
    }
}

#[test]
fn an_originator_address_made_up_from_a_network_on_no_interface_is_the_gateways_own_but_in_main() {
    let text =
        format!("{SECOND_TABLE}{}", tunnel("")).replace("LocalNetwork=172.16.1.0/24", "LocalNetwork=10.7.0.0/16");
    let (snapshot, _) = snapshot(&text);
    assert_eq!(snapshot.tunnel("t").unwrap().originator, Some(address("10.7.0.1")));
    assert!(of(&snapshot, "second").contains(&"10.7.0.1 core".to_owned()));
    assert!(!of(&snapshot, "main").contains(&"10.7.0.1 core".to_owned()));
}

const WATCHED: &str = "cc RoutingTable main\n\
    add Route Interface=lan Network=10.1.0.0/16 Gateway=172.16.1.254 RouteMonitor=True MonitorLinkStatus=Yes \
    MonitorGateway=Yes EnableHostMonitoring=Yes Reachability=Any GracePeriod=5\n\
    add Route Interface=wan Network=10.1.0.0/16 Metric=200\n\
    cc Route 1\nadd MonitoredHost IPAddress=10.1.0.1\n\
    add MonitoredHost Method=TCP IPAddress=10.1.0.2 Port=443 PollingInterval=2000 ReachabilityRequired=Yes\ncc ..\ncc\n";

#[test]
fn a_route_is_watched_by_link_gateway_and_hosts_and_another_takes_its_place() {
    let (snapshot, _) = snapshot(WATCHED);
    let route = snapshot.main_routes().iter().find(|route| route.monitor.is_some()).unwrap();
    let monitor = route.monitor.as_deref().unwrap();
    let seconds = base::Duration::from_secs;
    assert_eq!((monitor.link, monitor.gateway, monitor.grace), (true, Some(seconds(1)), seconds(5)));
    assert_eq!((monitor.reachability, monitor.hosts.len()), (Reachability::Any, 2));
    let host = &monitor.hosts[1];
    assert_eq!((host.method, host.interval, host.required), (PollMethod::Tcp(443), seconds(2), true));
    assert_eq!((host.samples, host.fails_max), (10, 2));
    let mut conditions = Conditions::default();
    let holds = |conditions: &Conditions| conditions.routes_of(&snapshot.tables[0]).any(|other| other == route);
    assert!(holds(&conditions));
    conditions.failed.insert(route.key(TableId::MAIN));
    assert!(!holds(&conditions));
}

#[test]
fn a_route_that_cannot_be_watched_is_refused() {
    let route = |more: &str| format!("cc RoutingTable main\nadd Route Interface=wan Network=10.0.0.0/8 {more}");
    refused(&route("RouteMonitor=Yes"), "nothing says by what");
    refused(&route("RouteMonitor=Yes MonitorGateway=Yes"), "has no gateway to be watched");
    refused(&route("RouteMonitor=Yes EnableHostMonitoring=Yes"), "the route has no MonitoredHost");
    refused(&WATCHED.replace("Port=443", "MaxPollFails=10 Port=443"), "the host can never fail");
    refused(&WATCHED.replace("Port=443", ""), "required for the following properties: Port");
    refused(&WATCHED.replace("Method=TCP", "Method=HTTP"), "HTTP is not available in this version");
    let own = "cc RoutingTable main\nadd Route Interface=wan Network=all-nets Gateway=198.51.100.254 RouteMonitor=Yes MonitorGateway=Yes";
    warned(own, "an automatic route of wan to 0.0.0.0/0 with metric 100 holds whatever is watched here");
}

#[test]
fn what_is_in_a_route_is_written_and_read_back() {
    let (tree, _, _) = compile_text(WATCHED, &head_office()).unwrap();
    let written = schema::text(&tree);
    assert!(written.contains("cc Route 1\nadd MonitoredHost IPAddress=10.1.0.1\n"), "{written}");
    let (again, _, _) = compile_text(&written, &head_office()).unwrap();
    assert_eq!(schema::text(&again), written);
    assert_eq!(compile(&again, &head_office()).unwrap().0, compile(&tree, &head_office()).unwrap().0);
}

/// Network cards that the gateway owns, as the kernel has them: without addresses.
fn cards() -> Vec<HostInterface> {
    let card = |name: &str| HostInterface { name: name.to_owned(), mtu: 1500, ..HostInterface::default() };
    vec![card("lan"), card("wan")]
}

const OWNED: &str = "add Ethernet lan Port=Packet IP=172.16.1.1 Network=172.16.1.0/24\n\
    add Ethernet wan Port=Packet DHCPEnabled=Yes\n\
    add VLAN guests Ethernet=lan VLANID=10 IP=172.16.10.1 Network=172.16.10.0/24\n";

#[track_caller]
fn owned(more: &str, hosts: &[HostInterface]) -> (schema::Tree, Snapshot, Vec<Problem>) {
    compile_text(&format!("{OWNED}{more}"), hosts).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[test]
fn the_gateway_owns_network_cards_and_vlans_on_them() {
    let (_, snapshot, problems) = owned("", &cards());
    assert!(problems.is_empty(), "{problems:#?}");
    let id = |name: &str| snapshot.interface(name).unwrap().id;
    assert_eq!(snapshot.interface("guests").unwrap().kind, InterfaceKind::Vlan { base: id("lan"), vlan: 10 });
    let on = |name: &str, vlan, dhcp| LinkInterface { id: id(name), vlan, dhcp };
    let ports: Vec<_> = snapshot.link.ports.iter().map(|p| (p.device.as_str(), p.interfaces.clone())).collect();
    assert_eq!(
        ports,
        [("lan", vec![on("lan", None, false), on("guests", Some(10), false)]), ("wan", vec![on("wan", None, true)])]
    );
    assert!(snapshot.interface("wan").unwrap().addresses.is_empty(), "nothing is lent yet");
    assert!(of(&snapshot, "main").contains(&"172.16.10.0/24 guests".to_owned()));
    refused("add VLAN v Ethernet=lan VLANID=10 IP=10.0.0.1 Network=10.0.0.0/8", "lan is a host port");
    let twice = format!("{OWNED}add VLAN again Ethernet=lan VLANID=10 DHCPEnabled=Yes");
    let problems = compile_text(&twice, &cards()).unwrap_err();
    assert!(errors(&problems)[0].contains("guests is VLAN 10 on lan already"), "{problems:#?}");
}

#[test]
fn a_card_and_a_vlan_keep_what_they_are_given_although_the_host_has_it_too() {
    let mut hosts = cards();
    hosts[0].addresses.push((address("172.16.1.1"), 24));
    hosts[0].leases.push(Lease {
        vlan: Some(10),
        address: "172.16.10.1".parse().unwrap(),
        prefix: 24,
        gateway: None,
        dns: Vec::new(),
    });
    let (tree, snapshot, problems) = owned("add IP4Group g Members=lan_ip,lan_net\n", &hosts);
    let [warning] = &warnings(&problems)[..] else { panic!("{problems:#?}") };
    assert!(warning.contains("the kernel has the address 172.16.1.1"), "{warning}");
    assert_eq!(snapshot.interface("lan").unwrap().addresses, [(address("172.16.1.1"), 24)]);
    let written = schema::text(&tree);
    assert!(written.contains("add Ethernet lan IP=172.16.1.1 Network=172.16.1.0/24 Port=Packet"), "{written}");

    // The same by commands, while the kernel's address and the lease are in effect.
    let asked = "add VLAN guests Ethernet=lan VLANID=10 DHCPEnabled=Yes\nset Ethernet lan Port=Packet\n";
    let mut workspace = Workspace::new(load(asked, &hosts).0);
    for line in [
        "set Ethernet lan IP=172.16.1.1 Network=172.16.1.0/24",
        "set VLAN guests DHCPEnabled=No IP=172.16.10.1 Network=172.16.10.0/24",
    ] {
        let command = &lex::commands(line)[0];
        let reply = schema::execute(&mut workspace, &mut Context::default(), command).unwrap();
        assert!(reply.done, "{:#?}", reply.problems);
    }
    workspace.activate();
    let (snapshot, _) = compile(workspace.active(), &hosts).unwrap();
    assert_eq!(snapshot.interface("lan").unwrap().addresses, [(address("172.16.1.1"), 24)]);
    assert_eq!(snapshot.interface("guests").unwrap().addresses, [(address("172.16.10.1"), 24)]);
}

#[test]
fn what_a_dhcp_server_lends_is_the_interfaces_own() {
    let mut hosts = cards();
    hosts[1].leases.push(Lease {
        vlan: None,
        address: "203.0.113.50".parse().unwrap(),
        prefix: 24,
        gateway: Some("203.0.113.1".parse().unwrap()),
        dns: vec!["203.0.113.2".parse().unwrap()],
    });
    let (tree, snapshot, problems) = owned("add IP4Group g Members=wan_ip,wan_net,wan_gw,wan_dns1\n", &hosts);
    assert!(problems.is_empty(), "{problems:#?}");
    assert_eq!(snapshot.interface("wan").unwrap().addresses, [(address("203.0.113.50"), 24)]);
    assert!(of(&snapshot, "main").contains(&"203.0.113.50 core".to_owned()));
    let default = snapshot.main_routes().iter().find(|route| route.network == IpRange::ALL_V4).unwrap();
    assert_eq!(default.gateway, Some(address("203.0.113.1")));
    assert!(!schema::text(&tree).contains("203.0.113.50"), "what is lent is not written down");
    let both = compile_text("add Ethernet wan Port=Packet DHCPEnabled=Yes IP=10.0.0.1", &hosts).unwrap_err();
    assert!(errors(&both)[0].contains("is to be asked for by DHCP"), "{both:#?}");
}

#[test]
fn the_gateway_answers_arp_for_what_is_published_and_for_networks_behind_it() {
    let more = "add EthernetAddress printer Address=02:00:5E:00:00:01\n\
                add ARPND Interface=lan IP=172.16.1.50-172.16.1.59\n\
                add ARPND Mode=XPublish Interface=wan IP=203.0.113.9 MACAddress=printer\n\
                add ARPND Mode=Static Interface=guests IP=172.16.10.7 MACAddress=02-00-5e-00-00-07\n\
                add PSK key Type=HEX PSKHex=00112233445566778899aabbccddeeff\n\
                add IPsecTunnel t LocalNetwork=172.16.1.0/25 RemoteNetwork=172.16.1.128/25 RemoteEndpoint=203.0.113.77 \
                PSK=key ProxyARPInterfaces=lan\n\
                add NATPool pool IPRange=203.0.113.20-203.0.113.29 ProxyARPInterfaces=wan\n";
    let (_, snapshot, _) = owned(more, &cards());
    let id = |name: &str| snapshot.interface(name).unwrap().id;
    let published: Vec<_> = snapshot.link.publish.iter().map(|p| (p.interface, p.mac, p.from_it)).collect();
    assert_eq!(published, [(id("lan"), None, false), (id("wan"), Some([2, 0, 0x5e, 0, 0, 1]), true)]);
    assert_eq!(snapshot.link.statics[0].address, address("172.16.10.7"));
    let proxies: Vec<_> = snapshot.proxies(&Conditions::default());
    let told: Vec<_> = proxies.iter().map(|proxy| (proxy.interface, proxy.ranges[0].to_string())).collect();
    assert_eq!(told, [(id("lan"), "172.16.1.128/25".to_owned()), (id("wan"), "203.0.113.20-203.0.113.29".to_owned())]);
    refused(&format!("{OWNED}add ARPND Mode=Static Interface=lan IP=172.16.1.7"), "which hardware address");
    warned("add ARPND Interface=lan IP=172.16.1.7", "on lan the kernel answers ARP");
}

#[test]
fn clients_bring_routes_with_them() {
    let (snapshot, _) =
        snapshot(&tunnel("AddRouteToRemoteNet=Yes AutoInterfaceNetworkRoute=No SetupSAPer=Host Metric=70"));
    let tunnel = snapshot.tunnel("t").unwrap();
    assert_eq!(tunnel.sa_per, SaPer::Host);
    let dynamic = tunnel.dynamic_routes.as_ref().unwrap();
    let (table, route) = dynamic.route(tunnel.id, IpRange::host(address("192.168.11.9"))).unwrap();
    assert_eq!((table, route.metric, route.interface), (TableId::MAIN, 70, tunnel.id.interface()));
    let conditions = Conditions { routes: vec![(table, route.clone())], ..Conditions::default() };
    assert_eq!(conditions.routes_of(&snapshot.tables[0]).last(), Some(&route));
    warned(&self::tunnel("AddRouteToRemoteNet=Yes"), "routed to the tunnel already");
}

#[test]
fn a_host_name_fits_what_it_resolves_to_and_nothing_before() {
    let text = format!(
        "add FQDNAddress www Address=WWW.Example.com.\nadd FQDNAddress ftp Address=ftp.example.com\n\
         add FQDNGroup servers Members=www,ftp\n{}",
        policy("").replace("DestinationNetwork=all-nets", "DestinationNetwork=servers")
    );
    let (snapshot, _) = snapshot(&text);
    assert_eq!(snapshot.names(), ["ftp.example.com", "www.example.com"]);
    let networks = &snapshot.policies[0].destination_network;
    let mut conditions = Conditions::default();
    assert!(networks.resolved(&conditions.names).is_empty());
    conditions.names.insert("www.example.com".to_owned(), vec![address("198.51.100.80"), address("2001:db8::80")]);
    assert_eq!(networks.resolved(&conditions.names).len(), 2);
    refused("add FQDNAddress x Address=10.0.0.1", "expected a host name");
    refused("add FQDNAddress x Address=-a.example", "expected a host name");
    refused(
        &format!("add FQDNAddress n Address=a.example\n{}", tunnel("").replace("192.168.11.0/24", "n")),
        "n is a FQDNAddress; expected",
    );
}

#[test]
fn a_group_may_leave_some_addresses_out() {
    let text = format!(
        "add IP4Address all Address=172.16.1.0/24\nadd IP4Address boss Address=172.16.1.9\n\
         add IP4Group staff Members=all ExcludedMembers=boss\n{}",
        policy("").replace("SourceNetwork=172.16.1.0/24", "SourceNetwork=staff")
    );
    let ranges: Vec<String> =
        snapshot(&text).0.policies[0].source_network.ranges.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["172.16.1.0/29-172.16.1.8", "172.16.1.10-172.16.1.255"].map(|r| r.replace("/29", "")));
    refused(&text.replace("ExcludedMembers=boss", "ExcludedMembers=all"), "comes to no address at all");
}

#[test]
fn a_policy_with_a_schedule_is_in_force_at_its_hours_of_local_time() {
    let text = format!(
        "add ScheduleProfile office Mon=8-17 Tue=8-17\nset DateTime UTCOffset=+02:00\n{}",
        policy("Schedule=office")
    );
    let (snapshot, _) = snapshot(&text);
    let policy = &snapshot.policies[0];
    let at = |unix_seconds| Conditions { unix_seconds, ..Conditions::default() };
    let in_force = |unix| at(unix).in_force(policy.schedule.as_ref(), snapshot.settings.utc_offset);
    // Monday, 3 June 2024, 06:30 in UTC.
    assert!(in_force(Some(1_717_396_200)));
    assert!(!in_force(Some(1_717_396_200 - 3600)), "7:30");
    assert!(!in_force(Some(1_717_396_200 + 2 * 86_400)), "a Wednesday");
    assert!(!in_force(None), "the time is not known");
    assert_eq!(snapshot.schedules().len(), 1);
    refused("add ScheduleProfile x StartDate=tomorrow", "expected a date");
    refused("add ScheduleProfile x StartDate=2026-01-02 EndDate=2026-01-01", "ends before it begins");
    refused("set DateTime UTCOffset=CET", "expected hours and minutes");
}

#[test]
fn a_service_may_have_time_outs_of_its_own() {
    let service =
        "add ServiceTCPUDP slow DestinationPorts=9000 CustomTimeouts=Yes InitialTimeout=5 IdleTimeout=86400\n";
    let (snapshot, _) = snapshot(&format!("{service}{}", policy("").replace("Service=http", "Service=slow")));
    let timeouts = snapshot.policies[0].service.timeouts;
    let seconds = base::Duration::from_secs;
    assert_eq!((timeouts.initial, timeouts.idle, timeouts.closing), (Some(seconds(5)), Some(seconds(86_400)), None));
}

#[test]
fn settings_of_the_packet_path_reach_the_snapshot() {
    let text = "set StateSettings ConnReplace=Drop\nset TCPSettings TCPMSSMax=1400 TCPMSSAutoClamping=No\n\
                set IPSettings StripDF=0\nset ConnTimeoutSettings UDPBidirectionalKeepAlive=Yes ConnLife_IGMP=20\n\
                set IPsecTunnelSettings IPsecBeforeRules=No";
    let settings = snapshot(text).0.settings;
    assert_eq!((settings.when_full, settings.tcp_mss_max, settings.tcp_mss_auto), (WhenFull::Drop, 1400, false));
    assert_eq!((settings.strip_df_max, settings.timeouts.udp_both_ways), (0, true));
    assert_eq!(settings.timeouts.igmp, base::Duration::from_secs(20));
    assert!(!settings.ipsec.before_rules);
}
