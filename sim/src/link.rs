//! A link between two interfaces, and everything that can happen to a packet on it.

use std::collections::BTreeSet;

use base::{Duration, Instant, Random};

use crate::packet::{IkeGlance, esp_glance};
use crate::world::NodeId;

/// A link of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub(crate) usize);

/// How good a link is in one direction. Chances are in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality {
    /// Time that a packet takes.
    pub latency: Duration,
    /// Up to this much more, different for each packet; the order is kept.
    pub jitter: Duration,
    /// Packets lost.
    pub loss: u64,
    /// Packets that arrive twice.
    pub duplication: u64,
    /// Packets that are overtaken: they take up to four times as long.
    pub reordering: u64,
    /// Packets in which one bit is turned over.
    pub corruption: u64,
    /// Longer packets vanish without a word, as behind a badly configured tunnel.
    pub swallows_over: Option<usize>,
}

/// A packet on its way, as a filter sees it.
#[derive(Debug)]
pub struct Sighting<'a> {
    /// The time.
    pub at: Instant,
    /// Who sends it.
    pub from: NodeId,
    /// The IP packet.
    pub packet: &'a [u8],
}

impl Sighting<'_> {
    /// What can be seen of an IKE message.
    pub fn ike(&self) -> Option<IkeGlance> {
        IkeGlance::at(self.packet)
    }

    /// SPI and sequence number of an ESP packet, alone or in UDP.
    pub fn esp(&self) -> Option<(u32, u32)> {
        esp_glance(self.packet)
    }
}

/// What a filter does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Pass,
    /// It is lost.
    Drop,
    /// It comes later by this much.
    Delay(Duration),
    /// It arrives, and again after this time.
    Repeat(Duration),
}

/// Why a packet did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The link is down.
    Down,
    /// A filter took it.
    Filtered,
    /// It was longer than the link lets through.
    Swallowed,
    /// Chance.
    Unlucky,
}

type Filter = Box<dyn FnMut(&Sighting<'_>) -> Fate>;

/// A link between two interfaces.
pub struct Link {
    pub(crate) ends: [(NodeId, usize); 2],
    quality: [Quality; 2],
    up: bool,
    filters: Vec<Filter>,
    /// No packet in this direction arrives before this time, so that jitter keeps the order.
    last_arrival: [Instant; 2],
    carried: u64,
    lost: u64,
}

impl Link {
    pub(crate) fn new(ends: [(NodeId, usize); 2], latency: Duration) -> Self {
        let quality = Quality {
            latency,
            jitter: Duration::ZERO,
            loss: 0,
            duplication: 0,
            reordering: 0,
            corruption: 0,
            swallows_over: None,
        };
        Self {
            ends,
            quality: [quality; 2],
            up: true,
            filters: Vec::new(),
            last_arrival: [Instant::ZERO; 2],
            carried: 0,
            lost: 0,
        }
    }

    /// Changes the quality in both directions.
    pub fn quality(&mut self, change: impl Fn(&mut Quality)) -> &mut Self {
        self.quality.iter_mut().for_each(change);
        self
    }

    /// Changes the quality for what one of the two nodes sends.
    pub fn quality_from(&mut self, from: NodeId, change: impl Fn(&mut Quality)) -> &mut Self {
        for (quality, (node, _)) in self.quality.iter_mut().zip(self.ends) {
            if node == from {
                change(quality);
            }
        }
        self
    }

    /// Time that a packet takes.
    pub fn latency(&mut self, latency: Duration) -> &mut Self {
        self.quality(|quality| quality.latency = latency)
    }

    /// Up to this much more, different for each packet; the order is kept.
    pub fn jitter(&mut self, jitter: Duration) -> &mut Self {
        self.quality(|quality| quality.jitter = jitter)
    }

    /// Loses so many packets in a hundred.
    pub fn loss(&mut self, percent: u64) -> &mut Self {
        self.quality(|quality| quality.loss = percent)
    }

    /// Doubles so many packets in a hundred.
    pub fn duplication(&mut self, percent: u64) -> &mut Self {
        self.quality(|quality| quality.duplication = percent)
    }

    /// Lets so many packets in a hundred be overtaken.
    pub fn reordering(&mut self, percent: u64) -> &mut Self {
        self.quality(|quality| quality.reordering = percent)
    }

    /// Turns one bit over in so many packets in a hundred.
    pub fn corruption(&mut self, percent: u64) -> &mut Self {
        self.quality(|quality| quality.corruption = percent)
    }

    /// Lets longer packets vanish without a word.
    pub fn black_hole_over(&mut self, bytes: usize) -> &mut Self {
        self.quality(|quality| quality.swallows_over = Some(bytes))
    }

    /// Mends everything: nothing is lost, doubled, overtaken, damaged or filtered any more, and the link is up.
    pub fn heal(&mut self) -> &mut Self {
        self.filters.clear();
        self.up = true;
        self.quality(|quality| {
            *quality = Quality {
                jitter: Duration::ZERO,
                loss: 0,
                duplication: 0,
                reordering: 0,
                corruption: 0,
                swallows_over: None,
                ..*quality
            }
        })
    }

    /// Pulls the plug. What is on its way still arrives.
    pub fn down(&mut self) -> &mut Self {
        self.up = false;
        self
    }

    /// Puts the plug in again.
    pub fn up(&mut self) -> &mut Self {
        self.up = true;
        self
    }

    /// Lets a closure decide about each packet. Several filters are asked in order until one does not pass.
    pub fn filter(&mut self, filter: impl FnMut(&Sighting<'_>) -> Fate + 'static) -> &mut Self {
        self.filters.push(Box::new(filter));
        self
    }

    /// Takes every filter away.
    pub fn no_filters(&mut self) -> &mut Self {
        self.filters.clear();
        self
    }

    /// Loses the next packets, whatever they are.
    pub fn drop_first(&mut self, mut count: usize) -> &mut Self {
        self.filter(move |_| {
            let drop = count > 0;
            count = count.saturating_sub(1);
            if drop { Fate::Drop } else { Fate::Pass }
        })
    }

    /// Loses the first copy of each IKE message, so that every one has to be sent again.
    pub fn drop_first_of_each_exchange(&mut self) -> &mut Self {
        let mut seen = BTreeSet::new();
        self.filter(move |sighting| match sighting.ike() {
            Some(message) if seen.insert((sighting.from, message)) => Fate::Drop,
            _ => Fate::Pass,
        })
    }

    /// Packets that have arrived, or will.
    pub fn carried(&self) -> u64 {
        self.carried
    }

    /// Packets lost for whatever reason.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Who hears what one end sends.
    pub(crate) fn other_end(&self, from: (NodeId, usize)) -> (NodeId, usize) {
        let [a, b] = self.ends;
        if a == from { b } else { a }
    }

    /// Decides about a packet: when it arrives, and how it looks then.
    pub(crate) fn carry(
        &mut self,
        now: Instant,
        from: (NodeId, usize),
        packet: Vec<u8>,
        random: &mut Random,
    ) -> Result<Vec<(Instant, Vec<u8>)>, Lost> {
        let fate = self.fate(now, from, packet, random);
        match &fate {
            Ok(arrivals) => self.carried += arrivals.len() as u64,
            Err(_) => self.lost += 1,
        }
        fate
    }

    fn fate(
        &mut self,
        now: Instant,
        from: (NodeId, usize),
        mut packet: Vec<u8>,
        random: &mut Random,
    ) -> Result<Vec<(Instant, Vec<u8>)>, Lost> {
        let direction = usize::from(self.ends[0] != from);
        let quality = self.quality[direction];
        if !self.up {
            return Err(Lost::Down);
        }
        let sighting = Sighting { at: now, from: from.0, packet: &packet };
        let filtered = self.filters.iter_mut().map(|filter| filter(&sighting)).find(|fate| *fate != Fate::Pass);
        if filtered == Some(Fate::Drop) {
            return Err(Lost::Filtered);
        }
        if quality.swallows_over.is_some_and(|bytes| packet.len() > bytes) {
            return Err(Lost::Swallowed);
        }
        if random.chance(quality.loss, 100) {
            return Err(Lost::Unlucky);
        }
        if random.chance(quality.corruption, 100) {
            let bit = random.below(packet.len() as u64 * 8);
            if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|at| packet.get_mut(at)) {
                *byte ^= 1 << (bit % 8);
            }
        }
        let jitter = u64::try_from(quality.jitter.as_micros()).unwrap_or(u64::MAX);
        let mut arrival = now + quality.latency + Duration::from_micros(random.below(jitter));
        let mut again = None;
        if random.chance(quality.reordering, 100) {
            let latency = u64::try_from(quality.latency.as_micros()).unwrap_or(0).max(1_000);
            arrival += Duration::from_micros(random.below(latency.saturating_mul(3)));
        } else {
            let last = &mut self.last_arrival[direction];
            *last = arrival.max(*last);
            arrival = *last;
        }
        match filtered {
            Some(Fate::Delay(delay)) => arrival += delay,
            Some(Fate::Repeat(delay)) => again = Some(arrival + delay),
            Some(Fate::Pass | Fate::Drop) | None => {}
        }
        if random.chance(quality.duplication, 100) {
            again = Some(arrival + quality.latency);
        }
        let copy = again.map(|at| (at, packet.clone()));
        Ok([(arrival, packet)].into_iter().chain(copy).collect())
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("ends", &self.ends).field("quality", &self.quality).field("up", &self.up).finish()
    }
}
