//! Opening: from an ESP packet to the inner packet, in place (RFC 4303 section 3.4).

use std::ops::Range;

use base::Buffer;
use crypto::OpenError;
use wire::{esp, ip};

use super::sa::Sa;
use super::seal::Sequence;
use crate::Reason;

/// What came out of an authentic packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// Newer than every packet before.
    pub(super) newest: bool,
    /// What the text is: 4, 41, or 59 for a dummy.
    pub(super) next_header: u8,
    /// Where in the packet it stands.
    pub(super) text: Range<usize>,
}

impl Sa {
    /// Checks the packet and leaves its text in the buffer. From `Ok` on the packet is authentic, and its number is used.
    /// Of errors, [`Reason::BadPadding`] too is one of an authentic packet.
    pub(super) fn open(&self, packet: &mut Buffer) -> Result<Opened, Reason> {
        let opened = self.open_place(packet.bytes_mut())?;
        packet.truncate(opened.text.end);
        packet.strip(opened.text.start);
        Ok(opened)
    }

    /// The same where it stands.
    #[inline]
    pub(super) fn open_place(&self, packet: &mut [u8]) -> Result<Opened, Reason> {
        let header = esp::Header::parse(packet).ok_or(Reason::EspMalformed)?;
        let sequence = if self.esn {
            self.window.guess(header.sequence).ok_or(Reason::Replayed)?
        } else {
            u64::from(header.sequence)
        };
        // Before the integrity check, because it is cheap; the number is marked only after it (section 3.4.3).
        if !self.window.is_new(sequence) {
            return Err(Reason::Replayed);
        }
        let text_len = self.authenticate(sequence, packet)?;
        let newest = sequence > self.window.highest();
        // Another thread may have opened a copy of it meanwhile.
        if !self.window.mark(sequence) {
            return Err(Reason::Replayed);
        }
        let start = esp::HEADER + self.opener.encryption().iv_len();
        let text = packet.get(start..start + text_len).ok_or(Reason::EspMalformed)?;
        let (len, next_header) = match esp::read_trailer(text) {
            Some(read) => read,
            // Section 2.6: the receiver throws a dummy away whatever is in it.
            None if text.last() == Some(&ip::NONE) => (0, ip::NONE),
            None => return Err(Reason::BadPadding),
        };
        Ok(Opened { newest, next_header, text: start..start + len })
    }

    /// Decrypts in place once the check has passed; returns the length of the text, trailer included.
    fn authenticate(&self, sequence: u64, packet: &mut [u8]) -> Result<usize, Reason> {
        let (iv_len, icv_len) = (self.opener.encryption().iv_len(), self.opener.icv_len());
        let body = packet.get_mut(esp::HEADER..).ok_or(Reason::EspMalformed)?;
        let (iv, rest) = body.split_at_mut_checked(iv_len).ok_or(Reason::EspMalformed)?;
        let text_len = rest.len().checked_sub(icv_len).ok_or(Reason::EspMalformed)?;
        if text_len < esp::TRAILER {
            return Err(Reason::EspMalformed);
        }
        let (text, icv) = rest.split_at_mut_checked(text_len).ok_or(Reason::EspMalformed)?;
        let sequence = Sequence::new(self.spi_in, sequence);
        let (aad, tail) = sequence.authenticated(self.esn, self.opener.encryption().is_aead());
        match self.opener.open(iv, aad, tail, text, icv) {
            Ok(()) => Ok(text_len),
            Err(OpenError::Malformed(_)) => Err(Reason::EspMalformed),
            Err(OpenError::Forged) => Err(Reason::IcvFailure),
        }
    }
}
