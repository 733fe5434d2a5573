//! Every configuration object type, one file each, and the [`Snapshot`] that a configuration of them compiles to.

#![forbid(unsafe_code)]

mod snapshot;

pub use snapshot::{
    Action, Algorithms, HostInterface, IcmpTypes, Interface, InterfaceId, InterfaceKind, Interfaces, IpsecSettings,
    LocalIdentity, NatTraversal, Policy, RemoteEndpoint, Route, RouteOrigin, Service, ServiceMatch, Settings,
    SharedKey, Snapshot, Timeouts, Tunnel, TunnelId,
};
