//! What a worker sends to the control thread. A worker never waits for it: what finds no room is lost and counted, but
//! for what would not be told again.

use base::Event;
use dataplane::{Exception, Output};
use engine::Input;

use crate::events::WorkerMailLost;
use crate::handover::{self, Giver, Sleeper, Taker};

/// Exceptions and lines of the log of one worker that may wait for the control thread.
const REPORTS_MAX: usize = 2048;
/// Messages of IKE and packets for the gateway itself, of one worker, that may wait for the control thread.
const PACKETS_MAX: usize = 512;
/// Of these a worker's share in one turn of the control thread, so that operators and timers have theirs.
const PACKETS_AT_ONCE: usize = 64;

/// The worker's end.
#[derive(Debug)]
pub struct Outbox {
    reports: Giver<Input>,
    packets: Giver<Input>,
    waiting_reports: Vec<Input>,
    waiting_packets: Vec<Input>,
    lost_reports: u64,
    lost_packets: u64,
}

/// The control thread's end.
#[derive(Debug)]
pub struct Mailbox {
    reports: Taker<Input>,
    packets: Taker<Input>,
}

/// A way from a worker to the thread of `sleeper`.
pub fn mail(sleeper: &Sleeper) -> (Outbox, Mailbox) {
    let (reports, reports_taker) = handover::ring(REPORTS_MAX, sleeper);
    let (packets, packets_taker) = handover::ring(PACKETS_MAX, sleeper);
    let outbox = Outbox {
        reports,
        packets,
        waiting_reports: Vec::new(),
        waiting_packets: Vec::new(),
        lost_reports: 0,
        lost_packets: 0,
    };
    (outbox, Mailbox { reports: reports_taker, packets: packets_taker })
}

/// True for what the packet path says only once.
fn is_told_once(input: &Input) -> bool {
    matches!(input, Input::Shard(Output::Exception(Exception::SoftLimit(_) | Exception::HardLimit(_))))
}

impl Outbox {
    /// An exception or a line of the log.
    pub fn report(&mut self, output: Output) {
        self.waiting_reports.push(Input::Shard(output));
    }

    /// A packet that is the control thread's.
    pub fn packet(&mut self, input: Input) {
        self.waiting_packets.push(input);
    }

    /// So many packets for other workers found no room.
    pub fn count_lost(&mut self, packets: usize) {
        self.lost_packets += count(packets);
    }

    /// Hands over what there is, with one wake for either kind.
    pub fn give(&mut self) {
        self.packets.give(&mut self.waiting_packets);
        self.lost_packets += count(self.waiting_packets.len());
        self.waiting_packets.clear();

        self.reports.give(&mut self.waiting_reports);
        let before = self.waiting_reports.len();
        self.waiting_reports.retain(is_told_once);
        self.lost_reports += count(before - self.waiting_reports.len());
        if before == 0 && (self.lost_reports > 0 || self.lost_packets > 0) {
            let event = WorkerMailLost { reports: self.lost_reports, packets: self.lost_packets };
            self.waiting_reports.push(Input::Shard(Output::Log(event.record())));
            self.reports.give(&mut self.waiting_reports);
            if self.waiting_reports.is_empty() {
                (self.lost_reports, self.lost_packets) = (0, 0);
            }
            self.waiting_reports.clear();
        }
    }

    /// True when something waits for room.
    pub fn waits(&self) -> bool {
        !self.waiting_reports.is_empty()
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl Mailbox {
    /// Takes what has come: every report first, then some of the packets.
    pub fn take(&mut self, inputs: &mut Vec<Input>) {
        self.reports.take(REPORTS_MAX, inputs);
        self.packets.take(PACKETS_AT_ONCE, inputs);
    }

    /// True when nothing has come.
    pub fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.packets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Buffer;
    use dataplane::SaId;

    fn log() -> Output {
        Output::Log(WorkerMailLost { reports: 0, packets: 0 }.record())
    }

    fn all(mailbox: &mut Mailbox) -> Vec<Input> {
        let mut inputs = Vec::new();
        while !mailbox.is_empty() {
            mailbox.take(&mut inputs);
        }
        inputs
    }

    #[test]
    fn of_reports_without_room_only_those_that_are_told_once_wait_and_the_others_are_counted() {
        let sleeper = Sleeper::new().unwrap();
        let (mut outbox, mut mailbox) = mail(&sleeper);
        for _ in 0..REPORTS_MAX + 3 {
            outbox.report(log());
        }
        outbox.report(Output::Exception(Exception::HardLimit(SaId(7))));
        outbox.give();
        assert!(outbox.waits());
        let inputs = all(&mut mailbox);
        assert_eq!(inputs.len(), REPORTS_MAX);
        assert!(!inputs.iter().any(is_told_once));
        outbox.give();
        let inputs = all(&mut mailbox);
        let [hard_limit, Input::Shard(Output::Log(record))] = &inputs[..] else { panic!("{inputs:?}") };
        assert!(is_told_once(hard_limit));
        assert!(record.to_string().ends_with("reports=3 packets=0"), "{record}");
        outbox.give();
        assert!(!outbox.waits() && mailbox.is_empty());
    }

    #[test]
    fn a_flood_of_packets_leaves_room_for_reports_and_does_not_come_at_once() {
        let sleeper = Sleeper::new().unwrap();
        let (mut outbox, mut mailbox) = mail(&sleeper);
        for _ in 0..PACKETS_MAX + 5 {
            outbox.packet(Input::Plain(Buffer::copy(b"x")));
        }
        outbox.give();
        outbox.report(log());
        outbox.give();
        let mut inputs = Vec::new();
        mailbox.take(&mut inputs);
        let reports = inputs.iter().take_while(|input| matches!(input, Input::Shard(_))).count();
        assert_eq!((reports, inputs.len()), (2, 2 + PACKETS_AT_ONCE));
        assert_eq!(all(&mut mailbox).len(), PACKETS_MAX - PACKETS_AT_ONCE);
    }
}
