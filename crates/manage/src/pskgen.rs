//! `pskgen`: a random pre-shared key.

use std::fmt::Write;

use base::Random;
use schema::lex::{Command, quote};
use schema::{Context, Workspace};
use zeroize::Zeroizing;

use crate::commands::Outcome;

/// Sizes of key that can be made, in bits.
const SIZES: [usize; 7] = [64, 128, 256, 512, 1024, 2048, 4096];
/// Size when none is given, as in the guide.
const SIZE: usize = 64;
/// Keys shorter than this can be found by trying: a recorded negotiation is enough to try without asking anybody.
const SIZE_GOOD: usize = 128;

pub(crate) fn run(workspace: &mut Workspace, random: &mut Random, command: &Command) -> Outcome {
    let (name, size, comments) = match read(command) {
        Ok(read) => read,
        Err(text) => return Outcome::failed(text),
    };
    let key = random.secret(size / 8);
    let mut digits = Zeroizing::new(String::with_capacity(size / 4));
    for byte in key.expose() {
        let _ = write!(digits, "{byte:02x}");
    }
    let exists = workspace.candidate.objects().any(|object| object.info.name == "PSK" && object.is_called(name));
    let verb = if exists { "set" } else { "add" };
    let comments = comments.map(|comments| format!(" Comments={}", quote(comments))).unwrap_or_default();
    let line = Zeroizing::new(format!(
        "{verb} PSK {} Type=HEX PSKAscii=\"\" PSKHex={}{comments}",
        quote(name),
        digits.as_str()
    ));
    let Some(reply) = schema::execute(workspace, &mut Context::default(), &Command::parse(&line)) else {
        return Outcome::failed("The key could not be added.\n");
    };
    if !reply.done {
        let problems: String = reply.problems.iter().map(|problem| format!("{problem}\n")).collect();
        return Outcome::failed(problems);
    }
    let mut text = format!(
        "PSK {name}: {size} random bits. Give the peer the same key; it is not shown again:\n{}\n",
        digits.as_str()
    );
    if exists {
        let _ = writeln!(
            text,
            "This key replaces the one before, which \"reject PSK {name}\" brings back if it was committed."
        );
    }
    if size < SIZE_GOOD {
        let _ = writeln!(
            text,
            "Warning: a key of {size} bits can be found by trying. -size=256 makes one that cannot; 64 is the guide's default."
        );
    }
    Outcome::ok(text)
}

fn read(command: &Command) -> Result<(&str, usize, Option<&str>), String> {
    const USAGE: &str = "Usage: pskgen <Name> [-comments=<text>] [-size={64|128|256|512|1024|2048|4096}]\n";
    let mut words = command.words().skip(1).map(|(word, _)| word);
    let (Some(name), None) = (words.next(), words.next()) else {
        return Err(format!("Expected exactly one name for the key.\n{USAGE}"));
    };
    if let Some((property, ..)) = command.assignments().next() {
        return Err(format!("'pskgen' takes no property such as {property}=.\n{USAGE}"));
    }
    let (mut size, mut comments) = (SIZE, None);
    for (option, value, _) in command.options() {
        match (option.to_ascii_lowercase().as_str(), value) {
            ("size", Some(value)) => {
                size =
                    value.parse().ok().filter(|size| SIZES.contains(size)).ok_or_else(|| {
                        format!("-size={value}: expected one of 64, 128, 256, 512, 1024, 2048, 4096.\n")
                    })?;
            }
            ("comments", Some(value)) => comments = Some(value),
            _ => return Err(format!("'pskgen' has no option -{option} like this.\n{USAGE}")),
        }
    }
    Ok((name, size, comments))
}
