//! The story in the simulator, in real time: the gateways are the real ones, the hosts run a real TCP/IP stack, and only
//! the wires and the clock are made up. It needs no privileges and leaves nothing behind.

use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use manage::ClientId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sim::{LanToLan, NodeId, World};

use super::{Delivery, Echoes, Office, Stage};
use crate::client::Session;
use crate::console;
use crate::exit::Exit;
use crate::protocol::{REQUEST_MAX, Reply, Request};

/// The operator who tells the story, and the one at the console.
const NARRATOR: ClientId = ClientId(10);
const OPERATOR: ClientId = ClientId(11);
/// How long anything may take before the story breaks off.
const PATIENCE: Duration = Duration::from_secs(60);
/// The operator's keys are looked at this often.
const SLICE: Duration = Duration::from_millis(20);
/// The whole history of the world follows from it.
const SEED: u64 = 103;

/// Two offices in a world of their own.
pub struct Simulated {
    world: World,
    net: LanToLan,
    /// When the world began, by our clock.
    began: Instant,
    seen: Vec<Vec<u8>>,
    logged: [usize; 2],
}

impl Simulated {
    /// Makes the world and starts the gateways.
    pub fn build() -> Result<Self, Exit> {
        let mut world = World::seeded(SEED);
        let net = world.lan_to_lan();
        Ok(Self { world, net, began: Instant::now(), seen: Vec::new(), logged: [0; 2] })
    }

    fn host(&self, office: Office) -> NodeId {
        match office {
            Office::Head => self.net.hq.host,
            Office::Branch => self.net.branch.host,
        }
    }

    fn gateway(&self, office: Office) -> NodeId {
        match office {
            Office::Head => self.net.hq.gateway,
            Office::Branch => self.net.branch.gateway,
        }
    }

    /// Lets the world live at the pace of our clock until something is true.
    fn live_until(&mut self, what: &str, mut is_true: impl FnMut(&mut World) -> bool) -> Result<(), Exit> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if self.catch_up(&mut is_true) {
                return Ok(());
            }
            std::thread::sleep(self.rest());
        }
        Err(Exit::failed(format!("the demo waited in vain until {what}")))
    }

    /// Brings the world to the present, or to the moment in which something is true. On a machine that is too slow for
    /// that, the world's time runs slower than ours.
    fn catch_up(&mut self, is_true: &mut impl FnMut(&mut World) -> bool) -> bool {
        let behind = self.began.elapsed().saturating_sub(self.world.now().since(base::Instant::ZERO));
        let step = behind.min(SLICE);
        self.began += behind.saturating_sub(step.max(behind.min(Duration::from_secs(1))));
        let reached = self.world.run_until(step, is_true);
        // Packets that cross the internet are those that its router sends.
        let crossed = self.world.trace().entries().filter(|entry| &*entry.from == "internet");
        self.seen.extend(crossed.map(|entry| entry.packet.clone()));
        self.world.trace().clear();
        reached
    }

    /// How long nothing will happen, at most a slice.
    fn rest(&self) -> Duration {
        let now = self.began.elapsed();
        let next = self.world.next_event().map_or(SLICE, |at| at.since(base::Instant::ZERO).saturating_sub(now));
        next.min(SLICE)
    }

    /// Carries out what the operator at the console asks for.
    fn serve(&mut self, request: Request) -> Option<Reply> {
        let gateway = self.gateway(Office::Head);
        match request {
            Request::Line(line) | Request::LastLine(line) => self.world.send_line(gateway, OPERATOR, &line),
            Request::Interrupt => self.world.interrupt(gateway, OPERATOR),
            Request::Complete { line, cursor } => {
                let found = self.world.complete(gateway, OPERATOR, &line, cursor);
                return Some(match found {
                    Some(found) => {
                        Reply::Candidates { start: found.start, candidates: found.candidates, hint: found.hint }
                    }
                    None => Reply::Candidates { start: cursor, candidates: Vec::new(), hint: None },
                });
            }
        }
        None
    }

    /// The world goes on while an operator types at the other end of `stream`.
    fn attend(&mut self, mut stream: UnixStream) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        let gateway = self.gateway(Office::Head);
        let (mut input, mut chunk) = (Vec::new(), [0; 4_096]);
        loop {
            self.catch_up(&mut |_| false);
            for said in self.world.take_replies(gateway, OPERATOR) {
                stream.write_all(Reply::Text(said.text).write().as_bytes())?;
                if let Some(done) = said.done {
                    stream.write_all(Reply::Done(done).write().as_bytes())?;
                }
            }
            let timeout = Timespec::try_from(self.rest()).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
            if poll(&mut [PollFd::new(&stream, PollFlags::IN)], Some(&timeout)).unwrap_or(0) == 0 {
                continue;
            }
            match stream.read(&mut chunk)? {
                0 => return Ok(()),
                size => input.extend_from_slice(chunk.get(..size).unwrap_or_default()),
            }
            while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = input.drain(..=end).collect();
                let request = Request::read(&line).map_err(|_| std::io::Error::from(ErrorKind::InvalidData))?;
                if let Some(reply) = self.serve(request) {
                    stream.write_all(reply.write().as_bytes())?;
                }
            }
            if input.len() > REQUEST_MAX {
                return Err(ErrorKind::InvalidData.into());
            }
        }
    }
}

impl Stage for Simulated {
    fn describe(&self) -> &'static str {
        "Here everything\nhappens inside this process, in real time: the gateways are complete, their hosts have a TCP/IP stack each,\nand only the wires are imagined."
    }

    fn transfer_size(&self) -> u64 {
        4 << 20
    }

    fn ping(&mut self, from: Office, count: u32) -> Result<Echoes, Exit> {
        let to: IpAddr = from.other().host().parse().map_err(Exit::failed)?;
        let ping = self.world.pings(self.host(from), to, count.into(), Duration::from_millis(200), 56);
        let watched = ping.clone();
        let all = u64::from(count);
        // A ping that stays without an answer is for the story to tell.
        let _ = self.live_until("every ping is answered", |_| watched.answers() == all);
        Ok(Echoes {
            sent: u32::try_from(ping.sent()).unwrap_or(u32::MAX),
            answered: u32::try_from(ping.answers()).unwrap_or(u32::MAX),
            round_trip: ping.round_trip().map(|(fastest, slowest)| (slowest, fastest)),
        })
    }

    fn transfer(&mut self, from: Office, bytes: u64) -> Result<Delivery, Exit> {
        let transfer = self.world.transfer(self.host(from), self.host(from.other()), bytes);
        let watched = transfer.clone();
        self.live_until("a transfer is complete", |_| watched.is_complete() || watched.is_broken())?;
        match transfer.took() {
            Some(took) => Ok(Delivery {
                bytes: transfer.received(),
                took,
                sent: transfer.expected_checksum(),
                received: transfer.checksum(),
            }),
            None => Err(Exit::failed("a transfer broke off")),
        }
    }

    fn command(&mut self, line: &str) -> Result<String, Exit> {
        let gateway = self.gateway(Office::Head);
        self.world.send_line(gateway, NARRATOR, line);
        let mut text = String::new();
        self.live_until("a command has ended", |world| {
            let replies = world.take_replies(gateway, NARRATOR);
            text.extend(replies.iter().map(|reply| reply.text.as_str()));
            replies.iter().any(|reply| reply.done.is_some())
        })?;
        Ok(text)
    }

    fn log(&mut self, office: Office) -> Result<Vec<String>, Exit> {
        let node = self.gateway(office);
        let [head, branch] = &mut self.logged;
        let logged = if office == Office::Head { head } else { branch };
        let news = self.world.gateway(node).log().skip(*logged).map(|(_, record)| record.to_string());
        let news: Vec<String> = news.collect();
        *logged += news.len();
        Ok(news)
    }

    fn wire(&mut self) -> Result<Vec<Vec<u8>>, Exit> {
        Ok(std::mem::take(&mut self.seen))
    }

    fn console(&mut self) -> Result<(), Exit> {
        let (ours, theirs) = UnixStream::pair().map_err(|error| Exit::failed(format!("socket pair: {error}")))?;
        // Takes Ctrl-C over for this thread and the next.
        let session = Session::new(theirs)?;
        let console = std::thread::spawn(move || console::interact(session));
        // Ends when the console does: an error is that its end is closed.
        let _ = self.attend(ours);
        console.join().map_err(|_| Exit::failed("the console broke down"))?
    }
}
