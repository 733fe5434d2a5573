//! What an object, a property, a value, a reference and a transaction is, and the language they are written in. Names no
//! object type: [`object!`] declares those elsewhere, and everything here follows from the declarations.
//!
//! Start with [`object!`] and [`TypeInfo`] for what is declared, [`Tree`] for a configuration, [`Workspace`] for one
//! that is being edited, [`lex`] for how commands are spelled, [`execute`] for what they do, [`load`] and [`text`] for
//! the file. [`complete`](complete::complete), [`help`] and [`manual`] derive from the same declarations.

#![forbid(unsafe_code)]

mod declare;
mod edit;
mod object;
mod problem;
mod save;
mod show;
mod suggest;
mod tree;
mod types;
mod workspace;

#[cfg(test)]
mod tests;

pub mod complete;
#[doc(hidden)]
pub mod harness;
pub mod help;
pub mod kind;
pub mod lex;
pub mod manual;
pub mod mask;

pub use edit::{Context, Reply, VERBS, execute, options};
pub use object::{Object, ObjectId, Value};
pub use problem::{Gravity, Position, Problem};
pub use save::{FILE_MAX, load, masked, read, text};
pub use suggest::nearest;
pub use tree::{Names, OBJECTS_MAX, Tree};
pub use types::{COMMENTS, Naming, PropertyInfo, Registry, TypeInfo};
pub use workspace::{State, Workspace};

/// What a declaration says nothing about.
#[doc(hidden)]
pub const UNDECLARED: TypeInfo = TypeInfo {
    name: "",
    aliases: &[],
    category: None,
    help: &[],
    naming: Naming::Named,
    parents: &[""],
    container: false,
    properties: &[],
    absent: &[],
    columns: &[],
    reserved: &[],
    supersedes: &[],
    sequence: None,
};

/// Lines of a doc comment as running text.
pub(crate) fn sentence(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
