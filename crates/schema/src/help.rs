//! What `help` prints.

use crate::complete::CommandInfo;
use crate::{Naming, Registry, TypeInfo};

/// Help on a word: a command or an object type. `None`: it is neither.
pub fn help(registry: &Registry, commands: &[CommandInfo], topic: Option<&str>) -> Option<String> {
    let Some(topic) = topic else { return Some(overview(registry, commands)) };
    if let Some(command) = commands.iter().find(|command| command.name.eq_ignore_ascii_case(topic)) {
        return Some(command_help(command));
    }
    if let Some(info) = registry.find(topic) {
        return Some(type_help(info));
    }
    let category = registry.category(topic)?;
    let types = registry.types.iter().filter(|info| info.category == Some(category));
    let lines: String = types.map(|info| format!("  {:22} {}\n", info.name, first_sentence(info))).collect();
    Some(format!("Types of category {category}:\n\n{lines}"))
}

fn overview(registry: &Registry, commands: &[CommandInfo]) -> String {
    let mut out = String::from("Commands:\n\n");
    for command in commands {
        out.push_str(&format!("  {:12} {}\n", command.name, command.help));
    }
    out.push_str("\nObject types:\n\n");
    for info in registry.types {
        out.push_str(&format!("  {:22} {}\n", info.name, first_sentence(info)));
    }
    out.push_str("\nType \"help <command>\" or \"help <type>\" for more. TAB completes, \"exit\" leaves.\n");
    out
}

fn command_help(command: &CommandInfo) -> String {
    let mut out = format!("{}\n\n  {}\n", command.help, command.usage);
    if !command.options.is_empty() {
        out.push_str("\nOptions:\n\n");
        for (name, help) in command.options {
            out.push_str(&format!("  -{name:14} {help}\n"));
        }
    }
    out
}

fn type_help(info: &TypeInfo) -> String {
    let category = info.category.map(|category| format!("{category} ")).unwrap_or_default();
    let name = match info.naming {
        Naming::Named => " <Name>",
        Naming::Optional => " [<Name>]",
        Naming::Position | Naming::Single => "",
    };
    let verb = if info.naming == Naming::Single { "set" } else { "add" };
    let mut out = format!(
        "{}\n\n  {verb} {category}{}{name} Property=value ...\n\nProperties:\n\n",
        crate::sentence(info.help),
        info.name
    );
    for property in info.properties {
        let fact = match (property.mandatory, property.default) {
            (true, _) => " (required)".to_owned(),
            (false, Some(default)) => format!(" (default {default})"),
            (false, None) => String::new(),
        };
        let applies = property
            .applies
            .map(|(other, wanted)| format!(" Only with {other}={}.", wanted.join(" or ")))
            .unwrap_or_default();
        out.push_str(&format!("  {}{fact}: {}\n", property.name, property.kind.describe()));
        out.push_str(&format!("      {}{applies}\n", crate::sentence(property.help)));
    }
    out
}

fn first_sentence(info: &TypeInfo) -> String {
    let text = crate::sentence(info.help);
    text.split_once(". ").map_or(text.clone(), |(first, _)| format!("{first}."))
}
