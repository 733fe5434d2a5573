//! What the process may do: enough to start, and no more than it needs afterwards.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};

use crate::exit::Exit;

/// What it takes to start, with what for.
const NEEDED: [(CapabilitySet, &str, &str); 3] = [
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN", "TUN device, routes"),
    (CapabilitySet::NET_RAW, "CAP_NET_RAW", "ESP"),
    (CapabilitySet::NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE", "ports 500 and 4500"),
];

/// Says which capabilities are missing, if any.
pub fn check() -> Result<(), Exit> {
    let sets = capabilities(None).map_err(|error| Exit::failed(format!("capabilities cannot be read: {error}")))?;
    let missing: Vec<String> = NEEDED
        .iter()
        .filter(|(needed, _, _)| !sets.effective.contains(*needed))
        .map(|(_, name, purpose)| format!("{name} ({purpose})"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Exit::failed(format!(
        "a gateway needs {}, which this process lacks; run it as root, or give a service these capabilities with \
         AmbientCapabilities=. `adit demo` and `adit check` need no privileges",
        missing.join(", ")
    )))
}

/// Keeps keys out of core dumps and away from debuggers of the same user. Done before any key is read.
pub fn protect_memory() {
    // Both only harden: where a kernel refuses them, the gateway works all the same.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// Gives up every capability but those for routes and raw packets, for good, and returns the names of those kept.
/// `foreign_files`: files of another user must stay writable, because the configuration belongs to one.
pub fn drop(foreign_files: bool) -> Result<String, Exit> {
    let mut kept = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
    let mut names = String::from("CAP_NET_ADMIN,CAP_NET_RAW");
    if foreign_files {
        kept |= CapabilitySet::CHOWN | CapabilitySet::DAC_OVERRIDE;
        names.push_str(",CAP_CHOWN,CAP_DAC_OVERRIDE");
    }
    let had = capabilities(None).map_or(kept, |sets| sets.permitted);
    let kept = kept & had;
    set_no_new_privs(true)
        .and_then(|()| {
            let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
            set_capabilities(None, sets)
        })
        .map_err(|error| Exit::failed(format!("privileges cannot be dropped: {error}")))?;
    Ok(names)
}

/// Gives up, for the calling thread, what only the network needs. For threads that write files or ask name servers.
pub fn leave_the_network() {
    let network = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
    if let Ok(sets) = capabilities(None) {
        let kept = sets.permitted - network;
        let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
        // It only hardens: where a kernel refuses it, the thread works all the same.
        let _ = set_capabilities(None, sets);
    }
}
