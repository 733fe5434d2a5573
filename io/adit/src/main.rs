//! The binary `adit`: the thin shell around [`manage::Device`], which decides everything.
//!
//! Here are the sockets, the TUN device, the kernel's routes, clocks, files, the console and the only `unsafe` code of
//! the project. Nothing here knows what IKE or ESP is. Start reading at [`run`]: the loop that turns what happens into
//! inputs and carries out the actions that come back.

mod arguments;
mod check;
mod client;
mod clock;
mod console;
mod control;
mod demo;
mod events;
mod forwarding;
mod jobs;
mod log;
mod netlink;
mod notify;
mod privileges;
mod protocol;
mod routes;
mod run;
mod screen;
mod signals;
mod store;
mod workers;

use std::process::ExitCode;

use adit::{datagram, epoll, esp, exit, handover, nic, offload, packet, tun, udp};

fn main() -> ExitCode {
    let outcome = match arguments::parse() {
        Ok(arguments::Command::Run(options)) => run::run(&options),
        Ok(arguments::Command::Check(options)) => check::check(&options),
        Ok(arguments::Command::Cli(options)) => client::cli(&options),
        Ok(arguments::Command::Demo { netns }) => demo::demo(netns),
        Err(exit) => Err(exit),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.report(),
    }
}
