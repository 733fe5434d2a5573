//! `cargo xtask test`: every stage, in the order of how soon it answers.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::command::{self, cargo};
use crate::report::{Outcome, Report};
use crate::{interop, layers, packages, reference};

/// What one stage may take before it counts as hung.
const STAGE_LIMIT: Duration = Duration::from_secs(40 * 60);

/// Runs everything. A failed stage does not keep the next from running.
pub fn run(root: &Path, report: &mut Report) {
    report.stage("packages", |_| packages::provide(root, interop::all_packages(root)));
    report.run("format", || stage(root, "format", cargo().args(["fmt", "--all", "--check"])));
    report.run("check-layers", || layers::check(root));
    report.run("clippy", || {
        let lint = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        stage(root, "clippy", cargo().args(lint))
    });
    report.stage("tests", |report| tests(root, report));
    report.run("documentation", || {
        let mut doc = cargo();
        doc.args(["doc", "--workspace", "--no-deps", "--keep-going"]).env("RUSTDOCFLAGS", "-D warnings");
        stage(root, "doc", &mut doc)
    });
    report.run("check-docs", || reference::check(root));
    report.run("fuzz targets build", || fuzz(root));
    report.run("dependencies", || dependencies(root, "deny", &["bans", "licenses", "sources"]));
    report.run("advisories", || advisories(root));
    report.run("demo", || demo(root, &[]));
    report.run("demo --netns", || match interop::obstacle() {
        Some(reason) => Outcome::Skipped(reason),
        None => demo(root, &["--netns"]),
    });
    interop::run(root, &["--ports", "host"], report);
    interop::run(root, &["--ports", "packet"], report);
}

fn stage(root: &Path, name: &str, command: &mut Command) -> Outcome {
    command::check(command, &root.join(format!("target/xtask/{name}.log")), STAGE_LIMIT)
}

/// Unit, simulator and documentation tests, each counted; fuzz harnesses with fixed seeds are among them.
fn tests(root: &Path, report: &mut Report) {
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    let finished = match command::run(&mut command, &root.join("target/xtask/tests.log"), STAGE_LIMIT) {
        Ok(finished) => finished,
        Err(error) => return report.add("tests", Outcome::Failed(format!("cargo test: {error}"))),
    };
    let results = Results::read(&finished.output);
    println!("   {} tests passed", results.passed);
    report.add_passed(results.passed);
    for (name, reason) in &results.ignored {
        report.add(&format!("test {name}"), Outcome::Skipped(reason.clone()));
    }
    if finished.success {
        return;
    }
    // The whole output once, then each failed test by name.
    println!("{}", command::tail(&failures(&finished.output), 400));
    if results.failed.is_empty() {
        report.add("tests", Outcome::Failed("the tests could not be built or run".into()));
    }
    for name in &results.failed {
        report.add(&format!("test {name}"), Outcome::Failed(String::new()));
    }
}

/// What `cargo test` printed about single tests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Results {
    passed: usize,
    failed: Vec<String>,
    /// Names with the reason.
    ignored: Vec<(String, String)>,
}

impl Results {
    fn read(output: &str) -> Self {
        let mut results = Self::default();
        for line in output.lines() {
            let Some((name, verdict)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) else {
                continue;
            };
            match verdict.split([',', ' ']).next() {
                Some("ok") => results.passed += 1,
                Some("FAILED") => results.failed.push(name.to_owned()),
                Some("ignored") => {
                    let reason = verdict.strip_prefix("ignored, ").unwrap_or("marked #[ignore]");
                    results.ignored.push((name.to_owned(), reason.to_owned()));
                }
                _ => {}
            }
        }
        results
    }
}

/// The output without the lines of tests that passed.
fn failures(output: &str) -> String {
    output
        .lines()
        .filter(|line| !(line.starts_with("test ") && line.ends_with(" ... ok")))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The fuzz targets need cargo-fuzz and a nightly compiler to run, but any compiler can tell whether they are sound.
fn fuzz(root: &Path) -> Outcome {
    let manifest = root.join("fuzz/Cargo.toml");
    if !manifest.is_file() {
        return Outcome::Failed("fuzz/Cargo.toml is missing".into());
    }
    let mut check = cargo();
    check.args(["check", "--bins", "--manifest-path"]).arg(&manifest);
    check.arg("--target-dir").arg(root.join("target/fuzz"));
    stage(root, "fuzz", &mut check)
}

/// The first command of the README, without a terminal: it must tell its story and end by itself.
fn demo(root: &Path, options: &[&str]) -> Outcome {
    stage(root, "demo", cargo().args(["run", "--package", "adit", "--", "demo"]).args(options))
}

fn dependencies(root: &Path, name: &str, kinds: &[&str]) -> Outcome {
    if !command::exists("cargo-deny") {
        return Outcome::Skipped("cargo-deny is not installed (cargo install cargo-deny)".into());
    }
    stage(root, name, cargo().args(["deny", "check"]).args(kinds))
}

/// The list of known faults comes over the network, which not every machine has.
fn advisories(root: &Path) -> Outcome {
    match dependencies(root, "advisories", &["advisories"]) {
        Outcome::Failed(why) if why.contains("failed to fetch advisory database") => {
            Outcome::Skipped("the list of advisories cannot be fetched from here".into())
        }
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_is_counted_by_its_verdict() {
        let output = "\
running 4 tests
test time::tests::it_adds ... ok
test crates/base/src/event.rs - events (line 131) ... ok
test replay::it_slides ... FAILED
test slow ... ignored, takes a day
test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        let results = Results::read(output);
        assert_eq!(results.passed, 2);
        assert_eq!(results.failed, ["replay::it_slides"]);
        assert_eq!(results.ignored, [("slow".to_owned(), "takes a day".to_owned())]);
        assert!(!failures(output).contains("it_adds"));
    }
}
