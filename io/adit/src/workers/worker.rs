//! One worker: a shard of the packet path with ports of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::{Buffer, Duration, Event, Instant, Offload};
use dataplane::{Dataplane, Handoff, Output};
use engine::Input;

use crate::clock;
use crate::datagram::Outgoing;
use crate::epoll::{Epoll, Token};
use crate::events::WorkerRefusedSa;
use crate::handover::{Sleeper, Taker};
use crate::workers::exchange::Exchange;
use crate::workers::inlets::{Inlets, Taken};
use crate::workers::mail::Outbox;
use crate::workers::orders::{ORDERS_MAX, Order};
use crate::workers::outlets::{News, Outlets};

/// What the worker sleeps on.
const SLEEPER: Token = Token(0);
/// Ports count on from here.
const PORTS: u64 = 1;
/// Packets decided about before those that may leave do.
const BATCH: usize = 64;
/// When the control thread had no room for what must not be lost, it is offered again so soon.
const AGAIN_TIME: Duration = Duration::from_millis(1);

/// All that a worker has.
pub struct Worker {
    pub data: Dataplane,
    pub inlets: Inlets,
    pub outlets: Outlets,
    pub sleeper: Sleeper,
    pub orders: Taker<Order>,
    pub outbox: Outbox,
    pub exchange: Exchange,
    /// The number of the last beat it was asked for.
    pub beat: Arc<AtomicU64>,
    pub out: Vec<Output>,
    /// Packets for the TUN device.
    pub plain: Vec<(Buffer, Offload)>,
    pub taken_orders: Vec<Order>,
    pub taken_over: Vec<Handoff>,
    pub stopped: bool,
}

impl Worker {
    /// Carries packets until it is told to stop. An error is a port that is gone.
    pub fn go_on(&mut self) -> io::Result<()> {
        let mut epoll = Epoll::new()?;
        epoll.add(&self.sleeper, SLEEPER)?;
        self.inlets.wait_with(&epoll, PORTS)?;
        let mut ready = Vec::new();
        while !self.stopped {
            let timeout = self.timeout(clock::mono());
            let (orders, exchange) = (&self.orders, &self.exchange);
            let timeout = if self.sleeper.may_sleep(|| orders.is_empty() && exchange.is_empty()) {
                timeout
            } else {
                Some(Duration::ZERO)
            };
            epoll.wait(timeout, &mut ready)?;
            if ready.contains(&SLEEPER) {
                self.sleeper.woken()
            } else {
                self.sleeper.busy()
            }
            for token in ready.iter().filter(|token| **token != SLEEPER) {
                self.inlets.receive(*token, &mut self.data)?;
                // After receiving and before deciding: what was handed over before a packet left is known before its
                // answer is looked at.
                let now = clock::mono();
                self.take_inbox(now);
                self.decide(now);
            }
            let now = clock::mono();
            self.take_inbox(now);
            if self.data.next_deadline().is_some_and(|at| at <= now) {
                self.data.expire(now, &mut self.out);
            }
            self.hand_out(now);
        }
        Ok(())
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        let deadline = self.data.next_deadline().map(|at| at.since(now));
        let again = (self.outbox.waits() || self.exchange.waits()).then_some(AGAIN_TIME);
        [deadline, again].into_iter().flatten().min()
    }

    /// Takes all that others have handed over.
    fn take_inbox(&mut self, now: Instant) {
        self.orders.take(ORDERS_MAX, &mut self.taken_orders);
        if !self.taken_orders.is_empty() {
            self.obey(now);
        }
        self.exchange.take(&mut self.taken_over);
        for handoff in self.taken_over.drain(..) {
            self.data.take_over(now, handoff, &mut self.out);
        }
    }

    fn obey(&mut self, now: Instant) {
        let mut orders = std::mem::take(&mut self.taken_orders);
        for order in orders.drain(..) {
            match order {
                Order::Control(control) => {
                    if let Err(error) = self.data.control(now, control, &mut self.out) {
                        let event = WorkerRefusedSa { reason: error.to_string() };
                        self.outbox.report(Output::Log(event.record()));
                    }
                }
                Order::Originate(None, packet) => self.data.originate(now, packet, &mut self.out),
                Order::Originate(Some(over), packet) => self.data.originate_over(now, over, packet, &mut self.out),
                Order::Look(question) => question(&mut self.data, now),
                Order::Beat(number) => self.beat.store(number, Ordering::Relaxed),
                Order::Stop => self.stopped = true,
            }
        }
        self.taken_orders = orders;
    }

    /// Carries through what was received.
    fn decide(&mut self, now: Instant) {
        let mut count = 0;
        let not_ours = self.data.policy().has_packet_ports();
        while let Some(taken) = self.inlets.next() {
            match taken {
                // The control thread has the link layer, and with it every connection.
                taken if not_ours => taken.for_control(|input| self.outbox.packet(input)),
                Taken::Plain(packet, Offload::NONE) => self.data.plain(now, packet, &mut self.out),
                Taken::Plain(packet, offload) => self.data.plain_offloaded(now, packet, offload, &mut self.out),
                Taken::Esp(outer, ds, packet) => self.data.esp(now, outer, ds, packet, &mut self.out),
                Taken::Train(outer, ds, train, size) => {
                    self.data.esp_train(now, outer, ds, train, usize::from(size), &mut self.out);
                }
                other @ (Taken::Ike { .. } | Taken::PathMtu(..)) => {
                    other.for_control(|input| self.outbox.packet(input));
                }
            }
            count += 1;
            if count % BATCH == 0 {
                self.hand_out(now);
            }
        }
        self.hand_out(now);
    }

    /// Hands out what the packet path wants done.
    fn hand_out(&mut self, now: Instant) {
        // Before anything leaves: whose a connection is must be known before an answer can come.
        for (to, handoff) in self.data.handoffs() {
            self.exchange.push(to, handoff);
        }
        let lost = self.exchange.give();
        self.outbox.count_lost(lost);
        for output in self.out.drain(..) {
            match output {
                Output::Plain { packet, offload, .. } => self.plain.push((packet, offload)),
                Output::Local { packet, offload, .. } if is_never_for_control(packet.bytes()) => {
                    self.plain.push((packet, offload));
                }
                own @ (Output::Local { .. } | Output::Ike { .. }) => self.outbox.packet(Input::Shard(own)),
                // With packet ports the control thread carries all, see decide().
                Output::Link { packet, .. } => self.data.recycle(packet),
                Output::Outer { outer, ds, df, packet, segment } => {
                    let (local, remote) = (outer.local.ip(), outer.remote);
                    let outgoing = Outgoing { local, remote, ds, whole: df, segment_size: segment, payload: packet };
                    if outer.udp {
                        self.outlets.queue_datagram(outer.local, outgoing);
                    } else {
                        let remote = SocketAddr::new(remote.ip(), 0);
                        self.outlets.queue_esp(Outgoing { remote, ..outgoing });
                    }
                }
                report @ (Output::Exception(_) | Output::Log(_)) => self.outbox.report(report),
            }
        }
        let (data, outbox) = (&mut self.data, &mut self.outbox);
        for (packet, offload) in self.plain.drain(..) {
            if let Some(record) = self.outlets.write_plain(now, &packet, &offload) {
                outbox.report(Output::Log(record));
            }
            data.recycle(packet);
        }
        let tell = |news: News| match news {
            News::Log(record) => outbox.report(Output::Log(record)),
            News::PathMtu(remote, mtu) => outbox.packet(Input::PathMtu { remote, mtu }),
        };
        self.outlets.flush(now, |buffer| data.recycle(buffer), tell);
        outbox.give();
    }
}

/// True for a packet to an address of the gateway that is the kernel's for sure: TCP and UDP. Of what remains, the
/// control thread looks for answers to its pings.
fn is_never_for_control(packet: &[u8]) -> bool {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    let protocol = match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(9),
        Some(6) => packet.get(6),
        _ => None,
    };
    matches!(protocol, Some(&(TCP | UDP)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_for_the_gateway_that_may_answer_a_ping_are_for_the_control_thread() {
        let v4 = |protocol| [0x45, 0, 0, 20, 0, 0, 0, 0, 64, protocol];
        let v6 = |next_header| [0x60, 0, 0, 0, 0, 8, next_header, 64];
        assert!(is_never_for_control(&v4(6)) && is_never_for_control(&v4(17)));
        assert!(is_never_for_control(&v6(6)) && is_never_for_control(&v6(17)));
        assert!(!is_never_for_control(&v4(1)) && !is_never_for_control(&v6(58)));
        // An extension header, behind which anything may be.
        assert!(!is_never_for_control(&v6(0)) && !is_never_for_control(&[]));
    }
}
