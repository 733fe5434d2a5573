//! The language of the control socket: one JSON object a line, requests from the operator, replies from the gateway.
//!
//! ```text
//! {"line":"show IPsecTunnel"}                    {"text":"...\n"}   any number of them, then
//! {"complete":"show IPs","cursor":8}             {"done":{"success":true,"prompt":"Device:/> "}}
//! {"interrupt":true}                             {"start":5,"candidates":[["IPsecTunnel","..."]],"hint":null}
//! ```
//!
//! A line with `"last":true` beside it is one behind which no other follows. Each line gets one `done`, each completion one `candidates`; an interrupt gets the `done` of the line that runs.
//! `{"error":"..."}` is the last thing that a client hears that did not keep to this.

use std::fmt;

use manage::Done;
use serde_json::{Value, json};

/// Longest request, bytes: a whole configuration may be pasted.
pub const REQUEST_MAX: usize = 1 << 20;

/// What an operator asks for. A line may hold a key: `Debug` shows its length.
#[derive(Clone, PartialEq, Eq)]
pub enum Request {
    /// Run this line.
    Line(String),
    /// Run this line, behind which no other follows: what is missing in it stays missing.
    LastLine(String),
    /// What could stand at the cursor?
    Complete {
        /// The line so far.
        line: String,
        /// In bytes.
        cursor: usize,
    },
    /// Stop the line that runs.
    Interrupt,
}

/// What the gateway answers. A text may hold a key: `Debug` shows its length.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    /// Text to print.
    Text(String),
    /// The line has ended.
    Done(Done),
    /// What could stand at the cursor.
    Candidates {
        /// Where the completed word begins, in bytes.
        start: usize,
        /// Each with a few words about it.
        candidates: Vec<(String, String)>,
        /// Something to say beside them.
        hint: Option<String>,
    },
    /// The client did not keep to the protocol; the connection ends.
    Error(String),
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "Line({} bytes)", line.len()),
            Self::LastLine(line) => write!(f, "LastLine({} bytes)", line.len()),
            Self::Complete { line, cursor } => write!(f, "Complete({} bytes, cursor {cursor})", line.len()),
            Self::Interrupt => f.write_str("Interrupt"),
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Done(done) => f.debug_tuple("Done").field(done).finish(),
            Self::Candidates { start, candidates, .. } => {
                write!(f, "Candidates({} from {start})", candidates.len())
            }
            Self::Error(error) => f.debug_tuple("Error").field(error).finish(),
        }
    }
}

impl Request {
    /// Reads a line.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("not JSON: {error}"))?;
        if let Some(line) = value.get("line").and_then(Value::as_str) {
            let last = value.get("last").and_then(Value::as_bool).unwrap_or(false);
            return Ok(if last { Self::LastLine(line.to_owned()) } else { Self::Line(line.to_owned()) });
        }
        if let Some(line) = value.get("complete").and_then(Value::as_str) {
            let cursor = value.get("cursor").map_or(Some(line.len()), |cursor| usize::try_from(cursor.as_u64()?).ok());
            return match cursor {
                Some(cursor) if line.is_char_boundary(cursor) => Ok(Self::Complete { line: line.to_owned(), cursor }),
                _ => Err("the cursor does not stand within the line".to_owned()),
            };
        }
        if value.get("interrupt").is_some() {
            return Ok(Self::Interrupt);
        }
        Err("a request has `line`, `complete` with `cursor`, or `interrupt`".to_owned())
    }

    /// Writes it as a line.
    pub fn write(&self) -> String {
        let value = match self {
            Self::Line(line) => json!({ "line": line }),
            Self::LastLine(line) => json!({ "line": line, "last": true }),
            Self::Complete { line, cursor } => json!({ "complete": line, "cursor": cursor }),
            Self::Interrupt => json!({ "interrupt": true }),
        };
        format!("{value}\n")
    }
}

impl Reply {
    /// Reads a line.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("not JSON: {error}"))?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let reply = if let Some(value) = value.get("text") {
            text(value).map(Self::Text)
        } else if let Some(done) = value.get("done") {
            let success = done.get("success").and_then(Value::as_bool);
            success.zip(done.get("prompt").and_then(text)).map(|(success, prompt)| Self::Done(Done { success, prompt }))
        } else if let Some(list) = value.get("candidates").and_then(Value::as_array) {
            let start = value.get("start").and_then(Value::as_u64).and_then(|start| usize::try_from(start).ok());
            let candidate = |pair: &Value| pair.get(0).and_then(text).zip(pair.get(1).and_then(text));
            let candidates = list.iter().map(candidate).collect::<Option<Vec<_>>>();
            let hint = value.get("hint").and_then(text);
            start.zip(candidates).map(|(start, candidates)| Self::Candidates { start, candidates, hint })
        } else {
            value.get("error").and_then(text).map(Self::Error)
        };
        reply.ok_or_else(|| "an answer that this version does not know".to_owned())
    }

    /// Writes it as a line.
    pub fn write(&self) -> String {
        let value = match self {
            Self::Text(text) => json!({ "text": text }),
            Self::Done(done) => json!({ "done": { "success": done.success, "prompt": done.prompt } }),
            Self::Candidates { start, candidates, hint } => {
                json!({ "start": start, "candidates": candidates, "hint": hint })
            }
            Self::Error(error) => json!({ "error": error }),
        };
        format!("{value}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_read_as_it_was_written() {
        for request in [
            Request::Line("set PSK x PSKascii=\"a\\\"b\"\u{e4}\n".to_owned()),
            Request::LastLine("show".to_owned()),
            Request::Complete { line: "show IPs".to_owned(), cursor: 4 },
            Request::Interrupt,
        ] {
            let line = request.write();
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(Request::read(line.as_bytes()), Ok(request));
        }
    }

    #[test]
    fn every_reply_is_read_as_it_was_written() {
        for reply in [
            Reply::Text("two\nlines\n".to_owned()),
            Reply::Done(Done { success: false, prompt: "Device:/main> ".to_owned() }),
            Reply::Candidates { start: 3, candidates: vec![("a".to_owned(), "b".to_owned())], hint: None },
            Reply::Candidates { start: 0, candidates: Vec::new(), hint: Some("h".to_owned()) },
            Reply::Error("no".to_owned()),
        ] {
            assert_eq!(Reply::read(reply.write().as_bytes()), Ok(reply));
        }
    }

    #[test]
    fn a_key_is_never_printed_for_debugging() {
        let key = "swordfish".to_owned();
        let line = Request::Complete { line: key.clone(), cursor: 0 };
        let last = Request::LastLine(key.clone());
        let printed = format!("{:?} {last:?} {line:?} {:?}", Request::Line(key.clone()), Reply::Text(key));
        assert_eq!(printed, "Line(9 bytes) LastLine(9 bytes) Complete(9 bytes, cursor 0) Text(9 bytes)");
    }

    #[test]
    fn what_is_no_request_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "not JSON"),
            ("{", "not JSON"),
            ("[[[[", "not JSON"),
            ("{}", "a request has"),
            ("{\"line\":7}", "a request has"),
            ("{\"complete\":\"\u{e4}\",\"cursor\":1}", "the cursor"),
            ("{\"complete\":\"a\",\"cursor\":-1}", "the cursor"),
            ("{\"complete\":\"a\",\"cursor\":99}", "the cursor"),
        ] {
            assert!(Request::read(text.as_bytes()).unwrap_err().starts_with(reason), "{text}");
        }
    }
}
