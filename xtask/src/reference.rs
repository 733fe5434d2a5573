//! The generated part of the manual: written from the declarations, committed, compared. `events.md` is also the ledger
//! that keeps the number of a log event from ever meaning something else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::Outcome;
use crate::command::{self, cargo};

const FOLDER: &str = "docs/reference";
const FILES: [&str; 3] = ["objects.md", "commands.md", "events.md"];

/// Writes the reference pages.
pub fn generate(root: &Path) -> Outcome {
    write_to(root, &root.join(FOLDER))
}

/// Fails when the committed pages are not what the code says now, or an event's number was given up or reused.
pub fn check(root: &Path) -> Outcome {
    let fresh = root.join("target/xtask/reference");
    let written = write_to(root, &fresh);
    if written != Outcome::Passed {
        return written;
    }
    let mut problems = Vec::new();
    for file in FILES {
        let committed = fs::read_to_string(root.join(FOLDER).join(file)).unwrap_or_default();
        let now = fs::read_to_string(fresh.join(file)).unwrap_or_default();
        if let Some(difference) = difference(&committed, &now) {
            problems.push(format!("{FOLDER}/{file} is out of date (cargo xtask generate): {difference}"));
        }
    }
    let now = fs::read_to_string(fresh.join("events.md")).unwrap_or_default();
    match ledger(&now) {
        Err(problem) => problems.push(problem),
        Ok(now) => {
            for commit in ["HEAD", "HEAD^"] {
                let before = command::output_of("git", &["show".to_owned(), format!("{commit}:{FOLDER}/events.md")]);
                if let Some(Ok(before)) = before.map(|text| ledger(&text)) {
                    problems.extend(broken_promises(&before, &now));
                }
            }
        }
    }
    problems.dedup();
    if problems.is_empty() { Outcome::Passed } else { Outcome::Failed(problems.join("\n")) }
}

fn write_to(root: &Path, folder: &Path) -> Outcome {
    if let Err(error) = fs::create_dir_all(folder) {
        return Outcome::Failed(format!("{}: {error}", folder.display()));
    }
    let mut generator = cargo();
    generator.args(["run", "--quiet", "--package", "adit", "--example", "reference", "--"]).arg(folder);
    command::check(&mut generator, &root.join("target/xtask/reference.log"), Duration::from_secs(1800))
}

fn difference(committed: &str, now: &str) -> Option<String> {
    if committed == now {
        return None;
    }
    let (mut old, mut new, mut line) = (committed.lines(), now.lines(), 0_usize);
    loop {
        line += 1;
        match (old.next(), new.next()) {
            (None, None) => return Some("only the ends of lines differ".to_owned()),
            (old, new) if old == new => {}
            (old, new) => {
                let shown = |side: Option<&str>| side.unwrap_or("(end)").to_owned();
                return Some(format!("line {line}\n  committed: {}\n  now:       {}", shown(old), shown(new)));
            }
        }
    }
}

/// Number and name of every event in a ledger: its headings are an eight-digit number and a name.
fn ledger(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut events = BTreeMap::new();
    for line in text.lines() {
        let Some((id, name)) = line.strip_prefix("## ").and_then(|heading| heading.split_once(' ')) else { continue };
        if id.len() != 8 || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        if let Some(other) = events.insert(id.to_owned(), name.to_owned()) {
            return Err(format!("event number {id} is used twice: {other}, {name}"));
        }
    }
    Ok(events)
}

fn broken_promises(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    before
        .iter()
        .filter_map(|(id, name)| match now.get(id) {
            None => {
                Some(format!("event {id} {name} has vanished: log receivers may know it, so it must stay declared"))
            }
            Some(other) if other != name => {
                Some(format!("event {id} was {name} and is now {other}: take a new number"))
            }
            Some(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEDGER: &str = "\
# Log events

## 01803600 monitored_host_reachable

IPSEC | Info | action `none` | revision 1

## 06000051 ruleset_drop_packet

## What is not an event
";

    #[test]
    fn the_ledger_is_read_from_its_headings() {
        let events = ledger(LEDGER).unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!(events["06000051"], "ruleset_drop_packet");
    }

    #[test]
    fn a_number_used_twice_is_refused() {
        let twice = format!("{LEDGER}## 01803600 another\n");
        assert_eq!(
            ledger(&twice),
            Err("event number 01803600 is used twice: monitored_host_reachable, another".to_owned())
        );
    }

    #[test]
    fn a_number_that_vanishes_or_changes_its_meaning_is_reported() {
        let before = ledger(LEDGER).unwrap();
        let now = ledger("## 01803600 something_else\n## 01803700 new\n").unwrap();
        let problems = broken_promises(&before, &now);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("01803600 was monitored_host_reachable and is now something_else"));
        assert!(problems[1].contains("06000051 ruleset_drop_packet has vanished"));
        assert!(broken_promises(&before, &before).is_empty());
    }

    #[test]
    fn the_first_difference_is_shown() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("a\nb\n", "a\nc\n").unwrap(), "line 2\n  committed: b\n  now:       c");
        assert_eq!(difference("a\n", "a\nb\n").unwrap(), "line 2\n  committed: (end)\n  now:       b");
    }
}
