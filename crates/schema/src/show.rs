//! What `show` prints: one object, the objects of a type, or what there is.

use crate::edit::{Context, Reply, Target, known_options, target};
use crate::lex::Command;
use crate::{Naming, Object, Problem, State, Tree, TypeInfo, Workspace};

/// Stands for a value that is not set.
const EMPTY: &str = "<empty>";
/// Characters of one column of a list.
const COLUMN_MAX: usize = 40;

pub(crate) fn show(workspace: &Workspace, context: Context, command: &Command) -> Result<Reply, Problem> {
    known_options(command, "show")?;
    let tree = &workspace.candidate;
    if let Some((name, _, token)) = command.assignments().find(|(name, ..)| !name.eq_ignore_ascii_case("Name")) {
        return Err(Problem::error(format!("show takes no properties; found {name}")).at(Some(token.position)));
    }
    let first = command.words().nth(1);
    let Some((word, _)) = first else {
        if command.has_option("references") {
            return Err(Problem::error("references to which object is missing")
                .remedy("write \"show <Type> <Name> -references\"")
                .at(command.position()));
        }
        let objects: Vec<&Object> = tree.objects.iter().filter(|object| selected(workspace, command, object)).collect();
        if !is_filtered(command) {
            let inside = context.container.and_then(|id| tree.get(id)).map(|object| inside(workspace, object, command));
            return Ok(Reply::said(inside.filter(|text| !text.is_empty()).unwrap_or_else(|| contents(tree, context))));
        }
        return Ok(Reply::said(paths(workspace, &objects, command)));
    };
    if command.words().count() == 2
        && let Some(category) = tree.registry.category(word)
    {
        let types: Vec<_> = tree.registry.types.iter().filter(|info| info.category == Some(category)).collect();
        let lists = types.iter().map(|info| list(workspace, info, context, command));
        let lists: Vec<String> = lists.filter(|text| !text.is_empty()).collect();
        // Settings take a line each, other types a table each.
        let between = if types.iter().all(|info| info.naming == Naming::Single) { "" } else { "\n" };
        return Ok(Reply::said(lists.join(between)));
    }
    let Target { info, name } = target(tree, command)?;
    let object = match (info.naming, name) {
        (Naming::Single, _) => tree.single(info),
        (_, None) => {
            let text = list(workspace, info, context, command);
            return Ok(Reply::said(if text.is_empty() {
                format!("There are no objects of type {}.\n", info.name)
            } else {
                text
            }));
        }
        (_, Some((name, position))) => match tree.locate(info, context.container, name) {
            Some(object) => Some(object),
            None => {
                let known: Vec<&str> =
                    tree.objects().filter(|o| o.info.name == info.name).filter_map(|o| o.name.as_deref()).collect();
                return Err(crate::edit::no_such(info, name, known).at(Some(position)));
            }
        },
    };
    let Some(object) = object else { return Err(Problem::error(format!("there is no {}", info.name))) };
    if command.has_option("references") {
        return Ok(Reply::said(references(tree, object)));
    }
    let mut text = table(object, tree);
    if command.has_option("errors") {
        let problems = tree.check_object(object);
        text = problems.iter().map(|problem| format!("{problem}\n")).collect();
        if problems.is_empty() {
            text = format!("{} has no errors.\n", tree.title(object));
        }
    } else if info.container {
        text.push_str(&inside(workspace, object, command));
    }
    Ok(Reply::said(text))
}

fn is_filtered(command: &Command) -> bool {
    ["errors", "changes", "disabled", "all"].iter().any(|option| command.has_option(option))
}

fn selected(workspace: &Workspace, command: &Command, object: &Object) -> bool {
    let asked = |option: &str| command.has_option(option);
    (!asked("errors") || has_errors(&workspace.candidate, object))
        && (!asked("changes") || workspace.state(object) != State::Unchanged)
        && (!asked("disabled") || object.disabled)
}

fn has_errors(tree: &Tree, object: &Object) -> bool {
    !object.is_deleted() && !object.disabled && tree.check_object(object).iter().any(Problem::is_error)
}

/// The flags before an object in a list: `-` deleted, `o` disabled, `!` has errors, `+` new, `*` modified, `D` dynamic.
fn flags(workspace: &Workspace, object: &Object) -> String {
    let mut flags = String::new();
    let state = workspace.state(object);
    flags.push_str(if state == State::Deleted { "-" } else { "" });
    flags.push_str(if object.disabled { "o" } else { "" });
    flags.push_str(if has_errors(&workspace.candidate, object) { "!" } else { "" });
    flags.push_str(match state {
        State::New => "+",
        State::Modified => "*",
        State::Unchanged | State::Deleted => "",
    });
    flags.push_str(if object.dynamic { "D" } else { "" });
    flags
}

/// One object: the names to the right, the values to the left of the middle.
fn table(object: &Object, tree: &Tree) -> String {
    let mut rows: Vec<(&str, String)> = Vec::new();
    if object.info.naming != Naming::Single && object.info.naming != Naming::Position {
        rows.push(("Name", object.name.clone().unwrap_or_else(|| EMPTY.to_owned())));
    }
    if matches!(object.info.naming, Naming::Optional | Naming::Position) {
        rows.push(("Index", tree.index(object).to_string()));
    }
    for property in object.info.properties {
        if !object.applies(property) && object.value(property.name).is_none() {
            continue;
        }
        rows.push((property.name, shown(object, property.name)));
    }
    let width = rows.iter().map(|(name, _)| name.len() + 1).max().unwrap_or(0).max(26);
    let value_width = rows.iter().map(|(_, value)| value.chars().count()).max().unwrap_or(0).clamp(18, 80);
    let mut out = format!("{:>width$}  Value\n{}  {}\n", "Property", "-".repeat(width), "-".repeat(value_width));
    for (name, value) in rows {
        out.push_str(&format!("{:>width$}  {value}\n", format!("{name}:")));
    }
    out
}

fn shown(object: &Object, property: &str) -> String {
    match object.value(property) {
        Some(value) => value.shown().to_owned(),
        None => object.get(property).unwrap_or(EMPTY).to_owned(),
    }
}

/// The objects of a type, one line each; nothing when there are none.
fn list(workspace: &Workspace, info: &'static TypeInfo, context: Context, command: &Command) -> String {
    let tree = &workspace.candidate;
    // At the root everything of the type is listed, wherever it lives.
    let here = |object: &&Object| context.container.is_none() || object.parent == context.container;
    let objects: Vec<&Object> = tree
        .objects
        .iter()
        .filter(|object| object.info.name == info.name)
        .filter(here)
        .filter(|object| selected(workspace, command, object))
        .collect();
    if objects.is_empty() {
        return String::new();
    }
    if info.naming == Naming::Single {
        // There is exactly one, and its properties are too many for a line.
        let flags: String = objects.iter().map(|object| flags(workspace, object)).collect();
        return format!("{flags:2}{:24}  {}\n", info.name, crate::sentence(info.help));
    }
    let numbered = matches!(info.naming, Naming::Optional | Naming::Position);
    let mut header = vec![String::new()];
    header.extend(numbered.then(|| "#".to_owned()));
    header.extend((info.naming != Naming::Position).then(|| "Name".to_owned()));
    header.extend(info.columns.iter().map(|column| (*column).to_owned()));
    header.push("Comments".to_owned());
    let mut rows = Vec::new();
    for object in objects {
        let mut row = vec![flags(workspace, object)];
        row.extend(numbered.then(|| if object.is_deleted() { "-".to_owned() } else { tree.index(object).to_string() }));
        row.extend((info.naming != Naming::Position).then(|| match object.parent {
            Some(_) if context.container.is_none() => tree.path(object),
            _ => object.name.clone().unwrap_or_default(),
        }));
        row.extend(info.columns.iter().map(|column| shown(object, column)));
        row.push(object.get("Comments").unwrap_or_default().to_owned());
        rows.push(row);
    }
    // A list in a folder of objects is as wide as what stands in it.
    format!("{}\n{}", info.name, columns(&header, &rows))
}

/// Header, dashes, and rows with every column as wide as its widest cell.
fn columns(header: &[String], rows: &[Vec<String>]) -> String {
    let cut = |cell: &str| -> String {
        if cell.chars().count() <= COLUMN_MAX {
            return cell.to_owned();
        }
        cell.chars().take(COLUMN_MAX - 3).chain("...".chars()).collect()
    };
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| cut(cell)).collect()).collect();
    let all = || std::iter::once(header).chain(rows.iter().map(Vec::as_slice));
    let widths: Vec<usize> = (0..header.len())
        .map(|column| all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &[String]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut out = line(header);
    out.push_str(&line(&dashes));
    out.extend(rows.iter().map(|row| line(row)));
    out
}

/// The root: categories in brackets, containers with a slash, types.
fn contents(tree: &Tree, context: Context) -> String {
    let parent = context.container.and_then(|id| tree.get(id)).map_or("", |object| object.info.name);
    let mut names: Vec<String> = Vec::new();
    if parent.is_empty() {
        names.extend(tree.registry.categories().iter().map(|category| format!("[{category}]")));
    }
    let here =
        |info: &&&'static TypeInfo| info.parents.contains(&parent) && (!parent.is_empty() || info.category.is_none());
    for info in tree.registry.types.iter().filter(here) {
        names.push(format!("{}{}", info.name, if info.container { "/" } else { "" }));
    }
    names.iter().map(|name| format!("  {name}\n")).collect()
}

fn inside(workspace: &Workspace, object: &Object, command: &Command) -> String {
    let context = Context { container: Some(object.id) };
    let tree = &workspace.candidate;
    let types = tree.registry.types.iter().filter(|info| info.parents.contains(&object.info.name));
    types
        .map(|info| list(workspace, info, context, command))
        .filter(|list| !list.is_empty())
        .map(|list| format!("\n{list}"))
        .collect()
}

fn paths(workspace: &Workspace, objects: &[&Object], command: &Command) -> String {
    let tree = &workspace.candidate;
    if objects.is_empty() {
        return "There are none.\n".to_owned();
    }
    let mut out = String::new();
    for object in objects {
        let flags = flags(workspace, object);
        out.push_str(&format!("{flags:3} {}\n", tree.title(object)));
        if command.has_option("errors") {
            for problem in tree.check_object(object) {
                out.push_str(&format!("      {}\n", problem.to_string().replace('\n', "\n      ")));
            }
        }
    }
    out
}

fn references(tree: &Tree, object: &Object) -> String {
    let users = tree.referrers(object);
    if users.is_empty() {
        return format!("Nothing refers to {}.\n", tree.title(object));
    }
    users.iter().map(|(user, property)| format!("{}  {}\n", tree.title(user), property.name)).collect()
}
