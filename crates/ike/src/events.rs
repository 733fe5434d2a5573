//! What IKE writes into the log. Numbers and names are the product's where it has them; 01803900 and up are our own.

use std::net::{IpAddr, SocketAddr};

use base::Text;

base::events! {
    /// The peer deleted an SA. Nothing is wrong: it comes back when traffic needs it.
    IkeDeleteNotification = 01_800_105 rev 1, Notice, IPSEC, "ike_delete_notification", action "sas_deleted" {
        tunnel: Text,
        remote: SocketAddr,
        protocol: &'static str,
        spi: Text,
    }
    /// A peer's proposals and ours have nothing in common. `nearest` says how little is missing, `remedy` what to change.
    IkeInvalidProposal = 01_800_107 rev 1, Warning, IPSEC, "ike_invalid_proposal", action "no_sa" {
        tunnel: Text,
        local: SocketAddr,
        remote: SocketAddr,
        reason: Text,
        found: Text,
        expected: Text,
        nearest: Text,
        remedy: Text,
    }
    /// The peer did not answer though it was asked repeatedly. Check the way to it and its ports 500 and 4500.
    IkeRetryLimitReached = 01_800_108 rev 1, Notice, IPSEC, "ike_retry_limit_reached", action "no_ike_sa" {
        tunnel: Text,
        local: SocketAddr,
        remote: SocketAddr,
        reason: Text,
        found: Text,
        expected: Text,
        remedy: Text,
    }
    /// The IKE SA stands, but a child SA could not be made. `remedy` says what to change.
    IkeQuickmodeFailed = 01_800_109 rev 1, Warning, IPSEC, "ike_quickmode_failed", action "no_ipsec_sa" {
        tunnel: Text,
        local: SocketAddr,
        remote: SocketAddr,
        reason: Text,
        found: Text,
        expected: Text,
        nearest: Text,
        remedy: Text,
    }
    /// An IKE SA could not be set up. `remedy` says what to change, and on which side.
    IkeSaFailed = 01_802_022 rev 1, Warning, IPSEC, "ike_sa_failed", action "no_ike_sa" {
        tunnel: Text,
        local: SocketAddr,
        remote: SocketAddr,
        initiator_spi: Text,
        responder_spi: Text,
        kind: &'static str,
        reason: Text,
        found: Text,
        expected: Text,
        remedy: Text,
    }
    /// An IKE SA is established: both sides have proved who they are.
    IkeSaNegotiationCompleted = 01_802_024 rev 1, Info, IPSEC, "ike_sa_negotiation_completed", action "ike_sa_completed" {
        tunnel: Text,
        local: SocketAddr,
        remote: SocketAddr,
        initiator_spi: Text,
        responder_spi: Text,
        side: &'static str,
        remote_id: Text,
        auth: &'static str,
        algorithms: Text,
        lifetime: u64,
    }
    /// A stranger knocked and no tunnel is for it. `expected` says why each tunnel was passed over.
    IkeSaNegotiationFailed = 01_802_030 rev 1, Info, IPSEC, "ike_sa_negotiation_failed", action "no_ike_sa" {
        local: SocketAddr,
        remote: SocketAddr,
        reason: Text,
        found: Text,
        expected: Text,
        remedy: Text,
    }
    /// A pair of child SAs is ready for traffic.
    IpsecSaNegotiationCompleted = 01_802_040 rev 1, Info, IPSEC, "ipsec_sa_negotiation_completed", action "ipsec_sa_completed" {
        tunnel: Text,
        remote: SocketAddr,
        spi_in: Text,
        spi_out: Text,
        algorithms: Text,
        local_net: Text,
        remote_net: Text,
        udp_encapsulated: bool,
        lifetime: u64,
    }
    /// The networks that a peer asked for do not fit those of the tunnel. `remedy` says what to change.
    IpsecSaSelectionFailed = 01_802_717 rev 1, Warning, IPSEC, "ipsec_sa_selection_failed", action "no_ipsec_sa" {
        tunnel: Text,
        local: SocketAddr,
        remote: SocketAddr,
        reason: Text,
        found: Text,
        expected: Text,
        nearest: Text,
        remedy: Text,
    }
    /// So many IKE SAs are half-open that first messages are dropped. Under attack that is right; without one raise the limit.
    MaxPhase1NegotiationsReached = 01_802_402 rev 1, Warning, IPSEC, "max_phase1_negotiations_reached", action "drop" {
        remote: IpAddr,
        half_open: usize,
        limit: usize,
    }
    /// The peer is silent and no longer answers. All of its SAs are gone; the tunnel comes back when the peer does.
    DpdPeerDead = 01_803_900 rev 1, Warning, IPSEC, "dpd_peer_dead", action "sas_deleted" {
        tunnel: Text,
        local: SocketAddr,
        remote: SocketAddr,
        reason: Text,
        found: Text,
        children: usize,
    }
    /// An IKE SA was replaced by a new one with new keys before its life ended.
    IkeSaRekeyed = 01_803_901 rev 1, Info, IPSEC, "ike_sa_rekeyed", action "none" {
        tunnel: Text,
        remote: SocketAddr,
        initiator_spi: Text,
        responder_spi: Text,
        side: &'static str,
        algorithms: Text,
    }
    /// A pair of child SAs was replaced by a new one with new keys before its life ended.
    IpsecSaRekeyed = 01_803_902 rev 1, Info, IPSEC, "ipsec_sa_rekeyed", action "none" {
        tunnel: Text,
        remote: SocketAddr,
        spi_in: Text,
        spi_out: Text,
        side: &'static str,
        algorithms: Text,
    }
    /// A pair of child SAs is gone. `why` tells expiry, disuse, a peer's wish and an operator's apart.
    IpsecSaDeleted = 01_803_903 rev 1, Info, IPSEC, "ipsec_sa_deleted", action "none" {
        tunnel: Text,
        remote: SocketAddr,
        spi_in: Text,
        spi_out: Text,
        why: &'static str,
    }
    /// An IKE SA is gone, and with it its child SAs.
    IkeSaDeleted = 01_803_904 rev 1, Info, IPSEC, "ike_sa_deleted", action "none" {
        tunnel: Text,
        remote: SocketAddr,
        initiator_spi: Text,
        responder_spi: Text,
        why: &'static str,
    }
    /// The peer is reached at another address or port now: a NAT between has forgotten the old one.
    PeerAddressChanged = 01_803_905 rev 1, Info, IPSEC, "peer_address_changed", action "none" {
        tunnel: Text,
        old: SocketAddr,
        new: SocketAddr,
    }
    /// The peer started anew and said so: what it had forgotten was removed here as well.
    InitialContact = 01_803_906 rev 1, Notice, IPSEC, "initial_contact", action "sas_deleted" {
        tunnel: Text,
        remote: SocketAddr,
        remote_id: Text,
        removed: usize,
    }
    /// An AutoEstablish tunnel begins.
    AutoEstablish = 01_803_907 rev 1, Info, IPSEC, "auto_establish", action "none" { tunnel: Text, remote: IpAddr }
    /// A tunnel is wanted but cannot be set up from this side. `remedy` says what it lacks.
    IkeCannotInitiate = 01_803_908 rev 1, Warning, IPSEC, "ike_cannot_initiate", action "no_ike_sa" {
        tunnel: Text,
        remote: Text,
        reason: Text,
        remedy: Text,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_event_has_its_own_number() {
        let ids: BTreeSet<u32> = EVENTS.iter().map(|meta| meta.id).collect();
        assert_eq!(ids.len(), EVENTS.len());
    }
}
