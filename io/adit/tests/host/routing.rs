//! What the kernel does with packets for and from a tunnel's network, whatever happens to the gateway. The kernel itself
//! is asked: it says where it would send a packet that comes in at an interface.

use crate::bench::{Host, example, text, wait_until};

/// Where a packet from a host in the LAN to the branch goes: a device, or the refusal.
fn way_to_branch(host: &Host) -> String {
    text(&host.exec("ip", &["route", "get", "192.168.11.10", "from", "172.16.1.10", "iif", "lan"]))
}

fn leads_to_tunnel(host: &Host) -> bool {
    way_to_branch(host).contains("dev adit0")
}

fn assert_refused(host: &Host) {
    assert_eq!(switch(host, "net.ipv4.ip_forward"), "1", "without forwarding this proves nothing");
    let way = way_to_branch(host);
    assert!(!way.contains("dev "), "{way}");
}

pub fn switch(host: &Host, name: &str) -> String {
    text(&host.exec("cat", &[&switch_path(name)])).trim().to_owned()
}

fn set_switch(host: &Host, name: &str, value: &str) {
    let line = format!("echo {value} > {}", switch_path(name));
    assert!(host.exec("sh", &["-c", &line]).status.success());
}

fn switch_path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

fn configuration(host: &Host) -> String {
    host.folder.write("head-office.adit", &std::fs::read_to_string(example("head-office.adit")).unwrap())
}

pub fn a_killed_gateway_leaves_its_networks_unreachable_until_the_next_one_takes_over() {
    let host = Host::new();
    let configuration = configuration(&host);
    let daemon = host.start(&configuration);
    assert!(leads_to_tunnel(&host));
    daemon.kill();
    assert_refused(&host);
    let daemon = host.start(&configuration);
    assert!(leads_to_tunnel(&host));
    assert_eq!(host.own_routes().matches("unreachable 192.168.11.0/24").count(), 1);
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(host.own_routes(), "");
}

pub fn a_next_gateway_without_the_tunnel_opens_what_a_killed_one_left_shut() {
    let host = Host::new();
    host.start(&configuration(&host)).kill();
    assert!(host.own_routes().contains("unreachable 192.168.11.0/24"));
    let _daemon = host.start(&host.folder.write("empty.adit", ""));
    assert_eq!(host.own_routes(), "");
}

pub fn a_tun_device_that_is_down_leaves_its_networks_unreachable() {
    let host = Host::new();
    let _daemon = host.start(&configuration(&host));
    assert!(leads_to_tunnel(&host));
    host.ip("link set adit0 down");
    assert_refused(&host);
    host.ip("link set adit0 up");
    wait_until("the route is back", || leads_to_tunnel(&host));
}

pub fn without_its_source_address_a_network_leads_to_the_tunnel_or_nowhere() {
    let host = Host::new();
    let _daemon = host.start(&configuration(&host));
    wait_until("the route has its source", || host.own_routes().contains("src 172.16.1.1"));
    // With a network of its own, or it would go with the other.
    host.ip("addr add 172.16.1.7/25 dev lan");
    host.ip("addr del 172.16.1.1/24 dev lan");
    let way = way_to_branch(&host);
    assert!(!way.contains("dev wan"), "{way}");
    wait_until("the route is back", || leads_to_tunnel(&host));
}

pub fn a_lost_route_comes_back_while_the_hosts_other_routes_never_rest() {
    let host = Host::new();
    let _daemon = host.start(&configuration(&host));
    assert!(leads_to_tunnel(&host));
    let restless = "while :; do ip route add 10.77.0.0/16 dev lan; ip route del 10.77.0.0/16 dev lan; done";
    let mut routing_daemon = host.spawn("sh", &["-c", restless]);
    host.ip("route del 192.168.11.0/24 dev adit0");
    assert_refused(&host);
    wait_until("the route is back", || leads_to_tunnel(&host));
    assert!(routing_daemon.is_running());
}

/// Without a check of sources, whatever the distribution's own setting is.
fn believe_everybody(host: &Host) {
    for interface in ["all", "lan", "wan"] {
        set_switch(host, &format!("net.ipv4.conf.{interface}.rp_filter"), "0");
    }
}

/// What the kernel does with a packet that comes in at an interface.
fn route(host: &Host, from: &str, to: &str, interface: &str) -> String {
    text(&host.exec("ip", &["route", "get", to, "from", from, "iif", interface]))
}

pub fn who_claims_to_be_behind_a_tunnel_or_in_the_lan_is_not_believed_on_the_wan() {
    let host = Host::new();
    believe_everybody(&host);
    set_switch(&host, "net.ipv4.ip_forward", "1");
    let as_branch = || route(&host, "192.168.11.10", "172.16.1.10", "wan");
    let as_lan = || route(&host, "172.16.1.10", "192.168.11.10", "wan");
    assert!(as_branch().contains("dev lan") && as_lan().contains("dev wan"), "{}{}", as_branch(), as_lan());
    let daemon = host.start(&configuration(&host));
    assert!(leads_to_tunnel(&host));
    assert!(!as_branch().contains("dev ") && !as_lan().contains("dev "), "{}{}", as_branch(), as_lan());
    let out_of_the_tunnel = route(&host, "192.168.11.10", "172.16.1.10", "adit0");
    assert!(out_of_the_tunnel.contains("dev lan"), "{out_of_the_tunnel}");
    assert!(daemon.log().contains("event=source_check_enabled"), "{}", daemon.log());
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(switch(&host, "net.ipv4.conf.all.rp_filter"), "0");
}

pub fn a_loose_check_of_sources_is_left_and_told() {
    let host = Host::new();
    believe_everybody(&host);
    set_switch(&host, "net.ipv4.conf.wan.rp_filter", "2");
    let daemon = host.start(&configuration(&host));
    assert_eq!(switch(&host, "net.ipv4.conf.wan.rp_filter"), "2");
    assert!(daemon.log().contains("event=source_check_loose action=none interfaces=wan\n"), "{}", daemon.log());
}

pub fn after_a_kill_the_next_gateway_gives_the_host_its_own_settings_back() {
    let host = Host::new();
    believe_everybody(&host);
    let configuration = configuration(&host);
    let settings = || ["net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter"].map(|name| switch(&host, name));
    assert_eq!(settings(), ["0", "0"]);
    host.start(&configuration).kill();
    assert_eq!(settings(), ["1", "1"]);
    let daemon = host.start(&configuration);
    assert!(daemon.log().contains("event=sysctls_taken_over action=none sysctls=2"), "{}", daemon.log());
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(settings(), ["0", "0"]);
    assert!(!std::fs::exists(host.folder.file("control.sysctls")).unwrap());
}

pub fn what_the_administrator_sets_meanwhile_stays() {
    let host = Host::new();
    believe_everybody(&host);
    let daemon = host.start(&configuration(&host));
    set_switch(&host, "net.ipv4.conf.all.rp_filter", "2");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_eq!(switch(&host, "net.ipv4.conf.all.rp_filter"), "2");
    assert_eq!(switch(&host, "net.ipv4.ip_forward"), "0");
}
