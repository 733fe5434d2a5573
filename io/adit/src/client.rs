//! `adit cli`: an operator's end of the control socket.

use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use manage::Done;
use rustix::event::{PollFd, PollFlags, poll};

use crate::arguments::CliOptions;
use crate::console;
use crate::exit::{Exit, FAILED, say};
use crate::protocol::{REQUEST_MAX, Reply, Request};
use crate::signals::Signals;

/// Longest answer, bytes: a whole configuration fits.
const ANSWER_MAX: usize = 64 << 20;
/// Status of a program that Ctrl-C ended, as shells have it.
const INTERRUPTED: u8 = 130;

/// Runs one command, the lines of standard input, or an interactive command line.
pub fn cli(options: &CliOptions) -> Result<(), Exit> {
    let path = options.control.display();
    let stream = UnixStream::connect(&options.control).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Exit::usage(format!(
            "no gateway answers at {path}: {error}; start one with `adit run`, or name its socket with --control"
        )),
        ErrorKind::PermissionDenied => {
            Exit::usage(format!("{path} belongs to another user: run this as the user that runs the gateway"))
        }
        _ => Exit::usage(format!("{path}: {error}")),
    })?;
    let mut session = Session::new(stream)?;
    if !options.command.is_empty() {
        return match session.run(&join(&options.command))?.success {
            true => Ok(()),
            false => Err(Exit::silent(FAILED)),
        };
    }
    if io::stdin().is_terminal() {
        return console::interact(session);
    }
    // As one paste: a command may go on over several lines, and whether it did is known only with the next.
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(u64::try_from(REQUEST_MAX).unwrap_or(u64::MAX))
        .read_to_string(&mut text)
        .map_err(|error| Exit::usage(format!("standard input: {error}")))?;
    let lines: Vec<&str> = text.lines().take_while(|line| !console::is_farewell(line)).collect();
    let request = Request::Line(lines.join("\n"));
    if request.write().len() > REQUEST_MAX {
        return Err(Exit::usage(format!("standard input holds more than {} KiB of commands", REQUEST_MAX >> 10)));
    }
    match session.run(&lines.join("\n"))?.success {
        true => Ok(()),
        false => Err(Exit::silent(FAILED)),
    }
}

/// A conversation with a gateway.
pub struct Session {
    stream: UnixStream,
    input: Vec<u8>,
    interrupts: Signals,
}

impl Session {
    /// Takes over a connected socket, and SIGINT with it.
    pub fn new(stream: UnixStream) -> Result<Self, Exit> {
        let interrupts = Signals::interrupts().map_err(|error| Exit::failed(format!("signals: {error}")))?;
        Ok(Self { stream, input: Vec::new(), interrupts })
    }

    /// Runs a line and prints its answers as they come. Ctrl-C stops the command; a second one stops waiting for it.
    pub fn run(&mut self, line: &str) -> Result<Done, Exit> {
        self.send(&Request::Line(line.to_owned()))?;
        // Ctrl-C from before is not meant for this command.
        while self.interrupts.next().is_some() {}
        let mut interrupted = false;
        loop {
            match self.receive()? {
                Some(Reply::Text(text)) => say(&text),
                Some(Reply::Done(done)) => return Ok(done),
                Some(Reply::Candidates { .. }) => {}
                Some(Reply::Error(error)) => return Err(Exit::failed(format!("the gateway says: {error}"))),
                None if interrupted => return Err(Exit::silent(INTERRUPTED)),
                None => {
                    interrupted = true;
                    self.send(&Request::Interrupt)?;
                }
            }
        }
    }

    /// What could stand at the cursor: where the word begins, the candidates, a hint.
    #[expect(clippy::type_complexity, reason = "it is the reply without its name")]
    pub fn complete(
        &mut self,
        line: &str,
        cursor: usize,
    ) -> Result<(usize, Vec<(String, String)>, Option<String>), Exit> {
        self.send(&Request::Complete { line: line.to_owned(), cursor })?;
        loop {
            match self.receive()? {
                Some(Reply::Candidates { start, candidates, hint }) => return Ok((start, candidates, hint)),
                Some(Reply::Error(error)) => return Err(Exit::failed(format!("the gateway says: {error}"))),
                Some(Reply::Text(_) | Reply::Done(_)) | None => {}
            }
        }
    }

    fn send(&mut self, request: &Request) -> Result<(), Exit> {
        self.stream.write_all(request.write().as_bytes()).map_err(|error| gone(&error))
    }

    /// The next answer; `None` for Ctrl-C.
    fn receive(&mut self) -> Result<Option<Reply>, Exit> {
        let mut chunk = [0; 16 * 1024];
        let mut seen = 0;
        loop {
            let end = self.input.iter().skip(seen).position(|byte| *byte == b'\n');
            if let Some(end) = end.map(|end| seen.saturating_add(end)) {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                return Reply::read(&line).map(Some).map_err(|error| {
                    Exit::failed(format!("the gateway does not speak this program's language: {error}"))
                });
            }
            seen = self.input.len();
            if seen > ANSWER_MAX {
                return Err(Exit::failed("the gateway's answer has no end"));
            }
            let (stream, interrupts) = (self.stream.as_fd(), self.interrupts.as_fd());
            let mut fds =
                [PollFd::from_borrowed_fd(stream, PollFlags::IN), PollFd::from_borrowed_fd(interrupts, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Exit::failed(format!("poll: {error}"))),
            }
            let ready = fds.map(|fd| !fd.revents().is_empty());
            if ready == [false, true] && self.interrupts.next().is_some() {
                return Ok(None);
            }
            if !ready.first().copied().unwrap_or(false) {
                continue;
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(gone(&ErrorKind::UnexpectedEof.into())),
                Ok(size) => self.input.extend_from_slice(chunk.get(..size).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(gone(&error)),
            }
        }
    }
}

fn gone(error: &io::Error) -> Exit {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
            Exit::failed("the gateway has gone away")
        }
        _ => Exit::failed(format!("the gateway cannot be reached: {error}")),
    }
}

/// Makes one line of the words that a shell has split and whose quotes it has taken away.
fn join(words: &[String]) -> String {
    if let [line] = words {
        return line.clone();
    }
    let quoted = |word: &String| {
        let needs_quotes = word.is_empty() || word.contains(|c: char| c.is_whitespace() || c == '"');
        if !needs_quotes {
            return word.clone();
        }
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        match word.split_once('=') {
            Some((name, value)) if !name.contains(char::is_whitespace) => format!("{name}=\"{}\"", escape(value)),
            _ => format!("\"{}\"", escape(word)),
        }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(words: &[&str]) -> String {
        join(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn quotes_that_the_shell_took_away_come_back() {
        assert_eq!(joined(&["show", "IPsecTunnel", "-all"]), "show IPsecTunnel -all");
        assert_eq!(joined(&["set", "PSK", "k", "Comments=two words"]), "set PSK k Comments=\"two words\"");
        assert_eq!(joined(&["set", "PSK", "k", "Comments=say \"x\""]), "set PSK k Comments=\"say \\\"x\\\"\"");
        assert_eq!(joined(&["add", "PSK", "two words"]), "add PSK \"two words\"");
        assert_eq!(joined(&["set", "X", "List="]), "set X List=");
    }

    #[test]
    fn a_line_in_one_word_is_left_as_it_is() {
        assert_eq!(joined(&["show IPsecTunnel \"a b\""]), "show IPsecTunnel \"a b\"");
    }
}
