//! How fast one transfer stream is over loopback, beside plain TLS over TCP in the same run.
//!
//! `cargo run --release -p shoal-node --example raw_stream [-- MIB [RUNS]]`. Both ends are in this process. The floor
//! is rustls over tokio's TCP with the same cipher suite and no multiplexing; the stream must reach 0.6 of it.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CipherSuite, ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use shoal_node::network::{Address, Identity, Network, NetworkConfig, TransportKind};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::compat::TokioAsyncReadCompatExt;

type Failed = Box<dyn Error + Send + Sync>;

const WRITE_BYTES: usize = 128 << 10;
const READ_BYTES: usize = 256 << 10;
const BAR: f64 = 0.6;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let mib: u64 = arguments.next().map_or(Ok(2048), |text| text.parse())?;
    let runs: usize = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let bytes = mib << 20;
    println!("{mib} MiB a run, {runs} runs, MB/s");
    println!("{:>12} {:>12} {:>12} {:>12}", "plain TLS", "TCP stream", "QUIC stream", "TCP / plain");
    let mut rows = Vec::new();
    for _ in 0..runs {
        let floor = rate(bytes, plain_tls(bytes).await?);
        let tcp = rate(bytes, stream(bytes, TransportKind::Tcp).await?);
        let quic = rate(bytes / 4, stream(bytes / 4, TransportKind::Quic).await?);
        println!("{floor:>12.0} {tcp:>12.0} {quic:>12.0} {:>12.2}", tcp / floor);
        rows.push([floor, tcp, quic]);
    }
    let [floor, tcp, quic] = [0, 1, 2].map(|column| median(rows.iter().map(|row| row[column]).collect()));
    let ratio = tcp / floor;
    println!("{floor:>12.0} {tcp:>12.0} {quic:>12.0} {ratio:>12.2}  median, bar {BAR}");
    if ratio < BAR { Err(format!("the stream reaches {ratio:.2} of plain TLS").into()) } else { Ok(()) }
}

fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64() / 1e6
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

async fn stream(bytes: u64, transport: TransportKind) -> Result<Duration, Failed> {
    let listen: Address = match transport {
        TransportKind::Quic => "/ip4/127.0.0.1/udp/0/quic-v1".parse()?,
        _ => "/ip4/127.0.0.1/tcp/0".parse()?,
    };
    let config = || {
        let mut config = NetworkConfig::new(Identity::generate());
        config.listen = vec![listen.clone()];
        config.mdns = false;
        config
    };
    let (server, mut inbound) = Network::start(config()).await?;
    let (client, _inbound) = Network::start(config()).await?;
    let mut reading = client.open_stream(&server.local_peer(), &server.addresses()).await?.compat();
    // The requester speaks first, as in a transfer.
    reading.write_all(b"go").await?;
    reading.flush().await?;
    let writing = inbound.recv().await.ok_or("no stream came")?.compat();
    let started = Instant::now();
    let (written, read) = tokio::join!(tokio::spawn(write(writing, bytes)), tokio::spawn(read(reading, bytes)));
    written??;
    read??;
    let took = started.elapsed();
    client.shutdown().await;
    server.shutdown().await;
    Ok(took)
}

async fn write(mut to: impl AsyncWrite + Unpin, bytes: u64) -> Result<(), Failed> {
    let chunk = vec![0x5a; WRITE_BYTES];
    for _ in 0..bytes / WRITE_BYTES as u64 {
        to.write_all(&chunk).await?;
    }
    to.close().await?;
    Ok(())
}

async fn read(mut from: impl AsyncRead + Unpin, bytes: u64) -> Result<(), Failed> {
    let mut buffer = vec![0; READ_BYTES];
    let mut got = 0;
    while got < bytes {
        match from.read(&mut buffer).await? {
            0 => return Err(format!("it ended after {got} bytes").into()),
            n => got += n as u64,
        }
    }
    Ok(())
}

async fn plain_tls(bytes: u64) -> Result<Duration, Failed> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    let provider = Arc::new(provider);
    let (certificate, key) = libp2p_tls::certificate::generate(&libp2p::identity::Keypair::generate_ed25519())?;
    let key = provider.key_provider.load_private_key(key)?;
    let certified = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certified));
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody { schemes }))
        .with_no_client_auth();

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (dialled, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (dialled, accepted) = (dialled?, accepted?.0);
    dialled.set_nodelay(true)?;
    accepted.set_nodelay(true)?;
    let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into());
    let (reading, writing) = tokio::join!(
        futures_rustls::TlsConnector::from(Arc::new(client)).connect(name, dialled.compat()),
        futures_rustls::TlsAcceptor::from(Arc::new(server)).accept(accepted.compat()),
    );
    let (reading, writing) = (reading?, writing?);
    let started = Instant::now();
    let (written, read) = tokio::join!(tokio::spawn(write(writing, bytes)), tokio::spawn(read(reading, bytes)));
    written??;
    read??;
    Ok(started.elapsed())
}

/// Trusts whoever answers: the floor measures bytes, not trust.
#[derive(Debug)]
struct Anybody {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
