//! The commands that change a configuration: add, set, delete, undelete, reject, and cc.

use crate::kind::{is_identifier, unknown};
use crate::lex::{Command, Token};
use crate::tree::OBJECTS_MAX;
use crate::{Naming, Object, ObjectId, Position, Problem, Tree, TypeInfo, Value, Workspace};

/// Where commands apply: the root, or inside an object that holds others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    pub(crate) container: Option<ObjectId>,
}

impl Context {
    /// The prompt for it: `Device:/>`, or `Device:/main>` inside an object called main.
    pub fn prompt(&self, device: &str, tree: &Tree) -> String {
        let object = self.container.and_then(|id| tree.get(id));
        format!("{device}:/{}>", object.map(|object| tree.path(object)).unwrap_or_default())
    }
}

/// What a command did and said.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// What it prints.
    pub text: String,
    /// What it found wrong.
    pub problems: Vec<Problem>,
    /// False when nothing was changed because of the problems.
    pub done: bool,
}

impl Reply {
    pub(crate) fn said(text: String) -> Self {
        Self { text, problems: Vec::new(), done: true }
    }

    /// True when the command did nothing only because required properties are missing.
    pub fn is_incomplete(&self) -> bool {
        let mut errors = self.problems.iter().filter(|problem| problem.is_error()).peekable();
        !self.done && errors.peek().is_some() && errors.all(|problem| problem.incomplete)
    }

    fn refused(problems: Vec<Problem>) -> Self {
        Self { text: String::new(), problems, done: false }
    }
}

/// The words of the commands that this crate carries out.
pub const VERBS: &[&str] = &["add", "set", "delete", "undelete", "reject", "show", "cc"];

/// Carries out a configuration command on the candidate. `None`: the first word is none of [`VERBS`].
pub fn execute(workspace: &mut Workspace, context: &mut Context, command: &Command) -> Option<Reply> {
    let (verb, _) = command.words().next()?;
    let verb = VERBS.iter().find(|known| known.eq_ignore_ascii_case(verb))?;
    if !command.problems.is_empty() {
        return Some(Reply::refused(command.problems.clone()));
    }
    if context.container.is_some_and(|id| workspace.candidate.get(id).is_none_or(Object::is_deleted)) {
        *context = Context::default();
    }
    let result = match *verb {
        "show" => crate::show::show(workspace, *context, command),
        "undelete" => undelete(workspace, *context, command),
        "reject" => reject(workspace, *context, command),
        "cc" => change_context(&workspace.candidate, context, command),
        _ => change(&mut workspace.candidate, *context, command, Strictness::Interactive),
    };
    let mut reply = result.unwrap_or_else(|problem| Reply::refused(vec![problem]));
    if command.has_option("silent") && reply.done {
        reply = Reply { problems: Vec::new(), ..Reply::said(String::new()) };
    }
    Some(reply)
}

/// How much is asked of an object before it is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// Everything: somebody is there to answer.
    Interactive,
    /// Nothing: the file is checked as a whole when it has been read, so that objects may refer to later ones.
    File,
}

/// add, set and delete.
pub(crate) fn change(
    tree: &mut Tree,
    context: Context,
    command: &Command,
    strictness: Strictness,
) -> Result<Reply, Problem> {
    let verb = command.words().next().map(|(verb, _)| verb.to_ascii_lowercase()).unwrap_or_default();
    known_options(command, &verb)?;
    match verb.as_str() {
        "add" => add(tree, context, command, strictness),
        "set" => set(tree, context, command, strictness),
        _ => delete(tree, context, command),
    }
}

/// What a command is about: a type, and perhaps one of its objects.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) info: &'static TypeInfo,
    pub(crate) name: Option<(&'a str, Position)>,
}

/// Reads `[Category] Type [Name]` behind the command's own word.
pub(crate) fn target<'a>(tree: &Tree, command: &'a Command) -> Result<Target<'a>, Problem> {
    let registry = tree.registry;
    let mut words = command.words().skip(1).peekable();
    let Some((mut word, mut position)) = words.next() else {
        return Err(Problem::error("the type of the object is missing")
            .remedy("write the type behind the command; \"help\" lists the types there are")
            .at(command.position()));
    };
    if let Some(category) = registry.category(word)
        && registry.find(word).is_none()
    {
        let Some((next, place)) = words.next() else {
            return Err(Problem::error(format!("{category} is a category; the type of the object is missing"))
                .remedy(format!("types of {category}: {}", types_of(tree, category).join(", ")))
                .at(Some(position)));
        };
        (word, position) = (next, place);
        match registry.find(word) {
            Some(info) if info.category != Some(category) => {
                return Err(Problem::error(format!(
                    "the type {} does not belong to the category {category}",
                    info.name
                ))
                .remedy("leave the category out")
                .at(Some(position)));
            }
            _ => {}
        }
    }
    let info = registry.find(word).ok_or_else(|| registry.unknown_type(word).at(Some(position)))?;
    let mut name = words.next();
    if name.is_none() && info.naming != Naming::Single {
        name = command
            .assignments()
            .find(|(property, ..)| property.eq_ignore_ascii_case("Name"))
            .map(|(_, value, token)| (value, token.value_position));
    }
    if let Some((extra, place)) = words.next() {
        return Err(Problem::error(format!("\"{extra}\" is neither a property nor an option"))
            .remedy("write properties as Property=value, and put values with spaces in quotation marks")
            .at(Some(place)));
    }
    match (info.naming, name) {
        (Naming::Single, Some((found, place))) => {
            Err(Problem::error(format!("{} has no name; found \"{found}\"", info.name)).at(Some(place)))
        }
        _ => Ok(Target { info, name }),
    }
}

fn types_of(tree: &Tree, category: &str) -> Vec<&'static str> {
    tree.registry.types.iter().filter(|info| info.category == Some(category)).map(|info| info.name).collect()
}

const OPTIONS: &[(&str, &[&str])] = &[
    ("add", &["force", "silent", "disable", "enable"]),
    ("set", &["force", "silent", "disable", "enable"]),
    ("delete", &["force", "silent"]),
    ("undelete", &["silent"]),
    ("reject", &["all", "recursive", "silent"]),
    ("show", &["errors", "changes", "references", "disabled", "all"]),
    ("cc", &["print"]),
];

/// The options of a configuration command, without the dash.
pub fn options(verb: &str) -> &'static [&'static str] {
    OPTIONS.iter().find(|(known, _)| known.eq_ignore_ascii_case(verb)).map_or(&[], |(_, options)| options)
}

pub(crate) fn known_options(command: &Command, verb: &str) -> Result<(), Problem> {
    let known = options(verb);
    for (option, value, token) in command.options() {
        if !known.iter().any(|known| known.eq_ignore_ascii_case(option)) {
            return Err(Problem::error(unknown(&format!("option of {verb} called"), option, known.iter().copied()))
                .at(Some(token.position)));
        }
        if value.is_some() {
            return Err(Problem::error(format!("the option -{option} takes no value")).at(Some(token.position)));
        }
    }
    Ok(())
}

fn add(tree: &mut Tree, context: Context, command: &Command, strictness: Strictness) -> Result<Reply, Problem> {
    let Target { info, name } = target(tree, command)?;
    if info.naming == Naming::Single {
        return Err(Problem::error(format!("there is exactly one {}", info.name))
            .remedy(format!("change it with \"set {} Property=value\"", info.name))
            .at(command.position()));
    }
    let (parent, name) = place_of(tree, info, context, name, command)?;
    if let Some(existing) = name.and_then(|(name, _)| tree.clash(info, parent, name)) {
        // What is there without being declared may be declared.
        if existing.predefined && existing.info.name == info.name && existing.values.is_empty() {
            let id = existing.id;
            return update(tree, id, command, strictness, ("Added", &[]));
        }
        return Err(Problem::error(format!(
            "there is already an object called {}: {}",
            existing.name.as_deref().unwrap_or_default(),
            tree.title(existing)
        ))
        .of(format!("{} {}", info.name, name.map_or("", |(name, _)| name)))
        .remedy("choose another name, or change the existing object with \"set\"")
        .at(name.map(|(_, place)| place)));
    }
    if tree.objects.len() >= OBJECTS_MAX {
        return Err(Problem::error(format!("the configuration has {OBJECTS_MAX} objects; no more are allowed")));
    }
    let id = tree.push(info, name.map(|(name, _)| name.to_owned()), parent);
    let reply = update(tree, id, command, strictness, ("Added", &[]));
    let refused = match &reply {
        Ok(reply) => !reply.done,
        Err(_) => true,
    };
    if refused {
        tree.objects.retain(|object| object.id != id);
        tree.derive();
    }
    reply
}

/// A name, and where it is written.
type Named<'a> = Option<(&'a str, Position)>;

/// Which object the new one will live in, and its bare name, checked.
fn place_of<'a>(
    tree: &Tree,
    info: &'static TypeInfo,
    context: Context,
    name: Named<'a>,
    command: &Command,
) -> Result<(Option<ObjectId>, Named<'a>), Problem> {
    let mut parent = context.container;
    let mut name = name;
    if let Some((path, position)) = name
        && let Some((folder, _)) = path.rsplit_once('/')
    {
        let found = tree.home(path);
        let (found, rest) =
            found.ok_or_else(|| Problem::error(format!("there is no folder {folder}")).at(Some(position)))?;
        parent = Some(found);
        name = Some((rest, position));
    }
    let parent_type = parent.and_then(|id| tree.get(id)).map_or("", |object| object.info.name);
    if !info.parents.contains(&parent_type) {
        if parent.is_some() && info.parents.contains(&"") {
            return Err(Problem::error(format!("objects of type {} cannot live in a {parent_type}", info.name))
                .remedy("leave the context with \"cc\" first")
                .at(command.position()));
        }
        let homes = info.parents.iter().filter(|home| !home.is_empty()).copied().collect::<Vec<_>>().join(" or ");
        let by_position = |home: &&'static str| tree.registry.find(home).is_some_and(|i| i.naming == Naming::Position);
        let example = if info.parents.iter().any(by_position) { "1" } else { "main" };
        return Err(Problem::error(format!("objects of type {} live in a {homes}", info.name))
            .remedy(format!("enter one first, for example with \"cc {homes} {example}\""))
            .at(command.position()));
    }
    match (info.naming, name) {
        (Naming::Named, None) => Err(Problem::error(format!("the name of the new {} is missing", info.name))
            .remedy(format!("write \"add {} <Name> Property=value ...\"", info.name))
            .at(command.position())),
        (Naming::Position, Some((found, place))) => {
            Err(Problem::error(format!("{} objects have no name; found \"{found}\"", info.name)).at(Some(place)))
        }
        (_, Some((name, place))) if !is_identifier(name) => Err(Problem::error(format!(
            "\"{name}\" cannot be a name; expected letters, digits and _ - . with no dash or dot first, at most 64"
        ))
        .of(info.name)
        .at(Some(place))),
        (Naming::Optional, Some((name, place))) if name.parse::<u64>().is_ok() => {
            Err(Problem::error(format!("\"{name}\" cannot be a name: numbers stand for positions"))
                .of(info.name)
                .at(Some(place)))
        }
        (_, Some((name, place))) if info.reserved.iter().any(|word| word.eq_ignore_ascii_case(name)) => {
            Err(Problem::error(format!("the name {name} is reserved"))
                .of(info.name)
                .remedy("choose another name")
                .at(Some(place)))
        }
        (_, name) => Ok((parent, name)),
    }
}

fn set(tree: &mut Tree, context: Context, command: &Command, strictness: Strictness) -> Result<Reply, Problem> {
    let id = find(tree, context, command, false)?;
    // What was wrong before does not keep anybody from mending something else.
    let standing = tree.get(id).map(|object| tree.check_object(object)).unwrap_or_default();
    update(tree, id, command, strictness, ("Modified", &standing))
}

/// The object a command names.
fn find(tree: &Tree, context: Context, command: &Command, deleted: bool) -> Result<ObjectId, Problem> {
    let Target { info, name } = target(tree, command)?;
    if info.naming == Naming::Single {
        let object = tree.single(info).ok_or_else(|| Problem::error(format!("there is no {}", info.name)))?;
        return Ok(object.id);
    }
    let Some((name, position)) = name else {
        return Err(Problem::error(format!("which {} is missing", info.name))
            .remedy("write its name behind the type")
            .at(command.position()));
    };
    match tree.locate(info, context.container, name) {
        Some(object) if object.deleted && !deleted => {
            Err(Problem::error(format!("{} is marked for deletion", tree.title(object)))
                .remedy(format!("take it back first with \"undelete {}\"", tree.title(object)))
                .at(Some(position)))
        }
        Some(object) => Ok(object.id),
        None => {
            let known: Vec<&str> =
                tree.children(info, context.container).filter_map(|object| object.name.as_deref()).collect();
            Err(no_such(info, name, known).at(Some(position)))
        }
    }
}

/// There is no object of this name.
pub(crate) fn no_such(info: &TypeInfo, name: &str, known: Vec<&str>) -> Problem {
    let remedy = if known.is_empty() {
        format!("there are none here; make one with \"add {} ...\"", info.name)
    } else {
        format!("\"show {}\" lists those there are", info.name)
    };
    Problem::error(unknown(info.name, name, known)).remedy(remedy)
}

/// Gives an object the values of a command, if they are accepted.
fn update(
    tree: &mut Tree,
    id: ObjectId,
    command: &Command,
    strictness: Strictness,
    (done, standing): (&str, &[Problem]),
) -> Result<Reply, Problem> {
    let Some(before) = tree.get(id).cloned() else { return Err(Problem::error("there is no such object")) };
    let mut object = before.clone();
    let mut problems = Vec::new();
    let mut index = None;
    if object.position.is_none() || strictness == Strictness::File {
        object.position = command.position();
    }
    let mut given: Vec<&'static str> = Vec::new();
    for (name, text, token) in command.assignments() {
        if name.eq_ignore_ascii_case("Index") && object.info.naming != Naming::Single {
            match text.parse::<usize>() {
                Ok(number) if number > 0 => index = Some(number),
                _ => problems.push(
                    Problem::error(format!("found \"{text}\"; expected a position from 1"))
                        .property("Index")
                        .at(Some(token.value_position)),
                ),
            }
            continue;
        }
        if name.eq_ignore_ascii_case("Name") && object.info.property("Name").is_none() {
            rename(&object, text, token, &mut problems);
            continue;
        }
        let Some(property) = object.info.property(name) else {
            problems.push(object.info.unknown_property(name).at(Some(token.position)));
            continue;
        };
        if given.contains(&property.name) {
            problems
                .push(Problem::error("the property is given twice").property(property.name).at(Some(token.position)));
            continue;
        }
        given.push(property.name);
        if text.is_empty() && object.factory.contains_key(property.name) {
            object.values.insert(property.name, Value::new(property, "", Some(token.value_position)));
        } else if text.is_empty() {
            object.values.remove(property.name);
        } else {
            let text = property.kind.canonical(text).unwrap_or_else(|_| text.to_owned());
            // What the host supplies, as an address or a lease, may be gone tomorrow; what is given stays.
            let lasts = object.predefined && !object.dynamic;
            if lasts && object.factory.get(property.name).is_some_and(|factory| factory.text() == text) {
                object.values.remove(property.name);
            } else {
                object.values.insert(property.name, Value::new(property, &text, Some(token.value_position)));
            }
        }
    }
    object.disabled = match (command.has_option("disable"), command.has_option("enable")) {
        (true, true) => {
            problems.push(Problem::error("-disable and -enable contradict each other").at(command.position()));
            object.disabled
        }
        (false, false) => object.disabled,
        (disable, _) => disable,
    };
    let title = tree.title(&object);
    for problem in &mut problems {
        problem.object.clone_from(&title);
    }
    replace(tree, object.clone());
    if strictness == Strictness::File {
        if let Some(index) = index {
            tree.move_to(id, index);
        }
        return Ok(Reply { text: String::new(), done: true, problems });
    }
    tree.derive();
    if !object.disabled {
        problems.extend(tree.check_object(&object));
    }
    let is_new = |problem: &Problem| {
        problem.property.as_deref().is_some_and(|property| given.contains(&property))
            || !standing.iter().any(|old| (&old.message, &old.property) == (&problem.message, &problem.property))
    };
    let refused = problems.iter().any(|problem| problem.is_error() && is_new(problem)) && !command.has_option("force");
    if refused {
        replace(tree, before);
        tree.derive();
        return Ok(Reply::refused(problems));
    }
    if let Some(index) = index {
        tree.move_to(id, index);
        if let Some(object) = tree.get_mut(id) {
            object.moved = true;
        }
    }
    let title = tree.get(id).map(|object| tree.title(object)).unwrap_or_default();
    Ok(Reply { text: format!("{done} {title}.\n"), problems, done: true })
}

/// Objects keep the names they were made with: everything refers to them by name.
fn rename(object: &Object, name: &str, token: &Token, problems: &mut Vec<Problem>) {
    if !object.is_called(name) {
        let own = object.name.as_deref().unwrap_or("<empty>");
        problems.push(
            Problem::error(format!("the name of an object cannot be changed; it is {own}, found \"{name}\""))
                .property("Name")
                .remedy("add an object of the new name and delete this one")
                .at(Some(token.value_position)),
        );
    }
}

fn replace(tree: &mut Tree, object: Object) {
    if let Some(place) = tree.get_mut(object.id) {
        *place = object;
    }
}

fn delete(tree: &mut Tree, context: Context, command: &Command) -> Result<Reply, Problem> {
    if let Some((name, _, token)) = command.assignments().find(|(name, ..)| !name.eq_ignore_ascii_case("Name")) {
        return Err(Problem::error(format!("delete takes no properties; found {name}")).at(Some(token.position)));
    }
    let id = find(tree, context, command, false)?;
    let Some(object) = tree.get(id) else { return Err(Problem::error("there is no such object")) };
    let title = tree.title(object);
    if object.predefined {
        return Err(Problem::error("the object is predefined and cannot be deleted")
            .of(title.clone())
            .remedy(format!(
                "bring back its own values with \"reject {title}\", or disable it with \"set {title} -disable\""
            ))
            .at(command.position()));
    }
    let inside: Vec<ObjectId> = tree.objects().filter(|child| child.parent == Some(id)).map(|child| child.id).collect();
    let mut reasons: Vec<String> = tree
        .referrers(object)
        .iter()
        .map(|(user, property)| format!("{}.{}", tree.title(user), property.name))
        .collect();
    if !inside.is_empty() {
        reasons.push(format!("{} objects inside it", inside.len()));
    }
    if !reasons.is_empty() && !command.has_option("force") {
        return Err(Problem::error(format!("the object is still used: {}", reasons.join(", ")))
            .of(title)
            .remedy("change what uses it first, or delete it all the same with -force")
            .at(command.position()));
    }
    let gone = tree.with_contents(id);
    for object in tree.objects.iter_mut().filter(|object| gone.contains(&object.id)) {
        object.deleted = true;
    }
    tree.derive();
    Ok(Reply::said(format!("Deleted {title}.\n")))
}

fn undelete(workspace: &mut Workspace, context: Context, command: &Command) -> Result<Reply, Problem> {
    known_options(command, "undelete")?;
    let tree = &mut workspace.candidate;
    let id = find(tree, context, command, true)?;
    let clashes = tree.get(id).is_some_and(|object| {
        object
            .name
            .as_deref()
            .is_some_and(|name| tree.clash(object.info, object.parent, name).is_some_and(|other| other.id != id))
    });
    let Some(object) = tree.get(id) else { return Err(Problem::error("there is no such object")) };
    let title = tree.title(object);
    if !object.deleted {
        return Err(Problem::error("the object is not deleted").of(title).at(command.position()));
    }
    if clashes {
        return Err(Problem::error("another object has taken its name").of(title).at(command.position()));
    }
    let back = tree.with_contents(id);
    for object in tree.objects.iter_mut().filter(|object| back.contains(&object.id)) {
        object.deleted = false;
    }
    tree.derive();
    Ok(Reply::said(format!("Undeleted {title}.\n")))
}

fn reject(workspace: &mut Workspace, context: Context, command: &Command) -> Result<Reply, Problem> {
    known_options(command, "reject")?;
    if command.has_option("all") {
        workspace.candidate = Tree { next: workspace.candidate.next, ..workspace.committed().clone() };
        return Ok(Reply::said("Rejected all changes.\n".to_owned()));
    }
    let id = find(&workspace.candidate, context, command, true)?;
    let Some(object) = workspace.candidate.get(id).cloned() else {
        return Err(Problem::error("there is no such object"));
    };
    let title = workspace.candidate.title(&object);
    let ids = if command.has_option("recursive") { workspace.candidate.with_contents(id) } else { vec![id] };
    for id in ids {
        reject_one(workspace, id);
    }
    workspace.candidate.derive();
    Ok(Reply::said(format!("Rejected changes of {title}.\n")))
}

fn reject_one(workspace: &mut Workspace, id: ObjectId) {
    let Some(object) = workspace.candidate.get(id).cloned() else { return };
    let before = workspace.before(&object).cloned();
    let index = before.as_ref().map(|before| workspace.committed().index(before));
    let tree = &mut workspace.candidate;
    match before {
        Some(before) => {
            replace(tree, Object { id, parent: object.parent, factory: object.factory.clone(), ..before });
            if let (true, Some(index)) = (object.moved, index) {
                tree.move_to(id, index);
            }
        }
        None if object.predefined => replace(tree, Object { values: Default::default(), disabled: false, ..object }),
        None => {
            let gone = tree.with_contents(id);
            tree.objects.retain(|other| !gone.contains(&other.id));
        }
    }
}

/// cc: into an object, one level up, or back to the root.
pub(crate) fn change_context(tree: &Tree, context: &mut Context, command: &Command) -> Result<Reply, Problem> {
    known_options(command, "cc")?;
    if command.has_option("print") {
        let path = context.container.and_then(|id| tree.get(id)).map_or("/".to_owned(), |object| tree.title(object));
        return Ok(Reply::said(format!("{path}\n")));
    }
    match command.words().nth(1) {
        None | Some(("/", _)) => *context = Context::default(),
        Some(("..", _)) => {
            context.container = context.container.and_then(|id| tree.get(id)).and_then(|object| object.parent);
        }
        Some((_, position)) => {
            let Target { info, .. } = target(tree, command)?;
            if !info.container {
                let known: Vec<&str> =
                    tree.registry.types.iter().filter(|info| info.container).map(|info| info.name).collect();
                return Err(Problem::error(format!("{} objects hold no other objects", info.name))
                    .remedy(format!("types that do: {}", known.join(", ")))
                    .at(Some(position)));
            }
            let at_root = Context::default();
            context.container =
                Some(find(tree, *context, command, false).or_else(|_| find(tree, at_root, command, false))?);
        }
    }
    Ok(Reply::said(String::new()))
}
