//! Looking for providers in the DHT, again and again while a fetch lacks peers, and hearing of those that announce
//! themselves to this node.

use std::time::{Duration, Instant};

use shoal_protocol::hash::DiscoveryKey;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{mpsc, watch};

use crate::network::{Network, NetworkError, NewRecord, Provider};

/// How long peers that were named are asked alone. A small content is here by then, and the DHT was not troubled for
/// it.
const HEAD_START: Duration = Duration::from_millis(50);
/// The pause after the first look-up; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The shortest pause, when this node may have missed that there is another provider.
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
    /// The records that others leave at this node.
    records: broadcast::Receiver<NewRecord>,
    /// When the last look-up was over.
    ended: Instant,
}

/// A provider that has been found.
#[derive(Debug)]
pub(super) enum Found {
    /// The DHT has a record of it, which may be hours old.
    Recorded(Provider),
    /// It has just said itself, to this node, that it has the content.
    Announced(Provider),
}

#[derive(Debug)]
enum State {
    /// The first look-up begins then.
    Holding(Instant),
    Running(mpsc::Receiver<Provider>),
    Resting(Instant),
}

impl Lookup {
    /// The first look-up begins at once, or a little later if there are peers to ask without it.
    pub(super) fn new(network: Network, key: DiscoveryKey, has_peers: bool) -> Self {
        let (dht_peers, records, ended) = (network.dht_peers(), network.records(), Instant::now());
        let state = State::Holding(if has_peers { ended + HEAD_START } else { ended });
        Self { network, key, state, pause: FIRST_PAUSE, dht_peers, records, ended }
    }

    /// How many nodes this one knows to ask.
    pub(super) fn dht_peers(&self) -> usize {
        *self.dht_peers.borrow()
    }

    /// Waits for the next provider, with pauses between the look-ups. May be dropped at any time.
    pub(super) async fn next(&mut self) -> Result<Found, NetworkError> {
        loop {
            match &mut self.state {
                State::Holding(until) => {
                    tokio::select! {
                        () = tokio::time::sleep_until((*until).into()) => {}
                        heard = heard(&mut self.records, self.key) => if let Some(provider) = heard {
                            return Ok(Found::Announced(provider));
                        },
                    }
                    self.state = State::Running(self.network.find_providers(self.key).await?);
                }
                State::Running(providers) => tokio::select! {
                    provider = providers.recv() => match provider {
                        Some(provider) => return Ok(Found::Recorded(provider)),
                        None => {
                            self.ended = Instant::now();
                            self.state = State::Resting(self.ended + self.pause);
                            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                        }
                    },
                    heard = heard(&mut self.records, self.key) => match heard {
                        Some(provider) => return Ok(Found::Announced(provider)),
                        None => self.pause = SHORTEST_PAUSE,
                    },
                },
                State::Resting(until) => {
                    let knew = *self.dht_peers.borrow_and_update();
                    tokio::select! {
                        () = tokio::time::sleep_until((*until).into()) => {}
                        Ok(_) = self.dht_peers.wait_for(|peers| *peers > knew) => {}
                        heard = heard(&mut self.records, self.key) => match heard {
                            Some(provider) => return Ok(Found::Announced(provider)),
                            None => {
                                *until = (*until).min(self.ended + SHORTEST_PAUSE);
                                continue;
                            }
                        },
                    }
                    self.state = State::Running(self.network.find_providers(self.key).await?);
                }
            }
        }
    }
}

/// Waits until another node leaves a record of this key here. `None`: that may have been missed.
async fn heard(records: &mut broadcast::Receiver<NewRecord>, key: DiscoveryKey) -> Option<Provider> {
    loop {
        match records.recv().await {
            Ok(record) if record.key == key => return Some(record.provider),
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return None,
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
