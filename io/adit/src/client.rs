//! `adit cli`: an operator's end of the control socket.

use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use manage::Done;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

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
        return run_alone(&mut session, join(&options.command));
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
    run_alone(&mut session, lines.join("\n"))
}

/// Runs all that will ever be asked on this connection.
fn run_alone(session: &mut Session, text: String) -> Result<(), Exit> {
    let request = Request::LastLine(text);
    if request.write().len() > REQUEST_MAX {
        return Err(Exit::usage(format!("these are more than {} KiB of commands", REQUEST_MAX >> 10)));
    }
    match session.ask(&request, say)?.success {
        true => Ok(()),
        false => Err(Exit::silent(FAILED)),
    }
}

/// A conversation with a gateway.
pub struct Session {
    stream: UnixStream,
    input: Vec<u8>,
    interrupts: Signals,
    /// What the gateway has said of its own accord and nobody has seen.
    unseen: String,
}

/// Tells when there may be something to read, without holding the session.
pub struct Watch(UnixStream);

impl Watch {
    /// Waits for it.
    pub fn wait(&self) {
        // A signal or an error ends the wait too: whoever looks then finds nothing, or that the gateway has gone.
        let _ = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], None);
    }
}

impl Session {
    /// Takes over a connected socket, and SIGINT with it.
    pub fn new(stream: UnixStream) -> Result<Self, Exit> {
        let interrupts = Signals::interrupts().map_err(|error| Exit::failed(format!("signals: {error}")))?;
        Ok(Self { stream, input: Vec::new(), interrupts, unseen: String::new() })
    }

    /// Something to wait with for what the gateway says of its own accord.
    pub fn watch(&self) -> io::Result<Watch> {
        self.stream.try_clone().map(Watch)
    }

    /// What the gateway has said of its own accord; does not wait for more.
    pub fn announced(&mut self) -> Result<String, Exit> {
        let readable = |stream: &UnixStream| {
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
        };
        while readable(&self.stream) {
            self.fill()?;
        }
        while let Some(reply) = self.buffered(0)? {
            match reply {
                Reply::Text(text) => self.unseen.push_str(&text),
                Reply::Error(error) => return Err(refused(&error)),
                Reply::Done(_) | Reply::Candidates { .. } => {}
            }
        }
        Ok(std::mem::take(&mut self.unseen))
    }

    /// Runs a line and hands its answers on as they come. Ctrl-C stops the command; a second one stops waiting for it.
    pub fn run(&mut self, line: &str, print: impl FnMut(&str)) -> Result<Done, Exit> {
        self.ask(&Request::Line(line.to_owned()), print)
    }

    fn ask(&mut self, request: &Request, mut print: impl FnMut(&str)) -> Result<Done, Exit> {
        self.send(request)?;
        print(&std::mem::take(&mut self.unseen));
        // Ctrl-C from before is not meant for this command.
        while self.interrupts.next().is_some() {}
        let mut interrupted = false;
        loop {
            match self.receive()? {
                Some(Reply::Text(text)) => print(&text),
                Some(Reply::Done(done)) => return Ok(done),
                Some(Reply::Candidates { .. }) => {}
                Some(Reply::Error(error)) => return Err(refused(&error)),
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
                Some(Reply::Error(error)) => return Err(refused(&error)),
                Some(Reply::Text(text)) => self.unseen.push_str(&text),
                Some(Reply::Done(_)) | None => {}
            }
        }
    }

    fn send(&mut self, request: &Request) -> Result<(), Exit> {
        self.stream.write_all(request.write().as_bytes()).map_err(|error| gone(&error))
    }

    /// The next answer; `None` for Ctrl-C.
    fn receive(&mut self) -> Result<Option<Reply>, Exit> {
        let mut seen = 0;
        loop {
            if let Some(reply) = self.buffered(seen)? {
                return Ok(Some(reply));
            }
            seen = self.input.len();
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
            self.fill()?;
        }
    }

    /// The first answer that has come in whole. No line ends within the first `seen` bytes.
    fn buffered(&mut self, seen: usize) -> Result<Option<Reply>, Exit> {
        let end = self.input.iter().skip(seen).position(|byte| *byte == b'\n');
        let Some(end) = end.map(|end| seen.saturating_add(end)) else { return Ok(None) };
        let line: Vec<u8> = self.input.drain(..=end).collect();
        let reply = Reply::read(&line);
        reply
            .map(Some)
            .map_err(|error| Exit::failed(format!("the gateway does not speak this program's language: {error}")))
    }

    /// Reads what has come.
    fn fill(&mut self) -> Result<(), Exit> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Err(gone(&ErrorKind::UnexpectedEof.into())),
            Ok(size) => self.input.extend_from_slice(chunk.get(..size).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(gone(&error)),
        }
        match self.input.len() > ANSWER_MAX {
            true => Err(Exit::failed("the gateway's answer has no end")),
            false => Ok(()),
        }
    }
}

fn refused(error: &str) -> Exit {
    Exit::failed(format!("the gateway says: {error}"))
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

    #[test]
    fn what_the_gateway_says_of_its_own_accord_is_seen_once_and_before_the_next_answer() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut session = Session::new(ours).unwrap();
        let say = |reply: Reply| (&theirs).write_all(reply.write().as_bytes()).unwrap();
        let text = |text: &str| Reply::Text(text.to_owned());
        assert_eq!(session.announced().unwrap(), "");
        say(text("reverted\n"));
        session.watch().unwrap().wait();
        assert_eq!((session.announced().unwrap().as_str(), session.announced().unwrap().as_str()), ("reverted\n", ""));
        say(text("again\n"));
        say(Reply::Candidates { start: 0, candidates: Vec::new(), hint: None });
        session.complete("", 0).unwrap();
        say(text("answer\n"));
        say(Reply::Done(Done { success: true, prompt: String::new() }));
        let mut printed = String::new();
        session.run("show", |text| printed.push_str(text)).unwrap();
        assert_eq!(printed, "again\nanswer\n");
        drop(theirs);
        assert_eq!(session.announced().unwrap_err().message(), "the gateway has gone away");
    }

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
