//! A packet that goes nowhere: counted, logged, and its sender told if the reason says so.

use std::sync::Arc;

use base::{Instant, Severity};
use wire::icmp::Problem;

use super::Work;
use crate::nat::rewrite::{self, Checksums};
use crate::{Dataplane, InterfaceId, Output, Reason};

/// Why a packet goes nowhere, and what is done about it.
#[derive(Debug)]
pub(crate) struct Denial {
    pub(crate) reason: Reason,
    /// The rule that says so, and how loud.
    pub(crate) rule: Option<(Arc<str>, Option<Severity>)>,
    /// The tunnel that it could not go through.
    pub(crate) tunnel: Option<InterfaceId>,
    /// What the sender is told.
    pub(super) tell: Option<Problem>,
}

impl Denial {
    pub(crate) fn of(reason: Reason) -> Self {
        Self { reason, rule: None, tunnel: None, tell: None }
    }

    pub(crate) fn by_rule(reason: Reason, name: &Arc<str>, log: Option<Severity>) -> Self {
        Self { rule: Some((Arc::clone(name), log)), ..Self::of(reason) }
    }

    pub(crate) fn telling(reason: Reason, problem: Problem) -> Self {
        Self { tell: Some(problem), ..Self::of(reason) }
    }

    pub(crate) fn by_tunnel(reason: Reason, tunnel: InterfaceId) -> Self {
        Self { tunnel: Some(tunnel), ..Self::of(reason) }
    }
}

impl From<Reason> for Denial {
    fn from(reason: Reason) -> Self {
        Self::of(reason)
    }
}

impl Dataplane {
    /// Counts a packet that goes nowhere, logs it, and tells its sender if the reason says so.
    pub(crate) fn deny(&mut self, now: Instant, mut work: Work, denial: Denial, out: &mut Vec<Output>) {
        // To its sender and to the log it is what it was when it came.
        work.undo_translation();
        self.counters.count_many(denial.reason, work.stands_for());
        self.log_denial(now, &work, &denial, out);
        if let Some(problem) = denial.tell {
            self.tell_sender(now, problem, &work);
        }
        if denial.reason == Reason::RuleReject {
            self.refuse(now, &work);
        }
        self.pool.give(work.packet);
    }
}

impl Work {
    /// Gives a packet the addresses and ports again that it came with.
    pub(crate) fn undo_translation(&mut self) {
        let Some(original) = self.original.take() else { return };
        if let Some(mut seen) = self.seen() {
            let checksums = Checksums::of(&self.offload, &seen);
            rewrite::apply(self.packet.bytes_mut(), &mut seen, &original, checksums);
            self.header = Some(seen.ip);
        }
    }
}
