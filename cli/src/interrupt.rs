//! Ctrl-C and SIGTERM: the first asks to stop cleanly, the second ends the process at once.

use std::future::Future;

use shoal_node::api::Failure;
use tokio_util::sync::CancellationToken;

use crate::stop::{Outcome, Stop};

/// The exit code of a process that was interrupted.
pub(crate) const INTERRUPTED: i32 = 130;

/// Knows whether the person wants to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt {
    token: CancellationToken,
}

impl Interrupt {
    /// Listens to the signals from now on. Needs a tokio runtime.
    pub(crate) fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = Self::default();
        let token = interrupt.token.clone();
        let mut ctrl_c = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(()) = ctrl_c.recv() => {}
                    Some(()) = terminate.recv() => {}
                    else => return,
                }
                if token.is_cancelled() {
                    std::process::exit(INTERRUPTED);
                }
                token.cancel();
            }
        });
        Ok(interrupt)
    }

    /// Ready once the person wants to stop.
    pub(crate) async fn wait(&self) {
        self.token.cancelled().await;
    }

    /// Runs the future unless the person wants to stop first.
    pub(crate) async fn or<T>(&self, future: impl Future<Output = T>) -> Outcome<T> {
        tokio::select! {
            biased;
            () = self.wait() => Err(Stop::interrupted()),
            value = future => Ok(value),
        }
    }

    /// Waits until the person wants to stop; an error if the node breaks off before.
    pub(crate) async fn or_broken(&self, broken: impl Future<Output = Failure>) -> Outcome {
        tokio::select! {
            biased;
            () = self.wait() => Ok(()),
            failure = broken => Err(failure.into()),
        }
    }

    /// Does what Ctrl-C does.
    #[cfg(test)]
    pub(crate) fn press(&self) {
        self.token.cancel();
    }
}

#[cfg(test)]
mod tests {
    use shoal_node::api::FailureKind;

    use super::*;

    #[tokio::test]
    async fn a_node_that_breaks_off_ends_the_wait_with_exit_code_1() {
        let failure = Failure::new(FailureKind::Failed, "the node broke off");
        let interrupt = Interrupt::default();
        let ended = interrupt.or_broken(std::future::ready(failure.clone())).await.unwrap_err();
        assert_eq!((ended.exit_code(), &ended), (1, &Stop::Failure(failure.clone())));
        interrupt.press();
        assert_eq!(interrupt.or_broken(std::future::ready(failure)).await, Ok(()));
    }
}
