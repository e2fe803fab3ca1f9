//! One direction of one connection: bytes in order, each as late as the lines make it.

use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::shape::Shapes;

const PIECE_BYTES: usize = 16 << 10;
/// Pieces on their way: 16 MiB, enough for 1 Gbit/s over 130 ms one way.
const ON_THE_WAY: usize = 1024;
/// Timers are good to a millisecond; what is nearer is not slept for.
const TIMER: Duration = Duration::from_millis(2);

/// Carries until either end closes.
pub(super) async fn carry(
    shapes: Arc<Shapes>,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    sender: Option<usize>,
    receiver: Option<usize>,
) {
    let (put, mut on_the_way) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    let taking = async {
        let mut random = ChaCha8Rng::seed_from_u64(shapes.seed());
        let mut last_arrival = Instant::now();
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let read = from.read(&mut buffer).await.unwrap_or(0);
            let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
            let passage = shapes.take(sender, receiver, read, Instant::now());
            if passage.sent > Instant::now() + TIMER {
                sleep_until(passage.sent).await;
            }
            let mut arrival = passage.sent + passage.delay;
            if random.next_u32() < passage.loss {
                arrival += passage.pause;
            }
            last_arrival = last_arrival.max(arrival);
            if put.send((last_arrival, piece.to_vec())).await.is_err() {
                break;
            }
        }
        // Ends the other half once all has arrived.
        drop(put);
    };
    let giving = async {
        while let Some((arrival, piece)) = on_the_way.recv().await {
            if arrival > Instant::now() + TIMER {
                sleep_until(arrival).await;
            }
            shapes.wait_while_parted(sender, receiver).await;
            if to.write_all(&piece).await.is_err() {
                // Nobody takes any more: the sender is to know.
                on_the_way.close();
                break;
            }
            shapes.note_carried(piece.len() as u64);
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(taking, giving);
}
