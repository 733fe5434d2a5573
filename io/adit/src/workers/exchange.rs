//! What workers hand to each other: packets of each other's connections, and whose a connection is.

use dataplane::Handoff;

use crate::handover::{self, Giver, Sleeper, Taker};

/// Handoffs of one worker to one other that may wait.
const HANDOFFS_MAX: usize = 1024;

/// One worker's ways to and from all others.
#[derive(Debug, Default)]
pub struct Exchange {
    /// By the number of the worker; its own is missing.
    to: Vec<Option<Way>>,
    from: Vec<Taker<Handoff>>,
}

#[derive(Debug)]
struct Way {
    giver: Giver<Handoff>,
    waiting: Vec<Handoff>,
}

impl Exchange {
    /// Those of the workers that sleep on `sleepers`.
    pub fn between(sleepers: &[Sleeper]) -> Vec<Self> {
        let mut exchanges: Vec<Self> = sleepers.iter().map(|_| Self::default()).collect();
        for from in 0..sleepers.len() {
            for (to, sleeper) in sleepers.iter().enumerate() {
                let mut way = None;
                if from != to {
                    let (giver, taker) = handover::ring(HANDOFFS_MAX, sleeper);
                    way = Some(Way { giver, waiting: Vec::new() });
                    if let Some(exchange) = exchanges.get_mut(to) {
                        exchange.from.push(taker);
                    }
                }
                if let Some(exchange) = exchanges.get_mut(from) {
                    exchange.to.push(way);
                }
            }
        }
        exchanges
    }

    /// Puts something with what goes to a worker next.
    pub fn push(&mut self, to: u16, handoff: Handoff) {
        if let Some(Some(way)) = self.to.get_mut(usize::from(to)) {
            way.waiting.push(handoff);
        }
    }

    /// Hands over what there is, with one wake for each worker. Packets that find no room are lost: returns how many.
    /// Whose a connection is waits for room.
    pub fn give(&mut self) -> usize {
        let mut lost = 0;
        for way in self.to.iter_mut().flatten().filter(|way| !way.waiting.is_empty()) {
            way.giver.give(&mut way.waiting);
            let before = way.waiting.len();
            way.waiting.retain(|handoff| !handoff.is_packet());
            lost += before - way.waiting.len();
        }
        lost
    }

    /// Takes all that others have handed over, each of them in its order.
    pub fn take(&mut self, handoffs: &mut Vec<Handoff>) {
        self.from.iter_mut().for_each(|taker| taker.take(HANDOFFS_MAX, handoffs));
    }

    /// True when nobody has handed over anything.
    pub fn is_empty(&self) -> bool {
        self.from.iter().all(Taker::is_empty)
    }

    /// True when something waits for room.
    pub fn waits(&self) -> bool {
        self.to.iter().flatten().any(|way| !way.waiting.is_empty())
    }
}
