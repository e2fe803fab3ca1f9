//! What a person can do about what the system said of a file.

use std::io::{self, ErrorKind};

use rustix::io::Errno;

/// The way out, to stand at the end of an error's line; nothing where there is none to tell.
pub(crate) fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => "; run shoal as the user who owns it, or give this user access to it",
        ErrorKind::ReadOnlyFilesystem => {
            "; its file system is read-only: mount it writable, or use another home (--home)"
        }
        _ if Errno::from_io_error(error) == Some(Errno::IO) => {
            "; the device fails: see the system's log, and back up what can be read"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_can_do_is_told_and_nothing_else() {
        for (code, words) in
            [(13, "as the user who owns it"), (1, "as the user"), (30, "writable"), (5, "device"), (2, "")]
        {
            let told = way_out(&io::Error::from_raw_os_error(code));
            assert!(told.contains(words) && told.is_empty() == words.is_empty(), "{code}: {told}");
        }
    }
}
