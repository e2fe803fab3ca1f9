//! The task that owns the swarm: commands in, events in, nothing heavy.
//!
//! Everything that this task does is bounded and in memory: connections encrypt on tasks of their own, streams are
//! handed on, and nothing here waits for anybody who asks. Who asks waits on a oneshot that is answered or dropped.

mod dht;
mod dials;
mod events;
mod listen;
mod peers;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::swarm::Swarm;
use libp2p::{Multiaddr, PeerId as LibPeerId, kad};
use tokio::sync::{broadcast, mpsc, watch};

use super::announce::Schedule;
use super::behaviour::Behaviour;
use super::command::{COMMAND_QUEUE, Command, Routes};
use super::discovery::Bootstrap;
use super::reach::{self, Reachability};
use super::status::{DhtMode, NetworkStatus, NewRecord};
use super::{Address, InboundStream, NetworkConfig, NetworkError, PeerId, transport};
use dht::Dht;
pub(super) use dht::record_key;
use dials::Dials;
use peers::{Peers, Protocols};

/// How long connections are given to close when the network shuts down.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// Records that whoever listens for them may be behind; those beyond are lost on them.
const RECORD_QUEUE: usize = 256;
/// How long the timer sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(60);

/// What the handle needs of a driver that runs.
pub(super) struct Started {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) addresses: watch::Receiver<Vec<Address>>,
    pub(super) dht_peers: watch::Receiver<usize>,
    pub(super) records: broadcast::Sender<NewRecord>,
    pub(super) inbound: mpsc::Receiver<InboundStream>,
}

/// Listens, and starts the task.
pub(super) async fn start(config: NetworkConfig) -> Result<Started, NetworkError> {
    let (inbound_sender, inbound) = mpsc::channel(config.limits.inbound_streams.max(1));
    let keypair = config.identity.keypair().clone();
    let mut swarm = transport::swarm(keypair, &config.limits, |keypair, relay| {
        Behaviour::new(keypair, relay, &config, inbound_sender)
    })?;
    listen::listen(&mut swarm, &config.listen).await?;

    let (commands, command_queue) = mpsc::channel(COMMAND_QUEUE);
    let (addresses_sender, addresses) = watch::channel(Vec::new());
    let (dht_peers_sender, dht_peers) = watch::channel(0);
    let (records, _) = broadcast::channel(RECORD_QUEUE);
    let now = Instant::now();
    let mut driver = Driver {
        swarm,
        commands: command_queue,
        peers: Peers::default(),
        dials: Dials::default(),
        dht: Dht::new(Schedule::new(config.limits.announce_every, config.limits.own_records)),
        bootstrap: Bootstrap::new(config.bootstrap, config.mdns, now),
        reachability: Reachability::default(),
        protocols: Protocols::of(&config.network),
        failures: HashMap::new(),
        confirmed: Vec::new(),
        announce: config.announce.into_iter().map(|address| address.without_peer().into_libp2p()).collect(),
        addresses: addresses_sender,
        dht_peers: dht_peers_sender,
        records: records.clone(),
    };
    driver.update_addresses();
    tokio::spawn(driver.run());
    Ok(Started { commands, addresses, dht_peers, records, inbound })
}

struct Driver {
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    peers: Peers,
    dials: Dials,
    dht: Dht,
    bootstrap: Bootstrap,
    reachability: Reachability,
    protocols: Protocols,
    /// How often in a row each peer could not be dialled.
    failures: HashMap<LibPeerId, u8>,
    /// The listen addresses that this node gives to others.
    confirmed: Vec<Multiaddr>,
    /// Addresses to give to others in place of those that it listens on, if there are any.
    announce: Vec<Multiaddr>,
    addresses: watch::Sender<Vec<Address>>,
    dht_peers: watch::Sender<usize>,
    /// Provider records that other nodes have just left here.
    records: broadcast::Sender<NewRecord>,
}

impl Driver {
    async fn run(mut self) {
        let last_wish = loop {
            self.tick(Instant::now());
            let wake = tokio::time::Instant::from_std(self.next_wake(Instant::now()));
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Shutdown { reply }) => break Some(reply),
                    Some(command) => self.handle_command(command),
                    None => break None,
                },
                event = self.swarm.select_next_some() => self.handle_event(event),
                () = tokio::time::sleep_until(wake) => {}
            }
        };
        self.close().await;
        // Whoever hears of the end may count on the ports.
        drop(self);
        if let Some(reply) = last_wish {
            // Whoever asked may have gone.
            let _ = reply.send(());
        }
    }

    /// Does what is due.
    fn tick(&mut self, now: Instant) {
        while let Some((number, address)) = self.bootstrap.due(now) {
            let opts = dials::to_address(address);
            let connection = opts.connection_id();
            self.bootstrap.started(number, connection);
            if let Err(e) = self.swarm.dial(opts) {
                self.bootstrap.handle_failed(connection, &dials::reason(&e), now);
            }
        }
        if self.dht_waits(now).is_none() {
            self.dht.ask_deferred(self.swarm.behaviour_mut());
            self.announce_due(now);
        }
    }

    fn next_wake(&self, now: Instant) -> Instant {
        let dht = match self.dht_waits(now) {
            Some(until) => Some(until),
            None => self.dht.schedule.next_due(),
        };
        [dht, self.bootstrap.next_due()].into_iter().flatten().min().unwrap_or(now + IDLE)
    }

    /// Until when questions to the DHT are held back, since the node knows nobody yet and may soon.
    fn dht_waits(&self, now: Instant) -> Option<Instant> {
        if *self.dht_peers.borrow() > 0 {
            return None;
        }
        self.bootstrap.worth_waiting(now)
    }

    fn handle_command(&mut self, command: Command) {
        // Wherever an answer cannot be sent, whoever asked has gone, and nothing is lost.
        match command {
            Command::Routes { peer, reply } => {
                let _ = reply.send(self.routes(peer));
            }
            Command::Dial { peer, rank, addresses, reply } => {
                // Who asked for routes before the dial of another was done has not heard of that.
                if self.swarm.behaviour().streams.best_path(&peer).is_some_and(|path| path.rank() <= rank) {
                    let _ = reply.send(Ok(()));
                } else {
                    self.dials.dial(&mut self.swarm, peer, addresses, reply);
                }
            }
            Command::Open(request) => self.swarm.behaviour_mut().streams.open(request),
            Command::Announce { key, reply } => self.dht.announce(key, reply, Instant::now()),
            Command::KeepAnnounced { keys, reply } => {
                let _ = reply.send(self.dht.keep_announced(keys, Instant::now()));
            }
            Command::StopAnnouncing { key } => {
                self.dht.stop_announcing(&key, &mut self.swarm.behaviour_mut().kad);
            }
            Command::FindProviders { key, providers } => self.dht.find(key, providers),
            Command::Acquaintances { limit, reply } => {
                let _ = reply.send(dht::acquaintances(&mut self.swarm.behaviour_mut().kad, limit));
            }
            Command::Peers { reply } => {
                let _ = reply.send(self.peers.infos(&self.swarm.behaviour().streams, Instant::now()));
            }
            Command::Status { reply } => {
                let _ = reply.send(self.status());
            }
            Command::Shutdown { .. } => {}
        }
    }

    fn routes(&mut self, peer: LibPeerId) -> Routes {
        let behaviour = self.swarm.behaviour_mut();
        let connected = behaviour.streams.best_path(&peer).cloned();
        let known = self.peers.get(&peer);
        let named = known.map(|peer| peer.addresses.clone()).unwrap_or_default();
        let upgrade_failed = known.is_some_and(|peer| peer.upgrade_failed(Instant::now()));
        let speaks = known.map(|peer| peer.speaks.clone()).unwrap_or_default();
        let routed = dht::known_addresses(&mut behaviour.kad, peer);
        let addresses = reach::worth_dialling(named.into_iter().chain(routed), peer);
        Routes { connected, addresses, upgrade_failed, speaks }
    }

    fn status(&mut self) -> NetworkStatus {
        let info = self.swarm.network_info();
        let external_addresses = self.swarm.external_addresses().cloned().collect();
        let external_addresses = self.public_addresses(external_addresses);
        let behaviour = self.swarm.behaviour_mut();
        NetworkStatus {
            connections: usize::try_from(info.connection_counters().num_established()).unwrap_or(usize::MAX),
            connected_peers: info.num_peers(),
            dht_peers: *self.dht_peers.borrow(),
            dht_mode: match behaviour.kad.mode() {
                kad::Mode::Server => DhtMode::Server,
                kad::Mode::Client => DhtMode::Client,
            },
            bootstrap: self.bootstrap.states(),
            own_records: self.dht.schedule.len(),
            own_records_told: self.dht.schedule.told(),
            foreign_records: behaviour.kad.store_mut().foreign_count(),
            external_addresses,
            refused_streams: behaviour.streams.refused(),
            mdns: behaviour.mdns.is_enabled(),
        }
    }

    fn public_addresses(&self, addresses: Vec<Multiaddr>) -> Vec<Address> {
        let local = PeerId::from_libp2p(*self.swarm.local_peer_id());
        let mut addresses = addresses;
        addresses.sort_by_key(reach::preference);
        addresses.into_iter().map(|address| Address::from_libp2p(address).with_peer(local)).collect()
    }

    /// Closes everything in order, and waits a while for that.
    async fn close(&mut self) {
        let connected: Vec<LibPeerId> = self.swarm.connected_peers().copied().collect();
        for peer in connected {
            // An error means that it is gone already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let drained = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        if tokio::time::timeout(CLOSE_PATIENCE, drained).await.is_err() {
            tracing::debug!("some connections did not close in time");
        }
    }
}
