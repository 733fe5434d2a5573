//! The gateway's own addresses: asked for before they are used (RFC 4862 section 5.4), announced, defended (RFC 5227).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use base::{Duration, Instant};
use wire::ethernet::Mac;

use crate::interface::{Standing, Voice};
use crate::link::Task;
use crate::neighbours::Key;
use crate::{Link, Output, events};

/// How long it is waited for somebody who has the address (RFC 4862 section 5.1: one question, RetransTimer).
const CLAIM_WAIT: Duration = Duration::from_secs(1);
/// Announcements of an address (RFC 5227 section 1.1, ANNOUNCE_NUM).
const ANNOUNCEMENTS: u8 = 2;
/// Between two of them (ANNOUNCE_INTERVAL).
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(2);
/// Between two defences of an address (DEFEND_INTERVAL).
const DEFEND_AGAIN: Duration = Duration::from_secs(10);
/// Addresses whose conflicts are remembered at once, at most.
const CONFLICTS_MAX: usize = 256;
/// Of a published range that many addresses are announced at most.
const PUBLISHED_ANNOUNCED_MAX: usize = 16;

impl Link {
    /// The addresses that can be announced, each with the hardware address it has.
    pub(crate) fn spoken_for(&self) -> BTreeMap<Key, Mac> {
        let mut spoken = BTreeMap::new();
        for interface in &self.interfaces {
            let own = interface.own.iter().map(|own| own.address);
            let published =
                interface.publish.iter().flat_map(|publish| first_of(&publish.range, PUBLISHED_ANNOUNCED_MAX));
            for address in own.chain(published) {
                if let Some(speaker) = interface.speaker(address) {
                    spoken.insert((interface.id, address), speaker.mac);
                }
            }
        }
        spoken
    }

    /// Asks whether somebody has one of the addresses that may not be used yet, or, when the interface may have been
    /// elsewhere meanwhile, one of all.
    pub(crate) fn check_addresses(&mut self, now: Instant, index: usize, again: bool, out: &mut Vec<Output>) {
        let leader = self.is_leader();
        let Some(interface) = self.interfaces.get_mut(index) else { return };
        let (id, port) = (interface.id, interface.port);
        let mut asked: Vec<Ipv6Addr> = Vec::new();
        for own in &mut interface.own {
            let IpAddr::V6(address) = own.address else { continue };
            own.standing = match own.standing {
                // Only one worker asks.
                _ if !leader => Standing::Usable,
                Standing::Usable if !again => Standing::Usable,
                Standing::Tentative | Standing::Usable | Standing::Duplicate => {
                    asked.push(address);
                    Standing::Tentative
                }
            };
        }
        if self.is_up(port) {
            for address in asked {
                self.ndp_question(index, Ipv6Addr::UNSPECIFIED, address, None, out);
                self.timers.set(Task::Unclaimed(id, address.into()), now + CLAIM_WAIT);
            }
        }
    }

    /// Nobody has claimed the address.
    pub(crate) fn unclaimed(&mut self, now: Instant, key: Key, out: &mut Vec<Output>) {
        let Some(own) = self.interface_mut(key.0).and_then(|interface| interface.own_mut(key.1)) else { return };
        if own.standing == Standing::Tentative {
            own.standing = Standing::Usable;
            self.start_announcing(now, key, out);
        }
    }

    /// Somebody has the address that we have asked for.
    pub(crate) fn claimed(&mut self, now: Instant, index: usize, address: IpAddr, mac: Mac, out: &mut Vec<Output>) {
        let Some(interface) = self.interfaces.get_mut(index) else { return };
        let (id, iface) = (interface.id, interface.name.clone());
        if let Some(own) = interface.own_mut(address) {
            own.standing = Standing::Duplicate;
            self.timers.cancel(&Task::Unclaimed(id, address));
            out.push(Output::Conflict { interface: id, address, mac, kept: false });
            self.log(now, &events::DuplicateAddress { iface, ip: address, hwsender: mac.to_string() }, out);
        }
    }

    /// True for addresses that nobody else may use: our own, and those published.
    pub(crate) fn is_ours(&self, index: usize, address: IpAddr) -> bool {
        let speaker = self.interfaces.get(index).and_then(|interface| interface.speaker(address));
        speaker.is_some_and(|speaker| speaker.voice != Voice::Proxied)
    }

    /// Somebody uses an address of ours: it is kept, and everybody told so, not too often (RFC 5227 section 2.4 c).
    pub(crate) fn conflict(&mut self, now: Instant, index: usize, address: IpAddr, mac: Mac, out: &mut Vec<Output>) {
        let Some(interface) = self.interfaces.get(index) else { return };
        let (id, iface) = (interface.id, interface.name.clone());
        // The station to which a published address belongs speaks for itself.
        if interface.speaker(address).is_some_and(|speaker| speaker.mac == mac) {
            return;
        }
        if self.conflicts.len() >= CONFLICTS_MAX {
            self.conflicts.retain(|_, at| now.since(*at) < DEFEND_AGAIN);
        }
        let recent = self.conflicts.get(&(id, address)).is_some_and(|at| now.since(*at) < DEFEND_AGAIN);
        if recent || self.conflicts.len() >= CONFLICTS_MAX {
            return;
        }
        self.conflicts.insert((id, address), now);
        out.push(Output::Conflict { interface: id, address, mac, kept: true });
        self.log(now, &events::AddressConflict { iface, ip: address, hwsender: mac.to_string() }, out);
        self.say(index, address, out);
    }

    /// Announces an address, now and once more.
    pub(crate) fn start_announcing(&mut self, now: Instant, key: Key, out: &mut Vec<Output>) {
        if self.is_leader() {
            self.announcing.insert(key, ANNOUNCEMENTS);
            self.announce(now, key, out);
        }
    }

    /// Makes one of the announcements.
    pub(crate) fn announce(&mut self, now: Instant, key: Key, out: &mut Vec<Output>) {
        let (Some(left), Some(index)) = (self.announcing.get_mut(&key), self.by_id.get(&key.0).copied()) else {
            return;
        };
        *left = left.saturating_sub(1);
        if *left > 0 {
            self.timers.set(Task::Announce(key.0, key.1), now + ANNOUNCE_AGAIN);
        } else {
            self.announcing.remove(&key);
        }
        self.say(index, key.1, out);
    }

    fn say(&mut self, index: usize, address: IpAddr, out: &mut Vec<Output>) {
        let Some(speaker) = self.interfaces.get(index).and_then(|interface| interface.speaker(address)) else { return };
        match address {
            // What only passes through us is not announced.
            _ if speaker.voice == Voice::Proxied => {}
            IpAddr::V4(address) => self.arp_announce(index, address, speaker, out),
            IpAddr::V6(address) => self.ndp_announce(index, address, speaker, out),
        }
    }
}

/// The first addresses of a range.
fn first_of(range: &base::IpRange, count: usize) -> impl Iterator<Item = IpAddr> + use<> {
    let (first, range) = (range.first(), *range);
    let next = |address: &IpAddr| match address {
        IpAddr::V4(v4) => v4.to_bits().checked_add(1).map(|bits| std::net::Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(v6) => v6.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    };
    std::iter::successors(Some(first), next).take(count).take_while(move |address| range.contains(*address))
}
