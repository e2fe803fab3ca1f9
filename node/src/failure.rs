//! Which family the errors of the lower rooms belong to. They know nothing of exit codes; what is asked of the disk is
//! told apart here from everything else.

use std::io::{self, ErrorKind};

use crate::api::{Failure, FailureKind};
use crate::control::ControlError;
use crate::network::IdentityError;
use crate::store::StoreError;

/// The family of what the system said.
pub(crate) fn kind_of(error: &io::Error) -> FailureKind {
    match error.kind() {
        ErrorKind::StorageFull
        | ErrorKind::QuotaExceeded
        | ErrorKind::FileTooLarge
        | ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem => FailureKind::Denied,
        _ => FailureKind::Failed,
    }
}

impl StoreError {
    /// The family that decides the exit code.
    pub(crate) fn failure_kind(&self) -> FailureKind {
        match self {
            Self::NoSpace { .. } | Self::QuotaReached { .. } | Self::LargerThanQuota { .. } => FailureKind::Denied,
            Self::QuotaTooSmall { .. } => FailureKind::Usage,
            Self::Io { source, .. } => kind_of(source),
            Self::Damaged { .. } | Self::WrongBytes { .. } | Self::Unsure { .. } => FailureKind::Integrity,
            _ => FailureKind::Failed,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::from_error(error.failure_kind(), &error)
    }
}

impl IdentityError {
    /// The family that decides the exit code.
    pub(crate) fn failure_kind(&self) -> FailureKind {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => kind_of(source),
            _ => FailureKind::Failed,
        }
    }
}

impl ControlError {
    /// The family that decides the exit code.
    pub(crate) fn failure_kind(&self) -> FailureKind {
        match self {
            Self::Home { error, .. } | Self::Bind { error, .. } | Self::Connect { error, .. } => kind_of(error),
            _ => FailureKind::Failed,
        }
    }
}
