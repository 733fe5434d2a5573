//! Jobs of the gateway that take their time, on threads of their own: packets do not wait for a name server, nor for a
//! host that does not answer.

mod dns;
mod probes;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use engine::{Job, JobKind, JobResult, Resolved, Ticket};
use rustix::event::{EventfdFlags, eventfd};

use probes::Prober;

use crate::privileges;

/// Threads that ask name servers: a slow one keeps no other question waiting.
const RESOLVERS: usize = 4;
/// Questions that wait for such a thread.
const QUESTIONS_MAX: usize = 64;

/// What carries out jobs.
pub struct Runner {
    questions: SyncSender<Question>,
    prober: Prober,
    results: Receiver<(Ticket, JobResult)>,
    refused: VecDeque<(Ticket, JobResult)>,
    bell: OwnedFd,
}

struct Question {
    ticket: Ticket,
    name: String,
    until: std::time::Instant,
}

/// Where results go.
#[derive(Clone)]
struct Reports {
    results: Sender<(Ticket, JobResult)>,
    bell: Arc<OwnedFd>,
}

impl Reports {
    /// False: nobody wants them any more.
    fn send(&self, ticket: Ticket, result: JobResult) -> bool {
        let sent = self.results.send((ticket, result)).is_ok();
        // Fails only when 2^64 - 1 rings are waiting.
        let _ = rustix::io::write(&*self.bell, &1_u64.to_ne_bytes());
        sent
    }
}

impl Runner {
    /// Starts the threads; they end with this value.
    pub fn start() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (sender, results) = channel();
        let reports = Reports { results: sender, bell: Arc::new(bell.try_clone()?) };
        let (questions, waiting) = sync_channel::<Question>(QUESTIONS_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..RESOLVERS {
            let (waiting, reports) = (Arc::clone(&waiting), reports.clone());
            std::thread::Builder::new().name(format!("resolve-{number}")).spawn(move || {
                privileges::leave_the_network();
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(Question { ticket, name, until }) = next else { return };
                    let [v4, v6] = dns::resolve(&name, until);
                    if !reports.send(ticket, JobResult::Resolved { v4, v6 }) {
                        return;
                    }
                }
            })?;
        }
        let prober = Prober::start(reports)?;
        Ok(Self { questions, prober, results, refused: VecDeque::new(), bell })
    }

    /// Takes a job on. What there is no room for fails at once.
    pub fn take(&mut self, Job { ticket, kind, time }: Job) {
        let until = std::time::Instant::now() + time;
        let refusal = match kind {
            JobKind::Resolve { name } => {
                let sent = self.questions.try_send(Question { ticket, name, until });
                sent.err().map(|_| {
                    let busy = || Err::<Resolved, _>("too many names are being asked for".to_owned());
                    JobResult::Resolved { v4: busy(), v6: busy() }
                })
            }
            JobKind::Probe(probe) => {
                let taken = self.prober.take(ticket, probe, until);
                (!taken).then(|| JobResult::Probed(Err("too many hosts are being asked".to_owned())))
            }
        };
        if let Some(result) = refusal {
            self.refused.push_back((ticket, result));
            // Fails only when 2^64 - 1 rings are waiting.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    /// The next job that is done, if any.
    pub fn finished(&mut self) -> Option<(Ticket, JobResult)> {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        self.refused.pop_front().or_else(|| self.results.try_recv().ok())
    }
}

impl AsFd for Runner {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use engine::{Probe, ProbeMethod};

    use super::*;

    fn run(kind: JobKind, time: Duration) -> JobResult {
        let mut runner = Runner::start().unwrap();
        runner.take(Job { ticket: Ticket(7), kind, time });
        let end = Instant::now() + time + Duration::from_secs(10);
        while Instant::now() < end {
            if let Some((ticket, result)) = runner.finished() {
                assert_eq!(ticket, Ticket(7));
                return result;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the job never came back");
    }

    #[test]
    fn a_port_that_is_open_answers_and_one_that_is_shut_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = "127.0.0.1".parse().unwrap();
        let probe = || Probe { method: ProbeMethod::Tcp(port), target, source: None, device: "lo".to_owned() };
        let open = run(JobKind::Probe(probe()), Duration::from_secs(5));
        assert!(matches!(open, JobResult::Probed(Ok(_))), "{open:?}");
        drop(listener);
        let shut = run(JobKind::Probe(probe()), Duration::from_secs(5));
        assert!(matches!(shut, JobResult::Probed(Err(_))), "{shut:?}");
    }

    #[test]
    fn an_interface_that_there_is_not_fails_at_once() {
        let target = "127.0.0.1".parse().unwrap();
        let probe = Probe { method: ProbeMethod::Tcp(1), target, source: None, device: "no-such-nic".to_owned() };
        let JobResult::Probed(Err(reason)) = run(JobKind::Probe(probe), Duration::from_secs(60)) else { panic!() };
        assert!(!reason.is_empty());
    }
}
