//! An operator's session: where its commands apply, what is still to be run, what runs.

use std::collections::VecDeque;

use engine::PingId;
use schema::Context;
use schema::lex::{Command, TokenKind};

use crate::commands::PingShown;

/// Commands of one line, or of one paste, beyond which the rest is refused.
pub(crate) const QUEUE_MAX: usize = 4096;
/// Commands that run in one step; the rest waits until packets and other operators have had their turn.
pub(crate) const TURN_COMMANDS: usize = 64;
/// A turn ends after the command that brings its answers to this many bytes.
pub(crate) const TURN_TEXT: usize = 64 * 1024;

/// One operator's session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// Where commands apply.
    pub(crate) context: Context,
    /// Commands that wait for the one that runs.
    pub(crate) queue: VecDeque<Command>,
    /// What runs and is not done.
    pub(crate) running: Option<Running>,
    /// Its operator reads more slowly than commands answer: none begins.
    pub(crate) full: bool,
    /// A command of the present line failed.
    pub(crate) failed: bool,
    /// No line comes behind the present one.
    pub(crate) last_line: bool,
    /// The last `add` or `set`, which a line of properties alone continues.
    last: Option<Last>,
}

/// A command that goes on.
#[derive(Debug)]
pub(crate) enum Running {
    /// A ping.
    Ping(PingId, PingShown),
    /// A commit whose text is being stored.
    Commit,
    /// Nothing: the queue has had its turn and goes on when everybody else has had theirs.
    Turn,
}

#[derive(Debug)]
struct Last {
    command: Command,
    /// It took effect; otherwise it waits for required properties.
    done: bool,
}

impl Session {
    /// The command that a line of properties alone stands for: the `add` that still lacks some with these behind it, or
    /// a `set` of the object that the last command was about. People paste commands that the guide prints over several
    /// lines.
    pub(crate) fn continued(&self, command: &Command) -> Option<Command> {
        let only_properties = !command.tokens.is_empty()
            && command.tokens.iter().all(|token| matches!(token.kind, TokenKind::Assignment(..)));
        let last = self.last.as_ref().filter(|_| only_properties)?;
        let mut joined = last.command.clone();
        if last.done {
            joined.tokens.retain(|token| !matches!(token.kind, TokenKind::Assignment(ref name, _) if !is_name(name)));
            if let Some(verb) = joined.tokens.first_mut() {
                verb.kind = TokenKind::Word("set".to_owned());
            }
        }
        joined.tokens.extend(command.tokens.iter().cloned());
        Some(joined)
    }

    /// Remembers an `add` or `set` for [`Self::continued`]; any other command is forgotten with what was before it.
    pub(crate) fn remember(&mut self, command: Command, done: bool) {
        let changes = command
            .words()
            .next()
            .is_some_and(|(verb, _)| verb.eq_ignore_ascii_case("add") || verb.eq_ignore_ascii_case("set"));
        self.last = changes.then_some(Last { command, done });
    }

    /// True when its queue waits for its turn, and would use it.
    pub(crate) fn wants_turn(&self) -> bool {
        matches!(self.running, Some(Running::Turn)) && !self.full
    }

    /// Forgets the last command: nothing continues it.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// True when an `add` waits for required properties.
    pub(crate) fn waits_for_properties(&self) -> bool {
        self.last.as_ref().is_some_and(|last| !last.done)
    }
}

fn is_name(property: &str) -> bool {
    property.eq_ignore_ascii_case("Name")
}
