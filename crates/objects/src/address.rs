//! The address book: IP4Address, IP4Group, IP6Address, IP6Group, FQDNAddress, FQDNGroup,
//! EthernetAddress and AddressFolder.

use schema::kind::{AddressSort, Addresses, Family, Form, Hardware, References, Target, Text};
use schema::{Object, Problem, object};

/// Types that stand for IPv4 addresses.
pub(crate) const IP4: &[&str] = &["IP4Address", "IP4Group"];
/// Types that stand for IPv6 addresses.
pub(crate) const IP6: &[&str] = &["IP6Address", "IP6Group"];
/// Types that stand for addresses of either family.
pub(crate) const ANY: &[&str] = &["IP4Address", "IP4Group", "IP6Address", "IP6Group"];

object! {
    /// IPv4 addresses under a name: a host, a network, a range, or several separated by commas.
    pub struct Ip4Address: "IP4Address" or "IP4Host" or "IP4Network" {
        category: Some("Address"),
        parents: &["", "AddressFolder"],
        columns: &["Address"],
        absent: &["UserAuthGroups", "NoDefinedCredentials"],
    }

    /// The addresses.
    required address as "Address": Addresses<Literal4>;
}

object! {
    /// Several IPv4 address objects under one name.
    pub struct Ip4Group: "IP4Group" {
        category: Some("Address"),
        parents: &["", "AddressFolder"],
        columns: &["Members"],
        absent: &["UserAuthGroups", "NoDefinedCredentials"],
    }

    /// The objects in the group.
    required members as "Members": References<Members4>;
    /// Objects whose addresses are taken out of it again.
    optional excluded as "ExcludedMembers": References<Members4>;
}

object! {
    /// IPv6 addresses under a name: a host, a network, a range, or several separated by commas.
    pub struct Ip6Address: "IP6Address" or "IP6Host" or "IP6Network" {
        category: Some("Address"),
        parents: &["", "AddressFolder"],
        columns: &["Address"],
        absent: &["UserAuthGroups", "NoDefinedCredentials"],
    }

    /// The addresses.
    required address as "Address": Addresses<Literal6>;
}

object! {
    /// Several IPv6 address objects under one name.
    pub struct Ip6Group: "IP6Group" {
        category: Some("Address"),
        parents: &["", "AddressFolder"],
        columns: &["Members"],
        absent: &["UserAuthGroups", "NoDefinedCredentials"],
    }

    /// The objects in the group.
    required members as "Members": References<Members6>;
    /// Objects whose addresses are taken out of it again.
    optional excluded as "ExcludedMembers": References<Members6>;
}

object! {
    /// The addresses of a host name, which are asked for while the configuration runs. It can stand in the networks of
    /// policies and routing rules; as long as nothing is known of the name, it fits nothing.
    pub struct FqdnAddress: "FQDNAddress" {
        category: Some("Address"),
        parents: &["", "AddressFolder"],
        columns: &["Address"],
    }

    /// The host name.
    required address as "Address": Text;
}

object! {
    /// Several host names under one name.
    pub struct FqdnGroup: "FQDNGroup" {
        category: Some("Address"),
        parents: &["", "AddressFolder"],
        columns: &["Members"],
    }

    /// The FQDNAddress objects in the group.
    required members as "Members": References<FqdnMembers>;
}

object! {
    /// A hardware address under a name.
    pub struct EthernetAddress: "EthernetAddress" {
        category: Some("Address"),
        parents: &["", "AddressFolder"],
        columns: &["Address"],
    }

    /// The hardware address.
    required address as "Address": Hardware<NoName>;
}

/// What may be in a group of host names.
#[derive(Debug)]
pub struct FqdnMembers;

impl Target for FqdnMembers {
    const TYPES: &'static [&'static str] = FQDN;
}

/// Nothing may be named.
#[derive(Debug)]
pub struct NoName;

impl Target for NoName {
    const TYPES: &'static [&'static str] = &[];
}

/// The host name of an FQDNAddress in lower case without the dot at its end; `None`: it is none (RFC 1123 section 2.1).
pub(crate) fn host_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(good) && !label.starts_with('-') && !label.ends_with('-')
    };
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    (name.len() <= 253 && !numeric && name.split('.').all(label)).then_some(name)
}

/// What is wrong with an address object beyond the kinds of its values.
pub(crate) fn check(object: &Object) -> Option<Problem> {
    let read = (object.info.name == FqdnAddress::TYPE.name).then(|| FqdnAddress::read(object))??;
    host_name(&read.address).is_none().then(|| {
        Problem::error(format!("found \"{}\"; expected a host name such as www.example.com", read.address))
            .property("Address")
            .remedy("for addresses make an IP4Address or IP6Address")
            .at(object.place("Address"))
    })
}

object! {
    /// A folder of address objects. From outside they are called `folder/name`. The folder InterfaceAddresses is
    /// predefined and holds the addresses and networks of the interfaces.
    pub struct AddressFolder: "AddressFolder" {
        category: Some("Address"),
        container: true,
    }
}

/// Types that stand for host names.
pub(crate) const FQDN: &[&str] = &["FQDNAddress", "FQDNGroup"];
/// Types that stand for addresses of either family or for host names.
pub(crate) const ANY_OR_FQDN: &[&str] =
    &["IP4Address", "IP4Group", "IP6Address", "IP6Group", "FQDNAddress", "FQDNGroup"];

/// IPv4, written out.
#[derive(Debug)]
pub struct Literal4;

impl AddressSort for Literal4 {
    const FAMILY: Family = Family::V4;
    const FORM: Form = Form::Many;
    const TYPES: &'static [&'static str] = &[];
}

/// IPv6, written out.
#[derive(Debug)]
pub struct Literal6;

impl AddressSort for Literal6 {
    const FAMILY: Family = Family::V6;
    const FORM: Form = Form::Many;
    const TYPES: &'static [&'static str] = &[];
}

/// What may be in an IPv4 group.
#[derive(Debug)]
pub struct Members4;

impl Target for Members4 {
    const TYPES: &'static [&'static str] = IP4;
}

/// What may be in an IPv6 group.
#[derive(Debug)]
pub struct Members6;

impl Target for Members6 {
    const TYPES: &'static [&'static str] = IP6;
}

/// Any addresses of one family, written out or by name.
#[derive(Debug)]
pub struct Networks;

impl AddressSort for Networks {
    const FORM: Form = Form::Many;
    const TYPES: &'static [&'static str] = ANY;
}

/// Any IPv4 addresses, written out or by name.
#[derive(Debug)]
pub struct Networks4;

impl AddressSort for Networks4 {
    const FAMILY: Family = Family::V4;
    const FORM: Form = Form::Many;
    const TYPES: &'static [&'static str] = IP4;
}

/// Any addresses of one family, written out or by name, host names too.
#[derive(Debug)]
pub struct NamedNetworks;

impl AddressSort for NamedNetworks {
    const FORM: Form = Form::Many;
    const TYPES: &'static [&'static str] = ANY_OR_FQDN;
}

/// One address of either family.
#[derive(Debug)]
pub struct Host;

impl AddressSort for Host {
    const FORM: Form = Form::Host;
    const TYPES: &'static [&'static str] = ANY;
}

/// One IPv4 address.
#[derive(Debug)]
pub struct Host4;

impl AddressSort for Host4 {
    const FAMILY: Family = Family::V4;
    const FORM: Form = Form::Host;
    const TYPES: &'static [&'static str] = IP4;
}

/// One IPv6 address.
#[derive(Debug)]
pub struct Host6;

impl AddressSort for Host6 {
    const FAMILY: Family = Family::V6;
    const FORM: Form = Form::Host;
    const TYPES: &'static [&'static str] = IP6;
}

/// One IPv4 network.
#[derive(Debug)]
pub struct Network4;

impl AddressSort for Network4 {
    const FAMILY: Family = Family::V4;
    const FORM: Form = Form::Network;
    const TYPES: &'static [&'static str] = IP4;
}

/// One IPv6 network.
#[derive(Debug)]
pub struct Network6;

impl AddressSort for Network6 {
    const FAMILY: Family = Family::V6;
    const FORM: Form = Form::Network;
    const TYPES: &'static [&'static str] = IP6;
}

/// The addresses that are there without being declared.
pub(crate) fn predefine(tree: &mut schema::Tree) {
    for (name, address) in [("all-nets", "0.0.0.0/0"), ("localhost", "127.0.0.1")] {
        tree.predefine(Ip4Address::TYPE, Some(name), None, &[("Address", address)]);
    }
    for (name, address) in [("all-nets6", "::/0"), ("localhost6", "::1")] {
        tree.predefine(Ip6Address::TYPE, Some(name), None, &[("Address", address)]);
    }
    tree.predefine(AddressFolder::TYPE, Some(INTERFACE_ADDRESSES), None, &[]);
}

/// The folder of the addresses that follow from the interfaces.
pub(crate) const INTERFACE_ADDRESSES: &str = "InterfaceAddresses";
