//! Writes the first inputs of every target into `corpus/TARGET/`, one file each: `cargo run --bin seeds`.
//!
//! What is committed are the vectors of the crates; this makes of them what libFuzzer reads.

use std::error::Error;
use std::fs;
use std::path::Path;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let messages = captured_ike_messages()?;
    // The harness wants the first payload's type and then the chain, which an IKE_SA_INIT shows in the clear.
    let chains = messages
        .iter()
        .filter(|message| message.get(18) == Some(&34))
        .filter_map(|message| Some([message.get(16..17)?, message.get(28..)?].concat()));
    write("ike_inner_payloads", chains)?;
    write("ike_datagram", messages.iter().cloned())?;
    let packets = packets().ok_or("a packet could not be made")?;
    // For `traffic` each has a byte that says where it comes in, and its length.
    let framed = |(way, packet): (u8, &Vec<u8>)| {
        let [high, low] = u16::try_from(packet.len()).unwrap_or(0).to_be_bytes();
        [&[way, high, low], packet.as_slice()].concat()
    };
    write("traffic", std::iter::once((0..).zip(&packets).flat_map(framed).collect()))?;
    // For `nat_icmp` the first byte says which sides are translated.
    let sided = (1..4).flat_map(|sides| packets.iter().map(move |packet| [&[sides], packet.as_slice()].concat()));
    write("nat_icmp", sided)?;
    write("frames", link::harness::seeds().into_iter())?;
    write("model", dataplane::model::seeds().into_iter())?;
    write("reassembly", dataplane::model::reassembly_seeds().into_iter())?;
    write("ip_packet", packets.into_iter())?;
    let examples = [
        include_str!("../../examples/lan-to-lan/head-office.adit"),
        include_str!("../../examples/lan-to-lan/branch.adit"),
    ];
    for target in ["configuration", "command_line"] {
        write(target, examples.iter().map(|example| example.as_bytes().to_vec()))?;
    }
    Ok(())
}

/// Packets between the networks of `dataplane::harness::Gateway`.
fn packets() -> Option<Vec<Vec<u8>>> {
    use wire::{icmp, ip, ipv6};
    let v4 = ([172, 16, 1, 10].into(), [192, 168, 11, 10].into());
    let v6 = ([0x2001, 0xdb8, 1, 0, 0, 0, 0, 10].into(), [0x2001, 0xdb8, 2, 0, 0, 0, 0, 10].into());
    let syn = [4, 1, 0, 80, 0, 0, 0, 9, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 0xb4];
    let datagram = [4, 1, 0, 53, 0, 9, 0, 0, 1];
    let mut packets = Vec::new();
    for (here, there) in [v4, v6] {
        let ping = icmp::echo_request(here, there, 1, 1, &[7; 30])?;
        packets.push(icmp::error_packet(icmp::Problem::TooBig(1300), there, here, &ping)?);
        packets.push(ping);
        packets.push(icmp::ip_packet(here, there, ip::TCP, &syn)?);
        packets.push(icmp::ip_packet(here, there, ip::UDP, &datagram)?);
    }
    // Fragments within a fragment: each header says that the packet behind it is whole.
    let mut nested = [ipv6::FRAGMENT, 0, 0, 0, 0, 0, 0, 7].repeat(180);
    nested.extend([ip::UDP, 0, 0, 0, 0, 0, 0, 7]);
    nested.extend(datagram);
    packets.push(icmp::ip_packet(v6.0, v6.1, ipv6::FRAGMENT, &nested)?);
    Some(packets)
}

fn write(target: &str, inputs: impl Iterator<Item = Vec<u8>>) -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    let mut count = 0;
    for (index, input) in inputs.enumerate() {
        fs::write(folder.join(format!("seed-{index:04}")), input)?;
        count += 1;
    }
    println!("{target}: {count} seeds");
    Ok(())
}

fn captured_ike_messages() -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let json: serde_json::Value = serde_json::from_str(include_str!("../../crates/wire/vectors/ike-messages.json"))?;
    let messages = json.as_array().ok_or("ike-messages.json is not a list")?;
    messages.iter().map(|message| from_hex(message["msg"].as_str().ok_or("a message without msg")?)).collect()
}

fn from_hex(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    text.as_bytes().chunks(2).map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}
