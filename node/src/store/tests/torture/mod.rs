//! The store tortured: power cuts at every sync, flips anywhere, long random lives.
//!
//! Each has a short form, for every run of the tests, and a long one: `SHOAL_TORTURE=long cargo test --release -p
//! shoal-node -p shoal-tests torture -- --nocapture`.

mod flips;
mod interleave;
mod life;
mod power;

use super::*;

/// How much there is to do: the long form is asked for by the environment.
fn amount(short: u64, long: u64) -> u64 {
    if std::env::var_os("SHOAL_TORTURE").is_some_and(|form| form == "long") { long } else { short }
}
