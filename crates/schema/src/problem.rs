//! What is wrong with a configuration, said so that whoever reads it can mend it.

use std::fmt;

/// A place in a text, for the caret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Length in characters, at least 1 where something is shown.
    pub length: u32,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// The configuration works, but hardly as it should.
    Warning,
    /// The configuration cannot be used.
    Error,
}

impl fmt::Display for Gravity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Warning => "Warning",
            Self::Error => "Error",
        })
    }
}

/// One thing that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub gravity: Gravity,
    /// Type and name of the object, as in `IPsecTunnel hq`; empty when there is none.
    pub object: String,
    /// The property, when it is about one.
    pub property: Option<String>,
    /// What was found and what was expected.
    pub message: String,
    /// What to do; may be empty where the message says it.
    pub remedy: String,
    /// Where it is written, when it came from a text.
    pub position: Option<Position>,
    /// It is only that required properties have no value yet.
    pub incomplete: bool,
}

impl Problem {
    /// An error.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            gravity: Gravity::Error,
            object: String::new(),
            property: None,
            message: message.into(),
            remedy: String::new(),
            position: None,
            incomplete: false,
        }
    }

    /// A warning.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { gravity: Gravity::Warning, ..Self::error(message) }
    }

    /// Names the object it is about.
    #[must_use]
    pub fn of(mut self, object: impl Into<String>) -> Self {
        self.object = object.into();
        self
    }

    /// Names the property it is about.
    #[must_use]
    pub fn property(mut self, property: impl Into<String>) -> Self {
        self.property = Some(property.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// Says where it is written.
    #[must_use]
    pub fn at(mut self, position: Option<Position>) -> Self {
        self.position = position;
        self
    }

    /// Marks it as one that more properties mend.
    #[must_use]
    pub fn incomplete(self) -> Self {
        Self { incomplete: true, ..self }
    }

    /// True for an error.
    pub fn is_error(&self) -> bool {
        self.gravity == Gravity::Error
    }

    /// The problem with file, line and column, the line itself and a caret under the culprit:
    ///
    /// ```text
    /// hq.adit:7:5: Error: IPsecTunnel hq, PSK: ...
    ///     PSK=my_secret_key
    ///         ^^^^^^^^^^^^^
    ///     Remedy: ...
    /// ```
    ///
    /// `is_secret` knows the properties whose values are replaced by stars.
    pub fn render(&self, file: &str, text: &str, is_secret: impl Fn(&str) -> bool) -> String {
        let Some(position) = self.position else { return format!("{file}: {self}\n") };
        let mut out = format!("{file}:{}:{}: {}\n", position.line, position.column, self.sentence());
        let index = usize::try_from(position.line.saturating_sub(1)).unwrap_or(usize::MAX);
        if let Some(line) = text.lines().nth(index) {
            // The caret stands under the same tabs as the text, and secrets are not for the screen.
            let shown = crate::mask::line(line, is_secret);
            let before = usize::try_from(position.column.saturating_sub(1)).unwrap_or(usize::MAX);
            let pad: String = shown.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let room = shown.chars().count().saturating_sub(before).max(1);
            let length = usize::try_from(position.length.max(1)).unwrap_or(1).min(room);
            out.push_str(&format!("    {shown}\n    {pad}{}\n", "^".repeat(length)));
        }
        if !self.remedy.is_empty() {
            out.push_str(&format!("    Remedy: {}\n", self.remedy));
        }
        out
    }

    fn sentence(&self) -> String {
        let mut out = format!("{}: ", self.gravity);
        match (self.object.as_str(), self.property.as_deref()) {
            ("", None) => {}
            ("", Some(property)) => out.push_str(&format!("{property}: ")),
            (object, None) => out.push_str(&format!("{object}: ")),
            (object, Some(property)) => out.push_str(&format!("{object}, {property}: ")),
        }
        out.push_str(&self.message);
        out
    }
}

impl fmt::Display for Problem {
    /// One or two lines without a place: as the command line prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence())?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "\n  Remedy: {}", self.remedy) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_the_line_and_a_caret_under_the_culprit() {
        let text = "add PSK a\n\tPSK=b\n";
        let problem = Problem::error("there is no PSK b")
            .of("IPsecTunnel t")
            .property("PSK")
            .remedy("create it")
            .at(Some(Position { line: 2, column: 6, length: 1 }));
        assert_eq!(
            problem.render("x.adit", text, |_| false),
            "x.adit:2:6: Error: IPsecTunnel t, PSK: there is no PSK b\n    \tPSK=b\n    \t    ^\n    Remedy: create it\n"
        );
    }

    #[test]
    fn a_secret_in_the_line_is_not_shown() {
        let text = "add PSK a PSKAscii=topsecret Tpye=ASCII";
        let problem = Problem::error("x").at(Some(Position { line: 1, column: 30, length: 4 }));
        let shown = problem.render("x", text, |name| name == "PSKAscii");
        assert!(!shown.contains("topsecret"), "{shown}");
        assert!(
            shown.contains("    add PSK a PSKAscii=********* Tpye=ASCII\n                                 ^^^^"),
            "{shown}"
        );
    }
}
