//! ICMP errors, and the packets they quote, through a translated connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane::harness::nat_icmp(bytes));
