//! `arp` and `neighborcache`: the neighbours on the network cards that the gateway owns, over IPv4 and over IPv6.

use std::fmt::Write;
use std::net::IpAddr;

use base::Now;
use link::{InterfaceId, NeighbourStatus, State};

use super::{Arguments, Outcome};

/// The family that a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }

    fn cache(self) -> &'static str {
        match self {
            Self::V4 => "ARP cache",
            Self::V6 => "Neighbor cache",
        }
    }
}

pub(super) fn run(
    now: Now,
    gateway: &mut engine::Gateway,
    family: Family,
    arguments: &Arguments<'_>,
    out: &mut Vec<engine::Action>,
) -> Outcome {
    let owned = owned(gateway);
    if owned.is_empty() {
        return Outcome::failed(
            "The gateway owns no network card: the neighbours are the kernel's (`ip neighbour`). Set Port=Packet on an \
             Ethernet interface to own it.\n",
        );
    }
    if let Some(text) = arguments.value("notify") {
        return notify(now, gateway, family, text, out);
    }
    let only = match arguments.word(0) {
        None => None,
        Some(name) => match owned.iter().find(|(_, owned)| owned.eq_ignore_ascii_case(name)) {
            Some((id, _)) => Some(*id),
            None => {
                let names: Vec<&str> = owned.iter().map(|(_, name)| name.as_str()).collect();
                return Outcome::failed(format!(
                    "{name} is no interface that the gateway owns; those are: {}.\n",
                    names.join(", ")
                ));
            }
        },
    };
    let address = match arguments.value("ip").map(str::parse::<IpAddr>) {
        None => None,
        Some(Ok(address)) if family.has(address) => Some(address),
        Some(_) => return wrong_address("ip", family, arguments.value("ip").unwrap_or_default()),
    };
    let hardware = arguments.value("hw").map(|text| text.to_ascii_lowercase().replace(':', "-"));
    let fits = |interface: InterfaceId, is: IpAddr| {
        family.has(is) && only.is_none_or(|only| only == interface) && address.is_none_or(|only| only == is)
    };
    if arguments.has("flush") {
        let pick = |interface, address| fits(interface, address);
        let count = gateway.flush_neighbours(now, pick, out);
        return Outcome::ok(format!("{count} neighbours forgotten.\n"));
    }
    let mut text = String::new();
    let (mut shown, mut left_out) = (0, 0);
    for (id, name) in owned.iter().filter(|(id, _)| only.is_none_or(|only| only == *id)) {
        let mut lines = Vec::new();
        for publish in gateway.published().iter().filter(|publish| publish.interface == *id) {
            let mac = publish.mac.map_or_else(|| "(own)".to_owned(), |mac| mac.to_string());
            let found = family.has(publish.range.first()) && address.is_none_or(|only| publish.range.contains(only));
            if found && hardware.as_ref().is_none_or(|only| mac == *only) {
                lines.push(format!("Publish {} = {mac}", publish.range));
            }
        }
        for neighbour in gateway.neighbours().filter(|neighbour| neighbour.interface == *id) {
            let mac = neighbour.mac.map(|mac| mac.to_string());
            if fits(*id, neighbour.address) && hardware.as_ref().is_none_or(|only| mac.as_ref() == Some(only)) {
                lines.push(line(now, &neighbour));
            }
        }
        let _ = writeln!(text, "{} of iface {name}", family.cache());
        for line in lines {
            if shown < arguments.limit() {
                let _ = writeln!(text, "  {line}");
                shown += 1;
            } else {
                left_out += 1;
            }
        }
    }
    if left_out > 0 {
        let _ = writeln!(text, "({left_out} more; -num=all shows everything)");
    }
    Outcome::ok(text)
}

fn line(now: Now, neighbour: &NeighbourStatus) -> String {
    let mac = neighbour.mac.map_or_else(|| "(no answer yet)".to_owned(), |mac| mac.to_string());
    if neighbour.state == State::Static {
        return format!("Static {} = {mac}", neighbour.address);
    }
    let mut line = format!("Dynamic {} = {mac}", neighbour.address);
    if let Some(until) = neighbour.until {
        let _ = write!(line, " Expire={}", until.since(now.mono).as_secs());
    }
    line
}

fn notify(
    now: Now,
    gateway: &mut engine::Gateway,
    family: Family,
    text: &str,
    out: &mut Vec<engine::Action>,
) -> Outcome {
    match text.parse::<IpAddr>() {
        Ok(address) if family.has(address) => {
            if gateway.announce_address(now, address, out) {
                Outcome::ok(format!("The neighbours are told the hardware address of {address}.\n"))
            } else {
                Outcome::failed(format!(
                    "{address} is no address of a network card that the gateway owns, and is not published on one.\n"
                ))
            }
        }
        _ => wrong_address("notify", family, text),
    }
}

fn wrong_address(option: &str, family: Family, text: &str) -> Outcome {
    let expected = match family {
        Family::V4 => "an IPv4 address; neighborcache is for IPv6",
        Family::V6 => "an IPv6 address; arp is for IPv4",
    };
    Outcome::failed(format!("-{option}={text}: expected {expected}.\n"))
}

/// The interfaces on cards that the gateway owns, with their names.
fn owned(gateway: &engine::Gateway) -> Vec<(InterfaceId, String)> {
    let snapshot = gateway.snapshot();
    let layers = snapshot.link.ports.iter().flat_map(|port| &port.interfaces);
    layers
        .filter_map(|layer| {
            let interface = snapshot.interface_by_id(layer.id)?;
            Some((InterfaceId(layer.id.0), interface.name.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::Console;

    #[test]
    fn without_a_card_of_its_own_the_gateway_says_whose_the_neighbours_are() {
        let mut console = Console::head_office();
        let told = console.fails("arp");
        assert!(told.contains("ip neighbour") && told.contains("Port=Packet"), "{told}");
    }

    #[test]
    fn neighbours_are_listed_by_interface_and_family() {
        let mut console = Console::head_office();
        console.ok("set Ethernet lan Port=Packet IP=172.16.1.2 Network=172.16.1.0/24");
        console.ok("add ARPND Mode=Publish Interface=lan IP=172.16.1.77 MACAddress=02-00-00-00-00-77");
        console.ok("activate");
        assert_eq!(console.ok("arp"), "ARP cache of iface lan\n  Publish 172.16.1.77 = 02-00-00-00-00-77\n");
        assert_eq!(console.ok("arp lan -ip=172.16.1.78"), "ARP cache of iface lan\n");
        assert_eq!(console.ok("arp -hw=02:00:00:00:00:77"), console.ok("arp"));
        assert_eq!(console.ok("neighborcache"), "Neighbor cache of iface lan\n");
        assert_eq!(console.ok("arp -flush"), "0 neighbours forgotten.\n");
        assert!(console.ok("arp -notify=172.16.1.77").contains("172.16.1.77"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        let mut console = Console::head_office();
        console.ok("set Ethernet lan Port=Packet IP=172.16.1.2 Network=172.16.1.0/24");
        console.ok("activate");
        assert!(console.fails("arp wan").contains("those are: lan"));
        assert!(console.fails("arp -ip=2001:db8::1").contains("neighborcache"));
        assert!(console.fails("neighborcache -notify=10.0.0.1").contains("arp is for IPv4"));
        assert!(console.fails("arp -notify=10.0.0.1").contains("10.0.0.1 is no address"));
    }
}
