//! End-to-end tests: the real binary in real processes over real sockets.
//!
//! Each test has folders, ports and nodes of its own and a deadline, so they run side by side. What is waited for is
//! a state that a node reports, never a time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and says on stdout why it is skipped"
)]

mod among;
mod basics;
mod crowd;
mod demo;
mod discovery;
mod explain;
mod faults;
mod golden;
mod hostile;
mod in_place;
mod refusals;
mod scenarios;
mod shapes;
mod sharing;
mod space;
mod standing;
mod stdin;
mod support;
mod torture;
mod verify;
mod versions;
