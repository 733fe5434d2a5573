//! The guide's examples as printed, the project's own, and what a configuration promises as a whole.

mod firewall;
mod unwise;

use std::net::IpAddr;

use base::IpRange;
use crypto::{Encryption, Group, Integrity};
use schema::{Context, Problem, Workspace, lex};

use crate::snapshot::*;
use crate::{compile, compile_text, load, tree};

/// The commands of the guide's examples 10.1 and 10.2, with prompts, as they are copied from it.
const EXAMPLES_10_1_AND_10_2: &str = "\
Device:/>
add IPsecAlgorithms esp-l2tptunnel
DES3Enabled=Yes
AESEnabled=Yes
SHA256Enabled=Yes
SHA512Enabled=Yes
Device:/>
set Interface IPsecTunnel MyIPsecTunnel
IPsecAlgorithms=esp-l2tptunnel
Device:/>
add PSK MyPSK Type=HEX PSKHex=00112233445566778899aabbccddeeff
Device:/>
set Interface IPsecTunnel MyIPsecTunnel PSK=MyPSK
";

/// The commands of the guide's example 10.3, typing error included.
const EXAMPLE_10_3: &str = "\
Device:/>
add PSK my_scecret_key Type=ASCII PSKascii=somesecretasciikey
Device:/>
add Interface IPsecTunnel ipsec_hq_to_branch
LocalNetwork=172.16.1.0/24
RemoteNetwork=192.168.11.0/24
RemoteEndpoint=203.0.113.1
PSK=my_secret_key
Device:/>
add IPPolicy Name=hq_to_branch
SourceInterface=lan
SourceNetwork=172.16.1.0/24
DestinationInterface=ipsec_hq_to_branch
DestinationNetwork=192.168.11.0/24
Service=all_services
Action=Allow
Device:/>
add IPPolicy Name=branch_to_hq
SourceInterface=ipsec_hq_to_branch
SourceNetwork=192.168.11.0/24
DestinationInterface=lan
DestinationNetwork=172.16.1.0/24
Service=all_services
Action=Allow
Device:/>
cc RoutingTable main
Device:/main>
add Route
Interface=ipsec_hq_to_branch
Network=192.168.11.0/24
Device:/main>
ccDevice:/>
";

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn host(name: &str, own: &str, prefix: u8, gateway: Option<&str>) -> HostInterface {
    HostInterface {
        name: name.to_owned(),
        addresses: vec![(address(own), prefix)],
        mtu: 1500,
        gateways: gateway.map(address).into_iter().collect(),
        leases: Vec::new(),
    }
}

fn head_office() -> Vec<HostInterface> {
    vec![host("lan", "172.16.1.1", 24, None), host("wan", "198.51.100.1", 24, Some("198.51.100.254"))]
}

fn errors(problems: &[Problem]) -> Vec<String> {
    problems.iter().filter(|problem| problem.is_error()).map(ToString::to_string).collect()
}

fn warnings(problems: &[Problem]) -> Vec<String> {
    problems.iter().filter(|problem| !problem.is_error()).map(ToString::to_string).collect()
}

#[track_caller]
fn snapshot(text: &str) -> (Snapshot, Vec<Problem>) {
    match compile_text(text, &head_office()) {
        Ok((_, snapshot, warnings)) => (snapshot, warnings),
        Err(problems) => panic!("{problems:#?}"),
    }
}

#[track_caller]
fn refused(text: &str, part: &str) {
    let problems = compile_text(text, &head_office()).expect_err("the configuration was accepted");
    let errors = errors(&problems);
    assert!(errors.iter().any(|error| error.contains(part)), "no error says \"{part}\": {errors:#?}");
}

#[track_caller]
fn warned(text: &str, part: &str) {
    let (_, problems) = snapshot(text);
    let warnings = warnings(&problems);
    assert!(warnings.iter().any(|warning| warning.contains(part)), "no warning says \"{part}\": {warnings:#?}");
}

/// A tunnel that is right, with more properties or lines behind.
fn tunnel(more: &str) -> String {
    format!(
        "add PSK key Type=HEX PSKHex=00112233445566778899aabbccddeeff\nadd IPsecTunnel t LocalNetwork=172.16.1.0/24 \
         RemoteNetwork=192.168.11.0/24 RemoteEndpoint=203.0.113.1 PSK=key {more}\n"
    )
}

#[test]
fn a_network_written_with_an_address_inside_it_is_told() {
    let text = tunnel("").replace("172.16.1.0/24", "172.16.1.5/24");
    warned(&text, "172.16.1.5/24 stands for all of 172.16.1.0/24");
    let (_, problems) = snapshot(&tunnel(""));
    assert!(warnings(&problems).iter().all(|warning| !warning.contains("stands for")), "{problems:#?}");
}

#[test]
fn the_guides_typing_error_is_reported_with_the_near_name() {
    let (_, problems) = load(EXAMPLE_10_3, &head_office());
    let errors = errors(&problems);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].contains("there is no PSK my_secret_key; did you mean my_scecret_key?"), "{}", errors[0]);
    let problem = problems.iter().find(|problem| problem.is_error()).unwrap();
    let shown = problem.render("guide.adit", EXAMPLE_10_3, |name| crate::registry().is_secret(name));
    assert!(shown.starts_with("guide.adit:8:5: Error: IPsecTunnel ipsec_hq_to_branch, PSK: "), "{shown}");
    assert!(shown.contains("    PSK=my_secret_key\n        ^^^^^^^^^^^^^\n"), "{shown}");
}

#[test]
fn example_10_3_works_as_printed_once_the_typing_error_is_mended() {
    let text = EXAMPLE_10_3.replace("my_scecret_key", "my_secret_key");
    let (snapshot, problems) = snapshot(&text);
    assert_eq!(warnings(&problems).len(), 1, "only the guide's weak key is worth a warning: {problems:#?}");
    let tunnel = snapshot.tunnel("IPSEC_hq_to_branch").unwrap();
    assert_eq!(tunnel.remote_endpoint, RemoteEndpoint::Address(address("203.0.113.1")));
    assert_eq!(tunnel.groups, [Group::Modp2048, Group::Ecp256, Group::Ecp384, Group::Ecp521]);
    assert!(tunnel.pfs_groups.is_empty());
    assert_eq!(tunnel.ike.encryption.first(), Some(&Encryption::AesGcm16(256)));
    assert!(tunnel.ike.encryption.contains(&Encryption::AesCbc(128)));
    assert_eq!(tunnel.ike.integrity, [Integrity::HmacSha2_256_128, Integrity::HmacSha2_512_256]);
    assert!(tunnel.psk.secret.same(b"somesecretasciikey"));
    assert_eq!(tunnel.originator, Some(address("172.16.1.1")), "the interface address within the local network");
    assert_eq!(tunnel.dpd_interval, Some(base::Duration::from_secs(30)));
    let lan = snapshot.interface("lan").unwrap().id;
    assert_eq!(snapshot.policies[0].source_interface, Interfaces::Only(vec![lan]));
    assert_eq!(snapshot.policies[0].destination_interface, Interfaces::Only(vec![tunnel.id.interface()]));
    assert_eq!(snapshot.policies[0].service.matches, [ServiceMatch::Protocol(0, 255)]);
    assert_eq!((snapshot.policies[1].name.as_str(), snapshot.policies[1].index), ("branch_to_hq", 2));
    let to_branch: Vec<_> =
        snapshot.main_routes().iter().filter(|route| route.interface == tunnel.id.interface()).collect();
    let metrics: Vec<_> = to_branch.iter().map(|route| (route.origin, route.metric)).collect();
    assert_eq!(metrics, [(RouteOrigin::Tunnel, 90), (RouteOrigin::Configured, 100)]);
    let default = snapshot.main_routes().iter().find(|route| route.network == IpRange::ALL_V4).unwrap();
    assert_eq!((default.gateway, default.metric), (Some(address("198.51.100.254")), 100));
}

#[test]
fn examples_10_1_and_10_2_work_as_printed_on_a_gateway_with_the_tunnel() {
    let before = "add PSK other Type=HEX PSKHex=ffeeddccbbaa99887766554433221100\nadd IPsecTunnel MyIPsecTunnel \
                  LocalNetwork=172.16.1.0/24 RemoteNetwork=10.0.0.0/8 RemoteEndpoint=203.0.113.9 PSK=other\n";
    let (snapshot, problems) = snapshot(&format!("{before}{EXAMPLES_10_1_AND_10_2}"));
    let tunnel = snapshot.tunnel("MyIPsecTunnel").unwrap();
    assert_eq!((tunnel.psk.name.as_str(), tunnel.psk.secret.len()), ("MyPSK", 16));
    assert_eq!(tunnel.esp.name, "esp-l2tptunnel");
    let aes = [256, 192, 128].map(Encryption::AesCbc);
    assert_eq!(tunnel.esp.encryption, [aes.as_slice(), &[Encryption::TripleDes]].concat());
    assert_eq!(tunnel.esp.integrity, [Integrity::HmacSha2_256_128, Integrity::HmacSha2_512_256]);
    assert!(warnings(&problems).iter().any(|warning| warning.contains("3DES")), "{problems:#?}");
}

#[test]
fn example_10_3_pasted_into_the_command_line_is_the_same_as_from_a_file() {
    let text = EXAMPLE_10_3.replace("my_scecret_key", "my_secret_key");
    let mut workspace = Workspace::new(tree(&head_office()));
    let mut context = Context::default();
    for command in lex::commands(&text) {
        let reply = schema::execute(&mut workspace, &mut context, &command).unwrap();
        assert!(reply.done, "{command:?}: {:?}", reply.problems);
    }
    let (typed, _) = compile(&workspace.candidate, &head_office()).unwrap();
    let (filed, _) = snapshot(&text);
    assert_eq!(typed, filed);
}

#[test]
fn the_projects_examples_have_nothing_wrong_but_the_guides_weak_key() {
    for text in [
        include_str!("../../../examples/lan-to-lan/head-office.adit"),
        include_str!("../../../examples/lan-to-lan/branch.adit"),
    ] {
        let (_, snapshot, problems) = compile_text(text, &[]).unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert!(errors(&problems).is_empty());
        let warnings = warnings(&problems);
        assert_eq!(warnings.len(), 1, "{warnings:#?}");
        assert!(warnings[0].contains("characters of text"), "{warnings:#?}");
        assert_eq!((snapshot.tunnels.len(), snapshot.policies.len()), (1, 4));
    }
}

#[test]
fn every_problem_is_reported_not_only_the_first() {
    let text = "\
add PSK key Type=HEX PSKHex=xyz
add IPsecTunel t1
add IPsecTunnel t2 LocalNetwork=172.16.1.0/33 RemoteNetwrok=10.0.0.0/8 PSK=kye IKEVersion=1
add IPPolicy Name=p SourceInterface=lna Service=all_servics Action=Allow
frobnicate
";
    let problems = compile_text(text, &head_office()).unwrap_err();
    let all = errors(&problems).join("\n");
    for part in [
        "hexadecimal digits",
        "there is no object type called IPsecTunel; did you mean IPsecTunnel?",
        "prefix length from 0 to 32",
        "did you mean RemoteNetwork?",
        "there is no PSK kye; did you mean key?",
        "1 is not available in this version",
        "did you mean lan?",
        "did you mean all_services?",
        "SourceNetwork, DestinationInterface, DestinationNetwork",
        "there is no command for a configuration file called frobnicate",
    ] {
        assert!(all.contains(part), "nothing says \"{part}\":\n{all}");
    }
    assert!(problems.iter().all(|problem| problem.position.is_some()), "{problems:#?}");
    assert!(problems.is_sorted_by_key(|problem| problem.position));
}

#[test]
fn what_the_product_has_and_this_version_has_not_is_called_so() {
    refused("add IPRule Action=Allow", "objects of type IPRule are not available in this version");
    let problems = compile_text("add IPRule Action=NAT", &head_office()).unwrap_err();
    assert!(problems[0].to_string().contains("use IPPolicy instead"), "{problems:?}");
    refused("add LANtoLANVPN x", "objects of type LANtoLANVPN are not available in this version");
    refused(&tunnel("XAuth=Off"), "the property XAuth is not available in this version");
    refused(&tunnel("EncapsulationMode=Transport"), "Transport is not available in this version");
    refused(&tunnel("AuthMethod=Certificate"), "Certificate is not available in this version");
    refused(&tunnel("").replace("203.0.113.1", "dns:vpn.example.com"), "not available in this version");
}

#[test]
fn what_does_not_fit_together_is_an_error() {
    refused(&tunnel("AutoEstablish=Yes").replace("203.0.113.1", "203.0.113.0/24"), "when the peer has one address");
    warned(&tunnel("AutoEstablish=Yes SetupSAPer=Host"), "only the IKE SA comes up before");
    refused(&tunnel("").replace("192.168.11.0/24", "192.168.11.0/24,2001:db8::/32"), "mix IPv4 and IPv6");
    refused(&tunnel("").replace("192.168.11.0/24", "2001:db8::/32"), "not of one family");
    refused(&tunnel("LocalEndpoint=2001:db8::1"), "not of one family");
    refused(&tunnel("").replace("203.0.113.1", "198.51.100.1"), "an address of this gateway");
    refused(&tunnel("LocalIDType=DNS"), "required for the following properties: LocalIDValue");
    refused(&tunnel("LocalIDType=Email LocalIDValue=nobody"), "expected a mail address");
    refused(&tunnel("").replace("PSK=key", ""), "required for the following properties: PSK");
    refused(&tunnel("OriginatorIPType=Manual"), "required for the following properties: OriginatorIP");
    refused("add IKEAlgorithms none", "enables no encryption algorithm");
    refused("add IPsecAlgorithms half AESEnabled=Yes", "enables no hash algorithm");
    refused(
        "add IPsecAlgorithms a AESEnabled=Yes SHA256Enabled=Yes AESMinKeySize=256 AESKeySize=128",
        "does not lie between",
    );
    refused(
        "add IP4Group a Members=b\nadd IP4Group b Members=a\nadd IPPolicy p SourceInterface=any SourceNetwork=a DestinationInterface=any DestinationNetwork=all-nets Service=all_services Action=Deny",
        "contains itself",
    );
    refused("add Ethernet lan IP=10.0.0.1 Network=172.16.1.0/24", "does not lie within");
    refused("add IPsecTunnel core LocalNetwork=10.0.0.1 RemoteNetwork=10.0.0.2", "the name core is reserved");
    refused("add IPsecTunnel lan LocalNetwork=10.0.0.1 RemoteNetwork=10.0.0.2", "already an object called lan");
    refused("cc RoutingTable main\nadd Route Interface=any Network=10.0.0.0/8", "leads to one interface");
    refused(
        "cc RoutingTable main\nadd Route Interface=wan Network=10.0.0.0/8 Gateway=2001:db8::1",
        "not of one family",
    );
    refused("add Route Interface=wan Network=10.0.0.0/8", "live in a RoutingTable");
}

#[test]
fn what_is_unwise_is_a_warning() {
    warned(&tunnel("DHGroup=2,14"), "group 2 is weak");
    warned(&tunnel("IKEAlgorithms=Medium"), "the list Medium allows 3DES-CBC and HMAC-SHA1-96");
    warned(&tunnel("IPsecAlgorithms=Medium"), "the list Medium allows 3DES-CBC and HMAC-SHA1-96");
    warned(&tunnel("IPsecLifeTimeSeconds=120"), "under 300");
    warned(&tunnel("IPsecLifeTimeSeconds=30000"), "well below");
    warned(&tunnel("").replace("172.16.1.0/24", "all-nets"), "no originator address");
    warned(&tunnel("").replace("192.168.11.0/24", "203.0.113.0/24"), "the peer's own address");
    warned(&tunnel("LocalEndpoint=198.51.100.77"), "no address of an interface");
    let twice =
        format!("{}{}", tunnel(""), tunnel("").lines().nth(1).unwrap().replace("IPsecTunnel t", "IPsecTunnel u"));
    warned(&twice, "t above has the same endpoints and networks");
    let v6 = tunnel("PlaintextMTU=1000")
        .replace("172.16.1.0/24", "2001:db8:1::/64")
        .replace("192.168.11.0/24", "2001:db8:2::/64");
    warned(&v6, "IPv6 needs 1280");
    warned("add PSK k PSKAscii=short", "5 characters of text");
    warned("add PSK k PSKAscii=0123456789abcdefghij PSKHex=00", "not used while Type is ASCII");
    warned("set IKEAlgorithms High SHA1Enabled=Yes", "SHA1 has weaknesses");
    warned("add Ethernet dmz IP=10.9.9.1 Network=10.9.9.0/24", "this host has no interface called dmz");
    warned(
        &format!(
            "{}set IPsecTunnelSettings IPsecMaxTunnels=1\nadd IPsecTunnel u LocalNetwork=10.0.0.1 RemoteNetwork=10.0.0.2 PSK=key",
            tunnel("")
        ),
        "Disabling IPsec tunnel u",
    );
}

#[test]
fn the_interfaces_of_the_host_and_their_addresses_need_no_declaration() {
    let text = "add IPPolicy p SourceInterface=wan SourceNetwork=wan_net DestinationInterface=core \
                DestinationNetwork=InterfaceAddresses/wan_ip Service=ping-inbound Action=Allow LogEnabled=No";
    let (snapshot, _) = snapshot(text);
    let policy = &snapshot.policies[0];
    assert_eq!(policy.source_network.ranges[0].to_string(), "198.51.100.0/24");
    assert_eq!(policy.destination_network.ranges[0].to_string(), "198.51.100.1");
    assert_eq!(policy.destination_interface, Interfaces::Only(vec![InterfaceId::CORE]));
    assert_eq!(policy.service.matches, [ServiceMatch::Icmp(IcmpTypes::Only(vec![8]))]);
    assert_eq!(policy.log, None);
    let core = snapshot.main_routes().iter().filter(|route| route.origin == RouteOrigin::Core);
    assert!(core.clone().any(|route| route.network.to_string() == "172.16.1.1"));
    assert!(core.clone().any(|route| route.network.to_string() == "224.0.0.0/4"));
}

#[test]
fn a_host_with_ipv6_and_a_gateway_beside_its_network_has_nothing_wrong() {
    let mut wan = host("eth0", "203.0.113.7", 32, Some("172.31.1.1"));
    wan.addresses.extend([(address("2001:db8:1::7"), 64), (address("fe80::1"), 64), (address("203.0.113.8"), 32)]);
    wan.gateways.push(address("fe80::1"));
    let lo = host("lo", "127.0.0.1", 8, None);
    let text = tunnel("").replace("172.16.1.0/24", "eth0_net6").replace("192.168.11.0/24", "2001:db8:2::/64");
    let (_, snapshot, problems) = compile_text(&text, &[lo, wan]).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(problems.is_empty(), "{problems:#?}");
    let own: Vec<String> = snapshot.interfaces[1].addresses.iter().map(|(a, p)| format!("{a}/{p}")).collect();
    assert_eq!(own, ["203.0.113.7/32", "2001:db8:1::7/64", "203.0.113.8/32"]);
    assert_eq!(snapshot.tunnel("t").unwrap().originator, Some(address("2001:db8:1::7")));
    let default: Vec<_> = snapshot.main_routes().iter().filter(|route| route.network == IpRange::ALL_V6).collect();
    assert_eq!(default[0].gateway, Some(address("fe80::1")));
    assert!(snapshot.interface("lo").is_none());
}

#[test]
fn an_ethernet_object_can_stand_for_an_interface_of_another_name() {
    let hosts = [host("enp1s0", "198.51.100.7", 24, Some("198.51.100.254"))];
    let text = "add Ethernet wan EthernetDevice=enp1s0\nadd IP4Group g Members=wan_ip,wan_net,wan_gw";
    let (tree, snapshot, problems) = compile_text(text, &hosts).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(problems.is_empty(), "{problems:#?}");
    let names: Vec<&str> = snapshot.interfaces.iter().map(|interface| interface.name.as_str()).collect();
    assert_eq!(names, ["core", "wan"]);
    assert_eq!(snapshot.interfaces[1].addresses, [(address("198.51.100.7"), 24)]);
    assert_eq!(
        schema::text(&tree),
        "add Ethernet wan EthernetDevice=enp1s0\nadd IP4Group g Members=wan_ip,wan_net,wan_gw\n"
    );
}

#[test]
fn an_unchanged_tunnel_is_equal_in_the_next_snapshot_and_keeps_its_number() {
    let (first, _) = snapshot(&tunnel(""));
    let more = format!(
        "add PSK other Type=HEX PSKHex=0011223344556677\nadd IPsecTunnel a LocalNetwork=10.1.0.0/16 RemoteNetwork=10.2.0.0/16 PSK=other\n{}",
        tunnel("")
    );
    let (second, _) = snapshot(&more);
    assert_eq!(first.tunnel("t"), second.tunnel("T"));
    let (third, _) = snapshot(&tunnel("").replace("ddeeff", "ddeef0"));
    assert_ne!(first.tunnel("t"), third.tunnel("t"), "another key is another tunnel");
    assert_eq!(first.tunnel("t").unwrap().id, third.tunnel("t").unwrap().id);
}

#[test]
fn a_disabled_object_has_no_effect_and_what_needs_it_is_told() {
    let (snapshot, _) = snapshot(&tunnel("-disable"));
    assert!(snapshot.tunnels.is_empty());
    refused(&format!("{}set PSK key -disable", tunnel("")), "PSK key is disabled");
}

#[test]
fn names_and_types_match_without_regard_to_case_and_the_category_may_be_left_out() {
    let text = "ADD psk Key type=hex pskhex=00112233445566778899aabbccddeeff\nadd interface ipsectunnel T \
                localnetwork=LAN_NET remotenetwork=192.168.11.0/24 remoteendpoint=203.0.113.1 psk=KEY\n\
                add EthernetInterface DMZ ip=10.0.0.1 network=10.0.0.0/8";
    let (snapshot, _) = snapshot(text);
    assert_eq!(snapshot.tunnel("t").unwrap().psk.name, "Key");
    assert_eq!(snapshot.interface("dmz").unwrap().name, "DMZ");
}

/// Lines that are right, and lines that are nearly so.
fn lines() -> Vec<Vec<u8>> {
    let more = "show\nset IPPolicy 1 Index=2\ncc ..\nreject -all\nundelete PSK a\nshow -changes\nset IPsecTunnel t -disable\n\
                delete IPsecTunnel t -force\nadd IP4Group g Members= lan_net, wan_net\nadd IP6Address h Address=2001:db8::1-2001:db8::9\n\
                add AddressFolder f\nadd IP4Address f/x Address=10.0.0.1\nset Ethernet lan MTU=1400 Comments=\"a b\"\n\
                set IKEAlgorithms High SHA1Enabled=Yes\nadd ServiceTCPUDP s Type=UDP DestinationPorts=1-5,7\n";
    let tunnel = tunnel("DHGroup=2 Comments=\"a \\\"b\\\"\"");
    let texts = [EXAMPLES_10_1_AND_10_2, EXAMPLE_10_3, &tunnel, more];
    texts.iter().flat_map(|text| text.lines()).map(|line| line.as_bytes().to_vec()).collect()
}

#[test]
fn a_hundred_thousand_damaged_lines_break_neither_file_nor_command_line() {
    let mut inputs = base::Mutations::new(7, lines());
    // Fifty lines make a configuration: what one of them leaves behind, the others meet.
    for case in 0..2_000 {
        let text = inputs.by_ref().take(50).collect::<Vec<_>>().join(&b'\n');
        if case % 2 == 0 { crate::harness::configuration(&text) } else { crate::harness::command_line(&text) }
    }
}

#[test]
fn what_is_written_is_read_back_as_it_was() {
    let mut random = base::Random::numbered(11);
    for _ in 0..200 {
        let text = random_configuration(&mut random);
        let (first, problems) = load(&text, &head_office());
        let written = schema::text(&first);
        let (second, again) = load(&written, &head_office());
        assert_eq!(schema::text(&second), written, "from:\n{text}");
        // Positions differ; what is said does not.
        let said = |problems: &[Problem]| {
            let mut said: Vec<_> = problems.iter().map(ToString::to_string).collect();
            said.sort();
            said
        };
        assert_eq!(said(&again), said(&problems), "from:\n{text}\nwritten:\n{written}");
    }
}

/// Objects of every type with some of their properties, each value of its kind.
fn random_configuration(random: &mut base::Random) -> String {
    use schema::Naming;
    use schema::kind::Kind;
    let mut text = String::from("# made by chance\n\n");
    let pick = |random: &mut base::Random, from: &[&str]| {
        from[usize::try_from(random.below(from.len() as u64)).unwrap()].to_owned()
    };
    for number in 0..20 {
        let types = crate::registry().types;
        let info = types[usize::try_from(random.below(types.len() as u64)).unwrap()];
        let inside = !info.parents.contains(&"");
        text.push_str(if inside { "cc RoutingTable main\n" } else { "" });
        text.push_str(if info.parents == ["Route"] { "add Route Interface=lan\ncc Route 1\n" } else { "" });
        text.push_str(if info.naming == Naming::Single { "set " } else { "add " });
        text.push_str(info.name);
        if info.naming == Naming::Named || (info.naming == Naming::Optional && random.chance(1, 2)) {
            text.push_str(&format!(" object-{number}"));
        }
        text.push_str(if random.chance(1, 5) && info.naming != Naming::Single { " -disable" } else { "" });
        for property in info.properties {
            if !random.chance(1, 2) || text.contains(&format!("{} {}=", info.name, property.name)) {
                continue;
            }
            let words: Vec<String> = property.kind.words().into_iter().map(|(word, _)| word).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let value = match property.kind {
                Kind::Bool | Kind::Choice { .. } | Kind::Numbers { .. } => pick(random, &words),
                Kind::Integer { min, max } => (min + random.below(max - min)).to_string(),
                Kind::Text | Kind::SecretText => {
                    pick(random, &["plain", "two words", "a \"quote\"", "back\\slash", "#x", "-x", "a=b"])
                }
                Kind::SecretHex => pick(random, &["00ff", "0123456789ABCDEF"]),
                Kind::Reference { .. } => pick(random, &["High", "object-1", "all_services", "lan", "all-nets"]),
                Kind::Addresses { .. } => {
                    pick(random, &["10.0.0.1", "10.0.0.0/8, object-2", "10.0.0.1-10.0.0.3", "lan_ip", "2001:db8::1"])
                }
                Kind::Hardware { .. } => pick(random, &["02-00-5e-10-00-01", "02:00:5E:10:00:02", "object-3"]),
                Kind::Ranges { .. } => pick(random, &["1", "1-5, 7"]),
            };
            text.push_str(&format!(" {}={}", property.name, lex::quote(&value)));
        }
        text.push_str(if inside { "\ncc\n" } else { "\n" });
    }
    text
}
