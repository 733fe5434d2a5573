//! A policy and what happens to a gateway under it: the packet path and its model must agree.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane::model::run(bytes));
