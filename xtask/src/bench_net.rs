//! `cargo xtask bench-net`: throughput and latency through adit and through other tunnels, host - gateway - gateway -
//! host in network namespaces of this machine, each figure beside those of the same run.
//!
//! [`contenders`] is the list of who competes, [`world`] builds the namespaces and removes them whatever happens,
//! [`measure`] runs iperf3 and ping, [`capture`] looks at what was on the wire meanwhile, [`table`] prints.

mod capture;
mod contenders;
mod measure;
mod table;
mod world;

use std::fs;
use std::path::Path;

use crate::report::{Outcome, Report};
use crate::{interop, packages};
use contenders::{CONTENDERS, Contender};
use measure::Plan;
use table::Row;
use world::World;

/// Debian packages that every contender needs.
const PACKAGES: [&str; 6] = ["iproute2", "ethtool", "procps", "iputils-ping", "iperf3", "tcpdump"];

/// Seconds of one TCP measurement unless the command line says otherwise.
const SECONDS: u32 = 4;
/// The same with `--quick`.
const QUICK: u32 = 3;

/// What the interfaces may leave to each other; see `bench/net/topology.sh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Packets as on a cable.
    Off,
    /// As the kernel makes the links, with GRO.
    On,
    /// As on a cable, merged by the gateways' own interfaces.
    Gro,
}

impl Setting {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Gro => "gro",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Off => "link offloads off",
            Self::On => "link offloads on",
            Self::Gro => "link offloads off, GRO on at the gateways",
        }
    }
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    plan: Plan,
    settings: Vec<Setting>,
    /// Whether the scheduler is asked to prefer us.
    priority: bool,
    /// Names of contenders, or the beginnings of names before a dash; empty for all.
    only: Vec<String>,
}

impl Options {
    fn read(words: &[&str]) -> Result<Self, String> {
        let mut options = Self {
            plan: Plan::with(SECONDS),
            settings: vec![Setting::Off, Setting::On],
            priority: false,
            only: Vec::new(),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().copied().ok_or_else(|| format!("{word} needs a value"));
            match *word {
                "--quick" => options.plan = Plan::quick(QUICK),
                "--priority" => options.priority = true,
                "--seconds" => {
                    let text = value()?;
                    let seconds = text.parse().ok().filter(|seconds| (1..=600).contains(seconds));
                    let seconds = seconds.ok_or_else(|| format!("--seconds {text}: a number from 1 to 600"))?;
                    options.plan = Plan::with(seconds);
                }
                "--only" => {
                    options.only = value()?.split(',').map(str::to_owned).collect();
                    let known = |name: &&String| CONTENDERS.iter().any(|contender| contender.is(name));
                    if let Some(name) = options.only.iter().find(|name| !known(name)) {
                        let names: Vec<&str> = CONTENDERS.iter().map(|contender| contender.name).collect();
                        return Err(format!("--only {name}: there are {}", names.join(", ")));
                    }
                }
                "--setting" => {
                    options.settings = match value()? {
                        "off" => vec![Setting::Off],
                        "on" => vec![Setting::On],
                        "gro" => vec![Setting::Gro],
                        "all" => vec![Setting::Off, Setting::On, Setting::Gro],
                        other => return Err(format!("--setting {other}: off, on, gro or all")),
                    }
                }
                other => return Err(format!("{other}: unknown; see cargo xtask")),
            }
        }
        Ok(options)
    }

    fn chosen(&self) -> Vec<&'static Contender> {
        let wanted = |contender: &&Contender| self.only.is_empty() || self.only.iter().any(|name| contender.is(name));
        CONTENDERS.iter().filter(wanted).collect()
    }
}

/// Measures every contender that is chosen and can be had, in every setting, and prints the tables.
pub fn run(root: &Path, words: &[&str], report: &mut Report) {
    let options = match Options::read(words) {
        Ok(options) => options,
        Err(why) => return report.add("bench-net", Outcome::Failed(why)),
    };
    if let Some(reason) = interop::obstacle() {
        return report.add("bench-net", Outcome::Skipped(reason));
    }
    let chosen = options.chosen();
    let needed = chosen.iter().flat_map(|contender| contender.packages.iter());
    packages::provide(root, needed.chain(&PACKAGES).map(|name| (*name).to_owned()));
    let missing = packages::missing(PACKAGES.map(str::to_owned));
    if !missing.is_empty() {
        return report.add("bench-net", Outcome::Skipped(needs(&missing)));
    }
    let binary = match interop::build(root, true) {
        Ok(binary) => binary,
        Err(why) => return report.add("bench-net", Outcome::Failed(why)),
    };
    if options.priority
        && let Err(why) = world::prefer("self")
    {
        return report.add("bench-net", Outcome::Failed(why));
    }
    let mut figures = String::new();
    for setting in &options.settings {
        let mut rows = Vec::new();
        for contender in &chosen {
            let name = format!("{} with {}", contender.name, setting.title());
            report.stage(&name, |report| match one(root, &binary, contender, *setting, &options) {
                Ok(row) => {
                    report.add(&name, row.verdict());
                    rows.push(row);
                }
                Err(outcome) => report.add(&name, outcome),
            });
        }
        let text = table::table(*setting, &rows);
        let lines = table::figures(*setting, &rows);
        println!("\n{text}\n{}\n{lines}", table::goals(*setting, &rows));
        figures.push_str(&lines);
    }
    let file = root.join("target/bench-net/figures.jsonl");
    let written = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&file, figures));
    match written {
        Ok(()) => println!("the figures, one a line: {}", file.display()),
        Err(error) => report.add("bench-net", Outcome::Failed(format!("{}: {error}", file.display()))),
    }
}

/// One row: fresh namespaces, the contender's daemons, what was on the wire, the measurements.
fn one(root: &Path, binary: &Path, contender: &Contender, setting: Setting, options: &Options) -> Result<Row, Outcome> {
    let missing = packages::missing(contender.packages.iter().map(|name| (*name).to_owned()));
    if !missing.is_empty() {
        return Err(Outcome::Skipped(needs(&missing)));
    }
    let busy = measure::busy();
    let world = World::build(root, setting).map_err(Outcome::Failed)?;
    world.start(contender, binary)?;
    if options.priority {
        world.prefer_gateways().map_err(Outcome::Failed)?;
    }
    let wire = capture::look(&world, contender.carrier).map_err(Outcome::Failed)?;
    let figures = measure::all(&world, &options.plan).map_err(Outcome::Failed)?;
    Ok(Row { contender: contender.name, carrier: contender.carrier, busy, wire, figures })
}

fn needs(packages: &[String]) -> String {
    format!("needs the Debian packages {}", packages.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_says_who_where_and_how_long() {
        let options = Options::read(&["--only", "adit,plain", "--setting", "gro", "--seconds", "9"]).unwrap();
        assert_eq!(options.settings, [Setting::Gro]);
        assert_eq!(options.plan, Plan::with(9));
        let names: Vec<&str> = options.chosen().iter().map(|contender| contender.name).collect();
        assert_eq!(names, ["plain", "adit-udp", "adit-esp"]);
    }

    #[test]
    fn without_options_everybody_runs_in_the_two_main_settings() {
        let options = Options::read(&[]).unwrap();
        assert_eq!(options.settings, [Setting::Off, Setting::On]);
        assert_eq!(options.chosen().len(), CONTENDERS.len());
    }

    #[test]
    fn a_wrong_word_is_answered_with_the_right_ones() {
        assert!(Options::read(&["--only", "adit,me"]).unwrap_err().contains("strongswan"));
        assert!(Options::read(&["--setting", "half"]).unwrap_err().contains("gro"));
        assert!(Options::read(&["--seconds", "0"]).unwrap_err().contains("600"));
        assert!(Options::read(&["--seconds"]).unwrap_err().contains("needs a value"));
    }
}
