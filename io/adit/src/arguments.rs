//! What can be asked for on the command line.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, value_parser};

use crate::exit::{Exit, say};
use crate::workers::WORKERS_MAX;

/// Where the gateway listens for operators when nothing else is said.
pub const CONTROL_SOCKET: &str = "/run/adit/control.sock";

/// What is to be done.
#[derive(Debug)]
pub enum Command {
    /// Be the gateway.
    Run(RunOptions),
    /// Validate a configuration.
    Check(CheckOptions),
    /// Talk to a gateway.
    Cli(CliOptions),
    /// Show two gateways at work.
    Demo {
        /// In network namespaces instead of in the simulator.
        netns: bool,
    },
}

/// Options of `adit run`.
#[derive(Debug)]
pub struct RunOptions {
    /// The configuration file.
    pub configuration: PathBuf,
    /// The control socket.
    pub control: PathBuf,
    /// Where committed configurations go instead of into the configuration file.
    pub state: Option<PathBuf>,
    /// Threads that carry packets; `None`: one for each core.
    pub workers: Option<u16>,
}

/// Options of `adit check`.
#[derive(Debug)]
pub struct CheckOptions {
    /// The configuration file.
    pub configuration: PathBuf,
    /// Interfaces as `name=address/length,...`; empty: those of this host.
    pub interfaces: Vec<String>,
}

/// Options of `adit cli`.
#[derive(Debug)]
pub struct CliOptions {
    /// The control socket.
    pub control: PathBuf,
    /// The command; empty: an interactive command line.
    pub command: Vec<String>,
}

/// Reads the process's arguments. Help and version are printed here and end the process with success.
pub fn parse() -> Result<Command, Exit> {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            say(&error.to_string());
            return Err(Exit::silent(0));
        }
        Err(error) => {
            // Its text begins with "error: "; ours with the program's name.
            let text = error.to_string();
            return Err(Exit::usage(text.strip_prefix("error: ").unwrap_or(&text)));
        }
    };
    match matches.subcommand() {
        Some(("run", run)) => Ok(Command::Run(RunOptions {
            configuration: path(run, "CONFIG"),
            control: path(run, "control"),
            state: run.get_one("state").cloned(),
            workers: run.get_one("workers").copied(),
        })),
        Some(("check", check)) => Ok(Command::Check(CheckOptions {
            configuration: path(check, "CONFIG"),
            interfaces: strings(check, "interface"),
        })),
        Some(("cli", cli)) => {
            Ok(Command::Cli(CliOptions { control: path(cli, "control"), command: strings(cli, "COMMAND") }))
        }
        Some(("demo", demo)) => Ok(Command::Demo { netns: demo.get_flag("netns") }),
        _ => Err(Exit::usage("no such command; adit --help lists them")),
    }
}

fn path(matches: &ArgMatches, name: &str) -> PathBuf {
    matches.get_one::<PathBuf>(name).cloned().unwrap_or_default()
}

fn strings(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.get_many::<String>(name).map(|values| values.cloned().collect()).unwrap_or_default()
}

fn command() -> clap::Command {
    let configuration = || {
        Arg::new("CONFIG")
            .required(true)
            .value_parser(value_parser!(PathBuf))
            .help("The configuration: the commands that build it, one a line")
    };
    let control = || {
        Arg::new("control")
            .long("control")
            .value_name("SOCKET")
            .default_value(CONTROL_SOCKET)
            .value_parser(value_parser!(PathBuf))
            .help("The socket on which the gateway and its operators meet")
    };
    clap::Command::new("adit")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Adit, an IPsec VPN gateway")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(
            clap::Command::new("run")
                .about("Be the gateway, in the foreground, until SIGTERM or SIGINT")
                .arg(configuration())
                .arg(control())
                .arg(
                    Arg::new("state")
                        .long("state")
                        .value_name("DIR")
                        .value_parser(value_parser!(PathBuf))
                        .help("Commit into DIR/config.adit and start from it once it exists; CONFIG is never written"),
                )
                .arg(
                    Arg::new("workers")
                        .long("workers")
                        .value_name("N")
                        .value_parser(value_parser!(u16).range(1..=i64::from(WORKERS_MAX)))
                        .help("Threads that carry packets; one for each core unless given"),
                )
                .after_help(
                    "`commit` rewrites CONFIG, so that a restart begins with what was committed. With --state, CONFIG \
                     is only what the first start begins with.",
                ),
        )
        .subcommand(
            clap::Command::new("check")
                .about("Validate a configuration and print every problem; status 1 when any is an error")
                .arg(configuration())
                .arg(
                    Arg::new("interface")
                        .long("interface")
                        .value_name("NAME=ADDRESS/LENGTH,...")
                        .action(ArgAction::Append)
                        .help("Check for a host with this interface instead of for this host; may be repeated"),
                ),
        )
        .subcommand(
            clap::Command::new("cli")
                .about("The command line of a running gateway; with COMMAND, run that and exit")
                .arg(control())
                .arg(Arg::new("COMMAND").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true)),
        )
        .subcommand(
            clap::Command::new("demo")
                .about(
                    "Show two gateways, a tunnel and traffic through it, then the command line of one; no root needed",
                )
                .arg(Arg::new("netns").long("netns").action(ArgAction::SetTrue).help(
                    "With two daemons in network namespaces and the kernel's TCP instead of simulated ones (root)",
                )),
        )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound() {
        super::command().debug_assert();
    }

    #[test]
    fn options_of_a_gateway_command_are_not_taken_for_ours() {
        let matches = super::command().try_get_matches_from(["adit", "cli", "ipsec", "-show", "--num=all"]).unwrap();
        let (_, cli) = matches.subcommand().unwrap();
        assert_eq!(super::strings(cli, "COMMAND"), ["ipsec", "-show", "--num=all"]);
    }
}
