//! Echo requests from a namespace, without needing a program for it.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto, socket_with};

use super::Echoes;
use crate::exit::Exit;

/// How long an answer may take.
const WAIT: Duration = Duration::from_secs(3);
/// What the requests carry, bytes.
const SIZE: usize = 56;

/// Pings from the namespace that this thread is in.
pub fn ping(to: Ipv4Addr, count: u32, interval: Duration) -> Result<Echoes, Exit> {
    let failed = |error: rustix::io::Errno| Exit::failed(format!("ping: {error}"));
    let socket = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::ICMP));
    let socket = socket.map_err(failed)?;
    let target = SocketAddr::V4(SocketAddrV4::new(to, 0));
    let mut echoes = Echoes::default();
    for sequence in 0..count {
        let sequence = u16::try_from(sequence).unwrap_or(u16::MAX);
        let sent_at = Instant::now();
        // The first may be refused while a route is still on its way.
        let _ = sendto(&socket, &request(sequence), SendFlags::empty(), &target);
        echoes.sent += 1;
        if answered(&socket, to, sequence, sent_at).map_err(failed)? {
            let took = sent_at.elapsed();
            echoes.answered += 1;
            let (slowest, fastest) = echoes.round_trip.unwrap_or((took, took));
            echoes.round_trip = Some((slowest.max(took), fastest.min(took)));
        }
        std::thread::sleep(interval.saturating_sub(sent_at.elapsed()));
    }
    Ok(echoes)
}

fn answered(socket: &OwnedFd, from: Ipv4Addr, sequence: u16, sent_at: Instant) -> rustix::io::Result<bool> {
    let mut packet = [0; 1_500];
    loop {
        let left = WAIT.saturating_sub(sent_at.elapsed());
        let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
        if poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&timeout))? == 0 {
            return Ok(false);
        }
        let (size, _) = recv(socket, packet.as_mut_slice(), RecvFlags::empty())?;
        // A raw socket delivers the IP header too, 20 bytes without options.
        let answer = packet.get(20..size).unwrap_or_default();
        let source = packet.get(12..16);
        if source == Some(&from.octets())
            && answer.first() == Some(&0)
            && answer.get(6..8) == Some(&sequence.to_be_bytes())
        {
            return Ok(true);
        }
    }
}

/// An echo request (RFC 792).
fn request(sequence: u16) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0xad, 0x17];
    message.extend(sequence.to_be_bytes());
    message.resize(8 + SIZE, 0x2a);
    let sum = message.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    });
    let mut sum: u32 = sum.sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).unwrap_or(0);
    if let Some(place) = message.get_mut(2..4) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
    message
}
