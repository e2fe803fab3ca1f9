//! Bad input has words: one clear line, the right exit code, nothing half-written, nothing held before lost.

mod damage;
mod names;
mod network;
mod outputs;
mod paths;
mod space;

use std::fs;
use std::path::Path;

use shoal_testnet::wait;

use crate::support::DEADLINE;

/// Waits until a process has a file open.
pub(crate) async fn reading(pid: u32, path: &Path) {
    let folder = format!("/proc/{pid}/fd");
    let what = format!("{} to be read", path.display());
    let opened = wait::until(&what, DEADLINE, || async {
        let open = fs::read_dir(&folder).into_iter().flatten().flatten();
        Ok(open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target == path).then_some(()))
    });
    opened.await.unwrap_or_else(|error| panic!("{error}"));
}
