//! Real processes tortured: killed at any moment, cut from power, on a full disk, with syncs that fail.
//!
//! Each has a short form, for every run of the tests, and a long one: `SHOAL_TORTURE=long cargo test --release -p
//! shoal-node -p shoal-tests torture -- --nocapture`.

mod cuts;
mod disks;
mod kills;

use std::time::Duration;

/// Far beyond what the long forms take.
const DEADLINE: Duration = Duration::from_secs(4 * 3600);

fn is_long() -> bool {
    std::env::var_os("SHOAL_TORTURE").is_some_and(|form| form == "long")
}

fn amount(short: u64, long: u64) -> u64 {
    if is_long() { long } else { short }
}

/// A number that looks random and is the same in each run.
fn chance(seed: u64, limit: u64) -> u64 {
    let hash = blake3::hash(&seed.to_le_bytes());
    u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap()) % limit
}
