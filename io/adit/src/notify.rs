//! Telling systemd how far we are (the protocol of sd_notify(3)): a datagram to the socket that it names.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says `state`, for example `READY=1`. Without systemd nothing happens; a failure concerns nobody.
pub fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    // A leading @ stands for the zero byte of an abstract address.
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = address
        .and_then(|address| UnixDatagram::unbound().and_then(|socket| socket.send_to_addr(state.as_bytes(), &address)));
    let _ = sent;
}
