//! A configuration: objects in their order, found by name, checked as a whole.

use std::collections::{BTreeMap, BTreeSet};

use crate::kind::unknown;
use crate::object::same_name;
use crate::{Naming, Object, ObjectId, Problem, PropertyInfo, Registry, TypeInfo, Value};

/// Objects of one configuration beyond which `add` is refused.
pub const OBJECTS_MAX: usize = 100_000;

/// Finds the object that a name means among all objects called like it.
fn choose<'a>(
    called: &dyn Fn(&str) -> Vec<&'a Object>,
    types: &[&str],
    from: Option<ObjectId>,
    name: &str,
) -> Option<&'a Object> {
    let fits = |object: &&Object| types.contains(&object.info.name);
    if let Some((folder, rest)) = name.split_once('/') {
        let parent = called(folder).into_iter().find(|object| object.info.container)?.id;
        return called(rest).into_iter().filter(fits).find(|object| object.parent == Some(parent));
    }
    let found: Vec<&Object> = called(name).into_iter().filter(fits).collect();
    let beside = found.iter().find(|object| object.parent == from);
    let at_root = || found.iter().find(|object| object.parent.is_none());
    let predefined = || found.iter().find(|object| object.predefined);
    beside.or_else(at_root).or_else(predefined).copied()
}

/// The objects of a configuration by name, for looking many names up.
#[derive(Debug)]
pub struct Names<'a>(BTreeMap<String, Vec<&'a Object>>);

impl<'a> Names<'a> {
    /// Those of `tree`, as it is now.
    pub fn new(tree: &'a Tree) -> Self {
        let mut names: BTreeMap<String, Vec<&Object>> = BTreeMap::new();
        for object in tree.objects() {
            if let Some(name) = &object.name {
                names.entry(name.to_lowercase()).or_default().push(object);
            }
        }
        Self(names)
    }

    /// The same as [`Tree::resolve`].
    pub fn resolve(&self, types: &[&str], from: Option<ObjectId>, name: &str) -> Option<&'a Object> {
        let called = |name: &str| self.0.get(&name.to_lowercase()).cloned().unwrap_or_default();
        choose(&called, types, from, name)
    }
}

/// A configuration.
#[derive(Clone, Debug)]
pub struct Tree {
    pub(crate) registry: &'static Registry,
    pub(crate) objects: Vec<Object>,
    pub(crate) next: u64,
    /// Comment lines at the head of the file it was read from, kept when it is written.
    pub(crate) header: Vec<String>,
}

impl Tree {
    /// A configuration with nothing in it but the one object of each settings type.
    pub fn new(registry: &'static Registry) -> Self {
        let mut tree = Self { registry, objects: Vec::new(), next: 1, header: Vec::new() };
        for info in registry.types.iter().filter(|info| info.naming == Naming::Single) {
            tree.predefine(info, None, None, &[]);
        }
        tree
    }

    /// The types it is made of.
    pub const fn registry(&self) -> &'static Registry {
        self.registry
    }

    /// Puts an object there that nobody declared, or renews its values if it is there.
    pub fn predefine(
        &mut self,
        info: &'static TypeInfo,
        name: Option<&str>,
        parent: Option<ObjectId>,
        values: &[(&str, &str)],
    ) -> ObjectId {
        let factory: BTreeMap<_, _> = values.iter().filter_map(|value| factory(info, value)).collect();
        let there = self.objects.iter_mut().find(|object| {
            object.info.name == info.name && object.parent == parent && name.is_none_or(|name| object.is_called(name))
        });
        if let Some(object) = there {
            object.factory = factory;
            object.predefined = true;
            return object.id;
        }
        let id = self.push(info, name.map(ToOwned::to_owned), parent);
        if let Some(object) = self.get_mut(id) {
            object.predefined = true;
            object.factory = factory;
        }
        id
    }

    /// Gives an object values that it has without having been given them. It may be one that was declared.
    pub fn supply(&mut self, id: ObjectId, values: &[(&str, &str)]) {
        let Some(object) = self.get_mut(id) else { return };
        object.factory = values.iter().filter_map(|value| factory(object.info, value)).collect();
    }

    /// Takes back predefined objects that are no longer there; one that was given values stays, as declared.
    pub fn forget(&mut self, gone: impl Fn(&Object) -> bool) {
        self.objects.retain(|object| !(object.predefined && object.values.is_empty() && gone(object)));
        for object in self.objects.iter_mut().filter(|object| object.predefined && gone(object)) {
            object.predefined = false;
            object.dynamic = false;
            object.factory.clear();
        }
    }

    /// Marks an object whose values follow from something else.
    pub fn mark_dynamic(&mut self, id: ObjectId) {
        if let Some(object) = self.get_mut(id) {
            object.dynamic = true;
        }
    }

    /// Renews what follows from other objects.
    pub fn derive(&mut self) {
        (self.registry.derive)(self);
    }

    pub(crate) fn push(&mut self, info: &'static TypeInfo, name: Option<String>, parent: Option<ObjectId>) -> ObjectId {
        let id = ObjectId(self.next);
        self.next = self.next.saturating_add(1);
        self.objects.push(Object {
            id,
            info,
            name,
            parent,
            disabled: false,
            predefined: false,
            dynamic: false,
            position: None,
            deleted: false,
            moved: false,
            values: BTreeMap::new(),
            factory: BTreeMap::new(),
        });
        id
    }

    /// The objects that are not deleted, in order.
    pub fn objects(&self) -> impl DoubleEndedIterator<Item = &Object> {
        self.objects.iter().filter(|object| !object.deleted)
    }

    /// The objects of a type that are neither deleted nor disabled, in order.
    pub fn enabled(&self, info: &'static TypeInfo) -> impl Iterator<Item = &Object> {
        self.objects().filter(move |object| object.info.name == info.name && !object.disabled)
    }

    /// Every object of a type below `parent`, the deleted ones too, in order.
    pub fn children(&self, info: &'static TypeInfo, parent: Option<ObjectId>) -> impl Iterator<Item = &Object> {
        self.objects.iter().filter(move |object| object.info.name == info.name && object.parent == parent)
    }

    /// The one object of a settings type.
    pub fn single(&self, info: &'static TypeInfo) -> Option<&Object> {
        self.objects().find(|object| object.info.name == info.name)
    }

    /// An object by its number.
    pub fn get(&self, id: ObjectId) -> Option<&Object> {
        self.objects.iter().find(|object| object.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: ObjectId) -> Option<&mut Object> {
        self.objects.iter_mut().find(|object| object.id == id)
    }

    /// The objects that are numbered together with those of a type below `parent`, but for the deleted ones, in order.
    fn numbered(&self, info: &'static TypeInfo, parent: Option<ObjectId>) -> impl Iterator<Item = &Object> {
        self.objects().filter(move |object| object.info.is_numbered_with(info) && object.parent == parent)
    }

    /// An object and everything in it, however deep.
    pub(crate) fn with_contents(&self, id: ObjectId) -> Vec<ObjectId> {
        let mut ids = vec![id];
        let mut at = 0;
        while let Some(parent) = ids.get(at).copied() {
            ids.extend(self.objects.iter().filter(|child| child.parent == Some(parent)).map(|child| child.id));
            at += 1;
        }
        ids
    }

    /// Position of an object among those it is numbered with, from 1.
    pub fn index(&self, object: &Object) -> usize {
        self.numbered(object.info, object.parent).take_while(|sibling| sibling.id != object.id).count() + 1
    }

    /// Moves an object to a position among its siblings, from 1; beyond the last is the end.
    pub(crate) fn move_to(&mut self, id: ObjectId, index: usize) {
        let Some(at) = self.objects.iter().position(|object| object.id == id) else { return };
        let object = self.objects.remove(at);
        let sibling = |other: &&Object| {
            !other.deleted && other.info.is_numbered_with(object.info) && other.parent == object.parent
        };
        let ids: Vec<ObjectId> = self.objects.iter().filter(sibling).map(|other| other.id).collect();
        let before = ids.get(index.saturating_sub(1)).copied();
        let to = match before {
            Some(before) => self.objects.iter().position(|other| other.id == before),
            None => ids.last().and_then(|last| self.objects.iter().position(|o| o.id == *last)).map(|last| last + 1),
        };
        self.objects.insert(to.unwrap_or(at).min(self.objects.len()), object);
    }

    /// The object that `name` names from inside `from`: one of these types, perhaps with its folder before a slash.
    /// Without a folder it is looked for beside, at the root, and among the predefined ones. To look many names up,
    /// see [`Names`].
    pub fn resolve(&self, types: &[&str], from: Option<ObjectId>, name: &str) -> Option<&Object> {
        let called = |name: &str| self.objects().filter(|object| object.is_called(name)).collect::<Vec<_>>();
        choose(&called, types, from, name)
    }

    /// Another object in `parent` that already has this name, in the name space of `info`.
    pub fn clash(&self, info: &TypeInfo, parent: Option<ObjectId>, name: &str) -> Option<&Object> {
        let same = |object: &&Object| object.info.space() == info.space() && object.parent == parent;
        self.objects().filter(same).find(|object| object.is_called(name))
    }

    /// The name by which an object can be named from anywhere.
    pub fn path(&self, object: &Object) -> String {
        let own = match &object.name {
            Some(name) => name.clone(),
            None => self.index(object).to_string(),
        };
        match object.parent.and_then(|parent| self.get(parent)) {
            Some(parent) => format!("{}/{own}", self.path(parent)),
            None => own,
        }
    }

    /// The objects whose values name `target`, each with the property that does.
    pub fn referrers(&self, target: &Object) -> Vec<(&Object, &'static PropertyInfo)> {
        let mut found = Vec::new();
        for object in self.objects().filter(|object| object.id != target.id) {
            for property in object.info.properties {
                let types = property.kind.reference_types();
                if !types.contains(&target.info.name) {
                    continue;
                }
                let text = object.value(property.name).map(Value::text).unwrap_or_default();
                let names = property.kind.names_in(text);
                let points = |name: &str| self.resolve(types, object.parent, name).is_some_and(|o| o.id == target.id);
                if names.iter().any(|(_, name)| points(name)) {
                    found.push((object, property));
                }
            }
        }
        found
    }

    /// Everything that is wrong with the objects themselves and their references.
    pub fn check(&self) -> Vec<Problem> {
        let names = Names::new(self);
        let enabled = self.objects().filter(|object| !object.disabled);
        let mut problems: Vec<Problem> = enabled.flat_map(|object| self.check_one(object, &names)).collect();
        problems.sort_by_key(|problem| problem.position);
        problems
    }

    /// Everything that is wrong with one object and its references.
    pub fn check_object(&self, object: &Object) -> Vec<Problem> {
        self.check_one(object, &Names::new(self))
    }

    fn check_one(&self, object: &Object, names: &Names<'_>) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut missing = Vec::new();
        for property in object.info.properties {
            let applies = object.applies(property);
            match object.value(property.name) {
                Some(value) => {
                    if let Err(message) = property.kind.canonical(value.text()) {
                        problems.push(Problem::error(message).property(property.name).at(value.position));
                    } else if applies {
                        self.check_references(object, property, value, names, &mut problems);
                    } else if let Some((other, wanted)) = property.applies {
                        let found = object.get(other).unwrap_or("<empty>");
                        problems.push(
                            Problem::warning(format!("the value is not used while {other} is {found}"))
                                .property(property.name)
                                .remedy(format!("leave it out, or set {other}={}", wanted.join(" or ")))
                                .at(value.position),
                        );
                    }
                }
                None if property.mandatory && applies && object.get(property.name).is_none() => {
                    missing.push(property.name)
                }
                None => {}
            }
        }
        if !missing.is_empty() {
            let message = format!("a value is required for the following properties: {}", missing.join(", "));
            let assignments: Vec<String> = missing.iter().map(|name| format!("{name}=...")).collect();
            let remedy = format!("add {}", assignments.join(" "));
            problems.push(Problem::error(message).remedy(remedy).at(object.position).incomplete());
        }
        problems.extend((self.registry.check)(object, self));
        if !problems.is_empty() {
            let title = self.title(object);
            for problem in &mut problems {
                problem.object.clone_from(&title);
            }
        }
        problems
    }

    /// Type and name, or type and position for an object without a name.
    pub fn title(&self, object: &Object) -> String {
        if object.is_single() {
            return object.info.name.to_owned();
        }
        format!("{} {}", object.info.name, self.path(object))
    }

    fn check_references(
        &self,
        object: &Object,
        property: &'static PropertyInfo,
        value: &Value,
        names: &Names<'_>,
        problems: &mut Vec<Problem>,
    ) {
        let types = property.kind.reference_types();
        for (offset, name) in property.kind.names_in(value.text()) {
            // The place of this name within the value is exact only if the value stands as it was written.
            let position = value.position.map(|mut place| {
                let width = u32::try_from(value.text().chars().count()).unwrap_or(0);
                if place.length == width {
                    place.column = place.column.saturating_add(offset);
                    place.length = u32::try_from(name.chars().count()).unwrap_or(1);
                }
                place
            });
            let what = types.join(" or ");
            let problem = match names.resolve(types, object.parent, name) {
                Some(found) if found.id == object.id => Problem::error("the object refers to itself"),
                Some(found) if found.disabled => Problem::error(format!("{} is disabled", self.title(found))).remedy(
                    format!("enable it with \"set {} -enable\", or disable this object too", self.title(found)),
                ),
                Some(_) => continue,
                None => {
                    let known: BTreeSet<String> =
                        self.objects().filter(|o| types.contains(&o.info.name)).map(|o| self.path(o)).collect();
                    let plain: Vec<&str> = known
                        .iter()
                        .flat_map(|path| [path.as_str(), path.rsplit('/').next().unwrap_or(path)])
                        .collect();
                    let kind = if types.len() > 3 { "object" } else { &what };
                    match self.objects().find(|other| other.is_called(name)) {
                        // It exists, and is something else.
                        Some(other) => {
                            let found = article(other.info.name);
                            Problem::error(format!("{name} is {found}; expected the name of {}", article(&what)))
                                .remedy("name an object of that type")
                        }
                        None => Problem::error(unknown(kind, name, plain))
                            .remedy(format!("add {} called {name}, or name one that exists", article(kind))),
                    }
                }
            };
            problems.push(problem.property(property.name).at(position));
        }
    }

    /// The object that a path leads into, and the last piece of the path: the first piece names a container at the
    /// root, each further one a container in the one before, by name or position.
    pub(crate) fn home<'a>(&self, path: &'a str) -> Option<(ObjectId, &'a str)> {
        let (folders, rest) = path.rsplit_once('/')?;
        let mut home = None;
        for piece in folders.split('/') {
            let inside = || self.objects().filter(|object| object.info.container && object.parent == home);
            let at = |object: &&Object| object.name.is_none() && self.index(object).to_string() == piece;
            home = Some(inside().find(|object| object.is_called(piece)).or_else(|| inside().find(at))?.id);
        }
        home.map(|home| (home, rest))
    }

    /// The object of this type and name directly below `parent`, deleted ones last. A number names by position.
    pub(crate) fn locate(&self, info: &'static TypeInfo, parent: Option<ObjectId>, name: &str) -> Option<&Object> {
        let (folder, name) = match name.split_once('/') {
            Some(_) => match self.home(name) {
                Some((folder, rest)) => (Some(folder), rest),
                None => return None,
            },
            None => (parent, name),
        };
        let named = |deleted: bool| {
            self.children(info, folder)
                .find(|o| o.deleted == deleted && o.name.as_deref().is_some_and(|own| same_name(own, name)))
        };
        let positioned = || {
            let wanted: usize = name.parse().ok()?;
            self.numbered(info, folder).nth(wanted.checked_sub(1)?).filter(|found| found.info.name == info.name)
        };
        let anywhere = || {
            let types = [info.name];
            self.resolve(&types, parent, name).filter(|found| found.predefined)
        };
        named(false).or_else(|| named(true)).or_else(positioned).or_else(anywhere)
    }
}

/// A value that an object has without having been given it.
fn factory(info: &TypeInfo, (name, text): &(&str, &str)) -> Option<(&'static str, Value)> {
    let property = info.property(name)?;
    let text = property.kind.canonical(text).unwrap_or_else(|_| (*text).to_owned());
    Some((property.name, Value::new(property, &text, None)))
}

fn article(kind: &str) -> String {
    format!("{} {kind}", if kind.starts_with(['A', 'E', 'I', 'O', 'a', 'e', 'i', 'o']) { "an" } else { "a" })
}
