//! A TCP transfer between two namespaces with the kernel's TCP.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::Checksum;

/// How long anything may take before the transfer counts as failed.
const WAIT: Duration = Duration::from_secs(20);
const CHUNK: usize = 64 * 1024;

/// Takes one connection and everything that it brings: the time from connection to end, the bytes, their checksum.
pub fn receive(listener: &TcpListener) -> io::Result<(Duration, u64, u32)> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(WAIT))?;
    let (started, mut total, mut checksum) = (Instant::now(), 0, Checksum::new());
    let mut chunk = vec![0; CHUNK];
    loop {
        let size = stream.read(&mut chunk)?;
        if size == 0 {
            return Ok((started.elapsed(), total, checksum.value()));
        }
        checksum.add(chunk.get(..size).unwrap_or_default());
        total += u64::try_from(size).unwrap_or(0);
    }
}

/// Connects and sends so many bytes; their checksum.
pub fn send(to: SocketAddr, bytes: u64) -> io::Result<u32> {
    let mut stream = TcpStream::connect_timeout(&to, WAIT)?;
    stream.set_write_timeout(Some(WAIT))?;
    let (mut checksum, mut state, mut left) = (Checksum::new(), 1_u64, bytes);
    let mut chunk = vec![0; CHUNK];
    while left > 0 {
        for word in chunk.chunks_mut(8) {
            // Xorshift: nothing repeats, so that nothing can be in the wrong place unnoticed.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(state.to_le_bytes().get(..word.len()).unwrap_or_default());
        }
        let size = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let part = chunk.get(..size).unwrap_or_default();
        checksum.add(part);
        stream.write_all(part)?;
        left = left.saturating_sub(u64::try_from(size).unwrap_or(0));
    }
    Ok(checksum.value())
}
