//! The packet path: interfaces, routes, access and IP rules, flows, ESP.
//!
//! It knows nothing of IKE, of configuration objects, or of sockets. It is told by [`Control`] and hands out [`Output`].
#![forbid(unsafe_code)]

mod policy;
mod seam;

pub use policy::*;
pub use seam::*;
