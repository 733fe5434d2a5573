//! Two IKE endpoints that share a key, and a network that damages, repeats, invents and speaks inside the protection.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assert!(ike::harness::story(bytes, true).bounded);
    let strangers = ike::harness::story(bytes, false);
    assert!(strangers.bounded && strangers.installs == [0, 0], "nobody without the key gets a child SA");
});
