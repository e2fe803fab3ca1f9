//! What every line is like right now, and how much of it is taken.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::scenario::{Line, Share};

/// What a late timer lost of a line may be made up for, up to this.
const SLACK: Duration = Duration::from_millis(10);
/// Bytes that are lost or not lost together: what a packet of TCP carries.
const PACKET_BYTES: usize = 1_448;
/// How much later what follows a loss arrives, at least: TCP notices by what comes after it, or by a timer.
const LEAST_PAUSE: Duration = Duration::from_millis(10);

/// All lines. The locks are held for a few instructions, never across an await.
#[derive(Debug)]
pub(super) struct Shapes {
    nodes: Mutex<Vec<NodeLine>>,
    /// Counts changes, for those who wait for one.
    changes: watch::Sender<u64>,
    carried: AtomicU64,
    seed: u64,
    directions: AtomicU64,
}

#[derive(Debug)]
struct NodeLine {
    line: Line,
    pid: Option<u32>,
    /// Where it listens, if that need not be looked up.
    port: Option<u16>,
    /// Nodes of different sides do not reach each other.
    side: u64,
    /// When what was taken of each way has passed.
    up_free: Instant,
    down_free: Instant,
}

/// How a piece fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passage {
    /// When it has left the sender's and entered the receiver's line.
    pub(super) sent: Instant,
    /// How much later it arrives.
    pub(super) delay: Duration,
    /// The chance, of 2^32, that something in it is lost; and how long that holds up all that follows.
    pub(super) loss: u32,
    pub(super) pause: Duration,
}

impl Shapes {
    pub(super) fn new(lines: Vec<Line>, seed: u64) -> Self {
        let now = Instant::now();
        let node = |line| NodeLine { line, pid: None, port: None, side: 0, up_free: now, down_free: now };
        Self {
            nodes: Mutex::new(lines.into_iter().map(node).collect()),
            changes: watch::Sender::new(0),
            carried: AtomicU64::new(0),
            seed,
            directions: AtomicU64::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes().len()
    }

    pub(super) fn processes(&self) -> Vec<Option<u32>> {
        self.nodes().iter().map(|node| node.pid).collect()
    }

    pub(super) fn process(&self, node: usize) -> Option<u32> {
        self.nodes().get(node)?.pid
    }

    pub(super) fn set_process(&self, node: usize, pid: Option<u32>) {
        self.change(|nodes| nodes.get_mut(node).into_iter().for_each(|node| (node.pid, node.port) = (pid, None)));
    }

    pub(super) fn port(&self, node: usize) -> Option<u16> {
        self.nodes().get(node)?.port
    }

    pub(super) fn set_port(&self, node: usize, port: u16) {
        self.change(|nodes| nodes.get_mut(node).into_iter().for_each(|node| node.port = Some(port)));
    }

    pub(super) fn set_line(&self, node: usize, line: Line) {
        self.change(|nodes| nodes.get_mut(node).into_iter().for_each(|node| node.line = line));
    }

    pub(super) fn part(&self, apart: &[usize]) {
        let side = 1 + self.nodes().iter().map(|node| node.side).max().unwrap_or(0);
        self.change(|nodes| apart.iter().for_each(|node| nodes.get_mut(*node).into_iter().for_each(|n| n.side = side)));
    }

    pub(super) fn join(&self, joined: &[usize]) {
        self.change(|nodes| joined.iter().for_each(|node| nodes.get_mut(*node).into_iter().for_each(|n| n.side = 0)));
    }

    pub(super) fn carried_bytes(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    pub(super) fn note_carried(&self, bytes: u64) {
        self.carried.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A seed for one direction of one connection.
    pub(super) fn seed(&self) -> u64 {
        self.seed ^ self.directions.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Returns once the two reach each other. Whoever is unknown reaches everybody on the side of most.
    pub(super) async fn wait_while_parted(&self, a: Option<usize>, b: Option<usize>) {
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            let parted = {
                let nodes = self.nodes();
                let side = |node: Option<usize>| node.and_then(|node| nodes.get(node)).map_or(0, |node| node.side);
                side(a) != side(b)
            };
            if !parted || changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Takes room for a piece on the lines of both ends.
    pub(super) fn take(&self, from: Option<usize>, to: Option<usize>, bytes: usize, now: Instant) -> Passage {
        let mut nodes = self.nodes();
        let earliest = now.checked_sub(SLACK).unwrap_or(now);
        let (mut sent, mut delay, mut pass) = (now, Duration::ZERO, 1.0_f64);
        if let Some(node) = from.and_then(|from| nodes.get_mut(from)) {
            if let Some(rate) = node.line.up {
                node.up_free = node.up_free.max(earliest) + length(bytes, rate);
                sent = sent.max(node.up_free);
            }
            delay += node.line.delay;
            pass *= kept(node.line.loss);
        }
        if let Some(node) = to.and_then(|to| nodes.get_mut(to)) {
            if let Some(rate) = node.line.down {
                node.down_free = node.down_free.max(earliest) + length(bytes, rate);
                sent = sent.max(node.down_free);
            }
            delay += node.line.delay;
            pass *= kept(node.line.loss);
        }
        let packets = i32::try_from(bytes.div_ceil(PACKET_BYTES)).unwrap_or(i32::MAX);
        // Chance decides nothing that has to be the same everywhere: these are real nodes.
        let loss = ((1.0 - pass.powi(packets)) * f64::from(u32::MAX)) as u32;
        Passage { sent, delay, loss, pause: (delay * 2).max(LEAST_PAUSE) }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<NodeLine>)) {
        change(&mut self.nodes());
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<NodeLine>> {
        // Nothing panics while it is held.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long so many bytes take at a rate.
fn length(bytes: usize, rate: u64) -> Duration {
    Duration::from_nanos(u64::try_from(bytes as u128 * 1_000_000_000 / u128::from(rate.max(1))).unwrap_or(u64::MAX))
}

/// The chance that a packet is not lost.
fn kept(loss: Share) -> f64 {
    1.0 - f64::from(loss.millionths()) / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(up: Option<u64>, down: Option<u64>, delay_ms: u64) -> Line {
        Line { up, down, delay: Duration::from_millis(delay_ms), loss: Share::NONE }
    }

    #[tokio::test]
    async fn all_connections_of_a_node_share_its_line() {
        let shapes =
            Shapes::new(vec![line(Some(1_000_000), None, 5), line(None, Some(250_000), 7), line(None, None, 0)], 1);
        // Long after the lines were made: nothing is taken.
        let now = Instant::now() + Duration::from_secs(1);
        // 100 ms each on the first's line up, whoever they are for.
        assert_eq!(shapes.take(Some(0), Some(2), 100_000, now).sent, now + Duration::from_millis(90));
        assert_eq!(shapes.take(Some(0), None, 100_000, now).sent, now + Duration::from_millis(190));
        // The slower of the two lines decides.
        let passage = shapes.take(Some(0), Some(1), 100_000, now);
        assert_eq!((passage.sent, passage.delay), (now + Duration::from_millis(390), Duration::from_millis(12)));
        assert_eq!((passage.loss, passage.pause), (0, Duration::from_millis(24)));
        shapes.set_line(0, line(None, None, 0));
        assert_eq!(shapes.take(Some(0), Some(2), 100_000, now).sent, now);
    }

    #[test]
    fn more_packets_are_lost_more_easily() {
        let lossy = Line { loss: Share::from_millionths(100_000), ..Line::default() };
        let shapes = Shapes::new(vec![lossy, lossy], 1);
        let chance = |bytes| f64::from(shapes.take(Some(0), Some(1), bytes, Instant::now()).loss) / f64::from(u32::MAX);
        assert!((chance(1_000) - 0.19).abs() < 1e-6 && (chance(2_000) - 0.3439).abs() < 1e-6);
    }

    #[tokio::test]
    async fn sides_part_and_join() {
        let shapes = Shapes::new(vec![Line::default(); 4], 1);
        shapes.part(&[2, 3]);
        let reach = async |a, b| {
            tokio::select! {
                biased;
                () = shapes.wait_while_parted(Some(a), Some(b)) => true,
                () = std::future::ready(()) => false,
            }
        };
        assert!(reach(0, 1).await && reach(2, 3).await && !reach(1, 2).await);
        let joined = async { shapes.join(&[2, 3]) };
        tokio::join!(shapes.wait_while_parted(Some(1), Some(2)), joined);
        assert!(reach(1, 3).await);
    }
}
