//! What was run, how it ended, how long it took; the summary at the end.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// With what went wrong, for people.
    Failed(String),
    /// It could not run, and why.
    Skipped(String),
}

/// The results so far. Printed as they come, summed up by [`Report::finish`].
pub struct Report {
    begin: Instant,
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Report {
    /// An empty one; the clock starts.
    pub fn new() -> Self {
        Self { begin: Instant::now(), passed: 0, failed: Vec::new(), skipped: Vec::new() }
    }

    /// Runs one check, prints how it ended and how long it took.
    pub fn run(&mut self, name: &str, check: impl FnOnce() -> Outcome) {
        self.stage(name, |report| {
            let outcome = check();
            report.add(name, outcome);
        });
    }

    /// Runs something that adds several results of its own.
    pub fn stage(&mut self, name: &str, work: impl FnOnce(&mut Self)) {
        println!("== {name}");
        flush();
        let (begin, failed, skipped) = (Instant::now(), self.failed.len(), self.skipped.len());
        work(self);
        let verdict = if self.failed.len() > failed {
            "FAILED"
        } else if self.skipped.len() > skipped {
            "skipped, in part or whole"
        } else {
            "ok"
        };
        println!("   {name}: {verdict}, {:.1} s", begin.elapsed().as_secs_f64());
        flush();
    }

    /// Notes a result.
    pub fn add(&mut self, name: &str, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed(why) => {
                println!("{}", why.trim_end());
                self.failed.push(name.to_owned());
            }
            Outcome::Skipped(why) => self.skipped.push(format!("{name}: {why}")),
        }
    }

    /// Notes results that were counted elsewhere.
    pub fn add_passed(&mut self, count: usize) {
        self.passed += count;
    }

    /// Prints the summary. The last line has the three numbers.
    pub fn finish(self) -> ExitCode {
        println!();
        for name in &self.failed {
            println!("FAILED {name}");
        }
        for name in &self.skipped {
            println!("SKIPPED {name}");
        }
        println!("in {:.0} s", self.begin.elapsed().as_secs_f64());
        println!("{}", self.summary());
        flush();
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn summary(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped.len())
    }
}

fn flush() {
    // Nothing to be done about a terminal that has gone.
    let _ = std::io::stdout().flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_is_counted_once() {
        let mut report = Report::new();
        report.add_passed(3);
        report.run("good", || Outcome::Passed);
        report.run("bad", || Outcome::Failed("because".into()));
        report.run("absent", || Outcome::Skipped("needs root".into()));
        assert_eq!(report.summary(), "4 passed, 1 failed, 1 skipped");
        assert_eq!(report.skipped, ["absent: needs root"]);
    }
}
