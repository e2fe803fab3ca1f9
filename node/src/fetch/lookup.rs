//! Looking for providers in the DHT, again and again while a fetch lacks peers.

use std::time::{Duration, Instant};

use shoal_protocol::hash::DiscoveryKey;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{mpsc, watch};

use crate::network::{Network, NetworkError, Provider};

/// The pause after the first look-up; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The shortest pause, when this node hears that there is another provider.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Look-ups of one key, one after the other.
#[derive(Debug)]
pub(super) struct Lookup {
    network: Network,
    key: DiscoveryKey,
    state: State,
    pause: Duration,
    /// Nodes that can be asked. More of them are a reason to ask again at once.
    dht_peers: watch::Receiver<usize>,
    /// Whose records others leave at this node. One of this key is a reason to ask soon: the look-up starts with them.
    records: broadcast::Receiver<DiscoveryKey>,
    /// When the last look-up was over.
    ended: Instant,
}

#[derive(Debug)]
enum State {
    Running(mpsc::Receiver<Provider>),
    Resting(Instant),
}

impl Lookup {
    pub(super) fn new(network: Network, key: DiscoveryKey) -> Self {
        let (dht_peers, records, ended) = (network.dht_peers(), network.records(), Instant::now());
        Self { network, key, state: State::Resting(ended), pause: FIRST_PAUSE, dht_peers, records, ended }
    }

    /// How many nodes this one knows to ask.
    pub(super) fn dht_peers(&self) -> usize {
        *self.dht_peers.borrow()
    }

    /// Waits for the next provider, with pauses between the look-ups. May be dropped at any time.
    pub(super) async fn next(&mut self) -> Result<Provider, NetworkError> {
        loop {
            match &mut self.state {
                State::Running(providers) => match providers.recv().await {
                    Some(provider) => return Ok(provider),
                    None => {
                        self.ended = Instant::now();
                        self.state = State::Resting(self.ended + self.pause);
                        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                    }
                },
                State::Resting(until) => {
                    let knew = *self.dht_peers.borrow_and_update();
                    tokio::select! {
                        () = tokio::time::sleep_until((*until).into()) => {}
                        Ok(_) = self.dht_peers.wait_for(|peers| *peers > knew) => {}
                        () = heard(&mut self.records, self.key) => {
                            *until = (*until).min(self.ended + SHORTEST_PAUSE);
                            continue;
                        }
                    }
                    self.state = State::Running(self.network.find_providers(self.key).await?);
                }
            }
        }
    }
}

/// Waits until another node leaves a record of this key here.
async fn heard(records: &mut broadcast::Receiver<DiscoveryKey>, key: DiscoveryKey) {
    loop {
        match records.recv().await {
            Ok(other) if other != key => {}
            // What was missed may have been this key.
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
