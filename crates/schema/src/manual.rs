//! The reference manual of object types, in Markdown.

use crate::kind::Kind;
use crate::{Naming, PropertyInfo, Registry, TypeInfo};

/// One section for each type.
pub fn manual(registry: &Registry) -> String {
    let mut out = String::from(
        "# Configuration objects\n\n\
         <!-- Generated from the declarations in crates/objects; do not edit. -->\n\n\
         Every object type, its properties, the values they take and what they are when nothing is given. Type, property\n\
         and object names match without regard to case; the category may be left out. Every object has a `Comments`.\n\n",
    );
    for info in registry.types {
        let anchor = info.name.to_ascii_lowercase();
        let category = info.category.map(|category| format!(" ({category})")).unwrap_or_default();
        out.push_str(&format!("- [{}](#{anchor}){category}\n", info.name));
    }
    for info in registry.types {
        out.push('\n');
        section(info, &mut out);
    }
    out
}

fn section(info: &TypeInfo, out: &mut String) {
    out.push_str(&format!("## {}\n\n{}\n\n", info.name, crate::sentence(info.help)));
    let category = info.category.map(|category| format!("{category} ")).unwrap_or_default();
    let name = match info.naming {
        Naming::Named => " <Name>",
        Naming::Optional => " [<Name>]",
        Naming::Position | Naming::Single => "",
    };
    let verb = if info.naming == Naming::Single { "set" } else { "add" };
    out.push_str(&format!("    {verb} {category}{}{name} Property=value ...\n\n", info.name));
    if !info.aliases.is_empty() {
        out.push_str(&format!("Also called `{}`.\n", info.aliases.join("`, `")));
    }
    if info.container {
        out.push_str(&format!("Holds other objects: enter it with `cc {} <Name>`.\n", info.name));
    }
    let homes: Vec<&str> = info.parents.iter().filter(|home| !home.is_empty()).copied().collect();
    if !homes.is_empty() {
        let also = if info.parents.contains(&"") { "Can also live in" } else { "Lives in" };
        out.push_str(&format!("{also} `{}`.\n", homes.join("`, `")));
    }
    if !out.ends_with("\n\n") {
        out.push('\n');
    }
    out.push_str("| property | values | default | meaning |\n|---|---|---|---|\n");
    for property in info.properties.iter().filter(|property| property.name != "Comments") {
        row(property, out);
    }
}

fn row(property: &PropertyInfo, out: &mut String) {
    let default = match (property.mandatory, property.default) {
        (true, _) => "required".to_owned(),
        (false, Some(default)) => format!("`{default}`"),
        (false, None) => "empty".to_owned(),
    };
    let mut meaning = crate::sentence(property.help);
    if let Some((other, wanted)) = property.applies {
        meaning.push_str(&format!(" Only with `{other}={}`.", wanted.join("` or `")));
    }
    if !property.aliases.is_empty() {
        meaning.push_str(&format!(" Also written `{}`.", property.aliases.join("`, `")));
    }
    if let Kind::Choice { choices, .. } = property.kind {
        for choice in choices.iter().filter(|choice| !choice.help.is_empty()) {
            meaning.push_str(&format!(" `{}`: {}", choice.name, crate::sentence(choice.help)));
        }
    }
    let values = property.kind.describe();
    out.push_str(&format!(
        "| `{}` | {} | {default} | {} |\n",
        property.name,
        values.replace('|', "\\|"),
        meaning.replace('|', "\\|")
    ));
}
