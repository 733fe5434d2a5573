//! What the fuzz targets feed: any bytes, in any order, into a gateway whose clock runs on.

use std::sync::Arc;

use base::{Buffer, Instant};

use crate::{Dataplane, Outer, Output, Policy};

/// A gateway that takes any bytes.
#[derive(Debug)]
pub struct Harness {
    dataplane: Dataplane,
    micros: u64,
    out: Vec<Output>,
}

impl Harness {
    /// A gateway under `policy`.
    pub fn new(policy: Arc<Policy>) -> Self {
        Self { dataplane: Dataplane::new(policy), micros: 0, out: Vec::new() }
    }

    /// Bytes at the host port.
    pub fn plain(&mut self, bytes: &[u8]) {
        let now = self.tick();
        self.dataplane.plain(now, Buffer::copy(bytes), &mut self.out);
    }

    /// Bytes where ESP packets come in.
    pub fn esp(&mut self, bytes: &[u8]) {
        let now = self.tick();
        let address = |last| (std::net::IpAddr::from([198, 51, 100, last]), 4500).into();
        let outer = Outer { local: address(1), remote: address(2), udp: true };
        self.dataplane.esp(now, outer, 0, Buffer::copy(bytes), &mut self.out);
    }

    /// The gateway.
    pub fn dataplane(&self) -> &Dataplane {
        &self.dataplane
    }

    fn tick(&mut self) -> Instant {
        self.micros += 1_000;
        let now = Instant::from_micros(self.micros);
        self.out.clear();
        if self.dataplane.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.dataplane.expire(now, &mut self.out);
        }
        // Log lines and exceptions are written as they would be: a crash while telling of a packet is a crash.
        for output in &self.out {
            let _ = format!("{output:?}");
            if let Output::Log(record) = output {
                let _ = record.to_string();
            }
        }
        now
    }
}
