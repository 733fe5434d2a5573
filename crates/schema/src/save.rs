//! A configuration as a file: reading all of it with all its problems, and writing the commands that rebuild it.

use crate::edit::{Context, Strictness, change, change_context};
use crate::lex::{Joiner, quote};
use crate::{Naming, Object, Problem, Tree};

/// Bytes of a configuration file beyond which it is refused.
pub const FILE_MAX: usize = 16 * 1024 * 1024;

/// Adds what a text says to `tree`, which holds what is predefined. Hands back everything that is wrong with the
/// commands, the objects and their references, in the order of the text.
pub fn load(tree: &mut Tree, text: &str) -> Vec<Problem> {
    let mut problems = read(tree, text);
    problems.extend(tree.check());
    problems.sort_by_key(|problem| problem.position);
    problems
}

/// The first half of [`load`]: what is wrong with the commands only. The tree is to be checked later.
pub fn read(tree: &mut Tree, text: &str) -> Vec<Problem> {
    if text.len() > FILE_MAX {
        let message = format!("the file has {} bytes; at most {FILE_MAX} are read", text.len());
        return vec![Problem::error(message).remedy("split the configuration")];
    }
    tree.header = header(text);
    let mut problems = Vec::new();
    let mut context = Context::default();
    let mut joiner = Joiner::default();
    let mut commands: Vec<_> = text.lines().filter_map(|line| joiner.push(line)).collect();
    commands.extend(joiner.flush());
    for command in commands {
        problems.extend(command.problems.iter().cloned());
        let Some((verb, position)) = command.words().next() else {
            if command.problems.is_empty() {
                problems.push(
                    Problem::error("there is no command for these properties to belong to")
                        .remedy("begin with add or set")
                        .at(command.position()),
                );
            }
            continue;
        };
        let result = match verb.to_ascii_lowercase().as_str() {
            "add" | "set" | "delete" => change(tree, context, &command, Strictness::File),
            "cc" => change_context(tree, &mut context, &command),
            _ => Err(Problem::error(crate::kind::unknown(
                "command for a configuration file called",
                verb,
                ["add", "set", "delete", "cc"],
            ))
            .remedy("a configuration file consists of add, set, delete and cc")
            .at(Some(position))),
        };
        match result {
            Ok(reply) => problems.extend(reply.problems),
            Err(problem) => problems.push(problem),
        }
    }
    tree.objects.retain(|object| !object.deleted);
    tree.derive();
    problems
}

/// The comment lines before the first command.
fn header(text: &str) -> Vec<String> {
    let is_comment = |line: &&str| line.trim_start().starts_with('#');
    text.lines().take_while(is_comment).map(|line| line.trim().to_owned()).collect()
}

/// The commands that rebuild a configuration: the head comment of its file, then every object that was declared, in
/// order, with the values it was given. Secrets are written out, so the file is for the store and not for the screen.
pub fn text(tree: &Tree) -> String {
    write(tree, false)
}

/// The same commands with secrets replaced by stars.
pub fn masked(tree: &Tree) -> String {
    write(tree, true)
}

fn write(tree: &Tree, masked: bool) -> String {
    let mut out = String::new();
    for line in &tree.header {
        out.push_str(line);
        out.push('\n');
    }
    if !tree.header.is_empty() {
        out.push('\n');
    }
    // What is inside a predefined object comes last: it may refer to anything before it.
    let roots = || tree.objects().filter(|object| object.parent.is_none());
    let is_late = |object: &&Object| object.predefined && object.info.container;
    for object in roots().filter(|object| !is_late(object)).chain(roots().filter(is_late)) {
        if is_declared(object) {
            out.push_str(&command(object, masked));
        }
        contents(tree, object, masked, "cc", &mut out);
    }
    out
}

/// What is inside an object: first everything directly in it, then what is inside of that, so that a position names the
/// same object as in the configuration. `leave` is the command that leads out again.
fn contents(tree: &Tree, object: &Object, masked: bool, leave: &str, out: &mut String) {
    if !object.info.container {
        return;
    }
    let children: Vec<&Object> =
        tree.objects().filter(|child| child.parent == Some(object.id) && is_declared(child)).collect();
    if children.is_empty() {
        return;
    }
    let name = object.name.clone().unwrap_or_else(|| tree.index(object).to_string());
    out.push_str(&format!("cc {} {}\n", object.info.name, quote(&name)));
    for child in &children {
        out.push_str(&command(child, masked));
    }
    for child in &children {
        contents(tree, child, masked, "cc ..", out);
    }
    out.push_str(leave);
    out.push('\n');
}

/// Predefined objects are written only where they were given something.
fn is_declared(object: &Object) -> bool {
    !object.predefined || !object.values.is_empty() || object.disabled
}

/// The command that makes one object.
fn command(object: &Object, masked: bool) -> String {
    let verb = if object.info.naming == Naming::Single { "set" } else { "add" };
    let mut out = format!("{verb} {}", object.info.name);
    if let Some(name) = &object.name {
        out.push_str(&format!(" {}", quote(name)));
    }
    if object.disabled {
        out.push_str(" -disable");
    }
    for (property, value) in object.given() {
        let text = if masked { value.shown() } else { value.text() };
        out.push_str(&format!(" {}={}", property.name, quote(text)));
    }
    out.push('\n');
    out
}
