//! The messages of real daemons in `vectors/ike-messages.json`, whole and damaged.

use base::Mutations;

use super::{Datagram, Envelope, ExchangeType, PayloadType, Protection, harness, parse_message};

const CASES: usize = 100_000;

struct Captured {
    version: String,
    exchange: String,
    bytes: Vec<u8>,
}

fn captured() -> Vec<Captured> {
    let json: serde_json::Value =
        serde_json::from_str(include_str!("../../vectors/ike-messages.json")).expect("the corpus is JSON");
    let text = |entry: &serde_json::Value, key: &str| entry[key].as_str().expect("a text").to_owned();
    json.as_array()
        .expect("a list")
        .iter()
        .map(|entry| Captured {
            version: text(entry, "version"),
            exchange: text(entry, "exchange"),
            bytes: from_hex(&text(entry, "msg")),
        })
        .collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digit = |c: u8| u8::try_from(char::from(c).to_digit(16).expect("a digit")).unwrap();
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[test]
fn every_captured_message_is_understood_for_what_it_is() {
    let (mut clear, mut whole, mut fragments, mut old) = (0, 0, 0, 0);
    for Captured { version, exchange, bytes } in captured() {
        let datagram = Datagram::parse(&bytes).unwrap_or_else(|error| panic!("{exchange}: {error}"));
        let header = match datagram {
            Datagram::Clear(message) => {
                clear += 1;
                assert_eq!(message.write().unwrap(), bytes, "written back byte for byte\n{message}");
                message.header
            }
            Datagram::Protected(envelope) => {
                match envelope.protection {
                    Protection::Whole => whole += 1,
                    Protection::Fragment { number, .. } => {
                        fragments += 1;
                        assert_eq!(number > 1, envelope.first == PayloadType::NONE);
                    }
                }
                let mut again =
                    Envelope::prefix(&envelope.header, envelope.protection, envelope.first, envelope.body().len())
                        .unwrap();
                again.extend_from_slice(envelope.body());
                assert_eq!(again, bytes, "laid out byte for byte");
                envelope.header
            }
            Datagram::Version1(header) => {
                old += 1;
                assert_eq!(version, "1.0");
                assert!(parse_message(&bytes).is_err());
                header
            }
            Datagram::Newer(header) => panic!("{header}"),
        };
        let known = match (version.as_str(), exchange.as_str()) {
            ("2.0", "SA_INIT") => ExchangeType::IKE_SA_INIT,
            ("2.0", "AUTH") => ExchangeType::IKE_AUTH,
            ("2.0", "CHILD") => ExchangeType::CREATE_CHILD_SA,
            ("2.0", "INFORMATIONAL") => ExchangeType::INFORMATIONAL,
            ("1.0", "main") => ExchangeType::MAIN_MODE,
            ("1.0", "quick") => ExchangeType::QUICK_MODE,
            ("1.0", "transaction") => ExchangeType::TRANSACTION_V1,
            ("1.0", "aggressive") => ExchangeType::AGGRESSIVE_MODE,
            other => panic!("{other:?}"),
        };
        assert_eq!(header.exchange, known);
    }
    assert_eq!((clear, whole, fragments, old), (72, 176, 71, 105));
}

#[test]
fn a_cut_message_is_refused_wherever_it_was_cut() {
    for Captured { bytes, .. } in captured() {
        for end in 0..bytes.len() {
            assert!(Datagram::parse(&bytes[..end]).is_err());
            harness::datagram(&bytes[..end]);
        }
    }
}

#[test]
fn a_message_survives_the_change_of_each_of_its_bytes() {
    for Captured { mut bytes, exchange, .. } in captured() {
        // Behind the envelope everything is ciphertext, and behind the header of IKEv1 nothing is read.
        let reach = if exchange == "SA_INIT" { bytes.len() } else { Envelope::prefix_len(Protection::Whole) + 4 };
        for place in 0..reach {
            let flip = [0xff, 0x01, 0x80][place % 3];
            bytes[place] ^= flip;
            harness::datagram(&bytes);
            bytes[place] ^= flip;
        }
    }
}

#[test]
fn seeded_damage_to_datagrams_breaks_no_property() {
    let seeds = captured().into_iter().map(|message| message.bytes).collect();
    Mutations::new(1, seeds).take(CASES).for_each(|bytes| harness::datagram(&bytes));
}

#[test]
fn seeded_damage_to_opened_payloads_breaks_no_property() {
    // What real daemons encrypt is not at hand in the clear: their IKE_SA_INIT, and one of every payload of ours.
    let captured = captured().into_iter().filter(|message| message.bytes[18] == ExchangeType::IKE_SA_INIT.0);
    let mut seeds: Vec<Vec<u8>> =
        captured.map(|message| [&message.bytes[16..17], &message.bytes[super::HEADER_LEN..]].concat()).collect();
    let (first, chain) = super::write_payloads(&super::round_trip::one_of_each()).unwrap();
    seeds.extend(vec![[&[first.0], chain.as_slice()].concat(); 20]);
    Mutations::new(2, seeds).take(CASES).for_each(|bytes| harness::inner_payloads(&bytes));
}
