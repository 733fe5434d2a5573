//! From the edited configuration to the one in use and the one confirmed, and back when nobody confirms.

use std::sync::Arc;

use base::{Event, Instant, Now};
use objects::{HostInterface, Snapshot};

use crate::commands::Outcome;
use crate::device::{Device, problems_text};
use crate::session::Running;
use crate::{Action, ClientId, events};

/// Where a configuration stands between being activated and being confirmed.
#[derive(Debug)]
pub(crate) struct Activation {
    /// What comes back.
    confirmed: Arc<Snapshot>,
    /// When it comes back; `None`: what is in use is confirmed.
    until: Option<Instant>,
    /// The commit that is being stored.
    storing: Option<Storing>,
    last_ticket: u64,
}

#[derive(Debug)]
struct Storing {
    ticket: u64,
    client: ClientId,
    bytes: usize,
    /// When it counts as failed: a disk that hangs must not keep a wrong configuration in use.
    until: Instant,
}

impl Activation {
    pub(crate) fn new(confirmed: Arc<Snapshot>) -> Self {
        Self { confirmed, until: None, storing: None, last_ticket: 0 }
    }

    /// When the configuration in use goes back. While it is being stored, the store's answer decides, if it comes in
    /// time.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.storing.as_ref().map(|storing| storing.until).or(self.until)
    }
}

impl Device {
    /// `activate`.
    pub(crate) fn activate(&mut self, now: Now, out: &mut Vec<Action>) -> Outcome {
        if self.activation.storing.is_some() {
            return Outcome::failed("A commit is being stored; try again in a moment.\n");
        }
        let (snapshot, warnings) = match objects::compile(&self.workspace.candidate, &self.interfaces) {
            Ok(compiled) => compiled,
            Err(problems) => {
                let count = problems.iter().filter(|problem| problem.is_error()).count();
                let text = problems_text(&problems).unwrap_or_default();
                let plural = if count == 1 { "" } else { "s" };
                return Outcome::failed(format!("{text}{count} error{plural}: nothing was activated.\n"));
            }
        };
        let text = problems_text(&warnings).unwrap_or_default();
        if !self.workspace.is_changed() && self.activation.until.is_none() {
            return Outcome::ok(format!("{text}There are no changes to activate.\n"));
        }
        let timeout = snapshot.settings.validation_timeout;
        self.workspace.activate();
        self.step_gateway(now, engine::Input::Activate(Arc::new(snapshot)), out);
        self.activation.until = Some(now.mono + timeout);
        Outcome::ok(format!(
            "{text}The configuration is active. Type 'commit' within {} seconds to keep it; otherwise the one before comes \
             back.\n",
            timeout.as_secs()
        ))
    }

    /// `commit`: answers when the store has answered.
    pub(crate) fn commit(&mut self, now: Now, client: ClientId, out: &mut Vec<Action>) -> Result<Outcome, Running> {
        if self.activation.storing.is_some() {
            return Ok(Outcome::failed("Another commit is being stored; try again in a moment.\n"));
        }
        if self.activation.until.is_none() {
            let text = if self.workspace.is_changed() {
                "There are changes, but they are not active yet: 'activate' first, then 'commit'.\n"
            } else {
                "There is nothing to commit: the configuration in use is the one that was confirmed last.\n"
            };
            return Ok(Outcome::failed(text));
        }
        let text = schema::text(self.workspace.active());
        let bytes = text.len();
        let until = now.mono + self.gateway.snapshot().settings.validation_timeout;
        let ticket = self.order(text, out);
        self.activation.storing = Some(Storing { ticket, client, bytes, until });
        Err(Running::Commit)
    }

    /// Orders a configuration to be stored.
    fn order(&mut self, text: String, out: &mut Vec<Action>) -> u64 {
        self.activation.last_ticket += 1;
        let ticket = self.activation.last_ticket;
        out.push(Action::Store { ticket, text });
        ticket
    }

    /// The store's answer.
    pub(crate) fn stored(&mut self, now: Now, ticket: u64, result: Result<(), String>, out: &mut Vec<Action>) {
        let Some(Storing { client, bytes, .. }) = self.activation.storing.take_if(|storing| storing.ticket == ticket)
        else {
            return;
        };
        let (text, success) = match result {
            Ok(()) => {
                self.workspace.commit();
                self.activation.confirmed = Arc::clone(self.gateway.snapshot());
                self.activation.until = None;
                self.log(&events::ConfigurationCommitted { bytes }, out);
                ("The configuration is confirmed and stored.\n".to_owned(), true)
            }
            Err(reason) => {
                let left = self.activation.until.map_or(0, |until| until.since(now.mono).as_secs());
                self.log(&events::ConfigurationNotStored { reason: reason.clone() }, out);
                let text = format!(
                    "The configuration could not be stored: {reason}.\nIt is not confirmed; the one before comes back in \
                     {left} seconds unless a 'commit' succeeds.\n"
                );
                (text, false)
            }
        };
        if let Some(session) = self.sessions.get_mut(&client) {
            session.running = None;
            session.failed |= !success;
            out.push(Action::Reply { client, text, done: None });
            self.pump(now, client, out);
        }
    }

    /// `cancel`.
    pub(crate) fn cancel(&mut self, now: Now, out: &mut Vec<Action>) -> Outcome {
        if self.activation.storing.is_some() {
            return Outcome::failed("A commit is being stored already.\n");
        }
        if self.activation.until.is_none() {
            return Outcome::failed("There is nothing to cancel: the configuration in use is confirmed.\n");
        }
        self.revert(now, "cancelled", out);
        Outcome::ok(
            "The configuration confirmed last is active again. The edits are still there: see 'show -changes'.\n",
        )
    }

    /// Goes back when nobody confirmed in time.
    pub(crate) fn expire_activation(&mut self, now: Now, out: &mut Vec<Action>) {
        let late = self.activation.storing.as_ref().filter(|storing| storing.until <= now.mono);
        if let Some(ticket) = late.map(|storing| storing.ticket) {
            // The order may still be carried out; whatever comes of it, this one behind it is what stays.
            let confirmed = schema::text(self.workspace.committed());
            self.order(confirmed, out);
            self.stored(now, ticket, Err("the disk has not answered in time".to_owned()), out);
        }
        if self.activation.deadline().is_some_and(|until| until <= now.mono) {
            self.revert(now, "not confirmed in time", out);
            self.announce(
                "\nThe configuration was not confirmed in time; the one before is active again. The edits are still \
                 there: 'activate' and 'commit' again to keep them.\n",
                out,
            );
        }
    }

    fn revert(&mut self, now: Now, reason: &'static str, out: &mut Vec<Action>) {
        self.activation.until = None;
        self.workspace.revert();
        self.log(&events::ConfigurationReverted { reason }, out);
        let confirmed = Arc::clone(&self.activation.confirmed);
        self.step_gateway(now, engine::Input::Activate(confirmed), out);
    }

    /// The host's interfaces or addresses changed: every configuration is seen against them anew.
    pub(crate) fn interfaces_changed(&mut self, now: Now, mut interfaces: Vec<HostInterface>, out: &mut Vec<Action>) {
        for interface in &mut interfaces {
            let of_it = self.leases.iter().filter(|((device, _), _)| *device == interface.name);
            interface.leases = of_it.map(|(_, lease)| lease.clone()).collect();
        }
        if interfaces == self.interfaces {
            return;
        }
        self.interfaces = interfaces;
        let interfaces = &self.interfaces;
        self.workspace.refresh(|tree| objects::present(tree, interfaces));
        match objects::compile(self.workspace.active(), interfaces) {
            Ok((snapshot, _)) => {
                let snapshot = Arc::new(snapshot);
                self.activation.confirmed = match objects::compile(self.workspace.committed(), interfaces) {
                    Ok((confirmed, _)) => Arc::new(confirmed),
                    Err(_) => Arc::clone(&self.activation.confirmed),
                };
                self.log(&events::InterfacesChanged { interfaces: self.interfaces.len() }, out);
                if snapshot != *self.gateway.snapshot() {
                    self.step_gateway(now, engine::Input::Activate(snapshot), out);
                }
            }
            Err(problems) => {
                let reason = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                self.log(&events::InterfacesDoNotFit { reason }, out);
            }
        }
    }

    fn log(&self, event: &impl Event, out: &mut Vec<Action>) {
        out.push(Action::Gateway(engine::Action::Log(event.record())));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Console;

    const CHANGE: &str = "add IP4Address server Address=172.16.1.5";

    #[test]
    fn what_is_not_committed_goes_back_after_the_validation_time_and_the_edits_stay() {
        let mut console = Console::head_office();
        console.ok(CHANGE);
        assert!(console.ok("activate").contains("Type 'commit' within 30 seconds"));
        console.pass(29);
        assert!(console.heard().is_empty());
        console.pass(1);
        assert!(console.heard().contains("was not confirmed in time"), "{}", console.heard());
        assert!(console.logged("reject_configuration"));
        assert!(console.ok("show -changes").contains("server"));
        console.ok("activate");
        console.ok("commit");
        assert!(console.stored().unwrap().contains("add IP4Address server Address=172.16.1.5"));
        console.pass(60);
        assert!(console.fails("cancel").contains("nothing to cancel"));
    }

    #[test]
    fn cancel_goes_back_at_once() {
        let mut console = Console::head_office();
        console.ok("set IPsecTunnel ipsec_hq_to_branch RemoteEndpoint=203.0.113.77");
        console.ok("activate");
        assert!(console.remote_endpoint().contains("203.0.113.77"));
        console.ok("cancel");
        assert!(console.remote_endpoint().contains("203.0.113.1)"), "{}", console.remote_endpoint());
    }

    #[test]
    fn a_configuration_with_errors_is_not_activated_and_every_error_is_told() {
        let mut console = Console::head_office();
        console.ok("set IPsecTunnel ipsec_hq_to_branch -force PSK=nobody");
        console.ok("set IPPolicy hq_to_branch -force Service=nothing");
        let text = console.fails("activate");
        assert!(
            text.contains("nobody") && text.contains("nothing") && text.contains("2 errors: nothing was activated")
        );
        assert!(console.fails("commit").contains("not active yet"));
    }

    #[test]
    fn a_commit_that_cannot_be_stored_confirms_nothing() {
        let mut console = Console::head_office();
        console.store_fails("no space left on device");
        console.ok(CHANGE);
        console.ok("activate");
        let text = console.fails("commit");
        assert!(text.contains("could not be stored: no space left on device"), "{text}");
        assert!(console.logged("configuration_not_stored"));
        console.pass(30);
        assert!(console.logged("reject_configuration"));
    }

    #[test]
    fn a_commit_whose_store_never_answers_fails_and_the_configuration_goes_back() {
        let mut console = Console::head_office();
        console.store_hangs();
        console.ok(CHANGE);
        console.ok("activate");
        console.pass(20);
        let text = console.fails("commit");
        assert!(text.contains("could not be stored: the disk has not answered in time"), "{text}");
        assert!(console.logged("configuration_not_stored") && console.logged("reject_configuration"));
        let orders = console.orders();
        assert!(orders[0].contains("server") && !orders[1].contains("server"), "{orders:?}");
        // The late answer confirms nothing.
        console.store_answers(1);
        assert!(!console.logged("configuration_committed"));
        assert!(console.fails("commit").contains("not active yet"));
    }

    #[test]
    fn interfaces_that_change_are_followed_and_those_that_do_not_fit_are_told() {
        let mut console = Console::head_office();
        console.interface("dmz", "172.16.9.1/24");
        assert!(console.logged("interfaces_changed"));
        console.ok("add IP4Group servers Members=dmz_ip");
        console.ok("activate");
        console.ok("commit");
        console.interface("dmz", "172.16.9.2/24");
        assert!(console.ok("show IP4Address InterfaceAddresses/dmz_ip").contains("172.16.9.2"));
        console.without_interface("dmz");
        assert!(console.logged("interfaces_do_not_fit"));
    }

    #[test]
    fn an_address_that_is_written_down_stays_when_the_host_has_another() {
        let mut console = Console::head_office();
        console.interface("lan", "172.16.1.2/24");
        assert!(console.ok("show IP4Address InterfaceAddresses/lan_ip").contains("172.16.1.1"));
        assert!(console.ok("show Ethernet lan").contains("172.16.1.1"));
    }
}
