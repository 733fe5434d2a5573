//! Who speaks with whom: SPIs, addresses, keys and message IDs of an IKE SA, whatever its state.

use std::net::IpAddr;
use std::sync::Arc;

use base::{Instant, Random};
use wire::ike::{ExchangeType, Flags, Header, Payload, PayloadType};

use super::fragment::Reassembly;
use super::nat;
use super::protect::Protection;
use super::window::{Incoming, Outgoing, Patience};
use super::{Began, Cx, Effect, Nat, SaId};
use crate::reason::{Reason, Subject};
use crate::{NatTraversal, Output, Path, RemoteEndpoint, Trouble, Tunnel, TunnelId, events, selectors};

/// The lasting part of an IKE SA.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: SaId,
    /// We began it (for a rekeyed one: its rekeying).
    pub(crate) initiator: bool,
    pub(crate) spi_i: u64,
    pub(crate) spi_r: u64,
    pub(crate) path: Path,
    pub(crate) nat: Nat,
    /// Both sides looked for NATs, so that UDP encapsulation is possible.
    pub(super) traverses: bool,
    /// The peer takes fragments (RFC 7383 section 2.3).
    pub(super) fragments: bool,
    /// Known from the start to an initiator, after authentication to a responder.
    pub(crate) tunnel: Option<Arc<Tunnel>>,
    pub(super) outgoing: Outgoing,
    pub(super) incoming: Incoming,
    /// The request of the peer that is being put together.
    pub(super) requests: Reassembly,
    /// The answer of the peer that is being put together.
    pub(super) answers: Reassembly,
    /// Digest of the first fragment of the request that is being put together.
    pub(super) first_fragment: Option<[u8; 20]>,
    pub(super) protection: Option<Protection>,
    /// When anything of ours last left on the path.
    pub(super) last_sent: Instant,
    /// When its first message was sent or came.
    pub(super) born: Instant,
}

/// Where the answer to a request goes, and what the request is remembered by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) path: Path,
    pub(super) digest: [u8; 20],
    pub(super) exchange: ExchangeType,
}

impl Link {
    pub(super) fn new(id: SaId, initiator: bool, spis: (u64, u64), path: Path, now: Instant) -> Self {
        Self {
            id,
            initiator,
            spi_i: spis.0,
            spi_r: spis.1,
            path,
            nat: Nat::default(),
            traverses: false,
            fragments: false,
            tunnel: None,
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            requests: Reassembly::default(),
            answers: Reassembly::default(),
            first_fragment: None,
            protection: None,
            last_sent: now,
            born: now,
        }
    }

    /// The beginning of the IKE SA that replaces this one: same peer, same path, message IDs from 0.
    pub(super) fn successor(&self, id: SaId, initiator: bool, spis: (u64, u64), now: Instant) -> Self {
        Self {
            nat: self.nat,
            traverses: self.traverses,
            fragments: self.fragments,
            tunnel: self.tunnel.clone(),
            last_sent: self.last_sent,
            ..Self::new(id, initiator, spis, self.path, now)
        }
    }

    /// The SPI by which messages find this IKE SA here.
    pub(crate) const fn local_spi(&self) -> u64 {
        if self.initiator { self.spi_i } else { self.spi_r }
    }

    pub(super) fn tunnel_id(&self) -> Option<TunnelId> {
        self.tunnel.as_ref().map(|tunnel| tunnel.id)
    }

    /// Name of the tunnel, or a dash while it is unknown.
    pub(crate) fn tunnel_name(&self) -> String {
        self.tunnel.as_ref().map_or_else(|| "-".to_owned(), |tunnel| tunnel.name.clone())
    }

    pub(super) fn peer(&self) -> IpAddr {
        self.path.remote.ip()
    }

    /// ESP travels in UDP: a NAT was seen, or the configuration wants it anyway.
    pub(super) fn encapsulates(&self) -> bool {
        let forced = self.tunnel.as_ref().is_some_and(|tunnel| tunnel.nat_traversal == NatTraversal::On);
        self.traverses && (self.nat.seen() || forced)
    }

    /// Sends datagrams on a path.
    pub(super) fn send(&mut self, cx: &mut Cx<'_>, path: Path, messages: &[Vec<u8>]) {
        let ds = self.tunnel.as_ref().map_or(0, |tunnel| tunnel.ike_ds);
        for message in messages {
            cx.counters.sent += 1;
            cx.out.push(Output::Send { path, ds, message: message.clone() });
        }
        self.last_sent = cx.now;
    }

    /// Sends a protected request and waits for its answer.
    pub(super) fn request(
        &mut self,
        cx: &mut Cx<'_>,
        exchange: ExchangeType,
        payloads: &[Payload],
        patience: Patience,
    ) {
        let id = self.outgoing.next_id;
        let messages = self.seal(cx, exchange, id, false, payloads);
        self.send(cx, self.path, &messages);
        self.outgoing.set(cx.now, (exchange, id), messages, patience);
    }

    /// Answers the request that was next, on the path it came by, and remembers the answer.
    pub(super) fn respond(&mut self, cx: &mut Cx<'_>, asked: &Asked, payloads: &[Payload]) {
        let id = self.incoming.next_id;
        let messages = self.seal(cx, asked.exchange, id, true, payloads);
        self.send(cx, asked.path, &messages);
        self.incoming.answered(asked.digest, messages);
    }

    fn seal(
        &mut self,
        cx: &mut Cx<'_>,
        exchange: ExchangeType,
        id: u32,
        response: bool,
        payloads: &[Payload],
    ) -> Vec<Vec<u8>> {
        let flags = Flags { initiator: self.initiator, response, version: false };
        let header = Header::new(self.spi_i, self.spi_r, exchange, flags, id);
        let limit = self.fragments.then(|| nat::room(cx.config.settings.fragment_size, &self.path));
        match &mut self.protection {
            Some(protection) => protection.seal(&header, payloads, limit, cx.random),
            None => Vec::new(),
        }
    }

    /// A message of our side with any content at all, for tests that speak inside the protection. `None` before there
    /// are keys.
    pub(crate) fn forge(&mut self, random: &mut Random, forgery: &Forgery<'_>) -> Option<Vec<Vec<u8>>> {
        let flags = Flags { initiator: self.initiator, response: forgery.response, version: false };
        let exchange = ExchangeType(forgery.exchange);
        let header = Header::new(self.spi_i, self.spi_r, exchange, flags, forgery.id.unwrap_or(self.outgoing.next_id));
        let first = PayloadType(forgery.first);
        Some(self.protection.as_mut()?.seal_text(&header, first, forgery.chain, None, random))
    }

    /// Sends the outstanding request again.
    pub(super) fn repeat(&mut self, cx: &mut Cx<'_>) {
        if let Some(sent) = &self.outgoing.sent {
            let messages = sent.messages.clone();
            cx.counters.retransmitted += 1;
            self.send(cx, self.path, &messages);
        }
    }

    /// Both SPIs as printed, the initiator's first.
    pub(super) fn spis_hex(&self) -> (String, String) {
        (hex64(self.spi_i), hex64(self.spi_r))
    }

    /// Explains a failure of the IKE SA: one event, and a trouble for the tunnel.
    pub(super) fn failed(&self, cx: &mut Cx<'_>, reason: &Reason) {
        let began = if self.initiator { Began::Ours } else { Began::Peer };
        failed_ike(cx, self.tunnel.as_deref(), (self.spi_i, self.spi_r), &self.path, reason, began);
        if let Some(tunnel) = self.tunnel_id() {
            cx.effects.push(Effect::Missing { tunnel, at_once: false });
            if self.initiator {
                cx.out.push(Output::Failed { tunnel });
            }
        }
    }

    /// Explains why somebody who has proved nothing was refused, unless that was done too often lately.
    pub(super) fn failed_stranger(&self, cx: &mut Cx<'_>, reason: &Reason) {
        if cx.refusals.take(cx.now) {
            let spis = (self.spi_i, self.spi_r);
            failed_ike(cx, self.tunnel.as_deref(), spis, &self.path, reason, Began::Stranger);
        } else {
            cx.counters.ike_failed += 1;
            cx.counters.rate_limited += 1;
        }
    }

    /// Explains why a child SA could not be made; the IKE SA stands.
    pub(super) fn child_failed(&self, cx: &mut Cx<'_>, reason: &Reason, ours: bool) {
        cx.counters.child_failed += 1;
        let text = reason.explain(self.peer());
        let (local, remote, tunnel) = (self.path.local, self.path.remote, self.tunnel_name());
        let nearest = text.nearest.clone().unwrap_or_default();
        let (found, expected, remedy) = (text.found.clone(), text.expected.clone(), text.remedy.clone());
        let words = text.summary.clone();
        match reason {
            Reason::Selectors { .. } | Reason::PeerRefusedSelectors { .. } => {
                cx.log(&events::IpsecSaSelectionFailed {
                    tunnel,
                    local,
                    remote,
                    reason: words,
                    found,
                    expected,
                    nearest,
                    remedy,
                });
            }
            _ => cx.log(&events::IkeQuickmodeFailed {
                tunnel,
                local,
                remote,
                reason: words,
                found,
                expected,
                nearest,
                remedy,
            }),
        }
        let trouble = Trouble { at: cx.now, remote: self.peer(), explanation: text };
        let began = if ours { Began::Ours } else { Began::Peer };
        cx.effects.push(Effect::Trouble { tunnel: self.tunnel_id(), trouble, began });
        if let Some(tunnel) = self.tunnel_id() {
            cx.effects.push(Effect::Missing { tunnel, at_once: false });
            if ours {
                cx.out.push(Output::Failed { tunnel });
            }
        }
    }
}

/// What a forged message says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forgery<'a> {
    pub(crate) exchange: u8,
    pub(crate) response: bool,
    /// `None`: the next one.
    pub(crate) id: Option<u32>,
    pub(crate) first: u8,
    pub(crate) chain: &'a [u8],
}

/// Explains why there is no IKE SA: one event, and a trouble for the tunnel or for the list of strangers.
pub(crate) fn failed_ike(
    cx: &mut Cx<'_>,
    tunnel: Option<&Tunnel>,
    spis: (u64, u64),
    path: &Path,
    reason: &Reason,
    began: Began,
) {
    cx.counters.ike_failed += 1;
    let text = reason.explain(path.remote.ip());
    let (local, remote) = (path.local, path.remote);
    let name = tunnel.map_or_else(|| "-".to_owned(), |tunnel| tunnel.name.clone());
    let (found, expected, remedy) = (text.found.clone(), text.expected.clone(), text.remedy.clone());
    let words = text.summary.clone();
    match reason {
        Reason::NoProposal { subject: Subject::Ike, .. } | Reason::PeerRefusedProposals { .. } => {
            cx.log(&events::IkeInvalidProposal {
                tunnel: name,
                local,
                remote,
                reason: words,
                found,
                expected,
                nearest: text.nearest.clone().unwrap_or_default(),
                remedy,
            });
        }
        Reason::NoAnswer { .. } => {
            cx.log(&events::IkeRetryLimitReached {
                tunnel: name,
                local,
                remote,
                reason: words,
                found,
                expected,
                remedy,
            });
        }
        Reason::NoTunnel { .. } => {
            cx.log(&events::IkeSaNegotiationFailed { local, remote, reason: words, found, expected, remedy });
        }
        _ => cx.log(&events::IkeSaFailed {
            tunnel: name,
            local,
            remote,
            initiator_spi: hex64(spis.0),
            responder_spi: hex64(spis.1),
            kind: text.kind,
            reason: words,
            found,
            expected,
            remedy,
        }),
    }
    let trouble = Trouble { at: cx.now, remote: path.remote.ip(), explanation: text };
    cx.effects.push(Effect::Trouble { tunnel: tunnel.map(|tunnel| tunnel.id), trouble, began });
}

/// Explains why a tunnel cannot begin. There is no IKE SA yet, and perhaps not even the address of a peer.
pub(super) fn cannot_initiate(cx: &mut Cx<'_>, tunnel: &Tunnel, reason: &Reason) {
    cx.counters.ike_failed += 1;
    let (remote, printed) = match &tunnel.remote_endpoint {
        RemoteEndpoint::Address(address) => (*address, address.to_string()),
        RemoteEndpoint::Within(ranges) => (IpAddr::from([0; 4]), selectors::list(ranges)),
        RemoteEndpoint::Any => (IpAddr::from([0; 4]), "any".to_owned()),
    };
    let text = reason.explain(remote);
    let (tunnel_name, words, remedy) = (tunnel.name.clone(), text.summary.clone(), text.remedy.clone());
    cx.log(&events::IkeCannotInitiate { tunnel: tunnel_name, remote: printed, reason: words, remedy });
    let trouble = Trouble { at: cx.now, remote, explanation: text };
    cx.effects.push(Effect::Trouble { tunnel: Some(tunnel.id), trouble, began: Began::Ours });
}

/// An IKE SPI as printed.
fn hex64(spi: u64) -> String {
    format!("0x{spi:016x}")
}

/// A child SPI as printed.
pub(super) fn hex32(spi: u32) -> String {
    format!("0x{spi:08x}")
}
