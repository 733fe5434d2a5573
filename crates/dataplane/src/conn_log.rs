//! The log lines of connections that open and end.

use base::{Instant, Record};

use crate::events::{self, ConnClose, ConnCloseNatsat, ConnOpen, ConnOpenNatsat, protocol_name};
use crate::flows::Flow;
use crate::{Dataplane, Output};

/// Fields that are the same in all of them.
macro_rules! connection {
    ($event:ident, $state:literal, $dataplane:expr, $flow:expr $(, $field:ident: $value:expr)*) => {
        $event {
            rule: $flow.verdict.rule.to_string(),
            conn: $state.to_owned(),
            connipproto: protocol_name($flow.key.protocol),
            connrecvif: $dataplane.name($flow.opener.side().interface).to_string(),
            connsrcip: $flow.key.source.to_string(),
            connsrcport: $flow.key.ports.0,
            conndestif: $dataplane.name($flow.other.side().interface).to_string(),
            conndestip: $flow.key.destination.to_string(),
            conndestport: $flow.key.ports.1,
            $( $field: $value, )*
        }
    };
}

impl Dataplane {
    pub(crate) fn log_opened(&mut self, now: Instant, slot: u32, out: &mut Vec<Output>) {
        let Some(severity) = self.flows.get(slot).and_then(|flow| flow.verdict.log) else { return };
        if !self.may_log_connection(now, out) {
            return;
        }
        let Some(flow) = self.flows.get(slot) else { return };
        let record = match &flow.translated {
            None => events::record_at(&connection!(ConnOpen, "open", self, flow), severity),
            Some(new) => {
                let event = connection!(
                    ConnOpenNatsat, "open", self, flow,
                    connnewsrcip: new.key.source.to_string(),
                    connnewsrcport: new.key.ports.0,
                    connnewdestip: new.key.destination.to_string(),
                    connnewdestport: new.key.ports.1
                );
                events::record_at(&event, severity)
            }
        };
        out.push(Output::Log(record));
    }

    pub(crate) fn log_closed(&mut self, now: Instant, flow: &Flow, out: &mut Vec<Output>) {
        if flow.verdict.log.is_some()
            && self.may_log_connection(now, out)
            && let Some(record) = self.closed_record(flow, now)
        {
            out.push(Output::Log(record));
        }
    }

    pub(crate) fn closed_record(&self, flow: &Flow, now: Instant) -> Option<Record> {
        let severity = flow.verdict.log?;
        let conntime = now.since(flow.opened).as_secs();
        Some(match &flow.translated {
            None => {
                let event = connection!(
                    ConnClose, "close", self, flow,
                    origsent: flow.opener.bytes,
                    termsent: flow.other.bytes,
                    conntime: conntime
                );
                events::record_at(&event, severity)
            }
            Some(new) => {
                let event = connection!(
                    ConnCloseNatsat, "close", self, flow,
                    connnewsrcip: new.key.source.to_string(),
                    connnewsrcport: new.key.ports.0,
                    connnewdestip: new.key.destination.to_string(),
                    connnewdestport: new.key.ports.1,
                    origsent: flow.opener.bytes,
                    termsent: flow.other.bytes,
                    conntime: conntime
                );
                events::record_at(&event, severity)
            }
        })
    }
}
