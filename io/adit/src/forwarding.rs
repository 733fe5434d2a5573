//! The kernel's switches that a gateway depends on: forwarding, the check of where packets may come from, and silence on
//! the network cards that the gateway owns.

mod record;
mod silence;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::nic::Nic;
use record::{Change, Record};

/// Every interface's reverse path filter is the larger of its own and this one.
const SOURCE_CHECK: &str = "/proc/sys/net/ipv4/conf/all/rp_filter";
/// What this setting means: the way back to the sender leads over any interface.
const LOOSE: &str = "2";

/// Switches that have been changed, and what they were.
#[derive(Debug, Default)]
pub struct Forwarding {
    /// In the order of the changes.
    changes: Vec<Change>,
    record: Option<Record>,
    /// What has been said is not said again.
    told: BTreeSet<PathBuf>,
}

/// What became of one switch.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Packets are forwarded.
    Forwarding {
        /// As sysctl(8) names it.
        sysctl: String,
        /// To this.
        value: &'static str,
    },
    /// Packets with somebody else's source address are dropped.
    SourceCheck {
        /// As sysctl(8) names it.
        sysctl: String,
        /// To this.
        value: &'static str,
    },
    /// Interfaces where the host's administrator wants the check to be loose.
    LooseSourceCheck {
        /// Their names, with commas.
        interfaces: String,
    },
    /// A switch could not be set.
    Refused {
        /// As sysctl(8) names it.
        sysctl: String,
        /// To this.
        value: &'static str,
        /// Why.
        reason: String,
    },
    /// The changes could not be written down.
    Unrecorded {
        /// Where.
        file: String,
        /// Why.
        reason: String,
    },
}

impl Forwarding {
    /// Takes over what the file `record` says that an earlier gateway changed and did not put back, as if it had been
    /// changed now: it goes back at the end. What somebody has changed since then is left out.
    pub fn take_over(record: PathBuf) -> Self {
        let record = Record::new(record);
        let mut changes = record.load();
        changes.retain(is_in_force);
        Self { changes, record: Some(record), told: BTreeSet::new() }
    }

    /// How many switches are changed.
    pub fn changed(&self) -> usize {
        self.changes.len()
    }

    /// Makes the kernel forward packets of a family, if it does not yet, and before that drop those of IPv4 whose source
    /// address belongs to another interface: the kernel, not the gateway, forwards what comes in clear text. It has no
    /// such check for IPv6.
    pub fn enable(&mut self, ipv6: bool) -> Vec<Outcome> {
        if !ipv6 {
            let mut outcomes = self.check_sources();
            outcomes.extend(self.set(Path::new("/proc/sys/net/ipv4/ip_forward"), "1", forwarding));
            return outcomes;
        }
        let switch = Path::new("/proc/sys/net/ipv6/conf/all/forwarding");
        if read(switch).as_deref() == Some("1") {
            return Vec::new();
        }
        let mut outcomes = self.keep_router_advertisements();
        outcomes.extend(self.set(switch, "1", forwarding));
        outcomes
    }

    /// An interface whose own setting is loose stays so, because routes of a host may well be asymmetric: that is said.
    fn check_sources(&mut self) -> Vec<Outcome> {
        let switch = Path::new(SOURCE_CHECK);
        let mut outcomes = Vec::new();
        if read(switch).as_deref() == Some("0") {
            outcomes = self.set(switch, "1", |sysctl, value| Outcome::SourceCheck { sysctl, value });
        }
        let all_are_loose = read(switch).as_deref() == Some(LOOSE);
        let mut names = Vec::new();
        for (name, folder) in interfaces("/proc/sys/net/ipv4/conf") {
            let path = folder.join("rp_filter");
            // Those to come are judged when they have come.
            if name != "default" && (all_are_loose || read(&path).as_deref() == Some(LOOSE)) && self.told.insert(path) {
                names.push(name);
            }
        }
        if !names.is_empty() {
            outcomes.push(Outcome::LooseSourceCheck { interfaces: names.join(",") });
        }
        outcomes
    }

    /// A host that forwards stops believing router advertisements, and would lose its own default route, unless each
    /// interface is told to go on. All that are changed make one outcome.
    fn keep_router_advertisements(&mut self) -> Vec<Outcome> {
        let (mut names, mut outcomes) = (Vec::new(), Vec::new());
        for (name, folder) in interfaces("/proc/sys/net/ipv6/conf") {
            let accept = folder.join("accept_ra");
            if read(&accept).as_deref() != Some("1") {
                continue;
            }
            for outcome in self.set(&accept, "2", forwarding) {
                match outcome {
                    Outcome::Forwarding { .. } => names.push(name.clone()),
                    outcome => outcomes.push(outcome),
                }
            }
        }
        if !names.is_empty() {
            outcomes.push(forwarding(format!("net.ipv6.conf.{{{}}}.accept_ra", names.join(",")), "2"));
        }
        outcomes
    }

    /// Prepares the TUN device, whose switches go away with it: packets may come in whose way back leads elsewhere,
    /// because the gateway checks the reverse route itself, also from the kernel's own addresses, under which the gateway
    /// reports errors to hosts; and the kernel makes up no IPv6 address for it, which would only make it ask for routers
    /// there. Returns what was refused.
    pub fn prepare_tun(tun: &str) -> Vec<Outcome> {
        let mut passing = Self::default();
        let reverse_path = Path::new("/proc/sys/net/ipv4/conf").join(tun).join("rp_filter");
        let own_sources = Path::new("/proc/sys/net/ipv4/conf").join(tun).join("accept_local");
        let addresses = Path::new("/proc/sys/net/ipv6/conf").join(tun).join("addr_gen_mode");
        let mut outcomes = passing.set(&reverse_path, LOOSE, forwarding);
        outcomes.extend(passing.set(&own_sources, "1", forwarding));
        if addresses.exists() {
            outcomes.extend(passing.set(&addresses, "1", forwarding));
        }
        outcomes.retain(|outcome| matches!(outcome, Outcome::Refused { .. }));
        outcomes
    }

    /// Puts everything back as it was, last things first, except what somebody else has changed since.
    pub fn restore(&mut self) {
        put_back(&std::mem::take(&mut self.changes));
        if let Some(record) = &self.record {
            // Without a file there is nothing to be taken over; one that stays says what is no longer in force.
            let _ = record.save(&[]);
        }
    }

    /// Sets a switch, after what it was has been written down. `done` makes the outcome of success.
    fn set(
        &mut self,
        path: &Path,
        value: &'static str,
        done: impl FnOnce(String, &'static str) -> Outcome,
    ) -> Vec<Outcome> {
        let before = read(path);
        if before.as_deref() == Some(value) {
            return Vec::new();
        }
        let known = self.changes.len();
        let mut outcomes = Vec::new();
        if let Some(before) = before
            && !self.changes.iter().any(|change| change.path == path)
        {
            self.changes.push(Change { path: path.to_owned(), before, after: value.to_owned() });
            outcomes.extend(self.write_down());
        }
        let sysctl = name(path);
        match write(path, value) {
            Ok(()) => outcomes.push(done(sysctl, value)),
            Err(error) => {
                self.changes.truncate(known);
                outcomes.extend(self.write_down());
                if self.told.insert(path.to_owned()) {
                    outcomes.push(Outcome::Refused { sysctl, value, reason: error.to_string() });
                }
            }
        }
        outcomes
    }

    fn write_down(&mut self) -> Option<Outcome> {
        let record = self.record.as_ref()?;
        let error = record.save(&self.changes).err()?;
        self.told
            .insert(record.path().to_owned())
            .then(|| Outcome::Unrecorded { file: record.path().display().to_string(), reason: error.to_string() })
    }
}

fn forwarding(sysctl: String, value: &'static str) -> Outcome {
    Outcome::Forwarding { sysctl, value }
}

/// The host's interfaces with their folders of switches, in the order of their names: without the loopback interface,
/// without TUN devices of ours, but with `default`, which stands for those to come.
fn interfaces(folder: &str) -> Vec<(String, PathBuf)> {
    let mut interfaces: Vec<(String, PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .filter(|(name, _)| !matches!(name.as_str(), "all" | "lo") && !name.starts_with("adit"))
        .collect();
    interfaces.sort();
    interfaces
}

fn is_in_force(change: &Change) -> bool {
    read(&change.path).as_ref() == Some(&change.after)
}

/// Puts back what is still as it was set, last things first.
fn put_back(changes: &[Change]) {
    for change in changes.iter().rev().filter(|change| is_in_force(change)) {
        // An interface may have gone away with its switches.
        let _ = write(&change.path, &change.before);
    }
}

fn read(path: &Path) -> Option<String> {
    match record::card_of(path) {
        Some(card) => Some(if Nic::named(card).ok()?.is_on().ok()? { "1" } else { "0" }.to_owned()),
        None => Some(fs::read_to_string(path).ok()?.trim().to_owned()),
    }
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    match record::card_of(path) {
        Some(card) => Nic::named(card)?.switch(value == "1"),
        None => fs::write(path, value),
    }
}

/// The path in the dotted form that administrators know.
fn name(path: &Path) -> String {
    path.strip_prefix("/proc/sys").unwrap_or(path).to_string_lossy().replace('/', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_named_as_sysctl_names_them() {
        assert_eq!(name(Path::new("/proc/sys/net/ipv4/ip_forward")), "net.ipv4.ip_forward");
    }
}
