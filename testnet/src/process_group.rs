//! A process group whose members cannot outlive this process.
//!
//! The group's leader, the anchor, is a shell that waits for the end of its standard input, whose only other end this
//! process holds, and then kills its whole group. So the members go when the [`ProcessGroup`] is dropped and also
//! when this process is killed by surprise. Because the anchor leads the group for as long as it stands, the group's
//! number is never anybody else's, and nothing that was not started into it can be hit. A Ctrl-C at the terminal does
//! not reach the members: whether they go is decided here.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

/// Ends on the end of input, whatever came before it; `0` is the caller's own group.
const ANCHOR: &str = "while read -r _; do :; done; kill -KILL 0";

/// A process group that dies with its owner.
#[derive(Debug)]
pub struct ProcessGroup {
    /// Not waited for before the group is killed, so its number stays taken. Holds the lifeline's writing end.
    anchor: Child,
}

impl ProcessGroup {
    /// Starts the anchor, which needs nothing but `/bin/sh`.
    pub fn start() -> io::Result<Self> {
        let anchor = Command::new("/bin/sh")
            .args(["-c", ANCHOR])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { anchor })
    }

    /// The number to start members with (`Command::process_group`).
    pub fn number(&self) -> i32 {
        i32::try_from(self.anchor.id()).unwrap_or(i32::MAX)
    }

    /// Kills every member, the anchor too. Members are children of whoever started them and are theirs to wait for.
    pub fn kill(&mut self) {
        if let Some(group) = Pid::from_raw(self.number()) {
            // Fails only when nobody is left in it.
            let _ = kill_process_group(group, Signal::KILL);
        }
        drop(self.anchor.stdin.take());
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
        let _ = self.anchor.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(group: &ProcessGroup) -> Child {
        Command::new("sleep").arg("600").process_group(group.number()).spawn().unwrap()
    }

    #[test]
    fn members_die_with_the_group() {
        let group = ProcessGroup::start().unwrap();
        let mut members = [member(&group), member(&group)];
        drop(group);
        for member in &mut members {
            assert!(!member.wait().unwrap().success());
        }
    }

    #[test]
    fn members_die_when_the_lifeline_is_cut() {
        // What the kernel does for a killed owner: its end of the pipe closes, nothing else.
        let mut group = ProcessGroup::start().unwrap();
        let mut member = member(&group);
        drop(group.anchor.stdin.take());
        assert!(!member.wait().unwrap().success());
        assert!(!group.anchor.wait().unwrap().success());
        std::mem::forget(group);
    }
}
