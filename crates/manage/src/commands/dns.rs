//! `dns`: host names in policies, and what is known of them.

use base::Now;

use super::{Arguments, Outcome, list, seconds};
use crate::table::Table;

pub(super) fn run(
    now: Now,
    gateway: &mut engine::Gateway,
    arguments: &Arguments<'_>,
    out: &mut Vec<engine::Action>,
) -> Outcome {
    if arguments.has("flush") {
        let count = gateway.ask_names_again(now, out);
        let plural = if count == 1 { " is" } else { "s are" };
        return Outcome::ok(format!(
            "{count} name{plural} asked for anew; what is known is used until there is an answer.\n"
        ));
    }
    let names = gateway.names();
    if names.is_empty() {
        return Outcome::ok("No policy and no routing rule names a host: see 'help FQDNAddress'.\n");
    }
    let mut table = Table::new(&["Name", "Addresses", "Next", "Trouble"]);
    for name in names {
        table.row([
            name.name,
            if name.addresses.is_empty() { "-".to_owned() } else { list(&name.addresses) },
            if name.asking { "now".to_owned() } else { format!("in {}", seconds(name.next.since(now.mono))) },
            name.trouble.unwrap_or_default(),
        ]);
    }
    let mut text = String::new();
    table.print(arguments.limit(), &mut text);
    Outcome::ok(text)
}
