//! What a peer that has the keys may put into an Encrypted payload.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::ike::harness::inner_payloads(bytes));
