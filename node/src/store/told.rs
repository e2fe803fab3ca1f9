//! How much of the damage in a file the log is told of: the first, and then each time that there is twice as much.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Damage so far, by file: an entry for each in which there is any.
#[derive(Debug)]
pub(super) struct Told<F>(Mutex<BTreeMap<F, u64>>);

impl<F> Default for Told<F> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<F: Ord> Told<F> {
    /// Counts something damaged in `file`; how much there is by now, if that is worth a line.
    pub(super) fn count(&self, file: F) -> Option<u64> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = files.entry(file).or_default();
        *count += 1;
        count.is_power_of_two().then_some(*count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_told_of_and_none_line_by_line() {
        let told = Told::default();
        let lines: Vec<u64> = (0..1000).filter_map(|_| told.count("a")).collect();
        assert_eq!(lines, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
        assert_eq!(told.count("b"), Some(1));
    }
}
