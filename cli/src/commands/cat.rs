//! `shoal cat`: verified bytes to stdout, in order, as they come.

use std::io::Write;

use bytes::Bytes;
use futures::StreamExt;
use shoal_node::api::{BytesRequest, FailureKind};
use shoal_node::control::{Items, Service};
use tokio::sync::mpsc;

use super::millis;
use crate::args::CatArgs;
use crate::interrupt::Interrupt;
use crate::output::{Output, stdout_failed};
use crate::session::{Reach, begun, with_session};
use crate::settings::Settings;
use crate::stop::{Outcome, Stop};

/// Pieces between the node and stdout; each is at most a chunk.
const QUEUE: usize = 16;

pub(super) async fn run(args: CatArgs, settings: &Settings, output: &mut Output, interrupt: &Interrupt) -> Outcome {
    if output.json() {
        return Err(Stop::usage("cat writes the bytes themselves: there is no --json for it"));
    }
    let target = args.target;
    let request = BytesRequest {
        hash: target.hash,
        path: target.path.clone(),
        start: args.range.map(|range| range.start),
        end: args.range.and_then(|range| range.end),
        peers: args.sources.peer.iter().chain(&target.hints.peers).cloned().collect(),
        timeout_ms: millis(settings.timeout.value),
    };
    with_session(settings, Reach::Network, output, interrupt, async |session, output| {
        session.check_network(&target)?;
        let written = async {
            let items = begun(session.client.bytes(request), target.hash, &session.client, output).await;
            copy(items, output.take_stdout()).await
        };
        interrupt.or(written).await?
    })
    .await
}

/// Writes on a thread of its own, so that a slow reader of stdout does not keep Ctrl-C waiting.
async fn copy(mut items: Items<Bytes>, mut writer: Box<dyn Write + Send>) -> Outcome {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(QUEUE);
    let written = tokio::task::spawn_blocking(move || {
        while let Some(bytes) = receiver.blocking_recv() {
            writer.write_all(&bytes)?;
            if receiver.is_empty() {
                writer.flush()?;
            }
        }
        writer.flush()
    });
    let read = loop {
        let item = tokio::select! {
            biased;
            // The last write failed, and it may take long until the next bytes come.
            () = sender.closed() => break Ok(()),
            item = items.next() => item,
        };
        match item {
            Some(Ok(bytes)) => {
                if sender.send(bytes).await.is_err() {
                    break Ok(());
                }
            }
            Some(Err(failure)) => break Err(Stop::from(failure)),
            None => break Ok(()),
        }
    };
    drop(sender);
    let written = match written.await {
        Ok(written) => written.map_err(|error| stdout_failed(&error)),
        Err(error) => Err(Stop::new(FailureKind::Failed, format!("cannot write to stdout: {error}"))),
    };
    // Nobody who reads: nobody to tell what else went wrong.
    written.and(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Gone, Shared};
    use futures::stream;
    use shoal_node::api::Failure;

    fn pieces(count: usize, end: Option<Failure>) -> Items<Bytes> {
        let pieces = (0..count).map(|at| Ok(Bytes::from(vec![at as u8; 10_000])));
        stream::iter(pieces.chain(end.map(Err)).collect::<Vec<_>>()).boxed()
    }

    #[tokio::test]
    async fn all_that_came_before_a_failure_is_written() {
        let failure = Failure::new(FailureKind::Integrity, "wrong");
        let out = Shared::default();
        assert_eq!(copy(pieces(50, None), Box::new(out.clone())).await, Ok(()));
        assert_eq!(out.bytes().len(), 500_000);
        let out = Shared::default();
        let outcome = copy(pieces(3, Some(failure.clone())), Box::new(out.clone())).await;
        assert_eq!((outcome, out.bytes().len()), (Err(Stop::Failure(failure)), 30_000));
    }

    #[tokio::test]
    async fn a_gone_reader_ends_it_quietly() {
        let endless = stream::repeat_with(|| Ok(Bytes::from_static(&[0; 1_000]))).boxed();
        assert_eq!(copy(endless, Box::new(Gone)).await, Err(Stop::ReaderGone));
        let then_silent = pieces(1, None).chain(stream::pending()).boxed();
        assert_eq!(copy(then_silent, Box::new(Gone)).await, Err(Stop::ReaderGone));
    }
}
