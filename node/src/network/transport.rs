//! What carries connections: TCP with TLS or Noise and yamux, QUIC, and relays; names resolved by DNS.

use std::num::NonZeroU8;
use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::swarm::{NetworkBehaviour, Swarm};
use libp2p::{SwarmBuilder, core, dns, noise, quic, relay, tcp};

use super::error::chain;
use super::muxer::Yamux;
use super::tls::Tls;
use super::{NetworkError, NetworkLimits};

/// How long a connection may take from the first packet to the last of the handshake.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// Addresses of one peer that are tried at the same time.
const DIAL_CONCURRENCY: NonZeroU8 = NonZeroU8::new(8).unwrap();
/// Streams of one connection that may be in negotiation at a time.
const MAX_NEGOTIATING: usize = 64;

/// A swarm over all transports, with a behaviour that is made from the key and the relay client.
pub(super) fn swarm<B, F>(keypair: Keypair, limits: &NetworkLimits, behaviour: F) -> Result<Swarm<B>, NetworkError>
where
    B: NetworkBehaviour,
    F: FnOnce(&Keypair, relay::client::Behaviour) -> B,
{
    let failed = |reason: String| NetworkError::Encryption { reason };
    let yamux = Yamux::new(limits);
    let tls = Tls::new(&keypair).map_err(|e| failed(chain(&e)))?;
    let relay_tls = tls.clone();
    let relay_yamux = yamux.clone();

    // Without a resolver's configuration, names are not resolved and everything else works; the library's fallback
    // would ask somebody's public resolver without the user's knowledge.
    let builder = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(
            tcp::Config::new().nodelay(true),
            (move |_: &Keypair| Ok::<_, NetworkError>(tls), noise::Config::new),
            move || yamux,
        )
        .map_err(|e| failed(e.to_string()))?
        .with_quic_config(|config| quic_config(config, limits))
        .with_dns_config(resolver_config(), dns::ResolverOpts::default())
        .with_relay_client((move |_: &Keypair| Ok::<_, NetworkError>(relay_tls), noise::Config::new), move || {
            relay_yamux
        })
        .map_err(|e| failed(e.to_string()))?
        .with_behaviour(|keypair, relay| behaviour(keypair, relay))
        .map_err(|e| failed(e.to_string()))?;
    let idle = limits.idle_timeout;
    let swarm = builder
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(idle)
                .with_dial_concurrency_factor(DIAL_CONCURRENCY)
                .with_max_negotiating_inbound_streams(MAX_NEGOTIATING)
                // What a stream is for goes out with the first bytes on it, and not a round trip before them.
                .with_substream_upgrade_protocol_override(core::upgrade::Version::V1Lazy)
        })
        .with_connection_timeout(CONNECT_TIMEOUT)
        .build();
    Ok(swarm)
}

/// QUIC's windows from the same budget as yamux's.
fn quic_config(mut config: quic::Config, limits: &NetworkLimits) -> quic::Config {
    let window = u32::try_from(limits.receive_window_bytes).unwrap_or(u32::MAX).max(1 << 20);
    config.max_stream_data = window;
    config.max_connection_data = window;
    config.max_concurrent_stream_limit = u32::try_from(limits.streams_per_connection).unwrap_or(u32::MAX);
    config.max_idle_timeout = 30_000;
    config
}

/// The machine's name servers; none if it has no configuration for them.
fn resolver_config() -> dns::ResolverConfig {
    match hickory_resolver::system_conf::read_system_conf() {
        Ok((config, _)) => config,
        Err(e) => {
            tracing::debug!(error = %e, "no resolver configuration: addresses with names will not be resolved");
            dns::ResolverConfig::from_parts(None, Vec::new(), Vec::new())
        }
    }
}
