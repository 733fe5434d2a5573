//! Fragments in any order, wrong ones among them: what they become is what the model of reassembly says.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane::model::reassembly(bytes));
