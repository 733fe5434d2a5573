//! What the two sides call themselves: RFC 7296 section 3.5.

use std::net::IpAddr;

use wire::ike::{Id, IdType};

use crate::{Identity, LocalIdentity, Tunnel};

/// Our identity in this tunnel, speaking from `local`.
pub(super) fn local(tunnel: &Tunnel, local: IpAddr) -> Id {
    match &tunnel.local_identity {
        LocalIdentity::Auto => Id::address(tunnel.local_endpoint.unwrap_or(local)),
        LocalIdentity::Fixed(identity) => write(identity),
    }
}

fn write(identity: &Identity) -> Id {
    match identity {
        Identity::Address(address) => Id::address(*address),
        Identity::Fqdn(name) => Id::domain_name(name),
        Identity::Email(address) => Id::email(address),
        Identity::Other(kind, data) => Id::new(IdType(*kind), data.clone()),
    }
}

/// The same kind and the same bytes. Domain names and mail domains do not differ by case, but nobody sends them so.
pub(super) fn same(a: &Id, b: &Id) -> bool {
    a.kind == b.kind && a.data == b.data
}
