//! What is wrong with a scenario file.

use std::fmt;

/// Why a scenario is refused, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioError {
    /// The line, counted from 1; `None` when it is about the file as a whole.
    pub line: Option<usize>,
    /// What is wrong and what would be right, in one line.
    pub reason: String,
}

impl ScenarioError {
    /// Wrong at this byte of the text.
    pub(super) fn at(text: &str, byte: usize, reason: impl Into<String>) -> Self {
        let before = text.as_bytes().get(..byte).unwrap_or(text.as_bytes());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Self { line: Some(line), reason: reason.into() }
    }

    /// Wrong as a whole.
    pub(super) fn whole(reason: impl Into<String>) -> Self {
        Self { line: None, reason: reason.into() }
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for ScenarioError {}
