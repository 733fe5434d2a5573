//! Running programs: output kept, time limited, nothing left running.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;

/// How a program ended, and what it said on stdout and stderr together.
pub struct Finished {
    /// True for exit status 0.
    pub success: bool,
    /// The exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Everything it printed.
    pub output: String,
}

/// The same cargo that runs us.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs `command`, keeping its output in `log`. After `limit` it is killed with everything it started and did not
/// move to a session of its own.
pub fn run(command: &mut Command, log: &Path, limit: Duration) -> io::Result<Finished> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = File::create(log)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
    let mut child = command.spawn()?;
    let end = Instant::now() + limit;
    let mut late = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= end && !late {
            late = true;
            // Dropping a Child does not end it, and its own children hold the log open: end the whole group.
            Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status()?;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let mut output = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    if late {
        output.push_str(&format!("\nkilled: not done within {} s\n", limit.as_secs()));
    }
    Ok(Finished { success: status.success(), status: status.code(), output })
}

/// Runs `command`; failed with its output when its status is not 0.
pub fn check(command: &mut Command, log: &Path, limit: Duration) -> Outcome {
    let shown = show(command);
    match run(command, log, limit) {
        Ok(finished) if finished.success => Outcome::Passed,
        Ok(finished) => Outcome::Failed(format!("{shown}\n{}", tail(&finished.output, 200))),
        Err(error) => Outcome::Failed(format!("{shown}: {error}")),
    }
}

/// True when the program can be found.
pub fn exists(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// What a program says on stdout, if it succeeds.
pub fn output_of<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Option<String> {
    let output = Command::new(program).args(arguments).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// True for user id 0.
pub fn is_root() -> bool {
    output_of("id", &["-u"]).is_some_and(|id| id.trim() == "0")
}

/// The last `lines` lines.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let start = all.len().saturating_sub(lines);
    let mut kept = all.get(start..).unwrap_or_default().join("\n");
    if start > 0 {
        kept.insert_str(0, &format!("({start} lines before these)\n"));
    }
    kept
}

fn show(command: &Command) -> String {
    let mut text = format!("$ {}", command.get_program().to_string_lossy());
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("xtask-{}-{name}", std::process::id()))
    }

    #[test]
    fn what_takes_too_long_is_killed_with_its_children() {
        let path = log("late");
        let begin = Instant::now();
        let finished =
            run(Command::new("sh").args(["-c", "echo begun; sleep 600 & wait"]), &path, Duration::from_millis(200))
                .unwrap();
        assert!(!finished.success);
        assert!(finished.output.starts_with("begun\n\nkilled"), "{}", finished.output);
        assert!(begin.elapsed() < Duration::from_secs(300));
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_failure_shows_the_command_and_its_output() {
        let path = log("fails");
        let outcome = check(Command::new("sh").args(["-c", "echo why; exit 3"]), &path, Duration::from_secs(60));
        assert_eq!(outcome, Outcome::Failed("$ sh -c echo why; exit 3\nwhy".into()));
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_tail_says_what_it_leaves_out() {
        assert_eq!(tail("a\nb\nc", 2), "(1 lines before these)\nb\nc");
        assert_eq!(tail("a\nb\nc", 3), "a\nb\nc");
    }
}
