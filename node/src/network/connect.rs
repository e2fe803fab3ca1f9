//! How a stream to a peer comes to be. Runs on the caller's task.

use super::{Address, Network, OpenError, PeerId, TransferStream};

pub(super) async fn open_stream(
    _network: &Network,
    peer: PeerId,
    _addresses: &[Address],
) -> Result<TransferStream, OpenError> {
    Err(OpenError::Unreachable { peer, attempts: Vec::new() })
}
