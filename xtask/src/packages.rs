//! Debian packages that tests need: installed when we may, named when we may not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::command;

/// The package names of a list, one a line, with comments behind `#`.
pub fn read(list: &Path) -> Vec<String> {
    let text = fs::read_to_string(list).unwrap_or_default();
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Those of `names` that are not installed.
pub fn missing(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let wanted: BTreeSet<String> = names.into_iter().collect();
    wanted.into_iter().filter(|name| !installed(name)).collect()
}

fn installed(name: &str) -> bool {
    command::output_of("dpkg-query", &["-W", "-f=${Status}", name])
        .is_some_and(|status| status == "install ok installed")
}

/// Installs what is missing, or says how to. The laboratory finds out for itself what it lacks afterwards.
pub fn provide(root: &Path, names: impl IntoIterator<Item = String>) {
    let missing = missing(names);
    if missing.is_empty() {
        return;
    }
    let wanted = missing.join(" ");
    if !command::exists("apt-get") {
        println!("   tests need these Debian packages or what corresponds to them: {wanted}");
        return;
    }
    if !command::is_root() {
        println!("   tests need packages; install them with: sudo apt-get install --no-install-recommends {wanted}");
        return;
    }
    println!("   installing {wanted}");
    let log = root.join("target/xtask/apt.log");
    for arguments in [vec!["update", "-q"], install(&missing)] {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        match command::run(&mut apt, &log, Duration::from_secs(600)) {
            Ok(finished) if finished.success => {}
            Ok(finished) => println!("{}", command::tail(&finished.output, 20)),
            Err(error) => println!("   apt-get: {error}"),
        }
    }
}

fn install(names: &[String]) -> Vec<&str> {
    let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends"];
    arguments.extend(names.iter().map(String::as_str));
    arguments
}
