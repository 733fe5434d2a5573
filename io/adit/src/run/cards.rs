//! Packet ports: the network cards that the gateway owns at layer 2.

use std::collections::BTreeMap;
use std::io;

use base::{Buffer, Offload};
use engine::{OpenPort, WantedPort};
use link::PortId;
use objects::HostInterface;

use crate::epoll::{Epoll, Token};
use crate::forwarding::{Forwarding, Outcome};
use crate::nic::Nic;
use crate::offload::complete;
use crate::packet::{FRAME_MAX, Frame, FrameReceiveBatch, FrameSendBatch, PacketPort};

/// Frames that wait to be sent by one card, at most; what comes then finds the card busy and is lost, as on a full queue.
const QUEUE_MAX: usize = 4_096;

/// The cards that are open.
pub struct Cards {
    cards: BTreeMap<PortId, Card>,
    wanted: Vec<WantedPort>,
    /// Why a card could not be opened, so that it is told once.
    refused: BTreeMap<PortId, String>,
    receive: FrameReceiveBatch,
    /// Takes the place of a buffer of the batch while its frame is copied.
    spare: Buffer,
    send: FrameSendBatch,
    first_token: u64,
}

struct Card {
    nic: Nic,
    socket: PacketPort,
    told: OpenPort,
    waiting: Vec<Frame>,
    filter: link::Filter,
    /// The kernel's addresses on it, as they were told.
    shared: String,
}

/// What became of a card.
pub enum News {
    /// It is open, or has changed.
    Open(OpenPort),
    /// It cannot be opened.
    Refused { device: String, reason: String },
    /// It is open, and the kernel has got addresses on it since.
    Shared { device: String, addresses: String },
    /// The kernel could not be made silent on it.
    Switch(Outcome),
}

/// What of the host the cards depend on.
pub struct Host<'a> {
    pub epoll: &'a Epoll,
    /// The kernel's interfaces as they are now.
    pub interfaces: &'a [HostInterface],
    /// What makes the kernel silent.
    pub forwarding: &'a mut Forwarding,
}

impl Host<'_> {
    /// The addresses that the kernel has on a card. Those of one link only it loses without regret.
    fn addresses(&self, device: &str) -> Vec<String> {
        let here = self.interfaces.iter().find(|interface| interface.name == device);
        let addresses = here.map(|interface| interface.addresses.as_slice()).unwrap_or_default();
        addresses.iter().map(|(address, prefix)| format!("{address}/{prefix}")).collect()
    }
}

impl Cards {
    /// None yet; each waits with tokens from `first_token` on.
    pub fn new(first_token: u64) -> Self {
        Self {
            cards: BTreeMap::new(),
            wanted: Vec::new(),
            refused: BTreeMap::new(),
            receive: FrameReceiveBatch::new(),
            spare: Buffer::with_capacity(FRAME_MAX),
            send: FrameSendBatch::new(),
            first_token,
        }
    }

    /// Opens what is wanted and closes everything else.
    pub fn want(&mut self, wanted: Vec<WantedPort>, host: &mut Host<'_>) -> Vec<News> {
        let (kept, gone) = std::mem::take(&mut self.cards)
            .into_iter()
            .partition(|(port, _): &(PortId, Card)| wanted.iter().any(|wanted| wanted.port == *port));
        self.cards = kept;
        let gone: BTreeMap<PortId, Card> = gone;
        for card in gone.into_values() {
            let device = card.nic.name().to_owned();
            // First nothing of ours is sent any more, then the kernel speaks again.
            drop(card);
            host.forwarding.disown(&device);
        }
        self.refused.clear();
        self.wanted = wanted;
        self.look(host)
    }

    /// Looks at the cards again: opens those that could not be opened before, and tells what has changed.
    pub fn look(&mut self, host: &mut Host<'_>) -> Vec<News> {
        let mut news = Vec::new();
        for wanted in &self.wanted {
            let (port, device) = (wanted.port, wanted.device.clone());
            let addresses = host.addresses(&device).join(", ");
            if let Some(card) = self.cards.get_mut(&port) {
                // A card that has gone comes back with another number.
                let same = Nic::named(&device).is_ok_and(|nic| nic.index() == card.nic.index());
                match card.nic.state() {
                    Ok(state) if same => {
                        let open = OpenPort { port, mac: state.mac, up: state.up };
                        if card.told != open {
                            card.told = open;
                            news.push(News::Open(open));
                        }
                        if card.shared != addresses {
                            card.shared.clone_from(&addresses);
                            if !addresses.is_empty() {
                                news.push(News::Shared { device, addresses });
                            }
                        }
                        // Somebody may have switched on what makes the kernel speak.
                        news.extend(host.forwarding.silence(card.nic.name()).into_iter().map(News::Switch));
                        continue;
                    }
                    _ => {
                        news.push(News::Open(OpenPort { up: false, ..card.told }));
                        self.cards.remove(&port);
                    }
                }
            }
            let opened = if addresses.is_empty() {
                open(port, &device, host.forwarding, &mut news)
            } else {
                Err(io::Error::other(format!(
                    "{device} still has the kernel's address {addresses}; remove it with `ip address flush dev {device}`, \
                     and the gateway takes the card"
                )))
            };
            match opened {
                Ok(card) => {
                    let token = Token(self.first_token + u64::from(port.0));
                    if let Err(error) = host.epoll.add(&card.socket, token) {
                        news.push(News::Refused { device, reason: error.to_string() });
                        continue;
                    }
                    self.refused.remove(&port);
                    news.push(News::Open(card.told));
                    self.cards.insert(port, card);
                }
                Err(error) => {
                    let reason = error.to_string();
                    if self.refused.get(&port) != Some(&reason) {
                        self.refused.insert(port, reason.clone());
                        news.push(News::Refused { device, reason });
                    }
                }
            }
        }
        news
    }

    /// What a card must let through.
    pub fn set_filter(&mut self, port: PortId, filter: link::Filter) -> io::Result<()> {
        let Some(card) = self.cards.get_mut(&port) else { return Ok(()) };
        card.socket.set_filter(&card.nic, &card.filter, &filter)?;
        card.filter = filter;
        Ok(())
    }

    /// Takes a batch from the card with this token: whole frames, each as it would be on a wire.
    pub fn receive(&mut self, token: u64, mut buffer: impl FnMut() -> Buffer, mut take: impl FnMut(PortId, Buffer)) {
        let Some(port) = token.checked_sub(self.first_token).and_then(|port| u16::try_from(port).ok()).map(PortId)
        else {
            return;
        };
        let Some(card) = self.cards.get(&port) else { return };
        for index in 0..self.receive.receive(&card.socket).unwrap_or(0) {
            let spare = std::mem::take(&mut self.spare);
            let Some(Frame { offload, mut bytes }) = self.receive.take(index, spare) else {
                self.spare = Buffer::with_capacity(FRAME_MAX);
                continue;
            };
            whole(bytes.bytes(), offload, &mut buffer, |frame| take(port, frame));
            bytes.clear();
            self.spare = bytes;
        }
    }

    /// Queues a frame.
    pub fn queue(&mut self, port: PortId, frame: Buffer) {
        if let Some(card) = self.cards.get_mut(&port)
            && card.waiting.len() < QUEUE_MAX
        {
            card.waiting.push(Frame { offload: Offload::NONE, bytes: frame });
        }
    }

    /// Sends what is queued.
    pub fn flush(&mut self, mut recycle: impl FnMut(Buffer), mut failed: impl FnMut(&str, &io::Error)) {
        for card in self.cards.values_mut().filter(|card| !card.waiting.is_empty()) {
            self.send.send(&card.socket, &card.waiting, |error| failed(card.nic.name(), error));
            card.waiting.drain(..).for_each(|frame| recycle(frame.bytes));
        }
    }
}

fn open(port: PortId, device: &str, forwarding: &mut Forwarding, news: &mut Vec<News>) -> io::Result<Card> {
    let nic = Nic::named(device)?;
    // Before anything is changed: something else than a card stays as it is.
    nic.state()?;
    news.extend(forwarding.own(device).into_iter().map(News::Switch));
    let state = nic.state()?;
    let socket = PacketPort::open_group(&nic, 1)?.pop().ok_or_else(|| io::Error::other("no socket"))?;
    let told = OpenPort { port, mac: state.mac, up: state.up };
    Ok(Card { nic, socket, told, waiting: Vec::new(), filter: link::Filter::default(), shared: String::new() })
}

/// Hands on a frame as it would be on a wire: cut, where it stands for several, and with its checksums.
fn whole(frame: &[u8], offload: Offload, buffer: &mut impl FnMut() -> Buffer, take: impl FnMut(Buffer)) {
    // One tag at most is understood; what has more is dropped by the link layer.
    let front = if frame.get(12..14) == Some(&[0x81, 0x00]) { 18 } else { 14 };
    complete(front, frame, offload, buffer, take);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_stands_for_several_comes_out_as_these() {
        let payload: Vec<u8> = (0..3000_u32).map(|i| i.to_be_bytes()[3]).collect();
        let segment = [&[0, 80, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0], &payload[..]].concat();
        let (a, b) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let packet = wire::icmp::ip_packet(a, b, 6, &segment).unwrap();
        for tag in [&[][..], &[0x81, 0, 0, 7]] {
            let frame = [&[2; 12], tag, &[8, 0], &packet].concat();
            let start = u16::try_from(frame.len() - segment.len()).unwrap();
            let offload = Offload {
                checksum: Some(base::Checksum { start, offset: 16 }),
                segments: Some(base::Segments { kind: base::SegmentKind::TcpV4, size: 1400, header_len: start + 20 }),
            };
            let mut frames = Vec::new();
            whole(&frame, offload, &mut || Buffer::with_capacity(2048), |frame| frames.push(frame.bytes().to_vec()));
            let front = 14 + tag.len();
            assert_eq!(frames.iter().map(|frame| frame.len() - front - 40).collect::<Vec<_>>(), [1400, 1400, 200]);
            assert!(frames.iter().all(|piece| piece[..front] == frame[..front]));
            let joined: Vec<u8> = frames.iter().flat_map(|frame| frame[front + 40..].to_vec()).collect();
            assert_eq!(joined, payload);
        }
    }
}
