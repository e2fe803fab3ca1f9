//! What the end-to-end tests and the benchmark share.
//!
//! [`hostile`] is a peer that speaks the transfer protocol over stock libp2p and lies; [`bench`] measures real
//! processes against floors taken in the same run. The tests themselves are in `tests/end_to_end`.

pub mod bench;
pub mod hostile;
