//! What is right object by object and does not work together.

use super::*;

const CARDS: &str = "add Ethernet lan Port=Packet IP=172.16.1.1 Network=172.16.1.0/24\n\
                     add Ethernet wan Port=Packet IP=198.51.100.1 Network=198.51.100.0/24\n";

fn says(error: bool, more: &str, part: &str) {
    let hosts: Vec<HostInterface> = ["lan", "wan"]
        .map(|name| HostInterface { name: name.to_owned(), mtu: 1500, ..HostInterface::default() })
        .into();
    let (failed, problems) = match compile_text(&format!("{CARDS}{more}"), &hosts) {
        Ok((_, _, problems)) => (false, problems),
        Err(problems) => (true, problems),
    };
    assert_eq!(failed, error, "{more}: {problems:#?}");
    let told = problems.iter().any(|problem| problem.to_string().contains(part));
    assert_eq!(told, !part.is_empty(), "{more}: {problems:#?}");
    assert!(!part.is_empty() || problems.is_empty(), "{more}: {problems:#?}");
}

fn policy(more: &str) -> String {
    format!("add IPPolicy p SourceNetwork=all-nets Service=http Action=Allow {more}")
}

#[test]
fn a_card_and_an_address_have_one_owner() {
    let twice = "add Ethernet again EthernetDevice=lan Port=Packet IP=10.1.1.1 Network=10.1.1.0/24";
    says(true, twice, "lan is the network card of lan already");
    let vlan = "add VLAN v Ethernet=lan VLANID=3 IP=198.51.100.1 Network=198.51.100.0/24";
    says(true, vlan, "198.51.100.1 is the address of wan already");
    let apart = format!(
        "add RoutingTable a\nadd RoutingTable b\nset Ethernet wan MemberOfRoutingTable=Specific RoutingTable=a\n{vlan} MemberOfRoutingTable=Specific RoutingTable=b"
    );
    says(false, &apart, "");
    says(true, "set Ethernet lan MACAddress=01-00-5e-00-00-01", "a group of stations");
}

#[test]
fn a_policy_for_a_server_at_the_gateways_address_names_core() {
    let sat = "SourceInterface=wan DestAddressTranslation=SAT DestNewIP=172.16.1.10 DestinationNetwork=";
    says(false, &policy(&format!("{sat}wan_ip DestinationInterface=lan")), "is the gateway's own, which is core");
    says(false, &policy(&format!("{sat}wan_ip DestinationInterface=core")), "");
    let other = policy(&format!("{sat}198.51.100.50 DestinationInterface=core"));
    says(false, &other, "no route leads 198.51.100.50 to core");
    says(false, &format!("{other}\ncc RoutingTable main\nadd Route Interface=core Network=198.51.100.50"), "");
}

#[test]
fn answers_come_back_only_to_an_address_that_somebody_answers_for() {
    let nat = policy(
        "SourceInterface=lan DestinationInterface=wan DestinationNetwork=all-nets SourceAddressTranslation=NAT \
         NATSourceAddressAction=SpecifySenderAddress NATSenderAddress=198.51.100.77",
    );
    says(false, &nat, "nobody answers ARP for 198.51.100.77 on wan");
    says(false, &format!("{nat}\nadd ARPND Interface=wan IP=198.51.100.77"), "");
    says(false, &nat.replace("198.51.100.77", "198.51.100.1"), "");
    says(false, &nat.replace("198.51.100.77", "192.0.2.77"), "");
}

#[test]
fn a_route_has_a_gateway_that_its_interface_reaches_and_hosts_that_are_watched() {
    let route = |more: &str| format!("cc RoutingTable main\nadd Route Interface=wan Network=10.0.0.0/8 {more}");
    says(false, &route("Gateway=10.9.9.9"), "10.9.9.9 lies in no network of wan");
    says(true, &route("Gateway=198.51.100.1"), "the gateway's own address on wan");
    says(false, &route("Gateway=198.51.100.2"), "");
    let hosts = "\ncc Route 1\nadd MonitoredHost IPAddress=10.1.1.1";
    says(false, &(route("Gateway=198.51.100.2") + hosts), "is not watched by hosts");
}
