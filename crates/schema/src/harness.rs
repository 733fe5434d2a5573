//! What the harnesses of a set of object types have in common: bytes as a configuration file and as command lines.

use crate::complete::{CONFIGURATION, complete};
use crate::{Context, Tree, Workspace, execute, lex, load, text};

/// Reads a file, and reads again what is written of it: the two must say the same.
pub fn file(tree: &Tree, data: &[u8]) {
    let input = String::from_utf8_lossy(data);
    let mut first = tree.clone();
    let problems = load(&mut first, &input);
    for problem in &problems {
        let _ = problem.render("fuzz", &input, |name| tree.registry().is_secret(name));
    }
    if problems.iter().any(crate::Problem::is_error) {
        return;
    }
    let written = text(&first);
    let mut second = tree.clone();
    let again = load(&mut second, &written);
    assert!(!again.iter().any(crate::Problem::is_error), "written text has errors: {written:?} {again:?}");
    assert_eq!(text(&second), written, "writing and reading changes the configuration");
}

/// Carries out a line and completes it at every place.
pub fn line(workspace: &mut Workspace, context: &mut Context, data: &[u8]) {
    let input = String::from_utf8_lossy(data);
    for command in lex::commands(&input) {
        for (_, value, _) in command.assignments() {
            let again = lex::Command::parse(&format!("set x y a={}", lex::quote(value)));
            let read = again.assignments().next().map(|(_, value, _)| value.to_owned());
            assert_eq!(read.as_deref(), Some(value), "a quoted value reads back as another");
        }
        if let Some(reply) = execute(workspace, context, &command) {
            let _ = reply.problems.iter().map(ToString::to_string).collect::<Vec<_>>();
        }
    }
    for cursor in (0..=input.len().min(400)).step_by(7) {
        let _ = complete(&input, cursor, &workspace.candidate, *context, CONFIGURATION);
    }
}
