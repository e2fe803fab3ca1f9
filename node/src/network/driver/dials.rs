//! Dials that somebody waits for.

use std::collections::HashMap;

use libp2p::core::transport::TransportError;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, Swarm};
use libp2p::{Multiaddr, PeerId as LibPeerId};

use crate::network::behaviour::Behaviour;
use crate::network::command::Reply;
use crate::network::error::{Attempt, chain};
use crate::network::{Address, PeerId};

/// Dials that may be waited for at a time.
const MAX_DIALS: usize = 256;
/// Who may wait for one dial.
const MAX_WAITERS: usize = 64;

type Outcome = Result<(), Vec<Attempt>>;

/// The dials under way that somebody waits for.
#[derive(Default)]
pub(super) struct Dials {
    under_way: HashMap<ConnectionId, Dial>,
}

struct Dial {
    peer: LibPeerId,
    addresses: Vec<Multiaddr>,
    waiters: Vec<Reply<Outcome>>,
}

impl Dials {
    /// Dials a peer at these addresses. Joins a dial that tries them all already.
    pub(super) fn dial(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        peer: LibPeerId,
        addresses: Vec<Multiaddr>,
        reply: Reply<Outcome>,
    ) {
        let covers =
            |dial: &Dial| dial.peer == peer && addresses.iter().all(|address| dial.addresses.contains(address));
        let fits = |dial: &&mut Dial| covers(dial) && dial.waiters.len() < MAX_WAITERS;
        if let Some(dial) = self.under_way.values_mut().find(fits) {
            dial.waiters.push(reply);
            return;
        }
        // Wherever an answer cannot be sent, whoever asked has gone, and nothing is lost.
        if self.under_way.len() >= MAX_DIALS {
            let _ = reply.send(Err(vec![attempt("too many dials are under way")]));
            return;
        }
        let opts = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses.clone()).build();
        let connection = opts.connection_id();
        match swarm.dial(opts) {
            Ok(()) => {
                self.under_way.insert(connection, Dial { peer, addresses, waiters: vec![reply] });
            }
            Err(e) => {
                let _ = reply.send(Err(attempts(&e)));
            }
        }
    }

    /// A connection stands.
    pub(super) fn handle_connected(&mut self, connection: ConnectionId) {
        self.finish(connection, &Ok(()));
    }

    /// A dial failed.
    pub(super) fn handle_failed(&mut self, connection: ConnectionId, error: &DialError) {
        self.finish(connection, &Err(attempts(error)));
    }

    fn finish(&mut self, connection: ConnectionId, outcome: &Outcome) {
        for waiter in self.under_way.remove(&connection).into_iter().flat_map(|dial| dial.waiters) {
            // Whoever asked may have gone.
            let _ = waiter.send(outcome.clone());
        }
    }
}

/// A dial to whoever answers at an address; if the address names a peer, to that one.
pub(super) fn to_address(address: Multiaddr) -> DialOpts {
    DialOpts::unknown_peer_id().address(address).build()
}

/// Why a dial failed, in one line.
pub(super) fn reason(error: &DialError) -> String {
    attempts(error).iter().map(|attempt| attempt.reason.clone()).collect::<Vec<_>>().join("; ")
}

/// What was tried, and what came of it.
fn attempts(error: &DialError) -> Vec<Attempt> {
    match error {
        DialError::Transport(tried) => tried
            .iter()
            .map(|(address, error)| {
                let reason = match error {
                    TransportError::MultiaddrNotSupported(_) => "this node cannot dial such an address".to_owned(),
                    TransportError::Other(e) => innermost(e),
                };
                Attempt { address: Some(public(address)), reason }
            })
            .collect(),
        DialError::WrongPeerId { obtained, address } => {
            let reason = format!("another peer answers there: {}", PeerId::from_libp2p(*obtained));
            vec![Attempt { address: Some(public(address)), reason }]
        }
        DialError::LocalPeerId { address } => {
            vec![Attempt { address: Some(public(address)), reason: "this node itself answers there".to_owned() }]
        }
        DialError::NoAddresses => Vec::new(),
        DialError::Denied { cause } => vec![attempt(&format!("not allowed: {}", chain(cause)))],
        DialError::Aborted => vec![attempt("the dial was stopped")],
        DialError::DialPeerConditionFalse(_) => vec![attempt("it is being dialled already")],
    }
}

fn attempt(reason: &str) -> Attempt {
    Attempt { address: None, reason: reason.to_owned() }
}

fn public(address: &Multiaddr) -> Address {
    let mut address = address.clone();
    // DNS names resolve to addresses with the peer twice.
    if let Some(Protocol::P2p(_)) = address.iter().last() {
        address.pop();
    }
    Address::from_libp2p(address)
}

/// The root of a transport's error, without the names of the layers it came through.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    loop {
        let wrapped = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match (cause.source(), wrapped) {
            (Some(source), _) => source,
            (None, Some(inner)) => inner,
            (None, None) => return cause.to_string(),
        };
    }
}
