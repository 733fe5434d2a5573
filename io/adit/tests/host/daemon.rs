//! Daemons on hosts of their own.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use crate::bench::{Host, adit, example, text, wait_until};

fn head_office(host: &Host) -> String {
    host.folder.write("head-office.adit", &fs::read_to_string(example("head-office.adit")).unwrap())
}

pub fn two_daemons_carry_traffic_through_a_tunnel() {
    let output = adit(&["demo", "--netns"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("head office (172.16.1.10) pings branch (192.168.11.10): 4 of 4 answered"), "{said}");
    assert!(said.contains("branch (192.168.11.10) pings head office (172.16.1.10): 4 of 4 answered"), "{said}");
    assert_eq!(said.matches(" as sent\n").count(), 2, "{said}");
    assert!(said.contains(" 0 packets in clear text") && !said.contains(" 1 packets in clear text"), "{said}");
    assert!(said.contains("IKE_SA_INIT request 0") && said.contains("IKE_AUTH response 1"), "{said}");
}

pub fn sigterm_removes_tun_routes_and_control_socket() {
    let host = Host::new();
    let daemon = host.start(&head_office(&host));
    assert!(host.has_tun());
    wait_until("the route is there", || host.own_routes().contains("192.168.11.0/24 dev adit0"));
    let forwarding = || text(&host.exec("cat", &["/proc/sys/net/ipv4/ip_forward"])).trim().to_owned();
    assert_eq!(forwarding(), "1");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(!host.has_tun());
    assert_eq!(host.own_routes(), "");
    assert_eq!(forwarding(), "0");
    assert!(!fs::exists(host.control()).unwrap());
}

pub fn a_start_after_a_kill_clears_away_what_was_left() {
    let host = Host::new();
    let configuration = head_office(&host);
    host.start(&configuration).kill();
    // The kernel has taken the TUN device and its routes along; this one stands for a route over another interface.
    host.ip("route add 10.9.0.0/16 dev lan proto 86");
    assert!(fs::exists(host.control()).unwrap());
    let daemon = host.start(&configuration);
    assert!(daemon.log().contains("event=stale_routes_removed action=remove routes=1"), "{}", daemon.log());
    wait_until("only the tunnel's route is there", || {
        let routes = host.own_routes();
        routes.contains("192.168.11.0/24") && !routes.contains("10.9.0.0/16")
    });
    assert!(host.cli(&["show"]).status.success());
}

pub fn a_second_gateway_on_the_same_host_leaves_the_first_alone() {
    let host = Host::new();
    let configuration = head_office(&host);
    let mut first = host.start(&configuration);
    let second = |control: &str| {
        let output = host.exec(env!("CARGO_BIN_EXE_adit"), &["run", &configuration, "--control", control]);
        assert_eq!(output.status.code(), Some(1));
        text(&output)
    };
    assert!(second(&host.control()).contains("a gateway runs already with the control socket"));
    assert!(second(&host.folder.file("other.sock")).contains("UDP port 500 is taken"));
    assert!(!fs::exists(host.folder.file("other.sock")).unwrap());
    assert!(first.is_running() && host.own_routes().contains("192.168.11.0/24"));
    assert!(host.cli(&["routes"]).status.success());
}

pub fn commands_end_with_a_status() {
    let host = Host::new();
    let _daemon = host.start(&head_office(&host));
    assert_eq!(host.cli(&["show", "IPsecTunnel"]).status.code(), Some(0));
    assert_eq!(host.cli(&["show", "IPsecTunnel", "nobody"]).status.code(), Some(1));
    assert_eq!(host.cli(&["frobnicate"]).status.code(), Some(1));
    let output = host.cli(&["set", "IPsecTunnel", "ipsec_hq_to_branch", "Comments=two words"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&host.cli(&["show", "IPsecTunnel", "ipsec_hq_to_branch"])).contains("two words"));
}

pub fn a_committed_configuration_survives_a_kill() {
    let host = Host::new();
    let configuration = head_office(&host);
    let daemon = host.start(&configuration);
    for command in [["add", "IP4Address", "server", "Address=172.16.1.80"].as_slice(), &["activate"], &["commit"]] {
        let output = host.cli(command);
        assert!(output.status.success(), "{command:?}: {}", text(&output));
    }
    wait_until("it is on the disk", || daemon.log().contains("event=configuration_stored"));
    daemon.kill();
    assert!(fs::read_to_string(&configuration).unwrap().contains("172.16.1.80"));
    let _daemon = host.start(&configuration);
    assert!(text(&host.cli(&["show", "IP4Address", "server"])).contains("172.16.1.80"));
}

pub fn an_address_that_comes_later_is_noticed() {
    let host = Host::new();
    let _daemon = host.start(&head_office(&host));
    let has_core_route = || text(&host.cli(&["routes", "-all", "-num=all"])).contains("10.20.30.1");
    assert!(!has_core_route());
    host.ip("link add later type veth peer name later-end");
    host.ip("link set later up");
    host.ip("addr add 10.20.30.1/24 dev later");
    wait_until("the gateway knows its new address", has_core_route);
}

pub fn every_thread_keeps_only_the_capabilities_it_needs() {
    let host = Host::new();
    let daemon = host.start(&head_office(&host));
    let threads = || -> BTreeSet<[String; 4]> {
        let ids = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        let statuses = ids.map(|id| fs::read_to_string(id.unwrap().path().join("status")).unwrap());
        let of = |status: String| {
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
            // As many as there are cores, and names to ask for: "worker 1", "resolve-0".
            let name = field("Name:").trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ' || c == '-').to_owned();
            [name, field("CapEff:"), field("CapPrm:"), field("NoNewPrivs:")]
        };
        statuses.map(of).collect()
    };
    let held = |name: &str| match name {
        // CAP_NET_ADMIN is 12: routes, cards. CAP_NET_RAW is 13: frames, probes.
        "adit" | "worker" | "probe" => "0000000000003000",
        _ => "0000000000000000",
    };
    let expected: BTreeSet<[String; 4]> = ["adit", "log", "probe", "resolve", "store", "worker"]
        .map(|name| [name, held(name), held(name), "1"].map(ToOwned::to_owned))
        .into();
    // A thread gives up as it begins.
    wait_until(&format!("the threads are {expected:?}"), || threads() == expected);
}

pub fn a_paste_whose_answers_are_large_is_answered_in_full() {
    let host = Host::new();
    let _daemon = host.start(&head_office(&host));
    let one = host.cli(&["help"]).stdout.len();
    let count = (10 << 20) / one;
    let output = host.cli(&[&"help\n".repeat(count)]);
    assert!(output.status.success() && output.stdout.len() == one * count, "{}", output.stdout.len());
}

pub fn a_peer_that_does_not_answer_delays_the_end_by_seconds_only() {
    let host = Host::new();
    let daemon = host.start(&head_office(&host));
    // A negotiation with nobody is under way.
    host.exec("ping", &["-c1", "-W1", "192.168.11.10"]);
    let asked = Instant::now();
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
}

pub fn a_log_that_nobody_reads_stops_neither_the_gateway_nor_its_end() {
    let host = Host::new();
    let (daemon, _log) = host.start_into_a_pipe(&head_office(&host));
    // Each is a line; a pipe holds 64 KiB.
    for _ in 0..100 {
        for _ in 0..10 {
            daemon.hang_up();
        }
        assert!(host.cli(&["routes"]).status.success());
    }
    assert_eq!(daemon.terminate().code(), Some(0));
}
