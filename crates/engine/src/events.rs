base::events! {
    /// A configuration is in use from now on. Tunnels that it does not change keep their SAs.
    ConfigurationActivated = 03_204_001 rev 1, Notice, SYSTEM, "accept_configuration", action "using_new_config" {
        tunnels: usize,
        policies: usize,
        routes: usize,
    }

    /// The gateway goes down at the operator's wish and deletes its SAs at the peers.
    ShutdownBegun = 03_202_000 rev 1, Notice, SYSTEM, "shutdown", action "shutdown" {
        ike_sas: usize,
    }

    /// A negotiated pair of SAs could not be put to use; nothing will pass through it. This is a fault of Adit: report
    /// it with the log around it. The pair is replaced at its next rekeying, or at once by `ike -delete`.
    SaNotInstalled = 01_803_980 rev 1, Error, IPSEC, "ipsec_sa_not_installed", action "none" {
        tunnel: base::Text,
        spi_in: String,
        reason: String,
    }
}
