//! Ctrl-C and SIGTERM: the first asks to stop cleanly, the second ends the process at once.

use std::future::Future;

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

    /// Does what Ctrl-C does.
    #[cfg(test)]
    pub(crate) fn press(&self) {
        self.token.cancel();
    }
}
