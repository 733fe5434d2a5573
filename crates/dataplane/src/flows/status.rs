//! Connections as listings show them.

use std::net::IpAddr;
use std::sync::Arc;

use base::{Duration, Instant};

use super::flow::{End, Flow};
use crate::InterfaceId;

/// One connection, as listings show it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionStatus {
    /// State: `TCP_OPEN`, `UDP_OPEN`, `PING_OPEN` and so on.
    pub state: &'static str,
    /// `TCP`, `UDP`, `PING` or `RAWIP`.
    pub protocol: &'static str,
    /// IP protocol number.
    pub protocol_number: u8,
    /// Who opened it.
    pub source: Endpoint,
    /// To whom.
    pub destination: Endpoint,
    /// Time until it ends, unless a packet comes.
    pub timeout: Duration,
    /// The rule that allowed it.
    pub rule: Arc<str>,
    /// When it was opened.
    pub opened: Instant,
}

/// One end of a connection, as listings show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Name of the interface.
    pub interface: Arc<str>,
    /// Address, as whoever opened the connection sees it.
    pub address: IpAddr,
    /// Port; of an echo its identifier at the side that asks; otherwise 0.
    pub port: u16,
    /// Address and port as the other end sees them, where these differ.
    pub translated: Option<(IpAddr, u16)>,
    /// Packets it has sent.
    pub packets: u64,
    /// Bytes it has sent, IP headers included.
    pub bytes: u64,
}

impl Flow {
    pub(crate) fn status(
        &self,
        now: Instant,
        rule: Arc<str>,
        name: impl Fn(InterfaceId) -> Arc<str>,
    ) -> ConnectionStatus {
        let endpoint = |end: &End, (address, port), far| Endpoint {
            interface: name(end.side().interface),
            address,
            port,
            translated: Some(far).filter(|far| *far != (address, port)),
            packets: end.packets,
            bytes: end.bytes,
        };
        let (near, far) = (&self.key, self.far_key());
        ConnectionStatus {
            state: self.state(),
            protocol: self.protocol(),
            protocol_number: near.protocol,
            source: endpoint(&self.opener, (near.source, near.ports.0), (far.source, far.ports.0)),
            destination: endpoint(&self.other, (near.destination, near.ports.1), (far.destination, far.ports.1)),
            timeout: self.timeout(now),
            rule,
            opened: self.opened,
        }
    }
}
