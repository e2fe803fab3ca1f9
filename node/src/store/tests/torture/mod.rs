//! The store tortured: power cuts at every sync, flips anywhere, long random lives.
//!
//! Each has a short form, for every run of the tests, and a long one: `SHOAL_TORTURE=long cargo test --release -p
//! shoal-node -p shoal-tests torture -- --nocapture`. `SHOAL_TORTURE_SEED=7` does only what seed 7 of a test says.

mod flips;
mod interleave;
mod life;
mod power;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// Far more than the homes of some tests at a time take.
const LEAST_MEMORY_BYTES: u64 = 512 << 20;

/// A folder in memory, if the system has one with room: power cuts are made up here, and waiting for a real disk to
/// sync would only take time.
fn scratch() -> tempfile::TempDir {
    static PARENT: OnceLock<PathBuf> = OnceLock::new();
    let parent = PARENT.get_or_init(|| {
        let memory = PathBuf::from("/dev/shm");
        let room = rustix::fs::statvfs(&memory).map_or(0, |system| system.f_bavail * system.f_frsize);
        if room >= LEAST_MEMORY_BYTES && tempfile::tempdir_in(&memory).is_ok() { memory } else { std::env::temp_dir() }
    });
    tempfile::tempdir_in(parent).unwrap()
}

/// How much there is to do: the long form is asked for by the environment.
fn amount(short: u64, long: u64) -> u64 {
    if std::env::var_os("SHOAL_TORTURE").is_some_and(|form| form == "long") { long } else { short }
}

/// Does the work of one seed after the other from `first` on, two at a time, as long as so many are not enough; says
/// how many it were. `SHOAL_TORTURE_SEED` asks for a single one, to look into it.
fn side_by_side(first: u64, is_wanted: impl Fn(u64) -> bool + Sync, work: impl Fn(u64) + Sync) -> u64 {
    let single = std::env::var("SHOAL_TORTURE_SEED").ok().and_then(|seed| seed.parse().ok());
    if let Some(seed) = single {
        work(seed);
        return 1;
    }
    let (begun, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let each = || loop {
        let number = begun.fetch_add(1, Ordering::Relaxed);
        if !is_wanted(number) {
            return;
        }
        let named = Named(first + number);
        work(named.0);
        done.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        scope.spawn(each);
        scope.spawn(each);
    });
    done.into_inner()
}

/// Says which seed it was that failed.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {} has failed", self.0);
        }
    }
}
