//! Handing packets from one worker to another: a bounded ring for each pair, and one wake for whole batches.
//!
//! Who hands over pays for a system call only when the other worker sleeps. A worker that has nothing to do says so
//! with [`Sleeper::may_sleep`] before it waits, among other things, for its [`Sleeper`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::{EventfdFlags, eventfd};

#[derive(Debug)]
struct Bed {
    event: OwnedFd,
    asleep: AtomicBool,
}

/// What a worker sleeps on.
#[derive(Debug)]
pub struct Sleeper(Arc<Bed>);

/// What others wake it with.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Bed>);

impl Sleeper {
    /// One for a worker that is awake.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Bed { event, asleep: AtomicBool::new(false) })))
    }

    /// For somebody who will wake it.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.0))
    }

    /// Says that the worker is about to wait. False when it must not, because `is_idle` finds something to do.
    pub fn may_sleep(&self, is_idle: impl FnOnce() -> bool) -> bool {
        self.0.asleep.store(true, Ordering::Relaxed);
        // What was handed over before the other saw that we sleep is seen by us, and the other way round.
        fence(Ordering::SeqCst);
        let idle = is_idle();
        if !idle {
            self.0.asleep.store(false, Ordering::Relaxed);
        }
        idle
    }

    /// Says that the worker does not wait any more, because others woke it.
    pub fn woken(&self) {
        self.busy();
        let _ = rustix::io::read(&self.0.event, &mut [0; 8]);
    }

    /// Says that the worker does not wait any more, because there is something else to do. A waker may be a little late:
    /// then the next wait is a short one.
    pub fn busy(&self) {
        self.0.asleep.store(false, Ordering::Relaxed);
    }
}

impl AsFd for Sleeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}

impl Waker {
    /// Wakes the worker if it sleeps; what was handed over before, it sees.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.0.asleep.load(Ordering::Relaxed) && self.0.asleep.swap(false, Ordering::Relaxed) {
            // It fails only when it has been written to very often without a read: then it can be read anyway.
            let _ = rustix::io::write(&self.0.event, &1_u64.to_ne_bytes());
        }
    }
}

/// The end of a ring that is put into.
#[derive(Debug)]
pub struct Giver<T> {
    ring: Producer<T>,
    waker: Waker,
}

/// The end of a ring that is taken from.
#[derive(Debug)]
pub struct Taker<T> {
    ring: Consumer<T>,
}

/// A ring for at most `capacity` things that go to the worker of `sleeper`.
pub fn ring<T>(capacity: usize, sleeper: &Sleeper) -> (Giver<T>, Taker<T>) {
    let (producer, consumer) = RingBuffer::new(capacity);
    (Giver { ring: producer, waker: sleeper.waker() }, Taker { ring: consumer })
}

impl<T> Giver<T> {
    /// Hands over as many of `things` as there is room for, from the first on, and wakes the other worker once. The
    /// others stay: the giver drops and counts them, or tries again.
    pub fn give(&mut self, things: &mut Vec<T>) {
        let count = things.len().min(self.ring.slots());
        let Ok(room) = self.ring.write_chunk_uninit(count) else { return };
        if count > 0 {
            room.fill_from_iter(things.drain(..count));
            self.waker.wake();
        }
    }
}

impl<T> Taker<T> {
    /// Takes at most `count_max` things to the end of `things`, oldest first.
    pub fn take(&mut self, count_max: usize, things: &mut Vec<T>) {
        let count = count_max.min(self.ring.slots());
        if let Ok(chunk) = self.ring.read_chunk(count) {
            things.extend(chunk);
        }
    }

    /// True when nothing waits to be taken.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// True when the giver is gone: what has been taken was all.
    pub fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    fn is_readable(sleeper: &Sleeper) -> bool {
        let mut fds = [PollFd::new(sleeper, PollFlags::IN)];
        poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
    }

    #[test]
    fn a_full_ring_leaves_what_does_not_fit_with_the_giver() {
        let sleeper = Sleeper::new().unwrap();
        let (mut giver, mut taker) = ring(4, &sleeper);
        let mut things = vec![1, 2, 3, 4, 5, 6];
        giver.give(&mut things);
        assert_eq!(things, [5, 6]);
        let mut taken = Vec::new();
        taker.take(3, &mut taken);
        assert_eq!(taken, [1, 2, 3]);
        giver.give(&mut things);
        assert!(things.is_empty());
        taker.take(9, &mut taken);
        assert_eq!(taken, [1, 2, 3, 4, 5, 6]);
        assert!(taker.is_empty());
    }

    #[test]
    fn only_a_worker_that_sleeps_is_woken_and_only_once() {
        let sleeper = Sleeper::new().unwrap();
        let (mut giver, taker) = ring(4, &sleeper);
        giver.give(&mut vec![1]);
        assert!(!is_readable(&sleeper));
        assert!(!sleeper.may_sleep(|| taker.is_empty()));
        giver.give(&mut vec![2]);
        assert!(!is_readable(&sleeper));
        assert!(sleeper.may_sleep(|| true));
        giver.give(&mut vec![3]);
        assert!(is_readable(&sleeper));
        sleeper.woken();
        assert!(!is_readable(&sleeper));
        giver.give(&mut vec![4]);
        assert!(!is_readable(&sleeper));
    }

    #[test]
    fn a_wake_that_comes_late_is_not_heard_forever() {
        let sleeper = Sleeper::new().unwrap();
        assert!(sleeper.may_sleep(|| true));
        assert!(sleeper.0.asleep.swap(false, Ordering::Relaxed));
        sleeper.woken();
        rustix::io::write(&sleeper.0.event, &1_u64.to_ne_bytes()).unwrap();
        assert!(sleeper.may_sleep(|| true));
        assert!(is_readable(&sleeper));
        sleeper.woken();
        assert!(!is_readable(&sleeper));
    }

    #[test]
    fn everything_arrives_in_order_at_a_worker_that_sleeps_whenever_it_can() {
        const COUNT: u32 = 200_000;
        let sleeper = Sleeper::new().unwrap();
        let (mut giver, mut taker) = ring(64, &sleeper);
        let worker = std::thread::spawn(move || {
            let mut taken: Vec<u32> = Vec::new();
            while taken.len() < usize::try_from(COUNT).unwrap() {
                if sleeper.may_sleep(|| taker.is_empty()) {
                    poll(&mut [PollFd::new(&sleeper, PollFlags::IN)], None).unwrap();
                    sleeper.woken();
                }
                taker.take(32, &mut taken);
            }
            taken
        });
        let mut waiting = Vec::new();
        for number in 0..COUNT {
            waiting.push(number);
            if waiting.len() >= 16 || number % 7 == 0 || number + 1 == COUNT {
                while !waiting.is_empty() {
                    giver.give(&mut waiting);
                    std::thread::yield_now();
                }
            }
        }
        assert!(worker.join().unwrap().into_iter().eq(0..COUNT));
    }
}
