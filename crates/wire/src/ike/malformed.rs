//! Why bytes are no message, and why a message cannot become bytes.

use std::fmt;

use crate::Short;

/// The bytes are not a message of this protocol: where, what was found, what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The payload or structure, as a person would name it: `IKE header`, `SA payload`.
    pub part: &'static str,
    /// The field or property that is wrong: `length`, `transform count`.
    pub what: &'static str,
    /// Its value.
    pub found: u64,
    /// What would have been right.
    pub expected: Expected,
}

/// What would have been right in place of a malformed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This value and no other.
    Exactly(u64),
    /// This value or more.
    AtLeast(u64),
    /// This value or less: a rule of the format or a limit of ours.
    AtMost(u64),
    /// Something that a number does not say.
    Words(&'static str),
}

impl Malformed {
    /// `part` holds fewer bytes than its structure needs.
    pub(super) fn short(part: &'static str, short: Short) -> Self {
        Self {
            part,
            what: "remaining bytes",
            found: count(short.left),
            expected: Expected::AtLeast(count(short.needed)),
        }
    }

    /// `part` has `left` bytes behind its end.
    pub(super) fn trailing(part: &'static str, left: usize) -> Self {
        Self { part, what: "bytes behind its end", found: count(left), expected: Expected::Exactly(0) }
    }

    /// There are more of something than `limit` allows.
    pub(super) fn too_many(part: &'static str, what: &'static str, found: usize, limit: usize) -> Self {
        Self { part, what, found: count(found), expected: Expected::AtMost(count(limit)) }
    }
}

impl fmt::Display for Malformed {
    /// `SA payload: transform count is 3, expected exactly 4`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} is {}, expected ", self.part, self.what, self.found)?;
        match self.expected {
            Expected::Exactly(n) => write!(f, "exactly {n}"),
            Expected::AtLeast(n) => write!(f, "at least {n}"),
            Expected::AtMost(n) => write!(f, "at most {n}"),
            Expected::Words(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for Malformed {}

/// A value of ours does not fit into the field that carries its length or count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// What is too long: `Nonce payload`, `SPI`.
    pub what: &'static str,
    /// Its length or count.
    pub length: usize,
    /// The most that fits.
    pub limit: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} does not fit an IKE message, at most {} does", self.what, self.length, self.limit)
    }
}

impl std::error::Error for TooLong {}

/// A length or count as the number that an error shows.
pub(super) fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// A length or count as the single byte that carries it.
pub(super) fn fit_u8(what: &'static str, length: usize) -> Result<u8, TooLong> {
    u8::try_from(length).map_err(|_| TooLong { what, length, limit: usize::from(u8::MAX) })
}

/// A length or count as the two bytes that carry it.
pub(super) fn fit_u16(what: &'static str, length: usize) -> Result<[u8; 2], TooLong> {
    u16::try_from(length).map(u16::to_be_bytes).map_err(|_| TooLong { what, length, limit: usize::from(u16::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_part_what_was_found_and_what_was_expected() {
        let short = Malformed::short("Nonce payload", Short { needed: 4, left: 3 });
        assert_eq!(short.to_string(), "Nonce payload: remaining bytes is 3, expected at least 4");
        let words = Malformed { part: "IKE header", what: "major version", found: 9, expected: Expected::Words("2") };
        assert_eq!(words.to_string(), "IKE header: major version is 9, expected 2");
        let long = fit_u8("SPI", 256).unwrap_err();
        assert_eq!(long.to_string(), "SPI of 256 does not fit an IKE message, at most 255 does");
    }
}
