//! Operational commands: what an operator asks of a running gateway. Each is a function from arguments to text.

mod connections;
mod dns;
mod hostmon;
mod ike;
mod ipsec;
mod neighbours;
mod ping;
mod routes;
mod rules;

use std::fmt::{Display, Write};

use base::{Duration, Instant, Now};
use schema::complete::{Argument, CommandInfo};
use schema::lex::Command;

pub(crate) use ping::{PingShown, show as show_ping};

const NEIGHBOUR_OPTIONS: &[(&str, &str)] = &[
    ("show", "List them (the default)."),
    ("ip=", "Only this address."),
    ("hw=", "Only this hardware address."),
    ("num=", "How many lines at most, or all."),
    ("flush", "Forget what was learnt, but not what is configured."),
    ("notify=", "Tell the neighbours the hardware address of this address of the gateway."),
];

/// The operational commands in the order of the reference manual.
pub static OPERATIONS: &[CommandInfo] = &[
    CommandInfo {
        name: "arp",
        usage: "arp [-show] [<interface>] [-ip=<ip>] [-hw=<mac>] [-num=<n>|all] | arp -flush [<interface>] [-ip=<ip>] | \
                arp -notify=<ip>",
        help: "Lists the IPv4 neighbours on network cards that the gateway owns, or forgets them.",
        options: NEIGHBOUR_OPTIONS,
        argument: Argument::Name(&["Ethernet", "VLAN"]),
    },
    CommandInfo {
        name: "connections",
        usage: "connections [-show] [-num=<n>|all] [-verbose] [filters] | connections -close {-all|filters}",
        help: "Lists the connections that pass through the rule set, or closes some.",
        options: &[
            ("show", "List them (the default)."),
            ("close", "Forget those that the filters select; -all for every one."),
            ("all", "With -close: every connection."),
            ("num=", "How many lines at most, or all."),
            ("verbose", "Show the policy and the packets of each."),
            ("srciface=", "Only from this interface."),
            ("destiface=", "Only to this interface."),
            ("protocol=", "Only this protocol: TCP, UDP, PING or RAWIP."),
            ("srcip=", "Only from this address."),
            ("destip=", "Only to this address."),
            ("srcport=", "Only from this port."),
            ("destport=", "Only to this port."),
        ],
        argument: Argument::Free,
    },
    CommandInfo {
        name: "dns",
        usage: "dns [-list] [-num=<n>|all] | dns -flush",
        help: "Lists the host names in policies and their addresses, or asks for all of them anew.",
        options: &[
            ("list", "List them (the default)."),
            ("flush", "Ask for all of them now."),
            ("num=", "How many lines at most, or all."),
        ],
        argument: Argument::Free,
    },
    CommandInfo {
        name: "hostmon",
        usage: "hostmon [-verbose] [-num=<n>|all]",
        help: "Shows the hosts and gateways that are polled for monitored routes.",
        options: &[("verbose", "Show the source address too."), ("num=", "How many sessions at most, or all.")],
        argument: Argument::Free,
    },
    CommandInfo {
        name: "ike",
        usage: "ike [<tunnel>] [-verbose] [-num=<n>|all] | ike -connect <tunnel> | ike -delete {<ip>|<tunnel>|-all} | ike -stat",
        help: "Lists IKE SAs and explains why a tunnel has none; sets tunnels up and takes them down.",
        options: &[
            ("verbose", "Everything about each IKE SA."),
            ("num=", "How many lines at most, or all."),
            ("connect", "Set up the tunnel now, without waiting for traffic."),
            ("delete", "Delete the IKE SAs of a tunnel or a peer, and the IPsec SAs they carry."),
            ("all", "With -delete: every IKE SA."),
            ("stat", "Counters of the IKE side."),
        ],
        argument: Argument::Name(&["IPsecTunnel"]),
    },
    CommandInfo {
        name: "ipsec",
        usage: "ipsec [<tunnel>] [-show] [-verbose] [-usage] [-num=<n>|all] | ipsec -stat",
        help: "Lists the IPsec SAs that carry traffic.",
        options: &[
            ("show", "List them (the default)."),
            ("verbose", "SPIs, algorithms, lifetimes, encapsulation."),
            ("usage", "Packets and bytes in each direction."),
            ("num=", "How many lines at most, or all."),
            ("stat", "Counters of the packet path, drops and their reasons among them."),
        ],
        argument: Argument::Name(&["IPsecTunnel"]),
    },
    CommandInfo {
        name: "neighborcache",
        usage: "neighborcache [-show] [<interface>] [-ip=<ip>] [-hw=<mac>] [-num=<n>|all] | neighborcache -flush \
                [<interface>] [-ip=<ip>] | neighborcache -notify=<ip>",
        help: "Lists the IPv6 neighbours on network cards that the gateway owns, or forgets them.",
        options: NEIGHBOUR_OPTIONS,
        argument: Argument::Name(&["Ethernet", "VLAN"]),
    },
    CommandInfo {
        name: "ping",
        usage: "ping <host> [-count=<n>] [-length=<bytes>] [-srcip=<ip>]",
        help: "Sends ICMP echo requests from the gateway through a tunnel; Ctrl-C ends it.",
        options: &[
            ("count=", "How many, one a second; 1 unless told."),
            ("length=", "Bytes of data in each; 4 unless told."),
            ("srcip=", "The address to ask from; the tunnel's originator IP unless told."),
        ],
        argument: Argument::Free,
    },
    CommandInfo {
        name: "routes",
        usage: "routes [<table>] [-all] [-num=<n>|all] | routes -tables | routes -lookup=<ip>",
        help: "Shows a routing table in use, main unless named, or the route to an address. Flags: X fails and is not used, \
               M monitored, A published by ARP, D dynamic.",
        options: &[
            ("all", "Core routes too."),
            ("tables", "The routing tables instead."),
            ("num=", "How many lines at most, or all."),
            ("lookup=", "The route that this address takes."),
        ],
        argument: Argument::Free,
    },
    CommandInfo {
        name: "rules",
        usage: "rules [-type={IP|ACCESS}] [-verbose] [-num=<n>|all]",
        help: "Shows the IP rule set or the access rules in use, in the order they are searched.",
        options: &[
            ("type=", "IP (the default) or ACCESS."),
            ("verbose", "Unfold services, and show translation, schedule and log settings."),
            ("num=", "How many lines at most, or all."),
        ],
        argument: Argument::Free,
    },
];

/// The words and options behind a command's name.
#[derive(Debug)]
pub(crate) struct Arguments<'a> {
    command: &'a Command,
}

impl<'a> Arguments<'a> {
    /// Checks that `command` has no option that `operation` does not know, and no property.
    pub(crate) fn of(command: &'a Command, operation: &CommandInfo) -> Result<Self, Outcome> {
        let known = |name: &str| {
            operation.options.iter().find(|(option, _)| option.trim_end_matches('=').eq_ignore_ascii_case(name))
        };
        for (name, value, _) in command.options() {
            match (known(name), value) {
                (None, _) => {
                    let text = format!("'{}' has no option -{name}.\nUsage: {}\n", operation.name, operation.usage);
                    return Err(Outcome::failed(text));
                }
                (Some((option, _)), None) if option.ends_with('=') => {
                    return Err(Outcome::failed(format!(
                        "Option -{name} needs a value.\nUsage: {}\n",
                        operation.usage
                    )));
                }
                (Some(_), _) => {}
            }
        }
        if let Some((name, ..)) = command.assignments().next() {
            let text = format!("'{}' takes no property such as {name}=.\nUsage: {}\n", operation.name, operation.usage);
            return Err(Outcome::failed(text));
        }
        let arguments = Self { command };
        // The name of a tunnel, a host, a table: one word at most.
        let words = if matches!(operation.name, "connections" | "dns" | "hostmon" | "rules") { 0 } else { 1 };
        if let Some(word) = arguments.word(words) {
            let text = format!("'{}' has no use for '{word}'.\nUsage: {}\n", operation.name, operation.usage);
            return Err(Outcome::failed(text));
        }
        match arguments.value("num") {
            Some(num) if !num.eq_ignore_ascii_case("all") && num.parse::<usize>().is_err() => {
                Err(Outcome::failed(format!("-num={num}: write a number, or all.\n")))
            }
            _ => Ok(arguments),
        }
    }

    /// The word at `index` behind the command's name.
    pub(crate) fn word(&self, index: usize) -> Option<&'a str> {
        self.command.words().nth(index + 1).map(|(word, _)| word)
    }

    /// True when the option is given, with a value or without.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.command.has_option(name)
    }

    /// The value of an option.
    pub(crate) fn value(&self, name: &str) -> Option<&'a str> {
        self.command.options().find(|(option, ..)| option.eq_ignore_ascii_case(name)).and_then(|(_, value, _)| value)
    }

    /// Lines to show at most: 20 unless `-num` says otherwise.
    pub(crate) fn limit(&self) -> usize {
        const LINES: usize = 20;
        match self.value("num") {
            Some(num) if num.eq_ignore_ascii_case("all") => usize::MAX,
            Some(num) => num.parse().unwrap_or(LINES),
            None => LINES,
        }
    }
}

/// What a command printed and whether it did what it was asked.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) text: String,
    pub(crate) success: bool,
}

impl Outcome {
    pub(crate) fn ok(text: impl Into<String>) -> Self {
        Self { text: text.into(), success: true }
    }

    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self { text: text.into(), success: false }
    }
}

/// What an operational command leads to.
#[derive(Debug)]
pub(crate) enum Ran {
    /// It is done.
    Done(Outcome),
    /// It goes on; a ping does.
    Ping(engine::PingId, PingShown),
}

/// Runs an operational command; `None` when there is none of this name.
pub(crate) fn run(
    now: Now,
    gateway: &mut engine::Gateway,
    command: &Command,
    out: &mut Vec<engine::Action>,
) -> Option<Ran> {
    let (name, _) = command.words().next()?;
    let operation = OPERATIONS.iter().find(|operation| operation.name.eq_ignore_ascii_case(name))?;
    let arguments = match Arguments::of(command, operation) {
        Ok(arguments) => arguments,
        Err(outcome) => return Some(Ran::Done(outcome)),
    };
    let outcome = match operation.name {
        "arp" => neighbours::run(now, gateway, neighbours::Family::V4, &arguments, out),
        "neighborcache" => neighbours::run(now, gateway, neighbours::Family::V6, &arguments, out),
        "connections" => connections::run(now, gateway, &arguments),
        "dns" => dns::run(now, gateway, &arguments, out),
        "hostmon" => hostmon::run(now, gateway, &arguments),
        "ike" => ike::run(now, gateway, &arguments, out),
        "ipsec" => ipsec::run(now, gateway, &arguments),
        "ping" => return Some(ping::run(now, gateway, &arguments, out)),
        "routes" => routes::run(gateway, &arguments),
        "rules" => rules::run(gateway, &arguments),
        _ => return None,
    };
    Some(Ran::Done(outcome))
}

/// `1h 2m 3s`, or `45s`.
fn seconds(time: Duration) -> String {
    let secs = time.as_secs();
    let (hours, minutes, rest) = (secs / 3_600, secs / 60 % 60, secs % 60);
    let mut text = String::new();
    if hours > 0 {
        let _ = write!(text, "{hours}h ");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(text, "{minutes}m ");
    }
    let _ = write!(text, "{rest}s");
    text
}

/// `12s ago`.
fn ago(now: Now, at: Instant) -> String {
    format!("{} ago", seconds(now.mono.since(at)))
}

/// Items with commas between.
fn list<T: Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
