//! A pair of child SAs: its keys, its life, its end.

use base::{Duration, Instant, Secret, Selector};

use super::keys::{self, Keys};
use super::link::{Link, hex32};
use super::{Current, Cx, Effect};
use crate::proposal::Suite;
use crate::selectors::list;
use crate::{ChildId, ChildSa, ChildStatus, Output, events};

/// How long before the end of a life its replacement is made.
const REKEY_MARGIN: Duration = Duration::from_secs(30);
/// How much of the margin chance may take away, so that both sides do not always begin together.
const JITTER_MAX: Duration = Duration::from_secs(2);
/// How long packets under way are still opened once a pair is deleted.
pub(super) const LINGER: Duration = Duration::from_secs(5);
/// How long a replaced pair waits for the peer to delete it before we do.
pub(super) const REPLACED_WAIT: Duration = Duration::from_secs(30);

/// When what lives for `lifetime` from now is to be rekeyed: 30 seconds before its end, or after a quarter of a short
/// life.
pub(super) fn rekey_time(cx: &mut Cx<'_>, lifetime: Duration) -> Instant {
    let margin = REKEY_MARGIN.min(lifetime * 3 / 4);
    let most = JITTER_MAX.min(margin / 4).as_micros();
    let jitter = Duration::from_micros(cx.random.below(u64::try_from(most).unwrap_or(0).saturating_add(1)));
    cx.now + lifetime.saturating_sub(margin) + jitter
}

/// Where in its life a pair stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// In use.
    Current,
    /// Another carries its traffic; the peer is to delete this one, or we do at this time.
    Replaced { until: Instant },
    /// Our DELETE is queued or under way.
    Deleting,
}

/// A pair of child SAs.
#[derive(Debug)]
pub(crate) struct Child {
    pub(super) id: ChildId,
    pub(super) spi_in: u32,
    pub(super) spi_out: u32,
    pub(super) suite: Suite,
    pub(super) local: Vec<Selector>,
    pub(super) remote: Vec<Selector>,
    pub(super) udp_encapsulated: bool,
    /// When it is to be rekeyed; `None` once that is under way.
    pub(super) rekey_at: Option<Instant>,
    pub(super) expires_at: Instant,
    pub(super) phase: Phase,
}

/// What a pair is made of.
#[derive(Debug)]
pub(super) struct Making<'a> {
    pub(super) spi_in: u32,
    pub(super) spi_out: u32,
    pub(super) suite: Suite,
    pub(super) shared: Option<&'a Secret>,
    pub(super) nonce_i: &'a [u8],
    pub(super) nonce_r: &'a [u8],
    /// We began the exchange that makes it.
    pub(super) we_began: bool,
    pub(super) local: Vec<Selector>,
    pub(super) remote: Vec<Selector>,
    pub(super) replaces: Option<ChildId>,
    pub(super) outbound_now: bool,
}

impl Child {
    /// Makes the keys and hands the pair to the data path. `None` when there are no keys to be had, which the suites we
    /// know rule out.
    pub(super) fn make(link: &Link, cx: &mut Cx<'_>, keys: &Keys, making: Making<'_>) -> Option<Self> {
        let tunnel = link.tunnel.as_ref()?;
        let suite = making.suite;
        let made = keys::child(keys, &suite, making.shared, making.nonce_i, making.nonce_r)?;
        let of_i = (made.encryption_i, made.integrity_i);
        let of_r = (made.encryption_r, made.integrity_r);
        let ((encryption_key_out, integrity_key_out), (encryption_key_in, integrity_key_in)) =
            if making.we_began { (of_i, of_r) } else { (of_r, of_i) };
        let id = cx.registry.child_id(making.spi_in);
        let hard_bytes =
            (tunnel.ipsec_lifetime_kilobytes > 0).then(|| tunnel.ipsec_lifetime_kilobytes.saturating_mul(1024));
        let udp_encapsulated = link.encapsulates();
        let child = Self {
            id,
            spi_in: making.spi_in,
            spi_out: making.spi_out,
            suite,
            local: making.local,
            remote: making.remote,
            udp_encapsulated,
            rekey_at: Some(rekey_time(cx, tunnel.ipsec_lifetime)),
            expires_at: cx.now + tunnel.ipsec_lifetime,
            phase: Phase::Current,
        };
        cx.out.push(Output::Install(Box::new(ChildSa {
            id,
            tunnel: tunnel.id,
            spi_in: child.spi_in,
            spi_out: child.spi_out,
            encryption: suite.encryption,
            integrity: suite.integrity,
            esn: suite.esn,
            encryption_key_in,
            integrity_key_in,
            encryption_key_out,
            integrity_key_out,
            local: child.local.clone(),
            remote: child.remote.clone(),
            path: link.path,
            udp_encapsulated,
            outbound_now: making.outbound_now,
            replaces: making.replaces,
            // The rest of the allowance is for what passes while the replacement is made.
            soft_bytes: hard_bytes.map(|bytes| bytes - bytes / 8),
            hard_bytes,
        })));
        let rank = link.spi_i;
        let current = Current { local: child.local.clone(), remote: child.remote.clone(), rank };
        cx.registry.set_current(tunnel.id, id, current);
        cx.counters.child_established += 1;
        if making.replaces.is_some() {
            cx.counters.child_rekeyed += 1;
            cx.log(&events::IpsecSaRekeyed {
                tunnel: tunnel.name.clone(),
                remote: link.path.remote,
                spi_in: hex32(child.spi_in),
                spi_out: hex32(child.spi_out),
                side: if making.we_began { "initiator" } else { "responder" },
                algorithms: suite.to_string(),
            });
        } else {
            cx.log(&events::IpsecSaNegotiationCompleted {
                tunnel: tunnel.name.clone(),
                remote: link.path.remote,
                spi_in: hex32(child.spi_in),
                spi_out: hex32(child.spi_out),
                algorithms: suite.to_string(),
                local_net: list(&child.local),
                remote_net: list(&child.remote),
                udp_encapsulated,
                lifetime: tunnel.ipsec_lifetime.as_secs(),
            });
        }
        cx.effects.push(Effect::Up(tunnel.id));
        Some(child)
    }

    /// Another carries its traffic from now on.
    pub(super) fn replaced(&mut self, link: &Link, cx: &mut Cx<'_>) {
        self.phase = Phase::Replaced { until: cx.now + REPLACED_WAIT };
        self.rekey_at = None;
        self.retire(link, cx);
    }

    /// It no longer counts as carrying anything.
    pub(super) fn retire(&self, link: &Link, cx: &mut Cx<'_>) {
        if let Some(tunnel) = link.tunnel_id() {
            cx.registry.retire(tunnel, self.id);
        }
    }

    /// The end: nothing is sent on it any more, and what is under way is opened for a few seconds more.
    pub(super) fn end(self, link: &Link, cx: &mut Cx<'_>, why: &'static str) {
        self.retire(link, cx);
        if self.phase != Phase::Deleting {
            cx.out.push(Output::StopSending(self.id));
        }
        cx.effects.push(Effect::Linger { child: self.id, until: cx.now + LINGER });
        self.log_end(link, cx, why);
    }

    /// The end at once: nothing may pass any more.
    pub(super) fn cut(self, link: &Link, cx: &mut Cx<'_>, why: &'static str) {
        self.retire(link, cx);
        cx.out.push(Output::Remove(self.id));
        cx.registry.forget(self.id);
        self.log_end(link, cx, why);
    }

    fn log_end(&self, link: &Link, cx: &mut Cx<'_>, why: &'static str) {
        cx.log(&events::IpsecSaDeleted {
            tunnel: link.tunnel_name(),
            remote: link.path.remote,
            spi_in: hex32(self.spi_in),
            spi_out: hex32(self.spi_out),
            why,
        });
    }

    pub(super) fn is_current(&self) -> bool {
        self.phase == Phase::Current
    }

    pub(super) fn status(&self, now: Instant) -> ChildStatus {
        ChildStatus {
            id: self.id,
            spi_in: self.spi_in,
            spi_out: self.spi_out,
            local: self.local.clone(),
            remote: self.remote.clone(),
            encryption: self.suite.encryption,
            integrity: self.suite.integrity,
            esn: self.suite.esn,
            udp_encapsulated: self.udp_encapsulated,
            expires_in: self.expires_at.since(now),
            pfs: self.suite.group.map(crypto::Group::name),
            current: self.is_current(),
        }
    }
}
