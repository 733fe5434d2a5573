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
    let examples = [
        include_str!("../../examples/lan-to-lan/head-office.adit"),
        include_str!("../../examples/lan-to-lan/branch.adit"),
    ];
    for target in ["configuration", "command_line"] {
        write(target, examples.iter().map(|example| example.as_bytes().to_vec()))?;
    }
    Ok(())
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
