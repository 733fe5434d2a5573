//! How messages look to an administrator: the layout of `ike -snoop`. Whatever came from a peer is escaped.

use std::fmt::{self, Write};

/// Bytes shown of one value; the rest is counted.
const SHOWN_MAX: usize = 64;

/// Bytes as pairs of hexadecimal digits.
pub(super) struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().take(SHOWN_MAX).enumerate() {
            if index > 0 {
                f.write_char(' ')?;
            }
            write!(f, "{byte:02x}")?;
        }
        write_rest(self.0, f)
    }
}

/// Text of a peer: printable ASCII as it is, everything else escaped.
pub(super) struct Escaped<'a>(pub &'a [u8]);

impl Escaped<'_> {
    /// True for a value that needs no escape at all.
    pub(super) fn is_plain(bytes: &[u8]) -> bool {
        !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_graphic())
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..SHOWN_MAX * 4).unwrap_or(self.0);
        write!(f, "{}", shown.escape_ascii())?;
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " (and {more} bytes more)"),
        }
    }
}

fn write_rest(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match bytes.len().saturating_sub(SHOWN_MAX) {
        0 => Ok(()),
        more => write!(f, " (and {more} bytes more)"),
    }
}
