//! Host names in policies: asked for again when an answer is no longer good, with patience when there is none. What is
//! known of a name stays for a while when the name servers fail.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base::{Duration, Event, Instant, Record};

use crate::events::{NameNotResolved, NameResolved, NamesLeftOut};
use crate::job::Resolved;

/// Names that are asked for; more are left out.
const NAMES_MAX: usize = 1_024;
/// Questions under way at the same time.
const QUESTIONS_MAX: usize = 8;
/// Addresses of one name and family that are used.
const ADDRESSES_MAX: usize = 64;
/// An answer is good for so long at least: who sets shorter times wants us to ask all the time.
const GOOD_MIN: Duration = Duration::from_secs(10);
/// And for so long at most: who sets longer ones will move all the same.
const GOOD_MAX: Duration = Duration::from_secs(24 * 3600);
/// An answer that there is nothing is good for so long at most, and for so long where it does not say (RFC 2308
/// section 5).
const NOTHING_MAX: Duration = Duration::from_secs(300);
/// First pause after a failure; doubles each time.
const RETRY_FIRST: Duration = Duration::from_secs(5);
/// Longest pause after a failure.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// While name servers fail, the last answer is used for so long beyond its time (RFC 8767 section 5).
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// How it stands with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameStatus {
    /// The name, lower case.
    pub name: String,
    /// Its addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// It is being asked for; otherwise `next` says when it will be.
    pub asking: bool,
    /// When it is asked for next.
    pub next: Instant,
    /// Why the last question failed.
    pub trouble: Option<String>,
}

/// All names of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Names {
    entries: BTreeMap<String, Entry>,
    left_out: usize,
}

#[derive(Debug)]
struct Entry {
    families: [Family; 2],
    asking: bool,
    next: Instant,
    failures: u32,
    trouble: Option<String>,
}

#[derive(Debug, Default)]
struct Family {
    addresses: Vec<IpAddr>,
    /// When they are forgotten, as long as nothing else is heard.
    until: Option<Instant>,
}

impl Names {
    /// From now on these. What is known of those that stay is kept.
    pub(crate) fn configure(&mut self, now: Instant, names: &[&str], out: &mut Vec<Record>) {
        let wanted = names.get(..NAMES_MAX).unwrap_or(names);
        self.entries.retain(|name, _| wanted.binary_search(&name.as_str()).is_ok());
        for name in wanted {
            self.entries.entry((*name).to_owned()).or_insert_with(|| Entry {
                families: [Family::default(), Family::default()],
                asking: false,
                next: now,
                failures: 0,
                trouble: None,
            });
        }
        let left_out = names.len().saturating_sub(wanted.len());
        if left_out > 0 && left_out != self.left_out {
            out.push(NamesLeftOut { names: left_out, limit: NAMES_MAX }.record());
        }
        self.left_out = left_out;
    }

    /// The next name to ask for; the caller asks.
    pub(crate) fn next_question(&mut self, now: Instant) -> Option<String> {
        if self.asking() >= QUESTIONS_MAX {
            return None;
        }
        let due = self.entries.iter_mut().filter(|(_, entry)| !entry.asking && entry.next <= now);
        let (name, entry) = due.min_by_key(|(_, entry)| entry.next)?;
        entry.asking = true;
        Some(name.clone())
    }

    /// Asks for every name anew.
    pub(crate) fn ask_all(&mut self, now: Instant) -> usize {
        for entry in self.entries.values_mut() {
            (entry.next, entry.failures) = (now, 0);
        }
        self.entries.len()
    }

    /// What came of a question. True when the addresses are others than before.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        name: &str,
        answers: [Result<Resolved, String>; 2],
        out: &mut Vec<Record>,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return false };
        let (mut changed, mut good, mut trouble) = (false, GOOD_MAX, None);
        for (family, answer) in entry.families.iter_mut().zip(answers) {
            match answer {
                Ok(Resolved { mut addresses, ttl }) => {
                    addresses.sort_unstable();
                    addresses.dedup();
                    addresses.truncate(ADDRESSES_MAX);
                    let longest = if addresses.is_empty() { NOTHING_MAX } else { GOOD_MAX };
                    let ttl = ttl.unwrap_or(longest).clamp(GOOD_MIN, longest);
                    good = good.min(ttl);
                    changed |= family.addresses != addresses;
                    *family = Family { until: Some(now + ttl + KEPT), addresses };
                }
                Err(reason) => trouble = trouble.or(Some(reason)),
            }
        }
        entry.asking = false;
        match &trouble {
            None => {
                entry.failures = 0;
                entry.next = now + good;
            }
            Some(_) => {
                let pause = RETRY_FIRST.saturating_mul(1_u32.checked_shl(entry.failures).unwrap_or(u32::MAX));
                entry.failures = entry.failures.saturating_add(1);
                entry.next = now + pause.min(RETRY_MAX);
            }
        }
        let nothing = entry.families.iter().all(|family| family.addresses.is_empty());
        let reason = trouble.clone().unwrap_or_else(|| "it has no addresses".to_owned());
        if nothing && (changed || entry.trouble.as_ref() != Some(&reason)) {
            out.push(NameNotResolved { name: name.to_owned(), reason: reason.clone() }.record());
        } else if changed {
            let addresses = entry.addresses().map(ToString::to_string).collect::<Vec<_>>().join(",");
            out.push(NameResolved { name: name.to_owned(), addresses }.record());
        }
        entry.trouble = if nothing { Some(reason) } else { trouble };
        changed
    }

    /// Forgets what nobody has confirmed for too long. True when anything was.
    pub(crate) fn expire(&mut self, now: Instant, out: &mut Vec<Record>) -> bool {
        let mut changed = false;
        for (name, entry) in &mut self.entries {
            let mut forgotten = false;
            for family in &mut entry.families {
                if family.until.is_some_and(|until| until <= now) {
                    forgotten |= !family.addresses.is_empty();
                    *family = Family::default();
                }
            }
            if forgotten && entry.families.iter().all(|family| family.addresses.is_empty()) {
                let reason = entry.trouble.clone().unwrap_or_default();
                out.push(NameNotResolved { name: name.clone(), reason }.record());
            }
            changed |= forgotten;
        }
        changed
    }

    /// When there is something to ask or to forget.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let may_ask = self.asking() < QUESTIONS_MAX;
        let ask = self.entries.values().filter(|entry| may_ask && !entry.asking).map(|entry| entry.next).min();
        let forget = self.entries.values().flat_map(|entry| &entry.families).filter_map(|family| family.until).min();
        [ask, forget].into_iter().flatten().min()
    }

    /// What is known.
    pub(crate) fn addresses(&self) -> BTreeMap<String, Vec<IpAddr>> {
        let known = self.entries.iter().filter(|(_, entry)| entry.addresses().next().is_some());
        known.map(|(name, entry)| (name.clone(), entry.addresses().copied().collect())).collect()
    }

    /// Everything, in order.
    pub(crate) fn list(&self) -> Vec<NameStatus> {
        let status = |(name, entry): (&String, &Entry)| NameStatus {
            name: name.clone(),
            addresses: entry.addresses().copied().collect(),
            asking: entry.asking,
            next: entry.next,
            trouble: entry.trouble.clone(),
        };
        self.entries.iter().map(status).collect()
    }

    fn asking(&self) -> usize {
        self.entries.values().filter(|entry| entry.asking).count()
    }
}

impl Entry {
    fn addresses(&self) -> impl Iterator<Item = &IpAddr> {
        self.families.iter().flat_map(|family| &family.addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "www.example.com";

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn found(addresses: &[&str], ttl: u64) -> Result<Resolved, String> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Ok(Resolved { addresses, ttl: Some(Duration::from_secs(ttl)) })
    }

    fn failed() -> Result<Resolved, String> {
        Err("no answer".to_owned())
    }

    fn names() -> Names {
        let mut names = Names::default();
        names.configure(at(0), &[NAME], &mut Vec::new());
        assert_eq!(names.next_question(at(0)).as_deref(), Some(NAME));
        names
    }

    fn known(names: &Names) -> Vec<String> {
        names.addresses().values().flatten().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_is_asked_for_again_when_its_answer_is_no_longer_good() {
        let mut names = names();
        assert_eq!(names.next_question(at(0)), None, "it is being asked for");
        let mut log = Vec::new();
        assert!(names.answer(at(1), NAME, [found(&["192.0.2.2", "192.0.2.1"], 60), found(&[], 600)], &mut log));
        assert_eq!(known(&names), ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(log[0].field("addresses"), Some("192.0.2.1,192.0.2.2"));
        assert_eq!(names.next_deadline(), Some(at(61)));
        assert_eq!(names.next_question(at(60)), None);
        assert_eq!(names.next_question(at(61)).as_deref(), Some(NAME));
        assert!(!names.answer(at(62), NAME, [found(&["192.0.2.1", "192.0.2.2"], 60), found(&[], 600)], &mut log));
        assert_eq!(log.len(), 1, "the order of an answer means nothing");
    }

    #[test]
    fn a_time_to_live_of_nothing_does_not_make_us_ask_all_the_time() {
        let mut names = names();
        names.answer(at(0), NAME, [found(&["192.0.2.1"], 0), found(&[], 0)], &mut Vec::new());
        assert_eq!(names.next_deadline(), Some(at(10)));
    }

    #[test]
    fn the_last_answer_is_kept_while_name_servers_fail_and_then_forgotten() {
        let mut names = names();
        let mut log = Vec::new();
        names.answer(at(0), NAME, [found(&["192.0.2.1"], 60), found(&["2001:db8::1"], 60)], &mut log);
        let mut pauses = Vec::new();
        let mut now = at(60);
        for _ in 0..9 {
            assert!(names.next_question(now).is_some());
            assert!(!names.answer(now, NAME, [failed(), failed()], &mut log));
            let next = names.next_deadline().unwrap();
            pauses.push(next.since(now).as_secs());
            now = next;
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(known(&names), ["192.0.2.1", "2001:db8::1"]);
        let end = at(60 + 24 * 3600);
        assert!(!names.expire(end - Duration::from_secs(1), &mut log));
        assert!(names.expire(end, &mut log));
        assert_eq!(known(&names), Vec::<String>::new());
        let events: Vec<&str> = log.iter().map(|record| record.meta.name).collect();
        assert_eq!(events, ["dns_name_resolved", "dns_name_not_resolved"]);
    }

    #[test]
    fn a_family_whose_answer_fails_does_not_take_the_other_along() {
        let mut names = names();
        let log = &mut Vec::new();
        names.answer(at(0), NAME, [found(&["192.0.2.1"], 60), found(&["2001:db8::1"], 60)], log);
        names.next_question(at(60)).unwrap();
        assert!(names.answer(at(60), NAME, [found(&["192.0.2.9"], 60), failed()], log));
        assert_eq!(known(&names), ["192.0.2.9", "2001:db8::1"]);
        names.next_question(at(65)).unwrap();
        assert!(names.answer(at(65), NAME, [found(&["192.0.2.9"], 60), found(&[], 60)], log));
        assert_eq!(known(&names), ["192.0.2.9"]);
    }

    #[test]
    fn a_name_that_cannot_be_resolved_is_logged_once() {
        let mut names = names();
        let log = &mut Vec::new();
        for second in [0, 5, 15] {
            names.answer(at(second), NAME, [failed(), failed()], log);
            names.next_question(at(second + 300));
        }
        assert_eq!(log.len(), 1);
        names.answer(at(400), NAME, [found(&[], 60), found(&[], 60)], log);
        assert_eq!(log.last().unwrap().field("reason"), Some("it has no addresses"));
    }

    #[test]
    fn a_server_that_names_a_thousand_addresses_is_heard_up_to_a_limit() {
        let mut names = names();
        let all: Vec<String> = (0..1000).map(|n| format!("10.0.{}.{}", n / 256, n % 256)).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        names.answer(at(0), NAME, [found(&all, 60), found(&[], 60)], &mut Vec::new());
        assert_eq!(known(&names).len(), ADDRESSES_MAX);
    }

    #[test]
    fn questions_under_way_are_bounded_and_answers_make_room() {
        let mut names = Names::default();
        let all: Vec<String> = (0..20).map(|n| format!("h{n:02}.example")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        names.configure(at(0), &all, &mut Vec::new());
        let asked: Vec<String> = std::iter::from_fn(|| names.next_question(at(0))).collect();
        assert_eq!(asked.len(), QUESTIONS_MAX);
        assert_eq!(names.next_deadline(), None);
        names.answer(at(1), &asked[0], [failed(), failed()], &mut Vec::new());
        assert!(names.next_question(at(1)).is_some());
        names.configure(at(2), &["h00.example", "h19.example"], &mut Vec::new());
        assert_eq!(names.list().len(), 2);
        assert!(names.list()[0].trouble.is_some(), "what is known is kept");
    }
}
