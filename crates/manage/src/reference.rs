//! The reference pages of commands and events, made from their declarations.

use std::fmt::Write;

use base::Meta;

use crate::COMMANDS;

/// `docs/reference/commands.md`.
pub fn commands() -> String {
    let mut out = String::from(
        "# Commands\n\nMade from the declarations by `cargo xtask generate`; do not edit.\n\nEvery command works on the \
         interactive command line, in `adit cli COMMAND...`, and in a paste of several lines. Object types and their \
         properties: [objects.md](objects.md).\n",
    );
    for command in COMMANDS.iter() {
        let _ = write!(out, "\n## {}\n\n{}\n\n", command.name, command.help);
        for usage in command.usage.split(" | ") {
            let _ = writeln!(out, "    {usage}");
        }
        if !command.options.is_empty() {
            out.push_str("\n| option | meaning |\n|---|---|\n");
            for (name, help) in command.options {
                let _ = writeln!(out, "| `-{name}` | {help} |");
            }
        }
    }
    out
}

/// `docs/reference/events.md`, of the events of every crate: the ledger in which an id is never used again.
pub fn events(tables: &[&[Meta]]) -> String {
    let mut events: Vec<&Meta> = tables.iter().flat_map(|table| table.iter()).collect();
    events.sort_by_key(|event| event.id);
    let mut out = String::from(
        "# Log events\n\nMade from the declarations by `cargo xtask generate`; do not edit. An id is never used for another \
         event.\n\nA line of the log reads `CATEGORY prio=SEVERITY id=ID rev=REVISION event=NAME action=ACTION` and then \
         the fields.\n",
    );
    for event in events {
        let _ = write!(out, "\n## {:08} {}\n\n", event.id, event.name);
        let _ = writeln!(
            out,
            "{} | {} | action `{}` | revision {}\n",
            event.category, event.severity, event.action, event.revision
        );
        let lines: Vec<&str> = event.help.lines().map(str::trim).collect();
        let _ = writeln!(out, "{}", lines.join("\n").trim());
        if !event.fields.is_empty() {
            let fields: Vec<String> = event.fields.iter().map(|field| format!("`{field}`")).collect();
            let _ = writeln!(out, "\nFields: {}.", fields.join(", "));
        }
    }
    out
}
