//! `adit check`: every problem of a configuration, without starting anything.

use std::net::IpAddr;

use objects::HostInterface;
use schema::Problem;

use crate::arguments::CheckOptions;
use crate::exit::{Exit, FAILED, say};
use crate::netlink::Netlink;
use crate::{clock, store};

/// MTU assumed for an interface of another host, bytes.
const MTU: u32 = 1_500;

/// Checks and prints. Status 1 when there is an error.
pub fn check(options: &CheckOptions) -> Result<(), Exit> {
    let file = options.configuration.display().to_string();
    let text = store::read(&options.configuration)?;
    let interfaces = if options.interfaces.is_empty() {
        Netlink::open()
            .and_then(|mut netlink| netlink.interfaces(None))
            .map_err(|error| Exit::usage(format!("this host's interfaces cannot be read: {error}")))?
    } else {
        options.interfaces.iter().map(|text| parse(text)).collect::<Result<_, _>>()?
    };
    // Nothing starts before the first step: a device that is only made is a configuration that was only checked.
    match manage::Device::new([0; 32], clock::now(), interfaces, &text) {
        Ok((_, warnings)) => {
            say(&render(&warnings, &file, &text));
            let count = if warnings.is_empty() { "no problems".to_owned() } else { counted(warnings.len(), "warning") };
            say(&format!("{file}: {count}\n"));
            Ok(())
        }
        Err(problems) => {
            say(&render(&problems, &file, &text));
            let errors = problems.iter().filter(|problem| problem.is_error()).count();
            let warnings = problems.len().saturating_sub(errors);
            say(&format!("{file}: {}, {}\n", counted(errors, "error"), counted(warnings, "warning")));
            Err(Exit::silent(FAILED))
        }
    }
}
/// Problems as people read them: where, what, the line with a caret, the remedy.
pub fn render(problems: &[Problem], file: &str, text: &str) -> String {
    let is_secret = |property: &str| objects::registry().is_secret(property);
    problems.iter().map(|problem| problem.render(file, text, is_secret)).collect()
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Reads `name=address/length,...`. Several addresses may stand there, or none.
fn parse(text: &str) -> Result<HostInterface, Exit> {
    let wrong = || {
        Exit::usage(format!(
            "--interface {text}: expected NAME=ADDRESS/LENGTH,... as in lan=172.16.1.1/24,2001:db8:1::1/64"
        ))
    };
    let (name, list) = text.split_once('=').ok_or_else(wrong)?;
    if name.is_empty() {
        return Err(wrong());
    }
    let addresses = list
        .split(',')
        .map(str::trim)
        .filter(|address| !address.is_empty())
        .map(|address| {
            let (address, length) = address.split_once('/').ok_or_else(wrong)?;
            let address: IpAddr = address.parse().map_err(|_| wrong())?;
            let length: u8 = length.parse().map_err(|_| wrong())?;
            if length > if address.is_ipv4() { 32 } else { 128 } { Err(wrong()) } else { Ok((address, length)) }
        })
        .collect::<Result<_, _>>()?;
    Ok(HostInterface { name: name.to_owned(), addresses, mtu: MTU, ..HostInterface::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_read_with_all_its_addresses() {
        let interface = parse("lan=172.16.1.1/24,2001:db8::1/64").unwrap();
        assert_eq!(interface.name, "lan");
        assert_eq!(interface.addresses, [("172.16.1.1".parse().unwrap(), 24), ("2001:db8::1".parse().unwrap(), 64)]);
        assert!(parse("lan=").unwrap().addresses.is_empty());
    }

    #[test]
    fn what_is_no_interface_is_refused() {
        for text in ["lan", "=1.2.3.4/8", "lan=1.2.3.4", "lan=1.2.3.4/33", "lan=x/8", "lan=::1/129"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
