//! `ike`: IKE SAs, and why a tunnel has none.

use std::fmt::Write;

use base::Now;
use ike::{Explanation, IkeStatus, Trouble, Which};

use super::{Arguments, Outcome, ago, list, seconds};
use crate::table::Table;

pub(super) fn run(
    now: Now,
    gateway: &mut engine::Gateway,
    arguments: &Arguments<'_>,
    out: &mut Vec<engine::Action>,
) -> Outcome {
    if arguments.has("connect") {
        return connect(now, gateway, arguments, out);
    }
    if arguments.has("delete") {
        return delete(now, gateway, arguments, out);
    }
    if arguments.has("stat") {
        let mut text = String::new();
        for (name, value) in gateway.ike().counters().list() {
            let _ = writeln!(text, "{name:<24} {value:>12}");
        }
        return Outcome::ok(text);
    }
    show(now, gateway, arguments)
}

fn show(now: Now, gateway: &engine::Gateway, arguments: &Arguments<'_>) -> Outcome {
    let only = match arguments.word(0) {
        Some(name) if gateway.snapshot().tunnel(name).is_none() => return no_such_tunnel(gateway, name),
        only => only,
    };
    let belongs = |name: &str| only.is_none_or(|only| only.eq_ignore_ascii_case(name));
    let mut sas = gateway.ike().ike_sas(now.mono);
    sas.retain(|sa| belongs(&sa.tunnel_name));
    let mut text = String::from("--- IKE SAs:\n");
    if arguments.has("verbose") {
        for sa in sas.iter().take(arguments.limit()) {
            verbose(now, sa, &mut text);
        }
    } else {
        text.push_str("Displaying one line per IKE SA\n\n");
        let mut table = Table::new(&[
            "IPsec Tunnel",
            "IKE",
            "State",
            "Remote GW",
            "Local ID",
            "Remote ID",
            "Algorithms",
            "Expires",
        ]);
        for sa in &sas {
            table.row([
                sa.tunnel_name.clone(),
                "2".to_owned(),
                sa.state.to_owned(),
                remote(sa),
                sa.local_id.clone().unwrap_or_else(|| "-".to_owned()),
                sa.remote_id.clone().unwrap_or_else(|| "-".to_owned()),
                sa.algorithms.clone().unwrap_or_else(|| "-".to_owned()),
                sa.expires_in.map_or_else(|| "-".to_owned(), seconds),
            ]);
        }
        table.print(arguments.limit(), &mut text);
        for (tunnel, note) in
            sas.iter().take(arguments.limit()).filter_map(|sa| Some((&sa.tunnel_name, sa.note.as_ref()?)))
        {
            let _ = writeln!(text, "\n--- Tunnel {tunnel}: {note}");
        }
    }
    if sas.is_empty() {
        text.push_str("There are none.\n");
    }
    let troubles = gateway.ike().troubles();
    let idle = gateway.snapshot().tunnels.iter().filter(|tunnel| {
        let id = ike::TunnelId(tunnel.id.0);
        belongs(&tunnel.name)
            && !sas.iter().any(|sa| sa.tunnel_name == tunnel.name)
            && !troubles.iter().any(|(troubled, _)| *troubled == id)
    });
    for tunnel in idle.take(arguments.limit()) {
        let _ = writeln!(text, "\n--- Tunnel {}: down, waiting", tunnel.name);
        wait(tunnel, &mut text);
    }
    for (id, trouble) in troubles {
        let name = gateway.snapshot().tunnel_by_id(objects::TunnelId(id.0)).map_or("-", |tunnel| tunnel.name.as_str());
        if belongs(name) {
            let _ = writeln!(text, "\n--- Tunnel {name}: last trouble, {}", ago(now, trouble.at));
            explain(&trouble, &mut text);
        }
    }
    if only.is_none() {
        for trouble in gateway.ike().stranger_troubles().iter().rev().take(arguments.limit()) {
            let _ = writeln!(text, "\n--- No tunnel for {}: {}", trouble.remote, ago(now, trouble.at));
            explain(trouble, &mut text);
        }
    }
    Outcome::ok(text)
}

/// What a tunnel without SAs and without trouble waits for.
fn wait(tunnel: &objects::Tunnel, text: &mut String) {
    let networks = (list(&tunnel.local_networks), list(&tunnel.remote_networks));
    let (peer, comes_up) = match &tunnel.remote_endpoint {
        objects::RemoteEndpoint::Address(address) => (
            address.to_string(),
            format!(
                "with the first packet between these networks that a policy allows, or 'ike -connect {}'",
                tunnel.name
            ),
        ),
        objects::RemoteEndpoint::Within(ranges) => (list(ranges), "when the peer sets it up".to_owned()),
        objects::RemoteEndpoint::Any => ("any address".to_owned(), "when the peer sets it up".to_owned()),
    };
    let lines = [("Peer", peer), ("Networks", format!("{} = {}", networks.0, networks.1)), ("Comes up", comes_up)];
    for (label, value) in lines {
        let _ = writeln!(text, "{label:>10}: {value}");
    }
}

/// An explanation as people read it.
fn explain(trouble: &Trouble, text: &mut String) {
    let Explanation { summary, found, expected, nearest, remedy, .. } = &trouble.explanation;
    let lines = [
        // A tunnel for anybody that cannot begin knows no peer.
        ("Peer", Some(trouble.remote).filter(|peer| !peer.is_unspecified()).map(|peer| peer.to_string())),
        ("What", Some(summary.clone())),
        ("Found", Some(found.clone())),
        ("Expected", Some(expected.clone())),
        ("Nearest", nearest.clone()),
        ("Remedy", Some(remedy.clone())),
    ];
    for (label, value) in lines {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let _ = writeln!(text, "{label:>10}: {}", value.replace('\n', "\n            "));
        }
    }
}

fn verbose(now: Now, sa: &IkeStatus, text: &mut String) {
    let nat = match sa.nat {
        (false, false) => "none",
        (true, false) => "in front of us",
        (false, true) => "in front of the peer",
        (true, true) => "in front of both",
    };
    let lines = [
        ("State", sa.note.as_ref().map_or_else(|| sa.state.to_owned(), |note| format!("{} ({note})", sa.state))),
        ("Began", if sa.initiator { "by us" } else { "by the peer" }.to_owned()),
        ("SPIs", format!("0x{:016x} (initiator), 0x{:016x} (responder)", sa.spis.0, sa.spis.1)),
        ("Local", sa.path.local.to_string()),
        ("Remote", sa.path.remote.to_string()),
        ("NAT", nat.to_owned()),
        ("Local ID", sa.local_id.clone().unwrap_or_else(|| "-".to_owned())),
        ("Remote ID", sa.remote_id.clone().unwrap_or_else(|| "-".to_owned())),
        ("Algorithms", sa.algorithms.clone().unwrap_or_else(|| "-".to_owned())),
        ("Established", sa.established.map_or_else(|| "-".to_owned(), |at| ago(now, at))),
        ("Expires", sa.expires_in.map_or_else(|| "-".to_owned(), seconds)),
        ("IPsec SAs", sa.children.len().to_string()),
    ];
    let _ = writeln!(text, "\nIPsec Tunnel {}", sa.tunnel_name);
    for (label, value) in lines {
        let _ = writeln!(text, "{label:>14}: {value}");
    }
    for child in &sa.children {
        let _ = writeln!(text, "{:>14}  {} = {}", "", list(&child.local), list(&child.remote));
    }
}

fn remote(sa: &IkeStatus) -> String {
    let remote = sa.path.remote;
    if remote.port() == 500 { remote.ip().to_string() } else { remote.to_string() }
}

fn connect(
    now: Now,
    gateway: &mut engine::Gateway,
    arguments: &Arguments<'_>,
    out: &mut Vec<engine::Action>,
) -> Outcome {
    let Some(name) = arguments.value("connect").or(arguments.word(0)) else {
        return Outcome::failed("Which tunnel? Usage: ike -connect <tunnel>\n");
    };
    let Some(tunnel) = gateway.snapshot().tunnel(name).cloned() else { return no_such_tunnel(gateway, name) };
    if !matches!(tunnel.remote_endpoint, objects::RemoteEndpoint::Address(_)) {
        return Outcome::failed(format!(
            "Tunnel {} cannot be set up from this side: its RemoteEndpoint is not a single address.\n",
            tunnel.name
        ));
    }
    gateway.connect(now, ike::TunnelId(tunnel.id.0), out);
    Outcome::ok(format!("Setting up {}. 'ike' shows how it goes.\n", tunnel.name))
}

fn delete(
    now: Now,
    gateway: &mut engine::Gateway,
    arguments: &Arguments<'_>,
    out: &mut Vec<engine::Action>,
) -> Outcome {
    let which = if arguments.has("all") {
        Which::All
    } else {
        let Some(name) = arguments.value("delete").or(arguments.word(0)) else {
            return Outcome::failed("Which SAs? Usage: ike -delete {<ip>|<tunnel>|-all}\n");
        };
        match (name.parse(), gateway.snapshot().tunnel(name)) {
            (Ok(address), _) => Which::Remote(address),
            (_, Some(tunnel)) => Which::Tunnel(ike::TunnelId(tunnel.id.0)),
            _ => return no_such_tunnel(gateway, name),
        }
    };
    match gateway.delete(now, which, out) {
        0 => Outcome::failed("There is no such IKE SA.\n"),
        1 => Outcome::ok("1 IKE SA deleted, with the IPsec SAs it carried.\n"),
        count => Outcome::ok(format!("{count} IKE SAs deleted, with the IPsec SAs they carried.\n")),
    }
}

pub(super) fn no_such_tunnel(gateway: &engine::Gateway, name: &str) -> Outcome {
    let names: Vec<&str> = gateway.snapshot().tunnels.iter().map(|tunnel| tunnel.name.as_str()).collect();
    Outcome::failed(if names.is_empty() {
        format!("There is no tunnel {name}: none is configured and active.\n")
    } else {
        format!("There is no tunnel {name}. Active tunnels: {}.\n", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Console;

    #[test]
    fn a_tunnel_that_connects_says_how_far_it_has_come() {
        let mut console = Console::head_office();
        console.ok("ike -connect ipsec_hq_to_branch");
        let text = console.ok("ike");
        assert!(text.ends_with("--- Tunnel ipsec_hq_to_branch: connecting for 0s, sent once\n"), "{text}");
        assert!(console.ok("ike -verbose").contains("State: Connecting (connecting for 0s, sent once)\n"));
    }
}
