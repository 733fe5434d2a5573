//! What the control thread tells its workers, and asks them.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use base::{Buffer, Duration, Instant};
use dataplane::{ConnectionStatus, Control, Counters, Dataplane, Over};
use engine::{LinkControl, Pick};

use crate::clock;
use crate::handover::Giver;

/// Orders that may wait for one worker.
pub const ORDERS_MAX: usize = 1024;
/// How long workers have to answer a question.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// How often the control thread looks whether there is room for an order, and how often it does before it gives up.
const ROOM_PAUSE: Duration = Duration::from_millis(1);
const ROOM_TRIES: usize = 10_000;

/// A question, which answers by itself.
type Question = Box<dyn FnOnce(&mut Dataplane, Instant) + Send>;

/// What a worker is told.
pub enum Order {
    /// For its shard.
    Control(Control),
    /// Send this packet of the gateway's own, by this way or by the routes.
    Originate(Option<Over>, Buffer),
    /// Look at the shard.
    Look(Question),
    /// Show that you are alive.
    Beat(u64),
    /// End.
    Stop,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control(_) => "Control",
            Self::Originate(..) => "Originate",
            Self::Look(_) => "Look",
            Self::Beat(_) => "Beat",
            Self::Stop => "Stop",
        })
    }
}

/// The way to the workers. An order is never lost: the control thread waits until there is room for it.
#[derive(Clone, Debug)]
pub struct Orders(Rc<State>);

#[derive(Debug)]
struct State {
    givers: RefCell<Vec<Giver<Order>>>,
    /// A worker that takes no orders any more.
    stuck: Cell<Option<usize>>,
    /// Answers that did not come in time and have not been told of.
    unanswered: Cell<usize>,
}

impl Orders {
    /// To the workers in their order.
    pub fn new(givers: Vec<Giver<Order>>) -> Self {
        let givers = RefCell::new(givers);
        Self(Rc::new(State { givers, stuck: Cell::new(None), unanswered: Cell::new(0) }))
    }

    /// A worker that took no orders for ten seconds. The gateway must end: a shard does not do what it should.
    pub fn stuck(&self) -> Option<usize> {
        self.0.stuck.get()
    }

    /// How many answers did not come in time since the last call.
    pub fn unanswered(&self) -> usize {
        self.0.unanswered.take()
    }

    /// Tells one worker.
    pub fn tell(&self, worker: usize, order: Order) {
        let mut givers = self.0.givers.borrow_mut();
        let Some(giver) = givers.get_mut(worker) else { return };
        let mut orders = vec![order];
        for _ in 0..ROOM_TRIES {
            giver.give(&mut orders);
            if orders.is_empty() || self.0.stuck.get().is_some() {
                return;
            }
            std::thread::sleep(ROOM_PAUSE);
        }
        self.0.stuck.set(Some(worker));
    }

    /// Tells all.
    pub fn tell_all(&self, order: impl Fn() -> Order) {
        let count = self.0.givers.borrow().len();
        (0..count).for_each(|worker| self.tell(worker, order()));
    }

    /// Tells all that have room at once.
    pub fn offer_all(&self, order: impl Fn() -> Order) {
        self.0.givers.borrow_mut().iter_mut().for_each(|giver| giver.give(&mut vec![order()]));
    }

    /// Asks all. Those that do not answer in time are left out.
    fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&mut Dataplane, Instant) -> T + Send + Sync + 'static,
    ) -> Vec<T> {
        let count = self.0.givers.borrow().len();
        let (answer, answers) = sync_channel(count);
        let question = Arc::new(question);
        self.tell_all(|| {
            let (question, answer) = (Arc::clone(&question), answer.clone());
            Order::Look(Box::new(move |data, now| {
                // Whoever asked may not wait any more.
                let _ = answer.try_send(question(data, now));
            }))
        });
        drop(answer);
        let until = clock::mono() + ANSWER_TIME;
        let next = || answers.recv_timeout(until.since(clock::mono())).ok();
        let told: Vec<T> = std::iter::from_fn(next).take(count).collect();
        self.0.unanswered.set(self.0.unanswered.get() + (count - told.len()));
        told
    }
}

impl engine::Shards for Orders {
    fn control(&mut self, control: Control) {
        self.tell_all(|| Order::Control(control.clone()));
    }

    fn link_control(&mut self, _: LinkControl) {
        // No worker has a link layer: the gateway's own carries all frames.
    }

    fn originate(&mut self, over: Option<Over>, packet: Buffer) {
        self.tell(0, Order::Originate(over, packet));
    }

    fn connections(&self, pick: &Pick, limit: usize) -> (Vec<ConnectionStatus>, usize) {
        let pick = Arc::clone(pick);
        let answers = self.ask(move |data, now| {
            let mut picked = data.connections(now).filter(|connection| pick(connection));
            let shown: Vec<ConnectionStatus> = picked.by_ref().take(limit).collect();
            let count = shown.len().saturating_add(picked.count());
            (shown, count)
        });
        let count = answers.iter().map(|(_, count)| count).sum();
        (answers.into_iter().flat_map(|(shown, _)| shown).take(limit).collect(), count)
    }

    fn close_connections(&mut self, pick: &Pick) -> usize {
        let pick = Arc::clone(pick);
        self.ask(move |data, _| data.close_connections(|connection| pick(connection))).into_iter().sum()
    }

    fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        self.ask(|data, _| data.counters().clone()).iter().for_each(|more| counters.add(more));
        counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::JoinHandle;

    use dataplane::{CORE, Interface, InterfaceKind, Policy, SaId};
    use engine::Shards as _;

    use crate::handover::{self, Sleeper, Taker};

    fn orders(count: usize, capacity: usize) -> (Orders, Vec<Taker<Order>>) {
        let (givers, takers) = (0..count).map(|_| handover::ring(capacity, &Sleeper::new().unwrap())).unzip();
        (Orders::new(givers), takers)
    }

    /// A worker that takes orders until it is told to stop, or the giver is gone; returns how many.
    fn work(mut taker: Taker<Order>) -> JoinHandle<usize> {
        std::thread::spawn(move || {
            let policy = Policy::new(vec![Interface::new(CORE, "core", InterfaceKind::Core)], Vec::new());
            let mut data = Dataplane::new(Arc::new(policy));
            let (mut taken, mut count) = (Vec::new(), 0);
            loop {
                taker.take(ORDERS_MAX, &mut taken);
                for order in taken.drain(..) {
                    count += 1;
                    match order {
                        Order::Look(question) => question(&mut data, Instant::ZERO),
                        Order::Stop => return count,
                        _ => {}
                    }
                }
                std::thread::yield_now();
            }
        })
    }

    #[test]
    fn an_order_waits_for_room_and_is_never_lost() {
        let (mut orders, takers) = orders(2, 4);
        let workers: Vec<_> = takers.into_iter().map(work).collect();
        for number in 0..1_000 {
            orders.control(Control::Remove(SaId(number)));
        }
        orders.tell_all(|| Order::Stop);
        assert!(workers.into_iter().all(|worker| worker.join().unwrap() == 1_001));
        assert_eq!(orders.stuck(), None);
    }

    #[test]
    fn a_worker_without_an_answer_is_left_out_and_counted() {
        let (orders, mut takers) = orders(3, 4);
        let silent = takers.pop().unwrap();
        let workers: Vec<_> = takers.into_iter().map(work).collect();
        assert_eq!(orders.ask(|_, _| 7), [7, 7]);
        assert_eq!((orders.unanswered(), orders.unanswered()), (1, 0));
        drop(silent);
        orders.tell_all(|| Order::Stop);
        assert!(workers.into_iter().all(|worker| worker.join().unwrap() == 2));
    }

    #[test]
    fn listings_and_counters_are_those_of_all_workers() {
        let (mut orders, takers) = orders(2, 4);
        let workers: Vec<_> = takers.into_iter().map(work).collect();
        let all: Pick = Arc::new(|_| true);
        assert_eq!(orders.connections(&all, 10), (Vec::new(), 0));
        assert_eq!(orders.close_connections(&all), 0);
        assert_eq!(orders.counters(), Counters::default());
        assert_eq!(orders.unanswered(), 0);
        orders.tell_all(|| Order::Stop);
        assert!(workers.into_iter().all(|worker| worker.join().unwrap() == 4));
    }
}
