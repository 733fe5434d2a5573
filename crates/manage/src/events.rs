base::events! {
    /// An operator's configuration was not confirmed in time, or was cancelled, so the one before it is in use again.
    /// The edits are still there: correct them, then activate and commit.
    ConfigurationReverted = 03_204_002 rev 1, Warning, SYSTEM, "reject_configuration", action "using_prev_config" {
        reason: &'static str,
    }

    /// The configuration in use has been confirmed and stored; it is what the next start will use.
    ConfigurationCommitted = 03_204_003 rev 1, Notice, SYSTEM, "configuration_committed", action "none" {
        bytes: usize,
    }

    /// The configuration in use could not be stored, so it is not confirmed. It goes back by itself unless a later
    /// commit succeeds: look at the reason, which comes from the file system.
    ConfigurationNotStored = 03_204_004 rev 1, Error, SYSTEM, "configuration_not_stored", action "none" {
        reason: base::Text,
    }

    /// The host's interfaces or addresses changed, and the configuration does not fit them any more. The gateway goes on
    /// with the addresses it knew: correct the configuration, or give the interface its address back.
    InterfacesDoNotFit = 03_204_005 rev 1, Error, SYSTEM, "interfaces_do_not_fit", action "using_prev_config" {
        reason: base::Text,
    }

    /// The host's interfaces or addresses changed, and the gateway follows.
    InterfacesChanged = 03_204_006 rev 1, Notice, SYSTEM, "interfaces_changed", action "using_new_config" {
        interfaces: usize,
    }
}
