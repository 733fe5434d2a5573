//! IKEv2 messages: RFC 7296 section 3, with the fragments of RFC 7383.
//!
//! ```text
//! datagram -> Datagram::parse -> Clear(Message)        IKE_SA_INIT, and errors without keys
//!                                Protected(Envelope)   SK or SKF: `ike` opens the body, then parse_payloads
//!                                Version1(Header)      another state machine's business
//!                                Newer(Header)         to be answered with INVALID_MAJOR_VERSION
//! Message::write                                       clear messages out
//! write_payloads -> (`ike` seals) -> Envelope::prefix  protected messages out
//! ```
//!
//! Numbers from registries are newtypes that keep values they do not know ([`numbers`]). Everything prints itself with
//! `Display`, hostile bytes escaped; no type here ever holds a key.

mod auth;
#[cfg(test)]
mod corpus;
mod delete;
#[doc(hidden)]
pub mod harness;
mod header;
mod id;
mod ke;
mod malformed;
mod message;
mod nonce;
mod notify;
pub mod numbers;
mod payload;
mod print;
#[cfg(test)]
mod round_trip;
mod sa;
mod sk;
mod ts;
mod vendor;

pub use auth::Auth;
pub use delete::{Delete, SPIS_MAX};
pub use header::{Flags, HEADER_LEN, Header, Version};
pub use id::Id;
pub use ke::KeyExchange;
pub use malformed::{Expected, Malformed, TooLong};
pub use message::{Datagram, Message, parse_message};
pub use nonce::{NONCE_MAX, NONCE_MIN};
pub use notify::Notify;
pub use numbers::{
    AuthMethod, ExchangeType, IdType, NotifyType, PayloadType, ProtocolId, TransformType, TsType, transform_id_name,
};
pub use payload::{PAYLOADS_MAX, Payload, parse_payloads, unsupported_critical, write_payloads};
pub use sa::{
    ATTRIBUTES_MAX, Attribute, AttributeValue, KEY_LENGTH, PROPOSALS_MAX, Proposal, TRANSFORMS_MAX, Transform,
};
pub use sk::{Envelope, Protection};
pub use ts::TrafficSelector;
pub use vendor::vendor_name;
