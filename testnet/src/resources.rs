//! What a process has used, as the kernel counts it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Ticks a second in `/proc/PID/stat`: fixed at 100 in the kernel's face to user space on every common architecture.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time and memory of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// CPU time in user and kernel mode, all threads, since it started.
    pub cpu: Duration,
    /// The most memory that it had resident so far, in bytes.
    pub peak_resident_bytes: u64,
    /// Memory that is resident now, in bytes.
    pub resident_bytes: u64,
}

impl Usage {
    /// Reads it for a running process.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Self::parse(&stat, &status)
            .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat reads differently than expected")))
    }

    fn parse(stat: &str, status: &str) -> Option<Self> {
        // The name in parentheses may hold anything, also parentheses: count from the last one.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
        let line = |name: &str| {
            let kib = status.lines().find_map(|line| line.strip_prefix(name))?;
            kib.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
        };
        Some(Self {
            cpu: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
            peak_resident_bytes: line("VmHWM:")?,
            resident_bytes: line("VmRSS:")?,
        })
    }
}

/// Bytes that everything under a path takes on disk, counted in blocks, not lengths.
pub fn disk_bytes(path: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let about = fs::symlink_metadata(path)?;
    let mut bytes = about.blocks() * 512;
    if about.is_dir() {
        for entry in fs::read_dir(path)? {
            bytes += disk_bytes(&entry?.path())?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_past_a_name_with_parentheses() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        let status = "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n";
        let usage = Usage { cpu: Duration::from_secs(3), peak_resident_bytes: 2 << 20, resident_bytes: 1 << 20 };
        assert_eq!(Usage::parse(stat, status), Some(usage));
    }

    #[test]
    fn this_very_process() {
        assert!(Usage::of(std::process::id()).unwrap().peak_resident_bytes > 0);
    }

    #[test]
    fn blocks_of_a_sparse_file_are_not_its_length() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::File::create(folder.path().join("sparse")).unwrap().set_len(1 << 30).unwrap();
        assert!(disk_bytes(folder.path()).unwrap() < 1 << 20);
    }
}
