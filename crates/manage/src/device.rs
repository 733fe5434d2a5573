use std::collections::BTreeMap;
use std::sync::Arc;

use base::{Buffer, Duration, Instant, Now, Random};
use engine::{Gateway, PingId};
use objects::HostInterface;
use schema::complete::{Argument, CommandInfo};
use schema::lex::{COMMAND_LENGTH_MAX, Command};
use schema::{Problem, Workspace};

use crate::activation::Activation;
use crate::commands::{self, OPERATIONS, Outcome, Ran, show_ping};
use crate::session::{QUEUE_MAX, Running, Session, TURN_COMMANDS, TURN_TEXT};
use crate::{Action, ClientId, Done, Input, pskgen};

/// The device's name, as prompts show it.
const NAME: &str = "Device";
/// Operators at the same time; the shell bounds its connections too.
const SESSIONS_MAX: usize = 64;
/// What an operator may do whose `add` still lacks properties.
const GO_ON: &str = "Go on with Property=value, or press Enter on an empty line to give up.\n";

/// The commands about the configuration as a whole.
const CONFIGURATION: &[CommandInfo] = &[
    CommandInfo {
        name: "activate",
        usage: "activate",
        help: "Checks the edited configuration and uses it; 'commit' must follow.",
        options: &[],
        argument: Argument::Nothing,
    },
    CommandInfo {
        name: "commit",
        usage: "commit",
        help: "Confirms the configuration in use and stores it.",
        options: &[],
        argument: Argument::Nothing,
    },
    CommandInfo {
        name: "cancel",
        usage: "cancel",
        help: "Goes back at once to the configuration that was confirmed last.",
        options: &[],
        argument: Argument::Nothing,
    },
    CommandInfo {
        name: "pskgen",
        usage: "pskgen <Name> [-comments=<text>] [-size={64|128|256|512|1024|2048|4096}]",
        help: "Makes a PSK object with a random key, or gives the one of that name a new key.",
        options: &[("comments=", "A comment for the object."), ("size=", "Bits of the key; 64 unless told.")],
        argument: Argument::Free,
    },
    CommandInfo {
        name: "help",
        usage: "help [<command>|<type>]",
        help: "Explains a command or an object type, or lists them.",
        options: &[],
        argument: Argument::Topic,
    },
];

/// Every command there is, for help, completion and the reference manual.
pub static COMMANDS: std::sync::LazyLock<Vec<CommandInfo>> = std::sync::LazyLock::new(|| {
    let mut all: Vec<CommandInfo> =
        [schema::complete::CONFIGURATION, CONFIGURATION, OPERATIONS].into_iter().flatten().copied().collect();
    all.sort_by_key(|command| command.name);
    all
});

/// A gateway with its configuration and its operators.
#[derive(Debug)]
pub struct Device {
    pub(crate) gateway: Gateway,
    pub(crate) workspace: Workspace,
    pub(crate) interfaces: Vec<HostInterface>,
    /// What DHCP servers have lent, by the card's name in the kernel and the VLAN.
    pub(crate) leases: BTreeMap<(String, Option<u16>), objects::Lease>,
    leases_changed: bool,
    pub(crate) activation: Activation,
    pub(crate) sessions: BTreeMap<ClientId, Session>,
    /// When the next session's queue goes on, where one waits for its turn.
    turn: Option<Instant>,
    /// Whose queue had the last turn.
    last_turn: ClientId,
    random: Random,
    actions: Vec<engine::Action>,
}

impl Device {
    /// A device with the configuration `text`, not started before its first step; hands back warnings with it. Refuses a
    /// configuration with errors and hands back every problem. `seed` decides every secret the gateway will draw.
    pub fn new(
        seed: [u8; 32],
        now: Now,
        interfaces: Vec<HostInterface>,
        text: &str,
    ) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let mut random = Random::from_seed(seed);
        let (tree, snapshot, warnings) = objects::compile_text(text, &interfaces)?;
        let snapshot = Arc::new(snapshot);
        let mut gateway_seed = [0; 32];
        random.fill(&mut gateway_seed);
        let device = Self {
            gateway: Gateway::new(gateway_seed, now, Arc::clone(&snapshot)),
            workspace: Workspace::new(tree),
            interfaces,
            leases: BTreeMap::new(),
            leases_changed: false,
            activation: Activation::new(snapshot),
            sessions: BTreeMap::new(),
            turn: None,
            last_turn: ClientId(0),
            random,
            actions: Vec::new(),
        };
        Ok((device, warnings))
    }

    /// Takes one input and appends what it wants done to `out`.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Gateway(input) => {
                let deadline = matches!(input, engine::Input::Deadline);
                self.gateway.step(now, input, &mut self.actions);
                if deadline {
                    self.take_turn(now, out);
                }
            }
            Input::Line { client, line } => self.line(now, client, &line, out),
            Input::Complete { client, line, cursor } => self.complete(client, &line, cursor, out),
            Input::LastLine(client) => {
                if self.sessions.len() < SESSIONS_MAX {
                    self.sessions.entry(client).or_default().last_line = true;
                }
            }
            Input::Interrupt(client) => self.interrupt(now, client, out),
            Input::Full(client) => self.set_full(client, true),
            Input::Room(client) => self.set_full(client, false),
            Input::Closed(client) => {
                self.stop(client);
                self.sessions.remove(&client);
            }
            Input::Stored { ticket, result } => self.stored(now, ticket, result, out),
            Input::Interfaces(interfaces) => self.interfaces_changed(now, interfaces, out),
        }
        self.expire_activation(now, out);
        self.tell_pings(now, out);
        // The least time that is later than now: a deadline that has passed is never asked for.
        let waits = self.sessions.values().any(Session::wants_turn);
        self.turn = waits.then(|| now.mono + Duration::from_micros(1));
        self.flush(out);
        if std::mem::take(&mut self.leases_changed) {
            self.interfaces_changed(now, self.interfaces.clone(), out);
            self.flush(out);
        }
    }

    /// When the device wants its next [`engine::Input::Deadline`], and what for.
    pub fn next_deadline(&self) -> Option<(Instant, &'static str)> {
        let activation = self.activation.deadline().map(|at| (at, "configuration not confirmed"));
        let turn = self.turn.map(|at| (at, "commands wait for their turn"));
        [self.gateway.next_deadline(), activation, turn].into_iter().flatten().min()
    }

    /// The gateway, to look at.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The prompt of a session.
    pub fn prompt(&self, client: ClientId) -> String {
        let context = self.sessions.get(&client).map(|session| session.context).unwrap_or_default();
        format!("{} ", context.prompt(NAME, &self.workspace.candidate))
    }

    /// An empty packet buffer, used ones first.
    pub fn buffer(&mut self) -> Buffer {
        self.gateway.buffer()
    }

    /// Gives a packet buffer back once the shell has sent it.
    pub fn recycle(&mut self, buffer: Buffer) {
        self.gateway.recycle(buffer);
    }

    /// Hands on what the gateway wants done. Addresses that DHCP servers have lent are the device's own matter.
    pub(crate) fn flush(&mut self, out: &mut Vec<Action>) {
        for action in self.actions.drain(..) {
            match action {
                engine::Action::Lease { device, vlan, lease } => {
                    self.leases_changed = true;
                    match lease {
                        Some(lease) => drop(self.leases.insert((device, vlan), lease)),
                        None => drop(self.leases.remove(&(device, vlan))),
                    }
                }
                action => out.push(Action::Gateway(action)),
            }
        }
    }

    /// Packets go through shards on threads of the shell from now on, before the first packet.
    pub fn hand_over(&mut self, shards: Box<dyn engine::Shards>) {
        self.gateway.hand_over(shards);
    }

    /// Steps the gateway for the device's own purposes.
    pub(crate) fn step_gateway(&mut self, now: Now, input: engine::Input, out: &mut Vec<Action>) {
        self.gateway.step(now, input, &mut self.actions);
        self.flush(out);
    }

    /// Says something to everybody who has a session, outside of any command.
    pub(crate) fn announce(&self, text: &str, out: &mut Vec<Action>) {
        out.extend(self.sessions.keys().map(|client| Action::Reply {
            client: *client,
            text: text.to_owned(),
            done: None,
        }));
    }

    fn line(&mut self, now: Now, client: ClientId, line: &str, out: &mut Vec<Action>) {
        if !self.sessions.contains_key(&client) && self.sessions.len() >= SESSIONS_MAX {
            let text = format!("Refused: {SESSIONS_MAX} sessions are open already; close one of them.\n");
            let done = Done { success: false, prompt: self.prompt(client) };
            out.push(Action::Reply { client, text, done: Some(done) });
            return;
        }
        let session = self.sessions.entry(client).or_default();
        let gave_up = line.trim().is_empty() && session.waits_for_properties();
        if gave_up {
            session.forget();
        }
        let idle = session.queue.is_empty() && session.running.is_none();
        if idle {
            session.failed = false;
        }
        let room = QUEUE_MAX.saturating_sub(session.queue.len());
        let commands = schema::lex::commands(line);
        let left_out = commands.len().saturating_sub(room);
        session.queue.extend(commands.into_iter().take(room));
        if left_out > 0 {
            session.failed = true;
            let text = format!("{left_out} commands were left out: at most {QUEUE_MAX} may wait.\n");
            out.push(Action::Reply { client, text, done: None });
        }
        if gave_up {
            let text = "The command above was given up; nothing was added.\n".to_owned();
            out.push(Action::Reply { client, text, done: None });
        }
        if idle {
            self.pump(now, client, out);
        }
    }

    /// Gives the queue of one session its turn: the one that has waited longest.
    fn take_turn(&mut self, now: Now, out: &mut Vec<Action>) {
        let wants = |(_, session): &(&ClientId, &mut Session)| session.wants_turn();
        let last = self.last_turn;
        let (mut earlier, mut later): (Vec<_>, Vec<_>) =
            self.sessions.iter_mut().filter(wants).partition(|(client, _)| **client <= last);
        let Some((client, session)) = later.first_mut().or(earlier.first_mut()) else { return };
        let client = **client;
        session.running = None;
        self.last_turn = client;
        self.pump(now, client, out);
    }

    fn set_full(&mut self, client: ClientId, full: bool) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.full = full;
        }
    }

    /// Runs what a session's queue holds until a command goes on, its turn is over, or nothing is left; in the last case
    /// tells that it is done.
    pub(crate) fn pump(&mut self, now: Now, client: ClientId, out: &mut Vec<Action>) {
        let mut text = String::new();
        let mut commands = 0;
        loop {
            let Some(session) = self.sessions.get_mut(&client) else { return };
            if commands >= TURN_COMMANDS || text.len() >= TURN_TEXT || session.full {
                if session.queue.is_empty() {
                    break;
                }
                session.running = Some(Running::Turn);
                if !text.is_empty() {
                    out.push(Action::Reply { client, text, done: None });
                }
                return;
            }
            let Some(command) = session.queue.pop_front() else { break };
            commands += 1;
            let ran = self.command(now, client, command, out);
            self.flush(out);
            let Some(session) = self.sessions.get_mut(&client) else { return };
            match ran {
                Ok(outcome) => {
                    text.push_str(&outcome.text);
                    session.failed |= !outcome.success;
                }
                Err(running) => {
                    session.running = Some(running);
                    if !text.is_empty() {
                        out.push(Action::Reply { client, text, done: None });
                    }
                    return;
                }
            }
        }
        let failed = self.sessions.get(&client).is_some_and(|session| session.failed);
        let done = Some(Done { success: !failed, prompt: self.prompt(client) });
        out.push(Action::Reply { client, text, done });
    }

    /// Runs one command; `Err` when it goes on.
    fn command(
        &mut self,
        now: Now,
        client: ClientId,
        command: Command,
        out: &mut Vec<Action>,
    ) -> Result<Outcome, Running> {
        let continued = self.sessions.get(&client).and_then(|session| session.continued(&command));
        let goes_on = continued.is_some();
        let command = continued.unwrap_or(command);
        let Some((verb, _)) = command.words().next() else {
            return Ok(Outcome::failed(
                problems_text(&command.problems)
                    .unwrap_or_else(|| "These properties belong to no command: begin with add or set.\n".to_owned()),
            ));
        };
        let verb = verb.to_ascii_lowercase();
        if let Some(outcome) = self.edit(client, &command, goes_on) {
            return Ok(outcome);
        }
        if let Some(session) = self.sessions.get_mut(&client) {
            session.forget();
        }
        if let Some(text) = problems_text(&command.problems) {
            return Ok(Outcome::failed(text));
        }
        match verb.as_str() {
            "activate" | "commit" | "cancel" => {
                if let Some(refused) = takes_nothing(&verb, &command) {
                    return Ok(refused);
                }
                match verb.as_str() {
                    "activate" => Ok(self.activate(now, out)),
                    "commit" => self.commit(now, client, out),
                    _ => Ok(self.cancel(now, out)),
                }
            }
            "pskgen" => Ok(pskgen::run(&mut self.workspace, &mut self.random, &command)),
            "help" | "?" => Ok(self.help(&command)),
            _ => match commands::run(now, &mut self.gateway, &command, &mut self.actions) {
                Some(Ran::Done(outcome)) => Ok(outcome),
                Some(Ran::Ping(id, shown)) => Err(Running::Ping(id, shown)),
                None => Ok(Outcome::failed(unknown_command(&verb))),
            },
        }
    }

    /// A command that edits the configuration; `None` when it is none. `goes_on`: it is an earlier line with one more.
    fn edit(&mut self, client: ClientId, command: &Command, goes_on: bool) -> Option<Outcome> {
        let session = self.sessions.get_mut(&client)?;
        let reply = schema::execute(&mut self.workspace, &mut session.context, command)?;
        if reply.is_incomplete() && !session.last_line {
            session.remember(command.clone(), false);
            let missing = reply.problems.iter().filter(|problem| problem.is_error());
            let text: String = missing.map(|problem| format!("{}: {}\n", problem.object, problem.message)).collect();
            return Some(Outcome::failed(format!("{text}{GO_ON}")));
        }
        if !reply.done && goes_on && !session.last_line && session.waits_for_properties() {
            // Only this line was wrong: what the lines before it said is kept.
            let text = problems_text(&reply.problems).unwrap_or_default();
            return Some(Outcome::failed(format!("{text}This line was left out. {GO_ON}")));
        }
        session.remember(command.clone(), reply.done);
        if !reply.done {
            session.forget();
        }
        let text = format!("{}{}", reply.text, problems_text(&reply.problems).unwrap_or_default());
        Some(Outcome { text, success: reply.done })
    }

    fn help(&self, command: &Command) -> Outcome {
        let topic = command.words().nth(1).map(|(word, _)| word);
        let registry = self.workspace.candidate.registry();
        match schema::help::help(registry, &COMMANDS, topic) {
            Some(text) => Outcome::ok(text),
            None => Outcome::failed(format!(
                "There is no command or object type {}. 'help' lists them.\n",
                topic.unwrap_or_default()
            )),
        }
    }

    fn complete(&mut self, client: ClientId, line: &str, cursor: usize, out: &mut Vec<Action>) {
        if line.len() > COMMAND_LENGTH_MAX {
            let hint = format!("A command has at most {COMMAND_LENGTH_MAX} characters.");
            out.push(Action::Candidates { client, start: cursor, candidates: Vec::new(), hint: Some(hint) });
            return;
        }
        let context = self.sessions.get(&client).map(|session| session.context).unwrap_or_default();
        let found = schema::complete::complete(line, cursor, &self.workspace.candidate, context, &COMMANDS);
        out.push(Action::Candidates {
            client,
            start: found.start,
            candidates: found.candidates.into_iter().map(|candidate| (candidate.text, candidate.help)).collect(),
            hint: found.message,
        });
    }

    /// Ends what a session runs and forgets what it has queued; a queue that waits for its turn is done with that.
    fn interrupt(&mut self, now: Now, client: ClientId, out: &mut Vec<Action>) {
        self.stop(client);
        let waiting = |session: &&mut Session| matches!(session.running, Some(Running::Turn));
        if let Some(session) = self.sessions.get_mut(&client).filter(waiting) {
            session.running = None;
            self.pump(now, client, out);
        }
    }

    fn stop(&mut self, client: ClientId) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        session.failed |= !session.queue.is_empty();
        session.queue.clear();
        session.forget();
        if let Some(Running::Ping(id, _)) = session.running {
            self.gateway.stop_ping(id);
        }
    }

    fn tell_pings(&mut self, now: Now, out: &mut Vec<Action>) {
        let mut ended: Vec<ClientId> = Vec::new();
        for (id, event) in self.gateway.ping_events() {
            let Some((client, session)) = self.sessions.iter_mut().find(|(_, session)| session.pings(id)) else {
                continue;
            };
            let Some(Running::Ping(_, shown)) = &session.running else { continue };
            let (text, end) = show_ping(shown, &event);
            out.push(Action::Reply { client: *client, text, done: None });
            if let Some(answered) = end {
                session.failed |= !answered;
                session.running = None;
                ended.push(*client);
            }
        }
        for client in ended {
            self.pump(now, client, out);
        }
    }
}

impl Session {
    fn pings(&self, id: PingId) -> bool {
        matches!(self.running, Some(Running::Ping(running, _)) if running == id)
    }
}

/// Problems as the console prints them; `None` when there are none.
pub(crate) fn problems_text(problems: &[Problem]) -> Option<String> {
    (!problems.is_empty()).then(|| problems.iter().map(|problem| format!("{problem}\n")).collect())
}

fn takes_nothing(verb: &str, command: &Command) -> Option<Outcome> {
    (command.tokens.len() > 1).then(|| Outcome::failed(format!("'{verb}' takes nothing behind it.\n")))
}

fn unknown_command(verb: &str) -> String {
    let known = COMMANDS.iter().map(|command| command.name);
    match schema::nearest(verb, known) {
        Some(near) => format!("There is no command '{verb}'. Did you mean '{near}'? 'help' lists all commands.\n"),
        None => format!("There is no command '{verb}'. 'help' lists all commands.\n"),
    }
}

#[cfg(test)]
mod tests {
    use crate::ClientId;
    use crate::testing::Console;

    #[test]
    fn a_misspelt_command_is_answered_with_the_near_one() {
        let mut console = Console::head_office();
        assert!(console.fails("actvate").contains("Did you mean 'activate'?"));
        assert!(console.fails("ike -verbos").contains("no option -verbos"));
        assert!(console.fails("commit now").contains("takes nothing"));
        assert!(console.fails("rules 1").contains("no use for '1'"));
        assert!(console.fails("ike hq branch").contains("no use for 'branch'"));
    }

    #[test]
    fn a_command_pasted_over_several_lines_is_one_command() {
        let mut console = Console::head_office();
        let paste = "Device:/>\nadd IPPolicy Name=web\n  SourceInterface=lan\n  SourceNetwork=172.16.1.0/24\n\
                     DestinationInterface=ipsec_hq_to_branch\nDestinationNetwork=192.168.11.0/24\nService=http\nAction=Allow\n\
                     Device:/> show IPPolicy web";
        assert!(console.ok(paste).contains("http"));
    }

    #[test]
    fn a_command_typed_line_by_line_waits_for_what_it_needs() {
        let mut console = Console::head_office();
        assert!(console.fails("add IPPolicy Name=web").contains("press Enter on an empty line"));
        console.fails("SourceInterface=lan SourceNetwork=172.16.1.0/24 DestinationInterface=ipsec_hq_to_branch");
        console.fails("DestinationNetwork=192.168.11.0/24");
        console.ok("Service=http Action=Allow");
        console.ok("Comments=later");
        assert!(console.ok("show IPPolicy web").contains("later"));
        console.fails("add IPPolicy Name=given_up");
        assert!(console.say("").0.contains("given up"));
        assert!(console.fails("Action=Allow").contains("belong to no command"));
        assert!(!console.ok("show IPPolicy").contains("given_up"));
    }

    #[test]
    fn a_command_behind_which_no_line_follows_waits_for_nothing() {
        let mut console = Console::head_office();
        console.step(crate::Input::LastLine(crate::testing::ME));
        let refused = console.fails("add IPPolicy Name=web");
        assert!(refused.contains("Error") && !refused.contains("Go on"), "{refused}");
    }

    #[test]
    fn a_wrong_line_of_a_command_typed_line_by_line_does_not_cost_the_others() {
        let mut console = Console::head_office();
        let waiting = console.fails("add IPPolicy Name=web SourceInterface=lan SourceNetwork=lan_net");
        assert!(!waiting.contains("Error") && waiting.contains("DestinationInterface, "), "{waiting}");
        let wrong = console.fails("DestinationInterface=nowhere");
        assert!(wrong.contains("there is no") && wrong.contains("This line was left out"), "{wrong}");
        console.fails("DestinationNetwork=192.168.11.0/24 Service=http Action=Alow");
        console.fails("DestinationNetwork=192.168.11.0/24 Service=http Action=Allow");
        assert_eq!(console.ok("DestinationInterface=ipsec_hq_to_branch"), "Added IPPolicy web.\n");
        assert!(console.fails("add IPPolicy Name=x Service=nothing").contains("there is no"));
        assert!(console.fails("Action=Allow").contains("belong to no command"));
    }

    #[test]
    fn the_guide_s_misnamed_key_is_told_with_the_near_name() {
        let mut console = Console::head_office();
        console.ok("add PSK my_scecret_key Type=ASCII PSKascii=somesecretasciikey");
        console.ok("delete PSK my_secret_key -force");
        let text = console.fails("set Interface IPsecTunnel ipsec_hq_to_branch PSK=my_secret_key");
        assert!(text.contains("my_scecret_key"), "{text}");
    }

    #[test]
    fn a_standing_error_does_not_keep_anybody_from_changing_something_else() {
        let mut console = Console::head_office();
        console.ok("set IPsecTunnel ipsec_hq_to_branch -force PSK=nobody");
        let text = console.ok("set IPsecTunnel ipsec_hq_to_branch AutoEstablish=Yes");
        assert!(text.contains("nobody"), "it is still told: {text}");
        console.fails("set IPsecTunnel ipsec_hq_to_branch IKEAlgorithms=nothing");
        console.ok("set IPsecTunnel ipsec_hq_to_branch PSK=my_secret_key");
    }

    #[test]
    fn pskgen_makes_a_key_that_is_told_once_and_never_shown_again() {
        let mut console = Console::head_office();
        let text = console.ok("pskgen MyPSK -size=512");
        let key = text.lines().nth(1).unwrap().to_owned();
        assert_eq!(key.len(), 128);
        assert!(key.chars().all(|c| c.is_ascii_hexdigit()));
        assert!(!console.ok("show PSK MyPSK").contains(&key));
        let again = console.ok("pskgen MyPSK");
        assert!(again.contains("64 random bits") && again.contains("Warning"));
        assert!(again.contains("replaces the one before") && again.contains("\"reject PSK MyPSK\""), "{again}");
        assert!(!text.contains("replaces"), "{text}");
        assert!(console.fails("pskgen MyPSK -size=100").contains("expected one of 64"));
    }

    #[test]
    fn prompts_follow_the_context() {
        let mut console = Console::head_office();
        assert_eq!(console.prompt(), "Device:/> ");
        console.ok("cc RoutingTable main");
        assert_eq!(console.prompt(), "Device:/main> ");
        console.ok("cc");
        assert_eq!(console.prompt(), "Device:/> ");
    }

    #[test]
    fn a_ping_without_an_answer_fails_and_points_at_ike() {
        let mut console = Console::head_office();
        let text = console.fails("ping 192.168.11.10");
        assert!(text.contains("Sending 1 4-byte ICMP ping to 192.168.11.10 from 172.16.1.1"), "{text}");
        assert!(text.contains("Received:0, Loss: 100%") && text.contains("'ike' shows"), "{text}");
        assert!(console.fails("ping 198.51.100.254").contains("the host's own ping"));
        assert!(console.fails("ping 192.168.11.10 -srcip=10.9.9.9").contains("carries 172.16.1.0/24"));
        assert!(console.fails("ping nowhere").contains("not an IP address"));
    }

    #[test]
    fn every_command_has_help_and_is_offered_by_tab() {
        let mut console = Console::head_office();
        for command in super::COMMANDS.iter() {
            assert!(console.ok(&format!("help {}", command.name)).contains(command.usage), "{}", command.name);
        }
        assert!(console.candidates("act").iter().any(|candidate| candidate.trim() == "activate"));
        assert!(console.candidates("ike ipsec").iter().any(|candidate| candidate.trim() == "ipsec_hq_to_branch"));
    }

    #[test]
    fn tables_show_the_configuration_in_use() {
        let mut console = Console::head_office();
        let routes = console.ok("routes -all");
        assert!(routes.contains("192.168.11.0/24") && routes.contains("ipsec_hq_to_branch") && routes.contains("core"));
        assert!(console.ok("routes -lookup=192.168.11.9").contains("ipsec_hq_to_branch"));
        assert!(console.ok("rules").contains("lan:172.16.1.0/24"));
        assert!(console.ok("ipsec").contains("IPsec Tunnel"));
        assert!(console.fails("ipsec nobody").contains("ipsec_hq_to_branch"));
        assert!(console.ok("connections").contains("Proto"));
    }

    #[test]
    fn the_verbose_rule_set_says_what_is_translated_and_when() {
        let mut console = Console::head_office();
        console.ok("add ScheduleProfile office Mon=8-17");
        let to = "SourceInterface=lan SourceNetwork=all-nets DestinationInterface=core DestinationNetwork=lan_ip";
        let sat = "DestAddressTranslation=SAT DestNewIP=172.16.1.80 DestPortAction=SinglePort DestNewPort=8080";
        console.ok(&format!("add IPPolicy web {to} Service=http Action=Allow {sat} Schedule=office"));
        console.ok(&format!("add IPPolicy nat {to} Service=http Action=Allow SourceAddressTranslation=NAT"));
        console.ok("activate");
        let text = console.ok("rules -verbose");
        assert!(
            text.contains("; Auto NAT; SAT to 172.16.1.80 port 8080; by schedule office; logged as Info"),
            "{text}"
        );
        assert!(text.contains("; NAT to the interface's address; logged"), "{text}");
    }

    #[test]
    fn a_tunnel_without_sas_says_what_it_waits_for() {
        let mut console = Console::head_office();
        let text = console.ok("ike");
        assert!(text.contains("There are none.\n"), "{text}");
        assert!(text.contains("--- Tunnel ipsec_hq_to_branch: down, waiting\n"), "{text}");
        assert!(text.contains("Networks: 172.16.1.0/24 = 192.168.11.0/24\n"), "{text}");
        console.ok("ike -connect ipsec_hq_to_branch");
        let text = console.ok("ike");
        assert!(text.contains("Connecting") && !text.contains("down, waiting"), "{text}");
    }

    #[test]
    fn settings_are_listed_by_type_and_told_when_changed() {
        let mut console = Console::head_office();
        console.ok("set TCPSettings TCPMSSVPNMax=1300");
        let list = console.ok("show Settings");
        assert!(list.lines().any(|line| line.starts_with("* TCPSettings ")), "{list}");
        assert!(list.lines().any(|line| line.starts_with("  StateSettings ")), "{list}");
        assert!(!list.contains("Comments"), "{list}");
    }

    #[test]
    fn a_paste_gives_way_to_others_after_every_turn_and_loses_nothing() {
        let mut console = Console::head_office();
        let paste = "help ping\n".repeat(200);
        let mut turns = vec![console.begin(&paste)];
        // Somebody else is answered between two turns, at once.
        assert!(console.is_answered(ClientId(2), "help ping"));
        while turns.last().unwrap().1.is_none() {
            turns.push(console.turn());
        }
        let commands: Vec<usize> = turns.iter().map(|(text, _)| text.matches("Sends ICMP").count()).collect();
        assert_eq!(commands, [64, 64, 64, 8]);
    }

    #[test]
    fn an_operator_that_does_not_read_runs_nothing_until_it_does() {
        let mut console = Console::head_office();
        console.begin(&"help ping\n".repeat(100));
        console.is_full(true);
        assert!(!console.wants_turn());
        assert_eq!(console.turn(), (String::new(), None));
        console.is_full(false);
        assert!(console.wants_turn());
        let (text, done) = console.turn();
        assert_eq!((text.matches("Sends ICMP").count(), done.map(|done| done.success)), (36, Some(true)));
    }

    #[test]
    fn an_interrupt_ends_a_paste_that_waits_for_its_turn() {
        let mut console = Console::head_office();
        console.begin(&"help ping\n".repeat(100));
        assert_eq!(console.interrupt().map(|done| done.success), Some(false));
        assert!(!console.wants_turn());
        console.ok("help ping");
    }

    #[test]
    fn a_line_that_is_too_long_to_be_run_is_not_completed_either() {
        let mut console = Console::head_office();
        assert!(console.candidates(&format!("show {}IPs", " ".repeat(70_000))).is_empty());
        assert!(!console.candidates("show IPs").is_empty());
    }

    #[test]
    fn ipv4_routes_stand_before_ipv6_routes() {
        let mut console = Console::head_office();
        let routes = console.ok("routes -all");
        let line = |word: &str| routes.lines().position(|line| line.contains(word)).unwrap();
        assert!(line(" 0.0.0.0/0") < line(" ff00::/8"), "{routes}");
        assert!(line(" 192.168.11.0/24") < line(" 0.0.0.0/0"), "{routes}");
    }
}
