//! A stub resolver: asks the host's name servers (`/etc/resolv.conf`) for the addresses of a name, and how long they are
//! good. `/etc/hosts` comes first. Its answers are checked by port, number and question; more is the business of the
//! host's own resolver, which is best a validating one nearby.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use engine::Resolved;
use rustix::rand::{GetRandomFlags, getrandom};
use wire::dns::{self, Answer, Kind};

const SERVERS: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
/// Servers that are asked (resolv.conf(5) has the same limit).
const SERVERS_MAX: usize = 3;
/// How often all of them are asked.
const ROUNDS: usize = 2;
/// How long one of them has to answer.
const SERVER_TIME: Duration = Duration::from_secs(2);
/// Largest file that is read.
const FILE_MAX: u64 = 1 << 20;
/// Largest answer over UDP without extensions (RFC 1035 section 4.2.1); ours may be larger all the same.
const DATAGRAM_MAX: usize = 4_096;
/// What stands in the hosts file is good for so long.
const HOSTS_TIME: Duration = Duration::from_secs(60);

/// Addresses of a name, IPv4 and IPv6.
pub fn resolve(name: &str, until: Instant) -> [Result<Resolved, String>; 2] {
    let listed = in_hosts(&read(HOSTS).unwrap_or_default(), name);
    if !listed.is_empty() {
        return [true, false].map(|v4| {
            let addresses = listed.iter().filter(|address| address.is_ipv4() == v4).copied().collect();
            Ok(Resolved { addresses, ttl: Some(HOSTS_TIME) })
        });
    }
    let servers = match read(SERVERS) {
        Ok(text) => servers(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => servers(""),
        Err(error) => return [0, 1].map(|_| Err(format!("{SERVERS} cannot be read: {error}"))),
    };
    [Kind::V4, Kind::V6].map(|kind| ask_all(&servers, name, kind, until))
}

/// Asks one server after the other until one says something.
fn ask_all(servers: &[SocketAddr], name: &str, kind: Kind, until: Instant) -> Result<Resolved, String> {
    let mut trouble = "there was no time to ask a name server".to_owned();
    for server in servers.iter().cycle().take(servers.len().saturating_mul(ROUNDS)) {
        let time = until.saturating_duration_since(Instant::now()).min(SERVER_TIME);
        if time.is_zero() {
            break;
        }
        match ask(*server, name, kind, Instant::now() + time) {
            Ok(resolved) => return Ok(resolved),
            Err(error) => trouble = format!("name server {}: {error}", server.ip()),
        }
    }
    Err(trouble)
}

fn ask(server: SocketAddr, name: &str, kind: Kind, until: Instant) -> io::Result<Resolved> {
    let mut id = [0; 2];
    getrandom(&mut id, GetRandomFlags::empty())?;
    let id = u16::from_ne_bytes(id);
    let question =
        dns::query(id, name, kind).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is no host name"))?;
    let answer = match over_udp(server, &question, until, |message| dns::answer(message, id, name, kind))? {
        Answer::Truncated => {
            let message = over_tcp(server, &question, until)?;
            dns::answer(&message, id, name, kind)
                .ok_or_else(|| io::Error::other("its answer is to another question"))?
        }
        answer => answer,
    };
    match answer {
        Answer::Addresses { addresses, ttl } => {
            Ok(Resolved { addresses, ttl: ttl.map(|seconds| Duration::from_secs(seconds.into())) })
        }
        Answer::Truncated => Err(io::Error::other("its answer is cut off even over TCP")),
        Answer::Refused(2) => Err(io::Error::other("it cannot find out (SERVFAIL)")),
        Answer::Refused(5) => Err(io::Error::other("it refuses to answer us (REFUSED)")),
        Answer::Refused(code) => Err(io::Error::other(format!("it answers with code {code}"))),
    }
}

/// The first datagram that is an answer; others are somebody's lies, or late.
fn over_udp(
    server: SocketAddr,
    question: &[u8],
    until: Instant,
    read: impl Fn(&[u8]) -> Option<Answer>,
) -> io::Result<Answer> {
    // The kernel chooses a port by chance, and hands out what comes from this server alone.
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.send(question)?;
    let mut buffer = [0; DATAGRAM_MAX];
    loop {
        socket.set_read_timeout(Some(left(until)?))?;
        match socket.recv(&mut buffer) {
            Ok(length) => {
                if let Some(answer) = buffer.get(..length).and_then(&read) {
                    return Ok(answer);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(late()),
            Err(error) => return Err(error),
        }
    }
}

/// A long answer (RFC 7766).
fn over_tcp(server: SocketAddr, question: &[u8], until: Instant) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, left(until)?)?;
    stream.set_write_timeout(Some(left(until)?))?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat())?;
    let mut message = Vec::new();
    let mut wanted = 2;
    let mut buffer = [0; DATAGRAM_MAX];
    while message.len() < wanted {
        stream.set_read_timeout(Some(left(until)?))?;
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(late()),
            Err(error) => return Err(error),
        };
        message.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if let Some(length) = message.first_chunk::<2>() {
            wanted = usize::from(u16::from_be_bytes(*length)) + 2;
        }
    }
    message.truncate(wanted);
    Ok(message.split_off(2))
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(late()) } else { Ok(left) }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it does not answer")
}

fn read(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The servers in a resolv.conf; without any the one on this host.
fn servers(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let word = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        // Of `fe80::1%eth0` the interface is left out: such a server cannot be asked.
        word.parse().ok().map(|address: IpAddr| SocketAddr::new(address, 53))
    };
    let found: Vec<SocketAddr> = text.lines().filter_map(address).take(SERVERS_MAX).collect();
    if found.is_empty() { vec![SocketAddr::from(([127, 0, 0, 1], 53))] } else { found }
}

/// Addresses of a name in a hosts file.
fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let of_line = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    text.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name server that answers each question once with `replies`, and hears questions over UDP.
    fn server(replies: fn(&[u8]) -> Vec<Vec<u8>>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                for reply in replies(&buffer[..length]) {
                    socket.send_to(&reply, from).unwrap();
                }
            }
        });
        address
    }

    fn found(question: &[u8]) -> Vec<u8> {
        let mut reply = question.to_vec();
        reply[2..4].copy_from_slice(&[0x81, 0x80]);
        reply[7] = 1;
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 90, 0, 4, 192, 0, 2, 1]);
        reply
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn an_answer_is_taken_and_a_lie_before_it_is_not() {
        let servers = [server(|question| {
            let mut lie = found(question);
            lie[0] ^= 1;
            *lie.last_mut().unwrap() = 66;
            vec![b"noise".to_vec(), lie, found(question)]
        })];
        let resolved = ask_all(&servers, "www.example.com", Kind::V4, soon()).unwrap();
        assert_eq!(resolved.addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(resolved.ttl, Some(Duration::from_secs(90)));
    }

    #[test]
    fn a_server_that_fails_hands_on_to_the_next() {
        let failing = server(|question| {
            let mut reply = question.to_vec();
            reply[2..4].copy_from_slice(&[0x81, 0x82]);
            vec![reply]
        });
        assert!(ask_all(&[failing, server(|question| vec![found(question)])], "a.example", Kind::V4, soon()).is_ok());
        let trouble = ask_all(&[failing], "a.example", Kind::V4, soon()).unwrap_err();
        assert!(trouble.contains("SERVFAIL"), "{trouble}");
    }

    #[test]
    fn a_silent_server_takes_no_longer_than_there_is_time() {
        let silent = server(|_| Vec::new());
        let begun = Instant::now();
        let trouble = ask_all(&[silent], "a.example", Kind::V4, begun + Duration::from_millis(50)).unwrap_err();
        assert!(trouble.contains("does not answer"), "{trouble}");
    }

    #[test]
    fn files_of_the_host_are_read_as_the_host_reads_them() {
        let conf =
            "# comment\nnameserver 192.0.2.53\nsearch example.com\nnameserver 2001:db8::53\nnameserver fe80::1%eth0\n";
        let read: Vec<String> = servers(conf).iter().map(ToString::to_string).collect();
        assert_eq!(read, ["192.0.2.53:53", "[2001:db8::53]:53"]);
        assert_eq!(servers("")[0].to_string(), "127.0.0.1:53");
        let hosts = "127.0.0.1 localhost\n192.0.2.7 files.example Backup.example # nas\n2001:db8::7 backup.example\n";
        assert_eq!(in_hosts(hosts, "backup.example").len(), 2);
        assert!(in_hosts(hosts, "nas").is_empty());
    }
}
