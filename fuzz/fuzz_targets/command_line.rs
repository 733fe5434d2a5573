//! Lines typed or pasted into the command line.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| objects::harness::command_line(bytes));
