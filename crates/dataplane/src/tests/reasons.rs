//! Every reason to drop a packet has a test that reaches it and names all counters that change. A reason without one does
//! not compile here; one whose test does not reach it fails.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::firewall::*;
use super::*;

thread_local! {
    /// The reasons that tests on this thread have reached, while they named every counter that changed.
    static REACHED: RefCell<BTreeSet<Reason>> = const { RefCell::new(BTreeSet::new()) };
}

/// Called by [`Watch::only`].
pub(super) fn reached(changed: &[(Reason, u64)]) {
    REACHED.with_borrow_mut(|reached| reached.extend(changed.iter().map(|(reason, _)| *reason)));
}

/// The test of a reason.
fn test_of(reason: Reason) -> fn() {
    match reason {
        Reason::MalformedIp | Reason::MalformedTransport | Reason::TcpFlags => drops::a_malformed_packet,
        Reason::ImpossibleSource => drops::an_impossible_source,
        Reason::NotUnicast => drops::what_stays_on_the_link,
        Reason::FragmentOverlap => fragments::overlapping_fragments_end_their_packet,
        Reason::TinyFragment => fragments::a_second_fragment_within_the_header_is_refused_alone,
        Reason::FragmentLimit | Reason::FragmentTimeout => fragments::unfinished_packets_are_bounded_and_forgotten,
        Reason::AccessRule => access::the_first_rule_for_a_source_decides,
        Reason::DefaultAccessRule => drops::a_source_behind_another_interface,
        Reason::NoConnection | Reason::UnrelatedIcmpError => drops::a_packet_in_the_middle_of_nothing,
        Reason::TcpWindow => states::a_segment_out_of_the_window_goes_nowhere_and_ends_nothing,
        Reason::Redirect => drops::a_redirect_goes_nowhere_whatever_the_rules_say,
        Reason::NoRoute => drops::no_route,
        Reason::RuleDrop | Reason::RuleReject | Reason::DefaultRule => drops::what_the_rules_forbid,
        Reason::TtlExpired => drops::a_time_to_live_that_runs_out,
        Reason::ConnectionTableFull => drops::too_many_connections,
        Reason::NatNoAddress | Reason::NatTaken => nat::a_translation_that_cannot_be_had_is_refused,
        Reason::NatPortsExhausted => nat::a_pool_whose_ports_are_used_up_refuses_and_gets_its_addresses_back,
        Reason::OutsideTunnel => drops::a_packet_that_is_none_of_the_tunnels,
        Reason::WaitingFull | Reason::WaitingTimeout | Reason::TunnelUnavailable => drops::packets_that_wait_in_vain,
        Reason::AskedLimit => selectors::no_more_hosts_are_asked_for_at_a_time_than_may_be,
        Reason::TooBig => drops::the_kernel_is_told_by_an_error_it_believes,
        Reason::NoNeighbour => a_next_hop_that_nobody_answers_for,
        Reason::OuterRoute => ports::no_sealed_packet_leaves_where_no_route_or_a_tunnel_leads_to_the_peer,
        Reason::NotSealed => drops::a_packet_for_which_no_sequence_number_is_left,
        Reason::EspMalformed | Reason::UnknownSpi | Reason::Replayed | Reason::IcvFailure => {
            drops::esp_packets_that_are_refused
        }
        Reason::SaUsedUp => drops::an_sa_that_is_used_up,
        Reason::BadPadding
        | Reason::NextHeader
        | Reason::Dummy
        | Reason::InnerMalformed
        | Reason::InnerAddress
        | Reason::Congestion => drops::authentic_packets_that_are_refused,
        Reason::PathErrorLimit => path_mtu::a_router_is_not_believed_that_quotes_anything_else,
    }
}

#[test]
fn every_reason_is_reached_by_a_test_that_names_all_counters_that_change() {
    for reason in Reason::ALL {
        REACHED.with_borrow_mut(BTreeSet::clear);
        test_of(*reason)();
        assert!(REACHED.with_borrow(|reached| reached.contains(reason)), "its test does not reach {}", reason.name());
    }
}

#[test]
fn a_next_hop_that_nobody_answers_for() {
    let mut firewall = Firewall::new(vec![Rule {
        source: SourceTranslation::Interface,
        ..rule("out", &[LAN], &[WAN], RuleAction::Allow)
    }]);
    let request = ping(INSIDE, STRANGER, 8);
    let (_, _, sent) = firewall.passes(LAN, &request);
    let watch = Watch::over(&firewall.gateway);
    let mut out = Vec::new();
    firewall.gateway.unreachable(firewall.now, Buffer::copy(&sent), &mut out);
    watch.only(&firewall.gateway, &[(Reason::NoNeighbour, 1)]);
    let [(interface, _, told)] = &links(&out)[..] else { panic!("{out:?}") };
    let header = key_of(told);
    assert_eq!((*interface, header.source, header.destination), (LAN, ip("10.0.0.1"), ip(INSIDE)));
    assert_eq!(told[20..22], [3, 1], "host unreachable");
    assert_eq!(
        key_of(icmp::quotation(header.payload_of(told))).source,
        ip(INSIDE),
        "the packet as its sender knows it"
    );
}
