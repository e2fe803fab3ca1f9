//! What the end-to-end tests and the benchmark share.
//!
//! [`mod@bench`] measures real processes against floors taken in the same run; [`entry`] is the command line under
//! test. [`hostile`] is a peer that speaks the transfer protocol over stock libp2p and lies. The tests themselves are
//! in `tests/end_to_end`.

pub mod bench;
pub mod entry;
pub mod hostile;
