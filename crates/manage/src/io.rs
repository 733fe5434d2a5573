//! What a device is told and what it wants done beyond its gateway: operators' lines in, text out.

use std::fmt;

/// An operator's connection: a console, a socket, a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// What happens to a device. Lines may hold keys: `Debug` shows their lengths.
pub enum Input {
    /// Something for the gateway.
    Gateway(engine::Input),
    /// An operator typed a line.
    Line {
        /// Who.
        client: ClientId,
        /// The line, without its end.
        line: String,
    },
    /// The operator's next line is its last: no later one can give what is missing in it.
    LastLine(ClientId),
    /// An operator pressed TAB.
    Complete {
        /// Who.
        client: ClientId,
        /// The line so far.
        line: String,
        /// Where the cursor stands, in bytes.
        cursor: usize,
    },
    /// An operator interrupted the command that runs (Ctrl-C): a ping that counts, for instance.
    Interrupt(ClientId),
    /// An operator does not read as fast as commands answer: none of its commands begins until [`Input::Room`].
    Full(ClientId),
    /// An operator has read most of what it was told.
    Room(ClientId),
    /// An operator left.
    Closed(ClientId),
    /// A [`Action::Store`] has been done, or why not.
    Stored {
        /// Which.
        ticket: u64,
        /// What went wrong, for people.
        result: Result<(), String>,
    },
    /// The host's interfaces or addresses are these now.
    Interfaces(Vec<objects::HostInterface>),
}

/// What a device wants done, in order. Texts may hold keys: `Debug` shows their lengths.
pub enum Action {
    /// Something of the gateway's.
    Gateway(engine::Action),
    /// Text for an operator. A command may answer several times; the last has `done`.
    Reply {
        /// To whom.
        client: ClientId,
        /// The text; lines end in a line feed.
        text: String,
        /// Nothing more comes for this line: how it ended, and the prompt for the next.
        done: Option<Done>,
    },
    /// What could stand at the cursor.
    Candidates {
        /// To whom.
        client: ClientId,
        /// Where the word that is completed begins, in bytes.
        start: usize,
        /// Each candidate's text and a few words about it.
        candidates: Vec<(String, String)>,
        /// A hint to print when no candidate fits, or beside them.
        hint: Option<String>,
    },
    /// Write the committed configuration so that it survives a power cut, then say [`Input::Stored`].
    Store {
        /// To be given back.
        ticket: u64,
        /// The whole text.
        text: String,
    },
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// False: the command failed.
    pub success: bool,
    /// The prompt for the next line, for example `Device:/main> `.
    pub prompt: String,
}

/// Stands for a text that may hold keys.
struct Hidden<'a>(&'a str);

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.len())
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(input) => f.debug_tuple("Gateway").field(input).finish(),
            Self::Line { client, line } => {
                f.debug_struct("Line").field("client", client).field("line", &Hidden(line)).finish()
            }
            Self::Complete { client, line, cursor } => {
                let line = Hidden(line);
                f.debug_struct("Complete").field("client", client).field("line", &line).field("cursor", cursor).finish()
            }
            Self::LastLine(client) => f.debug_tuple("LastLine").field(client).finish(),
            Self::Interrupt(client) => f.debug_tuple("Interrupt").field(client).finish(),
            Self::Full(client) => f.debug_tuple("Full").field(client).finish(),
            Self::Room(client) => f.debug_tuple("Room").field(client).finish(),
            Self::Closed(client) => f.debug_tuple("Closed").field(client).finish(),
            Self::Stored { ticket, result } => {
                f.debug_struct("Stored").field("ticket", ticket).field("result", result).finish()
            }
            Self::Interfaces(interfaces) => f.debug_tuple("Interfaces").field(interfaces).finish(),
        }
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(action) => f.debug_tuple("Gateway").field(action).finish(),
            Self::Reply { client, text, done } => {
                let text = Hidden(text);
                f.debug_struct("Reply").field("client", client).field("text", &text).field("done", done).finish()
            }
            Self::Candidates { client, candidates, .. } => {
                f.debug_struct("Candidates").field("client", client).field("count", &candidates.len()).finish()
            }
            Self::Store { ticket, text } => {
                f.debug_struct("Store").field("ticket", ticket).field("text", &Hidden(text)).finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_printed_for_debugging() {
        let (client, key) = (ClientId(1), "swordfish".to_owned());
        let printed = [
            format!("{:?}", Input::Line { client, line: key.clone() }),
            format!("{:?}", Input::Complete { client, line: key.clone(), cursor: 0 }),
            format!("{:?}", Action::Reply { client, text: key.clone(), done: None }),
            format!("{:?}", Action::Store { ticket: 1, text: key }),
            format!("{:?}", schema::lex::Command::parse("set PSK x PSKAscii=swordfish -option=swordfish")),
        ];
        assert!(printed.iter().all(|text| !text.contains("swordfish")), "{printed:?}");
        assert!(printed.iter().take(4).all(|text| text.contains("9 bytes")), "{printed:?}");
    }
}
