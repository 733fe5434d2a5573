//! Writes the generated pages of the manual into a folder: `cargo xtask generate` calls it.
//!
//! It stands with the binary because only here every declaration can be seen, those of the daemon's own events too.

#[path = "../src/events.rs"]
mod events;

use std::error::Error;
use std::fs;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: reference FOLDER")?);
    fs::create_dir_all(&folder)?;
    let tables = [
        ike::events::EVENTS,
        dataplane::events::EVENTS,
        link::events::EVENTS,
        engine::EVENTS,
        manage::EVENTS,
        events::EVENTS,
    ];
    fs::write(folder.join("objects.md"), objects::reference())?;
    fs::write(folder.join("commands.md"), manage::reference_commands())?;
    fs::write(folder.join("events.md"), manage::reference_events(&tables))?;
    Ok(())
}
