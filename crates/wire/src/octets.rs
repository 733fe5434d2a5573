//! Numbers at fixed places of a packet. Reading or writing outside of it is `None` or nothing, never a panic.

/// `N` bytes at `at`.
pub fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

/// The byte at `at`.
pub fn u8(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// The big-endian number of two bytes at `at`.
pub fn u16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

/// The big-endian number of four bytes at `at`.
pub fn u32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

/// Writes `value` at `at`; does nothing when it does not fit.
pub fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<N>()) {
        *place = value;
    }
}

/// Writes a big-endian number of two bytes at `at`; does nothing when it does not fit.
pub fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    put(bytes, at, value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_is_neither_read_nor_written() {
        let mut bytes = [1, 2, 3];
        assert_eq!((u16(&bytes, 1), u16(&bytes, 2), u32(&bytes, 0)), (Some(0x0203), None, None));
        assert_eq!(u8(&bytes, usize::MAX), None);
        put_u16(&mut bytes, 2, 0xffff);
        put_u16(&mut bytes, usize::MAX, 0xffff);
        assert_eq!(bytes, [1, 2, 3]);
        put_u16(&mut bytes, 1, 0x0908);
        assert_eq!(bytes, [1, 9, 8]);
    }
}
