//! What the shell itself has to log: the host, not the protocols.

base::events! {
    /// The gateway is ready: every socket is open and the configuration runs.
    Started = 03_299_001 rev 1, Notice, SYSTEM, "gateway_started", action "none" {
        version: String,
        configuration: String,
        interface: String,
    }

    /// The gateway was asked to stop: it deletes its SAs at the peers and removes its routes and its TUN device.
    Stopping = 03_299_002 rev 1, Notice, SYSTEM, "gateway_stopping", action "shutdown" {
        cause: String,
    }

    /// The kernel did not forward packets of this family, so that nothing behind the gateway could have used a tunnel.
    /// Forwarding is on now and will be switched off again at exit. Set the named sysctl yourself to keep it on.
    ForwardingEnabled = 03_299_003 rev 1, Notice, SYSTEM, "forwarding_enabled", action "set_sysctl" {
        sysctl: String,
        value: String,
    }

    /// A sysctl that the gateway needs could not be set. Set it by hand, for example in /etc/sysctl.d.
    SysctlRefused = 03_299_004 rev 1, Error, SYSTEM, "sysctl_refused", action "none" {
        sysctl: String,
        value: String,
        reason: String,
    }

    /// The kernel refused a route to a tunnel: traffic for this network does not reach the gateway. A route of somebody
    /// else with the same network and metric is the usual reason: remove it, or give the tunnel another metric.
    RouteRefused = 03_299_005 rev 1, Error, SYSTEM, "route_refused", action "none" {
        network: String,
        metric: u32,
        reason: String,
    }

    /// Routes over interfaces that an earlier gateway left, which did not end properly, were removed. What it left
    /// `unreachable` stays shut until this gateway has routes of its own for it, or no tunnel for it.
    StaleRoutesRemoved = 03_299_006 rev 1, Notice, SYSTEM, "stale_routes_removed", action "remove" {
        routes: usize,
    }

    /// Packets could not be sent. The reason is the kernel's: no route, no such local address, a packet filter, or a
    /// full queue. Reported at most once in ten seconds, with the number of packets since the last report.
    SendFailed = 03_299_007 rev 1, Warning, SYSTEM, "send_failed", action "drop" {
        destip: String,
        reason: String,
        packets: u64,
    }

    /// The committed configuration has reached the disk.
    ConfigurationStored = 03_299_008 rev 1, Notice, SYSTEM, "configuration_stored", action "none" {
        file: String,
    }

    /// A committed configuration was not even tried to be written, because the disk has not finished those before: it
    /// hangs. The commit has failed, which `configuration_not_stored` says too; what the disk itself refuses is there alone.
    StoreFailed = 03_299_009 rev 2, Error, SYSTEM, "configuration_store_failed", action "none" {
        file: String,
        reason: String,
    }

    /// The configuration holds keys and decides what is protected, and others than its owner may do with the file what
    /// `others` says. The remedy is a command to enter.
    ConfigurationReadable = 03_299_010 rev 2, Warning, SYSTEM, "configuration_readable_by_others", action "none" {
        file: String,
        mode: String,
        others: String,
        remedy: String,
    }

    /// A client of the control socket was disconnected because it did not keep to the protocol or did not read.
    ClientDropped = 03_299_011 rev 1, Warning, SYSTEM, "control_client_dropped", action "close" {
        client: u64,
        reason: String,
    }

    /// The TUN device refused a packet. Reported at most once in ten seconds, with the number of packets since then.
    TunWriteFailed = 03_299_012 rev 1, Warning, SYSTEM, "tun_write_failed", action "drop" {
        reason: String,
        packets: u64,
    }

    /// The process has the capabilities it needs and no others.
    PrivilegesDropped = 03_299_013 rev 1, Info, SYSTEM, "privileges_dropped", action "none" {
        kept: String,
    }

    /// IPv6 is switched off in this kernel: the gateway works with IPv4 alone.
    Ipv6Absent = 03_299_014 rev 1, Notice, SYSTEM, "ipv6_absent", action "none" {
        reason: String,
    }

    /// SIGHUP has no meaning: a configuration is changed from the command line, with activate and commit.
    HangupIgnored = 03_299_015 rev 1, Notice, SYSTEM, "hangup_ignored", action "none" {
        signal: String,
    }

    /// The host's interfaces could not be read again after a change; the gateway goes on with what it knew and asks
    /// again every second. Reported at most once in ten seconds.
    InterfacesUnknown = 03_299_016 rev 1, Error, SYSTEM, "interfaces_unknown", action "none" {
        reason: String,
    }

    /// The kernel took a route to a tunnel only without its source address, the tunnel's OriginatorIP: what this host
    /// itself sends there has another source, which the peer may not expect. It is tried again after every change.
    RouteWithoutSource = 03_299_017 rev 1, Warning, SYSTEM, "route_without_source", action "none" {
        network: String,
        metric: u32,
        reason: String,
    }

    /// A route of ours that is no longer wanted could not be removed. Remove it with `ip route del`; all of ours have
    /// protocol 86.
    RouteNotRemoved = 03_299_018 rev 1, Error, SYSTEM, "route_not_removed", action "none" {
        network: String,
        metric: u32,
        reason: String,
    }

    /// The kernel did not check source addresses, so that a packet in clear text could have claimed to come out of a
    /// tunnel, or out of the network that a tunnel protects. It drops IPv4 packets now whose sender is reached over
    /// another interface; this goes back at exit. Where routes are asymmetric, set rp_filter to 2 on the interface.
    SourceCheckEnabled = 03_299_019 rev 1, Notice, SYSTEM, "source_check_enabled", action "set_sysctl" {
        sysctl: String,
        value: String,
    }

    /// These interfaces have rp_filter 2: the kernel forwards IPv4 packets that claim to come out of a tunnel or out of
    /// the network that a tunnel protects. Unless routes are asymmetric there, set net.ipv4.conf.NAME.rp_filter to 1.
    SourceCheckLoose = 03_299_020 rev 1, Warning, SYSTEM, "source_check_loose", action "none" {
        interfaces: String,
    }

    /// What was changed in the kernel could not be written down: a gateway that is killed now leaves its values behind.
    SysctlsNotRecorded = 03_299_021 rev 1, Warning, SYSTEM, "sysctls_not_recorded", action "none" {
        file: String,
        reason: String,
    }

    /// An earlier gateway that did not end properly left these changed. This one puts the host's own values back when
    /// it ends.
    SysctlsTakenOver = 03_299_022 rev 1, Notice, SYSTEM, "sysctls_taken_over", action "none" {
        sysctls: usize,
    }

    /// A worker had more to tell than the control thread took, or more packets for another worker than that one took: log
    /// lines and requests of the packet path (`reports`), and messages of IKE, packets for the gateway itself and packets
    /// for other workers (`packets`) were lost. A flood of packets is the usual reason.
    WorkerMailLost = 03_299_031 rev 1, Warning, SYSTEM, "worker_mail_lost", action "drop" {
        reports: u64,
        packets: u64,
    }

    /// A worker did not take an SA that the control thread had taken: packets of this SA that reach this worker are lost
    /// until it is rekeyed. An error in the program: please report it.
    WorkerRefusedSa = 03_299_032 rev 1, Error, SYSTEM, "worker_refused_sa", action "none" {
        reason: String,
    }

    /// Workers did not answer within a second what an operator wanted to know: a list of connections, or statistics, lacks
    /// their part, or they close connections later. They are busy; one that hangs ends the gateway.
    WorkersSilent = 03_299_033 rev 1, Warning, SYSTEM, "workers_silent", action "none" {
        answers_missing: usize,
    }

    /// A network card that the configuration wants as a packet port cannot be opened. Check the name in EthernetDevice, and
    /// that the kernel has such an Ethernet interface; it is tried again when the host's interfaces change.
    CardRefused = 03_299_040 rev 1, Error, SYSTEM, "card_refused", action "none" {
        device: String,
        reason: String,
    }

    /// The host's kernel has got addresses on a network card that the gateway owns. Its answers are kept off the card, but
    /// what it sends itself is not: remove the addresses.
    CardShared = 03_299_043 rev 1, Warning, SYSTEM, "card_shared", action "none" {
        device: String,
        addresses: String,
    }

    /// The network card was asked to let through frames to further addresses, which proxy ARP and published addresses need,
    /// and would not.
    CardFilterRefused = 03_299_041 rev 1, Warning, SYSTEM, "card_filter_refused", action "none" {
        port: u16,
        reason: String,
    }

    /// Frames could not be sent by a packet port and are lost. Check that the card is up and that its queue is long enough.
    FramesNotSent = 03_299_042 rev 1, Warning, SYSTEM, "frames_not_sent", action "drop" {
        device: String,
        reason: String,
        frames: u64,
    }

    /// The kernel does not leave the cutting of large packets to the gateway: everything works, at a fraction of the speed.
    /// Kernels can since 2.6.27.
    TunWithoutOffloads = 03_299_044 rev 1, Notice, SYSTEM, "tun_without_offloads", action "none" {
        reason: String,
    }

    /// Whoever reads standard output does not keep up: lines of the log were dropped here, so that the gateway did not
    /// have to wait. Give the log a faster reader, or log less.
    LogLinesDropped = 03_299_030 rev 1, Warning, SYSTEM, "log_lines_dropped", action "drop" {
        lines: u64,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_event_has_an_id_of_its_own() {
        let ids: BTreeSet<u32> = super::EVENTS.iter().map(|meta| meta.id).collect();
        assert_eq!(ids.len(), super::EVENTS.len());
    }
}
