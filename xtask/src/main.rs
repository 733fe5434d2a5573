//! Project chores: `cargo xtask test` runs everything that decides whether a change may land.
//!
//! Start reading at [`suite`], the list of stages. [`interop`] runs the laboratory, [`bench_net`] measures through the
//! network, [`layers`] knows which crate may see which, [`mod@reference`] keeps the generated manual true. Depends on nothing of the project itself, so that it is
//! built in seconds and works while the rest does not compile.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for terminals")]

mod bench_net;
mod command;
mod interop;
mod layers;
mod packages;
mod reference;
mod report;
mod suite;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use report::{Outcome, Report};

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  test                        everything: format, lints, tests, documentation, checks, interop laboratory
  generate                    write docs/reference/ from the declarations in the code
  check-docs                  fail when `generate` would change something, or an event lost its number
  check-layers                fail when a crate sees one it must not see
  interop [SCENARIO...]       run the scenarios of interop/ (all, or these; as root)
  interop --list              say what there is and what each proves
  interop --release ...       with an optimised binary
  interop --ports packet ...  with network cards that are the gateway's own, instead of the kernel's (--ports host)
  bench-net [OPTION...]       throughput and latency beside other tunnels, in network namespaces (as root; bench/net/)
    --quick                   a first look: 3 s for each TCP stream, fewer steps
    --seconds N               for each TCP stream; 4 unless given
    --only NAME,NAME          these contenders, such as adit,strongswan
    --priority                before other programs of a machine that has other work
    --setting off|on|gro|all  link offloads; off and on unless given
";

fn main() -> ExitCode {
    let root = root();
    if let Err(error) = env::set_current_dir(&root) {
        eprintln!("cannot change to {}: {error}", root.display());
        return ExitCode::FAILURE;
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut report = Report::new();
    match words.as_slice() {
        ["test"] => suite::run(&root, &mut report),
        ["generate"] => report.run("generate", || reference::generate(&root)),
        ["check-docs"] => report.run("check-docs", || reference::check(&root)),
        ["check-layers"] => report.run("check-layers", || layers::check(&root)),
        ["interop", "--list"] => return list(&root),
        ["interop", rest @ ..] => interop::run(&root, rest, &mut report),
        ["bench-net", rest @ ..] => bench_net::run(&root, rest, &mut report),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    report.finish()
}

/// The workspace: the folder above this package.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

fn list(root: &Path) -> ExitCode {
    match interop::scenarios(root) {
        Ok(scenarios) => {
            for scenario in scenarios {
                println!("{:<20} {}", scenario.name, scenario.title);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
