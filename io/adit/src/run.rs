//! `adit run`: the gateway in the foreground. Opens everything, then turns what happens into inputs of the device and
//! carries out its actions until it is told to stop. This is the control thread: packets are for the [`workers`].
//!
//! [`workers`]: crate::workers

mod cards;
mod start;

use std::collections::BTreeSet;

use std::net::SocketAddr;

use base::{Duration, Instant, Now, Offload, UnixTime};
use manage::{Action, ClientId, Device, Input};

use crate::arguments::RunOptions;
use crate::clock;
use crate::control::{Control, News};
use crate::datagram::Outgoing;
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
use crate::workers::{Failure, Outlets, Sent, Workers};
use cards::{Cards, Host, News as CardNews};

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
const WORKERS: Token = Token(5);
const JOBS: Token = Token(6);
/// Network cards count on from here.
const CARDS: u64 = 1_000;
/// Clients count on from here.
const CLIENTS: u64 = 100_000;

/// Runs the gateway until it is told to stop.
pub fn run(options: &RunOptions) -> Result<(), Exit> {
    let mut shell = start::start(options)?;
    match shell.go_on() {
        Ok(()) => {
            shell.clean_up();
            Ok(())
        }
        Err(Failure::Port(error)) => {
            shell.clean_up();
            Err(Exit::failed(format!("the gateway had to stop: {error}")))
        }
        Err(Failure::Stuck(worker)) => {
            shell.leave_shut();
            Err(Exit::failed(format!(
                "the gateway had to stop: worker {worker} does nothing any more; its tunnels' networks stay unreachable \
                 until the next gateway starts"
            )))
        }
    }
}

/// Everything that is open.
struct Shell {
    device: Device,
    /// For IKE, and for packets to the gateway itself.
    outlets: Outlets,
    workers: Workers,
    /// What workers have sent.
    inputs: Vec<engine::Input>,
    /// The TUN device's number in the kernel.
    tun_index: u32,
    cards: Cards,
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
    /// Limits the reports of frames that could not be sent.
    lost_frames: Damper,
    actions: Vec<Action>,
    frames: Vec<(link::PortId, base::Buffer)>,
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
    fn go_on(&mut self) -> Result<(), Failure> {
        let mut ready = Vec::new();
        self.step(clock::now(), Input::Gateway(engine::Input::Deadline));
        self.look_at_links(clock::now());
        self.flush(clock::now());
        // Also without any tunnel: what an earlier gateway left shut is opened.
        self.apply_routes(clock::now());
        self.announce();
        while !self.down {
            self.log.flush();
            let timeout = if self.control.wants_turn() || !self.workers.may_sleep() {
                Duration::ZERO
            } else {
                self.next_wake().since(clock::mono())
            };
            self.epoll.wait(Some(timeout), &mut ready).map_err(Failure::Port)?;
            self.workers.woken();
            for token in &ready {
                self.serve(*token);
            }
            self.heed_workers()?;
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

    fn next_wake(&self) -> Instant {
        let device = self.device.next_deadline().map(|(at, _)| at);
        let others = [device, self.settled, self.stopping].into_iter().flatten();
        others.fold(self.workers.next_beat(), Instant::min)
    }

    /// Something can be read.
    fn serve(&mut self, token: Token) {
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
            // Heard after all others in each turn.
            WORKERS => {}
            JOBS => {
                while let Some((ticket, result)) = self.jobs.finished() {
                    let finished = engine::Input::Finished { ticket, result };
                    self.step(clock::now(), Input::Gateway(finished));
                }
            }
            Token(number) if (CARDS..CLIENTS).contains(&number) => self.receive_frames(number),
            client => {
                let mut news = std::mem::take(&mut self.news);
                self.control.ready(client, &self.epoll, &mut news);
                self.news = news;
                self.heed_operators();
            }
        }
    }

    /// Carries out what workers have sent, and looks whether they are well.
    fn heed_workers(&mut self) -> Result<(), Failure> {
        let now = clock::now();
        let mut inputs = std::mem::take(&mut self.inputs);
        self.workers.take(&mut inputs);
        for input in inputs.drain(..) {
            self.step(now, Input::Gateway(input));
        }
        self.inputs = inputs;
        self.flush(now);
        match self.workers.unanswered() {
            0 => {}
            answers_missing => self.log.event(now.utc, &events::WorkersSilent { answers_missing }),
        }
        self.workers.watch(now.mono)
    }

    /// Takes one batch from a network card and carries it through.
    fn receive_frames(&mut self, number: u64) {
        let now = clock::now();
        let mut frames = std::mem::take(&mut self.frames);
        let device = &mut self.device;
        self.cards.receive(number, || device.buffer(), |port, frame| frames.push((port, frame)));
        for (port, frame) in frames.drain(..) {
            self.step(now, Input::Gateway(engine::Input::Frame { port, frame }));
        }
        self.frames = frames;
        self.flush(now);
    }

    /// The cards, and what they depend on.
    fn cards_and_host(&mut self) -> (&mut Cards, Host<'_>) {
        let host = Host { epoll: &self.epoll, interfaces: &self.interfaces, forwarding: &mut self.forwarding };
        (&mut self.cards, host)
    }

    /// Tells the device, or the log, what has become of network cards.
    fn heed_cards(&mut self, now: Now, news: Vec<CardNews>) {
        for news in news {
            match news {
                CardNews::Open(open) => self.step(now, Input::Gateway(engine::Input::Port(open))),
                CardNews::Refused { device, reason } => {
                    self.log.event(now.utc, &events::CardRefused { device, reason });
                }
                CardNews::Shared { device, addresses } => {
                    self.log.event(now.utc, &events::CardShared { device, addresses });
                }
                CardNews::Switch(outcome) => self.report_switch(now, outcome),
            }
        }
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
                if let Some(record) = self.outlets.write_plain(now.mono, &packet, &Offload::NONE) {
                    self.log.record(now.utc, &record);
                }
                self.device.recycle(packet);
            }
            Action::Gateway(engine::Action::Datagram { local, remote, ds, payload }) => {
                // Large messages of IKE may be cut on their way.
                self.outlets.queue_datagram(local, Outgoing::single(local.ip(), remote, ds, payload));
            }
            Action::Gateway(engine::Action::Esp { local, remote, ds, payload }) => {
                let remote = SocketAddr::new(remote, 0);
                self.outlets.queue_esp(Outgoing::single(local, remote, ds, payload));
            }
            Action::Gateway(engine::Action::Start(job)) => self.jobs.take(job),
            Action::Gateway(engine::Action::Routes(routes)) => {
                self.routes.want(routes);
                self.apply_routes(now);
            }
            Action::Gateway(engine::Action::Log(record)) => self.log.record(now.utc, &record),
            Action::Gateway(engine::Action::Ports(wanted)) => {
                let (cards, mut host) = self.cards_and_host();
                let news = cards.want(wanted, &mut host);
                self.heed_cards(now, news);
            }
            Action::Gateway(engine::Action::Frame { port, frame }) => self.cards.queue(port, frame),
            Action::Gateway(engine::Action::Filter { port, filter }) => {
                if let Err(error) = self.cards.set_filter(port, filter) {
                    self.log.event(now.utc, &events::CardFilterRefused { port: port.0, reason: error.to_string() });
                }
            }
            // The device keeps these to itself.
            Action::Gateway(engine::Action::Lease { .. }) => {}
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
        let mut path_mtus = Vec::new();
        let tell = |news: Sent| match news {
            Sent::Log(record) => log.record(now.utc, &record),
            Sent::PathMtu(remote, mtu) => path_mtus.push(engine::Input::PathMtu { remote, mtu }),
        };
        self.outlets.flush(now.mono, |buffer| device.recycle(buffer), tell);
        let damper = &mut self.lost_frames;
        self.cards.flush(
            |buffer| device.recycle(buffer),
            |device, error| {
                if let Some(frames) = damper.count(now.mono) {
                    let (device, reason) = (device.to_owned(), error.to_string());
                    log.event(now.utc, &events::FramesNotSent { device, reason, frames });
                }
            },
        );
        for input in path_mtus {
            self.step(now, Input::Gateway(input));
        }
    }

    /// Routes first: from the first packet that is forwarded, the tunnels' networks lead to us or nowhere.
    fn apply_routes(&mut self, now: Now) {
        match self.routes.apply(&mut self.netlink, self.tun_index) {
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
        match self.netlink.interfaces(Some(self.tun_index)) {
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
        // Forwarding, where it is wanted, is switched on for all cards: afterwards it is off again for those that are ours.
        self.apply_routes(now);
        let (cards, mut host) = self.cards_and_host();
        let news = cards.look(&mut host);
        self.heed_cards(now, news);
    }

    fn clean_up(&mut self) {
        self.flush(clock::now());
        self.control.close();
        // Nothing is forwarded any more, if it was we who forwarded, when the tunnels' networks lose their routes.
        self.forwarding.restore();
        self.routes.want(Vec::new());
        self.apply_routes(clock::now());
        self.workers.stop();
        self.log.finish();
    }

    /// Ends as if killed: what goes back is what the next gateway puts back, so that until then nothing that belongs into
    /// a tunnel takes another way.
    fn leave_shut(&mut self) {
        self.control.close();
        self.log.finish();
    }
}
