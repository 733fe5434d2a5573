//! Kinds of value: what may be written, how it is said when it is wrong, and what it means as a Rust type.

use std::marker::PhantomData;
use std::net::IpAddr;

use base::{IpRange, RangeError, Secret};

use crate::suggest::did_you_mean;

/// Elements of one list beyond which it is refused.
pub const LIST_MAX: usize = 256;
/// Characters of a text value.
pub const TEXT_MAX: usize = 1024;

/// What kind of value a property takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Yes or No.
    Bool,
    /// A whole number.
    Integer {
        /// The lowest allowed.
        min: u64,
        /// The highest allowed.
        max: u64,
    },
    /// One word of a few.
    Choice {
        /// The words.
        choices: &'static [Choice],
        /// Words that the product knows and this version does not offer.
        absent: &'static [&'static str],
    },
    /// Any text of one line.
    Text,
    /// Text that is never shown.
    SecretText,
    /// Hexadecimal digits that are never shown.
    SecretHex,
    /// Names of other objects.
    Reference {
        /// Types of object that may be named.
        types: &'static [&'static str],
        /// Words that may stand instead of a name.
        words: &'static [&'static str],
        /// Several names, separated by commas.
        list: bool,
    },
    /// Addresses, written out or by the name of an object.
    Addresses {
        /// Which family.
        family: Family,
        /// How much.
        form: Form,
        /// Types of object that may be named.
        types: &'static [&'static str],
    },
    /// A hardware address, written out or by the name of an object.
    Hardware {
        /// Types of object that may be named.
        types: &'static [&'static str],
    },
    /// Numbers and ranges of numbers, separated by commas.
    Ranges {
        /// The highest allowed.
        max: u32,
    },
    /// Some of a few numbers, separated by commas, or the word `None`.
    Numbers {
        /// The numbers, and what they stand for.
        allowed: &'static [(u16, &'static str)],
        /// `None` is allowed.
        none: bool,
    },
}

/// One word of a choice.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// As it is shown.
    pub name: &'static str,
    /// Other spellings.
    pub aliases: &'static [&'static str],
    /// What it means.
    pub help: &'static [&'static str],
}

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Either, but not both in one value.
    Either,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// How much of the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One address.
    Host,
    /// One address or one network.
    Network,
    /// Addresses, networks and ranges, separated by commas.
    Many,
}

/// One element of an address value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressTerm {
    /// Written out.
    Literal(IpRange),
    /// Name of an object.
    Name(String),
}

impl Kind {
    /// The value as it is kept and shown, or a sentence that says what was found and what was expected.
    pub fn canonical(&self, text: &str) -> Result<String, String> {
        if text.chars().any(char::is_control) {
            return Err("the value contains control characters; expected one line of text".to_owned());
        }
        match *self {
            Self::Bool => read_bool(text)
                .map(|yes| if yes { "Yes" } else { "No" }.to_owned())
                .ok_or_else(|| format!("found \"{text}\"; expected Yes or No")),
            Self::Integer { min, max } => match text.parse::<u64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(number.to_string()),
                _ => Err(format!("found \"{text}\"; expected a whole number from {min} to {max}")),
            },
            Self::Choice { choices, absent } => {
                find_choice(choices, text).map(|found| found.name.to_owned()).ok_or_else(|| {
                    if absent.iter().any(|word| word.eq_ignore_ascii_case(text)) {
                        return format!(
                            "the value {text} is not available in this version; available: {}",
                            names(choices)
                        );
                    }
                    format!("found \"{text}\"; expected one of {}", names(choices))
                })
            }
            Self::Text => within_length(text),
            Self::SecretText => {
                within_length(text).map_err(|_| format!("the text is longer than {TEXT_MAX} characters"))
            }
            Self::SecretHex => match read_hex(text) {
                Some(_) => Ok(text.to_ascii_lowercase()),
                None => Err(format!(
                    "found {} characters; expected an even number of hexadecimal digits, at most {TEXT_MAX}",
                    text.chars().count()
                )),
            },
            Self::Reference { list, .. } => self.canonical_names(text, list),
            Self::Addresses { family, form, types } => canonical_addresses(text, family, form, !types.is_empty()),
            Self::Hardware { types } => match read_hardware(text) {
                Some(address) => Ok(write_hardware(address)),
                None if !types.is_empty() && is_reference(text) => Ok(text.to_owned()),
                None => Err(format!("found \"{text}\"; expected a hardware address such as 02-00-5e-10-00-01")),
            },
            Self::Ranges { max } => read_ranges(text, max).map(|ranges| write_ranges(&ranges)),
            Self::Numbers { allowed, none } => {
                let numbers = read_numbers(text, allowed, none)?;
                if numbers.is_empty() {
                    return Ok("None".to_owned());
                }
                Ok(numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
            }
        }
    }

    /// Names of other objects in the value, each with its place in it in characters.
    pub fn names_in<'a>(&self, text: &'a str) -> Vec<(u32, &'a str)> {
        let keep: &dyn Fn(&str) -> bool = match *self {
            Self::Reference { words, .. } => &move |name| !words.iter().any(|word| word.eq_ignore_ascii_case(name)),
            Self::Addresses { .. } => &|term| read_literal(term).is_none() && !is_host_name(term),
            Self::Hardware { .. } => &|term| read_hardware(term).is_none(),
            _ => return Vec::new(),
        };
        let mut at = 0u32;
        let mut names = Vec::new();
        for piece in text.split(',') {
            let name = piece.trim();
            if !name.is_empty() && keep(name) {
                let indent = piece.chars().take_while(|c| c.is_whitespace()).count();
                names.push((at + u32::try_from(indent).unwrap_or(0), name));
            }
            at = at.saturating_add(u32::try_from(piece.chars().count()).unwrap_or(0)).saturating_add(1);
        }
        names
    }

    /// Types of object whose names the value may contain.
    pub const fn reference_types(&self) -> &'static [&'static str] {
        match *self {
            Self::Reference { types, .. } | Self::Addresses { types, .. } | Self::Hardware { types } => types,
            _ => &[],
        }
    }

    /// True when the value must not be shown.
    pub const fn is_secret(&self) -> bool {
        matches!(self, Self::SecretText | Self::SecretHex)
    }

    /// True when the value may hold several elements separated by commas.
    pub const fn is_list(&self) -> bool {
        matches!(
            self,
            Self::Reference { list: true, .. }
                | Self::Addresses { form: Form::Many, .. }
                | Self::Ranges { .. }
                | Self::Numbers { .. }
        )
    }

    /// The words that can be written, each with what it means; empty where there are too many to list.
    pub fn words(&self) -> Vec<(String, String)> {
        match *self {
            Self::Bool => vec![("Yes".to_owned(), String::new()), ("No".to_owned(), String::new())],
            Self::Choice { choices, .. } => {
                choices.iter().map(|choice| (choice.name.to_owned(), crate::sentence(choice.help))).collect()
            }
            Self::Reference { words, .. } => words.iter().map(|word| ((*word).to_owned(), String::new())).collect(),
            Self::Numbers { allowed, none } => {
                let none = none.then(|| ("None".to_owned(), String::new()));
                none.into_iter().chain(allowed.iter().map(|(n, help)| (n.to_string(), (*help).to_owned()))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The kind in words, for help and manual.
    pub fn describe(&self) -> String {
        match *self {
            Self::Bool => "Yes or No".to_owned(),
            Self::Integer { min, max: u64::MAX } => format!("number from {min}"),
            Self::Integer { min, max } => format!("number from {min} to {max}"),
            Self::Choice { choices, .. } => names(choices),
            Self::Text => "text".to_owned(),
            Self::SecretText => "secret text".to_owned(),
            Self::SecretHex => "secret, hexadecimal digits".to_owned(),
            Self::Reference { types, words, list } => {
                let names = types.iter().map(|name| format!("name of {}", article(name)));
                let all: Vec<String> = names.chain(words.iter().map(|word| format!("`{word}`"))).collect();
                let suffix = if list { "; several separated by commas" } else { "" };
                format!("{}{suffix}", all.join(" or "))
            }
            Self::Addresses { family, form, .. } => {
                let family = match family {
                    Family::Either => "IPv4 or IPv6",
                    Family::V4 => "IPv4",
                    Family::V6 => "IPv6",
                };
                match form {
                    Form::Host => format!("one {family} address, or the name of one"),
                    Form::Network => format!("{family} address or network, or the name of one"),
                    Form::Many => {
                        format!("{family} addresses, networks and ranges, or names of them, separated by commas")
                    }
                }
            }
            Self::Hardware { types: [] } => "hardware address".to_owned(),
            Self::Hardware { .. } => "hardware address, or the name of one".to_owned(),
            Self::Ranges { max } => format!("numbers and ranges from 0 to {max}, separated by commas"),
            Self::Numbers { allowed, none } => {
                let numbers: Vec<String> = allowed.iter().map(|(number, _)| number.to_string()).collect();
                format!("some of {}, separated by commas{}", numbers.join(", "), if none { ", or None" } else { "" })
            }
        }
    }

    fn canonical_names(&self, text: &str, list: bool) -> Result<String, String> {
        let names: Vec<&str> = text.split(',').map(str::trim).collect();
        if !list && names.len() > 1 {
            return Err(format!("found a list \"{text}\"; expected one name"));
        }
        if names.len() > LIST_MAX {
            return Err(format!("the list has {} elements; at most {LIST_MAX} are allowed", names.len()));
        }
        match names.iter().find(|name| !is_reference(name)) {
            Some(wrong) => Err(format!("found \"{wrong}\"; expected the name of an object")),
            None => Ok(names.join(",")),
        }
    }
}

fn names(choices: &[Choice]) -> String {
    choices.iter().map(|choice| choice.name).collect::<Vec<_>>().join(", ")
}

fn article(name: &str) -> String {
    let an = name.starts_with(['A', 'E', 'I', 'O']);
    format!("{} {name}", if an { "an" } else { "a" })
}

/// Finds a choice by any of its spellings.
pub fn find_choice<'a>(choices: &'a [Choice], text: &str) -> Option<&'a Choice> {
    choices.iter().find(|choice| {
        choice.name.eq_ignore_ascii_case(text) || choice.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(text))
    })
}

/// True for what may be the name of an object: letters, digits and `_ - .`, at most 64 characters, the first no dash
/// or dot, and not an address.
pub fn is_identifier(name: &str) -> bool {
    let good = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    (1..=64).contains(&name.chars().count())
        && name.chars().all(good)
        && !name.starts_with(['-', '.'])
        && read_literal(name).is_none()
}

/// True for a name, perhaps with a folder before it.
fn is_reference(name: &str) -> bool {
    !name.is_empty() && name.split('/').all(is_identifier)
}

fn is_host_name(term: &str) -> bool {
    term.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("dns:"))
}

fn within_length(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if length > TEXT_MAX {
        return Err(format!("the text has {length} characters; at most {TEXT_MAX} are allowed"));
    }
    Ok(text.to_owned())
}

fn read_bool(text: &str) -> Option<bool> {
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    if is("Yes") || is("True") {
        Some(true)
    } else if is("No") || is("False") {
        Some(false)
    } else {
        None
    }
}

fn read_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() > TEXT_MAX || !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect()
}

/// An address, network or range written out; `None` when it is none of these and so may be a name.
fn read_literal(term: &str) -> Option<Result<IpRange, String>> {
    if let Ok(address) = term.parse::<IpAddr>() {
        return Some(Ok(IpRange::host(address)));
    }
    if let Some((address, prefix)) = term.split_once('/') {
        let address: IpAddr = address.trim().parse().ok()?;
        let read = prefix.parse().map_err(|_| RangeError::PrefixTooLong);
        let found = read.and_then(|prefix| IpRange::network(address, prefix));
        let bits = if address.is_ipv4() { 32 } else { 128 };
        return Some(found.map_err(|_| format!("found \"{term}\"; expected a prefix length from 0 to {bits}")));
    }
    if let Some((first, last)) = term.split_once('-') {
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        return Some(IpRange::new(first, last).map_err(|error| match error {
            RangeError::MixedFamilies => format!("the range {term} mixes IPv4 and IPv6"),
            RangeError::Backwards | RangeError::PrefixTooLong => {
                format!("the range {term} ends before it begins")
            }
        }));
    }
    let numeric = term.contains('.') && term.chars().all(|c| c.is_ascii_digit() || c == '.');
    numeric.then(|| Err(format!("found \"{term}\"; expected four numbers from 0 to 255 with dots between")))
}

fn canonical_addresses(text: &str, family: Family, form: Form, names: bool) -> Result<String, String> {
    let terms: Vec<&str> = text.split(',').map(str::trim).collect();
    if form != Form::Many && terms.len() > 1 {
        return Err(format!(
            "found a list \"{text}\"; expected one {}",
            if form == Form::Host { "address" } else { "network" }
        ));
    }
    if terms.len() > LIST_MAX {
        return Err(format!("the list has {} elements; at most {LIST_MAX} are allowed", terms.len()));
    }
    let mut written = Vec::new();
    let mut seen: Option<IpRange> = None;
    for term in terms {
        if is_host_name(term) {
            return Err(format!(
                "{term} is a host name; host names are not available in this version, expected addresses"
            ));
        }
        let Some(literal) = read_literal(term) else {
            if !names {
                return Err(format!("found \"{term}\"; expected an address, a network or a range, written out"));
            }
            if !is_reference(term) {
                return Err(format!("found \"{term}\"; expected an address, a network, or the name of an object"));
            }
            written.push(term.to_owned());
            continue;
        };
        let range = literal?;
        fits(range, term, family, form)?;
        match seen {
            Some(other) if other.is_ipv4() != range.is_ipv4() => {
                return Err(format!("{other} and {range} mix IPv4 and IPv6 in one value; expected one family"));
            }
            _ => seen = Some(range),
        }
        // A network keeps the host bits it was written with: they may be the interface's own address.
        written.push(term.split_whitespace().collect());
    }
    Ok(written.join(","))
}

fn fits(range: IpRange, term: &str, family: Family, form: Form) -> Result<(), String> {
    match family {
        Family::V4 if !range.is_ipv4() => return Err(format!("found the IPv6 address {term}; expected IPv4")),
        Family::V6 if range.is_ipv4() => return Err(format!("found the IPv4 address {term}; expected IPv6")),
        Family::Either | Family::V4 | Family::V6 => {}
    }
    match form {
        Form::Host if range.first() != range.last() => Err(format!("found \"{term}\"; expected one address")),
        Form::Network if range.prefix().is_none() => Err(format!("found \"{term}\"; expected one address or network")),
        Form::Host | Form::Network | Form::Many => Ok(()),
    }
}

/// Six bytes in hexadecimal with dashes or colons between.
fn read_hardware(text: &str) -> Option<[u8; 6]> {
    let separator = if text.contains(':') { ':' } else { '-' };
    let mut address = [0; 6];
    let mut pieces = text.split(separator);
    for byte in &mut address {
        let piece = pieces.next().filter(|piece| piece.len() == 2 && piece.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(piece, 16).ok()?;
    }
    pieces.next().is_none().then_some(address)
}

fn write_hardware(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join("-")
}

fn read_ranges(text: &str, max: u32) -> Result<Vec<(u32, u32)>, String> {
    let wrong = |piece: &str| format!("found \"{piece}\"; expected numbers or ranges from 0 to {max}");
    let pieces: Vec<&str> = text.split(',').map(str::trim).collect();
    if pieces.len() > LIST_MAX {
        return Err(format!("the list has {} elements; at most {LIST_MAX} are allowed", pieces.len()));
    }
    pieces
        .into_iter()
        .map(|piece| {
            let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
            match (first.trim().parse(), last.trim().parse()) {
                (Ok(first), Ok(last)) if first <= last && last <= max => Ok((first, last)),
                _ => Err(wrong(piece)),
            }
        })
        .collect()
}

fn write_ranges(ranges: &[(u32, u32)]) -> String {
    let write = |&(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    ranges.iter().map(write).collect::<Vec<_>>().join(",")
}

fn read_numbers(text: &str, allowed: &[(u16, &str)], none: bool) -> Result<Vec<u16>, String> {
    if none && text.eq_ignore_ascii_case("None") {
        return Ok(Vec::new());
    }
    let mut numbers = Vec::new();
    for piece in text.split(',').map(str::trim) {
        let number = piece.parse().ok().filter(|number| allowed.iter().any(|(known, _)| known == number));
        let Some(number) = number else {
            let known: Vec<String> = allowed.iter().map(|(number, _)| number.to_string()).collect();
            let none = if none { ", or None" } else { "" };
            return Err(format!("found \"{piece}\"; expected some of {}{none}", known.join(", ")));
        };
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// A kind of value as a Rust type. The types that implement it are markers, used in `object!` declarations.
pub trait ValueType {
    /// What the value means.
    type Typed;
    /// What may be written.
    const KIND: Kind;
    /// The meaning of a value that [`Kind::canonical`] accepts.
    fn typed(text: &str) -> Option<Self::Typed>;
}

/// Yes or No.
#[derive(Debug)]
pub struct Bool;

impl ValueType for Bool {
    type Typed = bool;
    const KIND: Kind = Kind::Bool;

    fn typed(text: &str) -> Option<bool> {
        read_bool(text)
    }
}

/// A whole number within bounds.
#[derive(Debug)]
pub struct Integer<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> ValueType for Integer<MIN, MAX> {
    type Typed = u64;
    const KIND: Kind = Kind::Integer { min: MIN, max: MAX };

    fn typed(text: &str) -> Option<u64> {
        text.parse().ok().filter(|number| (MIN..=MAX).contains(number))
    }
}

/// Any text.
#[derive(Debug)]
pub struct Text;

impl ValueType for Text {
    type Typed = String;
    const KIND: Kind = Kind::Text;

    fn typed(text: &str) -> Option<String> {
        Some(text.to_owned())
    }
}

/// Text that is never shown.
#[derive(Debug)]
pub struct SecretText;

impl ValueType for SecretText {
    type Typed = Secret;
    const KIND: Kind = Kind::SecretText;

    fn typed(text: &str) -> Option<Secret> {
        Some(Secret::copy(text.as_bytes()))
    }
}

/// Hexadecimal digits that are never shown.
#[derive(Debug)]
pub struct SecretHex;

impl ValueType for SecretHex {
    type Typed = Secret;
    const KIND: Kind = Kind::SecretHex;

    fn typed(text: &str) -> Option<Secret> {
        read_hex(text).map(Secret::new)
    }
}

/// What may be named: the types of object, and words instead of a name.
pub trait Target {
    /// Types of object.
    const TYPES: &'static [&'static str];
    /// Words instead of a name.
    const WORDS: &'static [&'static str] = &[];
}

/// The name of one object.
#[derive(Debug)]
pub struct Reference<T>(PhantomData<T>);

impl<T: Target> ValueType for Reference<T> {
    type Typed = String;
    const KIND: Kind = Kind::Reference { types: T::TYPES, words: T::WORDS, list: false };

    fn typed(text: &str) -> Option<String> {
        is_reference(text).then(|| text.to_owned())
    }
}

/// The names of several objects.
#[derive(Debug)]
pub struct References<T>(PhantomData<T>);

impl<T: Target> ValueType for References<T> {
    type Typed = Vec<String>;
    const KIND: Kind = Kind::Reference { types: T::TYPES, words: T::WORDS, list: true };

    fn typed(text: &str) -> Option<Vec<String>> {
        text.split(',').map(|name| is_reference(name.trim()).then(|| name.trim().to_owned())).collect()
    }
}

/// Which addresses: family, how much, and the types of object that can be named.
pub trait AddressSort {
    /// Which family.
    const FAMILY: Family = Family::Either;
    /// How much.
    const FORM: Form;
    /// Types of object that can be named.
    const TYPES: &'static [&'static str];
}

/// Addresses, written out or by name.
#[derive(Debug)]
pub struct Addresses<S>(PhantomData<S>);

impl<S: AddressSort> ValueType for Addresses<S> {
    type Typed = Vec<AddressTerm>;
    const KIND: Kind = Kind::Addresses { family: S::FAMILY, form: S::FORM, types: S::TYPES };

    fn typed(text: &str) -> Option<Vec<AddressTerm>> {
        Self::KIND.canonical(text).ok()?;
        text.split(',')
            .map(str::trim)
            .map(|term| match read_literal(term) {
                Some(literal) => literal.ok().map(AddressTerm::Literal),
                None => Some(AddressTerm::Name(term.to_owned())),
            })
            .collect()
    }
}

/// A hardware address, written out or by the name of an object of the target's types.
#[derive(Debug)]
pub struct Hardware<T>(PhantomData<T>);

/// A hardware address, or the name of an object that holds one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HardwareTerm {
    /// Written out.
    Literal([u8; 6]),
    /// Name of an object.
    Name(String),
}

impl<T: Target> ValueType for Hardware<T> {
    type Typed = HardwareTerm;
    const KIND: Kind = Kind::Hardware { types: T::TYPES };

    fn typed(text: &str) -> Option<HardwareTerm> {
        let name = || (!T::TYPES.is_empty() && is_reference(text)).then(|| HardwareTerm::Name(text.to_owned()));
        read_hardware(text).map(HardwareTerm::Literal).or_else(name)
    }
}

/// Numbers and ranges of numbers up to a highest.
#[derive(Debug)]
pub struct Ranges<const MAX: u32>;

impl<const MAX: u32> ValueType for Ranges<MAX> {
    type Typed = Vec<(u32, u32)>;
    const KIND: Kind = Kind::Ranges { max: MAX };

    fn typed(text: &str) -> Option<Vec<(u32, u32)>> {
        read_ranges(text, MAX).ok()
    }
}

/// Which numbers a list may hold.
pub trait NumberSet {
    /// The numbers, and what they stand for.
    const ALLOWED: &'static [(u16, &'static str)];
    /// `None` is allowed.
    const NONE: bool;
}

/// Some of a few numbers.
#[derive(Debug)]
pub struct Numbers<S>(PhantomData<S>);

impl<S: NumberSet> ValueType for Numbers<S> {
    type Typed = Vec<u16>;
    const KIND: Kind = Kind::Numbers { allowed: S::ALLOWED, none: S::NONE };

    fn typed(text: &str) -> Option<Vec<u16>> {
        read_numbers(text, S::ALLOWED, S::NONE).ok()
    }
}

/// Says what is meant by an unknown word among known ones.
pub(crate) fn unknown<'a>(what: &str, word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    format!("there is no {what} {word}{}", did_you_mean(word, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: Kind = Kind::Addresses { family: Family::Either, form: Form::Many, types: &["A"] };
    const HOST: Kind = Kind::Addresses { family: Family::V4, form: Form::Host, types: &["A"] };

    #[test]
    fn values_are_kept_in_one_spelling() {
        assert_eq!(Kind::Bool.canonical("true").as_deref(), Ok("Yes"));
        assert_eq!(Kind::Ranges { max: 65535 }.canonical("80, 443 , 1-5").as_deref(), Ok("80,443,1-5"));
        let groups = Kind::Numbers { allowed: &[(2, ""), (14, "")], none: true };
        assert_eq!(groups.canonical("14, 2,14").as_deref(), Ok("2,14"));
        assert_eq!(groups.canonical("none").as_deref(), Ok("None"));
        assert_eq!(MANY.canonical("10.0.0.1 - 10.0.0.9, lan_net").as_deref(), Ok("10.0.0.1-10.0.0.9,lan_net"));
        assert_eq!(Kind::SecretHex.canonical("0aFF").as_deref(), Ok("0aff"));
        let hardware = Kind::Hardware { types: &["E"] };
        assert_eq!(hardware.canonical("02:00:5E:10:00:01").as_deref(), Ok("02-00-5e-10-00-01"));
        assert_eq!(hardware.canonical("printer").as_deref(), Ok("printer"));
    }

    #[test]
    fn a_wrong_value_says_what_was_found_and_what_was_expected() {
        let says = |kind: Kind, text: &str, part: &str| {
            let message = kind.canonical(text).unwrap_err();
            assert!(message.contains(part), "{message}");
        };
        says(Kind::Bool, "maybe", "expected Yes or No");
        says(Kind::Integer { min: 1, max: 9 }, "10", "from 1 to 9");
        says(MANY, "10.0.0.0/33", "prefix length from 0 to 32");
        says(MANY, "10.0.0.9-10.0.0.1", "ends before it begins");
        says(MANY, "10.0.0.1,2001:db8::1", "mix IPv4 and IPv6");
        says(MANY, "10.0.0.256", "0 to 255");
        says(MANY, "dns:vpn.example.com", "not available in this version");
        says(HOST, "10.0.0.0/8", "one address");
        says(Kind::Hardware { types: &[] }, "02-00-5e-10-00", "expected a hardware address");
        says(HOST, "::1", "expected IPv4");
        says(Kind::SecretHex, "abc", "hexadecimal");
        says(Kind::Text, "a\u{7}", "control characters");
    }

    #[test]
    fn names_are_found_with_their_places() {
        assert_eq!(MANY.names_in("10.0.0.1,lan_net, x/y"), [(9, "lan_net"), (18, "x/y")]);
        let reference = Kind::Reference { types: &["I"], words: &["any"], list: true };
        assert_eq!(reference.names_in("any,wan"), [(4, "wan")]);
    }
}
