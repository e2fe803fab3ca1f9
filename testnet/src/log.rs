//! The end of a log file, for error messages.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

const TAIL_BYTES: u64 = 4096;
const TAIL_LINES: usize = 20;

/// The last lines of a file, at most 20 and at most 4 KiB; says so when there are none or it cannot be read.
pub(crate) fn tail(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        file.take(TAIL_BYTES).read_to_end(&mut bytes)
    });
    match read {
        Err(error) => format!("(cannot be read: {error})"),
        Ok(0) => "(empty)".to_owned(),
        Ok(_) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)).fold(String::new(), |all, line| all + line + "\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_long_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let all: String = (0..10_000).map(|n| format!("line {n}\n")).collect();
        std::fs::write(&path, all).unwrap();
        let tail = tail(&path);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("line 9999\n"));
    }

    #[test]
    fn no_log_and_an_empty_one_have_words() {
        let folder = tempfile::tempdir().unwrap();
        assert!(tail(&folder.path().join("none")).contains("cannot be read"));
        std::fs::write(folder.path().join("empty"), "").unwrap();
        assert_eq!(tail(&folder.path().join("empty")), "(empty)");
    }
}
