//! From text to commands: tokens, quotes, escapes, comments, prompts that were pasted along, and lines that belong
//! together. This is the only place that knows how a command is spelled.

use std::fmt;

use crate::{Position, Problem};

/// Characters of one command beyond which it is refused.
pub const COMMAND_LENGTH_MAX: usize = 64 * 1024;

/// A piece of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it stands, as a whole.
    pub position: Position,
    /// Where its value stands, of an assignment; otherwise as `position`.
    pub value_position: Position,
}

/// What a piece of a command is. Values may be keys: `Debug` leaves them out.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenKind {
    /// A word: command, type or name.
    Word(String),
    /// `Property=value`.
    Assignment(String, String),
    /// `-option` or `-option=value`, without the dash.
    Option(String, Option<String>),
}

impl fmt::Debug for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.debug_tuple("Word").field(word).finish(),
            Self::Assignment(name, _) => f.debug_tuple("Assignment").field(name).finish_non_exhaustive(),
            Self::Option(name, _) => f.debug_tuple("Option").field(name).finish_non_exhaustive(),
        }
    }
}

/// One command, possibly from several lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Its pieces, in order.
    pub tokens: Vec<Token>,
    /// What is wrong with its spelling.
    pub problems: Vec<Problem>,
}

impl Command {
    /// Reads one command from a line, or from a pasted one with line breaks in it.
    pub fn parse(text: &str) -> Self {
        let mut command = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let mut part = tokens(number, line);
            command.tokens.append(&mut part.tokens);
            command.problems.append(&mut part.problems);
        }
        command
    }

    /// The words before the first property, without options.
    pub fn words(&self) -> impl Iterator<Item = (&str, Position)> {
        self.tokens.iter().filter_map(|token| match &token.kind {
            TokenKind::Word(word) => Some((word.as_str(), token.position)),
            TokenKind::Assignment(..) | TokenKind::Option(..) => None,
        })
    }

    /// The properties.
    pub fn assignments(&self) -> impl Iterator<Item = (&str, &str, &Token)> {
        self.tokens.iter().filter_map(|token| match &token.kind {
            TokenKind::Assignment(name, value) => Some((name.as_str(), value.as_str(), token)),
            TokenKind::Word(_) | TokenKind::Option(..) => None,
        })
    }

    /// The options.
    pub fn options(&self) -> impl Iterator<Item = (&str, Option<&str>, &Token)> {
        self.tokens.iter().filter_map(|token| match &token.kind {
            TokenKind::Option(name, value) => Some((name.as_str(), value.as_deref(), token)),
            TokenKind::Word(_) | TokenKind::Assignment(..) => None,
        })
    }

    /// True when option `name` is given, in any case.
    pub fn has_option(&self, name: &str) -> bool {
        self.options().any(|(option, ..)| option.eq_ignore_ascii_case(name))
    }

    /// Where the command begins.
    pub fn position(&self) -> Option<Position> {
        self.tokens.first().map(|token| token.position)
    }

    fn is_only_assignments(&self) -> bool {
        !self.tokens.is_empty() && self.tokens.iter().all(|token| matches!(token.kind, TokenKind::Assignment(..)))
    }
}

/// Puts lines together into commands. A line continues the command before it when it consists of `Property=value`
/// pieces only, or when the line before it ends with a backslash. Empty lines, comments (`#` as the first character)
/// and prompts at the beginning of a line count for nothing.
#[derive(Debug, Default)]
pub struct Joiner {
    pending: Option<Command>,
    line: u32,
    open: bool,
}

impl Joiner {
    /// Takes the next line; hands out the command that it shows to be complete.
    pub fn push(&mut self, line: &str) -> Option<Command> {
        self.line = self.line.saturating_add(1);
        let (line, opens) = match line.strip_suffix('\\') {
            Some(rest) if !rest.ends_with('\\') => (rest, true),
            _ => (line, false),
        };
        let mut part = tokens(self.line, line);
        let continues = self.open || part.is_only_assignments();
        self.open = opens;
        if part.tokens.is_empty() && part.problems.is_empty() {
            return None;
        }
        match &mut self.pending {
            Some(command) if continues => {
                if command.tokens.len() < COMMAND_LENGTH_MAX / 2 {
                    command.tokens.append(&mut part.tokens);
                }
                command.problems.append(&mut part.problems);
                None
            }
            _ => self.pending.replace(part),
        }
    }

    /// The last command, when no further line comes.
    pub fn flush(&mut self) -> Option<Command> {
        self.open = false;
        self.pending.take()
    }
}

/// All commands of a text.
pub fn commands(text: &str) -> Vec<Command> {
    let mut joiner = Joiner::default();
    let mut commands: Vec<Command> = text.lines().filter_map(|line| joiner.push(line)).collect();
    commands.extend(joiner.flush());
    commands
}

/// A value as it has to be written to be read back: quoted when it needs to be.
pub fn quote(value: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "._-/:,@+*%&()[]{}|;!?~^".contains(c);
    if !value.is_empty() && value.chars().all(plain) && !value.starts_with('-') {
        return value.to_owned();
    }
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Number of characters a pasted prompt takes at the beginning of a line: `Device:/>` or `Device:/main>`.
fn prompt_length(line: &[char]) -> usize {
    let start = line.iter().take_while(|c| c.is_whitespace()).count();
    let name = line.iter().skip(start).take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).count();
    let mut rest = line.iter().skip(start + name);
    if name == 0 || rest.next() != Some(&':') || rest.next() != Some(&'/') {
        return 0;
    }
    let path = rest.clone().take_while(|c| !c.is_whitespace() && !matches!(c, '>' | '=' | '"')).count();
    let end = start + name + 2 + path + 1;
    // At the end of a line the prompt may be glued to a command: see without_trailing_prompt.
    let word: String = line.iter().skip(start).take(name).collect();
    let is_glued = end == line.len() && word.len() > DEVICE.len() && word.ends_with(DEVICE);
    if rest.nth(path) == Some(&'>') && !is_glued { end } else { 0 }
}

/// The device name of a gateway that was given none.
const DEVICE: &str = "Device";

/// The line without a prompt of the default device name at its end: text copied from the guide glues the next prompt
/// to the command (`ccDevice:/>`).
fn without_trailing_prompt(line: &str) -> &str {
    let trimmed = line.trim_end();
    let Some((head, tail)) = trimmed.rsplit_once("Device:/") else { return line };
    let is_prompt = tail.strip_suffix('>').is_some_and(|path| !path.contains([' ', '=', '"', '>']));
    if is_prompt { head } else { line }
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: u32,
    problems: Vec<Problem>,
}

fn tokens(line_number: u32, line: &str) -> Command {
    let chars: Vec<char> = line.chars().collect();
    let prompt = prompt_length(&chars);
    let rest = chars.get(prompt..).unwrap_or_default();
    let keep = without_trailing_prompt(&rest.iter().collect::<String>()).chars().count();
    let mut lexer = Lexer { chars, at: prompt, line: line_number, problems: Vec::new() };
    lexer.chars.truncate(prompt + keep);
    if lexer.chars.len() > COMMAND_LENGTH_MAX {
        let position = Position { line: line_number, column: 1, length: 1 };
        let message = format!("the line has {} characters; at most {COMMAND_LENGTH_MAX} are read", lexer.chars.len());
        return Command { tokens: Vec::new(), problems: vec![Problem::error(message).at(Some(position))] };
    }
    lexer.skip_space();
    if lexer.peek() == Some('#') {
        return Command::default();
    }
    let mut tokens = Vec::new();
    while lexer.peek().is_some() {
        tokens.push(lexer.token());
        lexer.skip_space();
    }
    Command { tokens, problems: lexer.problems }
}

impl Lexer {
    fn token(&mut self) -> Token {
        let start = self.at;
        let is_option = self.peek() == Some('-');
        if is_option {
            self.at += 1;
        }
        let (name, quoted) = self.word(true);
        let assigned = !quoted && self.peek() == Some('=') && (is_option || !name.is_empty());
        if !assigned {
            // A lone `=` or the rest behind a quoted word belongs to the word.
            let mut word = name;
            if self.peek() == Some('=') {
                word.push_str(&self.word(false).0);
            }
            let position = self.position(start);
            let kind = if is_option { TokenKind::Option(word, None) } else { TokenKind::Word(word) };
            return Token { kind, position, value_position: position };
        }
        self.at += 1;
        let value_start = self.at;
        let value = if is_option { self.word(false).0 } else { self.value() };
        let value_position = self.position(if value.is_empty() { start } else { self.first_of(value_start) });
        let position = self.position(start);
        let kind = if is_option { TokenKind::Option(name, Some(value)) } else { TokenKind::Assignment(name, value) };
        Token { kind, position, value_position }
    }

    /// A value: a word, or a list with spaces around its commas, or a word after a space behind the `=`.
    fn value(&mut self) -> String {
        let mut value = String::new();
        if self.peek().is_some_and(char::is_whitespace) {
            if self.next_word_is_new_piece() {
                return value;
            }
            self.skip_space();
        }
        loop {
            let before = self.at;
            value.push_str(&self.word(false).0);
            let stopped = self.at;
            self.skip_space();
            let comma_follows = self.peek() == Some(',');
            let comma_before = self.ends_with_comma(before, stopped) && self.peek().is_some();
            let goes_on = comma_follows || (comma_before && !self.next_word_is_new_piece());
            if !goes_on || self.at == before {
                self.at = stopped;
                return value;
            }
        }
    }

    fn ends_with_comma(&self, from: usize, to: usize) -> bool {
        let piece = self.chars.get(from..to).unwrap_or_default();
        matches!(piece, [.., ','] if !matches!(piece, [.., '\\', ',']))
    }

    /// True when what follows the space here is an option or an assignment of its own.
    fn next_word_is_new_piece(&self) -> bool {
        let mut ahead = self.chars.iter().skip(self.at).skip_while(|c| c.is_whitespace()).peekable();
        if ahead.peek() == Some(&&'-') {
            return true;
        }
        ahead.find(|c| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))) == Some(&'=')
    }

    /// Reads to the next space (or `=` when asked), honouring quotes and escapes. Tells whether there were quotes.
    fn word(&mut self, stop_at_equals: bool) -> (String, bool) {
        let mut word = String::new();
        let mut quoted = false;
        while let Some(c) = self.peek() {
            match c {
                c if c.is_whitespace() => break,
                '=' if stop_at_equals => break,
                '"' => {
                    quoted = true;
                    self.quoted(&mut word);
                    continue;
                }
                '\\' => {
                    self.at += 1;
                    self.escape(&mut word);
                    continue;
                }
                c => word.push(c),
            }
            self.at += 1;
        }
        (word, quoted)
    }

    fn quoted(&mut self, word: &mut String) {
        let start = self.at;
        self.at += 1;
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                '"' => return,
                '\\' => self.escape(word),
                c => word.push(c),
            }
        }
        let position = Position { line: self.line, column: column(start), length: 1 };
        let problem = Problem::error("the quotation mark here is never closed")
            .remedy("end the value with another quotation mark, or write \\\" for one that belongs to the value");
        self.problems.push(problem.at(Some(position)));
    }

    /// What stands behind a backslash. `\,` keeps its backslash: it is the comma that does not separate a list.
    fn escape(&mut self, word: &mut String) {
        match self.peek() {
            Some('n') => word.push('\n'),
            Some('r') => word.push('\r'),
            Some(',') => word.push_str("\\,"),
            Some(c @ ('"' | '\\' | ' ' | '#' | '=' | '\'')) => word.push(c),
            Some(c) => word.extend(['\\', c]),
            None => {
                word.push('\\');
                return;
            }
        }
        self.at += 1;
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn first_of(&self, from: usize) -> usize {
        from + self.chars.iter().skip(from).take_while(|c| c.is_whitespace()).count()
    }

    fn position(&self, start: usize) -> Position {
        let length = u32::try_from(self.at.saturating_sub(start)).unwrap_or(u32::MAX).max(1);
        Position { line: self.line, column: column(start), length }
    }
}

fn column(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX - 1) + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape(text: &str) -> Vec<String> {
        commands(text)
            .iter()
            .map(|command| {
                let pieces: Vec<String> = command
                    .tokens
                    .iter()
                    .map(|token| match &token.kind {
                        TokenKind::Word(word) => word.clone(),
                        TokenKind::Assignment(name, value) => format!("{name}<{value}>"),
                        TokenKind::Option(name, None) => format!("-{name}"),
                        TokenKind::Option(name, Some(value)) => format!("-{name}<{value}>"),
                    })
                    .collect();
                pieces.join(" ")
            })
            .collect()
    }

    #[test]
    fn a_command_is_words_options_and_properties() {
        assert_eq!(shape("pskgen MyPSK -size=512"), ["pskgen MyPSK -size<512>"]);
        assert_eq!(shape("add IP4Group g Members= a, b -silent"), ["add IP4Group g Members<a,b> -silent"]);
        assert_eq!(shape("x Members=a ,b , c Comments="), ["x Members<a,b,c> Comments<>"]);
        assert_eq!(shape("x A= B=1"), ["x A<> B<1>"]);
        assert_eq!(
            shape(r#"x A="" B="John \"J\" Smith" C=a\ b D=x\,y"#),
            [r#"x A<> B<John "J" Smith> C<a b> D<x\,y>"#]
        );
        assert_eq!(shape("add PSK k PSKascii=a=b"), ["add PSK k PSKascii<a=b>"]);
    }

    #[test]
    fn lines_of_properties_continue_the_command_above() {
        let guide = "Device:/>\nadd IPPolicy Name=hq_to_branch\n  SourceInterface=lan\n\n# why not\nAction=Allow\n\
                     Device:/> cc RoutingTable main\nDevice:/main>\nadd Route\nInterface=a\nDevice:/main>\nccDevice:/>";
        assert_eq!(
            shape(guide),
            [
                "add IPPolicy Name<hq_to_branch> SourceInterface<lan> Action<Allow>",
                "cc RoutingTable main",
                "add Route Interface<a>",
                "cc"
            ]
        );
        assert_eq!(shape("add PSK a \\\n  b\nshow"), ["add PSK a b", "show"]);
    }

    #[test]
    fn every_piece_knows_its_place() {
        let command = commands("# c\nDevice:/> add PSK k\n  Type= HEX").remove(0);
        let last = command.tokens.last().unwrap();
        assert_eq!(last.position, Position { line: 3, column: 3, length: 9 });
        assert_eq!(last.value_position, Position { line: 3, column: 9, length: 3 });
        assert_eq!(command.position(), Some(Position { line: 2, column: 11, length: 3 }));
    }

    #[test]
    fn an_open_quotation_mark_is_reported_where_it_opens() {
        let command = commands("add PSK k Comments=\"oops").remove(0);
        assert_eq!(command.problems[0].position, Some(Position { line: 1, column: 20, length: 1 }));
    }

    proptest! {
        #[test]
        fn a_quoted_value_is_read_back_as_it_was(value in "\\PC*") {
            let command = Command::parse(&format!("set X a Comments={}", quote(&value)));
            // Only a comma's own backslash is kept, so a value is never changed by writing and reading it.
            let read = command.assignments().next().map(|(_, value, _)| value.to_owned());
            prop_assert_eq!(read, Some(value));
        }
    }
}
