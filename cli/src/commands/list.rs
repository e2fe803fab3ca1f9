//! `shoal list`: what this node holds.

use std::time::{SystemTime, UNIX_EPOCH};

use shoal_node::api::{ContentInfo, ContentState};
use shoal_node::control::Service;

use super::millis;
use crate::duration::show_age;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::session::{Reach, ask, with_session};
use crate::settings::Settings;
use crate::size::show_size;
use crate::stop::Outcome;
use crate::table::{Side, Table};

pub(super) async fn run(settings: &Settings, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    let contents = with_session(settings, Reach::Offline, output, interrupt, async |session, _| {
        ask(session.client.contents(), interrupt).await
    })
    .await?;
    if output.json() {
        return output.document(&contents);
    }
    if contents.is_empty() {
        output.note("nothing held yet; `shoal publish PATH` or `shoal fetch HASH` change that");
        return Ok(());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map(millis).unwrap_or_default();
    output.table(&table(&contents, now))
}

fn table(contents: &[ContentInfo], now_ms: u64) -> Table {
    let mut table = Table::new(&[
        ("HASH", Side::Left),
        ("SIZE", Side::Right),
        ("HELD", Side::Right),
        ("PINNED", Side::Left),
        ("LAST USED", Side::Left),
        ("NAME", Side::Left),
    ]);
    for content in contents {
        table.row([
            content.hash.to_string(),
            show_size(content.bytes),
            held(content),
            if content.pinned { "yes" } else { "no" }.to_owned(),
            show_age(content.last_used_ms, now_ms),
            content.name.clone().unwrap_or_default(),
        ]);
    }
    table
}

/// The share that is held; whole only when it is.
fn held(content: &ContentInfo) -> String {
    match content.state {
        ContentState::Complete => "100%".to_owned(),
        ContentState::Partial if content.bytes == 0 => "0%".to_owned(),
        ContentState::Partial => {
            let percent = u128::from(content.held_bytes) * 100 / u128::from(content.bytes);
            format!("{}%", percent.min(99))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_protocol::hash::{ContentHash, NodeId};

    #[test]
    fn rows_say_what_is_held() {
        let hash = ContentHash::from_root(NodeId::of(b"list"));
        let content = |name: Option<&str>, held_bytes, state| ContentInfo {
            hash,
            name: name.map(ToOwned::to_owned),
            bytes: 4096,
            held_bytes,
            chunks: 1,
            entries: 1,
            state,
            pinned: false,
            created_ms: 0,
            last_used_ms: 60_000,
        };
        let contents =
            [content(Some("a\u{7}"), 4096, ContentState::Complete), content(None, 4095, ContentState::Partial)];
        let lines = table(&contents, 180_000).lines();
        assert_eq!(
            lines.iter().skip(1).cloned().collect::<Vec<_>>(),
            [
                format!("{hash}  4.0 KiB  100%  no      2 min ago  a\\u{{7}}"),
                format!("{hash}  4.0 KiB   99%  no      2 min ago"),
            ]
        );
    }
}
