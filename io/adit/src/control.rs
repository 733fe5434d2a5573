//! The gateway's end of the control socket: operators come, ask, are answered and leave, and none of them can hold the
//! gateway up.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use manage::ClientId;

use crate::epoll::{Epoll, Token};
use crate::exit::Exit;
use crate::protocol::{REQUEST_MAX, Reply, Request};

/// Operators at the same time; more are turned away.
const CLIENTS_MAX: usize = 16;
/// Requests that may wait while a command runs.
const WAITING_MAX: usize = 64;
/// Bytes of answers that may wait for a slow reader.
const OUTPUT_MAX: usize = 8 << 20;

/// What comes from an operator.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// A request to be carried out now.
    Request(ClientId, Request),
    /// The operator has left, or was made to.
    Left(ClientId),
    /// The operator was disconnected, and why.
    Dropped(ClientId, &'static str),
}

/// The listening socket and the operators.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    listen_token: Token,
    clients: BTreeMap<u64, Client>,
    /// The token of the next client, which is its number too. Never reused.
    next: u64,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    output: VecDeque<u8>,
    /// A line has been handed on and has not ended.
    busy: bool,
    waiting: VecDeque<Request>,
    wants_write: bool,
}

impl Control {
    /// Opens the socket at `path`, for this user alone. Clients get tokens from `first_client` on.
    pub fn open(path: &Path, epoll: &Epoll, listen_token: Token, first_client: u64) -> Result<Self, Exit> {
        let fail = |error: io::Error| {
            Exit::failed(format!(
                "the control socket {} cannot be made: {error}; name another place with --control",
                path.display()
            ))
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail)?;
        }
        remove_stale(path)?;
        // Nobody may connect between bind and chmod.
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(path);
        rustix::process::umask(before);
        let listener = listener.map_err(fail)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        epoll.add(&listener, listen_token).map_err(fail)?;
        Ok(Self { listener, path: path.to_owned(), listen_token, clients: BTreeMap::new(), next: first_client })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does what there is to do for `token` and puts what comes of it into `news`.
    pub fn ready(&mut self, token: Token, epoll: &Epoll, news: &mut Vec<News>) {
        if token == self.listen_token {
            self.accept(epoll);
        } else if let Some(client) = self.clients.get_mut(&token.0) {
            let id = ClientId(token.0);
            let outcome = client.write().and_then(|()| client.read(id, news));
            self.settle(id, outcome, epoll, news);
        }
    }

    /// Sends an answer. A `Done` lets the operator's next request through.
    pub fn reply(&mut self, id: ClientId, reply: &Reply, epoll: &Epoll, news: &mut Vec<News>) {
        let Some(client) = self.clients.get_mut(&id.0) else { return };
        let mut outcome = client.send(reply);
        if matches!(reply, Reply::Done(_) | Reply::Candidates { .. }) {
            client.busy = false;
            client.next_request(id, news);
        }
        if outcome.is_ok() && client.output.len() > OUTPUT_MAX {
            outcome = Err(Leave::Dropped("it does not read its answers"));
        }
        self.settle(id, outcome, epoll, news);
    }

    /// Takes the socket away, so that nobody waits for an answer.
    pub fn close(&self) {
        let _ = fs::remove_file(&self.path);
    }

    fn accept(&mut self, epoll: &Epoll) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            if self.clients.len() >= CLIENTS_MAX {
                let _ =
                    stream.write_all(Reply::Error("too many operators; end a session".to_owned()).write().as_bytes());
                continue;
            }
            let number = self.next;
            if stream.set_nonblocking(true).is_ok() && epoll.add(&stream, Token(number)).is_ok() {
                self.next += 1;
                self.clients.insert(
                    number,
                    Client {
                        stream,
                        input: Vec::new(),
                        output: VecDeque::new(),
                        busy: false,
                        waiting: VecDeque::new(),
                        wants_write: false,
                    },
                );
            }
        }
    }

    fn settle(&mut self, id: ClientId, outcome: Result<(), Leave>, epoll: &Epoll, news: &mut Vec<News>) {
        let Some(client) = self.clients.get_mut(&id.0) else { return };
        match outcome {
            Ok(()) => {
                let wanted = !client.output.is_empty();
                if wanted != client.wants_write && epoll.want_write(&client.stream, Token(id.0), wanted).is_ok() {
                    client.wants_write = wanted;
                }
            }
            Err(leave) => {
                if let Leave::Dropped(reason) = leave {
                    // The client may be past reading; what fits its buffer is sent.
                    let _ = client.send(&Reply::Error(reason.to_owned()));
                    news.push(News::Dropped(id, reason));
                }
                epoll.remove(&client.stream);
                self.clients.remove(&id.0);
                news.push(News::Left(id));
            }
        }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Why a client goes.
enum Leave {
    /// It closed its end.
    Closed,
    /// It was sent away.
    Dropped(&'static str),
}

impl Client {
    fn read(&mut self, id: ClientId, news: &mut Vec<News>) -> Result<(), Leave> {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Leave::Closed),
                Ok(size) => self.input.extend_from_slice(chunk.get(..size).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Leave::Closed),
            }
            while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                match Request::read(&line) {
                    // An interrupt overtakes what waits, and takes it along.
                    Ok(Request::Interrupt) => {
                        self.waiting.clear();
                        news.push(News::Request(id, Request::Interrupt));
                    }
                    Ok(request) => self.waiting.push_back(request),
                    Err(_) => return Err(Leave::Dropped("it does not speak the control protocol")),
                }
                if self.waiting.len() > WAITING_MAX {
                    return Err(Leave::Dropped("it sends requests without waiting for answers"));
                }
                self.next_request(id, news);
            }
            if self.input.len() > REQUEST_MAX {
                return Err(Leave::Dropped("its request is longer than 1 MiB"));
            }
        }
    }

    /// Hands the next request on, unless one is under way.
    fn next_request(&mut self, id: ClientId, news: &mut Vec<News>) {
        if self.busy {
            return;
        }
        if let Some(request) = self.waiting.pop_front() {
            self.busy = true;
            news.push(News::Request(id, request));
        }
    }

    fn send(&mut self, reply: &Reply) -> Result<(), Leave> {
        self.output.extend(reply.write().as_bytes());
        self.write()
    }

    fn write(&mut self) -> Result<(), Leave> {
        while !self.output.is_empty() {
            match self.stream.write(self.output.as_slices().0) {
                Ok(size) => {
                    self.output.drain(..size);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Leave::Closed),
            }
        }
        Ok(())
    }
}

/// Removes a socket on which nobody listens any more. One that answers belongs to another gateway.
fn remove_stale(path: &Path) -> Result<(), Exit> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(Exit::failed(format!(
            "{} exists and is no socket; name another place with --control",
            path.display()
        )));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(Exit::failed(format!(
            "a gateway runs already with the control socket {}; stop it, or name another place with --control",
            path.display()
        ))),
        Err(_) => fs::remove_file(path)
            .map_err(|error| Exit::failed(format!("{}, left behind, cannot be removed: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    struct Bench {
        control: Control,
        epoll: Epoll,
        ready: Vec<Token>,
    }

    impl Bench {
        fn new(name: &str) -> Self {
            let epoll = Epoll::new().unwrap();
            let path = std::env::temp_dir().join(format!("adit-control-{name}-{}.sock", std::process::id()));
            let control = Control::open(&path, &epoll, Token(1), 100).unwrap();
            Self { control, epoll, ready: Vec::new() }
        }

        /// What comes until nothing more does.
        fn news(&mut self) -> Vec<News> {
            let mut news = Vec::new();
            loop {
                self.epoll.wait(Some(Duration::from_millis(50)), &mut self.ready).unwrap();
                if self.ready.is_empty() {
                    return news;
                }
                for token in self.ready.clone() {
                    self.control.ready(token, &self.epoll, &mut news);
                }
            }
        }

        fn reply(&mut self, id: ClientId, reply: &Reply) -> Vec<News> {
            let mut news = Vec::new();
            self.control.reply(id, reply, &self.epoll, &mut news);
            news
        }

        fn connect(&self) -> UnixStream {
            UnixStream::connect(self.control.path()).unwrap()
        }
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            self.control.close();
        }
    }

    fn line(text: &str) -> Request {
        Request::Line(text.to_owned())
    }

    fn done() -> Reply {
        Reply::Done(manage::Done { success: true, prompt: String::new() })
    }

    #[test]
    fn a_second_line_waits_until_the_first_is_done() {
        let mut bench = Bench::new("order");
        let mut client = bench.connect();
        client.write_all(format!("{}{}", line("one").write(), line("two").write()).as_bytes()).unwrap();
        let id = ClientId(100);
        assert_eq!(bench.news(), [News::Request(id, line("one"))]);
        assert_eq!(bench.reply(id, &Reply::Text("x\n".to_owned())), []);
        assert_eq!(bench.reply(id, &done()), [News::Request(id, line("two"))]);
    }

    #[test]
    fn an_interrupt_overtakes_the_lines_that_wait() {
        let mut bench = Bench::new("interrupt");
        let mut client = bench.connect();
        for request in [line("ping"), line("commit"), Request::Interrupt] {
            client.write_all(request.write().as_bytes()).unwrap();
        }
        let id = ClientId(100);
        assert_eq!(bench.news(), [News::Request(id, line("ping")), News::Request(id, Request::Interrupt)]);
        assert_eq!(bench.reply(id, &done()), []);
    }

    #[test]
    fn a_client_that_does_not_read_is_dropped_and_never_waited_for() {
        let mut bench = Bench::new("slow");
        let client = bench.connect();
        assert_eq!(bench.news(), []);
        let text = Reply::Text("x".repeat(1 << 20));
        let mut news = Vec::new();
        for _ in 0..20 {
            news.extend(bench.reply(ClientId(100), &text));
        }
        assert_eq!(news, [News::Dropped(ClientId(100), "it does not read its answers"), News::Left(ClientId(100))]);
        drop(client);
    }

    #[test]
    fn a_request_without_end_is_refused() {
        let mut bench = Bench::new("long");
        let mut client = bench.connect();
        // It fails when the gateway hangs up.
        let writing = std::thread::spawn(move || client.write_all(&vec![b'x'; REQUEST_MAX + 500_000]));
        let news = bench.news();
        assert!(writing.join().unwrap().is_err());
        assert_eq!(news, [News::Dropped(ClientId(100), "its request is longer than 1 MiB"), News::Left(ClientId(100))]);
    }

    #[test]
    fn a_client_that_leaves_is_forgotten() {
        let mut bench = Bench::new("leave");
        drop(bench.connect());
        assert_eq!(bench.news(), [News::Left(ClientId(100))]);
        assert_eq!(bench.reply(ClientId(100), &done()), []);
    }

    #[test]
    fn operators_beyond_the_limit_are_told_so() {
        let mut bench = Bench::new("limit");
        let clients: Vec<UnixStream> = (0..=CLIENTS_MAX).map(|_| bench.connect()).collect();
        assert_eq!(bench.news(), []);
        let mut text = String::new();
        clients.last().unwrap().read_to_string(&mut text).unwrap();
        assert!(text.contains("too many operators"), "{text}");
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_a_living_one_is_not() {
        let bench = Bench::new("stale");
        let path = bench.control.path().to_owned();
        assert!(remove_stale(&path).is_err());
        drop(UnixListener::bind(path.with_extension("dead")).unwrap());
        assert!(remove_stale(&path.with_extension("dead")).is_ok());
        assert!(!path.with_extension("dead").exists());
    }

    #[test]
    fn only_its_owner_may_use_the_socket() {
        let bench = Bench::new("mode");
        assert_eq!(fs::metadata(bench.control.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
