//! Opening everything, in an order in which a second gateway on the same host fails before it disturbs the first, and
//! what a killed one left is gone before anything of ours is there.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

use super::cards::Cards;
use super::{CARDS, CLIENTS, JOBS, LISTENER, MONITOR, SIGNALS, Shell, WORKERS, WRITER, report_route};
use crate::arguments::RunOptions;
use crate::control::Control;
use crate::epoll::Epoll;
use crate::esp::EspPort;
use crate::exit::{Exit, complain};
use crate::forwarding::{Forwarding, Outcome};
use crate::jobs::Runner;
use crate::log::{Damper, Log};
use crate::netlink::{Monitor, Netlink};
use crate::routes::{self, Routes};
use crate::signals::Signals;
use crate::store::{self, Place, Writer};
use crate::tun::{Offloads, QUEUE_LENGTH, Tun};
use crate::udp::{PORTS, UdpPort};
use crate::workers::{Outlets, Ports, WORKERS_MAX, Workers};
use crate::{check, clock, events, privileges};

/// The TUN device takes packets of this size at least, bytes; larger when an interface of the host does.
const MTU_MIN: u32 = 1_500;
/// And of this size at most: jumbo frames of common networks. Every buffer holds one packet, and virtual interfaces claim
/// up to 65535; the kernel fragments larger packets, or tells their sender.
const MTU_MAX: u32 = 9_216;

/// Checks the configuration and opens everything that a gateway needs.
pub fn start(options: &RunOptions) -> Result<Shell, Exit> {
    privileges::protect_memory();
    let signals = Signals::take_over().map_err(|error| Exit::failed(format!("signals: {error}")))?;
    let mut log = Log::default();
    let now = clock::now();

    let place = Place::new(&options.configuration, options.state.as_deref())?;
    let file = place.source.display().to_string();
    let text = store::read(&place.source)?;
    if let Some((mode, others)) = store::open_to_others(&place.source) {
        let (mode, remedy) = (format!("{mode:o}"), format!("chmod 600 {file}"));
        let (file, others) = (file.clone(), others.to_owned());
        log.event(now.utc, &events::ConfigurationReadable { file, mode, others, remedy });
    }
    privileges::check()?;

    let failed = |what: &'static str| move |error: io::Error| Exit::failed(format!("{what}: {error}"));
    let mut netlink = Netlink::open().map_err(failed("the kernel's netlink"))?;
    let interfaces = netlink.interfaces(None).map_err(failed("the host's interfaces cannot be read"))?;
    let (mut seed, mut hash_key) = ([0; 32], [0; 8]);
    getrandom(&mut seed, GetRandomFlags::empty())
        .and_then(|_| getrandom(&mut hash_key, GetRandomFlags::empty()))
        .map_err(|error| Exit::failed(format!("the kernel gives no random bytes: {error}")))?;
    let mut device = match manage::Device::new(seed, now, interfaces.clone(), &text) {
        Ok((device, warnings)) => {
            complain(&check::render(&warnings, &file, &text));
            device
        }
        Err(problems) => {
            complain(&check::render(&problems, &file, &text));
            return Err(Exit::failed(format!("{file} has errors: the gateway does not start")));
        }
    };

    let epoll = Epoll::new().map_err(failed("epoll"))?;
    // Both fail when another gateway runs, before anything is touched that may be its own.
    let control = Control::open(&options.control, &epoll, LISTENER, CLIENTS)?;
    let count = usize::from(options.workers.unwrap_or_else(one_for_each_core));
    let sockets = open_sockets(count, &mut log, now.utc)?;
    let (tun, tun_index) = open_the_rest(&mut netlink, &interfaces, count, &mut log, now.utc)?;
    let monitor = Monitor::open().map_err(failed("the kernel's netlink"))?;
    let name = tun.name().to_owned();
    let ports = share_out(tun, sockets).map_err(failed("a worker's ports"))?;
    let first = ports.first().ok_or_else(|| Exit::failed("the TUN device has no queue"))?;
    let outlets = Outlets::of(first).map_err(failed("the control thread's ports"))?;

    let kept = privileges::drop(store::is_foreign(&place.target))?;
    log.event(now.utc, &events::PrivilegesDropped { kept });
    // A thread keeps what its process had when it began: none may begin earlier.
    log.start(io::stdout()).map_err(failed("the logging thread"))?;
    let writer = Writer::start(place.target.clone()).map_err(failed("the writing thread"))?;
    let workers = Workers::start(ports, device.gateway().policy(), u64::from_ne_bytes(hash_key))
        .map_err(failed("a worker's thread"))?;
    device.hand_over(Box::new(workers.orders()));
    let jobs = Runner::start().map_err(failed("the threads for jobs"))?;
    epoll
        .add(&signals, SIGNALS)
        .and_then(|()| epoll.add(&workers, WORKERS))
        .and_then(|()| epoll.add(&monitor, MONITOR))
        .and_then(|()| epoll.add(&writer, WRITER))
        .and_then(|()| epoll.add(&jobs, JOBS))
        .map_err(failed("epoll"))?;
    // Beside the socket, because it is as short-lived: a host that boots anew has its own values again.
    let forwarding = Forwarding::take_over(options.control.with_extension("sysctls"));
    if forwarding.changed() > 0 {
        log.event(now.utc, &events::SysctlsTakenOver { sysctls: forwarding.changed() });
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    log.event(now.utc, &events::Started { version, configuration: file, interface: name });
    Ok(Shell {
        device,
        outlets,
        workers,
        inputs: Vec::new(),
        tun_index,
        cards: Cards::new(CARDS),
        control,
        epoll,
        signals,
        monitor,
        netlink,
        routes: Routes::default(),
        forwarding,
        writer,
        jobs,
        log,
        target: place.target.display().to_string(),
        interfaces,
        links_down: std::collections::BTreeSet::new(),
        settled: None,
        unread: Damper::default(),
        stopping: None,
        down: false,
        lost_frames: Damper::default(),
        actions: Vec::new(),
        frames: Vec::new(),
        news: Vec::new(),
    })
}

/// The sockets of both families, or of IPv4 alone where the kernel has no IPv6: UDP ports for each worker, and for ESP.
type Sockets = (Vec<Vec<UdpPort>>, Vec<EspPort>);

fn open_sockets(count: usize, log: &mut Log, utc: base::UnixTime) -> Result<Sockets, Exit> {
    let mut udp: Vec<Vec<UdpPort>> = (0..count).map(|_| Vec::new()).collect();
    let mut esp = Vec::new();
    for ipv6 in [false, true] {
        let mut absent = None;
        for port in PORTS {
            match UdpPort::open_group(port, ipv6, count)? {
                Ok(group) => udp.iter_mut().zip(group).for_each(|(worker, socket)| worker.push(socket)),
                Err(reason) => absent = Some(reason),
            }
        }
        match EspPort::open(ipv6)? {
            Ok(socket) => esp.push(socket),
            Err(reason) => absent = Some(reason),
        }
        match absent {
            Some(reason) if ipv6 => log.event(utc, &events::Ipv6Absent { reason }),
            Some(reason) => return Err(Exit::failed(format!("this kernel has no IPv4: {reason}"))),
            None => {}
        }
    }
    Ok((udp, esp))
}

fn one_for_each_core() -> u16 {
    std::thread::available_parallelism()
        .map_or(1, |cores| u16::try_from(cores.get()).unwrap_or(u16::MAX))
        .min(WORKERS_MAX)
}

/// Gives each worker its ports. The first receives ESP.
fn share_out(tun: Tun, (udp, esp): Sockets) -> io::Result<Vec<Ports>> {
    let share = |(number, (tun, udp))| {
        let esp: io::Result<Vec<_>> = esp.iter().map(EspPort::try_clone).collect();
        Ok(Ports { tun, udp, esp: esp?, receives_esp: number == 0 })
    };
    tun.into_queues().into_iter().zip(udp).enumerate().map(share).collect()
}

/// The engine, not the device, decides what is too large for a tunnel: what an interface takes in is to pass.
fn tun_mtu(interfaces: &[objects::HostInterface]) -> u32 {
    interfaces.iter().map(|interface| interface.mtu).max().unwrap_or(MTU_MIN).clamp(MTU_MIN, MTU_MAX)
}

/// Clears away what an earlier gateway left, and makes the TUN device. Returns it with its number and its MTU.
fn open_the_rest(
    netlink: &mut Netlink,
    interfaces: &[objects::HostInterface],
    queues: usize,
    log: &mut Log,
    utc: base::UnixTime,
) -> Result<(Tun, u32), Exit> {
    let (stale, troubles) = routes::remove_stale(netlink)
        .map_err(|error| Exit::failed(format!("routes that an earlier gateway left cannot be read: {error}")))?;
    if stale > 0 {
        log.event(utc, &events::StaleRoutesRemoved { routes: stale });
    }
    for trouble in troubles {
        report_route(log, utc, trouble);
    }
    let tun = Tun::create(queues)?;
    // Without them every packet comes by itself, and all else is the same.
    if let Err(error) = tun.leave_to_us(Offloads { tcp: true, udp: true }) {
        log.event(utc, &events::TunWithoutOffloads { reason: error.to_string() });
    }
    let mtu = tun_mtu(interfaces);
    for outcome in Forwarding::prepare_tun(tun.name()) {
        if let Outcome::Refused { sysctl, value, reason } = outcome {
            log.event(utc, &events::SysctlRefused { sysctl, value: value.to_owned(), reason });
        }
    }
    let index = netlink
        .index_of(tun.name())
        .and_then(|index| {
            netlink.set_up(index, mtu, QUEUE_LENGTH)?;
            netlink.give_placeholder(index)?;
            Ok(index)
        })
        .map_err(|error| Exit::failed(format!("the TUN device {} cannot be switched on: {error}", tun.name())))?;
    Ok((tun, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tun_device_takes_what_any_interface_takes_up_to_a_limit() {
        let interface =
            |mtu| objects::HostInterface { name: "lan".to_owned(), mtu, ..objects::HostInterface::default() };
        assert_eq!(tun_mtu(&[]), 1_500);
        assert_eq!(tun_mtu(&[interface(1_280)]), 1_500);
        assert_eq!(tun_mtu(&[interface(1_500), interface(9_000)]), 9_000);
        assert_eq!(tun_mtu(&[interface(65_535), interface(1_500)]), 9_216);
    }
}
