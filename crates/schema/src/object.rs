//! One object: its type, its name, and the values it was given.

use std::collections::BTreeMap;
use std::fmt;

use base::Secret;

use crate::kind::ValueType;
use crate::mask::MASK;
use crate::{Naming, Position, PropertyInfo, TypeInfo};

/// An object, the same one in every state of the configuration it appears in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectId(pub(crate) u64);

/// An object.
#[derive(Clone, Debug)]
pub struct Object {
    /// Which one.
    pub id: ObjectId,
    /// What is declared about it.
    pub info: &'static TypeInfo,
    /// Its name as written.
    pub name: Option<String>,
    /// The object it lives in; `None`: the root.
    pub parent: Option<ObjectId>,
    /// It stays in the configuration and has no effect.
    pub disabled: bool,
    /// It is there without being declared, and cannot be deleted.
    pub predefined: bool,
    /// Its values follow from something else: the host, or another object.
    pub dynamic: bool,
    /// Where it was written.
    pub position: Option<Position>,
    pub(crate) deleted: bool,
    /// It was given another place since the last commit.
    pub(crate) moved: bool,
    pub(crate) values: BTreeMap<&'static str, Value>,
    /// Values it has without having been given them: of a predefined object.
    pub(crate) factory: BTreeMap<&'static str, Value>,
}

/// A value as it is kept: in its one spelling, wiped when dropped, and printed only where it is no secret.
#[derive(Clone)]
pub struct Value {
    text: Secret,
    secret: bool,
    /// Where it was written.
    pub position: Option<Position>,
}

impl Value {
    /// A value of `property`.
    pub fn new(property: &PropertyInfo, text: &str, position: Option<Position>) -> Self {
        Self { text: Secret::copy(text.as_bytes()), secret: property.kind.is_secret(), position }
    }

    /// The text, of a secret too.
    pub fn text(&self) -> &str {
        // The bytes were a string when they came in.
        std::str::from_utf8(self.text.expose()).unwrap_or_default()
    }

    /// The text as it may be shown.
    pub fn shown(&self) -> &str {
        if self.secret { MASK } else { self.text() }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.text.same(other.text.expose())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl Object {
    /// The value in effect: the one given, the predefined one, or the type's default. `None`: there is none.
    pub fn get(&self, property: &str) -> Option<&str> {
        let default = || self.info.property(property).and_then(|info| info.default);
        self.value(property).map_or_else(default, |value| Some(value.text()))
    }

    /// The value given or predefined, with its place.
    pub fn value(&self, property: &str) -> Option<&Value> {
        let given = self.values.get(property);
        // An empty value given to a predefined object takes the predefined one away.
        given.or_else(|| self.factory.get(property)).filter(|value| !value.text().is_empty())
    }

    /// The value as its Rust type. Outer `None`: it is not of its kind; inner: there is none, or it does not apply.
    pub fn typed<K: ValueType>(&self, property: &str) -> Option<Option<K::Typed>> {
        let applies = self.info.property(property).is_none_or(|info| self.applies(info));
        // A default stands in for a value that does not apply.
        let default = || self.info.property(property).and_then(|info| info.default);
        match if applies { self.get(property) } else { default() } {
            None => Some(None),
            Some(text) => K::typed(text).map(Some),
        }
    }

    /// True while `property` means something, given the other values.
    pub fn applies(&self, property: &PropertyInfo) -> bool {
        property.applies.is_none_or(|(other, wanted)| {
            let value = self.get(other).unwrap_or_default();
            wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
        })
    }

    /// Where the value of `property`, or else the object, is written.
    pub fn place(&self, property: &str) -> Option<Position> {
        self.value(property).and_then(|value| value.position).or(self.position)
    }

    /// The values that were given, in the order of the declaration.
    pub fn given(&self) -> impl Iterator<Item = (&'static PropertyInfo, &Value)> {
        let values = &self.values;
        self.info.properties.iter().filter_map(|info| values.get(info.name).map(|value| (info, value)))
    }

    /// Type and name, as in `IPsecTunnel hq`.
    pub fn title(&self) -> String {
        match &self.name {
            Some(name) => format!("{} {name}", self.info.name),
            None => self.info.name.to_owned(),
        }
    }

    /// True when it is called `name`, in any case.
    pub fn is_called(&self, name: &str) -> bool {
        self.name.as_deref().is_some_and(|own| same_name(own, name))
    }

    /// True when both were given the same: name, switch and values.
    pub fn is_like(&self, other: &Self) -> bool {
        self.name == other.name && self.disabled == other.disabled && self.values == other.values
    }

    /// Marked for deletion; it is gone with the next activation.
    pub const fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// True for the one object of a settings type.
    pub fn is_single(&self) -> bool {
        self.info.naming == Naming::Single
    }
}

/// Names match without regard to case.
pub(crate) fn same_name(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || (!a.is_ascii() && a.to_lowercase() == b.to_lowercase())
}
