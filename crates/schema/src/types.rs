//! What is declared about object types: names, properties, and the registry that holds all of them.

use crate::kind::{Kind, ValueType, unknown};
use crate::{Object, Problem, Tree};

/// An object type.
#[derive(Debug)]
pub struct TypeInfo {
    /// Its name as shown.
    pub name: &'static str,
    /// Other spellings.
    pub aliases: &'static [&'static str],
    /// The category it belongs to; `None` for a type of its own.
    pub category: Option<&'static str>,
    /// Help, line by line.
    pub help: &'static [&'static str],
    /// How its objects are told apart.
    pub naming: Naming,
    /// Types whose objects it may live in; `""` is the root.
    pub parents: &'static [&'static str],
    /// True when other objects live in its objects.
    pub container: bool,
    /// Its properties, without `Name`, in the order they are shown.
    pub properties: &'static [PropertyInfo],
    /// Properties that the product knows and this version does not offer.
    pub absent: &'static [&'static str],
    /// Properties shown in a list of its objects.
    pub columns: &'static [&'static str],
    /// Names its objects cannot have.
    pub reserved: &'static [&'static str],
    /// Types that the product has, this version has not, and this one does the work of.
    pub supersedes: &'static [&'static str],
    /// The sequence its objects are numbered in, together with those of other types of the same sequence; `None`: they
    /// are numbered by themselves.
    pub sequence: Option<&'static str>,
}

/// How the objects of a type are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// By a name.
    Named,
    /// By a name if they have one, or by position.
    Optional,
    /// By position.
    Position,
    /// There is one, and always.
    Single,
}

/// A property.
#[derive(Debug)]
pub struct PropertyInfo {
    /// Its name as shown.
    pub name: &'static str,
    /// Other spellings.
    pub aliases: &'static [&'static str],
    /// What values it takes.
    pub kind: Kind,
    /// The value it has when none is given.
    pub default: Option<&'static str>,
    /// True when a value must be given (whenever the property applies).
    pub mandatory: bool,
    /// It applies only while this other property has one of these values.
    pub applies: Option<(&'static str, &'static [&'static str])>,
    /// Help, line by line.
    pub help: &'static [&'static str],
}

/// The property that every type has.
pub const COMMENTS: PropertyInfo = PropertyInfo {
    name: "Comments",
    aliases: &["Comment"],
    kind: crate::kind::Text::KIND,
    default: None,
    mandatory: false,
    applies: None,
    help: &[" Text for whoever reads the configuration."],
};

impl TypeInfo {
    /// The property of this name, in any case and spelling.
    pub fn property(&self, name: &str) -> Option<&'static PropertyInfo> {
        self.properties.iter().find(|property| property.is_called(name))
    }

    /// Why `name` is no property of this type.
    pub fn unknown_property(&self, name: &str) -> Problem {
        if self.absent.iter().any(|absent| absent.eq_ignore_ascii_case(name)) {
            return Problem::error(format!("the property {name} is not available in this version"))
                .remedy("leave it out");
        }
        let known = self.properties.iter().map(|property| property.name).chain(["Name", "Index"]);
        Problem::error(unknown(&format!("property of {} called", self.name), name, known))
            .remedy(format!("type \"help {}\" for the properties", self.name))
    }

    /// True when `name` is one of its spellings.
    pub fn is_called(&self, name: &str) -> bool {
        is_called(self.name, self.aliases, name)
    }

    /// True when objects of both types are numbered together.
    pub fn is_numbered_with(&self, other: &Self) -> bool {
        self.name == other.name || (self.sequence.is_some() && self.sequence == other.sequence)
    }

    /// The name space its objects share: those of a category are never called alike.
    pub fn space(&self) -> &'static str {
        self.category.unwrap_or(self.name)
    }
}

impl PropertyInfo {
    /// True when `name` is one of its spellings.
    pub fn is_called(&self, name: &str) -> bool {
        is_called(self.name, self.aliases, name)
    }
}

fn is_called(name: &str, aliases: &[&str], word: &str) -> bool {
    name.eq_ignore_ascii_case(word) || aliases.iter().any(|alias| alias.eq_ignore_ascii_case(word))
}

/// Every object type there is.
#[derive(Debug)]
pub struct Registry {
    /// The types, in the order they are listed.
    pub types: &'static [&'static TypeInfo],
    /// Types that the product knows and this version does not offer.
    pub absent: &'static [&'static str],
    /// Renews the objects that follow from others, after every change.
    pub derive: fn(&mut Tree),
    /// What a type asks of one object beyond its properties' kinds: errors only.
    pub check: fn(&Object, &Tree) -> Vec<Problem>,
}

impl Registry {
    /// The type of this name, in any case and spelling.
    pub fn find(&self, name: &str) -> Option<&'static TypeInfo> {
        self.types.iter().copied().find(|info| info.is_called(name))
    }

    /// The category of this name as it is shown.
    pub fn category(&self, name: &str) -> Option<&'static str> {
        self.types.iter().filter_map(|info| info.category).find(|category| category.eq_ignore_ascii_case(name))
    }

    /// The categories, each once, in order.
    pub fn categories(&self) -> Vec<&'static str> {
        let mut categories: Vec<_> = self.types.iter().filter_map(|info| info.category).collect();
        let mut seen = std::collections::BTreeSet::new();
        categories.retain(|category| seen.insert(*category));
        categories
    }

    /// Why `name` is no type.
    pub fn unknown_type(&self, name: &str) -> Problem {
        if self.absent.iter().any(|absent| absent.eq_ignore_ascii_case(name)) {
            let like = self.types.iter().find(|info| info.supersedes.iter().any(|old| old.eq_ignore_ascii_case(name)));
            let remedy = like.map_or("leave the object out".to_owned(), |info| format!("use {} instead", info.name));
            return Problem::error(format!("objects of type {name} are not available in this version")).remedy(remedy);
        }
        let known = self.types.iter().map(|info| info.name).chain(self.categories());
        Problem::error(unknown("object type called", name, known)).remedy("type \"help\" for the types there are")
    }

    /// True when some type has a secret property of this name.
    pub fn is_secret(&self, property: &str) -> bool {
        self.types.iter().any(|info| info.property(property).is_some_and(|found| found.kind.is_secret()))
    }
}
