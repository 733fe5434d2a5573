//! Text on a terminal that is narrower than its lines: rows of a table are cut, sentences go on in the next line.

/// Lays out the text of one command as it comes in, piece by piece.
#[derive(Debug)]
pub struct Screen {
    columns: usize,
    /// The beginning of a line whose end has not come.
    partial: String,
    /// Within a table: its header, its dashes, its rows.
    table: bool,
}

impl Screen {
    /// A terminal of this width; 0 for one that does not tell.
    pub fn new(columns: usize) -> Self {
        Self { columns: if columns == 0 { usize::MAX } else { columns }, partial: String::new(), table: false }
    }

    /// What to print now that `text` has come.
    pub fn take(&mut self, text: &str) -> String {
        self.partial.push_str(text);
        let whole = self.partial.rfind('\n').map_or(0, |end| end.saturating_add(1));
        let rest = self.partial.split_off(whole);
        let text = std::mem::replace(&mut self.partial, rest);
        self.lay_out(&text)
    }

    /// What to print when nothing more comes.
    pub fn end(&mut self) -> String {
        let text = std::mem::take(&mut self.partial);
        self.table = false;
        text
    }

    fn lay_out(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if lines.peek().is_some_and(|next| is_dashes(next)) {
                // What is about one object stands in two columns, and is nowhere else to be read.
                self.table = line.split_whitespace().ne(["Property", "Value"]);
            } else if line.is_empty() {
                self.table = false;
            }
            if self.table {
                out.push_str(&cut(line, self.columns));
                out.push('\n');
            } else {
                for line in wrapped(line, self.columns) {
                    out.push_str(&line);
                    out.push('\n');
                }
            }
        }
        out
    }
}

fn is_dashes(line: &str) -> bool {
    line.contains('-') && line.chars().all(|c| c == '-' || c == ' ')
}

/// The line, or as much of it as fits, with a mark at its end.
fn cut(line: &str, columns: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    let mut text: String = line.chars().take(columns.saturating_sub(1)).collect();
    text.push(if is_dashes(line) { '-' } else { '>' });
    text
}

/// The line in pieces that fit. Those behind the first are indented as it is; a word that is too long for a line is left
/// to the terminal, so that it can be copied.
pub fn wrapped(line: &str, columns: usize) -> impl Iterator<Item = String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut used = 0_usize;
    let indent: String = line.chars().take_while(|c| *c == ' ').take(columns / 2).collect();
    // Blanks stay with the word before them, so that columns within a line that fits stay columns.
    for word in line.split_inclusive(' ') {
        let width = word.trim_end_matches(' ').chars().count();
        let begun = !piece.trim().is_empty();
        if begun && width > 0 && used.saturating_add(width) > columns {
            pieces.push(piece.trim_end().to_owned());
            piece.clone_from(&indent);
            used = indent.len();
        }
        piece.push_str(word);
        used = used.saturating_add(word.chars().count());
    }
    pieces.push(piece);
    pieces.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_cut_and_a_sentence_goes_on_in_the_next_line() {
        let text = "Name   Peer\n-----  --------------\nhq     203.0.113.1\nbr     1.1.1.1\n\n  a sentence of words\n";
        let shown = "Name   Peer\n-----  -----\nhq     203.>\nbr     1.1.>\n\n  a sentence\n  of words\n";
        assert_eq!(Screen::new(12).take(text), shown);
        assert_eq!(Screen::new(80).take(text), text);
        assert_eq!(Screen::new(0).take(text), text);
    }

    #[test]
    fn what_is_about_one_object_is_never_cut() {
        let text = "Property  Value\n--------  -----\n   Name:  long enough\n";
        assert!(Screen::new(16).take(text).ends_with("   Name:  long\n   enough\n"));
    }

    #[test]
    fn pieces_are_laid_out_as_the_whole_is() {
        let mut screen = Screen::new(10);
        assert_eq!(screen.take("one two th"), "");
        assert_eq!(screen.take("ree four\nfi"), "one two\nthree four\n");
        assert_eq!((screen.end().as_str(), screen.end().as_str()), ("fi", ""));
    }

    #[test]
    fn a_word_longer_than_a_line_stays_whole() {
        assert_eq!(wrapped("a 0123456789 b", 6).collect::<Vec<_>>(), ["a", "0123456789", "b"]);
        assert_eq!(wrapped("", 6).collect::<Vec<_>>(), [""]);
        assert_eq!(wrapped("      deep word", 2).count(), 2);
    }
}
