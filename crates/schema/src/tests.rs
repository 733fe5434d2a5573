//! The commands over a set of object types that is declared here, so that no test depends on what a product has.

use crate::complete::{CONFIGURATION, Completion, complete};
use crate::kind::{AddressSort, Addresses, Bool, Form, Integer, References, SecretText, Target, Text};
use crate::{
    Context, Naming, Object, Problem, Registry, Reply, State, Tree, Workspace, execute, lex, load, object, text,
};

object! {
    /// Something with an address. Second sentence.
    pub struct Place: "Place" or "Location" {
        category: Some("Thing"),
        columns: &["Address"],
        absent: &["Altitude"],
        reserved: &["nowhere"],
    }

    /// Where it is.
    required address as "Address" or "Addr": Addresses<Anywhere>;
    /// Whether it is open.
    default open as "Open": Bool = "Yes";
    /// When it opens.
    needed hour as "Hour": Integer<0, 23> where "Open" = "No";
    /// What one says at the door.
    optional word as "Password": SecretText;
}

object! {
    /// Places in their order.
    pub struct Stop: "Stop" {
        naming: Naming::Optional,
        sequence: Some("way"),
        columns: &["Places"],
    }

    /// The places.
    required places as "Places": References<Place>;
}

object! {
    /// Holds leaves.
    pub struct Branch: "Branch" {
        container: true,
    }
}

object! {
    /// Lives on a branch.
    pub struct Leaf: "Leaf" {
        naming: Naming::Position,
        parents: &["Branch"],
    }

    /// Its colour.
    optional colour as "Colour": Text;
}

object! {
    /// Lives on a branch and holds buds.
    pub struct Twig: "Twig" {
        naming: Naming::Position,
        parents: &["Branch"],
        container: true,
    }
}

object! {
    /// Lives on a twig.
    pub struct Bud: "Bud" {
        naming: Naming::Position,
        parents: &["Twig"],
    }

    /// Its colour.
    optional colour as "Colour": Text;
}

object! {
    /// A rest among the stops.
    pub struct Rest: "Rest" {
        naming: Naming::Optional,
        sequence: Some("way"),
    }
}

object! {
    /// There is one.
    pub struct Weather: "Weather" {
        naming: Naming::Single,
    }

    /// Degrees.
    default degrees as "Degrees": Integer<0, 50> = "20";
}

/// Addresses without names.
#[derive(Debug)]
pub struct Anywhere;

impl AddressSort for Anywhere {
    const FORM: Form = Form::Many;
    const TYPES: &'static [&'static str] = <Place as Target>::TYPES;
}

static REGISTRY: Registry = Registry {
    types: &[Place::TYPE, Stop::TYPE, Branch::TYPE, Leaf::TYPE, Twig::TYPE, Bud::TYPE, Rest::TYPE, Weather::TYPE],
    absent: &["Ocean"],
    derive: |_| (),
    check: |_, _| Vec::new(),
};

/// A workspace, and where in it the commands apply.
struct Console {
    workspace: Workspace,
    context: Context,
}

impl Console {
    fn new() -> Self {
        let mut tree = Tree::new(&REGISTRY);
        tree.predefine(Place::TYPE, Some("home"), None, &[("Address", "192.0.2.1")]);
        Self { workspace: Workspace::new(tree), context: Context::default() }
    }

    fn with(lines: &str) -> Self {
        let mut console = Self::new();
        for line in lines.lines() {
            console.does(line);
        }
        console
    }

    fn run(&mut self, line: &str) -> Reply {
        execute(&mut self.workspace, &mut self.context, &lex::Command::parse(line)).unwrap()
    }

    #[track_caller]
    fn does(&mut self, line: &str) -> String {
        let reply = self.run(line);
        assert!(reply.done, "{line}: {:?}", reply.problems);
        reply.text
    }

    #[track_caller]
    fn refuses(&mut self, line: &str, part: &str) {
        let before = text(&self.workspace.candidate);
        let reply = self.run(line);
        let said: Vec<String> = reply.problems.iter().map(ToString::to_string).collect();
        assert!(!reply.done && said.iter().any(|said| said.contains(part)), "{line}: {said:?}");
        assert_eq!(text(&self.workspace.candidate), before, "a refused command changed something");
    }

    #[track_caller]
    fn state(&self, name: &str) -> State {
        let object = self.workspace.candidate.objects.iter().find(|object| object.is_called(name)).unwrap();
        self.workspace.state(object)
    }

    fn confirm(&mut self) {
        self.workspace.activate();
        self.workspace.commit();
    }

    fn complete(&self, line: &str) -> Completion {
        complete(line, line.len(), &self.workspace.candidate, self.context, CONFIGURATION)
    }

    fn offers(&self, line: &str) -> Vec<String> {
        self.complete(line).candidates.into_iter().map(|candidate| candidate.text).collect()
    }
}

#[test]
fn an_object_is_added_changed_and_deleted() {
    let mut console = Console::new();
    assert_eq!(console.does("add Thing Place a Addr=10.0.0.1"), "Added Place a.\n");
    assert_eq!(console.does("SET location A Address= 10.0.0.2, home"), "Modified Place a.\n");
    assert_eq!(text(&console.workspace.candidate), "add Place a Address=10.0.0.2,home\n");
    assert_eq!(console.does("delete Place a"), "Deleted Place a.\n");
    assert_eq!(text(&console.workspace.candidate), "");
}

#[test]
fn what_is_wrong_with_a_command_changes_nothing() {
    let mut console = Console::with("add Place a Address=10.0.0.1\nadd Stop s Places=a");
    console.refuses("add Place b", "a value is required for the following properties: Address");
    console.refuses("add Place b Address=10.0.0.1 Open=No", "properties: Hour");
    console.refuses("add Place b Address=10.0.0.300", "0 to 255");
    console.refuses("add Place b Adress=10.0.0.1", "did you mean Address?");
    console.refuses("add Place b Altitude=5 Address=10.0.0.1", "Altitude is not available in this version");
    console.refuses("add Ocean b", "Ocean are not available in this version");
    console.refuses("add Plcae b", "did you mean Place?");
    console.refuses("add Place a Address=10.0.0.1", "already an object called a");
    console.refuses("add Place nowhere Address=10.0.0.1", "reserved");
    console.refuses("add Place a/b Address=10.0.0.1", "no folder a");
    console.refuses("add Place b Address=10.0.0.1 Addr=10.0.0.2", "given twice");
    console.refuses("add Place b c Address=10.0.0.1", "neither a property nor an option");
    console.refuses("add Place b -frce Address=10.0.0.1", "did you mean force?");
    console.refuses("add Place", "the name of the new Place is missing");
    console.refuses("add Weather", "exactly one Weather");
    console.refuses("add Leaf", "live in a Branch");
    console.refuses("add Stop t Places=b", "there is no Place b");
    console.refuses("set Place b Open=No", "there is no Place b");
    console.refuses("set Place b Open=No", "\"show Place\" lists those there are");
    console.refuses("show Stop t", "there is no Stop t");
    console.refuses("show -references", "references to which object is missing");
    console.refuses("set Place a Name=b", "cannot be changed");
    console.refuses("delete Place a", "still used: Stop s.Places");
    console.refuses("delete Place home", "predefined");
    console.refuses("set Weather Degrees=99", "0 to 50");
    console.refuses("show Place zzzz", "there is no Place zzzz");
    console.refuses("set Place a Comments=\"open", "never closed");
    console.refuses("cc Place a", "hold no other objects");
}

#[test]
fn force_does_what_has_errors_and_marks_it() {
    let mut console = Console::new();
    let reply = console.run("add Stop s Places=nobody -force");
    assert!(reply.done && reply.problems.iter().any(Problem::is_error));
    let list = console.does("show Stop");
    assert!(list.contains("!+  1  s     nobody"), "{list}");
    assert!(console.does("show -errors").contains("there is no Place nobody"));
    assert!(console.run("add Stop t Places=nobody -force -silent").problems.is_empty());
}

#[test]
fn flags_tell_what_happened_since_the_last_commit() {
    let mut console =
        Console::with("add Place a Address=10.0.0.1\nadd Place b Address=10.0.0.2\nadd Place c Address=10.0.0.3");
    assert_eq!(console.state("a"), State::New);
    console.confirm();
    assert!(!console.workspace.is_changed());
    console.does("set Place a Open=No Hour=5");
    console.does("delete Place b");
    console.does("set Place c -disable");
    let list = console.does("show Place");
    let flags: Vec<&str> = list.lines().skip(3).map(|line| line.get(..2).unwrap().trim()).collect();
    assert_eq!(flags, ["", "*", "-", "o*"]);
    assert_eq!(console.state("home"), State::Unchanged);
    console.does("set Place home Open=No Hour=1");
    assert_eq!(console.state("home"), State::Modified);
}

#[test]
fn a_deletion_is_taken_back_until_the_next_activation() {
    let mut console = Console::with("add Place a Address=10.0.0.1\nadd Place b Address=10.0.0.2");
    console.confirm();
    console.does("delete Place a");
    console.refuses("set Place a Open=No Hour=1", "marked for deletion");
    assert_eq!(console.does("undelete Place A"), "Undeleted Place a.\n");
    assert_eq!(console.state("a"), State::Unchanged);
    console.refuses("undelete Place a", "not deleted");
    console.does("delete Place a");
    console.workspace.activate();
    console.refuses("undelete Place a", "there is no Place a");
}

#[test]
fn reject_brings_back_the_committed_values() {
    let mut console = Console::with("add Place a Address=10.0.0.1\nadd Place b Address=10.0.0.2");
    console.confirm();
    let committed = text(&console.workspace.candidate);
    for line in
        ["set Place a Open=No Hour=1", "delete Place b", "add Place c Address=10.0.0.3", "set Place home -disable"]
    {
        console.does(line);
    }
    for line in ["reject Place a", "reject Place b", "reject Place c", "reject Place home"] {
        console.does(line);
    }
    assert_eq!(text(&console.workspace.candidate), committed);
    console.does("set Place a Open=No Hour=1");
    console.does("reject -all");
    assert_eq!(text(&console.workspace.candidate), committed);
}

#[test]
fn what_was_activated_and_not_confirmed_goes_back() {
    let mut console = Console::with("add Place a Address=10.0.0.1");
    console.confirm();
    let confirmed = text(console.workspace.active());
    console.does("add Place b Address=10.0.0.2");
    console.workspace.activate();
    assert!(console.workspace.is_pending());
    console.workspace.revert();
    assert_eq!(text(console.workspace.active()), confirmed);
    assert_eq!(console.state("b"), State::New, "the edits are still there to be mended");
}

#[test]
fn index_puts_an_object_in_its_place() {
    let mut console = Console::with("add Stop a Places=home\nadd Stop b Places=home\nadd Stop c Places=home Index=1");
    let order = |console: &Console| -> String {
        console.workspace.candidate.objects().filter(|o| o.info.name == "Stop").filter_map(|o| o.name.clone()).collect()
    };
    assert_eq!(order(&console), "cab");
    console.confirm();
    console.does("set Stop c Index=3");
    assert_eq!(
        (order(&console).as_str(), console.state("c"), console.state("a")),
        ("abc", State::Modified, State::Unchanged)
    );
    console.does("reject Stop c");
    assert_eq!(order(&console), "cab");
    console.does("set Stop 2 Comments=x");
    assert!(console.does("show Stop a").contains("Comments:  x"));
    console.refuses("set Stop a Index=0", "a position from 1");
}

#[test]
fn commands_apply_inside_an_object_after_cc() {
    let mut console = Console::with("add Branch oak\ncc Branch OAK\nadd Leaf Colour=green\nadd Leaf");
    assert_eq!(console.context.prompt("Device", &console.workspace.candidate), "Device:/oak>");
    assert_eq!(console.does("cc -print"), "Branch oak\n");
    console.refuses("add Place x Address=10.0.0.1", "leave the context");
    assert_eq!(
        console.does("show Leaf 1"),
        "                  Property  Value\n--------------------------  ------------------\n                    Index:  1\n                   Colour:  green\n                 Comments:  <empty>\n"
    );
    console.does("cc");
    assert_eq!(console.context.prompt("Device", &console.workspace.candidate), "Device:/>");
    assert_eq!(
        text(&console.workspace.candidate),
        "add Branch oak\ncc Branch oak\nadd Leaf Colour=green\nadd Leaf\ncc\n"
    );
    console.refuses("delete Branch oak", "2 objects inside it");
    console.does("cc Branch oak");
    console.does("delete Leaf 2");
    console.does("cc ..");
    console.does("delete Branch oak -force");
    assert_eq!(text(&console.workspace.candidate), "");
}

#[test]
fn secrets_are_kept_and_never_shown() {
    let mut console = Console::with("add Place a Address=10.0.0.1 Password=swordfish");
    let table = console.does("show Place a");
    assert!(table.contains("Password:  ********") && !table.contains("swordfish"), "{table}");
    assert!(!crate::masked(&console.workspace.candidate).contains("swordfish"));
    assert!(!format!("{:?}", console.workspace).contains("swordfish"));
    assert!(text(&console.workspace.candidate).contains("swordfish"), "the file must have it");
    assert!(!console.does("show Place").contains("swordfish"));
}

#[test]
fn an_object_reads_as_its_rust_type_with_defaults_where_nothing_is_given() {
    let console = Console::with(
        "add Place a Address=10.0.0.1,home Hour=5 -force\nadd Stop s Places=a,home\nadd Branch b\ncc Branch b\nadd Leaf",
    );
    let tree = &console.workspace.candidate;
    let object = |info: &'static crate::TypeInfo| tree.objects().rfind(|o| o.info.name == info.name).unwrap();
    let place = Place::read(object(Place::TYPE)).unwrap();
    assert_eq!((place.address.len(), place.open), (2, true));
    assert_eq!(place.hour, None, "it does not apply");
    assert!(place.word.is_none());
    assert_eq!(Stop::read(object(Stop::TYPE)).unwrap().places, ["a", "home"]);
    assert!(Branch::read(object(Branch::TYPE)).is_some());
    assert_eq!(Leaf::read(object(Leaf::TYPE)).unwrap().colour, None);
    assert_eq!(Weather::read(object(Weather::TYPE)).unwrap().degrees, 20);
}

#[test]
fn an_empty_value_takes_a_value_away() {
    let mut console = Console::with("add Place a Address=10.0.0.1 Comments=x");
    console.does("set Place a Comments=\"\"");
    assert_eq!(text(&console.workspace.candidate), "add Place a Address=10.0.0.1\n");
    console.refuses("set Place a Address=", "properties: Address");
}

#[test]
fn a_file_may_refer_to_what_comes_later_and_keeps_its_head_comment() {
    let input = "# The head\n# of the file.\n\nadd Stop s Places=a\n# in between\nadd Place a\n  Address=10.0.0.1\nset Weather Degrees=7\n";
    let mut tree = Tree::new(&REGISTRY);
    assert_eq!(load(&mut tree, input), []);
    let written =
        "# The head\n# of the file.\n\nset Weather Degrees=7\nadd Stop s Places=a\nadd Place a Address=10.0.0.1\n";
    assert_eq!(text(&tree), written);
    let mut again = Tree::new(&REGISTRY);
    assert_eq!(load(&mut again, written), []);
    assert_eq!(text(&again), written);
}

#[test]
fn every_problem_of_a_file_is_reported_in_its_place() {
    let mut tree = Tree::new(&REGISTRY);
    let problems = load(&mut tree, "add Place a Address=10.0.0.1,b\nOpen=perhaps\nactivate\nAddress=1\n");
    let places: Vec<_> =
        problems.iter().map(|p| p.position.map(|at| (at.line, at.column, at.length)).unwrap()).collect();
    assert_eq!(places, [(1, 30, 1), (2, 6, 7), (3, 1, 8)], "{problems:?}");
    let reads =
        |tree: &Tree| tree.objects().find(|o| o.is_called("a")).map(|object: &Object| Place::read(object).is_some());
    assert_eq!(reads(&tree), Some(false), "a value that is not of its kind is never read");
}

#[test]
fn tab_offers_commands_types_names_properties_and_values() {
    let console = Console::with("add Place a Address=10.0.0.1 Comments=here");
    assert_eq!(console.offers("d"), ["delete "]);
    assert_eq!(console.offers("add T"), ["Thing "]);
    assert_eq!(console.offers("add Thing "), ["Place "]);
    assert_eq!(console.offers("cc "), ["Branch "]);
    assert_eq!(console.offers("set Place "), ["home ", "a "]);
    assert_eq!(console.offers("set Place a o"), ["Open="]);
    assert_eq!(console.offers("set Place a Open=n"), ["No "]);
    assert_eq!(console.offers("add Stop Places=a,h"), ["home"]);
    assert_eq!(console.complete("add Stop Places=a,h").start, "add Stop Places=a,".len());
    assert_eq!(console.offers("delete Place a -f"), ["-force "]);
    assert_eq!(console.offers("add Place x Open=No Address=1.1.1.1 "), ["Hour="], "it applies now");
    assert_eq!(console.offers("frobnicate "), [""; 0]);
}

#[test]
fn tab_asks_for_the_mandatory_properties_first() {
    let console = Console::new();
    let completion = console.complete("add Place x ");
    assert_eq!(completion.message.as_deref(), Some("A value is required for the following properties:\n  Address"));
    assert_eq!(completion.candidates.len(), 1);
    assert!(console.offers("add Place x Address=1.1.1.1 ").contains(&"Open=".to_owned()));
}

#[test]
fn a_dot_fills_in_the_default_or_the_value_there_is() {
    let console = Console::with("set Weather Degrees=7\nadd Place a Address=10.0.0.1 Password=swordfish");
    assert_eq!(console.offers("set Weather Degrees=."), ["7"]);
    assert_eq!(console.offers("add Place x Open=."), ["Yes"]);
    assert_eq!(console.offers("set Place a Address=."), ["10.0.0.1"]);
    assert_eq!(console.offers("set Place a Password=."), [""; 0]);
}

#[test]
fn help_and_manual_come_from_the_declaration() {
    let help = crate::help::help(&REGISTRY, CONFIGURATION, Some("location")).unwrap();
    assert!(help.contains("Address (required)") && help.contains("Only with Open=No."), "{help}");
    assert!(crate::help::help(&REGISTRY, CONFIGURATION, Some("SET")).unwrap().contains("-enable"));
    assert!(crate::help::help(&REGISTRY, CONFIGURATION, None).unwrap().contains("Something with an address.\n"));
    assert_eq!(crate::help::help(&REGISTRY, CONFIGURATION, Some("nothing")), None);
    let manual = crate::manual::manual(&REGISTRY);
    assert!(
        manual.contains("| `Hour` | number from 0 to 23 | required | When it opens. Only with `Open=No`. |"),
        "{manual}"
    );
}

#[test]
fn objects_live_in_objects_that_live_in_objects_and_are_written_where_they_are() {
    let mut console = Console::with("add Branch oak\ncc Branch oak\nadd Twig\nadd Twig\ncc Twig 2");
    assert_eq!(console.context.prompt("Device", &console.workspace.candidate), "Device:/oak/2>");
    console.does("add Bud Colour=green");
    console.does("cc ..");
    console.refuses("add Bud", "objects of type Bud live in a Twig");
    console.does("add Leaf Colour=red");
    console.does("cc");
    console.does("set Bud oak/2/1 Colour=brown");
    let tree = &console.workspace.candidate;
    let bud = tree.objects().find(|object| object.info.name == "Bud").unwrap();
    assert_eq!(Bud::read(bud).unwrap().colour.as_deref(), Some("brown"));
    assert!(tree.enabled(Twig::TYPE).all(|twig| Twig::read(twig).is_some()));
    let written = text(&console.workspace.candidate);
    assert_eq!(
        written,
        "add Branch oak\ncc Branch oak\nadd Twig\nadd Twig\nadd Leaf Colour=red\ncc Twig 2\nadd Bud Colour=brown\ncc ..\ncc\n"
    );
    let mut again = Tree::new(&REGISTRY);
    assert_eq!(load(&mut again, &written).len(), 0);
    assert_eq!(text(&again), written);
    console.refuses("delete Branch oak", "objects inside it");
    console.does("delete Branch oak -force");
    assert_eq!(text(&console.workspace.candidate), "");
    console.does("undelete Branch oak");
    assert_eq!(text(&console.workspace.candidate), written, "what is deep inside came back too");
}

#[test]
fn types_of_one_sequence_are_numbered_together() {
    let mut console = Console::with("add Stop a Places=home\nadd Rest b\nadd Stop c Places=home");
    assert!(console.workspace.candidate.enabled(Rest::TYPE).all(|rest| Rest::read(rest).is_some()));
    console.refuses("set Stop 2 Places=home", "there is no Stop 2");
    console.does("set Stop 3 Index=1");
    assert_eq!(text(&console.workspace.candidate), "add Stop c Places=home\nadd Stop a Places=home\nadd Rest b\n");
    assert!(console.does("show Rest").contains("3"));
}
