//! ARP (RFC 826): what is answered, what is believed, what is asked.
//!
//! Believed is the answer that was awaited, and who asks us; a neighbour that is known may say to everybody that it has
//! another hardware address. An answer that nobody asked for changes nothing.

use std::net::{IpAddr, Ipv4Addr};

use base::Instant;
use wire::arp::{Arp, Operation};
use wire::ethernet::{self, Mac};

use crate::interface::{Speaker, Voice};
use crate::resolve::How;
use crate::{Link, Output, Reason};

impl Link {
    /// A message has come in.
    pub(crate) fn arp(
        &mut self,
        now: Instant,
        index: usize,
        source: Mac,
        message: &[u8],
        out: &mut Vec<Output>,
    ) -> Result<(), Reason> {
        let arp = Arp::parse(message).ok_or(Reason::ArpMalformed)?;
        if arp.sender_mac != source {
            return Err(Reason::ArpSenderMismatch);
        }
        if arp.sender.is_multicast() || arp.sender.is_broadcast() || arp.sender.is_loopback() {
            return Err(Reason::ArpMalformed);
        }
        let (sender, target) = (IpAddr::V4(arp.sender), IpAddr::V4(arp.target));
        self.dhcp_overhears(now, index, &arp, out);
        let interface = self.interfaces.get(index).ok_or(Reason::UnknownVlan)?;
        let (id, on_link) = (interface.id, interface.is_on_link(sender));
        if interface.is_directed_broadcast(sender) {
            return Err(Reason::ArpMalformed);
        }
        if self.is_ours(index, sender) {
            self.conflict(now, index, sender, source, out);
            return Err(Reason::AddressConflict);
        }
        // RFC 5227 section 2.1.1: a probe has no sender yet.
        let is_probe = arp.sender.is_unspecified();
        if !is_probe {
            let probed = arp.operation == Operation::Reply && self.take_probed(now, (id, sender));
            if probed {
                out.push(Output::Heard { interface: id, address: sender, mac: source });
            }
            let awaited = probed || self.is_asked_for(&(id, sender));
            // A router may have an address outside of our networks; it is known once we have asked for it.
            if !on_link && !awaited && self.lookup(id, sender).is_none() {
                return Err(Reason::ArpForeignNetwork);
            }
            let for_us = self.speaker(index, target, sender).is_some();
            let how = match arp.operation {
                Operation::Reply if awaited => How::Answer,
                Operation::Request if for_us => How::Question,
                Operation::Request | Operation::Reply if arp.is_gratuitous() => How::Claim,
                // RFC 826 also believes in passing whoever asks for others, once it is known.
                Operation::Request => How::Claim,
                Operation::Reply => return Err(Reason::ArpUnsolicited),
            };
            self.heard(now, index, sender, source, how, out);
        }
        if arp.operation == Operation::Reply || arp.is_gratuitous() {
            return Ok(());
        }
        let Some(speaker) = self.speaker(index, target, sender) else {
            self.verify_proxied(now, index, target, out);
            return Err(Reason::ArpNotForUs);
        };
        let interface = self.interfaces.get_mut(index).ok_or(Reason::UnknownVlan)?;
        if !interface.answers.allows(now) {
            return Err(Reason::AnswerRate);
        }
        let answer = Arp {
            operation: Operation::Reply,
            sender_mac: speaker.mac,
            sender: arp.target,
            target_mac: source,
            target: arp.sender,
        };
        self.transmit(index, (source, speaker.source), ethernet::ARP, &answer.write(), out);
        Ok(())
    }

    /// How we answer somebody who asks for `target`, when we do: never in the place of the asker itself, nor of a host
    /// that is known to be on the same network as the asker.
    pub(crate) fn speaker(&self, index: usize, target: IpAddr, asker: IpAddr) -> Option<Speaker> {
        let interface = self.interfaces.get(index)?;
        let speaker = interface.speaker(target)?;
        if target == asker {
            return None;
        }
        let known = speaker.voice == Voice::Proxied && self.lookup(interface.id, target).is_some();
        (!known).then_some(speaker)
    }

    /// Somebody asks for a host that may have gone from this network to where we would answer for it, as a client that
    /// leaves the office does: looks whether it is still here, so that the next question finds the answer.
    pub(crate) fn verify_proxied(&mut self, now: Instant, index: usize, target: IpAddr, out: &mut Vec<Output>) {
        let Some(interface) = self.interfaces.get(index) else { return };
        if interface.speaker(target).is_some_and(|speaker| speaker.voice == Voice::Proxied) {
            self.verify(now, &(interface.id, target), out);
        }
    }

    /// Asks for an address: everybody, or the one who had it (RFC 1122 section 2.3.2.1).
    pub(crate) fn arp_question(
        &mut self,
        index: usize,
        source: Ipv4Addr,
        target: Ipv4Addr,
        to: Option<Mac>,
        out: &mut Vec<Output>,
    ) {
        let Some(interface) = self.interfaces.get(index) else { return };
        let mac = interface.mac;
        let question =
            Arp { operation: Operation::Request, sender_mac: mac, sender: source, target_mac: Mac::ZERO, target };
        self.transmit(index, (to.unwrap_or(Mac::BROADCAST), mac), ethernet::ARP, &question.write(), out);
    }

    /// Says to everybody who has an address (RFC 5227 section 2.3).
    pub(crate) fn arp_announce(&mut self, index: usize, address: Ipv4Addr, speaker: Speaker, out: &mut Vec<Output>) {
        let announcement = Arp {
            operation: Operation::Request,
            sender_mac: speaker.mac,
            sender: address,
            target_mac: Mac::ZERO,
            target: address,
        };
        self.transmit(index, (Mac::BROADCAST, speaker.source), ethernet::ARP, &announcement.write(), out);
    }
}
