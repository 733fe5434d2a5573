//! What a fuzz target does with its bytes. The seeded tests do the same on a stable compiler, so that a finding of one is
//! a test of the other. Each function panics when a property does not hold, and is called by tests alone.

use super::{Datagram, Envelope, Header, Message, Payload, PayloadType, parse_payloads, write_payloads};

/// A datagram from anybody: read, printed, and what was understood written and read again. Tried as it is, and with the
/// length field put right, since otherwise hardly a mutation would get past the header.
pub fn datagram(bytes: &[u8]) {
    check_datagram(bytes);
    let mut repaired = bytes.to_vec();
    if let (Some(field), Ok(length)) = (repaired.get_mut(24..28), u32::try_from(bytes.len())) {
        field.copy_from_slice(&length.to_be_bytes());
        check_datagram(&repaired);
    }
}

/// What a peer that has the keys may put into an Encrypted payload: the first byte is the type of the first payload, the
/// rest the chain.
pub fn inner_payloads(bytes: &[u8]) {
    let Some((first, chain)) = bytes.split_first() else { return };
    match parse_payloads(PayloadType(*first), chain) {
        Ok(payloads) => check_payloads(&payloads),
        Err(error) => printable(&error.to_string()),
    }
}

fn check_datagram(bytes: &[u8]) {
    match Datagram::parse(bytes) {
        Ok(Datagram::Clear(message)) => check_message(&message),
        Ok(Datagram::Protected(envelope)) => check_envelope(&envelope),
        Ok(Datagram::Version1(header) | Datagram::Newer(header)) => printable(&header.to_string()),
        Err(error) => printable(&error.to_string()),
    }
}

fn check_message(message: &Message) {
    printable(&message.to_string());
    let written = message.write();
    assert!(written.is_ok(), "what was read can be written: {written:?}");
    let Ok(written) = written else { return };
    assert_eq!(Datagram::parse(&written).as_ref(), Ok(&Datagram::Clear(message.clone())), "written and read again");
}

fn check_payloads(payloads: &[Payload]) {
    payloads.iter().for_each(|payload| printable(&payload.to_string()));
    let written = write_payloads(payloads);
    assert!(written.is_ok(), "what was read can be written: {written:?}");
    let Ok((first, chain)) = written else { return };
    assert_eq!(parse_payloads(first, &chain).as_deref(), Ok(payloads), "written and read again");
}

fn check_envelope(envelope: &Envelope<'_>) {
    printable(&envelope.to_string());
    let tiled = [envelope.aad(), envelope.body()].concat();
    assert_eq!(tiled, envelope.datagram(), "associated data and body are the whole message");
    let Envelope { header, protection, first, .. } = *envelope;
    let again = Envelope::prefix(&header, protection, first, envelope.body().len());
    assert_eq!(again.as_ref().map(Vec::len), Ok(envelope.aad().len()), "laid out again");
    let mut again = again.unwrap_or_default();
    again.extend_from_slice(envelope.body());
    assert_eq!(Header::parse(&again), Ok(header), "the header survives");
}

fn printable(text: &str) {
    // A plain loop: without optimisation, iterators would take most of a seeded test's time.
    let mut hostile = false;
    for &byte in text.as_bytes() {
        hostile |= byte != b'\n' && !matches!(byte, b' '..=b'~');
    }
    assert!(!hostile, "unescaped: {text:?}");
}
