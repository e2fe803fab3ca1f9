//! Why a command ends before it is done, and the exit code that says so.

use shoal_node::api::{Failure, FailureKind};
use shoal_node::control::ControlError;

/// What most of the command line returns.
pub(crate) type Outcome<T = ()> = Result<T, Stop>;

/// Why a command ends early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Something went wrong.
    Failure(Failure),
    /// Nobody reads stdout any more (`shoal cat … | head`): no error, and nothing more to do.
    ReaderGone,
}

impl Stop {
    /// A failure of the command's own.
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::Failure(Failure::new(kind, message))
    }

    /// What was asked makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, message)
    }

    /// Ctrl-C or SIGTERM.
    pub(crate) fn interrupted() -> Self {
        Self::new(FailureKind::Interrupted, "interrupted")
    }

    /// If this is an interruption, says how to go on.
    pub(crate) fn or_go_on(self, how: &str) -> Self {
        match self {
            Self::Failure(failure) if failure.kind == FailureKind::Interrupted => {
                Self::Failure(Failure { message: format!("interrupted; {how}"), ..failure })
            }
            other => other,
        }
    }

    /// The exit code of the contract.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::ReaderGone => 0,
            Self::Failure(failure) => match failure.kind {
                FailureKind::Failed => 1,
                FailureKind::Usage => 2,
                FailureKind::NotFound => 3,
                FailureKind::Integrity => 4,
                FailureKind::Denied => 5,
                FailureKind::Interrupted => 130,
            },
        }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<ControlError> for Stop {
    fn from(error: ControlError) -> Self {
        Self::Failure(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        for (kind, code) in [
            (FailureKind::Failed, 1),
            (FailureKind::Usage, 2),
            (FailureKind::NotFound, 3),
            (FailureKind::Integrity, 4),
            (FailureKind::Denied, 5),
            (FailureKind::Interrupted, 130),
        ] {
            assert_eq!(Stop::new(kind, "").exit_code(), code);
        }
        assert_eq!(Stop::ReaderGone.exit_code(), 0);
    }

    #[test]
    fn only_an_interruption_is_told_how_to_go_on() {
        let how = "run it again";
        let Stop::Failure(told) = Stop::interrupted().or_go_on(how) else { panic!("not a failure") };
        assert_eq!(told.message, "interrupted; run it again");
        assert_eq!(Stop::usage("x").or_go_on(how), Stop::usage("x"));
    }
}
