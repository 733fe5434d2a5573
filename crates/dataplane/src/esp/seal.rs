//! Sealing: from an inner packet to an ESP packet, in place (RFC 4303 section 3.3).

use base::Buffer;
use wire::{esp, ip};

use super::sa::Sa;
use crate::Mode;

/// Why a packet was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotSealed {
    /// Every sequence number has been used.
    SequenceEnd,
    /// The packet is no IP packet, too long, or the cipher refused it.
    Refused,
}

impl Sa {
    /// Makes an ESP packet of the inner packet under a sequence number and vector that are used nowhere else.
    pub(super) fn seal_with(&self, sequence: u64, iv: &[u8], packet: &mut Buffer) -> Result<(), NotSealed> {
        let next_header = self.undress(packet).ok_or(NotSealed::Refused)?;
        let (len, front) = (packet.len(), esp::HEADER + iv.len());
        packet.append(self.sealed_len(len).checked_sub(front + len).ok_or(NotSealed::Refused)?);
        packet.prepend(front);
        self.seal_place(sequence, iv, next_header, len, packet.bytes_mut())
    }

    /// Length of the ESP packet around a text of `len` bytes.
    #[inline]
    pub(super) fn sealed_len(&self, len: usize) -> usize {
        let encryption = self.sealer.encryption();
        let text = len + esp::padding(len, encryption.block_len()) + esp::TRAILER;
        self.text_at() + text + self.sealer.icv_len()
    }

    /// Where the text stands in an ESP packet.
    #[inline]
    pub(super) fn text_at(&self) -> usize {
        esp::HEADER + self.sealer.encryption().iv_len()
    }

    /// Seals the text of `len` bytes that stands at its place in what is to be the ESP packet, [`Self::sealed_len`] long.
    #[inline]
    pub(super) fn seal_place(
        &self,
        sequence: u64,
        iv: &[u8],
        next_header: u8,
        len: usize,
        packet: &mut [u8],
    ) -> Result<(), NotSealed> {
        if packet.len() > usize::from(u16::MAX) {
            return Err(NotSealed::Refused);
        }
        let sequence = Sequence::new(self.spi_out, sequence);
        let (header, rest) = packet.split_first_chunk_mut::<{ esp::HEADER }>().ok_or(NotSealed::Refused)?;
        let (vector, body) = rest.split_at_mut_checked(iv.len()).ok_or(NotSealed::Refused)?;
        *header = sequence.header;
        vector.copy_from_slice(iv);
        let text_len = body.len().checked_sub(self.sealer.icv_len()).ok_or(NotSealed::Refused)?;
        let (text, icv) = body.split_at_mut_checked(text_len).ok_or(NotSealed::Refused)?;
        esp::write_trailer(text.get_mut(len..).ok_or(NotSealed::Refused)?, next_header);
        let (aad, tail) = sequence.authenticated(self.esn, self.sealer.encryption().is_aead());
        self.sealer.seal(iv, aad, tail, text, icv).map_err(|_| NotSealed::Refused)
    }
}

impl Sa {
    /// Takes off what is not protected: nothing in tunnel mode, the IP header in transport mode, where the outer header
    /// takes its place (RFC 4303 section 3.1.1). Returns the next header.
    fn undress(&self, packet: &mut Buffer) -> Option<u8> {
        match (self.mode, ip::version(packet.bytes())?) {
            (Mode::Tunnel, 4) => Some(ip::IPV4),
            (Mode::Tunnel, 6) => Some(ip::IPV6),
            (Mode::Transport, _) => {
                let header = ip::Header::parse(packet.bytes()).ok().filter(|header| header.fragment.is_none())?;
                packet.truncate(header.total);
                packet.strip(header.payload);
                Some(header.protocol)
            }
            (Mode::Tunnel, _) => None,
        }
    }
}

/// A sequence number in the forms in which it is sent and authenticated.
pub(super) struct Sequence {
    header: [u8; esp::HEADER],
    high: [u8; 4],
    /// SPI, upper and lower half: what an AEAD authenticates with ESN (RFC 4106 section 5).
    extended: [u8; 12],
}

impl Sequence {
    pub(super) fn new(spi: u32, sequence: u64) -> Self {
        let [a, b, c, d] = spi.to_be_bytes();
        let [h0, h1, h2, h3, l0, l1, l2, l3] = sequence.to_be_bytes();
        Self {
            header: [a, b, c, d, l0, l1, l2, l3],
            high: [h0, h1, h2, h3],
            extended: [a, b, c, d, h0, h1, h2, h3, l0, l1, l2, l3],
        }
    }

    /// What is authenticated in front of the vector and behind the text (RFC 4303 section 2.8, RFC 4106 section 5).
    pub(super) fn authenticated(&self, esn: bool, aead: bool) -> (&[u8], &[u8]) {
        match (esn, aead) {
            (false, _) => (&self.header, &[]),
            (true, true) => (&self.extended, &[]),
            (true, false) => (&self.header, &self.high),
        }
    }
}
