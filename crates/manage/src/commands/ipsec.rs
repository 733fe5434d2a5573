//! `ipsec`: the SAs that carry traffic.

use std::fmt::Write;

use base::Now;
use ike::{ChildStatus, IkeStatus};

use super::ike::no_such_tunnel;
use super::{Arguments, Outcome, ago, list, seconds};
use crate::table::Table;

pub(super) fn run(now: Now, gateway: &engine::Gateway, arguments: &Arguments<'_>) -> Outcome {
    if arguments.has("stat") {
        return Outcome::ok(statistics(gateway));
    }
    let only = match arguments.word(0) {
        Some(name) if gateway.snapshot().tunnel(name).is_none() => return no_such_tunnel(gateway, name),
        only => only,
    };
    let sas = gateway.ike().ike_sas(now.mono);
    let pairs: Vec<(&IkeStatus, &ChildStatus)> = sas
        .iter()
        .filter(|sa| only.is_none_or(|only| only.eq_ignore_ascii_case(&sa.tunnel_name)))
        .flat_map(|sa| sa.children.iter().map(move |child| (sa, child)))
        .filter(|(_, child)| child.current || arguments.has("verbose"))
        .collect();
    let mut text = String::from("--- IPsec SAs:\n");
    if arguments.has("verbose") || arguments.has("usage") {
        for (sa, child) in pairs.iter().take(arguments.limit()) {
            details(now, gateway, sa, child, arguments, &mut text);
        }
        return Outcome::ok(text);
    }
    text.push_str("Displaying one line per SA-bundle\n\n");
    let mut table = Table::new(&["IPsec Tunnel", "Local Net", "Remote Net", "Remote GW"]);
    for (sa, child) in pairs {
        table.row([sa.tunnel_name.clone(), list(&child.local), list(&child.remote), sa.path.remote.ip().to_string()]);
    }
    table.print(arguments.limit(), &mut text);
    Outcome::ok(text)
}

fn details(
    now: Now,
    gateway: &engine::Gateway,
    sa: &IkeStatus,
    child: &ChildStatus,
    arguments: &Arguments<'_>,
    text: &mut String,
) {
    let mut lines = vec![
        ("Networks", format!("{} = {}", list(&child.local), list(&child.remote))),
        ("Remote GW", sa.path.remote.ip().to_string()),
    ];
    if arguments.has("verbose") {
        let integrity = child.integrity.map_or_else(|| "(in the cipher)".to_owned(), |i| i.name().to_owned());
        let carried = if child.udp_encapsulated {
            format!("ESP in UDP, {} to {}", sa.path.local, sa.path.remote)
        } else {
            "ESP (IP protocol 50)".to_owned()
        };
        lines.extend([
            ("SPI in", format!("0x{:08x}", child.spi_in)),
            ("SPI out", format!("0x{:08x}", child.spi_out)),
            ("Encryption", child.encryption.name().to_owned()),
            ("Integrity", integrity),
            ("Sequence", if child.esn { "64 bit (ESN)" } else { "32 bit" }.to_owned()),
            ("Mode", format!("Tunnel, {carried}")),
            ("PFS group", child.pfs.unwrap_or("none").to_owned()),
            ("Expires", seconds(child.expires_in)),
            ("State", if child.current { "in use" } else { "replaced, still open for late packets" }.to_owned()),
        ]);
    }
    if arguments.has("usage") {
        let usage = gateway.usage(child.id);
        let last = |at: Option<base::Instant>| at.map_or_else(|| "never".to_owned(), |at| ago(now, at));
        lines.extend([
            ("In", format!("{} packets, {} bytes, last {}", usage.packets_in, usage.bytes_in, last(usage.last_in))),
            ("Out", format!("{} packets, {} bytes, last {}", usage.packets_out, usage.bytes_out, last(usage.last_out))),
        ]);
    }
    let _ = writeln!(text, "\nIPsec Tunnel {}", sa.tunnel_name);
    for (label, value) in lines {
        let _ = writeln!(text, "{label:>14}: {value}");
    }
}

/// Every counter of the packet path, and of the packet ports, that is not zero.
fn statistics(gateway: &engine::Gateway) -> String {
    let mut text = String::new();
    for (name, value, meaning) in gateway.counters().iter().chain(gateway.link_counters().iter()) {
        if value > 0 {
            let _ = writeln!(text, "{name:<28} {value:>12}  {meaning}");
        }
    }
    if text.is_empty() {
        text.push_str("Nothing has been counted yet.\n");
    }
    text
}
