//! A content that is published at a node, asked until the node has done it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use shoal_node::api::{Event, Published};
use shoal_node::control::{Client, Service};
use tokio::time::sleep;

/// How long to wait before a node is asked again.
const AGAIN: Duration = Duration::from_millis(500);

/// Publishes, however often it takes: a node may be down just then.
pub(super) async fn publish(home: PathBuf, original: PathBuf) -> Published {
    loop {
        if let Some(published) = ask(&home, &original).await {
            return published;
        }
        sleep(AGAIN).await;
    }
}

async fn ask(home: &Path, original: &Path) -> Option<Published> {
    let client = Client::connect(home).await.ok()??;
    // As the control API's documents are, so that what they learn to say later changes nothing here.
    let request = serde_json::from_value(json!({ "paths": [original] })).ok()?;
    let mut events = client.publish(request);
    while let Some(event) = events.next().await {
        match event {
            Event::Done(published) => return Some(published),
            Event::Error(_) => return None,
            _ => {}
        }
    }
    None
}
