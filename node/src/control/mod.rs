//! The control API: how other programs on this machine talk to a running node.
//!
//! HTTP and JSON over a Unix socket in the node's home (mode 0600); [`Server`] and [`Client`] are its two ends and
//! [`Service`] is what both speak: the node implements it to be served, and the client implements it by asking. The
//! bodies are the plain types of [`api`](crate::api); docs/control.md shows each endpoint with `curl`.
//!
//! What always holds: only whoever holds the store's lock binds the socket; connections, request bodies, answers and
//! queues are bounded; dropping a stream at the client drops it at the service, which cancels the operation.
//! Nothing here knows what publishing or fetching is.

mod client;
mod error;
mod home;
mod lines;
mod query;
mod reply;
mod routes;
mod server;
mod service;
mod socket;
mod upload;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub use client::Client;
pub use error::ControlError;
pub use home::prepare_home;
pub(crate) use server::MAX_CONNECTIONS;
pub use server::Server;
pub use service::{Events, Items, Service};
pub use socket::socket_path;
