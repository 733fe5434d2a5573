//! An operator at a device, for tests: what is typed, what is read, and time that passes between.

use base::{Duration, Instant, Now};
use engine::Action as Effect;
use objects::HostInterface;

use crate::{Action, ClientId, Device, Done, Input};

pub(crate) const ME: ClientId = ClientId(1);

pub(crate) struct Console {
    device: Device,
    now: Now,
    interfaces: Vec<HostInterface>,
    heard: String,
    log: Vec<String>,
    stored: Option<String>,
    store_error: Option<String>,
    store_hangs: bool,
    orders: Vec<String>,
    prompt: String,
}

impl Console {
    /// At the head office of Example 10.3, whose branch never answers.
    pub(crate) fn head_office() -> Self {
        let interface = |name: &str, address: &str, gateways: &[&str]| HostInterface {
            name: name.into(),
            addresses: vec![cidr(address)],
            mtu: 1500,
            gateways: gateways.iter().map(|gateway| gateway.parse().unwrap()).collect(),
            leases: Vec::new(),
        };
        let interfaces =
            vec![interface("lan", "172.16.1.1/24", &[]), interface("wan", "198.51.100.1/24", &["198.51.100.254"])];
        let text = include_str!("../../../examples/lan-to-lan/head-office.adit");
        let now = Now::default();
        let (device, _) = Device::new([7; 32], now, interfaces.clone(), text).unwrap();
        let mut console = Self {
            device,
            now,
            interfaces,
            heard: String::new(),
            log: Vec::new(),
            stored: None,
            store_error: None,
            store_hangs: false,
            orders: Vec::new(),
            prompt: String::new(),
        };
        console.step(Input::Gateway(engine::Input::Deadline));
        console.say("");
        console
    }

    /// Types a line; what it printed and whether it succeeded. Lets a minute pass for a command that goes on.
    pub(crate) fn say(&mut self, line: &str) -> (String, bool) {
        self.heard.clear();
        let mut ended = self.step(Input::Line { client: ME, line: line.to_owned() });
        while ended.is_none() && self.wants_turn() {
            self.now.mono += Duration::from_micros(1);
            ended = self.step(Input::Gateway(engine::Input::Deadline));
        }
        for _ in 0..60 {
            if ended.is_none() {
                ended = self.step_after(1);
            }
        }
        let done = ended.unwrap_or_else(|| panic!("'{line}' never ended; it printed: {}", self.heard));
        self.prompt = done.prompt;
        (std::mem::take(&mut self.heard), done.success)
    }

    pub(crate) fn ok(&mut self, line: &str) -> String {
        let (text, success) = self.say(line);
        assert!(success, "'{line}' failed: {text}");
        text
    }

    pub(crate) fn fails(&mut self, line: &str) -> String {
        let (text, success) = self.say(line);
        assert!(!success, "'{line}' should have failed: {text}");
        text
    }

    /// Types a line and reads what its first step prints.
    pub(crate) fn begin(&mut self, line: &str) -> (String, Option<Done>) {
        self.heard.clear();
        let done = self.step(Input::Line { client: ME, line: line.to_owned() });
        (std::mem::take(&mut self.heard), done)
    }

    /// True when a queue of commands asks to go on at once.
    pub(crate) fn wants_turn(&self) -> bool {
        self.device.next_deadline().is_some_and(|(at, _)| at.since(self.now.mono) <= Duration::from_micros(1))
    }

    /// The least time passes.
    pub(crate) fn turn(&mut self) -> (String, Option<Done>) {
        self.now.mono += Duration::from_micros(1);
        let done = self.step(Input::Gateway(engine::Input::Deadline));
        (std::mem::take(&mut self.heard), done)
    }

    pub(crate) fn is_full(&mut self, full: bool) {
        self.step(if full { Input::Full(ME) } else { Input::Room(ME) });
    }

    pub(crate) fn interrupt(&mut self) -> Option<Done> {
        self.step(Input::Interrupt(ME))
    }

    /// True when another operator's line is answered in the step that it comes in.
    pub(crate) fn is_answered(&mut self, client: ClientId, line: &str) -> bool {
        let mut out = Vec::new();
        self.device.step(self.now, Input::Line { client, line: line.to_owned() }, &mut out);
        out.iter().any(|action| matches!(action, Action::Reply { client: to, done: Some(_), .. } if *to == client))
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.step_after(1);
        }
    }

    /// What was printed outside of commands since the last one.
    pub(crate) fn heard(&self) -> String {
        self.heard.clone()
    }

    pub(crate) fn logged(&self, event: &str) -> bool {
        self.log.iter().any(|line| line.contains(&format!("event={event} ")))
    }

    pub(crate) fn stored(&self) -> Option<&str> {
        self.stored.as_deref()
    }

    pub(crate) fn store_fails(&mut self, reason: &str) {
        self.store_error = Some(reason.to_owned());
    }

    pub(crate) fn store_hangs(&mut self) {
        self.store_hangs = true;
    }

    /// What a store that hangs was to store.
    pub(crate) fn orders(&self) -> &[String] {
        &self.orders
    }

    pub(crate) fn store_answers(&mut self, ticket: u64) {
        self.step(Input::Stored { ticket, result: Ok(()) });
    }

    pub(crate) fn prompt(&self) -> &str {
        &self.prompt
    }

    pub(crate) fn remote_endpoint(&self) -> String {
        format!("{:?}", self.device.gateway().snapshot().tunnels[0].remote_endpoint)
    }

    pub(crate) fn interface(&mut self, name: &str, address: &str) {
        let addresses = vec![cidr(address)];
        match self.interfaces.iter_mut().find(|interface| interface.name == name) {
            Some(interface) => interface.addresses = addresses,
            None => self.interfaces.push(HostInterface {
                name: name.to_owned(),
                addresses,
                mtu: 1500,
                ..HostInterface::default()
            }),
        }
        self.step(Input::Interfaces(self.interfaces.clone()));
    }

    pub(crate) fn without_interface(&mut self, name: &str) {
        self.interfaces.retain(|interface| interface.name != name);
        self.step(Input::Interfaces(self.interfaces.clone()));
    }

    pub(crate) fn candidates(&mut self, line: &str) -> Vec<String> {
        let mut out = Vec::new();
        let input = Input::Complete { client: ME, line: line.to_owned(), cursor: line.len() };
        self.device.step(self.now, input, &mut out);
        let found = out.into_iter().find_map(|action| match action {
            Action::Candidates { candidates, .. } => Some(candidates.into_iter().map(|(text, _)| text).collect()),
            _ => None,
        });
        found.unwrap_or_default()
    }

    fn step_after(&mut self, seconds: u64) -> Option<Done> {
        self.now.mono += Duration::from_secs(seconds);
        self.step(Input::Gateway(engine::Input::Deadline))
    }

    pub(crate) fn step(&mut self, input: Input) -> Option<Done> {
        let mut out = Vec::new();
        self.device.step(self.now, input, &mut out);
        assert!(self.device.next_deadline().is_none_or(|(at, _)| at >= Instant::ZERO));
        let mut ended = None;
        for action in out {
            match action {
                Action::Reply { text, done, .. } => {
                    self.heard.push_str(&text);
                    ended = ended.or(done);
                }
                Action::Store { text, .. } if self.store_hangs => self.orders.push(text),
                Action::Store { ticket, text } => {
                    let result = self.store_error.clone().map_or(Ok(()), Err);
                    self.stored = result.is_ok().then_some(text);
                    ended = ended.or(self.step(Input::Stored { ticket, result }));
                }
                Action::Gateway(Effect::Log(record)) => self.log.push(record.to_string()),
                Action::Gateway(_) | Action::Candidates { .. } => {}
            }
        }
        ended
    }
}

fn cidr(text: &str) -> (std::net::IpAddr, u8) {
    let (address, prefix) = text.split_once('/').unwrap();
    (address.parse().unwrap(), prefix.parse().unwrap())
}
