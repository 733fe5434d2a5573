//! The kernel's switches that a gateway depends on: forwarding, and the reverse path filter of the TUN device.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Switches that have been changed, and what they were.
#[derive(Debug, Default)]
pub struct Forwarding {
    before: BTreeMap<PathBuf, String>,
}

/// What became of one switch.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was changed.
    Changed {
        /// As sysctl(8) names it.
        sysctl: String,
        /// To this.
        value: &'static str,
    },
    /// It could not be.
    Refused {
        /// As sysctl(8) names it.
        sysctl: String,
        /// To this.
        value: &'static str,
        /// Why.
        reason: String,
    },
}

impl Forwarding {
    /// Makes the kernel forward packets of a family, if it does not yet.
    pub fn enable(&mut self, ipv6: bool) -> Vec<Outcome> {
        if !ipv6 {
            return self.set(Path::new("/proc/sys/net/ipv4/ip_forward"), "1").into_iter().collect();
        }
        let switch = Path::new("/proc/sys/net/ipv6/conf/all/forwarding");
        if read(switch).as_deref() == Some("1") {
            return Vec::new();
        }
        let mut outcomes = self.keep_router_advertisements();
        outcomes.extend(self.set(switch, "1"));
        outcomes
    }

    /// A host that forwards stops believing router advertisements, and would lose its own default route, unless each
    /// interface is told to go on. All that are changed make one outcome.
    fn keep_router_advertisements(&mut self) -> Vec<Outcome> {
        let (mut names, mut outcomes) = (Vec::new(), Vec::new());
        for interface in fs::read_dir("/proc/sys/net/ipv6/conf").into_iter().flatten().flatten() {
            let name = interface.file_name().to_string_lossy().into_owned();
            let accept = interface.path().join("accept_ra");
            if name == "all" || name == "lo" || name.starts_with("adit") || read(&accept).as_deref() != Some("1") {
                continue;
            }
            match self.set(&accept, "2") {
                Some(Outcome::Changed { .. }) => names.push(name),
                outcome => outcomes.extend(outcome),
            }
        }
        if !names.is_empty() {
            names.sort();
            outcomes.push(Outcome::Changed {
                sysctl: format!("net.ipv6.conf.{{{}}}.accept_ra", names.join(",")),
                value: "2",
            });
        }
        outcomes
    }

    /// Prepares the TUN device, whose switches go away with it: packets may come in whose way back leads elsewhere,
    /// because the gateway checks the reverse route itself, and the kernel makes up no IPv6 address for it, which would
    /// only make it ask for routers there. Returns what was refused.
    pub fn prepare_tun(tun: &str) -> Vec<Outcome> {
        let mut passing = Self::default();
        let reverse_path = Path::new("/proc/sys/net/ipv4/conf").join(tun).join("rp_filter");
        let addresses = Path::new("/proc/sys/net/ipv6/conf").join(tun).join("addr_gen_mode");
        let mut outcomes: Vec<Outcome> = passing.set(&reverse_path, "2").into_iter().collect();
        if addresses.exists() {
            outcomes.extend(passing.set(&addresses, "1"));
        }
        outcomes.retain(|outcome| matches!(outcome, Outcome::Refused { .. }));
        outcomes
    }

    /// Puts everything back as it was.
    pub fn restore(&mut self) {
        for (path, value) in std::mem::take(&mut self.before) {
            // An interface may have gone away with its switches.
            let _ = fs::write(path, value);
        }
    }

    fn set(&mut self, path: &Path, value: &'static str) -> Option<Outcome> {
        let before = read(path);
        if before.as_deref() == Some(value) {
            return None;
        }
        let sysctl = name(path);
        match fs::write(path, value) {
            Ok(()) => {
                if let Some(before) = before {
                    self.before.entry(path.to_owned()).or_insert(before);
                }
                Some(Outcome::Changed { sysctl, value })
            }
            Err(error) => Some(Outcome::Refused { sysctl, value, reason: error.to_string() }),
        }
    }
}

fn read(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
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
