//! Transfer streams: one protocol, opened on the best connection there is.
//!
//! libp2p's own stream behaviour takes any one of several connections and drops inbound streams that are not taken
//! at once. Transfers must know what carries them, and a node that is busy must say so; hence an own handler. This
//! module moves no bytes and knows no frames.

mod behaviour;
mod handler;
mod stream;

pub(super) use behaviour::{Behaviour, OpenRequest};
pub(super) use handler::{NEGOTIATION_TIMEOUT, OpenFailure};
pub use stream::{InboundStream, TransferStream};
