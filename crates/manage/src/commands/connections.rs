//! `connections`: what passes through the rule set now.

use std::net::IpAddr;
use std::sync::Arc;

use base::Now;
use dataplane::{ConnectionStatus, Endpoint};

use super::{Arguments, Outcome};
use crate::table::Table;

pub(super) fn run(now: Now, gateway: &mut engine::Gateway, arguments: &Arguments<'_>) -> Outcome {
    let filter = match Filter::read(gateway, arguments) {
        Ok(filter) => filter,
        Err(text) => return Outcome::failed(text),
    };
    let everything = filter.is_empty();
    let pick: engine::Pick = Arc::new(move |connection| filter.fits(connection));
    if arguments.has("close") {
        if everything && !arguments.has("all") {
            return Outcome::failed("Which connections? Give a filter such as -srcip=, or -all for every one.\n");
        }
        let count = gateway.close_connections(&pick);
        return Outcome::ok(format!("{count} connections closed.\n"));
    }
    // Of a large table only what is printed is built; the others are counted.
    let limit = arguments.limit();
    let (connections, total) = gateway.connections(now, &pick, limit);
    let mut text = String::new();
    if arguments.has("verbose") {
        let mut table = Table::new(&[
            "State",
            "Proto",
            "Source",
            "Destination",
            ">Tmout",
            "Policy",
            ">Age",
            ">Bytes sent",
            ">Bytes received",
        ]);
        for c in &connections {
            table.row([
                c.state.to_owned(),
                c.protocol.to_owned(),
                end(c, &c.source),
                end(c, &c.destination),
                c.timeout.as_secs().to_string(),
                c.rule.to_string(),
                now.mono.since(c.opened).as_secs().to_string(),
                c.source.bytes.to_string(),
                c.destination.bytes.to_string(),
            ]);
        }
        table.print_of(total, limit, &mut text);
    } else {
        let mut table = Table::new(&["State", "Proto", "Source", "Destination", ">Tmout"]);
        for c in &connections {
            table.row([
                c.state.to_owned(),
                c.protocol.to_owned(),
                end(c, &c.source),
                end(c, &c.destination),
                c.timeout.as_secs().to_string(),
            ]);
        }
        table.print_of(total, limit, &mut text);
    }
    Outcome::ok(text)
}

/// `lan:172.16.1.10:4711`, without the port where the protocol has none; behind it what the other end sees, where that is
/// something else: `lan:172.16.1.10:4711 (198.51.100.1:4711)`.
fn end(connection: &ConnectionStatus, end: &Endpoint) -> String {
    let near = place(connection.protocol, end.address, end.port);
    match end.translated {
        Some((address, port)) => format!("{}:{near} ({})", end.interface, place(connection.protocol, address, port)),
        None => format!("{}:{near}", end.interface),
    }
}

fn place(protocol: &str, address: IpAddr, port: u16) -> String {
    match (protocol, address) {
        ("TCP" | "UDP", IpAddr::V6(address)) => format!("[{address}]:{port}"),
        ("TCP" | "UDP", IpAddr::V4(address)) => format!("{address}:{port}"),
        (_, address) => address.to_string(),
    }
}

#[derive(Debug, Default)]
struct Filter {
    source_interface: Option<String>,
    destination_interface: Option<String>,
    protocol: Option<String>,
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
}

impl Filter {
    fn read(gateway: &engine::Gateway, arguments: &Arguments<'_>) -> Result<Self, String> {
        let interface = |option: &str| match arguments.value(option) {
            Some(name) if gateway.snapshot().interface(name).is_none() => {
                Err(format!("-{option}={name}: there is no such interface.\n"))
            }
            name => Ok(name.map(str::to_owned)),
        };
        fn number<T: std::str::FromStr>(
            arguments: &Arguments<'_>,
            option: &str,
            expected: &str,
        ) -> Result<Option<T>, String> {
            let Some(text) = arguments.value(option) else { return Ok(None) };
            text.parse().map(Some).map_err(|_| format!("-{option}={text}: expected {expected}.\n"))
        }
        const PORT: &str = "a port from 0 to 65535";
        const ADDRESS: &str = "an IP address";
        let protocol = arguments.value("protocol").map(str::to_owned);
        if let Some(name) = protocol.as_deref().filter(|name| !is_protocol(name)) {
            return Err(format!("-protocol={name}: expected TCP, UDP, PING or RAWIP.\n"));
        }
        Ok(Self {
            source_interface: interface("srciface")?,
            destination_interface: interface("destiface")?,
            protocol,
            source: number(arguments, "srcip", ADDRESS)?,
            destination: number(arguments, "destip", ADDRESS)?,
            source_port: number(arguments, "srcport", PORT)?,
            destination_port: number(arguments, "destport", PORT)?,
        })
    }

    fn is_empty(&self) -> bool {
        let Self { source_interface, destination_interface, protocol, source, destination, .. } = self;
        source_interface.is_none()
            && destination_interface.is_none()
            && protocol.is_none()
            && source.is_none()
            && destination.is_none()
            && self.source_port.is_none()
            && self.destination_port.is_none()
    }

    fn fits(&self, c: &ConnectionStatus) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w.eq_ignore_ascii_case(is));
        same(&self.source_interface, &c.source.interface)
            && same(&self.destination_interface, &c.destination.interface)
            && same(&self.protocol, c.protocol)
            && self.source.is_none_or(|address| address == c.source.address)
            && self.destination.is_none_or(|address| address == c.destination.address)
            && self.source_port.is_none_or(|port| port == c.source.port)
            && self.destination_port.is_none_or(|port| port == c.destination.port)
    }
}

fn is_protocol(name: &str) -> bool {
    ["TCP", "UDP", "PING", "RAWIP"].iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_shows_both_faces_of_a_translated_end() {
        let end_of = |translated| Endpoint {
            interface: "lan".into(),
            address: "172.16.1.10".parse().unwrap(),
            port: 4711,
            translated,
            packets: 0,
            bytes: 0,
        };
        let far = ("198.51.100.1".parse().unwrap(), 1024);
        let connection = |protocol| ConnectionStatus {
            state: "OPEN",
            protocol,
            protocol_number: 6,
            source: end_of(Some(far)),
            destination: end_of(None),
            timeout: base::Duration::ZERO,
            rule: "nat".into(),
            opened: base::Instant::ZERO,
        };
        let tcp = connection("TCP");
        assert_eq!(end(&tcp, &tcp.source), "lan:172.16.1.10:4711 (198.51.100.1:1024)");
        assert_eq!(end(&tcp, &tcp.destination), "lan:172.16.1.10:4711");
        let ping = connection("PING");
        assert_eq!(end(&ping, &ping.source), "lan:172.16.1.10 (198.51.100.1)");
    }
}
