//! INFORMATIONAL requests: deletes of both kinds, liveness, errors. RFC 7296 sections 1.4 and 2.25.

use wire::ike::{Delete, NotifyType, Payload, ProtocolId};

use super::Cx;
use super::child::Phase;
use super::closing::Closing;
use super::established::{Active, Established};
use super::link::{Asked, Link, hex32};
use super::rules::Contents;
use super::sa::State;
use crate::events;
use crate::reason::Reason;

impl Established {
    /// Answers whatever comes; an empty request asks whether we live.
    pub(super) fn inform(
        mut self: Box<Self>,
        link: &mut Link,
        cx: &mut Cx<'_>,
        asked: &Asked,
        contents: &Contents,
    ) -> State {
        if contents.notify(NotifyType::AUTHENTICATION_FAILED).is_some() {
            return self.refused(link, cx, asked);
        }
        if contents.deletes.iter().any(|delete| delete.protocol == ProtocolId::IKE) {
            return self.ended_by_peer(link, cx, asked);
        }
        let mut deleted = Vec::new();
        let spis = contents.deletes.iter().filter(|delete| delete.protocol == ProtocolId::ESP);
        for spi in spis.flat_map(Delete::spis_u32) {
            deleted.extend(self.delete_by_peer(link, cx, spi));
        }
        let payloads = if deleted.is_empty() { Vec::new() } else { vec![Payload::Delete(Delete::esp(&deleted))] };
        link.respond(cx, asked, &payloads);
        self.pump(link, cx);
        State::Established(self)
    }

    /// The peer deletes the child SA that it receives on under this SPI. Returns our SPI for the answer, unless our own
    /// DELETE is under way (RFC 7296 section 1.4.1).
    fn delete_by_peer(&mut self, link: &Link, cx: &mut Cx<'_>, spi_out: u32) -> Option<u32> {
        let spi_in = self.children.values().find(|child| child.spi_out == spi_out)?.spi_in;
        let child = self.children.remove(&spi_in)?;
        let was = child.phase;
        if was == Phase::Current {
            cx.log(&events::IkeDeleteNotification {
                tunnel: link.tunnel_name(),
                remote: link.path.remote,
                protocol: "ESP",
                spi: hex32(spi_out),
            });
            self.missing(link, cx, false);
        }
        child.end(link, cx, if was == Phase::Current { "deleted by the peer" } else { "rekeyed" });
        let ours_under_way = match &self.active {
            Some(Active::Delete(spis, _)) => spis.contains(&spi_in),
            _ => false,
        };
        (!ours_under_way).then_some(spi_in)
    }

    /// The peer deletes the IKE SA. If it was about to be replaced, what the peer's own rekeying made takes over.
    fn ended_by_peer(mut self: Box<Self>, link: &mut Link, cx: &mut Cx<'_>, asked: &Asked) -> State {
        self.yield_to_rival(cx);
        let replaced = self.successor.is_some();
        if !replaced {
            let (spi, _) = link.spis_hex();
            let (tunnel, remote) = (link.tunnel_name(), link.path.remote);
            cx.log(&events::IkeDeleteNotification { tunnel, remote, protocol: "IKE", spi });
        }
        self.missing(link, cx, false);
        link.outgoing.answered();
        self.cut_children(link, cx, "deleted by the peer");
        self.log_end(link, cx, if replaced { "rekeyed" } else { "deleted by the peer" });
        link.respond(cx, asked, &[]);
        Closing::linger(cx)
    }

    /// RFC 7296 section 2.21.2: the initiator does not accept our proof, though we have accepted its.
    fn refused(mut self: Box<Self>, link: &mut Link, cx: &mut Cx<'_>, asked: &Asked) -> State {
        let psk = link.tunnel.as_ref().map(|tunnel| tunnel.psk_name.clone()).unwrap_or_default();
        let identity = self.local_id.to_string();
        let reason = Reason::PeerRefusedAuth { tunnel: link.tunnel_name(), psk, identity };
        self.cut_children(link, cx, "refused by the peer");
        link.failed(cx, &reason);
        link.respond(cx, asked, &[]);
        Closing::linger(cx)
    }
}
