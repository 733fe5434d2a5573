//! The gateway's end of the control socket: operators come, ask, are answered and leave, and none of them can hold the
//! gateway up.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use manage::ClientId;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::epoll::{Epoll, Token};
use crate::exit::Exit;
use crate::protocol::{REQUEST_MAX, Reply, Request};

/// Operators at the same time; more are turned away.
const CLIENTS_MAX: usize = 16;
/// Requests that may wait while a command runs.
const WAITING_MAX: usize = 64;
/// Bytes taken from an operator before others get their turn.
const READ_MAX: usize = 16 * 1024;
/// Bytes sent to an operator before others get their turn.
const WRITE_MAX: usize = 256 * 1024;
/// Text is sent in pieces of this size, bytes, so that whoever reads can print while the rest is on its way.
const PIECE: usize = 32 * 1024;
/// Bytes of answers with which an operator's next command waits, and with which it goes on.
const OUTPUT_FULL: usize = 256 * 1024;
const OUTPUT_ROOM: usize = 64 * 1024;
/// Bytes of answers that may wait for an operator who reads none of them.
const OUTPUT_MAX: usize = 8 << 20;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;

/// What comes from an operator.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// A request to be carried out now.
    Request(ClientId, Request),
    /// So much waits to be read by the operator that its commands should wait too.
    Full(ClientId),
    /// Most of that has been read.
    Room(ClientId),
    /// The operator has left, or was made to.
    Left(ClientId),
    /// The operator was disconnected, and why.
    Dropped(ClientId, &'static str),
}

/// The listening socket and the operators.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    /// The socket has been taken away.
    closed: bool,
    listen_token: Token,
    clients: BTreeMap<u64, Client>,
    /// The token of the next client, which is its number too. Never reused.
    next: u64,
}

struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    /// Bytes of `input` that are known to hold no end of a line.
    seen: usize,
    output: VecDeque<u8>,
    /// [`News::Full`] has been told, and [`News::Room`] has not.
    full: bool,
    /// It has taken bytes since it was last told something.
    takes: bool,
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
        let listener = listen(path).map_err(fail)?;
        let clients = BTreeMap::new();
        let control =
            Self { listener, path: path.to_owned(), closed: false, listen_token, clients, next: first_client };
        epoll.add(&control, listen_token).map_err(fail)?;
        Ok(control)
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

    /// Hands on a request of each operator whose last one has been answered, one in each turn of the loop.
    pub fn turn(&mut self, news: &mut Vec<News>) {
        for (number, client) in self.clients.iter_mut().filter(|(_, client)| client.wants_turn()) {
            client.next_request(ClientId(*number), news);
        }
    }

    /// True when [`Self::turn`] has something to hand on.
    pub fn wants_turn(&self) -> bool {
        self.clients.values().any(Client::wants_turn)
    }

    /// Sends an answer. After a `Done` the operator's next request has its turn.
    pub fn reply(&mut self, id: ClientId, reply: &Reply, epoll: &Epoll, news: &mut Vec<News>) {
        let Some(client) = self.clients.get_mut(&id.0) else { return };
        if matches!(reply, Reply::Done(_) | Reply::Candidates { .. }) {
            client.busy = false;
        }
        let outcome = client.tell(reply);
        self.settle(id, outcome, epoll, news);
    }

    /// Takes the socket away, so that nobody waits for an answer.
    pub fn close(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            let _ = fs::remove_file(&self.path);
        }
    }

    fn accept(&mut self, epoll: &Epoll) {
        for _ in 0..CLIENTS_MAX {
            let Ok((mut stream, _)) = self.listener.accept() else { return };
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
                        seen: 0,
                        output: VecDeque::new(),
                        full: false,
                        takes: false,
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
                let size = client.output.len();
                if !client.full && size > OUTPUT_FULL {
                    client.full = true;
                    news.push(News::Full(id));
                } else if client.full && size <= OUTPUT_ROOM {
                    client.full = false;
                    news.push(News::Room(id));
                }
                let wanted = size > 0;
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

/// A gateway that goes, or that could not start, leaves no socket behind.
impl Drop for Control {
    fn drop(&mut self) {
        self.close();
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
    /// Takes in one piece; the rest comes with the next turn of the loop.
    fn read(&mut self, id: ClientId, news: &mut Vec<News>) -> Result<(), Leave> {
        let mut chunk = [0; READ_MAX];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Err(Leave::Closed),
            Ok(size) => self.input.extend_from_slice(chunk.get(..size).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Err(_) => return Err(Leave::Closed),
        }
        while let Some(end) = self.input.iter().skip(self.seen).position(|byte| *byte == b'\n') {
            let end = self.seen.saturating_add(end);
            self.seen = 0;
            let line: Vec<u8> = self.input.drain(..=end).collect();
            match Request::read(&line) {
                // An interrupt overtakes what waits, and takes it along, but not the oldest: that one gets its answer.
                Ok(Request::Interrupt) => {
                    self.next_request(id, news);
                    self.waiting.clear();
                    if !matches!(news.last(), Some(News::Request(of, Request::Interrupt)) if *of == id) {
                        news.push(News::Request(id, Request::Interrupt));
                    }
                }
                Ok(request) => self.waiting.push_back(request),
                Err(_) => return Err(Leave::Dropped("it does not speak the control protocol")),
            }
            if self.waiting.len() > WAITING_MAX {
                return Err(Leave::Dropped("it sends requests without waiting for answers"));
            }
        }
        self.seen = self.input.len();
        if self.seen > REQUEST_MAX {
            return Err(Leave::Dropped("its request is longer than 1 MiB"));
        }
        Ok(())
    }

    fn wants_turn(&self) -> bool {
        !self.busy && !self.full && !self.waiting.is_empty()
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

    /// Tells the operator something, unless it does not listen: what one command answers may be large, and waits for a
    /// slow reader, but more is not added for one that takes nothing.
    fn tell(&mut self, reply: &Reply) -> Result<(), Leave> {
        if !matches!(reply, Reply::Done(_)) {
            if self.output.len() > OUTPUT_MAX && !self.takes {
                return Err(Leave::Dropped("it does not read its answers"));
            }
            self.takes = false;
        }
        match reply {
            Reply::Text(text) => {
                for piece in pieces(text) {
                    self.output.extend(Reply::Text(piece.to_owned()).write().as_bytes());
                }
                self.write()
            }
            reply => self.send(reply),
        }
    }

    fn send(&mut self, reply: &Reply) -> Result<(), Leave> {
        self.output.extend(reply.write().as_bytes());
        self.write()
    }

    fn write(&mut self) -> Result<(), Leave> {
        let mut sent = 0_usize;
        while !self.output.is_empty() && sent < WRITE_MAX {
            match self.stream.write(self.output.as_slices().0) {
                Ok(size) => {
                    self.output.drain(..size);
                    self.takes |= size > 0;
                    sent = sent.saturating_add(size);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Leave::Closed),
            }
        }
        Ok(())
    }
}

/// Cuts a text into pieces that are sent one by one.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let cut = (0..=PIECE.min(text.len())).rev().find(|at| text.is_char_boundary(*at))?;
        let (piece, rest) = text.split_at_checked(cut)?;
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// A listening socket for this user alone. Its mode is set before it has a name: nobody connects in between, and no link
/// is followed.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(0o600))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
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
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|error| Exit::failed(format!("{}, left behind, cannot be removed: {error}", path.display()))),
        Err(error) => Err(Exit::failed(format!(
            "{} exists, and whether a gateway listens there cannot be told: {error}; remove it, or name another place \
             with --control",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
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
                self.control.turn(&mut news);
            }
        }

        fn reply(&mut self, id: ClientId, reply: &Reply) -> Vec<News> {
            let mut news = Vec::new();
            self.control.reply(id, reply, &self.epoll, &mut news);
            self.control.turn(&mut news);
            news
        }

        fn connect(&self) -> UnixStream {
            UnixStream::connect(self.control.path()).unwrap()
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
        assert_eq!(news.remove(0), News::Full(ClientId(100)));
        assert_eq!(news, [News::Dropped(ClientId(100), "it does not read its answers"), News::Left(ClientId(100))]);
        drop(client);
    }

    #[test]
    fn an_answer_of_any_size_reaches_a_client_that_reads() {
        let mut bench = Bench::new("large");
        let mut client = bench.connect();
        client.write_all(line("all").write().repeat(2).as_bytes()).unwrap();
        let id = ClientId(100);
        assert_eq!(bench.news(), [News::Request(id, line("all"))]);
        let text = "\u{e4}".repeat(6 << 20);
        assert_eq!(bench.reply(id, &Reply::Text(text.clone())), [News::Full(id)]);
        // The next request waits until this is read.
        assert_eq!(bench.reply(id, &done()), []);
        let reading = std::thread::spawn(move || {
            let mut lines = io::BufRead::lines(io::BufReader::new(client));
            let mut read = String::new();
            loop {
                match Reply::read(lines.next().unwrap().unwrap().as_bytes()).unwrap() {
                    Reply::Text(piece) => read.push_str(&piece),
                    _ => return (read, lines),
                }
            }
        });
        assert_eq!(bench.news(), [News::Room(id), News::Request(id, line("all"))]);
        assert!(reading.join().unwrap().0 == text);
    }

    #[test]
    fn a_flood_of_interrupts_is_one_and_others_get_their_turn() {
        let mut bench = Bench::new("flood");
        let (mut flooder, mut other) = (bench.connect(), bench.connect());
        bench.news();
        flooder.write_all(Request::Interrupt.write().repeat(5_000).as_bytes()).unwrap();
        other.write_all(line("one").write().as_bytes()).unwrap();
        let mut news = Vec::new();
        for token in [Token(100), Token(101)] {
            bench.control.ready(token, &bench.epoll, &mut news);
        }
        bench.control.turn(&mut news);
        let expected = [News::Request(ClientId(100), Request::Interrupt), News::Request(ClientId(101), line("one"))];
        assert_eq!(news, expected);
    }

    #[test]
    fn a_client_hands_on_one_request_in_a_turn() {
        let mut bench = Bench::new("turns");
        let mut client = bench.connect();
        bench.news();
        client.write_all(line("x").write().repeat(60).as_bytes()).unwrap();
        let (id, mut news) = (ClientId(100), Vec::new());
        bench.control.ready(Token(100), &bench.epoll, &mut news);
        for _ in 0..60 {
            assert!(bench.control.wants_turn() && news.is_empty());
            bench.control.turn(&mut news);
            assert_eq!(std::mem::take(&mut news), [News::Request(id, line("x"))]);
            bench.control.reply(id, &done(), &bench.epoll, &mut news);
        }
        assert!(!bench.control.wants_turn());
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
    fn what_is_no_socket_left_behind_is_never_removed() {
        let path = std::env::temp_dir().join(format!("adit-control-file-{}", std::process::id()));
        fs::write(&path, "precious").unwrap();
        assert!(remove_stale(&path).is_err());
        fs::remove_file(&path).unwrap();
        // A socket that answers otherwise than by refusing: this one takes no streams.
        let datagrams = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        assert!(remove_stale(&path).is_err() && path.exists());
        fs::remove_file(&path).unwrap();
        drop(datagrams);
    }

    #[test]
    fn a_gateway_that_does_not_start_leaves_no_socket() {
        let bench = Bench::new("unstarted");
        let path = bench.control.path().to_owned();
        assert!(path.exists());
        drop(bench.control);
        assert!(!path.exists());
    }

    #[test]
    fn only_its_owner_may_use_the_socket() {
        let bench = Bench::new("mode");
        assert_eq!(fs::metadata(bench.control.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
