//! The TLS handshake of TCP connections, as libp2p's TLS specification has it, with cipher suites in the order that
//! suits the machine.
//!
//! `libp2p_tls::Config` offers ChaCha20 first everywhere. Where the CPU has AES instructions, a stream under
//! AES-128-GCM costs little more than half the CPU, so this upgrade offers and, as server, picks it first there
//! (docs/decisions/0003-network.md has the figures). On the wire it is the same protocol, `/tls/1.0.0`: certificates
//! are made and checked by `libp2p_tls`, and either side may be any libp2p program. Only TLS 1.3; both sides show
//! exactly one self-signed certificate that binds the connection to the peer's key.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncWrite, FutureExt};
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use libp2p::PeerId;
use libp2p::core::UpgradeInfo;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p::identity::Keypair;
use libp2p_tls::certificate;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, CipherSuite, ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, OtherError,
    PeerIncompatible, ServerConfig, SignatureScheme,
};

/// The protocol's name in libp2p's negotiation.
const PROTOCOL: &str = "/tls/1.0.0";
/// The protocol's name in TLS's own negotiation.
const ALPN: &[u8] = b"libp2p";

/// The upgrade of a TCP connection to an encrypted one; clones share the same certificate.
#[derive(Clone)]
pub(crate) struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// Makes a certificate that the key vouches for.
    pub(crate) fn new(keypair: &Keypair) -> Result<Self, TlsSetupError> {
        Self::with_provider(keypair, provider(has_aes()))
    }

    pub(super) fn with_provider(keypair: &Keypair, provider: CryptoProvider) -> Result<Self, TlsSetupError> {
        let (certificate, key) = certificate::generate(keypair)?;
        let key = provider.key_provider.load_private_key(key)?;
        let certified = Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key)));
        let verifier = Arc::new(Verifier { provider: Arc::new(provider.clone()) });
        let provider = Arc::new(provider);

        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_client_cert_resolver(Arc::clone(&certified) as _);
        client.alpn_protocols = vec![ALPN.to_vec()];
        // The specification forbids to name a server, and each connection proves itself anew.
        client.enable_sni = false;
        client.resumption = rustls::client::Resumption::disabled();

        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(certified);
        server.alpn_protocols = vec![ALPN.to_vec()];
        // Each end knows its own CPU only; the server's word decides.
        server.ignore_client_order = true;
        server.send_tls13_tickets = 0;
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }
}

#[cfg(test)]
impl Tls {
    /// A verifier of servers for clients that are no libp2p peers.
    pub(super) fn any_verifier(&self) -> Arc<dyn ServerCertVerifier> {
        Arc::new(Verifier { provider: Arc::clone(self.client.crypto_provider()) })
    }
}

/// The cryptography that connections use. AES-128 before AES-256, which does more rounds for a margin that nothing here
/// needs; ChaCha20 first only where AES would run in software.
pub(super) fn provider(aes_in_hardware: bool) -> CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    provider.cipher_suites.sort_by_key(|suite| match (suite.suite(), aes_in_hardware) {
        (CipherSuite::TLS13_AES_128_GCM_SHA256, true) => 0,
        (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, false) => 1,
        (CipherSuite::TLS13_AES_128_GCM_SHA256, false) => 2,
        (CipherSuite::TLS13_AES_256_GCM_SHA384, _) => 3,
        _ => 4,
    });
    provider
}

/// Whether the CPU has instructions for AES and for the multiplication that GCM needs.
pub(super) fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// Why there is nothing to shake hands with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsSetupError {
    /// No certificate.
    #[error("cannot make a certificate")]
    Certificate(#[from] certificate::GenError),
    /// A configuration that the library does not take.
    #[error("cannot configure TLS")]
    Config(#[from] rustls::Error),
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// The connection or the other side's TLS.
    #[error("TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// The other side's certificate does not bind it to a key.
    #[error("the peer's certificate does not prove its peer id")]
    Certificate(#[from] certificate::ParseError),
    /// The other side did not show exactly one certificate.
    #[error("the peer showed no certificate, or several")]
    CertificateCount,
}

impl UpgradeInfo for Tls {
    type Info = &'static str;
    type InfoIter = std::iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(PROTOCOL)
    }
}

impl<C> InboundConnectionUpgrade<C> for Tls
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = (PeerId, TlsStream<C>);
    type Error = TlsError;
    type Future = BoxFuture<'static, Result<Self::Output, TlsError>>;

    fn upgrade_inbound(self, socket: C, _: &'static str) -> Self::Future {
        async move {
            let stream = TlsAcceptor::from(self.server).accept(socket).await.map_err(TlsError::Handshake)?;
            Ok((peer(stream.get_ref().1)?, TlsStream::Server(stream)))
        }
        .boxed()
    }
}

impl<C> OutboundConnectionUpgrade<C> for Tls
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = (PeerId, TlsStream<C>);
    type Error = TlsError;
    type Future = BoxFuture<'static, Result<Self::Output, TlsError>>;

    fn upgrade_outbound(self, socket: C, _: &'static str) -> Self::Future {
        async move {
            // Never sent: the specification forbids to name a server.
            let nobody = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into());
            let connector = TlsConnector::from(self.client);
            let stream = connector.connect(nobody, socket).await.map_err(TlsError::Handshake)?;
            Ok((peer(stream.get_ref().1)?, TlsStream::Client(stream)))
        }
        .boxed()
    }
}

/// The peer that the other side's certificate proves.
fn peer(state: &CommonState) -> Result<PeerId, TlsError> {
    match state.peer_certificates() {
        Some([certificate]) => Ok(certificate::parse(certificate)?.peer_id()),
        _ => Err(TlsError::CertificateCount),
    }
}

/// Accepts any one certificate that is bound to a libp2p key. Whose key it is, the swarm checks.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn check(end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        if !intermediates.is_empty() {
            return Err(rustls::Error::General("a libp2p peer shows exactly one certificate".to_owned()));
        }
        certificate::parse(end_entity).map(|_| ()).map_err(invalid)
    }

    fn check_signature(
        certificate: &CertificateDer<'_>,
        message: &[u8],
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        certificate::parse(certificate)
            .map_err(invalid)?
            .verify_signature(signed.scheme, message, signed.signature())
            .map_err(|e| CertificateError::Other(OtherError(Arc::new(e))))?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn invalid(error: certificate::ParseError) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

fn only_tls13() -> rustls::Error {
    PeerIncompatible::Tls13RequiredForQuic.into()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Self::check(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::check_signature(certificate, message, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Self::check(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::check_signature(certificate, message, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
