use std::fmt;

/// How bad it is, in the product's words. The order is from harmless to fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// For whoever develops or traces.
    Debug,
    /// Normal life.
    Info,
    /// Normal, but worth noticing.
    Notice,
    /// Something was refused or lost; the gateway goes on.
    Warning,
    /// Something that was configured does not work.
    Error,
    /// A part of the gateway is out of order.
    Critical,
    /// Somebody must act now.
    Alert,
    /// The gateway is unusable.
    Emergency,
}

impl Severity {
    /// The number that log lines carry: 0 for Debug up to 7 for Emergency.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The severity of a syslog priority (RFC 5424 section 6.2.1): 7 for Debug down to 0 for Emergency.
    pub const fn syslog(self) -> u8 {
        7 - self as u8
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Debug => "Debug",
            Self::Info => "Info",
            Self::Notice => "Notice",
            Self::Warning => "Warning",
            Self::Error => "Error",
            Self::Critical => "Critical",
            Self::Alert => "Alert",
            Self::Emergency => "Emergency",
        })
    }
}

/// The category of an event, as printed: `IPSEC`, `RULE`, `CONN`.
pub type Category = &'static str;

/// What is the same for every occurrence of an event.
#[derive(Debug, PartialEq, Eq)]
pub struct Meta {
    /// Eight digits when printed; the first three are the category's. Never reused.
    pub id: u32,
    /// Raised when the fields change.
    pub revision: u8,
    /// As printed.
    pub category: Category,
    /// How bad it is.
    pub severity: Severity,
    /// Name as printed after `event=`. Several events may share one.
    pub name: &'static str,
    /// What the gateway did, as printed after `action=`.
    pub action: &'static str,
    /// Names of the fields, in order.
    pub fields: &'static [&'static str],
    /// What it means and what to do about it: the doc comment of the declaration.
    pub help: &'static str,
}

/// An event type declared by [`events!`](crate::events).
pub trait Event {
    /// What is the same for every occurrence.
    const META: Meta;
    /// The values, in the order of [`Meta::fields`].
    fn values(&self) -> Vec<String>;
    /// The form that receivers take, whatever the event.
    fn record(&self) -> Record;
}

/// Free text in an event that may come from a peer. Control characters, quotes and anything beyond 256 characters
/// cannot survive printing.
pub type Text = String;

/// One occurrence of an event: what a log receiver formats and a test compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What is the same for every occurrence.
    pub meta: &'static Meta,
    /// The values, in the order of the fields.
    pub values: Vec<String>,
}

impl Record {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let index = self.meta.fields.iter().position(|field| *field == name)?;
        self.values.get(index).map(String::as_str)
    }

    /// True for an occurrence of `E`.
    pub fn is<E: Event>(&self) -> bool {
        self.meta.id == E::META.id
    }
}

impl fmt::Display for Record {
    /// `IPSEC prio=Info id=01803600 rev=1 event=name action=none field=value ...`, always one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Meta { id, revision, category, severity, name, action, fields, .. } = self.meta;
        write!(f, "{category} prio={severity} id={id:08} rev={revision} event={name} action={action}")?;
        for (field, value) in fields.iter().zip(&self.values) {
            write!(f, " {field}=")?;
            write_value(f, value)?;
        }
        Ok(())
    }
}

/// A value on one line: quoted where it holds more than a word, control characters and quotes escaped, length bounded.
fn write_value(f: &mut fmt::Formatter<'_>, value: &str) -> fmt::Result {
    const LENGTH_MAX: usize = 1024;
    let plain = |c: char| c.is_alphanumeric() || "-_.:/,+*%@#[]()<>".contains(c);
    if !value.is_empty() && value.len() <= LENGTH_MAX && value.chars().all(plain) {
        return f.write_str(value);
    }
    f.write_str("\"")?;
    for c in value.chars().take(LENGTH_MAX) {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            c if c.is_control() || is_invisible(c) => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

/// Characters that change how the rest of a line looks without being seen: bidirectional controls and separators.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Declares log events once: id, severity, category, name, action, typed fields, and one doc comment that says what it
/// means and what to do. Also makes a table `EVENTS` of all that the block declares.
///
/// ```
/// base::events! {
///     /// The monitored host answers again.
///     MonitoredHostReachable = 01_803_600 rev 1, Info, IPSEC, "monitored_host_reachable", action "none" {
///         ip: std::net::IpAddr,
///         tunnel: String,
///     }
/// }
/// use base::Event;
/// let event = MonitoredHostReachable { ip: "192.168.1.2".parse().unwrap(), tunnel: "PSK-NAT".into() };
/// assert_eq!(
///     event.record().to_string(),
///     "IPSEC prio=Info id=01803600 rev=1 event=monitored_host_reachable action=none ip=192.168.1.2 tunnel=PSK-NAT"
/// );
/// ```
#[macro_export]
macro_rules! events {
    ($(
        $(#[doc = $help:literal])+
        $type:ident = $id:literal rev $revision:literal, $severity:ident, $category:ident, $name:literal,
        action $action:literal { $( $field:ident : $kind:ty ),* $(,)? }
    )+) => {
        $(
            $(#[doc = $help])+
            #[derive(Clone, Debug, PartialEq, Eq)]
            #[allow(missing_docs, reason = "the fields are named as the log prints them")]
            pub struct $type { $( pub $field: $kind ),* }

            #[allow(clippy::zero_prefixed_literal, reason = "an id is written as it is printed, with eight digits")]
            impl $crate::Event for $type {
                const META: $crate::Meta = $crate::Meta {
                    id: $id,
                    revision: $revision,
                    category: stringify!($category),
                    severity: $crate::Severity::$severity,
                    name: $name,
                    action: $action,
                    fields: &[$( stringify!($field) ),*],
                    help: concat!($( $help, "\n" ),+),
                };

                fn values(&self) -> Vec<String> {
                    vec![$( self.$field.to_string() ),*]
                }

                fn record(&self) -> $crate::Record {
                    static META: $crate::Meta = <$type as $crate::Event>::META;
                    $crate::Record { meta: &META, values: $crate::Event::values(self) }
                }
            }
        )+

        /// Every event declared here.
        pub static EVENTS: &[$crate::Meta] = &[$( <$type as $crate::Event>::META ),+];
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::events! {
        /// Somebody failed to prove who he is.
        Refused = 01_899_999 rev 2, Warning, IPSEC, "refused", action "drop" { who: Text, tries: u32 }
    }

    #[test]
    fn an_event_stays_one_line_whatever_a_peer_calls_itself() {
        let hostile = "x\" action=none\n\u{1b}[2J\u{202e}\\".to_owned();
        let line = Refused { who: hostile, tries: 3 }.record().to_string();
        assert_eq!(
            line,
            "IPSEC prio=Warning id=01899999 rev=2 event=refused action=drop \
             who=\"x\\\" action=none\\u{a}\\u{1b}[2J\\u{202e}\\\\\" tries=3"
        );
    }

    #[test]
    fn fields_are_found_by_name() {
        let record = Refused { who: "tom".into(), tries: 3 }.record();
        assert!(record.is::<Refused>());
        assert_eq!((record.field("who"), record.field("tries"), record.field("why")), (Some("tom"), Some("3"), None));
        assert_eq!(EVENTS.len(), 1);
    }

    #[test]
    fn an_empty_value_is_still_seen() {
        assert!(Refused { who: Text::new(), tries: 0 }.record().to_string().ends_with("who=\"\" tries=0"));
    }
}
