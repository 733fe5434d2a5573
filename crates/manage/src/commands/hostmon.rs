//! `hostmon`: the hosts and gateways that are polled for monitored routes.

use std::fmt::Write;

use base::{Duration, Now};
use engine::{PollStatus, ProbeMethod};

use super::{Arguments, Outcome};
use crate::table::Table;

pub(super) fn run(now: Now, gateway: &engine::Gateway, arguments: &Arguments<'_>) -> Outcome {
    let watches = gateway.watches(now);
    let sessions: Vec<&PollStatus> =
        watches.iter().flat_map(|watch| watch.hosts.iter().chain(&watch.gateway)).collect();
    if sessions.is_empty() {
        return Outcome::ok("No host is monitored: see RouteMonitor and MonitoredHost in 'help Route'.\n");
    }
    let mut text = String::from("Monitor sessions:\n");
    let limit = arguments.limit();
    for (index, session) in sessions.iter().take(limit).enumerate() {
        let _ = write!(text, "\nSession #{}:\n", index + 1);
        let (proto, port) = match session.method {
            ProbeMethod::Icmp => ("ICMP", String::new()),
            ProbeMethod::Tcp(port) => ("TCP", port.to_string()),
            ProbeMethod::Neighbor => ("ARP", String::new()),
        };
        let millis = |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), |time| time.as_millis().to_string());
        let mut table = Table::new(&[
            "Reachable",
            "Proto",
            "Host",
            ">Port",
            ">Interval",
            ">Sample",
            "Failed (act / max)",
            "Latency ms (act / max)",
        ]);
        table.row([
            if session.reachable { "YES" } else { "NO" }.to_owned(),
            proto.to_owned(),
            session.target.to_string(),
            port,
            session.interval.as_millis().to_string(),
            session.samples.to_string(),
            format!("{} / {}", session.fails, session.fails_max),
            format!("{} / {}", millis(session.latency), session.latency_max.as_millis()),
        ]);
        table.print(usize::MAX, &mut text);
        if arguments.has("verbose") {
            let source = session.source.map_or_else(|| "chosen by the host".to_owned(), |source| source.to_string());
            let _ = writeln!(text, "Source IP: {source}");
        }
    }
    if sessions.len() > limit {
        let _ = writeln!(text, "... and {} more; -num=all shows them.", sessions.len().saturating_sub(limit));
    }
    Outcome::ok(text)
}
