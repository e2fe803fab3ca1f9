//! Which process: its number together with the moment of its start, so that a number which the system has given to
//! somebody else since is never taken for it.
//!
//! For processes that are nobody's children here any more. Signals go through a pidfd that is opened before the
//! start is compared: whatever happens in between, no other process is hit.

use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process of this machine since it was last booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMark {
    /// Its number.
    pub pid: u32,
    /// When it was started, in ticks since the machine was booted, as `/proc/PID/stat` has it.
    pub start_ticks: u64,
}

/// What a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessState {
    /// It runs, or waits for something.
    Running,
    /// It stands still (SIGSTOP).
    Stopped,
    /// It has ended, or there is no such process.
    Gone,
}

impl ProcessMark {
    /// The mark of a process that runs now.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(pid: u32) -> io::Result<Self> {
        match stat(pid)? {
            (start_ticks, 'Z' | 'X') => {
                Err(io::Error::other(format!("process {pid} (started at {start_ticks}) has ended")))
            }
            (start_ticks, _) => Ok(Self { pid, start_ticks }),
        }
    }

    /// What it is doing.
    pub fn state(&self) -> ProcessState {
        match stat(self.pid) {
            Ok((start, state)) if start == self.start_ticks => match state {
                // Nobody has asked for its exit code yet, which is no concern of ours.
                'Z' | 'X' => ProcessState::Gone,
                'T' | 't' => ProcessState::Stopped,
                _ => ProcessState::Running,
            },
            _ => ProcessState::Gone,
        }
    }

    /// Whether it is there, running or standing still.
    pub fn is_alive(&self) -> bool {
        self.state() != ProcessState::Gone
    }

    /// Sends a signal to it and to no other; false when it is gone.
    ///
    /// # Errors
    /// When it may not be signalled.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(false) };
        let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => descriptor,
            Err(rustix::io::Errno::SRCH) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        // From here on the descriptor means one process; this tells which.
        if !self.is_alive() {
            return Ok(false);
        }
        match pidfd_send_signal(descriptor, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// What tells this boot of the machine from others; processes of another are all gone.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The process whose command line is exactly this, if there is one.
pub fn find_by_command_line(words: &[Vec<u8>]) -> Option<ProcessMark> {
    let wanted = words.iter().flat_map(|word| word.iter().copied().chain([0])).collect::<Vec<u8>>();
    let numbers = fs::read_dir("/proc").ok()?.flatten();
    numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).find_map(|pid| {
        let found = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        (found == wanted).then(|| ProcessMark::of(pid).ok())?
    })
}

/// When it was started, and the letter of its state.
fn stat(pid: u32) -> io::Result<(u64, char)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse(&text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat reads differently than expected")))
}

fn parse(stat: &str) -> Option<(u64, char)> {
    // The name in parentheses may hold anything, also parentheses: count from the last one.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.nth(18)?.parse().ok()?, state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn sleeper() -> (Child, ProcessMark) {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let mark = ProcessMark::of(child.id()).unwrap();
        (child, mark)
    }

    #[test]
    fn a_process_is_known_by_number_and_start() {
        let (mut child, mark) = sleeper();
        let other = ProcessMark { start_ticks: mark.start_ticks + 1, ..mark };
        assert!(mark.is_alive() && !other.is_alive());
        assert!(!other.signal(Signal::KILL).unwrap(), "a number that belongs to another process now is left alone");
        assert!(child.try_wait().unwrap().is_none());
        assert!(mark.signal(Signal::KILL).unwrap());
        child.wait().unwrap();
        assert!(!mark.is_alive() && !mark.signal(Signal::KILL).unwrap());
    }

    #[test]
    fn a_paused_process_is_told_apart() {
        let (mut child, mark) = sleeper();
        mark.signal(Signal::STOP).unwrap();
        while mark.state() != ProcessState::Stopped {
            std::thread::yield_now();
        }
        mark.signal(Signal::KILL).unwrap();
        child.wait().unwrap();
        assert_eq!(mark.state(), ProcessState::Gone);
    }

    #[test]
    fn a_process_is_found_by_all_its_words() {
        let words = |number: &str| vec![b"sleep".to_vec(), number.as_bytes().to_vec()];
        let mut child = Command::new("sleep").arg("611.25").spawn().unwrap();
        let mark = ProcessMark::of(child.id()).unwrap();
        // Until the new program runs, the line is still this test's own.
        while find_by_command_line(&words("611.25")).is_none() {
            std::thread::yield_now();
        }
        assert_eq!(find_by_command_line(&words("611.25")), Some(mark));
        assert_eq!(find_by_command_line(&words("611.2")), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn the_fields_are_counted_past_a_name_with_parentheses() {
        let stat = "7 (a) b) T 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse(stat), Some((4711, 'T')));
    }
}
