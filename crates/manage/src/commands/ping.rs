//! `ping`: the gateway asks a host behind a tunnel.

use std::fmt::Write;
use std::net::IpAddr;

use base::{Duration, Now};
use engine::{Ping, PingEvent};

use super::{Arguments, Outcome, Ran};

/// Data bytes of a request unless told.
const LENGTH: usize = 4;
/// Data bytes of a request at most: what fits into an IPv4 packet with its headers.
const LENGTH_MAX: usize = 65_507;

/// A ping as its operator sees it.
#[derive(Clone, Debug)]
pub(crate) struct PingShown {
    destination: IpAddr,
    count: u16,
    length: usize,
}

pub(super) fn run(
    now: Now,
    gateway: &mut engine::Gateway,
    arguments: &Arguments<'_>,
    out: &mut Vec<engine::Action>,
) -> Ran {
    let ping = match read(arguments) {
        Ok(ping) => ping,
        Err(text) => return Ran::Done(Outcome::failed(text)),
    };
    let shown = PingShown { destination: ping.destination, count: ping.count, length: ping.length };
    match gateway.ping(now, ping, out) {
        Ok(id) => Ran::Ping(id, shown),
        Err(refused) => Ran::Done(Outcome::failed(format!("Cannot ping {}: {refused}.\n", shown.destination))),
    }
}

fn read(arguments: &Arguments<'_>) -> Result<Ping, String> {
    let host =
        arguments.word(0).ok_or("Which host? Usage: ping <host> [-count=<n>] [-length=<bytes>] [-srcip=<ip>]\n")?;
    let destination: IpAddr =
        host.parse().map_err(|_| format!("'{host}' is not an IP address; names are not resolved here.\n"))?;
    let source: Option<IpAddr> = match arguments.value("srcip") {
        Some(text) => Some(text.parse().map_err(|_| format!("-srcip={text}: expected an IP address.\n"))?),
        None => None,
    };
    if source.is_some_and(|source| source.is_ipv4() != destination.is_ipv4()) {
        return Err("-srcip must be of the same family, IPv4 or IPv6, as the host.\n".to_owned());
    }
    let count = match arguments.value("count") {
        Some(text) => text
            .parse()
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(|| format!("-count={text}: expected a number from 1 to 65535.\n"))?,
        None => 1,
    };
    let length = match arguments.value("length") {
        Some(text) => text
            .parse()
            .ok()
            .filter(|length| *length <= LENGTH_MAX)
            .ok_or_else(|| format!("-length={text}: expected a number from 0 to {LENGTH_MAX}.\n"))?,
        None => LENGTH,
    };
    Ok(Ping { destination, source, count, length })
}

/// What an operator reads of an event; the second value tells whether it was the last, and then whether any answer came.
pub(crate) fn show(shown: &PingShown, event: &PingEvent) -> (String, Option<bool>) {
    let PingShown { destination, count, length } = shown;
    let mut text = String::new();
    let ended = match event {
        PingEvent::Begun { source } => {
            let plural = if *count == 1 { "" } else { "s" };
            let _ = writeln!(text, "Sending {count} {length}-byte ICMP ping{plural} to {destination} from {source}");
            None
        }
        PingEvent::Reply { sequence, time, ttl } => {
            let _ = writeln!(text, "ICMP Reply from {destination} seq={sequence} time={} ms TTL={ttl}", millis(*time));
            None
        }
        PingEvent::Lost { sequence } => {
            let _ = writeln!(text, "No answer from {destination} seq={sequence}");
            None
        }
        PingEvent::Done { sent, received, average } => {
            let lost = u32::from(sent.saturating_sub(*received)) * 100 / u32::from(*sent).max(1);
            let _ = write!(text, "Ping Results: Sent: {sent}, Received:{received}, Loss: {lost}%");
            let _ = match average {
                Some(average) => writeln!(text, ", Avg RTT: {} ms", millis(*average)),
                None => writeln!(
                    text,
                    "\nNo answer at all: if it is behind a tunnel, 'ike' shows whether that is up, and if not, why."
                ),
            };
            Some(*received > 0)
        }
    };
    (text, ended)
}

fn millis(time: Duration) -> String {
    let tenths = time.as_micros() / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_reads_as_the_product_prints_it() {
        let shown = PingShown { destination: "192.168.11.10".parse().unwrap(), count: 1, length: 4 };
        let text = |event: &PingEvent| show(&shown, event).0;
        assert_eq!(
            text(&PingEvent::Begun { source: "172.16.1.1".parse().unwrap() }),
            "Sending 1 4-byte ICMP ping to 192.168.11.10 from 172.16.1.1\n"
        );
        assert_eq!(
            text(&PingEvent::Reply { sequence: 0, time: Duration::from_micros(10_049), ttl: 64 }),
            "ICMP Reply from 192.168.11.10 seq=0 time=10.0 ms TTL=64\n"
        );
        let done = PingEvent::Done { sent: 1, received: 1, average: Some(Duration::from_millis(10)) };
        assert_eq!(text(&done), "Ping Results: Sent: 1, Received:1, Loss: 0%, Avg RTT: 10.0 ms\n");
        assert_eq!(show(&shown, &done).1, Some(true));
        assert_eq!(show(&shown, &PingEvent::Done { sent: 3, received: 0, average: None }).1, Some(false));
    }
}
