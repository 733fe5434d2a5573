//! The packet path as the gateway reaches it: in line with its steps, or on threads of the shell.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::LinkControl;
use base::{Buffer, Instant};
use dataplane::{ConnectionStatus, Control, Counters, Dataplane, Output, Over, Policy, Route, SaError, SaId, SaUsage};

/// Picks connections.
pub type Pick = Arc<dyn Fn(&ConnectionStatus) -> bool + Send + Sync>;

/// Shards of the packet path on threads of their own. What they hand out for the gateway comes back as
/// [`Input::Shard`](crate::Input::Shard).
pub trait Shards: fmt::Debug {
    /// Tells every shard, each in the order of the calls.
    fn control(&mut self, control: Control);
    /// Tells the link layer of every shard, each in the order of the calls.
    fn link_control(&mut self, control: LinkControl);
    /// Sends a packet of the gateway's own, by this way or by the routes.
    fn originate(&mut self, over: Option<Over>, packet: Buffer);
    /// The connections of all shards that `pick` picks, `limit` of them at most, and how many there are.
    fn connections(&self, pick: &Pick, limit: usize) -> (Vec<ConnectionStatus>, usize);
    /// Ends the connections that `pick` picks; returns how many.
    fn close_connections(&mut self, pick: &Pick) -> usize;
    /// What all shards have dropped.
    fn counters(&self) -> Counters;
}

/// The packet path. With shards the one in line carries no packet: it answers what the control side asks of routes, the
/// policy and SAs, whose counters it shares with the shards.
#[derive(Debug)]
pub(crate) struct Packets {
    pub(crate) line: Dataplane,
    shards: Option<Box<dyn Shards>>,
    /// Frames of packet ports go through the one in line, and so do the gateway's own packets then.
    pub(crate) frames_in_line: bool,
}

impl Packets {
    pub(crate) fn new(line: Dataplane) -> Self {
        Self { line, shards: None, frames_in_line: false }
    }

    /// Packets go through shards from now on.
    pub(crate) fn hand_over(&mut self, mut shards: Box<dyn Shards>) {
        shards.control(Control::Replace(Arc::clone(self.line.policy())));
        self.shards = Some(shards);
    }

    pub(crate) fn control(&mut self, now: Instant, control: Control, out: &mut Vec<Output>) -> Result<(), SaError> {
        match &mut self.shards {
            None => self.line.control(now, control, out),
            Some(shards) => {
                self.line.control(now, control.clone(), out)?;
                shards.control(control);
                Ok(())
            }
        }
    }

    /// Tells the link layers of the shards. The leader is the gateway's.
    pub(crate) fn link_control(&mut self, control: LinkControl) {
        if let Some(shards) = &mut self.shards {
            shards.link_control(control);
        }
    }

    pub(crate) fn originate(&mut self, now: Instant, over: Option<Over>, packet: Buffer, out: &mut Vec<Output>) {
        match (self.shards.as_mut().filter(|_| !self.frames_in_line), over) {
            (None, None) => self.line.originate(now, packet, out),
            (None, Some(over)) => self.line.originate_over(now, over, packet, out),
            (Some(shards), over) => shards.originate(over, packet),
        }
    }

    pub(crate) fn connections(&self, now: Instant, pick: &Pick, limit: usize) -> (Vec<ConnectionStatus>, usize) {
        let (mut shown, mut count) = match &self.shards {
            Some(shards) => shards.connections(pick, limit),
            None => (Vec::new(), 0),
        };
        for connection in self.line.connections(now).filter(|connection| pick(connection)) {
            count = count.saturating_add(1);
            if shown.len() < limit {
                shown.push(connection);
            }
        }
        (shown, count)
    }

    pub(crate) fn close_connections(&mut self, pick: &Pick) -> usize {
        let in_line = self.line.close_connections(|connection| pick(connection));
        let in_shards = self.shards.as_mut().map_or(0, |shards| shards.close_connections(pick));
        in_line.saturating_add(in_shards)
    }

    pub(crate) fn counters(&self) -> Counters {
        let mut counters = self.line.counters().clone();
        if let Some(shards) = &self.shards {
            counters.add(&shards.counters());
        }
        counters
    }

    pub(crate) fn usage(&self, sa: SaId) -> Option<SaUsage> {
        self.line.usage(sa)
    }

    pub(crate) fn policy(&self) -> &Arc<Policy> {
        self.line.policy()
    }

    pub(crate) fn lookup(&self, address: IpAddr) -> Option<&Route> {
        self.line.lookup(address)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use dataplane::{CORE, Interface, InterfaceKind, Policy};

    use super::*;

    /// Writes down what it is told.
    #[derive(Debug, Default)]
    struct Told(Rc<RefCell<Vec<&'static str>>>);

    impl Shards for Told {
        fn control(&mut self, control: Control) {
            self.0.borrow_mut().push(match control {
                Control::Replace(_) => "replace",
                Control::Remove(_) => "remove",
                _ => "other",
            });
        }

        fn link_control(&mut self, _: LinkControl) {
            self.0.borrow_mut().push("link");
        }

        fn originate(&mut self, _: Option<Over>, _: Buffer) {
            self.0.borrow_mut().push("originate");
        }

        fn connections(&self, _: &Pick, _: usize) -> (Vec<ConnectionStatus>, usize) {
            (Vec::new(), 7)
        }

        fn close_connections(&mut self, _: &Pick) -> usize {
            3
        }

        fn counters(&self) -> Counters {
            Counters::default()
        }
    }

    #[test]
    fn shards_are_told_the_policy_first_and_everything_after_it() {
        let policy = Policy::new(vec![Interface::new(CORE, "core", InterfaceKind::Core)], Vec::new());
        let mut packets = Packets::new(Dataplane::new(Arc::new(policy)));
        let told = Rc::default();
        packets.hand_over(Box::new(Told(Rc::clone(&told))));
        packets.control(Instant::ZERO, Control::Remove(SaId(1)), &mut Vec::new()).unwrap();
        packets.originate(Instant::ZERO, None, Buffer::copy(b"x"), &mut Vec::new());
        assert_eq!(*told.borrow(), ["replace", "remove", "originate"]);
        let all: Pick = Arc::new(|_| true);
        assert_eq!((packets.connections(Instant::ZERO, &all, 5).1, packets.close_connections(&all)), (7, 3));
    }
}
