//! Putting fragments together again: RFC 7383 section 2.6. Only what was authenticated is ever kept.

use std::collections::BTreeMap;

use base::Secret;
use wire::ike::PayloadType;

/// Fragments that one message may have.
pub(super) const FRAGMENTS_MAX: u16 = 64;
/// Bytes that one message may have when put together.
pub(super) const TEXT_MAX: usize = 65_536;
/// The same for a peer that has not proved yet who it is.
pub(super) const TEXT_MAX_UNPROVED: usize = 8_192;

/// The one message that is being put together: the window is 1, so there is no second in this direction.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    of: Option<u32>,
    total: u16,
    first: Option<PayloadType>,
    parts: BTreeMap<u16, Secret>,
    bytes: usize,
}

/// What a fragment led to.
#[derive(Debug)]
pub(super) enum Fragment {
    /// More are needed.
    Kept,
    /// It was out of bounds, of another set, or here already.
    Dropped,
    /// The message is whole: type of its first payload and its text.
    Whole(PayloadType, Secret),
}

impl Reassembly {
    /// Whether a fragment is worth decrypting.
    pub(super) fn wants(&self, message: u32, number: u16, total: u16) -> bool {
        if total > FRAGMENTS_MAX || number == 0 || number > total {
            return false;
        }
        // A set with more fragments replaces the one before: the peer tries smaller ones (RFC 7383 section 2.6).
        self.of != Some(message) || total > self.total || (total == self.total && !self.parts.contains_key(&number))
    }

    /// Takes an authenticated fragment.
    pub(super) fn add(
        &mut self,
        message: u32,
        (number, total): (u16, u16),
        first: PayloadType,
        text: Secret,
        text_max: usize,
    ) -> Fragment {
        if !self.wants(message, number, total) {
            return Fragment::Dropped;
        }
        if self.of != Some(message) || total > self.total {
            *self = Self { of: Some(message), total, ..Self::default() };
        }
        self.bytes += text.len();
        if self.bytes > text_max {
            *self = Self::default();
            return Fragment::Dropped;
        }
        if number == 1 {
            self.first = Some(first);
        }
        self.parts.insert(number, text);
        if self.parts.len() < usize::from(self.total) {
            return Fragment::Kept;
        }
        let mut whole = Vec::with_capacity(self.bytes);
        self.parts.values().for_each(|part| whole.extend_from_slice(part.expose()));
        let first = self.first.unwrap_or(PayloadType::NONE);
        *self = Self::default();
        Fragment::Whole(first, Secret::new(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: u32 = 7;

    fn part(text: &str) -> Secret {
        Secret::copy(text.as_bytes())
    }

    #[test]
    fn fragments_come_in_any_order_and_more_than_once() {
        let mut set = Reassembly::default();
        assert!(matches!(set.add(M, (3, 3), PayloadType::NONE, part("c"), TEXT_MAX), Fragment::Kept));
        assert!(matches!(set.add(M, (1, 3), PayloadType::SA, part("a"), TEXT_MAX), Fragment::Kept));
        assert!(matches!(set.add(M, (3, 3), PayloadType::NONE, part("c"), TEXT_MAX), Fragment::Dropped));
        let Fragment::Whole(first, text) = set.add(M, (2, 3), PayloadType::NONE, part("b"), TEXT_MAX) else { panic!() };
        assert_eq!((first, text.expose()), (PayloadType::SA, &b"abc"[..]));
    }

    #[test]
    fn a_larger_set_replaces_a_smaller_one_never_the_reverse() {
        let mut set = Reassembly::default();
        set.add(M, (1, 2), PayloadType::SA, part("ab"), TEXT_MAX);
        assert!(matches!(set.add(M, (1, 3), PayloadType::SA, part("a"), TEXT_MAX), Fragment::Kept));
        assert!(matches!(set.add(M, (2, 2), PayloadType::NONE, part("c"), TEXT_MAX), Fragment::Dropped));
        assert!(matches!(set.add(M, (2, 3), PayloadType::NONE, part("b"), TEXT_MAX), Fragment::Kept));
    }

    #[test]
    fn bounds_hold() {
        let mut set = Reassembly::default();
        assert!(!set.wants(M, 1, FRAGMENTS_MAX + 1) && !set.wants(M, 0, 3) && !set.wants(M, 4, 3));
        let big = || Secret::new(vec![0; 40_000]);
        assert!(matches!(set.add(M, (1, 3), PayloadType::SA, big(), TEXT_MAX), Fragment::Kept));
        assert!(matches!(set.add(M, (2, 3), PayloadType::NONE, big(), TEXT_MAX), Fragment::Dropped));
        assert_eq!(set.bytes, 0);
        assert!(matches!(set.add(M, (1, 3), PayloadType::SA, big(), TEXT_MAX_UNPROVED), Fragment::Dropped));
    }
}
