//! The settings of the gateway as a whole: one object of each type, always there.

use base::Duration;
use schema::kind::{Bool, Integer, Text};
use schema::{Naming, Object, Problem, Tree, choice, object};

use crate::snapshot::{IpsecSettings, Settings, Timeouts, WhenFull};

object! {
    /// Settings of IKE and IPsec.
    pub struct IpsecTunnelSettings: "IPsecTunnelSettings" {
        category: Some("Settings"),
        naming: Naming::Single,
        absent: &[
            "IPsecMaxRules", "IKESendCRLs", "IKECRLValidityTime", "IKECRLVailityTime",
            "IKEMaxCAPath", "IPsecCertCacheMaxCerts", "IPsecGWNameCacheTime", "DPDMetric", "DPDKeepTime",
            "DPDExpireTime", "XCBCFallback", "IKEv2SALingerTime", "IKEv2UseClientSubnet",
            "IPsecDeleteSAOnIPValidationFailure", "IKEv2DisableStationIDs", "IKEv2AllowPortChange",
            "EnableIPsecKeyLogging", "EnableAESNI", "IPsecHardwareAcceleration", "DisablePublicKeyHWAcceleration",
        ],
    }

    /// Tunnels beyond this number are disabled when the configuration is activated.
    default max_tunnels as "IPsecMaxTunnels": Integer<1, 100000> = "10000";
    /// IKE and ESP for the gateway itself need no IP policy.
    default before_rules as "IPsecBeforeRules": Bool = "Yes";
    /// Tell a peer with which there are no SAs that it may forget the ones it remembers.
    default initial_contact as "IKESendInitialContact": Bool = "Yes";
    /// Demand a cookie from every peer that begins a negotiation, not only under load. For tests.
    default force_cookies as "IKEv2ForceCookies": Bool = "No";
    /// Negotiations under way at which every peer must return a cookie.
    default cookie_threshold as "IKEHalfOpenCookieThreshold": Integer<0, 100000> = "100";
    /// Negotiations under way at most.
    default half_open_max as "IKEHalfOpenMax": Integer<1, 100000> = "1000";
    /// Negotiations under way with one IPv4 address or one IPv6 network of 64 bits at most. From half of it on the peer
    /// must return a cookie.
    default per_source_max as "IKEHalfOpenPerSourceMax": Integer<1, 100000> = "20";
    /// Seconds after which a negotiation that does not end is given up.
    default half_open_lifetime as "IKEHalfOpenLifeTime": Integer<5, 300> = "30";
    /// Milliseconds until a request that is not answered is sent again; the wait doubles each time.
    default retransmit_first as "IKERetransmitFirst": Integer<100, 60000> = "300";
    /// Longest wait between two sendings, in seconds.
    default retransmit_max as "IKERetransmitMax": Integer<1, 300> = "4";
    /// Sendings of a request after which the peer is given up.
    default retransmit_tries as "IKERetransmitTries": Integer<1, 20> = "10";
    /// IKE messages larger than this many bytes leave in fragments, when the peer can put them together.
    default fragment_size as "IKEFragmentSize": Integer<500, 65000> = "1232";
    /// Seconds until a tunnel with AutoEstablish that failed is tried again.
    default auto_establish_retry as "AutoEstablishRetryTime": Integer<1, 3600> = "10";
}

object! {
    /// Settings of TCP connections.
    pub struct TcpSettings: "TCPSettings" {
        category: Some("Settings"),
        naming: Naming::Single,
        absent: &[
            "TCPMSSMin", "TCPMSSOnLow", "TCPMSSOnHigh", "TCPMSSLogLevel", "TCPOptionSizes",
        ],
    }

    /// Largest segment, in bytes, of TCP connections that use no tunnel.
    default mss_max as "TCPMSSMax": Integer<216, 65495> = "1460";
    /// Lower the segments to what the interfaces on the way take, too.
    default mss_auto as "TCPMSSAutoClamping": Bool = "Yes";
    /// Largest segment, in bytes, of TCP connections through a tunnel. Keep it below what fits into the tunnel.
    default mss_vpn_max as "TCPMSSVPNMax": Integer<216, 65495> = "1400";
}

object! {
    /// How long idle connections are remembered, in seconds.
    pub struct ConnTimeoutSettings: "ConnTimeoutSettings" {
        category: Some("Settings"),
        naming: Naming::Single,
    }

    /// TCP until it is open.
    default tcp_syn as "ConnLife_TCP_SYN": Integer<1, 2592000> = "60";
    /// TCP while it is open.
    default tcp as "ConnLife_TCP": Integer<1, 2592000> = "262144";
    /// TCP once it is being closed.
    default tcp_fin as "ConnLife_TCP_FIN": Integer<1, 2592000> = "80";
    /// UDP.
    default udp as "ConnLife_UDP": Integer<1, 2592000> = "130";
    /// Answers keep UDP connections alive too, not only packets of whoever opened them.
    default udp_both as "UDPBidirectionalKeepAlive": Bool = "No";
    /// IGMP.
    default igmp as "ConnLife_IGMP": Integer<1, 2592000> = "12";
    /// Ping.
    default ping as "ConnLife_Ping": Integer<1, 2592000> = "8";
    /// Everything else.
    default other as "ConnLife_Other": Integer<1, 2592000> = "130";
}

object! {
    /// Settings of remote management.
    pub struct RemoteMgmtSettings: "RemoteMgmtSettings" {
        category: Some("Settings"),
        naming: Naming::Single,
    }

    /// Seconds within which an activated configuration must be confirmed with commit; otherwise the one before comes
    /// back.
    default validation as "NetconBiDirTimeout": Integer<5, 3600> = "30";
}

object! {
    /// Settings of the connection table.
    pub struct StateSettings: "StateSettings" {
        category: Some("Settings"),
        naming: Naming::Single,
        absent: &["DynamicMaxConnections", "LogConnections"],
    }

    /// Connections that are remembered at the same time.
    default max_connections as "MaxConnections": Integer<16, 16000000> = "262144";
    /// What happens to a new connection beyond that number.
    default replace as "ConnReplace": ConnReplace = "ReplaceLog";
}

choice! {
    /// What happens to a new connection when the table is full.
    pub enum ConnReplace {
        /// It is dropped.
        Drop = "Drop",
        /// The connection that has been idle longest is forgotten.
        Replace = "Replace",
        /// The same, and the log says so.
        ReplaceLog = "ReplaceLog",
    }
}

object! {
    /// Settings of IP packets.
    pub struct IpSettings: "IPSettings" {
        category: Some("Settings"),
        naming: Naming::Single,
        absent: &[
            "LogNonIP4", "BlockMulticastSrc", "TTLMin", "TTLOnLow", "DefaultTTL", "LayerSizeConsistency",
            "IPOptionSizes", "IPOptions_SR", "IPOptions_TS", "IPOptions_RTRALT", "IPOptions_OTHER",
            "DirectedBroadcasts", "IPRF",
        ],
    }

    /// IPv4 packets up to this many bytes may be fragmented on their way, even if they say that they may not (DF); 0
    /// leaves all as they are.
    default strip_df as "StripDF" or "StripDontFragment": Integer<0, 65535> = "65535";
}

object! {
    /// The gateway's time.
    pub struct DateTime: "DateTime" {
        category: Some("Settings"),
        naming: Naming::Single,
        absent: &[
            "TimeZone", "DSTEnabled", "DSTOffset", "DSTStartMonth", "DSTStartDay", "DSTEndMonth", "DSTEndDay",
            "TimeSynchronization", "TimeSyncServer1", "TimeSyncServer2", "TimeSyncServer3",
        ],
    }

    /// How far the local time, which schedules go by, is ahead of UTC: `+02:00`, or `-05:30` where it is behind. There
    /// is no summer time.
    default offset as "UTCOffset": Text = "+00:00";
}

/// Seconds east of UTC of `+HH:MM` or `-HH:MM`.
pub(crate) fn utc_offset(text: &str) -> Option<i32> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i32>().ok()).flatten();
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours <= 14 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

/// What is wrong with settings beyond the kinds of their values.
pub(crate) fn check(object: &Object) -> Option<Problem> {
    let read = (object.info.name == DateTime::TYPE.name).then(|| DateTime::read(object))??;
    utc_offset(&read.offset).is_none().then(|| {
        Problem::error(format!("found \"{}\"; expected hours and minutes as in +02:00, at most 14:59", read.offset))
            .property("UTCOffset")
            .at(object.place("UTCOffset"))
    })
}

/// Reads every settings object. `None`: a value is not of its kind, which checking has reported.
pub(crate) fn compile(tree: &Tree) -> Option<Settings> {
    let ipsec = IpsecTunnelSettings::read(tree.single(IpsecTunnelSettings::TYPE)?)?;
    let tcp = TcpSettings::read(tree.single(TcpSettings::TYPE)?)?;
    let timeouts = ConnTimeoutSettings::read(tree.single(ConnTimeoutSettings::TYPE)?)?;
    let management = RemoteMgmtSettings::read(tree.single(RemoteMgmtSettings::TYPE)?)?;
    let state = StateSettings::read(tree.single(StateSettings::TYPE)?)?;
    let ip = IpSettings::read(tree.single(IpSettings::TYPE)?)?;
    let time = DateTime::read(tree.single(DateTime::TYPE)?)?;
    let number = |value: u64| u32::try_from(value).ok();
    Some(Settings {
        ipsec: IpsecSettings {
            before_rules: ipsec.before_rules,
            max_tunnels: number(ipsec.max_tunnels)?,
            initial_contact: ipsec.initial_contact,
            force_cookies: ipsec.force_cookies,
            half_open_cookie_threshold: number(ipsec.cookie_threshold)?,
            half_open_max: number(ipsec.half_open_max)?,
            half_open_per_source_max: number(ipsec.per_source_max)?,
            half_open_lifetime: Duration::from_secs(ipsec.half_open_lifetime),
            retransmit_first: Duration::from_millis(ipsec.retransmit_first),
            retransmit_max: Duration::from_secs(ipsec.retransmit_max),
            retransmit_tries: number(ipsec.retransmit_tries)?,
            fragment_size: number(ipsec.fragment_size)?,
            auto_establish_retry: Duration::from_secs(ipsec.auto_establish_retry),
        },
        tcp_mss_max: u16::try_from(tcp.mss_max).ok()?,
        tcp_mss_auto: tcp.mss_auto,
        strip_df_max: u16::try_from(ip.strip_df).ok()?,
        tcp_mss_vpn_max: u16::try_from(tcp.mss_vpn_max).ok()?,
        timeouts: Timeouts {
            tcp_syn: Duration::from_secs(timeouts.tcp_syn),
            tcp_open: Duration::from_secs(timeouts.tcp),
            tcp_fin: Duration::from_secs(timeouts.tcp_fin),
            udp: Duration::from_secs(timeouts.udp),
            udp_both_ways: timeouts.udp_both,
            ping: Duration::from_secs(timeouts.ping),
            igmp: Duration::from_secs(timeouts.igmp),
            other: Duration::from_secs(timeouts.other),
        },
        max_connections: number(state.max_connections)?,
        when_full: match state.replace {
            ConnReplace::Drop => WhenFull::Drop,
            ConnReplace::Replace => WhenFull::Replace,
            ConnReplace::ReplaceLog => WhenFull::ReplaceLog,
        },
        utc_offset: utc_offset(&time.offset)?,
        validation_timeout: Duration::from_secs(management.validation),
    })
}
