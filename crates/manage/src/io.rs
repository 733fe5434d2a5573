//! What a device is told and what it wants done beyond its gateway: operators' lines in, text out.

/// An operator's connection: a console, a socket, a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// What happens to a device.
#[derive(Debug)]
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

/// What a device wants done, in order.
#[derive(Debug)]
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
