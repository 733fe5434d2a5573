//! What is on the wire between the gateways while a TCP stream runs: a figure counts only if it is the protocol that it
//! claims to be, and nothing of the hosts' packets is to be seen.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use super::contenders::Carrier;
use super::world::{Background, FAR_HOST, NEAR_HOST, World};
use crate::command;

/// So many frames are looked at.
const FRAMES: &str = "400";
/// Fewer frames of the carrier than this prove nothing.
const ENOUGH: usize = 50;
/// How long tcpdump may take to begin, and the stream to end.
const LIMIT: Duration = Duration::from_secs(20);
/// Header of a capture file, of a record in it, and of an Ethernet frame.
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const ETHERNET_HEADER: usize = 14;
const UDP: u8 = 17;
const ESP: u8 = 50;

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// Frames of the carrier, every one with a sequence number of its own where it is ESP.
    pub carrier: usize,
    /// IKE.
    pub negotiation: usize,
    /// Frames that hold an address pair of the hosts, anywhere.
    pub clear: usize,
    /// Frames of ESP whose sequence number had been there.
    pub repeated: usize,
    /// Other IPv4.
    pub other: usize,
}

impl Wire {
    /// Why a row with this capture does not count.
    pub fn objection(&self, carrier: Carrier) -> Option<String> {
        if carrier == Carrier::Clear {
            let blind = self.clear < ENOUGH;
            return blind.then(|| format!("only {} frames in clear text were seen, where all are", self.clear));
        }
        if self.clear > 0 {
            return Some(format!("{} frames show the hosts' addresses", self.clear));
        }
        if self.carrier < ENOUGH {
            return Some(format!("only {} frames of {} were seen", self.carrier, carrier.title()));
        }
        if self.repeated > 0 {
            return Some(format!("{} frames repeat a sequence number", self.repeated));
        }
        (self.other > 0).then(|| format!("{} frames are not {}", self.other, carrier.title()))
    }
}

/// Captures at a gateway while the hosts talk.
pub fn look(world: &World, carrier: Carrier) -> Result<Wire, String> {
    let file = world.file("wire.pcap");
    let mut tcpdump = world.node("gw-b", "tcpdump");
    tcpdump.args(["-i", "wan", "-n", "-U", "-Z", "root", "-s", "0", "-c", FRAMES, "-w"]).arg(&file);
    let capturing = Background::spawn(&mut tcpdump)?;
    let end = Instant::now() + LIMIT;
    // Its first bytes are written when it listens.
    while fs::metadata(&file).map_or(0, |file| file.len()) < FILE_HEADER as u64 {
        if Instant::now() > end {
            return Err("tcpdump does not begin".into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    let _server = world.server()?;
    let mut client = world.node("lan-a", "iperf3");
    client.args(["-c", FAR_HOST, "-n", "4M", "--connect-timeout", "5000"]);
    let finished = command::run(&mut client, &world.file("iperf.log"), LIMIT).map_err(|error| error.to_string())?;
    if !finished.success {
        return Err(format!("iperf3 -n 4M\n{}", command::tail(&finished.output, 10)));
    }
    drop(capturing);
    let bytes = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(judge(&bytes, carrier))
}

/// Sorts the frames of a capture file.
fn judge(file: &[u8], carrier: Carrier) -> Wire {
    let mut wire = Wire::default();
    let mut seen = BTreeSet::new();
    for frame in frames(file) {
        let Some(packet) = frame.get(ETHERNET_HEADER..).filter(|_| frame.get(12..14) == Some(&[0x08, 0x00])) else {
            continue;
        };
        if shows_hosts(packet) {
            wire.clear += 1;
        }
        match kind(packet) {
            Kind::Negotiation => wire.negotiation += 1,
            // The rest of a packet in fragments.
            Kind::Fragment => {}
            Kind::Is(found, esp) if found == carrier => {
                wire.carrier += 1;
                if esp.is_some_and(|id| !seen.insert(id)) {
                    wire.repeated += 1;
                }
            }
            Kind::Is(..) => wire.other += 1,
        }
    }
    wire
}

enum Kind {
    Negotiation,
    Fragment,
    /// With SPI and sequence number of ESP.
    Is(Carrier, Option<[u8; 8]>),
}

fn kind(packet: &[u8]) -> Kind {
    let header = usize::from(packet.first().copied().unwrap_or(0) & 0x0f) * 4;
    let number = |bytes: &[u8], at: usize| bytes.get(at..)?.first_chunk().map(|two| u16::from_be_bytes(*two));
    let offset = number(packet, 6).unwrap_or(0);
    if offset & 0x1fff != 0 {
        return Kind::Fragment;
    }
    let payload = packet.get(header..).unwrap_or_default();
    match packet.get(9) {
        Some(&ESP) => Kind::Is(Carrier::Esp, payload.first_chunk().copied()),
        Some(&UDP) => {
            let port = number(payload, 2).unwrap_or(0);
            let data = payload.get(8..).unwrap_or_default();
            // A keep-alive is one byte, and four zero bytes stand before IKE (RFC 3948, sections 2.2 and 2.3).
            match (port, data.first_chunk::<8>()) {
                (500, _) | (4500, None) => Kind::Negotiation,
                (4500, Some(start)) if start.starts_with(&[0; 4]) => Kind::Negotiation,
                (4500, Some(start)) => Kind::Is(Carrier::EspInUdp, Some(*start)),
                (port, _) => Kind::Is(Carrier::Udp(port), None),
            }
        }
        _ => Kind::Is(Carrier::Clear, None),
    }
}

/// Whether the hosts' addresses stand side by side, either way, anywhere in the packet.
fn shows_hosts(packet: &[u8]) -> bool {
    let octets = |text: &str| text.parse::<Ipv4Addr>().map(|address| address.octets()).unwrap_or_default();
    let (near, far) = (octets(NEAR_HOST), octets(FAR_HOST));
    packet.windows(8).any(|window| {
        window.split_at_checked(4).is_some_and(|(a, b)| (a == near && b == far) || (a == far && b == near))
    })
}

/// The frames of a capture file in this machine's byte order, as tcpdump writes it.
fn frames(file: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    let mut rest = file.get(FILE_HEADER..).unwrap_or_default();
    while let Some((header, behind)) = rest.split_at_checked(RECORD_HEADER) {
        let length =
            header.get(8..12).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_ne_bytes(*bytes));
        // A file that ends in the middle of a record was still being written.
        let Some((frame, next)) = usize::try_from(length).ok().and_then(|length| behind.split_at_checked(length))
        else {
            break;
        };
        frames.push(frame);
        rest = next;
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(protocol: u8, source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
        for address in [source, destination] {
            packet.extend(address.parse::<Ipv4Addr>().unwrap().octets());
        }
        packet.extend(payload);
        packet
    }

    fn outer(protocol: u8, payload: &[u8]) -> Vec<u8> {
        ipv4(protocol, "198.51.100.1", "198.51.100.2", payload)
    }

    fn udp(port: u16, data: &[u8]) -> Vec<u8> {
        let mut payload = vec![0x11, 0x94];
        payload.extend(port.to_be_bytes());
        payload.extend([0; 4]);
        payload.extend(data);
        outer(UDP, &payload)
    }

    fn file(packets: &[Vec<u8>]) -> Vec<u8> {
        let mut file = vec![0; FILE_HEADER];
        for packet in packets {
            let length = u32::try_from(packet.len() + ETHERNET_HEADER).unwrap();
            file.extend([0; 8]);
            file.extend(length.to_ne_bytes());
            file.extend(length.to_ne_bytes());
            file.extend([0; 12]);
            file.extend([0x08, 0x00]);
            file.extend(packet);
        }
        file
    }

    fn esp(sequence: u8) -> Vec<u8> {
        vec![1, 2, 3, 4, 0, 0, 0, sequence, 0xee, 0xee, 0xee]
    }

    #[test]
    fn esp_of_either_kind_is_told_from_ike_and_from_keep_alives() {
        let packets =
            [udp(4500, &esp(1)), udp(4500, &esp(2)), udp(4500, &[0; 40]), udp(4500, &[0xff]), udp(500, &[1; 40])];
        let wire = judge(&file(&packets), Carrier::EspInUdp);
        assert_eq!(wire, Wire { carrier: 2, negotiation: 3, ..Wire::default() });
        let wire = judge(&file(&[outer(ESP, &esp(1)), udp(4500, &esp(2))]), Carrier::Esp);
        assert_eq!(wire, Wire { carrier: 1, other: 1, ..Wire::default() });
    }

    #[test]
    fn a_sequence_number_that_comes_again_is_seen() {
        let wire = judge(&file(&[outer(ESP, &esp(1)), outer(ESP, &esp(1))]), Carrier::Esp);
        assert_eq!(wire.repeated, 1);
    }

    #[test]
    fn the_hosts_addresses_are_found_even_inside_of_something_else() {
        let inner = ipv4(6, FAR_HOST, NEAR_HOST, &[]);
        let hidden = [esp(1), inner.clone()].concat();
        let wire = judge(&file(&[inner, udp(4500, &hidden), udp(4500, &esp(2))]), Carrier::EspInUdp);
        assert_eq!(wire.clear, 2);
        let wire = Wire { carrier: 100, ..wire };
        assert_eq!(wire.objection(Carrier::EspInUdp).unwrap(), "2 frames show the hosts' addresses");
    }

    #[test]
    fn a_capture_without_the_carrier_proves_nothing() {
        assert!(Wire::default().objection(Carrier::Esp).is_some());
        assert!(Wire::default().objection(Carrier::Clear).is_some());
        assert_eq!(Wire { carrier: ENOUGH, ..Wire::default() }.objection(Carrier::Esp), None);
        assert_eq!(Wire { clear: ENOUGH, ..Wire::default() }.objection(Carrier::Clear), None);
    }

    #[test]
    fn a_file_that_ends_in_the_middle_of_a_record_is_read_up_to_there() {
        let whole = file(&[outer(ESP, &esp(1)), outer(ESP, &esp(2))]);
        assert_eq!(frames(&whole).len(), 2);
        assert_eq!(frames(&whole[..whole.len() - 1]).len(), 1);
    }
}
