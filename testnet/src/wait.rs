//! Waiting for something to become true, with a deadline and a name.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::error::TestnetError;

/// How often a condition is looked at that nobody announces.
const INTERVAL: Duration = Duration::from_millis(25);

/// Asks again and again until there is an answer; `what` names it when the deadline passes. Looking takes as long as
/// `look` does, also past the interval, and is dropped when the deadline passes.
pub async fn until<T, F>(what: &str, deadline: Duration, mut look: impl FnMut() -> F) -> Result<T, TestnetError>
where
    F: Future<Output = Result<Option<T>, TestnetError>>,
{
    let end = Instant::now() + deadline;
    let looking = async {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            sleep(INTERVAL).await;
        }
    };
    timeout_at(end, looking).await.unwrap_or_else(|_| Err(TestnetError::Deadline { what: what.to_owned(), deadline }))
}

/// Waits for a future, no longer than the deadline.
pub async fn within<T>(what: &str, deadline: Duration, future: impl Future<Output = T>) -> Result<T, TestnetError> {
    tokio::time::timeout(deadline, future).await.map_err(|_| TestnetError::Deadline { what: what.to_owned(), deadline })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_when_the_condition_holds() {
        let mut looks = 0;
        let found = until("three looks", Duration::from_secs(10), || {
            looks += 1;
            let answer = (looks == 3).then_some(looks);
            async move { Ok(answer) }
        });
        assert_eq!(found.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn the_deadline_names_what_was_waited_for() {
        let never = until::<(), _>("a wonder", Duration::from_millis(30), || async { Ok(None) });
        assert!(never.await.unwrap_err().to_string().contains("a wonder"));
    }
}
