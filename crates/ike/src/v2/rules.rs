//! Which payloads a message must and may have, as tables; and a message's payloads by name.

use base::Selector;
use wire::ike::{
    Auth, Delete, Id, KeyExchange, Notify, NotifyType, Payload, PayloadType, Proposal, TrafficSelector,
    unsupported_critical,
};

/// How often a payload may come. What a table does not name may come any number of times and is ignored, unless it is
/// critical and unknown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    payload: PayloadType,
    min: usize,
    max: usize,
    /// What a person calls it.
    name: &'static str,
}

const fn rule(payload: PayloadType, min: usize, max: usize, name: &'static str) -> Rule {
    Rule { payload, min, max, name }
}

/// RFC 7296 section 1.2, both ways.
pub(super) const IKE_SA_INIT: &[Rule] =
    &[rule(PayloadType::SA, 1, 1, "SA"), rule(PayloadType::KE, 1, 1, "KE"), rule(PayloadType::NONCE, 1, 1, "Nonce")];
/// RFC 7296 section 1.2. AUTH may be missing: that asks for EAP, and is answered by name.
pub(super) const IKE_AUTH_REQUEST: &[Rule] = &[
    rule(PayloadType::IDI, 1, 1, "IDi"),
    rule(PayloadType::IDR, 0, 1, "IDr"),
    rule(PayloadType::AUTH, 0, 1, "AUTH"),
    rule(PayloadType::SA, 1, 1, "SA"),
    rule(PayloadType::TSI, 1, 1, "TSi"),
    rule(PayloadType::TSR, 1, 1, "TSr"),
];
/// RFC 7296 section 1.2. The child SA may have failed while the IKE SA stands (section 2.21.2).
pub(super) const IKE_AUTH_RESPONSE: &[Rule] = &[
    rule(PayloadType::IDR, 1, 1, "IDr"),
    rule(PayloadType::AUTH, 1, 1, "AUTH"),
    rule(PayloadType::SA, 0, 1, "SA"),
    rule(PayloadType::TSI, 0, 1, "TSi"),
    rule(PayloadType::TSR, 0, 1, "TSr"),
];
/// RFC 7296 sections 1.3.1 and 1.3.3: child SAs.
pub(super) const CREATE_CHILD: &[Rule] = &[
    rule(PayloadType::SA, 1, 1, "SA"),
    rule(PayloadType::NONCE, 1, 1, "Nonce"),
    rule(PayloadType::KE, 0, 1, "KE"),
    rule(PayloadType::TSI, 1, 1, "TSi"),
    rule(PayloadType::TSR, 1, 1, "TSr"),
];
/// RFC 7296 section 1.3.2: the IKE SA itself.
pub(super) const REKEY_IKE: &[Rule] =
    &[rule(PayloadType::SA, 1, 1, "SA"), rule(PayloadType::NONCE, 1, 1, "Nonce"), rule(PayloadType::KE, 1, 1, "KE")];

/// The payloads of a message by name. Of one that came more often the first is kept; `check` finds out.
#[derive(Debug, Default)]
pub(super) struct Contents {
    kinds: Vec<PayloadType>,
    /// A critical payload that we do not know.
    pub(super) critical: Option<PayloadType>,
    pub(super) sa: Vec<Proposal>,
    pub(super) ke: Option<KeyExchange>,
    pub(super) nonce: Vec<u8>,
    pub(super) id_i: Option<Id>,
    pub(super) id_r: Option<Id>,
    pub(super) auth: Option<Auth>,
    pub(super) ts_i: Vec<Selector>,
    pub(super) ts_r: Vec<Selector>,
    pub(super) notifies: Vec<Notify>,
    pub(super) deletes: Vec<Delete>,
}

impl Contents {
    pub(super) fn new(payloads: Vec<Payload>) -> Self {
        let mut contents = Self {
            kinds: payloads.iter().map(Payload::kind).collect(),
            critical: unsupported_critical(&payloads),
            ..Self::default()
        };
        for payload in payloads {
            contents.take(payload);
        }
        contents
    }

    fn take(&mut self, payload: Payload) {
        match payload {
            Payload::Sa(proposals) if self.sa.is_empty() => self.sa = proposals,
            Payload::Ke(ke) if self.ke.is_none() => self.ke = Some(ke),
            Payload::Nonce(nonce) if self.nonce.is_empty() => self.nonce = nonce,
            Payload::IdI(id) if self.id_i.is_none() => self.id_i = Some(id),
            Payload::IdR(id) if self.id_r.is_none() => self.id_r = Some(id),
            Payload::Auth(auth) if self.auth.is_none() => self.auth = Some(auth),
            Payload::TsI(selectors) if self.ts_i.is_empty() => self.ts_i = known(&selectors),
            Payload::TsR(selectors) if self.ts_r.is_empty() => self.ts_r = known(&selectors),
            Payload::Notify(notify) => self.notifies.push(notify),
            Payload::Delete(delete) => self.deletes.push(delete),
            _ => {}
        }
    }

    /// Compares with a table. The error is a sentence for people.
    pub(super) fn check(&self, rules: &[Rule]) -> Result<(), String> {
        for rule in rules {
            let count = self.kinds.iter().filter(|kind| **kind == rule.payload).count();
            if count < rule.min {
                return Err(format!("a message without {} payload", rule.name));
            }
            if count > rule.max {
                return Err(format!("a message with {count} {} payloads", rule.name));
            }
        }
        Ok(())
    }

    /// RFC 7296 section 2.5: an answer with a critical payload that we do not know is not to be used.
    pub(super) fn check_critical(&self) -> Result<(), String> {
        self.critical.map_or(Ok(()), |kind| Err(format!("a critical payload of unknown type {}", kind.0)))
    }

    /// True when a payload of this type is there.
    pub(super) fn has(&self, kind: PayloadType) -> bool {
        self.kinds.contains(&kind)
    }

    /// The first notification of this kind.
    pub(super) fn notify(&self, kind: NotifyType) -> Option<&Notify> {
        self.notifies.iter().find(|notify| notify.kind == kind)
    }

    /// The first error notification.
    pub(super) fn error(&self) -> Option<&Notify> {
        self.notifies.iter().find(|notify| notify.kind.is_error())
    }
}

fn known(selectors: &[TrafficSelector]) -> Vec<Selector> {
    selectors.iter().filter_map(TrafficSelector::selector).collect()
}

/// Our selectors as payload contents.
pub(super) fn selectors(selectors: &[Selector]) -> Vec<TrafficSelector> {
    selectors.iter().copied().map(TrafficSelector::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_too_few_or_too_many_breaks_the_table() {
        let nonce = || Payload::Nonce(vec![1; 32]);
        let sa = || Payload::Sa(Vec::new());
        let ke = || Payload::Ke(KeyExchange { group: 19, data: vec![1; 64] });
        let check = |payloads| Contents::new(payloads).check(IKE_SA_INIT);
        assert_eq!(check(vec![nonce(), sa(), ke()]), Ok(()));
        assert_eq!(check(vec![nonce(), sa()]), Err("a message without KE payload".into()));
        assert_eq!(check(vec![nonce(), sa(), ke(), nonce()]), Err("a message with 2 Nonce payloads".into()));
    }
}
