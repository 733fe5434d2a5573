//! `adit run`: the gateway in the foreground. Opens everything, then turns what happens into inputs of the device and
//! carries out its actions, on one thread, until it is told to stop.

mod ports;
mod start;

use std::collections::BTreeSet;
use std::io;

use base::{Duration, Instant, Now, UnixTime};
use manage::{Action, ClientId, Device, Input};

use crate::arguments::RunOptions;
use crate::clock;
use crate::control::{Control, News};
use crate::epoll::{Epoll, Token};
use crate::events;
use crate::exit::Exit;
use crate::forwarding::{Forwarding, Outcome};
use crate::jobs::Runner;
use crate::log::{Damper, Log};
use crate::netlink::{Monitor, Netlink};
use crate::notify::notify;
use crate::protocol::{Reply, Request};
use crate::routes::{Problem, Routes, Trouble};
use crate::signals::{Signal, Signals};
use crate::store::Writer;
use ports::Ports;

/// How long peers have to acknowledge the deletion of SAs when we stop.
const SHUTDOWN_TIME: Duration = Duration::from_secs(3);
/// After a change of the host's interfaces, others follow: so long after the first, all are looked at together.
const SETTLING_TIME: Duration = Duration::from_millis(100);
/// When the kernel did not tell what there is, it is asked again.
const RETRY_TIME: Duration = Duration::from_secs(1);

const SIGNALS: Token = Token(1);
const MONITOR: Token = Token(2);
const WRITER: Token = Token(3);
const LISTENER: Token = Token(4);
const JOBS: Token = Token(5);
/// Ports count on from here.
const PORTS: u64 = 10;
/// Clients count on from here.
const CLIENTS: u64 = 1_000;

/// Runs the gateway until it is told to stop.
pub fn run(options: &RunOptions) -> Result<(), Exit> {
    let mut shell = start::start(options)?;
    let outcome = shell.go_on();
    shell.clean_up();
    outcome.map_err(|error| Exit::failed(format!("the gateway had to stop: {error}")))
}

/// Everything that is open.
struct Shell {
    device: Device,
    ports: Ports,
    control: Control,
    epoll: Epoll,
    signals: Signals,
    monitor: Monitor,
    netlink: Netlink,
    routes: Routes,
    forwarding: Forwarding,
    writer: Writer,
    jobs: Runner,
    log: Log,
    /// The file that commits go to, for the log.
    target: String,
    interfaces: Vec<objects::HostInterface>,
    /// Interfaces of the kernel without a link.
    links_down: BTreeSet<String>,
    /// When to look at the interfaces again.
    settled: Option<Instant>,
    /// Limits the reports that the kernel did not tell.
    unread: Damper,
    /// When to stop waiting for the peers.
    stopping: Option<Instant>,
    /// Nothing more is to be done.
    down: bool,
    actions: Vec<Action>,
    news: Vec<News>,
}

fn report_route(log: &mut Log, utc: UnixTime, Trouble { problem, route, reason }: Trouble) {
    let (network, metric) = (route.route.network.to_string(), route.route.metric);
    match problem {
        Problem::Refused => log.event(utc, &events::RouteRefused { network, metric, reason }),
        Problem::SourceRefused => log.event(utc, &events::RouteWithoutSource { network, metric, reason }),
        Problem::NotRemoved => log.event(utc, &events::RouteNotRemoved { network, metric, reason }),
    }
}

impl Shell {
    /// The loop.
    fn go_on(&mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        self.step(clock::now(), Input::Gateway(engine::Input::Deadline));
        self.look_at_links(clock::now());
        self.flush(clock::now());
        // Also without any tunnel: what an earlier gateway left shut is opened.
        self.apply_routes(clock::now());
        self.announce();
        while !self.down {
            self.log.flush();
            let timeout = if self.control.wants_turn() {
                Some(Duration::ZERO)
            } else {
                self.next_wake().map(|wake| wake.since(clock::now().mono))
            };
            self.epoll.wait(timeout, &mut ready)?;
            for token in &ready {
                self.serve(*token)?;
            }
            self.expire(clock::now());
            self.control.turn(&mut self.news);
            self.flush(clock::now());
        }
        Ok(())
    }

    fn announce(&mut self) {
        let tunnels = self.device.gateway().snapshot().tunnels.len();
        let plural = if tunnels == 1 { "" } else { "s" };
        self.log
            .say(&format!("adit ready: {tunnels} tunnel{plural}, control socket {}", self.control.path().display()));
        self.log.flush();
        notify("READY=1");
    }

    fn next_wake(&self) -> Option<Instant> {
        let device = self.device.next_deadline().map(|(at, _)| at);
        [device, self.settled, self.stopping].into_iter().flatten().min()
    }

    /// Something can be read.
    fn serve(&mut self, token: Token) -> io::Result<()> {
        match token {
            SIGNALS => self.heed_signals(),
            MONITOR => {
                self.monitor.drain();
                // Not from the latest news on: a host whose routes never rest would never be looked at.
                self.settled.get_or_insert(clock::now().mono + SETTLING_TIME);
            }
            WRITER => {
                while let Some((ticket, result)) = self.writer.finished() {
                    let now = clock::now();
                    // A failure the device logs.
                    if result.is_ok() {
                        let file = self.target.clone();
                        self.log.event(now.utc, &events::ConfigurationStored { file });
                    }
                    self.step(now, Input::Stored { ticket, result });
                }
            }
            JOBS => {
                while let Some((ticket, result)) = self.jobs.finished() {
                    let finished = engine::Input::Finished { ticket, result };
                    self.step(clock::now(), Input::Gateway(finished));
                }
            }
            Token(number) if (PORTS..CLIENTS).contains(&number) => self.receive(number)?,
            client => {
                let mut news = std::mem::take(&mut self.news);
                self.control.ready(client, &self.epoll, &mut news);
                self.news = news;
                self.heed_operators();
            }
        }
        Ok(())
    }

    /// Takes one batch from a port and carries it through.
    fn receive(&mut self, number: u64) -> io::Result<()> {
        let now = clock::now();
        let count = self.ports.receive(number, &mut self.device)?;
        for _ in 0..count {
            if let Some(input) = self.ports.next() {
                self.step(now, Input::Gateway(input));
            }
        }
        self.flush(now);
        Ok(())
    }

    /// Does what the time has come for.
    fn expire(&mut self, now: Now) {
        if self.device.next_deadline().is_some_and(|(at, _)| at <= now.mono) {
            self.step(now, Input::Gateway(engine::Input::Deadline));
        }
        if self.settled.is_some_and(|at| at <= now.mono) {
            self.settled = None;
            self.look_at_interfaces(now);
        }
        if self.stopping.is_some_and(|at| at <= now.mono) {
            self.down = true;
        }
    }

    fn heed_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            let now = clock::now();
            if signal == Signal::Hangup {
                self.log.event(now.utc, &events::HangupIgnored { signal: signal.name().to_owned() });
            } else if self.stopping.is_some() {
                // Asked twice: the peers are not waited for.
                self.down = true;
            } else {
                self.log.event(now.utc, &events::Stopping { cause: signal.name().to_owned() });
                notify("STOPPING=1");
                self.stopping = Some(now.mono + SHUTDOWN_TIME);
                self.step(now, Input::Gateway(engine::Input::ShutDown));
            }
        }
    }

    /// Carries out what operators asked for, and what follows from it.
    fn heed_operators(&mut self) {
        while !self.news.is_empty() {
            for news in std::mem::take(&mut self.news) {
                let now = clock::now();
                match news {
                    News::Request(client, Request::Line(line)) => self.step(now, Input::Line { client, line }),
                    News::Request(client, Request::LastLine(line)) => {
                        self.step(now, Input::LastLine(client));
                        self.step(now, Input::Line { client, line });
                    }
                    News::Request(client, Request::Complete { line, cursor }) => {
                        self.step(now, Input::Complete { client, line, cursor });
                    }
                    News::Request(client, Request::Interrupt) => self.step(now, Input::Interrupt(client)),
                    News::Full(client) => self.step(now, Input::Full(client)),
                    News::Room(client) => self.step(now, Input::Room(client)),
                    News::Left(client) => self.step(now, Input::Closed(client)),
                    News::Dropped(ClientId(client), reason) => {
                        self.log.event(now.utc, &events::ClientDropped { client, reason: reason.to_owned() });
                    }
                }
            }
        }
    }

    /// One input, and every action that comes of it.
    fn step(&mut self, now: Now, input: Input) {
        let mut actions = std::mem::take(&mut self.actions);
        self.device.step(now, input, &mut actions);
        for action in actions.drain(..) {
            self.perform(now, action);
        }
        self.actions = actions;
    }

    fn perform(&mut self, now: Now, action: Action) {
        match action {
            Action::Gateway(engine::Action::Plain(packet)) => {
                if let Some(event) = self.ports.write_plain(now.mono, &packet) {
                    self.log.event(now.utc, &event);
                }
                self.device.recycle(packet);
            }
            Action::Gateway(engine::Action::Datagram { local, remote, ds, payload }) => {
                self.ports.queue_datagram(local, remote, ds, payload);
            }
            Action::Gateway(engine::Action::Esp { local, remote, ds, payload }) => {
                self.ports.queue_esp(local, remote, ds, payload);
            }
            Action::Gateway(engine::Action::Start(job)) => self.jobs.take(job),
            Action::Gateway(engine::Action::Routes(routes)) => {
                self.routes.want(routes);
                self.apply_routes(now);
            }
            Action::Gateway(engine::Action::Log(record)) => self.log.record(now.utc, &record),
            Action::Gateway(engine::Action::Down) => self.down = true,
            Action::Reply { client, text, done } => {
                if !text.is_empty() {
                    self.control.reply(client, &Reply::Text(text), &self.epoll, &mut self.news);
                }
                if let Some(done) = done {
                    self.control.reply(client, &Reply::Done(done), &self.epoll, &mut self.news);
                }
            }
            Action::Candidates { client, start, candidates, hint } => {
                let reply = Reply::Candidates { start, candidates, hint };
                self.control.reply(client, &reply, &self.epoll, &mut self.news);
            }
            Action::Store { ticket, text } => {
                if let Err(reason) = self.writer.store(ticket, text) {
                    let file = self.target.clone();
                    self.log.event(now.utc, &events::StoreFailed { file, reason: reason.clone() });
                    self.step(now, Input::Stored { ticket, result: Err(reason) });
                }
            }
        }
    }

    /// Sends what waits in the queues, after what operators have asked for.
    fn flush(&mut self, now: Now) {
        self.heed_operators();
        let (device, log) = (&mut self.device, &mut self.log);
        self.ports.flush(now.mono, |buffer| device.recycle(buffer), |event| log.event(now.utc, &event));
    }

    /// Routes first: from the first packet that is forwarded, the tunnels' networks lead to us or nowhere.
    fn apply_routes(&mut self, now: Now) {
        match self.routes.apply(&mut self.netlink, self.ports.tun_index()) {
            Ok(troubles) => {
                for trouble in troubles {
                    report_route(&mut self.log, now.utc, trouble);
                }
            }
            Err(error) => {
                self.settled.get_or_insert(now.mono + RETRY_TIME);
                if self.unread.count(now.mono).is_some() {
                    let (network, reason) = ("all".to_owned(), error.to_string());
                    self.log.event(now.utc, &events::RouteRefused { network, metric: 0, reason });
                }
            }
        }
        for ipv6 in [false, true] {
            if self.routes.has_family(ipv6) {
                for outcome in self.forwarding.enable(ipv6) {
                    self.report_switch(now, outcome);
                }
            }
        }
    }

    fn report_switch(&mut self, now: Now, outcome: Outcome) {
        match outcome {
            Outcome::Forwarding { sysctl, value } => {
                self.log.event(now.utc, &events::ForwardingEnabled { sysctl, value: value.to_owned() });
            }
            Outcome::SourceCheck { sysctl, value } => {
                self.log.event(now.utc, &events::SourceCheckEnabled { sysctl, value: value.to_owned() });
            }
            Outcome::LooseSourceCheck { interfaces } => {
                self.log.event(now.utc, &events::SourceCheckLoose { interfaces });
            }
            Outcome::Unrecorded { file, reason } => {
                self.log.event(now.utc, &events::SysctlsNotRecorded { file, reason });
            }
            Outcome::Refused { sysctl, value, reason } => {
                self.log.event(now.utc, &events::SysctlRefused { sysctl, value: value.to_owned(), reason });
            }
        }
    }

    /// Which interfaces have no link; what cannot be read is as it was.
    fn look_at_links(&mut self, now: Now) {
        match self.netlink.links_down() {
            Ok(down) if down != self.links_down => {
                self.links_down.clone_from(&down);
                self.step(now, Input::Gateway(engine::Input::Links { down }));
            }
            Ok(_) => {}
            Err(_) => drop(self.settled.get_or_insert(now.mono + RETRY_TIME)),
        }
    }

    /// The host has changed: tell the device, and see whether our routes are still there.
    fn look_at_interfaces(&mut self, now: Now) {
        match self.netlink.interfaces(Some(self.ports.tun_index())) {
            Ok(interfaces) if interfaces != self.interfaces => {
                self.interfaces.clone_from(&interfaces);
                self.step(now, Input::Interfaces(interfaces));
            }
            Ok(_) => {}
            Err(error) => {
                self.settled.get_or_insert(now.mono + RETRY_TIME);
                if self.unread.count(now.mono).is_some() {
                    self.log.event(now.utc, &events::InterfacesUnknown { reason: error.to_string() });
                }
            }
        }
        self.look_at_links(now);
        self.apply_routes(now);
    }

    fn clean_up(&mut self) {
        self.flush(clock::now());
        self.control.close();
        // Nothing is forwarded any more, if it was we who forwarded, when the tunnels' networks lose their routes.
        self.forwarding.restore();
        self.routes.want(Vec::new());
        self.apply_routes(clock::now());
        self.log.finish();
    }
}
