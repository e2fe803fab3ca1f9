//! Errors as people and scripts see them.

use serde::{Deserialize, Serialize};

/// Which family an error belongs to; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Exit code 1.
    Failed,
    /// Exit code 2: what was asked makes no sense.
    Usage,
    /// Exit code 3: no provider has it, or none answered.
    NotFound,
    /// Exit code 4: what was found could not be verified.
    Integrity,
    /// Exit code 5: no space or no permission.
    Denied,
    /// Exit code 130: stopped on request, can be resumed.
    Interrupted,
}

/// An error as a person reads it: one line, with the causes beneath.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The family.
    pub kind: FailureKind,
    /// What happened, to what, and what to do next, in one line.
    pub message: String,
    /// The chain of causes, outermost first, for `-v`.
    #[serde(default)]
    pub causes: Vec<String>,
}

impl Failure {
    /// A failure with a message and no causes.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new() }
    }

    /// A failure whose message is the error's own and whose causes are its sources.
    pub fn from_error(kind: FailureKind, error: &dyn std::error::Error) -> Self {
        let causes = std::iter::successors(error.source(), |e| e.source()).map(ToString::to_string).collect();
        Self { kind, message: error.to_string(), causes }
    }
}
