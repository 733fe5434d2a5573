//! A datagram on port 500 or 4500 from anybody.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::ike::harness::datagram(bytes));
