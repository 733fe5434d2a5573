//! The interactive command line: line editing, history and completion around a [`Session`].

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, ExternalPrinter, Helper};

use crate::client::{Session, Watch};
use crate::exit::{Exit, say};
use crate::screen::{Screen, wrapped};

/// Lines that are remembered.
const HISTORY_MAX: usize = 1_000;
/// Words after which a line holds a secret and is not remembered.
const SECRETS: [&str; 3] = ["pskascii", "pskhex", "password"];

/// Reads lines and runs them until the operator leaves.
pub fn interact(session: Session) -> Result<(), Exit> {
    let failed = |error: ReadlineError| Exit::failed(format!("the terminal: {error}"));
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .completion_show_all_if_ambiguous(true)
        .max_history_size(HISTORY_MAX)
        .and_then(|config| config.history_ignore_dups(true))
        .map_err(failed)?
        .build();
    let mut editor: Editor<Assistant, FileHistory> = Editor::with_config(config).map_err(failed)?;
    let watch = session.watch().map_err(|error| Exit::failed(format!("the control socket: {error}")))?;
    let session = Arc::new(Mutex::new(session));
    editor.set_helper(Some(Assistant { session: Arc::clone(&session) }));
    // A terminal for which there is none shows announcements with the next command.
    if let Ok(printer) = editor.create_external_printer() {
        let watched = Arc::clone(&session);
        std::thread::Builder::new()
            .name("announcements".to_owned())
            .spawn(move || announce(&watch, &watched, printer))
            .map_err(|error| Exit::failed(format!("a thread: {error}")))?;
    }
    let history = history_file();
    if let Some(history) = &history {
        // There is none the first time.
        let _ = editor.load_history(history);
    }
    // An empty line brings the prompt.
    let mut prompt = run(&session, "")?;
    loop {
        match editor.readline(&prompt) {
            Ok(line) if is_farewell(&line) => break,
            Ok(line) => {
                if !line.trim().is_empty() && !holds_secret(&line) {
                    let _ = editor.add_history_entry(line.as_str());
                }
                prompt = run(&session, &line)?;
            }
            // Ctrl-C abandons the line.
            Err(ReadlineError::Interrupted) => {}
            // Ctrl-D.
            Err(ReadlineError::Eof) => {
                say("\n");
                break;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    if let Some(history) = &history {
        // A history that cannot be kept is not worth a complaint.
        let _ = editor.save_history(history);
    }
    Ok(())
}

/// Runs a line and returns the prompt for the next.
fn run(session: &Mutex<Session>, line: &str) -> Result<String, Exit> {
    let mut screen = Screen::new(columns());
    let done = hold(session).run(line, |text| say(&screen.take(text)));
    say(&screen.end());
    let mut prompt = done?.prompt;
    if !prompt.ends_with(' ') {
        prompt.push(' ');
    }
    Ok(prompt)
}

/// Prints what the gateway says while no command runs, above the line that is being typed, for as long as it is there.
fn announce(watch: &Watch, session: &Mutex<Session>, mut printer: impl ExternalPrinter) {
    loop {
        watch.wait();
        // Whoever runs a command holds the session, and takes what comes meanwhile.
        let announced = hold(session).announced();
        let gone = announced.is_err();
        let text = match announced {
            Ok(text) => Screen::new(columns()).take(&text),
            Err(exit) => format!("{}; this console has ended: press Enter\n", exit.message()),
        };
        // Without the lock: the editor may be completing, and takes the text only afterwards.
        if (!text.is_empty() && printer.print(text).is_err()) || gone {
            return;
        }
    }
}

/// A thread that has panicked leaves a session that says so by itself when it is used.
fn hold(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How wide the terminal is; 0 when it does not tell.
fn columns() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_col))
}

/// True for a line that ends the session.
pub fn is_farewell(line: &str) -> bool {
    matches!(line.trim().to_ascii_lowercase().as_str(), "exit" | "quit" | "logout")
}

fn holds_secret(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    SECRETS.iter().any(|secret| line.contains(secret))
}

/// Where lines are remembered, in a folder for this user alone.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    let folder = state.join("adit");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
    Some(folder.join("history"))
}

/// Completes with what the gateway knows.
struct Assistant {
    session: Arc<Mutex<Session>>,
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, cursor: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        // What is wrong with the connection shows when the line is run.
        let Ok((start, candidates, hint)) = hold(&self.session).complete(line, cursor) else {
            return Ok((cursor, Vec::new()));
        };
        let Some(word) = line.get(start..cursor) else { return Ok((cursor, Vec::new())) };
        let columns = match columns() {
            0 => 80,
            columns => columns,
        };
        Ok((start, pairs(word, candidates, hint, columns)))
    }
}

/// The list that is shown: the hint, then a name and the first sentence about it on each line, which is cut to fit. Names
/// alone are left to the editor, which puts several on a line.
fn pairs(word: &str, candidates: Vec<(String, String)>, hint: Option<String>, columns: usize) -> Vec<Pair> {
    let room = columns.saturating_sub(1);
    let width = candidates.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0);
    let names_alone = hint.is_none() && candidates.iter().all(|(_, about)| about.is_empty());
    let mut pairs: Vec<Pair> = Vec::new();
    // A hint is shown as lines of the list that add no more than what all candidates have in common: two at least, or it
    // would be taken as the answer.
    if let Some(hint) = hint.filter(|_| candidates.len() != 1) {
        let replacement = if candidates.is_empty() { word.to_owned() } else { common_beginning(&candidates) };
        let is_candidate = |line: &str| candidates.iter().any(|(text, _)| text.trim_end_matches(['=', ' ']) == line);
        for line in hint.lines().filter(|line| !is_candidate(line.trim())) {
            pairs.extend(wrapped(line, room).map(|display| Pair { display, replacement: replacement.clone() }));
        }
        if pairs.len() == 1 && candidates.is_empty() {
            pairs.push(Pair { display: String::new(), replacement });
        }
    }
    let listed = candidates.into_iter().map(|(text, about)| {
        let about = about.split_once(". ").map_or(about.as_str(), |(first, _)| first);
        let line = format!("{text:width$}  {}", about.trim_end_matches('.'));
        Pair { display: line.trim_end().chars().take(room).collect(), replacement: text }
    });
    pairs.extend(listed);
    // The editor makes as many columns as its widest entry leaves room for: this one leaves room for one.
    if let Some(first) = pairs.first_mut().filter(|_| !names_alone) {
        first.display = format!("{:room$}", first.display);
    }
    pairs
}

/// What every candidate begins with.
fn common_beginning(candidates: &[(String, String)]) -> String {
    let mut texts = candidates.iter().map(|(text, _)| text.as_str());
    let first = texts.next().unwrap_or_default().to_owned();
    texts.fold(first, |common, text| {
        common.chars().zip(text.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
    })
}

impl Helper for Assistant {}
impl Highlighter for Assistant {}
impl Validator for Assistant {}

impl Hinter for Assistant {
    type Hint = String;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_never_becomes_part_of_the_line() {
        let pairs = pairs("x", Vec::new(), Some("A value is required".to_owned()), 80);
        assert_eq!(pairs.len(), 2);
        assert!(pairs.iter().all(|pair| pair.replacement == "x"));
    }

    #[test]
    fn the_only_candidate_completes_whatever_is_hinted() {
        let pairs = pairs("IPs", vec![("IPsecTunnel".to_owned(), String::new())], Some("hint".to_owned()), 80);
        assert_eq!(pairs.iter().map(|pair| pair.replacement.as_str()).collect::<Vec<_>>(), ["IPsecTunnel"]);
    }

    #[test]
    fn a_candidate_takes_one_line() {
        let about = "An entry of the IP rule set. The policies are searched from the first to the last.".to_owned();
        let list = |columns| pairs("", vec![("IPPolicy".to_owned(), about.clone())], None, columns);
        assert_eq!(list(80)[0].display.trim_end(), "IPPolicy  An entry of the IP rule set");
        assert_eq!(list(20)[0].display, "IPPolicy  An entry ");
        assert_eq!(list(20)[0].replacement, "IPPolicy");
    }

    #[test]
    fn a_list_has_one_column_the_hint_above_it_and_every_name_once() {
        let candidate = |name: &str| (name.to_owned(), format!("About {name}."));
        let hint = "A value is required for the following properties:\n  LocalNetwork\n  LocalGateway".to_owned();
        let list = pairs("", vec![candidate("LocalNetwork="), candidate("LocalGateway=")], Some(hint), 110);
        let shown: Vec<&str> = list.iter().map(|pair| pair.display.trim_end()).collect();
        let expected = [
            "A value is required for the following properties:",
            "LocalNetwork=  About LocalNetwork=",
            "LocalGateway=  About LocalGateway=",
        ];
        assert_eq!(shown, expected);
        // The editor makes a second column where the widest entry and a gap take no more than half of the line.
        assert_eq!(list.iter().map(|pair| pair.display.chars().count()).max(), Some(109));
        // The hint does not keep the editor from adding what all candidates begin with.
        assert_eq!(list[0].replacement, "Local");
    }

    #[test]
    fn names_that_need_no_words_are_left_to_stand_side_by_side() {
        let list = pairs("", vec![("lan".to_owned(), String::new()), ("wan".to_owned(), String::new())], None, 110);
        assert_eq!(list.iter().map(|pair| pair.display.as_str()).collect::<Vec<_>>(), ["lan", "wan"]);
    }

    #[test]
    fn a_key_is_not_remembered() {
        assert!(holds_secret("set PSK hq PSKAscii=geheim"));
        assert!(!holds_secret("set PSK hq Comments=x"));
    }

    #[test]
    fn an_operator_may_leave_in_several_words() {
        assert!(is_farewell(" Exit ") && is_farewell("quit") && !is_farewell("exit now"));
    }
}
