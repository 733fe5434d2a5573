//! What was changed, kept in a file while it is changed: a gateway that was killed could not put it back, the next one
//! can.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::store;

/// Larger files are none of ours, bytes.
const SIZE_MAX: u64 = 1 << 20;
/// Nothing else is ever written back, whatever a file says.
const SWITCHES: [&str; 6] = ["ip_forward", "forwarding", "accept_ra", "rp_filter", "disable_ipv6", "arp_ignore"];
/// Stands before the names of network cards that were switched on, as `<name>/on`: no file has this name.
pub const CARDS: &str = "/cards";

/// One switch that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where it is, below `/proc/sys/net`; or what stands for a network card, see [`CARDS`].
    pub path: PathBuf,
    /// What it was.
    pub before: String,
    /// What it was set to.
    pub after: String,
}

/// The file.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    /// Which boot and which network namespace the changes belong to: elsewhere they say nothing.
    host: String,
}

impl Record {
    /// The file at `path`, which need not exist.
    pub fn new(path: PathBuf) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = fs::read_link("/proc/self/ns/net").unwrap_or_default();
        Self { path, host: format!("{} {}", boot.trim(), namespace.display()) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes down all `changes`. Without any there is no file.
    pub fn save(&self, changes: &[Change]) -> io::Result<()> {
        if changes.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        store::replace(&self.path, &encode(&self.host, changes))
    }

    /// What an earlier gateway on this host wrote down. A file of another user is not believed.
    pub fn load(&self) -> Vec<Change> {
        let ours = |metadata: fs::Metadata| {
            metadata.is_file() && metadata.uid() == rustix::process::geteuid().as_raw() && metadata.len() <= SIZE_MAX
        };
        let mut text = String::new();
        let read = fs::symlink_metadata(&self.path).is_ok_and(ours)
            && File::open(&self.path).and_then(|file| file.take(SIZE_MAX).read_to_string(&mut text)).is_ok();
        if read { decode(&self.host, &text) } else { Vec::new() }
    }
}

fn encode(host: &str, changes: &[Change]) -> String {
    let mut text = format!("{host}\n");
    for Change { path, before, after } in changes {
        text.push_str(&format!("{} {before} {after}\n", path.display()));
    }
    text
}

fn decode(host: &str, text: &str) -> Vec<Change> {
    let mut lines = text.lines();
    if lines.next() != Some(host) {
        return Vec::new();
    }
    let change = |line: &str| {
        let mut words = line.split(' ');
        let (path, before, after) = (PathBuf::from(words.next()?), words.next()?, words.next()?);
        let number = |word: &str| !word.is_empty() && word.len() < 10 && word.bytes().all(|byte| byte.is_ascii_digit());
        let sound = words.next().is_none() && is_switch(&path) && number(before) && number(after);
        sound.then(|| Change { path, before: before.to_owned(), after: after.to_owned() })
    };
    lines.filter_map(change).collect()
}

/// The card that a path stands for.
pub fn card_of(path: &Path) -> Option<&str> {
    path.strip_prefix(CARDS).ok()?.parent()?.to_str()
}

fn is_switch(path: &Path) -> bool {
    if card_of(path).is_some_and(|card| !matches!(card, "" | "." | "..") && !card.contains('/')) {
        return path.file_name().is_some_and(|name| name == "on");
    }
    path.starts_with("/proc/sys/net")
        && path.components().all(|component| matches!(component, Component::RootDir | Component::Normal(_)))
        && path.file_name().is_some_and(|name| SWITCHES.iter().any(|switch| name == *switch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str) -> Change {
        Change { path: path.into(), before: "0".to_owned(), after: "1".to_owned() }
    }

    #[test]
    fn what_was_written_down_is_read_again_on_the_same_host_only() {
        let changes = [
            change("/proc/sys/net/ipv4/ip_forward"),
            change("/proc/sys/net/ipv6/conf/eth0.7/accept_ra"),
            change("/cards/eth1/on"),
        ];
        let text = encode("this", &changes);
        assert_eq!(decode("this", &text), changes);
        assert_eq!(decode("other", &text), []);
    }

    #[test]
    fn nothing_but_numbers_for_the_gateways_own_switches_is_believed() {
        for line in [
            "/proc/sys/kernel/core_pattern 0 1",
            "/proc/sys/net/ipv4/tcp_syncookies 0 1",
            "/proc/sys/net/../kernel/ip_forward 0 1",
            "/etc/ip_forward 0 1",
            "/cards/../on 0 1",
            "/cards/eth0/mtu 0 1",
            "/cards/eth0/x/on 0 1",
            "/proc/sys/net/ipv4/ip_forward |sh 1",
            "/proc/sys/net/ipv4/ip_forward 0",
            "/proc/sys/net/ipv4/ip_forward 0 1 2",
            "",
        ] {
            assert_eq!(decode("this", &format!("this\n{line}\n")), [], "{line}");
        }
    }
}
