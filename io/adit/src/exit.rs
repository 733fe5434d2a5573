//! How the process ends, and what it says before.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// Status of a command that failed, of a gateway that could not start, of a configuration with errors.
pub const FAILED: u8 = 1;
/// Status of a command line, a file or a socket that makes no sense.
pub const USAGE: u8 = 2;

/// Why the process ends with something else than success.
#[derive(Debug)]
pub struct Exit {
    status: u8,
    message: String,
}

impl Exit {
    /// The work could not be done; `message` says what was found, what was expected and what to do.
    pub fn failed(message: impl Display) -> Self {
        Self { status: FAILED, message: message.to_string() }
    }

    /// It was asked for in a way that makes no sense.
    pub fn usage(message: impl Display) -> Self {
        Self { status: USAGE, message: message.to_string() }
    }

    /// All has been said already; only the status is left.
    pub fn silent(status: u8) -> Self {
        Self { status, message: String::new() }
    }

    /// What it says; empty when all has been said.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Prints the message to standard error and gives the status.
    pub fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            complain(&format!("adit: {}\n", self.message.trim_end()));
        }
        ExitCode::from(self.status)
    }
}

/// Writes to standard output at once. A reader that has gone away is no error of ours.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Writes to standard error.
pub fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
