//! The own TLS upgrade against the library's, and against itself.

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p::identity::Keypair;
use rustls::{CipherSuite, ProtocolVersion};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::*;
use crate::network::tls::{Tls, has_aes, provider};

type Socket = Compat<TcpStream>;
type Upgraded = (libp2p::PeerId, futures_rustls::TlsStream<Socket>);

async fn sockets() -> (Socket, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (dialled, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (dialled.unwrap().compat(), accepted.unwrap().0.compat())
}

/// Shakes hands, checks who is who, sends bytes both ways, and returns what was negotiated.
async fn check<C, S>(client: C, client_key: &Keypair, server: S, server_key: &Keypair) -> CipherSuite
where
    C: OutboundConnectionUpgrade<Socket, Output = Upgraded, Info = &'static str>,
    S: InboundConnectionUpgrade<Socket, Output = Upgraded, Info = &'static str>,
    C::Error: std::fmt::Debug,
    S::Error: std::fmt::Debug,
{
    let client_name = client.protocol_info().into_iter().next().unwrap();
    assert_eq!(client_name, server.protocol_info().into_iter().next().unwrap(), "the same protocol");
    let (dialled, accepted) = sockets().await;
    let (client, server) = within(async {
        tokio::join!(client.upgrade_outbound(dialled, client_name), server.upgrade_inbound(accepted, client_name))
    })
    .await;
    let ((server_seen, mut client), (client_seen, mut server)) = (client.unwrap(), server.unwrap());
    assert_eq!(server_seen, server_key.public().to_peer_id());
    assert_eq!(client_seen, client_key.public().to_peer_id());
    within(async {
        for (from, to) in [(&mut client, &mut server)] {
            from.write_all(b"ping").await.unwrap();
            from.flush().await.unwrap();
            let mut got = [0; 4];
            to.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"ping");
            to.write_all(b"pong").await.unwrap();
            to.flush().await.unwrap();
            from.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"pong");
        }
    })
    .await;
    let (_, state) = client.get_ref();
    assert_eq!(state.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(state.alpn_protocol(), Some(&b"libp2p"[..]));
    state.negotiated_cipher_suite().unwrap().suite()
}

fn preferred() -> CipherSuite {
    if has_aes() { CipherSuite::TLS13_AES_128_GCM_SHA256 } else { CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_own_ends_the_hardware_decides() {
    let (a, b) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    assert_eq!(check(Tls::new(&a).unwrap(), &a, Tls::new(&b).unwrap(), &b).await, preferred());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_librarys_client_gets_on_with_the_own_server() {
    let (a, b) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let stock = libp2p_tls::Config::new(&a).unwrap();
    // It offers ChaCha20 first; the server does not follow it.
    assert_eq!(check(stock, &a, Tls::new(&b).unwrap(), &b).await, preferred());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_own_client_gets_on_with_the_librarys_server() {
    let (a, b) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let stock = libp2p_tls::Config::new(&b).unwrap();
    // The stock server follows the client's order.
    assert_eq!(check(Tls::new(&a).unwrap(), &a, stock, &b).await, preferred());
}

#[test]
fn without_aes_in_hardware_chacha_comes_first() {
    let order = |aes| -> Vec<CipherSuite> { provider(aes).cipher_suites.iter().map(|suite| suite.suite()).collect() };
    use CipherSuite::{
        TLS13_AES_128_GCM_SHA256 as AES_128, TLS13_AES_256_GCM_SHA384 as AES_256,
        TLS13_CHACHA20_POLY1305_SHA256 as CHACHA,
    };
    assert_eq!(order(true), [AES_128, AES_256, CHACHA]);
    assert_eq!(order(false), [CHACHA, AES_128, AES_256]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_a_libp2p_certificate_is_refused() {
    let key = Keypair::generate_ed25519();
    let (dialled, accepted) = sockets().await;
    let mut stranger = rustls::ClientConfig::builder_with_provider(provider(true).into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Tls::new(&key).unwrap().any_verifier())
        .with_no_client_auth();
    stranger.alpn_protocols = vec![b"libp2p".to_vec()];
    let connector = futures_rustls::TlsConnector::from(std::sync::Arc::new(stranger));
    let name = rustls::pki_types::ServerName::try_from("example.org").unwrap();
    let server = Tls::new(&key).unwrap().upgrade_inbound(accepted, "/tls/1.0.0");
    let (_, outcome) = within(async { tokio::join!(connector.connect(name, dialled), server) }).await;
    assert!(outcome.is_err());
}
