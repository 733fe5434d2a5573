//! IKEv2 as state machines. One IKE SA is a [`Link`] (who speaks with whom under which keys and message IDs) and a state:
//!
//! ```text
//! initiator   AwaitInit -> AwaitAuth -.
//!                                      +-> Established -> Closing -> gone
//! responder   HalfOpen ---------------'
//! ```
//!
//! A state ends only by an authenticated message, by time, or by a wish of ours. `sa.rs` joins the states; each exchange
//! has a file: `init.rs`, `auth.rs`, `child.rs`, `rekey.rs`, `informational.rs`.

mod auth;
mod child;
mod child_request;
mod child_response;
mod closing;
mod established;
mod fragment;
mod identity;
mod informational;
mod init;
mod init_response;
mod keys;
mod link;
mod maintain;
mod nat;
mod offers;
mod protect;
mod rekey;
mod rules;
mod sa;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use base::{Event, Instant, Random, Selector};
use wire::ike::Id;

pub(crate) use init::start;
pub(crate) use init_response::{Stranger, answer_stranger};
pub(crate) use link::{Forgery, failed_ike};
pub(crate) use nat::Nat;
pub(crate) use sa::{IkeSa, State};
pub(crate) use window::digest;

use crate::limiter::RateLimit;
use crate::proposal::Suite;
use crate::{ChildId, Config, Counters, Output, Traffic, Trigger, Trouble, TunnelId};

/// An IKE SA of ours, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SaId(pub(crate) u64);

/// What every step may use and change beside the IKE SA it concerns.
pub(crate) struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) config: &'a Config,
    pub(crate) traffic: &'a dyn Traffic,
    pub(crate) random: &'a mut Random,
    pub(crate) registry: &'a mut Registry,
    pub(crate) counters: &'a mut Counters,
    /// Bounds what is said to strangers and logged of them.
    pub(crate) refusals: &'a mut RateLimit,
    pub(crate) effects: &'a mut Vec<Effect>,
    pub(crate) out: &'a mut Vec<Output>,
}

impl Cx<'_> {
    /// Writes an event into the log.
    pub(crate) fn log(&mut self, event: &impl Event) {
        self.out.push(Output::Log(event.record()));
    }

    /// Random bytes that the world may see.
    fn nonce(&mut self) -> Vec<u8> {
        let mut nonce = vec![0; NONCE_LEN];
        self.random.fill(&mut nonce);
        nonce
    }
}

/// Bytes of our nonces: at least half the key of any PRF of ours (RFC 7296 section 2.10).
const NONCE_LEN: usize = 32;

/// Bytes that a nonce must have: half the key of the PRF (RFC 7296 section 2.10).
fn nonce_min(suite: &Suite) -> usize {
    suite.prf.map_or(0, |prf| prf.key_len().div_ceil(2)).max(16)
}

/// What a step of one IKE SA means for others; the endpoint sees to it after the step.
#[derive(Debug)]
pub(crate) enum Effect {
    /// An IKE SA was rekeyed: here is the new one.
    Adopt(Box<IkeSa>),
    /// Child SAs and wishes now belong to another IKE SA.
    Hand { to: SaId, children: Vec<child::Child>, wanted: Vec<Wanted> },
    /// This IKE SA lost a collision; its maker is to delete it.
    Supersede(SaId),
    /// The peer uses the IKE SA that it made in a collision of rekeyings: this one, which we were replacing, gives way.
    Yield(SaId),
    /// What this IKE SA was made to replace is to end, and so is it.
    End { id: SaId, why: &'static str },
    /// The peer has started anew: other IKE SAs with it are void.
    ///
    /// Only those established `before` the new one began: a peer that began while another was being established has
    /// forgotten nothing.
    InitialContact { tunnel: TunnelId, remote_id: Id, except: SaId, before: Instant, remote: SocketAddr },
    /// A pair is not sent on any more and is to be forgotten at this time.
    Linger { child: ChildId, until: Instant },
    /// Something went wrong, in something that `began` so.
    Trouble { tunnel: Option<TunnelId>, trouble: Trouble, began: Began },
    /// A child SA of the tunnel came up.
    Up(TunnelId),
    /// Something of the tunnel is missing that AutoEstablish should bring back: at once, or after its waiting time.
    Missing { tunnel: TunnelId, at_once: bool },
}

/// Who began what then went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Began {
    /// We did: whoever waits for it is to wait before the next attempt.
    Ours,
    /// A peer that has proved who it is.
    Peer,
    /// Somebody who has proved nothing, so that it changes nothing for anybody (RFC 7296 section 2.21).
    Stranger,
}

/// A child SA that somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Our side and the peer's: networks, hosts, or ports of hosts.
    pub(crate) pair: (Selector, Selector),
    /// The packet that wants it, when it is for more than that.
    pub(crate) trigger: Option<Trigger>,
}

/// Numbers that must be unique over all IKE SAs.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    esp: BTreeSet<u32>,
    ike: BTreeMap<u64, SaId>,
    current: BTreeMap<(TunnelId, ChildId), Current>,
    child_spis: BTreeMap<ChildId, u32>,
    /// Address of the peer, and whether the IKE SA is established. Those that await the answer to IKE_AUTH are here too.
    peers: BTreeMap<SaId, (IpAddr, bool)>,
    next_child: u64,
    next_sa: u64,
}

/// A child SA in use, as others see it.
#[derive(Clone, Debug)]
struct Current {
    local: Vec<Selector>,
    remote: Vec<Selector>,
    /// What both sides order duplicates by.
    rank: u64,
}

impl Registry {
    /// A number for a new IKE SA.
    pub(crate) fn sa_id(&mut self) -> SaId {
        self.next_sa += 1;
        SaId(self.next_sa)
    }

    /// An IKE SPI that no IKE SA here has.
    pub(crate) fn ike_spi(&mut self, sa: SaId, random: &mut Random) -> u64 {
        loop {
            let spi = random.u64();
            if spi != 0 && !self.ike.contains_key(&spi) {
                self.ike.insert(spi, sa);
                return spi;
            }
        }
    }

    /// The IKE SA with this SPI of ours.
    pub(crate) fn by_spi(&self, spi: u64) -> Option<SaId> {
        self.ike.get(&spi).copied()
    }

    /// Forgets an IKE SPI.
    pub(crate) fn release_ike(&mut self, spi: u64) {
        self.ike.remove(&spi);
    }

    /// Where an IKE SA stands after a step.
    pub(crate) fn note(&mut self, sa: &IkeSa) {
        let established = match &sa.state {
            State::Established(_) => Some(true),
            State::AwaitAuth(_) => Some(false),
            _ => None,
        };
        match established {
            Some(established) => _ = self.peers.insert(sa.link.id, (sa.link.path.remote.ip(), established)),
            None => _ = self.peers.remove(&sa.link.id),
        }
    }

    fn is_established(&self, sa: SaId) -> bool {
        self.peers.get(&sa).is_some_and(|(_, established)| *established)
    }

    /// True when an IKE SA stands with a peer of this address, or ours has told it who we are.
    fn knows(&self, peer: IpAddr) -> bool {
        self.peers.values().any(|(other, _)| *other == peer)
    }

    /// Child SAs whose IKE SA is gone. Returns what the data path is to forget.
    pub(crate) fn orphans(&mut self, children: Vec<child::Child>) -> Vec<ChildId> {
        let orphans: Vec<ChildId> = children.into_iter().map(|child| child.id).collect();
        self.current.retain(|(_, id), _| !orphans.contains(id));
        orphans.iter().for_each(|id| self.forget(*id));
        orphans
    }

    /// An SPI for packets to us that no child SA here has (RFC 4303 section 2.1 reserves the first 256).
    fn esp_spi(&mut self, random: &mut Random) -> u32 {
        loop {
            let spi = random.u32();
            if spi > 255 && self.esp.insert(spi) {
                return spi;
            }
        }
    }

    /// Forgets an SPI that never came into use.
    fn release_esp(&mut self, spi: u32) {
        self.esp.remove(&spi);
    }

    fn child_id(&mut self, spi: u32) -> ChildId {
        self.next_child += 1;
        let id = ChildId(self.next_child);
        self.child_spis.insert(id, spi);
        id
    }

    /// The pair is gone for good: its SPI may come again.
    pub(crate) fn forget(&mut self, child: ChildId) {
        if let Some(spi) = self.child_spis.remove(&child) {
            self.esp.remove(&spi);
        }
    }

    fn set_current(&mut self, tunnel: TunnelId, child: ChildId, current: Current) {
        self.current.insert((tunnel, child), current);
    }

    fn retire(&mut self, tunnel: TunnelId, child: ChildId) {
        self.current.remove(&(tunnel, child));
    }

    /// True when another IKE SA of the tunnel has a child SA for the same traffic, and that one is to be kept. Both sides
    /// come to the same answer.
    fn is_spare(&self, tunnel: TunnelId, child: ChildId) -> bool {
        let Some(own) = self.current.get(&(tunnel, child)) else { return false };
        self.current.range((tunnel, ChildId(0))..=(tunnel, ChildId(u64::MAX))).any(|((_, other_id), other)| {
            *other_id != child && other.local == own.local && other.remote == own.remote && other.rank > own.rank
        })
    }

    /// True when a child SA in use carries this traffic between networks.
    pub(crate) fn carries(&self, tunnel: TunnelId, wanted: &Wanted) -> bool {
        let (local, remote) = match &wanted.trigger {
            Some(trigger) => (Selector::all(trigger.source.0.into()), Selector::all(trigger.destination.0.into())),
            None => wanted.pair,
        };
        let covers =
            |selectors: &[Selector], narrow: &Selector| selectors.iter().any(|selector| selector.covers(narrow));
        self.current
            .range((tunnel, ChildId(0))..=(tunnel, ChildId(u64::MAX)))
            .any(|(_, current)| covers(&current.local, &local) && covers(&current.remote, &remote))
    }
}
