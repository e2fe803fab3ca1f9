//! A content that is published at a node, asked until the node has done it or refuses for good.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use shoal_node::api::{Event, Published};
use shoal_node::control::{Client, Service};
use tokio::time::sleep;

/// How long to wait before a node is asked again.
const AGAIN: Duration = Duration::from_millis(500);
/// How often a node may refuse before that is its last word.
const MOST_REFUSALS: u32 = 5;

/// Publishes, however often it takes: a node may be down just then. What the node says if it refuses again and again.
pub(super) async fn publish(home: PathBuf, original: PathBuf) -> Result<Published, String> {
    let mut refusals = 0;
    loop {
        match ask(&home, &original).await {
            Some(Ok(published)) => return Ok(published),
            Some(Err(why)) => {
                refusals += 1;
                if refusals == MOST_REFUSALS {
                    return Err(why);
                }
            }
            None => {}
        }
        sleep(AGAIN).await;
    }
}

/// Asks once; `None` when the node does not answer, or dies over it.
async fn ask(home: &Path, original: &Path) -> Option<Result<Published, String>> {
    let client = Client::connect(home).await.ok()??;
    // As the control API's documents are, so that what they learn to say later changes nothing here.
    let request = serde_json::from_value(json!({ "paths": [original] })).ok()?;
    let mut events = client.publish(request);
    while let Some(event) = events.next().await {
        match event {
            Event::Done(published) => return Some(Ok(published)),
            Event::Error(failure) => return Some(Err(failure.message)),
            _ => {}
        }
    }
    None
}
