//! Network cards that the gateway owns: the kernel sees every frame too, and must not answer.

use std::path::{Path, PathBuf};

use super::record::CARDS;
use super::{Forwarding, Outcome, forwarding, put_back};

/// Switches of a card below `/proc/sys/net`, in the order in which they are set.
const SWITCHES: [(&str, &str, &str); 4] = [
    // No neighbour discovery, no router advertisements, no addresses of its own making.
    ("ipv6", "disable_ipv6", "1"),
    // No answer for any address.
    ("ipv4", "arp_ignore", "8"),
    // What comes in is not forwarded beside the gateway,
    ("ipv4", "forwarding", "0"),
    // and does not reach addresses of the host on other interfaces: no route leads back by the card.
    ("ipv4", "rp_filter", "1"),
];

impl Forwarding {
    /// Makes the kernel silent on a card, and switches the card on. Returns what went wrong.
    pub fn own(&mut self, device: &str) -> Vec<Outcome> {
        let mut outcomes = self.silence(device);
        outcomes.extend(self.set(&power(device), "1", forwarding));
        troubles(outcomes)
    }

    /// Makes the kernel silent on a card. Returns what went wrong.
    pub fn silence(&mut self, device: &str) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for (family, switch, value) in SWITCHES {
            let path = Path::new("/proc/sys/net").join(family).join("conf").join(device).join(switch);
            // A kernel without IPv6 says nothing of it.
            if path.exists() {
                outcomes.extend(self.set(&path, value, forwarding));
            }
        }
        troubles(outcomes)
    }

    /// Puts back what [`Forwarding::own`] has changed.
    pub fn disown(&mut self, device: &str) {
        let power = power(device);
        let of_device = |path: &Path| {
            let folder = path.parent().and_then(Path::file_name).is_some_and(|folder| folder == device);
            path == power || folder && SWITCHES.iter().any(|(_, switch, _)| path.ends_with(switch))
        };
        let (gone, kept) = std::mem::take(&mut self.changes).into_iter().partition(|change| of_device(&change.path));
        self.changes = kept;
        put_back(&gone);
        // What stays in the file is no longer in force, and then it is left alone.
        let _ = self.write_down();
    }
}

fn troubles(mut outcomes: Vec<Outcome>) -> Vec<Outcome> {
    outcomes.retain(|outcome| matches!(outcome, Outcome::Refused { .. } | Outcome::Unrecorded { .. }));
    outcomes
}

/// Stands for whether a card is switched on.
fn power(device: &str) -> PathBuf {
    Path::new(CARDS).join(device).join("on")
}
