//! The binary on a real host: command line and exit statuses as anybody; daemons, namespaces, routes and tunnels as root.
//!
//! A harness of its own, because whether a test can run is known only when it is to: one that cannot is reported as
//! `ignored` with the reason, in the lines that `cargo test` prints.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::allow_attributes,
    reason = "a test that cannot go on fails, and this harness is what prints"
)]

mod bench;
mod cards;
mod command_line;
mod daemon;
mod packet_ports;
mod ports;
mod routing;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// What a test needs of the host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// Network namespaces and a TUN device.
    Root,
}

type Test = (&'static str, Needs, fn());

/// A test's name is the name of its function, and says what it proves.
macro_rules! tests {
    ($($needs:ident: $module:ident :: $name:ident,)+) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)), Needs::$needs, $module::$name as fn())),+]
    };
}

const TESTS: &[Test] = tests![
    Nothing: command_line::the_program_names_its_version,
    Nothing: command_line::the_examples_have_no_errors,
    Nothing: command_line::a_configuration_with_errors_has_status_1_and_shows_where,
    Nothing: command_line::a_file_that_is_not_there_has_status_2,
    Nothing: command_line::a_command_that_is_not_there_has_status_2,
    Nothing: command_line::without_a_gateway_the_command_line_says_how_to_start_one,
    Nothing: command_line::the_demo_tells_its_story_and_ends_by_itself,
    Root: daemon::two_daemons_carry_traffic_through_a_tunnel,
    Root: daemon::sigterm_removes_tun_routes_and_control_socket,
    Root: daemon::a_start_after_a_kill_clears_away_what_was_left,
    Root: daemon::a_second_gateway_on_the_same_host_leaves_the_first_alone,
    Root: daemon::commands_end_with_a_status,
    Root: daemon::a_committed_configuration_survives_a_kill,
    Root: daemon::an_address_that_comes_later_is_noticed,
    Root: daemon::every_thread_keeps_only_the_capabilities_it_needs,
    Root: daemon::a_log_that_nobody_reads_stops_neither_the_gateway_nor_its_end,
    Root: daemon::a_paste_whose_answers_are_large_is_answered_in_full,
    Root: daemon::a_peer_that_does_not_answer_delays_the_end_by_seconds_only,
    Root: ports::tcp_passes_the_tun_device_in_segments_of_up_to_64_kib,
    Root: ports::a_tun_device_without_offload_gives_finished_packets,
    Root: ports::every_queue_of_a_tun_device_carries_packets,
    Root: ports::a_train_of_datagrams_passes_the_tun_device_whole,
    Root: ports::datagrams_too_large_for_the_link_arrive_in_fragments_also_when_they_could_be_a_train,
    Root: packet_ports::a_packet_port_carries_frames_that_are_still_to_be_cut,
    Root: packet_ports::a_frame_arrives_as_it_was_sent_with_its_vlan_tag_and_what_is_left_to_do,
    Root: packet_ports::both_directions_of_a_flow_come_to_the_same_packet_port_of_a_group,
    Root: packet_ports::a_card_has_an_address_an_mtu_and_a_link,
    Root: cards::the_kernel_is_silent_on_a_card_that_is_the_gateways_and_gets_it_back_as_it_was,
    Root: cards::a_card_with_an_address_of_the_kernel_is_left_to_it_until_the_address_goes,
    Root: routing::a_killed_gateway_leaves_its_networks_unreachable_until_the_next_one_takes_over,
    Root: routing::a_next_gateway_without_the_tunnel_opens_what_a_killed_one_left_shut,
    Root: routing::a_tun_device_that_is_down_leaves_its_networks_unreachable,
    Root: routing::without_its_source_address_a_network_leads_to_the_tunnel_or_nowhere,
    Root: routing::a_lost_route_comes_back_while_the_hosts_other_routes_never_rest,
    Root: routing::who_claims_to_be_behind_a_tunnel_or_in_the_lan_is_not_believed_on_the_wan,
    Root: routing::a_loose_check_of_sources_is_left_and_told,
    Root: routing::after_a_kill_the_next_gateway_gives_the_host_its_own_settings_back,
    Root: routing::what_the_administrator_sets_meanwhile_stays,
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _, _) in TESTS {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let (mut passed, mut failed, mut ignored, mut filtered) = (0, 0, 0, 0);
    println!("\nrunning {} tests", TESTS.iter().filter(|(name, _, _)| wanted(name)).count());
    for (name, needs, test) in TESTS {
        if !wanted(name) {
            filtered += 1;
        } else if let Some(reason) = bench::missing(*needs == Needs::Root) {
            println!("test {name} ... ignored, {reason}");
            ignored += 1;
        } else if catch_unwind(AssertUnwindSafe(test)).is_ok() {
            println!("test {name} ... ok");
            passed += 1;
        } else {
            println!("test {name} ... FAILED");
            failed += 1;
        }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; {filtered} filtered out\n"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
