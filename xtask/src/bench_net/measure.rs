//! The measurements of one row: iperf3 and ping between the two hosts.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::world::{FAR_HOST, World};
use crate::command;

/// What may be lost of datagrams.
const TOLERATED_LOSS: f64 = 0.01;
/// Payload of a datagram that fills a packet of every tunnel.
const LARGE: u32 = 1300;
/// Payload of a small one.
const SMALL: u32 = 64;
/// Echo requests, ten milliseconds apart.
const PINGS: usize = 200;
/// What a program may take beyond the time that it measures.
const MARGIN: Duration = Duration::from_secs(15);
/// The search ends when what passes and what does not are this close.
const CLOSE: f64 = 1.08;

/// How long and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One TCP measurement.
    tcp_seconds: u32,
    /// One step of a search for a rate of datagrams.
    step_seconds: u32,
    /// At most so many steps.
    steps: usize,
}

impl Plan {
    /// TCP for so long; the search in proportion.
    pub fn with(seconds: u32) -> Self {
        Self { tcp_seconds: seconds, step_seconds: (seconds / 4).max(1), steps: 7 }
    }

    /// A first look.
    pub fn quick(seconds: u32) -> Self {
        Self { steps: 5, ..Self::with(seconds) }
    }
}

/// What one contender did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// One stream from the near host to the far one, bits a second received.
    pub tcp_forward: f64,
    /// The other way.
    pub tcp_reverse: f64,
    /// Datagrams of 1300 bytes a second; `None` when at no rate that was tried little enough was lost.
    pub large: Option<f64>,
    /// Datagrams of 64 bytes a second.
    pub small: Option<f64>,
    /// Round trips, seconds.
    pub ping_median: f64,
    /// 99 of 100 round trips took at most this.
    pub ping_high: f64,
}

impl Figures {
    /// Bits a second of one TCP stream, the mean of both directions.
    pub fn tcp(&self) -> f64 {
        f64::midpoint(self.tcp_forward, self.tcp_reverse)
    }

    /// Payload of the large datagrams, bits a second.
    pub fn large_bits(&self) -> Option<f64> {
        self.large.map(|rate| rate * f64::from(LARGE) * 8.0)
    }
}

/// All measurements, one after the other.
pub fn all(world: &World, plan: &Plan) -> Result<Figures, String> {
    let (ping_median, ping_high) = ping(world)?;
    Ok(Figures {
        tcp_forward: tcp(world, plan, false)?,
        tcp_reverse: tcp(world, plan, true)?,
        large: datagrams(world, plan, LARGE)?,
        small: datagrams(world, plan, SMALL)?,
        ping_median,
        ping_high,
    })
}

/// The part of the machine that was at work during a short look, from 0 to 1: what others do spoils the figures.
pub fn busy() -> Option<f64> {
    let look = || {
        let text = fs::read_to_string("/proc/stat").ok()?;
        times(text.lines().next()?)
    };
    let before = look()?;
    std::thread::sleep(Duration::from_millis(300));
    let after = look()?;
    let (all, idle) = (after.0.checked_sub(before.0)?, after.1.checked_sub(before.1)?);
    (all > 0).then(|| 1.0 - float(idle) / float(all))
}

/// All ticks and idle ticks of the first line of `/proc/stat`.
fn times(line: &str) -> Option<(u64, u64)> {
    let ticks: Vec<u64> = line.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user already.
    Some((ticks.iter().take(8).sum(), ticks.get(3)? + ticks.get(4)?))
}

fn tcp(world: &World, plan: &Plan, reverse: bool) -> Result<f64, String> {
    let seconds = plan.tcp_seconds.to_string();
    let mut arguments = vec!["-t", &seconds];
    if reverse {
        arguments.push("-R");
    }
    let result = iperf(world, &arguments, plan.tcp_seconds)?;
    number(&result, "/end/sum_received/bits_per_second")
}

/// The highest rate found, in datagrams received a second, at which little enough is lost.
fn datagrams(world: &World, plan: &Plan, payload: u32) -> Result<Option<f64>, String> {
    let mut search = Search::default();
    let buffer = socket_buffer().to_string();
    for _ in 0..plan.steps {
        let Some(offer) = search.next() else { break };
        let bits = offer.map_or_else(|| "0".to_owned(), |rate| format!("{:.0}", rate * f64::from(payload) * 8.0));
        let (seconds, payload) = (plan.step_seconds.to_string(), payload.to_string());
        // Small portions and a large buffer: not the hosts are to be measured.
        let pace = ["--pacing-timer", "100", "-w", &buffer];
        let arguments = [&["-u", "-l", &payload, "-b", &bits, "-t", &seconds], pace.as_slice()].concat();
        let result = iperf(world, &arguments, plan.step_seconds)?;
        let (sent, lost) = (number(&result, "/end/sum/packets")?, number(&result, "/end/sum/lost_packets")?);
        let took = number(&result, "/end/sum/seconds")?.max(0.001);
        search.learn(sent / took, (sent - lost).max(0.0) / took);
    }
    Ok(search.best)
}

/// The largest buffer that a socket of iperf3 may ask for, up to 4 MiB.
fn socket_buffer() -> u64 {
    let limit = |name: &str| fs::read_to_string(format!("/proc/sys/net/core/{name}")).ok()?.trim().parse().ok();
    ["rmem_max", "wmem_max"].into_iter().filter_map(limit).fold(4 << 20, u64::min)
}

/// Looks for the highest rate that passes, knowing what became of the rates before.
#[derive(Debug, Default)]
struct Search {
    begun: bool,
    /// Received at the best offer that passed.
    best: Option<f64>,
    /// The best offer that passed.
    passed: Option<f64>,
    /// The lowest offer that did not.
    failed: Option<f64>,
    /// What was received at that.
    received: f64,
}

impl Search {
    /// What to offer next: first as much as goes (`Some(None)`); `None` when there is nothing more to find out.
    fn next(&self) -> Option<Option<f64>> {
        if !self.begun {
            return Some(None);
        }
        let failed = self.failed?;
        match self.passed {
            Some(passed) if failed / passed <= CLOSE => None,
            Some(passed) => Some(Some((passed * failed).sqrt())),
            // An overloaded receiver loses more than it must: what it got is a fair guess, and then less and less.
            None => Some(Some(self.received.clamp(failed * 0.15, failed * 0.8))),
        }
    }

    fn learn(&mut self, offered: f64, received: f64) {
        self.begun = true;
        if received >= offered * (1.0 - TOLERATED_LOSS) {
            self.passed = Some(self.passed.unwrap_or(0.0).max(offered));
            self.best = Some(self.best.unwrap_or(0.0).max(received));
        } else if self.failed.is_none_or(|failed| offered < failed) {
            self.failed = Some(offered);
            self.received = received;
        }
    }
}

/// One run of iperf3 from the near host.
fn iperf(world: &World, arguments: &[&str], seconds: u32) -> Result<Value, String> {
    let _server = world.server()?;
    let mut client = world.node("lan-a", "iperf3");
    client.args(["-c", FAR_HOST, "-J", "--connect-timeout", "5000"]).args(arguments);
    let limit = Duration::from_secs(seconds.into()) + MARGIN;
    let finished = command::run(&mut client, &world.file("iperf.log"), limit).map_err(|error| error.to_string())?;
    let result = serde_json::from_str::<Value>(&finished.output).ok().filter(|_| finished.success);
    result.ok_or_else(|| format!("iperf3 {}\n{}", arguments.join(" "), command::tail(&finished.output, 10)))
}

fn number(result: &Value, place: &str) -> Result<f64, String> {
    result.pointer(place).and_then(Value::as_f64).ok_or_else(|| format!("iperf3 says nothing of {place}"))
}

/// The median and the 99th of a hundred round trips, in seconds.
fn ping(world: &World) -> Result<(f64, f64), String> {
    let count = PINGS.to_string();
    let mut ping = world.node("lan-a", "ping");
    ping.args(["-n", "-c", &count, "-i", "0.01", "-W", "1", FAR_HOST]);
    let finished = command::run(&mut ping, &world.file("ping.log"), MARGIN).map_err(|error| error.to_string())?;
    let mut times = round_trips(&finished.output);
    times.sort_by(f64::total_cmp);
    let enough = times.len() * 100 >= PINGS * 95;
    let at = |hundredth: usize| times.get((times.len() * hundredth / 100).min(times.len().saturating_sub(1))).copied();
    at(50).zip(at(99)).filter(|_| enough).ok_or_else(|| format!("{} of {PINGS} pings were answered", times.len()))
}

fn round_trips(output: &str) -> Vec<f64> {
    let time = |line: &str| line.split_once("time=")?.1.split(' ').next()?.parse::<f64>().ok();
    output.lines().filter_map(time).map(|millis| millis / 1e3).collect()
}

#[expect(clippy::cast_precision_loss, reason = "clock ticks of less than a second")]
fn float(ticks: u64) -> f64 {
    ticks as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the search finds when everything above `capacity` is lost, in so many steps.
    fn search(capacity: f64, greatest: f64, steps: usize) -> Option<f64> {
        let mut search = Search::default();
        for _ in 0..steps {
            let Some(offer) = search.next() else { break };
            let offer = offer.unwrap_or(greatest).min(greatest);
            search.learn(offer, offer.min(capacity));
        }
        search.best
    }

    #[test]
    fn the_search_comes_close_to_the_capacity_from_below() {
        for capacity in [20e3, 90e3, 155e3, 310e3] {
            let found = search(capacity, 350e3, 7).unwrap();
            assert!(found <= capacity && found > capacity * 0.85, "{found} of {capacity}");
        }
        assert_eq!(search(500e3, 350e3, 6), Some(350e3));
    }

    #[test]
    fn a_path_that_loses_at_any_rate_has_no_figure() {
        let mut search = Search::default();
        for _ in 0..6 {
            let offer = search.next().unwrap().unwrap_or(350e3);
            search.learn(offer, offer * 0.9);
        }
        assert_eq!(search.best, None);
    }

    #[test]
    fn round_trips_are_read_from_what_ping_prints() {
        let output = "64 bytes from 192.168.11.10: icmp_seq=1 ttl=62 time=0.250 ms\n\
                      64 bytes from 192.168.11.10: icmp_seq=2 ttl=62 time=4 ms\n\n--- 192.168.11.10 ping statistics ---\n";
        assert_eq!(round_trips(output), [0.000_25, 0.004]);
    }

    #[test]
    fn time_waiting_for_a_disk_is_idle() {
        assert_eq!(times("cpu  10 0 20 60 5 1 4 0 7 0"), Some((100, 65)));
    }
}
