use std::net::{IpAddr, SocketAddr};

use base::{Instant, Random};

use crate::{ChildId, Config, Counters, IkeStatus, Output, Path, Traffic, Trigger, Trouble, TunnelId};

/// Which IKE SAs the operator means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those of a tunnel.
    Tunnel(TunnelId),
    /// Those with a peer's address.
    Remote(IpAddr),
    /// Every one.
    All,
}

/// All IKE SAs of a gateway.
#[derive(Debug)]
pub struct Endpoint {
    #[expect(dead_code, reason = "the state machines that draw from it come next")]
    random: Random,
    counters: Counters,
}

impl Endpoint {
    /// An endpoint that knows no tunnel yet. `random` decides every SPI, nonce, key and jitter.
    pub fn new(random: Random) -> Self {
        Self { random, counters: Counters::default() }
    }

    /// A new configuration. Tunnels equal to before keep their SAs; those of changed and removed ones are deleted at
    /// the peer. AutoEstablish tunnels start.
    pub fn configure(&mut self, _now: Instant, _config: Config, _out: &mut Vec<Output>) {}

    /// An IKE message without its non-ESP marker.
    pub fn receive(
        &mut self,
        _now: Instant,
        _path: Path,
        _message: &[u8],
        _traffic: &dyn Traffic,
        _out: &mut Vec<Output>,
    ) {
    }

    /// A packet wants through this tunnel and there is no SA for it; or the operator says connect, without a trigger,
    /// which means every pair of networks.
    pub fn acquire(&mut self, _now: Instant, _tunnel: TunnelId, _trigger: Option<Trigger>, _out: &mut Vec<Output>) {}

    /// The data path has reached `soft_bytes` of this pair, or its sequence numbers near their end.
    pub fn soft_limit(&mut self, _now: Instant, _child: ChildId, _out: &mut Vec<Output>) {}

    /// The data path has reached `hard_bytes` of this pair.
    pub fn hard_limit(&mut self, _now: Instant, _child: ChildId, _out: &mut Vec<Output>) {}

    /// Authenticated ESP of this pair came from a new outer address: RFC 7296 section 2.23.
    pub fn peer_moved(&mut self, _now: Instant, _child: ChildId, _remote: SocketAddr, _out: &mut Vec<Output>) {}

    /// ESP arrived from `remote` with an SPI nobody knows: a hint, and a rate limited one, to ask an IKE SA with that
    /// address whether it lives.
    pub fn unknown_spi(&mut self, _now: Instant, _remote: IpAddr, _out: &mut Vec<Output>) {}

    /// Time has passed: retransmissions, rekeying, liveness, keep-alives, half-open expiry.
    pub fn expire(&mut self, _now: Instant, _traffic: &dyn Traffic, _out: &mut Vec<Output>) {}

    /// When [`expire`](Self::expire) wants to be called next, and why.
    pub fn next_deadline(&self) -> Option<(Instant, &'static str)> {
        None
    }

    /// Deletes IKE SAs at the operator's wish, at the peer too. Returns how many.
    pub fn delete(&mut self, _now: Instant, _which: Which, _out: &mut Vec<Output>) -> usize {
        0
    }

    /// Going down: every SA is deleted at its peer; there is nothing left to wait for once
    /// [`is_quiet`](Self::is_quiet).
    pub fn shut_down(&mut self, _now: Instant, _out: &mut Vec<Output>) {}

    /// No IKE SA is left.
    pub fn is_quiet(&self) -> bool {
        true
    }

    /// Every IKE SA, for people.
    pub fn ike_sas(&self, _now: Instant) -> Vec<IkeStatus> {
        Vec::new()
    }

    /// The last trouble of each tunnel since it was last up.
    pub fn troubles(&self) -> Vec<(TunnelId, Trouble)> {
        Vec::new()
    }

    /// Troubles with peers that matched no tunnel, the newest last.
    pub fn stranger_troubles(&self) -> Vec<Trouble> {
        Vec::new()
    }

    /// Everything that is counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
