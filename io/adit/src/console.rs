//! The interactive command line: line editing, history and completion around a [`Session`].

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use crate::client::Session;
use crate::exit::{Exit, say};

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
    editor.set_helper(Some(Assistant { session: RefCell::new(session) }));
    let history = history_file();
    if let Some(history) = &history {
        // There is none the first time.
        let _ = editor.load_history(history);
    }
    // An empty line brings the prompt.
    let mut prompt = run(&mut editor, "")?;
    loop {
        match editor.readline(&prompt) {
            Ok(line) if is_farewell(&line) => break,
            Ok(line) => {
                if !line.trim().is_empty() && !holds_secret(&line) {
                    let _ = editor.add_history_entry(line.as_str());
                }
                prompt = run(&mut editor, &line)?;
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
fn run(editor: &mut Editor<Assistant, FileHistory>, line: &str) -> Result<String, Exit> {
    let assistant = editor.helper_mut().ok_or_else(|| Exit::failed("the console lost its session"))?;
    let mut prompt = assistant.session.get_mut().run(line)?.prompt;
    if !prompt.ends_with(' ') {
        prompt.push(' ');
    }
    Ok(prompt)
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
    session: RefCell<Session>,
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, cursor: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let Ok(mut session) = self.session.try_borrow_mut() else { return Ok((cursor, Vec::new())) };
        // What is wrong with the connection shows when the line is run.
        let Ok((start, candidates, hint)) = session.complete(line, cursor) else { return Ok((cursor, Vec::new())) };
        let Some(word) = line.get(start..cursor) else { return Ok((cursor, Vec::new())) };
        let columns = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(80, |size| usize::from(size.ws_col));
        Ok((start, pairs(word, candidates, hint, columns)))
    }
}

/// The list that is shown: a name and the first sentence about it on each line, which is cut to fit.
fn pairs(word: &str, candidates: Vec<(String, String)>, hint: Option<String>, columns: usize) -> Vec<Pair> {
    let width = candidates.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0);
    let alone = candidates.len() == 1;
    let mut pairs: Vec<Pair> = candidates
        .into_iter()
        .map(|(text, about)| {
            let about = about.split_once(". ").map_or(about.as_str(), |(first, _)| first);
            let line = format!("{text:width$}  {}", about.trim_end_matches('.'));
            Pair { display: line.trim_end().chars().take(columns.saturating_sub(1)).collect(), replacement: text }
        })
        .collect();
    // A hint is shown as lines of the list that would change nothing: two at least, or it would be taken as the answer.
    if let Some(hint) = hint.filter(|_| !alone) {
        pairs.extend(hint.lines().map(|line| Pair { display: line.to_owned(), replacement: word.to_owned() }));
        if pairs.len() == 1 {
            pairs.push(Pair { display: String::new(), replacement: word.to_owned() });
        }
    }
    pairs
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
        assert_eq!(list(80)[0].display, "IPPolicy  An entry of the IP rule set");
        assert_eq!(list(20)[0].display, "IPPolicy  An entry ");
        assert_eq!(list(20)[0].replacement, "IPPolicy");
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
