//! `adit demo`: two offices, a tunnel between them, traffic through it, told step by step; then the head office's
//! command line. The same story is played in the simulator, in real time and without privileges, or by two daemons in
//! network namespaces.

mod echo;
mod netns;
mod simulated;
mod tcp;

use std::io::{self, IsTerminal};
use std::time::Duration;

use sim::IkeGlance;

use crate::exit::{Exit, say};

/// Echo requests of one step.
const PINGS: u32 = 4;

/// One of the two offices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Office {
    /// 172.16.1.0/24 behind 198.51.100.1.
    Head,
    /// 192.168.11.0/24 behind 203.0.113.1.
    Branch,
}

impl Office {
    /// As the story calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Head => "head office",
            Self::Branch => "branch",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Head => Self::Branch,
            Self::Branch => Self::Head,
        }
    }

    /// The address of its host.
    fn host(self) -> &'static str {
        match self {
            Self::Head => "172.16.1.10",
            Self::Branch => "192.168.11.10",
        }
    }
}

/// What came of echo requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echoes {
    /// How many were sent.
    pub sent: u32,
    /// How many were answered.
    pub answered: u32,
    /// From request to answer: the slowest, which is the first when a tunnel has to come up for it, and the fastest.
    pub round_trip: Option<(Duration, Duration)>,
}

/// What came of a TCP transfer.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// Bytes received.
    pub bytes: u64,
    /// From the first byte to the last.
    pub took: Duration,
    /// Adler-32 of what was sent.
    pub sent: u32,
    /// Adler-32 of what was received.
    pub received: u32,
}

/// Where the story is played.
pub trait Stage {
    /// What it is, in a sentence.
    fn describe(&self) -> &'static str;
    /// Bytes that a transfer moves here in a few seconds.
    fn transfer_size(&self) -> u64;
    /// The host of an office pings the other's.
    fn ping(&mut self, from: Office, count: u32) -> Result<Echoes, Exit>;
    /// The host of an office sends the other's so many bytes over TCP.
    fn transfer(&mut self, from: Office, bytes: u64) -> Result<Delivery, Exit>;
    /// The head office's gateway runs a command; what it says.
    fn command(&mut self, line: &str) -> Result<String, Exit>;
    /// What an office's gateway has logged since the last look.
    fn log(&mut self, office: Office) -> Result<Vec<String>, Exit>;
    /// The IP packets that have crossed the internet since the last look.
    fn wire(&mut self) -> Result<Vec<Vec<u8>>, Exit>;
    /// The head office's command line, until the operator leaves.
    fn console(&mut self) -> Result<(), Exit>;
}

/// Tells the story.
pub fn demo(netns: bool) -> Result<(), Exit> {
    if netns { tell(&mut netns::Namespaces::build()?) } else { tell(&mut simulated::Simulated::build()?) }
}

const MAP: &str = "
   head office                        the internet                          branch

   host 172.16.1.10 -- gateway 198.51.100.1 ------- 203.0.113.1 gateway -- host 192.168.11.10
        172.16.1.0/24          [head-office.adit]   [branch.adit]          192.168.11.0/24

";

fn tell(stage: &mut dyn Stage) -> Result<(), Exit> {
    say(&format!("Two offices want to share their networks over the internet. {}\n{MAP}", stage.describe()));
    say("Both gateways run, each with its configuration from examples/lan-to-lan/. There is no tunnel yet:\n\n");
    quote(&stage.command("ike")?);
    // What happened while they started.
    let (_, _, _) = (stage.wire()?, stage.log(Office::Head)?, stage.log(Office::Branch)?);

    step(1, "A host at the head office pings one at the branch: the first packet brings the tunnel up");
    let answered = ping(stage, Office::Head);
    say("\n   On the internet between the gateways:\n\n");
    show_wire(&stage.wire()?);
    say("\n   What the gateways logged, in short:\n\n");
    for office in [Office::Head, Office::Branch] {
        for line in stage.log(office)?.iter().filter(|line| line.contains("IPSEC ")) {
            say(&format!("      {:<11}   {}\n", office.name(), shorten(line)));
        }
    }

    // Only now: what the gateways logged is why.
    answered?;

    step(2, "What was negotiated, as the head office's command line shows it");
    quote(&stage.command("ike")?);
    quote(&stage.command("ipsec -verbose")?);

    step(3, "The branch pings back through the same tunnel");
    ping(stage, Office::Branch)?;

    step(4, "Files cross in both directions over TCP");
    for from in [Office::Head, Office::Branch] {
        transfer(stage, from)?;
    }
    show_protection(&stage.wire()?);

    step(5, "What the tunnel has carried");
    quote(&stage.command("ipsec -usage")?);

    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        say("\nThat was the demo. On a terminal the head office's command line would follow.\n");
        return Ok(());
    }
    say(
        "\nThe rest is yours: the head office's command line. Try  show IPsecTunnel ipsec_hq_to_branch,  ike,  ipsec,\n",
    );
    say("connections,  rules,  routes,  ping 192.168.11.10,  help;  TAB completes;  exit or Ctrl-D leaves.\n\n");
    stage.console()
}

fn step(number: u32, title: &str) {
    say(&format!("\n{number}. {title}\n\n"));
}

fn ping(stage: &mut dyn Stage, from: Office) -> Result<(), Exit> {
    let to = from.other();
    let echoes = stage.ping(from, PINGS)?;
    let times = echoes.round_trip.map_or(String::new(), |(slowest, fastest)| {
        format!(", the slowest in {:.1} ms, the fastest in {:.1} ms", millis(slowest), millis(fastest))
    });
    say(&format!(
        "   {} ({}) pings {} ({}): {} of {} answered{times}\n",
        from.name(),
        from.host(),
        to.name(),
        to.host(),
        echoes.answered,
        echoes.sent
    ));
    if echoes.answered == 0 { Err(Exit::failed("no ping came through the tunnel")) } else { Ok(()) }
}

fn transfer(stage: &mut dyn Stage, from: Office) -> Result<(), Exit> {
    let delivery = stage.transfer(from, stage.transfer_size())?;
    let seconds = delivery.took.as_secs_f64().max(0.000_001);
    // Exact enough for people.
    #[expect(clippy::cast_precision_loss, reason = "a rate with four digits")]
    let megabits = delivery.bytes as f64 * 8.0 / 1e6 / seconds;
    let verdict = if delivery.sent == delivery.received { "as sent" } else { "DAMAGED" };
    say(&format!(
        "   {:<11} to {:<11}: {} MiB in {seconds:.1} s, {megabits:.0} Mbit/s, checksum {:08x} {verdict}\n",
        from.name(),
        from.other().name(),
        delivery.bytes >> 20,
        delivery.received
    ));
    if delivery.sent == delivery.received { Ok(()) } else { Err(Exit::failed("a transfer arrived damaged")) }
}

/// The IKE messages one by one, and how many packets of ESP.
fn show_wire(packets: &[Vec<u8>]) {
    for packet in packets {
        let Some(message) = IkeGlance::at(packet) else { continue };
        let from_head = source(packet) == Some([198, 51, 100, 1]);
        let arrow = if from_head { "head office ---> branch" } else { "head office <--- branch" };
        let kind = if message.response { "response" } else { "request" };
        say(&format!("      {arrow}   {} {kind} {}\n", message.name(), message.message_id));
    }
    show_protection(packets);
}

/// Whether all else was protected.
fn show_protection(packets: &[Vec<u8>]) {
    let private = |packet: &&Vec<u8>| {
        matches!(source(packet), Some([172, 16, ..] | [192, 168, ..])) || matches!(source(packet), Some([10, ..]))
    };
    let clear = packets.iter().filter(private).count();
    let protected = packets.iter().filter(|packet| IkeGlance::at(packet).is_none()).count().saturating_sub(clear);
    say(&format!("      {protected} packets of ESP, {clear} packets in clear text\n"));
}

/// The source address of an IPv4 packet.
fn source(packet: &[u8]) -> Option<[u8; 4]> {
    packet.get(12..)?.first_chunk().copied()
}

/// A gateway's answer, indented.
fn quote(text: &str) {
    for line in text.trim_end().lines() {
        say(format!("   {line}").trim_end());
        say("\n");
    }
}

/// What tells an administrator most in a log line; all of it where something went wrong.
fn shorten(line: &str) -> String {
    const TELLING: [&str; 7] = ["event", "side", "auth", "algorithms", "local_net", "remote_net", "lifetime"];
    let fields = line.find("event=").and_then(|at| line.get(at..)).unwrap_or(line);
    if !(line.contains("prio=Info") || line.contains("prio=Notice")) {
        return fields.to_owned();
    }
    let told = fields_of(fields)
        .into_iter()
        .filter(|field| field.split_once('=').is_some_and(|(name, _)| TELLING.contains(&name)));
    told.map(|field| field.strip_prefix("event=").unwrap_or(field)).collect::<Vec<_>>().join(" ")
}

/// Splits at the spaces outside of quotes.
fn fields_of(line: &str) -> Vec<&str> {
    let mut quoted = false;
    let is_end = |c: char| {
        quoted ^= c == '"';
        c == ' ' && !quoted
    };
    line.split(is_end).collect()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A byte stream that does not repeat within a window, and its checksum (Adler-32 of RFC 1950).
#[derive(Clone, Copy, Debug)]
pub struct Checksum {
    low: u32,
    high: u32,
}

impl Checksum {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self { low: 1, high: 0 }
    }

    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.low = (self.low + u32::from(*byte)) % 65_521;
            self.high = (self.high + self.low) % 65_521;
        }
    }

    /// The sum.
    pub fn value(self) -> u32 {
        self.high << 16 | self.low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_is_told_in_its_telling_fields_unless_something_went_wrong() {
        let line =
            "2026-11-23 00:00:00 IPSEC prio=Info id=01800001 rev=1 event=up action=x spi=0x1 auth=\"pre-shared key\"";
        assert_eq!(shorten(line), "up auth=\"pre-shared key\"");
        assert_eq!(shorten(&line.replace("Info", "Warning")), "event=up action=x spi=0x1 auth=\"pre-shared key\"");
    }

    #[test]
    fn the_checksum_is_that_of_rfc_1950() {
        let mut checksum = Checksum::new();
        checksum.add(b"Wiki");
        checksum.add(b"pedia");
        assert_eq!(checksum.value(), 0x11e6_0398);
    }
}
