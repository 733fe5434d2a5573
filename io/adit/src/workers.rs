//! The threads that carry packets. Each worker has a shard of the packet path, a queue of the TUN device and sockets of
//! its own; the control thread has everything else. Start reading at [`worker`].
//!
//! What a worker is told comes through a ring of [`orders`], what it has for the control thread goes through its [`mail`].
//! A worker that panics ends the process at once; one that hangs is noticed by its beats.

mod exchange;
mod inlets;
mod mail;
mod orders;
mod outlets;
mod worker;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, panicking};

use base::{Duration, Instant};
use dataplane::{Dataplane, Policy, ShardId};
use engine::Input;

use crate::clock;
use crate::esp::EspPort;
use crate::exit::complain;
use crate::handover::{self, Sleeper, Waker};
use crate::tun;
use crate::udp::UdpPort;
use exchange::Exchange;
use inlets::Inlets;
use mail::Mailbox;
pub use orders::Orders;
use orders::{ORDERS_MAX, Order};
pub use outlets::{News as Sent, Outlets};
use worker::Worker;

/// How often workers are asked for a beat.
const BEAT_TIME: Duration = Duration::from_secs(1);
/// A worker that owes so many beats hangs. Counted by what the control thread itself has asked for: a machine that was
/// suspended owes none.
const BEATS_OWED_MAX: u64 = 10;
/// How long workers have to end.
const STOP_TIME: Duration = Duration::from_secs(1);
/// Most workers of a gateway: each has a ring to each other.
pub const WORKERS_MAX: u16 = 64;
/// What a process ends with after a panic.
const PANIC_STATUS: i32 = 101;

/// The ports of one worker.
pub struct Ports {
    /// A queue of the TUN device.
    pub tun: tun::Queue,
    /// Members of the groups of 500 and 4500 in both families.
    pub udp: Vec<UdpPort>,
    /// To send ESP by, and to receive it.
    pub esp: Vec<EspPort>,
    /// Whether this worker receives by `esp`: the kernel would give every raw socket a copy.
    pub receives_esp: bool,
}

/// All workers, as the control thread has them.
pub struct Workers {
    orders: Orders,
    mailboxes: Vec<Mailbox>,
    sleeper: Sleeper,
    beats: Vec<Arc<AtomicU64>>,
    asked: u64,
    next_beat: Instant,
    ended: Receiver<End>,
    threads: Vec<JoinHandle<()>>,
}

/// A worker that has ended, and how.
type End = (usize, io::Result<()>);

/// Why the gateway cannot go on.
#[derive(Debug)]
pub enum Failure {
    /// A port of a worker is gone.
    Port(io::Error),
    /// A worker hangs.
    Stuck(usize),
}

/// Ends the process when its thread panics: half a gateway is none, and what it leaves in the kernel lets nothing pass.
struct Alarm(usize);

impl Drop for Alarm {
    fn drop(&mut self) {
        if panicking() {
            complain(&format!(
                "worker {} has met an error in the program, which is above; the gateway ends at once and leaves its \
                 tunnels' networks unreachable until the next one starts\n",
                self.0
            ));
            std::process::exit(PANIC_STATUS);
        }
    }
}

impl Workers {
    /// Starts a worker for each of `ports`, with shards under `policy`. `hash_key` is random and the same for all.
    pub fn start(ports: Vec<Ports>, policy: &Arc<Policy>, hash_key: u64) -> io::Result<Self> {
        let sleeper = Sleeper::new()?;
        let (ends, ended) = channel();
        let mut givers = Vec::new();
        let mut workers = Self {
            orders: Orders::new(Vec::new()),
            mailboxes: Vec::new(),
            sleeper,
            beats: Vec::new(),
            asked: 0,
            next_beat: clock::mono() + BEAT_TIME,
            ended,
            threads: Vec::new(),
        };
        let count = u16::try_from(ports.len()).unwrap_or(u16::MAX);
        let beds: io::Result<Vec<Sleeper>> = ports.iter().map(|_| Sleeper::new()).collect();
        let beds = beds?;
        let exchanges = Exchange::between(&beds);
        for (index, ((ports, bed), exchange)) in (0..).zip(ports.into_iter().zip(beds).zip(exchanges)) {
            let number = usize::from(index);
            let (giver, taker) = handover::ring(ORDERS_MAX, &bed);
            let (outbox, mailbox) = mail::mail(&workers.sleeper);
            let beat = Arc::new(AtomicU64::new(0));
            givers.push(giver);
            workers.mailboxes.push(mailbox);
            workers.beats.push(Arc::clone(&beat));
            let worker = Worker {
                data: Dataplane::shard(Arc::clone(policy), hash_key, ShardId { index, count }),
                outlets: Outlets::of(&ports)?,
                inlets: Inlets::new(ports),
                sleeper: bed,
                orders: taker,
                outbox,
                exchange,
                beat,
                out: Vec::new(),
                plain: Vec::new(),
                taken_orders: Vec::new(),
                taken_over: Vec::new(),
                stopped: false,
            };
            let thread = spawn(number, worker, ends.clone(), workers.sleeper.waker())?;
            workers.threads.push(thread);
        }
        workers.orders = Orders::new(givers);
        Ok(workers)
    }

    /// How the gateway reaches the shards.
    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// How many answers to the gateway's questions did not come in time since the last call.
    pub fn unanswered(&self) -> usize {
        self.orders.unanswered()
    }

    /// Says that the control thread is about to wait. False when it must not.
    pub fn may_sleep(&self) -> bool {
        self.sleeper.may_sleep(|| self.mailboxes.iter().all(Mailbox::is_empty))
    }

    /// Says that the control thread does not wait any more.
    pub fn woken(&self) {
        self.sleeper.woken();
    }

    /// Takes what workers have sent.
    pub fn take(&mut self, inputs: &mut Vec<Input>) {
        self.mailboxes.iter_mut().for_each(|mailbox| mailbox.take(inputs));
    }

    /// When [`Workers::watch`] wants to be called.
    pub fn next_beat(&self) -> Instant {
        self.next_beat
    }

    /// Looks whether all workers are well.
    pub fn watch(&mut self, now: Instant) -> Result<(), Failure> {
        if let Ok((worker, end)) = self.ended.try_recv() {
            return Err(end.map_or_else(Failure::Port, |()| Failure::Stuck(worker)));
        }
        if let Some(worker) = self.orders.stuck() {
            return Err(Failure::Stuck(worker));
        }
        if self.next_beat <= now {
            self.next_beat = now + BEAT_TIME;
            let owes = |beat: &Arc<AtomicU64>| self.asked - beat.load(Ordering::Relaxed) >= BEATS_OWED_MAX;
            if let Some(worker) = self.beats.iter().position(owes) {
                return Err(Failure::Stuck(worker));
            }
            self.asked += 1;
            self.orders.offer_all(|| Order::Beat(self.asked));
        }
        Ok(())
    }

    /// Ends all workers, and waits until they have wiped their keys, but not for one that hangs.
    pub fn stop(&mut self) {
        self.orders.offer_all(|| Order::Stop);
        let until = clock::mono() + STOP_TIME;
        for _ in &self.threads {
            if self.ended.recv_timeout(until.since(clock::mono())).is_err() {
                return;
            }
        }
        for thread in self.threads.drain(..) {
            // A panic has ended the process.
            let _ = thread.join();
        }
    }
}

impl AsFd for Workers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sleeper.as_fd()
    }
}

fn spawn(number: usize, mut worker: Worker, ends: Sender<End>, control: Waker) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("worker {number}")).spawn(move || {
        let _alarm = Alarm(number);
        let end = worker.go_on();
        drop(worker);
        // Nobody hears it when the gateway ends anyway.
        let _ = ends.send((number, end));
        control.wake();
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::Taker;

    /// Two workers that are not there, and what they are told.
    fn workers() -> (Workers, Vec<Taker<Order>>, Sender<End>) {
        let (givers, takers) = (0..2).map(|_| handover::ring(64, &Sleeper::new().unwrap())).unzip();
        let (ends, ended) = channel();
        let workers = Workers {
            orders: Orders::new(givers),
            mailboxes: Vec::new(),
            sleeper: Sleeper::new().unwrap(),
            beats: vec![Arc::default(), Arc::default()],
            asked: 0,
            next_beat: Instant::ZERO,
            ended,
            threads: Vec::new(),
        };
        (workers, takers, ends)
    }

    /// Answers for the worker at `index`.
    fn answer(workers: &Workers, takers: &mut [Taker<Order>], index: usize) {
        let mut orders = Vec::new();
        takers[index].take(64, &mut orders);
        for order in orders {
            let Order::Beat(number) = order else { panic!("{order:?}") };
            workers.beats[index].store(number, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_worker_that_owes_ten_beats_hangs_and_one_that_answers_late_does_not() {
        let (mut workers, mut takers, _ends) = workers();
        let mut now = Instant::ZERO;
        for turn in 0..20 {
            workers.watch(now).unwrap();
            answer(&workers, &mut takers, 0);
            if turn % 9 == 8 {
                answer(&workers, &mut takers, 1);
            }
            now = workers.next_beat();
        }
        answer(&workers, &mut takers, 1);
        for _ in 0..10 {
            workers.watch(now).unwrap();
            answer(&workers, &mut takers, 0);
            now = workers.next_beat();
        }
        assert!(matches!(workers.watch(now), Err(Failure::Stuck(1))));
    }

    #[test]
    fn a_machine_that_was_suspended_does_not_look_like_a_worker_that_hangs() {
        let (mut workers, _takers, _ends) = workers();
        workers.watch(Instant::ZERO).unwrap();
        let later = Instant::ZERO + Duration::from_secs(86_400);
        assert!((0..100).all(|_| workers.watch(later).is_ok()));
    }

    #[test]
    fn a_worker_that_has_ended_ends_the_gateway() {
        let (mut workers, _takers, ends) = workers();
        ends.send((1, Err(io::Error::other("the TUN device is gone")))).unwrap();
        assert!(matches!(workers.watch(Instant::ZERO), Err(Failure::Port(_))));
        ends.send((1, Ok(()))).unwrap();
        assert!(matches!(workers.watch(Instant::ZERO), Err(Failure::Stuck(1))));
    }
}
