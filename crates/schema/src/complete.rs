//! What TAB offers.

use crate::edit::Context;
use crate::kind::Kind;
use crate::lex::{Command, TokenKind, quote};
use crate::{Naming, Object, PropertyInfo, Tree, TypeInfo};

/// A command that can be completed. The configuration commands are built in: see [`CONFIGURATION`].
#[derive(Clone, Copy, Debug)]
pub struct CommandInfo {
    /// Its name.
    pub name: &'static str,
    /// How it is written.
    pub usage: &'static str,
    /// What it does, in a sentence.
    pub help: &'static str,
    /// Its options, without the dash; one that takes a value ends with `=`.
    pub options: &'static [(&'static str, &'static str)],
    /// What stands behind its name.
    pub argument: Argument,
}

/// What stands behind a command's name.
#[derive(Clone, Copy, Debug)]
pub enum Argument {
    /// Nothing.
    Nothing,
    /// `[Category] Type [Name]`, then properties.
    Object,
    /// The name of an object of one of these types.
    Name(&'static [&'static str]),
    /// One of these words.
    Word(&'static [&'static str]),
    /// Something that cannot be completed.
    Free,
    /// The name of a command or of an object type.
    Topic,
}

/// The configuration commands.
pub const CONFIGURATION: &[CommandInfo] = &[
    CommandInfo {
        name: "add",
        usage: "add [<Category>] <Type> [<Name>] [-disable] [-force] [-silent] [Index=n] [Property=value ...]",
        help: "Adds an object. Index=n puts it at position n.",
        options: &[
            ("force", "add it even with errors"),
            ("silent", "print nothing"),
            ("disable", "add it without effect"),
        ],
        argument: Argument::Object,
    },
    CommandInfo {
        name: "set",
        usage: "set [<Category>] <Type> [<Name>] [-disable] [-enable] [-force] [-silent] [Index=n] [Property=value ...]",
        help: "Changes an object. Property=\"\" takes a value away, Index=n moves the object.",
        options: &[
            ("disable", "keep it without effect"),
            ("enable", "give it effect again"),
            ("force", "change it even with errors"),
            ("silent", "print nothing"),
        ],
        argument: Argument::Object,
    },
    CommandInfo {
        name: "delete",
        usage: "delete [<Category>] <Type> <Name> [-force] [-silent]",
        help: "Marks an object for deletion with the next activate.",
        options: &[("force", "even when it is referred to"), ("silent", "print nothing")],
        argument: Argument::Object,
    },
    CommandInfo {
        name: "undelete",
        usage: "undelete [<Category>] <Type> <Name>",
        help: "Takes a deletion back, until the next activate.",
        options: &[("silent", "print nothing")],
        argument: Argument::Object,
    },
    CommandInfo {
        name: "reject",
        usage: "reject [<Category>] <Type> <Name> [-recursive] | reject -all",
        help: "Brings back the last committed values.",
        options: &[
            ("all", "of every object"),
            ("recursive", "of the objects inside it too"),
            ("silent", "print nothing"),
        ],
        argument: Argument::Object,
    },
    CommandInfo {
        name: "show",
        usage: "show [<Category>] [<Type>] [<Name>] [-errors] [-changes] [-references] [-disabled] [-all]",
        help: "Shows an object, the objects of a type, or what there is.",
        options: &[
            ("errors", "only what has errors"),
            ("changes", "only what changed since the last commit"),
            ("references", "what refers to the object"),
            ("disabled", "only what is disabled"),
            ("all", "every object"),
        ],
        argument: Argument::Object,
    },
    CommandInfo {
        name: "cc",
        usage: "cc [<Type> <Name>] | cc .. | cc -print",
        help: "Enters an object that holds others, goes one level up, or back to the root.",
        options: &[("print", "print where the commands apply")],
        argument: Argument::Object,
    },
];

/// Something that can stand at the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What replaces the text from `Completion::start` to the cursor. Ends with a space when nothing can follow in the
    /// same word.
    pub text: String,
    /// What it means.
    pub help: String,
}

/// What can stand at the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// Where the text that the candidates replace begins, in bytes.
    pub start: usize,
    /// The candidates, in order.
    pub candidates: Vec<Candidate>,
    /// Something to print besides.
    pub message: Option<String>,
}

/// What can stand at `cursor` (in bytes) of `line`. `commands` are all commands there are.
pub fn complete(line: &str, cursor: usize, tree: &Tree, context: Context, commands: &[CommandInfo]) -> Completion {
    let mut cursor = cursor.min(line.len());
    while !line.is_char_boundary(cursor) {
        cursor -= 1;
    }
    let before = line.get(..cursor).unwrap_or_default();
    // The word being written reaches from the last space (or the last comma of a list) to the cursor.
    let start = before
        .rfind(char::is_whitespace)
        .map_or(0, |at| at + before.get(at..).and_then(|s| s.chars().next()).map_or(1, char::len_utf8));
    let word = before.get(start..).unwrap_or_default();
    let done = Command::parse(before.get(..start).unwrap_or_default());
    let cx = Cx { tree, context, done: &done };
    let Some((verb, _)) = done.words().next() else {
        let candidates = commands.iter().map(|info| candidate(format!("{} ", info.name), info.help));
        return matching(start, word, candidates.collect());
    };
    let Some(info) = commands.iter().find(|info| info.name.eq_ignore_ascii_case(verb)) else {
        return Completion { start, ..Completion::default() };
    };
    if let Some(option) = word.strip_prefix('-') {
        let candidates = info
            .options
            .iter()
            .map(|(name, help)| candidate(format!("-{name}{}", if name.ends_with('=') { "" } else { " " }), help));
        // Inside `-option=` there is nothing to offer.
        return if option.contains('=') {
            Completion { start, ..Completion::default() }
        } else {
            matching(start, word, candidates.collect())
        };
    }
    match info.argument {
        Argument::Nothing | Argument::Free => Completion { start, ..Completion::default() },
        Argument::Word(words) => {
            matching(start, word, words.iter().map(|word| candidate(format!("{word} "), "")).collect())
        }
        Argument::Name(types) => matching(start, word, cx.names(types, " ")),
        Argument::Topic => {
            let topics =
                commands.iter().map(|info| candidate(format!("{} ", info.name), info.help)).chain(cx.types(|_| true));
            matching(start, word, topics.collect())
        }
        Argument::Object => cx.object(info, start, word),
    }
}

struct Cx<'a> {
    tree: &'a Tree,
    context: Context,
    done: &'a Command,
}

fn candidate(text: String, help: &str) -> Candidate {
    Candidate { text, help: help.to_owned() }
}

/// Keeps the candidates that begin with `word`, in any case.
fn matching(start: usize, word: &str, mut candidates: Vec<Candidate>) -> Completion {
    let lower = word.to_lowercase();
    candidates.retain(|candidate| candidate.text.to_lowercase().starts_with(&lower));
    Completion { start, candidates, message: None }
}

impl Cx<'_> {
    fn types(&self, keep: impl Fn(&TypeInfo) -> bool) -> impl Iterator<Item = Candidate> {
        let types = self.tree.registry.types.iter().filter(move |info| keep(info));
        types.map(|info| candidate(format!("{} ", info.name), &crate::sentence(info.help)))
    }

    fn names(&self, types: &[&str], suffix: &str) -> Vec<Candidate> {
        let objects = self.tree.objects().filter(|object| types.contains(&object.info.name) && object.name.is_some());
        objects
            .map(|object| {
                let plain = object.name.as_deref().unwrap_or_default();
                let here = object.parent.is_none() || object.parent == self.context.container || object.predefined;
                let name = if here { plain.to_owned() } else { self.tree.path(object) };
                candidate(format!("{name}{suffix}"), object.get("Comments").unwrap_or(object.info.name))
            })
            .collect()
    }

    /// `[Category] Type [Name]`, then properties.
    fn object(&self, info: &CommandInfo, start: usize, word: &str) -> Completion {
        let mut words: Vec<&str> = self.done.words().skip(1).map(|(word, _)| word).collect();
        let registry = self.tree.registry;
        let category = words
            .first()
            .and_then(|first| registry.category(first))
            .filter(|_| words.first().is_some_and(|w| registry.find(w).is_none()));
        if category.is_some() {
            words.remove(0);
        }
        let parent = self.context.container.and_then(|id| self.tree.get(id)).map_or("", |object| object.info.name);
        let Some(info_type) = words.first().and_then(|word| registry.find(word)) else {
            if !words.is_empty() {
                return Completion { start, ..Completion::default() };
            }
            let fits = |info_type: &TypeInfo| {
                category.is_none_or(|category| info_type.category == Some(category))
                    && match info.name {
                        "cc" => {
                            let near = info_type.parents.contains(&parent) || info_type.parents.contains(&"");
                            info_type.container && near
                        }
                        "add" => info_type.parents.contains(&parent) && info_type.naming != Naming::Single,
                        _ => info_type.parents.contains(&parent) || info_type.parents.contains(&""),
                    }
            };
            let mut candidates: Vec<Candidate> = self.types(fits).collect();
            if category.is_none() {
                let open = |category: &str| {
                    registry.types.iter().any(|info_type| info_type.category == Some(category) && fits(info_type))
                };
                let categories = registry.categories().into_iter().filter(|category| open(category));
                candidates.extend(categories.map(|category| candidate(format!("{category} "), "category")));
            }
            return matching(start, word, candidates);
        };
        let wants_name = info_type.naming != Naming::Single && words.len() < 2;
        let has_name = self.done.assignments().any(|(name, ..)| name.eq_ignore_ascii_case("Name"));
        let is_value = word.contains('=') || self.value_follows();
        if wants_name && !has_name && !is_value && info.name != "add" {
            return matching(start, word, self.names(&[info_type.name], " "));
        }
        if wants_name && !has_name && info.name == "add" && info_type.naming == Naming::Named && !is_value {
            let message = format!("<Name>: the name of the new {}", info_type.name);
            return Completion { start, candidates: Vec::new(), message: Some(message) };
        }
        if !matches!(info.name, "add" | "set") {
            return Completion { start, ..Completion::default() };
        }
        let object = words.get(1).and_then(|name| self.tree.locate(info_type, self.context.container, name));
        let object = if info_type.naming == Naming::Single { self.tree.single(info_type) } else { object };
        self.property(info.name, info_type, object, start, word)
    }

    /// True behind `Property= `, where the value stands in a word of its own, or behind a comma of a list.
    fn value_follows(&self) -> bool {
        self.open_assignment().is_some()
    }

    fn open_assignment(&self) -> Option<(&str, &str)> {
        match self.done.tokens.last().map(|token| &token.kind) {
            Some(TokenKind::Assignment(name, value)) if value.is_empty() || value.ends_with(',') => Some((name, value)),
            _ => None,
        }
    }

    fn property(
        &self,
        verb: &str,
        info: &'static TypeInfo,
        object: Option<&Object>,
        start: usize,
        word: &str,
    ) -> Completion {
        let written = word.split_once('=');
        if let Some((name, value)) =
            written.or_else(|| self.open_assignment().filter(|_| !word.is_empty()).map(|(name, _)| (name, word)))
        {
            let Some(property) = info.property(name) else { return Completion { start, ..Completion::default() } };
            let value_start = start + word.len() - value.len();
            return self.value(verb, property, object, value_start, value);
        }
        let given = |property: &PropertyInfo| self.done.assignments().any(|(name, ..)| property.is_called(name));
        let value_of = |name: &str| {
            let written =
                self.done.assignments().find(|(other, ..)| info.property(other).is_some_and(|p| p.name == name));
            let own =
                || object.and_then(|object| object.get(name)).or_else(|| info.property(name).and_then(|p| p.default));
            written.map(|(_, value, _)| value).or_else(own)
        };
        let applies = |property: &PropertyInfo| {
            property.applies.is_none_or(|(other, wanted)| {
                wanted.iter().any(|wanted| value_of(other).is_some_and(|value| value.eq_ignore_ascii_case(wanted)))
            })
        };
        let open: Vec<&PropertyInfo> = info.properties.iter().filter(|p| !given(p) && applies(p)).collect();
        let missing: Vec<&PropertyInfo> =
            open.iter().copied().filter(|p| verb == "add" && p.mandatory && value_of(p.name).is_none()).collect();
        let offer = |properties: &[&PropertyInfo]| {
            properties.iter().map(|p| candidate(format!("{}=", p.name), &crate::sentence(p.help))).collect()
        };
        if missing.is_empty() {
            let mut completion = matching(start, word, offer(&open));
            if info.naming != Naming::Single {
                let index = matching(
                    start,
                    word,
                    vec![candidate("Index=".to_owned(), "Position among the objects of its type.")],
                );
                completion.candidates.extend(index.candidates);
            }
            return completion;
        }
        // What must be there comes first; what may be there is offered once it is.
        let mut completion = matching(start, word, offer(&missing));
        if word.is_empty() {
            let names: Vec<&str> = missing.iter().map(|property| property.name).collect();
            let list: String = names.iter().map(|name| format!("\n  {name}")).collect();
            completion.message = Some(format!("A value is required for the following properties:{list}"));
        } else if completion.candidates.is_empty() {
            completion = matching(start, word, offer(&open));
        }
        completion
    }

    fn value(
        &self,
        verb: &str,
        property: &PropertyInfo,
        object: Option<&Object>,
        start: usize,
        value: &str,
    ) -> Completion {
        if value == "." && !property.kind.is_secret() {
            // The default of a new object, the value of one that is there.
            let current =
                object.filter(|_| verb == "set").and_then(|object| object.get(property.name)).or(property.default);
            let candidates = current.map(|text| candidate(quote(text), "the value it has")).into_iter().collect();
            return Completion { start, candidates, message: None };
        }
        // Of a list only the element behind the last comma is completed.
        let (start, value) = match value.rfind(',') {
            Some(comma) if property.kind.is_list() => (start + comma + 1, value.get(comma + 1..).unwrap_or_default()),
            _ => (start, value),
        };
        let suffix = if property.kind.is_list() { "" } else { " " };
        let mut candidates: Vec<Candidate> = property
            .kind
            .words()
            .into_iter()
            .map(|(text, help)| Candidate { text: format!("{text}{suffix}"), help })
            .collect();
        candidates.extend(self.names(property.kind.reference_types(), suffix));
        let mut completion = matching(start, value, candidates);
        if completion.candidates.is_empty() && value.is_empty() && !matches!(property.kind, Kind::Bool) {
            completion.message = Some(format!("{}: {}", property.name, property.kind.describe()));
        }
        completion
    }
}
