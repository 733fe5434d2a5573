//! The laboratory: a folder of `interop/` per scenario, each run alone in network namespaces of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::command::{self, cargo};
use crate::packages;
use crate::report::{Outcome, Report};

/// What a scenario may take unless its test says otherwise with a line `# limit: SECONDS`.
const LIMIT: Duration = Duration::from_secs(180);

/// Exit status of a test that finds it cannot run here; its last line says why.
const CANNOT_RUN: i32 = 77;

/// Namespaces of a run are called `adit-PROCESS-NODE`.
const PREFIX: &str = "adit-";

/// One folder of `interop/`.
pub struct Scenario {
    /// Name of the folder.
    pub name: String,
    /// First line of its README.
    pub title: String,
    folder: PathBuf,
    limit: Duration,
    only: Option<Ports>,
}

/// How the gateway of a run has its network cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// The kernel keeps addresses and ARP.
    Host,
    /// They are the gateway's own.
    Packet,
}

impl Ports {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "host" => Some(Self::Host),
            "packet" => Some(Self::Packet),
            _ => None,
        }
    }

    /// What `PORTS` is in a test.
    fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Packet => "packet",
        }
    }
}

/// Every scenario, in the order of their names.
pub fn scenarios(root: &Path) -> io::Result<Vec<Scenario>> {
    let mut scenarios = Vec::new();
    for entry in fs::read_dir(root.join("interop"))? {
        let folder = entry?.path();
        let Ok(test) = fs::read_to_string(folder.join("test")) else { continue };
        let readme = fs::read_to_string(folder.join("README.md")).unwrap_or_default();
        scenarios.push(Scenario {
            name: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            title: readme.lines().next().unwrap_or_default().trim_start_matches('#').trim().to_owned(),
            limit: limit(&test),
            only: header(&test, "# ports: ").and_then(Ports::parse),
            folder,
        });
    }
    scenarios.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scenarios)
}

fn limit(test: &str) -> Duration {
    header(test, "# limit: ").and_then(|own| own.parse().ok()).map_or(LIMIT, Duration::from_secs)
}

fn header<'a>(test: &'a str, name: &str) -> Option<&'a str> {
    test.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The Debian packages of every scenario.
pub fn all_packages(root: &Path) -> Vec<String> {
    let mut names = packages::read(&root.join("interop/packages"));
    for scenario in scenarios(root).unwrap_or_default() {
        names.extend(packages::read(&scenario.folder.join("packages")));
    }
    names
}

/// What the words of a command line ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted<'a> {
    names: Vec<&'a str>,
    release: bool,
    ports: Option<Ports>,
}

impl<'a> Wanted<'a> {
    fn parse(words: &[&'a str]) -> Result<Self, String> {
        let mut wanted = Self::default();
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            match word {
                "--release" => wanted.release = true,
                "--ports" => {
                    let kind = words.next().and_then(Ports::parse);
                    wanted.ports = Some(kind.ok_or("--ports: expected host or packet")?);
                }
                other if other.starts_with("--") => return Err(format!("there is no option {other}")),
                name => wanted.names.push(name),
            }
        }
        Ok(wanted)
    }
}

/// Builds the binary and runs the scenarios that `words` name, or all that suit the kind of ports. Each is a result of
/// its own.
pub fn run(root: &Path, words: &[&str], report: &mut Report) {
    let wanted = match Wanted::parse(words) {
        Ok(wanted) => wanted,
        Err(why) => return report.add("interop", Outcome::Failed(why)),
    };
    let all = match scenarios(root) {
        Ok(all) => all,
        Err(error) => return report.add("interop", Outcome::Failed(format!("interop/: {error}"))),
    };
    for name in wanted.names.iter().filter(|name| !all.iter().any(|scenario| scenario.name == **name)) {
        report.add(name, Outcome::Failed(format!("there is no scenario {name}; see cargo xtask interop --list")));
    }
    let chosen: Vec<(Scenario, Ports)> = all
        .into_iter()
        .filter_map(|scenario| {
            let own = scenario.only.unwrap_or(Ports::Host);
            match (wanted.names.is_empty(), wanted.ports) {
                (true, ports) => {
                    let ports = ports.unwrap_or(own);
                    scenario.only.is_none_or(|only| only == ports).then_some((scenario, ports))
                }
                (false, ports) => {
                    wanted.names.contains(&scenario.name.as_str()).then_some((scenario, ports.unwrap_or(own)))
                }
            }
        })
        .collect();
    let title = |scenario: &Scenario, ports: Ports| match ports {
        Ports::Host => format!("interop {}", scenario.name),
        Ports::Packet => format!("interop {} (packet ports)", scenario.name),
    };

    if let Some(reason) = obstacle() {
        for (scenario, ports) in chosen {
            report.add(&title(&scenario, ports), Outcome::Skipped(reason.clone()));
        }
        return;
    }
    let binary = match build(root, wanted.release) {
        Ok(binary) => binary,
        Err(why) => return report.add("interop", Outcome::Failed(why)),
    };
    remove_leftovers(root);
    for (scenario, ports) in chosen {
        report.run(&title(&scenario, ports), || one(root, &scenario, ports, &binary));
    }
}

/// Why no network namespace with a TUN device can be made on this machine.
pub fn obstacle() -> Option<String> {
    if !command::is_root() {
        return Some("needs root, for network namespaces and TUN devices".into());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("needs /dev/net/tun".into());
    }
    let probe = format!("{PREFIX}probe-{}", std::process::id());
    if command::output_of("ip", &["netns", "add", &probe]).is_none() {
        return Some("needs iproute2 and the right to make network namespaces".into());
    }
    command::output_of("ip", &["netns", "delete", &probe]);
    None
}

/// Builds the binary; where it is.
pub fn build(root: &Path, release: bool) -> Result<PathBuf, String> {
    let mut build = cargo();
    build.args(["build", "--package", "adit", "--message-format", "json-render-diagnostics"]);
    if release {
        build.arg("--release");
    }
    let output = build.output().map_err(|error| format!("cargo build: {error}"))?;
    if !output.status.success() {
        return Err(command::tail(&String::from_utf8_lossy(&output.stderr), 100));
    }
    // Cargo says where it has put the binary: the target folder may be anywhere.
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| Some(root.join(message.get("executable")?.as_str()?)))
        .next_back()
        .ok_or_else(|| "cargo build made no binary".to_owned())
}

fn one(root: &Path, scenario: &Scenario, ports: Ports, binary: &Path) -> Outcome {
    let needed = packages::read(&root.join("interop/packages"));
    let missing = packages::missing(needed.into_iter().chain(packages::read(&scenario.folder.join("packages"))));
    if !missing.is_empty() {
        return Outcome::Skipped(format!("needs the Debian packages {}", missing.join(" ")));
    }
    // Paths of sockets are short: not below the workspace, which may be deep.
    let state = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id())).join(&scenario.name);
    let world = World { root, prefix: format!("{PREFIX}{}-", std::process::id()), state };
    if let Err(error) = fs::create_dir_all(&world.state) {
        return Outcome::Failed(format!("{}: {error}", world.state.display()));
    }
    let mut test = Command::new("bash");
    test.arg(scenario.folder.join("test")).env("ADIT", binary);
    test.env("LAB_PREFIX", &world.prefix).env("LAB_STATE", &world.state).env("PORTS", ports.name());
    let kept = match ports {
        Ports::Host => root.join("target/interop").join(&scenario.name),
        Ports::Packet => root.join("target/interop/packet-ports").join(&scenario.name),
    };
    // What an earlier run left there would be mistaken for this one's.
    let _ = fs::remove_dir_all(&kept);
    let begin = Instant::now();
    let finished = match command::run(&mut test, &kept.join("output.log"), scenario.limit) {
        Ok(finished) => finished,
        Err(error) => return Outcome::Failed(format!("bash: {error}")),
    };
    if finished.success {
        return Outcome::Passed;
    }
    if finished.status == Some(CANNOT_RUN) {
        return Outcome::Skipped(finished.output.lines().last().unwrap_or("it does not say why").to_owned());
    }
    let mut why = format!(
        "{}\n{}\nfailed after {:.0} s; logs are kept in {}\n",
        scenario.folder.join("test").display(),
        command::tail(&finished.output, 80),
        begin.elapsed().as_secs_f64(),
        kept.display()
    );
    for log in ["adit.log", "branch/log", "second/log"] {
        let Ok(bytes) = fs::read(world.state.join(log)) else { continue };
        let _ = fs::write(kept.join(log.replace('/', ".")), &bytes);
        why.push_str(&format!("--- end of {log}\n{}\n", command::tail(&String::from_utf8_lossy(&bytes), 40)));
    }
    Outcome::Failed(why)
}

/// The namespaces and files of one scenario; gone when dropped, whatever happened.
struct World<'a> {
    root: &'a Path,
    prefix: String,
    state: PathBuf,
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        tear_down(self.root, &self.prefix);
        let _ = fs::remove_dir_all(&self.state);
        if let Some(run) = self.state.parent() {
            // Succeeds for the last scenario of a run: the folder is empty then.
            let _ = fs::remove_dir(run);
        }
    }
}

fn tear_down(root: &Path, prefix: &str) {
    let _ = Command::new(root.join("interop/topology.sh")).arg("down").env("LAB_PREFIX", prefix).status();
}

/// Ends what runs that were killed have left: their process exists no more, their namespaces do.
fn remove_leftovers(root: &Path) {
    let names = command::output_of("ip", &["netns", "list"]).unwrap_or_default();
    let mut runs: Vec<&str> = names.lines().filter_map(run_of).collect();
    runs.dedup();
    for run in runs.into_iter().filter(|run| !Path::new("/proc").join(run).exists()) {
        println!("   removing what run {run} has left");
        tear_down(root, &format!("{PREFIX}{run}-"));
    }
}

/// The process number in a namespace's name.
fn run_of(line: &str) -> Option<&str> {
    let (process, _) = line.strip_prefix(PREFIX)?.split_once('-')?;
    process.parse::<u32>().ok().map(|_| process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_may_ask_for_more_time() {
        assert_eq!(limit("#!/bin/bash\n# limit: 600\n\nworld\n"), Duration::from_secs(600));
        assert_eq!(limit("#!/bin/bash\nworld\n"), LIMIT);
    }

    #[test]
    fn the_kind_of_ports_is_chosen_by_a_word_and_by_the_scenario() {
        let wanted = Wanted::parse(&["--ports", "packet", "responder", "--release"]).unwrap();
        assert_eq!(wanted, Wanted { names: vec!["responder"], release: true, ports: Some(Ports::Packet) });
        assert!(Wanted::parse(&["--ports"]).is_err());
        assert!(Wanted::parse(&["--ports", "serial"]).is_err());
        assert!(Wanted::parse(&["--port"]).is_err());
        assert_eq!(header("#!/bin/bash\n# ports: packet\n", "# ports: "), Some("packet"));
    }

    #[test]
    fn only_namespaces_of_runs_are_recognised() {
        assert_eq!(run_of("adit-4711-gw-a (id: 3)"), Some("4711"));
        assert_eq!(run_of("adit-gw-a"), None);
        assert_eq!(run_of("lab-4711-gw-a"), None);
    }

    #[test]
    fn every_scenario_says_what_it_proves() {
        let root = crate::root();
        let scenarios = scenarios(&root).unwrap();
        assert!(!scenarios.is_empty());
        for scenario in scenarios {
            assert!(!scenario.title.is_empty(), "{} has no README.md", scenario.name);
        }
    }
}
