//! A pair of SAs costs little memory, so that a gateway may have very many.

// The counter is this binary's allocator, for which the language asks `unsafe`; it passes everything on. What the kernel
// says of the process is in a file.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use base::{Instant, IpRange, Selector};
use crypto::{Encryption, Integrity};
use dataplane::{
    CORE, Control, Dataplane, Interface, InterfaceId, InterfaceKind, Mode, Outer, Policy, Sa, SaId, SaParameters,
    TunnelPath,
};

/// Bytes that an established pair of SAs may take.
const PAIR_MAX: usize = 4096;
/// The same of ciphers that are no AEAD: the library's expanded keys of cipher and HMAC take 3,500 of them.
const PAIR_MAX_CBC: usize = 5120;
const PAIRS: u32 = 1_000;

struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing, since the cell is initialised at
// compile time and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.with(|held| held.set(held.get().wrapping_add(layout.size())));
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.with(|held| held.set(held.get().wrapping_sub(layout.size())));
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Memory of the whole process in bytes, with what the cipher library takes from C's own allocator.
fn resident() -> usize {
    const PAGE: usize = 4096;
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * PAGE
}

fn install(dataplane: &mut Dataplane, number: u32, (encryption, integrity): (Encryption, Option<Integrity>)) {
    let host = |net: u32| -> IpAddr { Ipv4Addr::from_bits(net + number).into() };
    let key = |len: usize| vec![number.to_be_bytes()[3]; len];
    let encryption_key = key(encryption.key_len() + encryption.salt_len());
    let integrity_key = key(integrity.map_or(0, Integrity::key_len));
    let parameters = SaParameters {
        id: SaId(number.into()),
        tunnel: InterfaceId(1),
        mode: Mode::Tunnel,
        spi_in: 0x1_0000 + number,
        spi_out: 0x2_0000 + number,
        encryption,
        integrity,
        encryption_key_in: &encryption_key,
        integrity_key_in: &integrity_key,
        encryption_key_out: &encryption_key,
        integrity_key_out: &integrity_key,
        esn: true,
        replay_window: 64,
        local: &[Selector::all(IpRange::host(host(0x0a01_0000)))],
        remote: &[Selector::all(IpRange::host(host(0x0a02_0000)))],
        outer: Outer { local: (host(0), 4500).into(), remote: (host(0xc000_0200), 4500).into(), udp: true },
        outbound_now: true,
        replaces: None,
        soft_bytes: None,
        hard_bytes: None,
    };
    let sa = Sa::new(&parameters).unwrap();
    dataplane.control(Instant::ZERO, Control::Install(sa), &mut Vec::new()).unwrap();
}

#[test]
fn an_established_pair_of_sas_takes_less_than_it_may() {
    let gcm = (Encryption::AesGcm16(256), None);
    let cbc = (Encryption::AesCbc(256), Some(Integrity::HmacSha2_512_256));
    // None is given back before the other is measured.
    let mut kept = Vec::new();
    for (algorithms, most) in [(gcm, PAIR_MAX), (cbc, PAIR_MAX_CBC)] {
        let range = |net: u32| IpRange::network(Ipv4Addr::from_bits(net).into(), 16).unwrap();
        let path = TunnelPath::between(vec![range(0x0a01_0000)], vec![range(0x0a02_0000)]);
        let interfaces = vec![
            Interface::new(CORE, "core", InterfaceKind::Core),
            Interface::new(InterfaceId(1), "tunnel", InterfaceKind::Tunnel(path)),
        ];
        let mut dataplane = Dataplane::new(Arc::new(Policy::new(interfaces, Vec::new())));
        // What a first one brings with it is not each one's.
        install(&mut dataplane, 0, algorithms);
        let (held, whole) = (HELD.with(Cell::get), resident());
        (1..=PAIRS).for_each(|number| install(&mut dataplane, number, algorithms));
        let each = (HELD.with(Cell::get) - held) / usize::try_from(PAIRS).unwrap();
        let with_library = resident().saturating_sub(whole) / usize::try_from(PAIRS).unwrap();
        assert!(each > 100 && each < most, "{algorithms:?}: {each} bytes");
        assert!(with_library < most, "{algorithms:?}: {with_library} bytes with the cipher library");
        assert!((1..=PAIRS).all(|number| dataplane.usage(SaId(number.into())).is_some()));
        kept.push(dataplane);
    }
}
