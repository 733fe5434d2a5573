//! What a new connection costs with few rules and with many: by the whole packet path, and by the classifier alone, in time
//! of the processor, so that other processes count little. Behind
//! the measurements a table of factors against ten rules, and what compiling ten thousand of them costs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs
)]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::print_stdout, reason = "it measures and prints")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base::{Buffer, IpRange, Random};
use criterion::{BenchmarkId, Criterion};
use dataplane::{
    CORE, Classifier, Dataplane, Interface, InterfaceId, InterfaceKind, Output, Policy, Question, Route, Rule,
    RuleAction, Service,
};

const LAN: InterfaceId = InterfaceId(1);
const WAN: InterfaceId = InterfaceId(2);
const COUNTS: [usize; 4] = [10, 100, 1_000, 10_000];
/// Connections before the table is emptied.
const BATCH: usize = 20_000;

/// A kind of rule set: the rule of each number among so many, and a packet that finds it, or is for none.
struct Shape {
    name: &'static str,
    rule: fn(u32, u32, &mut Random) -> Rule,
    question: fn(&Rule, &mut Random) -> Question,
}

const SHAPES: [Shape; 10] = [
    Shape { name: "host pairs", rule: |n, _, _| rule(host(n), other_host(n * 7 % 65_536)), question: inside },
    Shape {
        name: "ports alone",
        rule: |n, _, _| Rule { services: vec![port(n), port(n + 20_000)], ..any() },
        question: inside,
    },
    Shape { name: "one source", rule: |n, _, _| rule(host(7), other_host(n)), question: inside },
    Shape {
        name: "one source, misses",
        rule: |n, _, _| rule(host(7), other_host(n)),
        question: |rule, random| Question { destination: other_host(60_000).first(), ..inside(rule, random) },
    },
    Shape {
        name: "port lists",
        rule: |n, _, random| {
            let services = (0..30).map(|_| port(random.below(60_000) as u32)).collect();
            Rule { services, ..rule(net([10, 1, n as u8, 0], 24), net([10, 2, (n >> 4) as u8, 0], 24)) }
        },
        question: inside,
    },
    Shape {
        name: "nested networks",
        rule: |n, of, random| {
            let ends = |lowest: u32| IpRange::new(v4(lowest + (of - n)), v4(lowest + 65_535 - (of - n))).unwrap();
            Rule { services: vec![port(random.below(200) as u32)], ..rule(ends(0x0a01_0000), ends(0x0a02_0000)) }
        },
        question: inside,
    },
    Shape {
        name: "both families",
        rule: |n, _, _| {
            let v6 =
                |site: u16| IpRange::network(IpAddr::from([0x2001, 0xdb8, site, n as u16, 0, 0, 0, 0]), 64).unwrap();
            if n.is_multiple_of(2) { rule(v6(1), v6(2)) } else { rule(host(n), other_host(n)) }
        },
        question: inside,
    },
    Shape {
        name: "denied hosts first",
        rule: |n, of, _| match n < of / 2 {
            true => Rule { action: RuleAction::Drop, ..rule(host(n * 3), ALL) },
            false => Rule { services: vec![port(n)], ..any() },
        },
        question: |rule, random| Question {
            source: v4(0x0a01_0000 + 30_001 + random.below(9_999) as u32),
            ..inside(rule, random)
        },
    },
    Shape {
        name: "scattered grid",
        rule: |_, of, random| {
            let side = u64::from(of.isqrt());
            rule(host(random.below(side) as u32), other_host(random.below(side) as u32))
        },
        question: inside,
    },
    Shape {
        // Every block has rules for each field, and none for all of them.
        name: "alternating, misses",
        rule: |n, _, _| {
            let half = |site, upper| net([10, site, if upper { 128 } else { 0 }, 0], 17);
            rule(half(1, n.is_multiple_of(2)), half(2, !n.is_multiple_of(2)))
        },
        question: |rule, random| {
            let asked = inside(rule, random);
            let IpAddr::V4(source) = asked.source else { return asked };
            Question { destination: v4(source.to_bits() + 0x1_0000), ..asked }
        },
    },
];

const ALL: IpRange = IpRange::ALL_V4;

fn v4(bits: u32) -> IpAddr {
    IpAddr::V4(bits.into())
}

fn host(number: u32) -> IpRange {
    IpRange::host(v4(0x0a01_0000 + number % 65_536))
}

fn other_host(number: u32) -> IpRange {
    IpRange::host(v4(0x0a02_0000 + number % 65_536))
}

fn net(octets: [u8; 4], prefix: u8) -> IpRange {
    IpRange::network(octets.into(), prefix).unwrap()
}

fn port(number: u32) -> Service {
    let number = (number % 65_536) as u16;
    Service::Ports { protocol: 17, source: vec![0..=u16::MAX], destination: vec![number..=number] }
}

fn any() -> Rule {
    Rule::new("any", RuleAction::Allow)
}

fn rule(source: IpRange, destination: IpRange) -> Rule {
    Rule {
        source_interfaces: Some(vec![LAN]),
        destination_interfaces: Some(vec![WAN]),
        source_networks: vec![source],
        destination_networks: vec![destination],
        ..any()
    }
}

/// UDP between addresses for which the rule is, and between these networks.
fn inside(rule: &Rule, random: &mut Random) -> Question {
    let mut among = |ranges: &[IpRange], site: u32| match (ranges[0].first(), ranges[0].last()) {
        _ if ranges[0] == ALL => v4(0x0a00_0000 + (site << 16) + random.below(65_536) as u32),
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            v4(first.to_bits() + random.below(u64::from(last.to_bits() - first.to_bits()) + 1) as u32)
        }
        (IpAddr::V6(first), _) => IpAddr::V6((first.to_bits() + u128::from(random.u32())).into()),
        mixed => panic!("{mixed:?}"),
    };
    let (source, destination) = (among(&rule.source_networks, 1), among(&rule.destination_networks, 2));
    let to = match &rule.services[random.below(rule.services.len() as u64) as usize] {
        Service::Ports { destination, .. } => *destination[0].start(),
        _ => 53,
    };
    let (source_interface, destination_interface) = (LAN, WAN);
    Question { source_interface, destination_interface, source, destination, protocol: 17, ports: (0, to), icmp: None }
}

impl Shape {
    /// So many rules, the last one for all that is left, and packets of connections which are all different.
    fn make(&self, count: usize) -> (Vec<Rule>, Vec<Question>) {
        let mut random = Random::numbered(1);
        let of = count as u32 - 1;
        let mut rules: Vec<Rule> = (0..of).map(|number| (self.rule)(number, of, &mut random)).collect();
        let questions = (0..BATCH).map(|number| {
            let asked = (self.question)(&rules[random.below(of.into()) as usize], &mut random);
            Question { ports: (number as u16, asked.ports.1), ..asked }
        });
        let questions = questions.collect();
        rules.push(any());
        (rules, questions)
    }
}

/// The best time of each measurement.
type Times = BTreeMap<(&'static str, &'static str, usize), f64>;

fn classifier_alone(c: &mut Criterion, times: &mut Times) {
    for shape in &SHAPES {
        let mut group = c.benchmark_group(format!("first-match/{}", shape.name));
        for count in COUNTS {
            let (rules, questions) = shape.make(count);
            let classifier = Classifier::new(&rules);
            let best = times.entry(("first-match", shape.name, count)).or_insert(f64::MAX);
            group.bench_function(BenchmarkId::from_parameter(count), |b| {
                b.iter_custom(|rounds| {
                    let began = clock();
                    let mut next = questions.iter().cycle();
                    for _ in 0..rounds {
                        black_box(classifier.first_match(&rules, black_box(next.next().unwrap())));
                    }
                    noted(clock() - began, rounds, best)
                });
            });
        }
        group.finish();
    }
}

fn whole_path(c: &mut Criterion, times: &mut Times) {
    for shape in &SHAPES {
        let mut group = c.benchmark_group(format!("new-flow/{}", shape.name));
        for count in COUNTS {
            let (rules, questions) = shape.make(count);
            let packets: Vec<Buffer> = questions.iter().map(|question| Buffer::copy(&packet(question))).collect();
            let best = times.entry(("new-flow", shape.name, count)).or_insert(f64::MAX);
            let mut gateway = gateway(rules);
            let (mut now, mut out) = (base::Instant::from_micros(1_000_000), Vec::new());
            group.bench_function(BenchmarkId::from_parameter(count), |b| {
                b.iter_custom(|rounds| {
                    let mut took = Duration::ZERO;
                    let mut left = rounds;
                    while left > 0 {
                        let few = left.min(BATCH as u64);
                        left -= few;
                        let packets: Vec<Buffer> = packets[..few as usize].to_vec();
                        let began = clock();
                        for packet in packets {
                            gateway.plain(now, packet, &mut out);
                            match out.pop() {
                                Some(Output::Plain { packet, .. }) => gateway.recycle(packet),
                                other => panic!("not forwarded: {other:?}"),
                            }
                        }
                        took += clock() - began;
                        // All connections end, so that the next are new again.
                        now += Duration::from_secs(1_000);
                        while gateway.next_deadline().is_some_and(|deadline| deadline <= now) {
                            gateway.expire(now, &mut out);
                            now += Duration::from_millis(2);
                        }
                        out.clear();
                    }
                    noted(took, rounds, best)
                });
            });
        }
        group.finish();
    }
}

fn noted(took: Duration, rounds: u64, best: &mut f64) -> Duration {
    if rounds >= 1_000 {
        *best = best.min(took.as_secs_f64() * 1e9 / rounds as f64);
    }
    took
}

fn packet(question: &Question) -> Vec<u8> {
    let mut datagram = vec![0; 40];
    datagram[..2].copy_from_slice(&question.ports.0.to_be_bytes());
    datagram[2..4].copy_from_slice(&question.ports.1.to_be_bytes());
    datagram[4..6].copy_from_slice(&40u16.to_be_bytes());
    wire::icmp::ip_packet(question.source, question.destination, 17, &datagram).unwrap()
}

fn gateway(mut rules: Vec<Rule>) -> Dataplane {
    for rule in &mut rules {
        rule.action = RuleAction::Allow;
    }
    let interfaces =
        [(CORE, "core", InterfaceKind::Core), (LAN, "lan", InterfaceKind::Host), (WAN, "wan", InterfaceKind::Host)];
    let interfaces = interfaces.into_iter().map(|(id, name, kind)| Interface::new(id, name, kind)).collect();
    let route = |network: &str, interface| Route::new(network.parse().unwrap(), interface, 100);
    let mut policy = Policy::new(
        interfaces,
        vec![
            route("10.1.0.0/16", LAN),
            route("10.2.0.0/16", WAN),
            route("2001:db8:1::/48", LAN),
            route("2001:db8:2::/48", WAN),
        ],
    );
    policy.rules = rules;
    Dataplane::new(Arc::new(policy))
}

fn print_factors(times: &Times) {
    println!("\nnanoseconds per new connection with {COUNTS:?} rules, and the factor from the first to the last");
    for what in ["first-match", "new-flow"] {
        for shape in &SHAPES {
            let of = COUNTS.map(|count| times.get(&(what, shape.name, count)).copied().unwrap_or(f64::MAX));
            if of.contains(&f64::MAX) {
                continue; // Not asked for.
            }
            let line: Vec<String> = of.iter().map(|time| format!("{time:8.1}")).collect();
            println!("{what:<12} {:<22} {}   x {:.2}", shape.name, line.join(" "), of[3] / of[0]);
        }
    }
}

fn print_compiling() {
    println!("\ncompiling 10000 rules");
    for shape in &SHAPES {
        let (rules, _) = shape.make(10_000);
        let before = resident();
        let began = clock();
        let classifier = Classifier::new(&rules);
        let took = clock() - began;
        println!("{:<22} {took:8.1?}  {:7} KiB", shape.name, resident().saturating_sub(before));
        drop(black_box(classifier));
    }
}

/// Time of the processor that this thread has used.
fn clock() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Memory of this process, KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .configure_from_args();
    print_compiling();
    let mut times = Times::new();
    classifier_alone(&mut criterion, &mut times);
    whole_path(&mut criterion, &mut times);
    print_factors(&times);
    criterion.final_summary();
}
