//! A node's identity in TLS: how tls and quic prove who is at the other end.
//!
//! TLS 1.3 (RFC 8446) only, both sides with exactly one certificate, whose key is the node's key. There is nobody to
//! vouch for anybody: what counts is that the remote holds the secret key of its peer id, and TLS proves that
//! in `CertificateVerify`. So of X.509 only one fixed form is used and accepted: see [`InvalidCertificate`].

mod certificate;
#[cfg(feature = "testing")]
mod entropy;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod verifier;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use p2p_core::PeerId;
use p2p_net::{AcceptTls, ResetSecret, TlsConfigs};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ServerConfig, SignatureAlgorithm, SignatureScheme};

use crate::handshake::{HandshakeParams, certified_hello};
use crate::{Domain, KeyPair, Result};

pub use certificate::{InvalidCertificate, MAX_CERTIFIED_HELLO};

/// The version of everything that goes over a connection. Nodes of different wire versions do not talk.
pub const WIRE_VERSION: u8 = 2;

/// The wire version as TLS names it (RFC 7301).
pub const ALPN: &[u8] = b"p2p/2";

/// What nodes of different wire versions agree on in TLS, so that they can say so: the name of any version, and that of
/// the first one, which had no such name.
const ANY_ALPN: [&[u8]; 2] = [b"p2p", b"p2p/1"];

/// What the secret of stateless resets is derived for.
const RESETS: Domain = Domain::new("p2p/1 quic stateless reset");

/// The rustls configurations of a node, made once and used for each connection in either direction.
///
/// - TLS 1.3 only; X25519; Ed25519; AES-128-GCM or ChaCha20-Poly1305, in the order in which this machine is faster.
/// - Both sides present one certificate with their node's key. No name, clock or authority is consulted.
/// - No SNI: the remote's name is its key, and the network need not learn more. No resumption and no 0-RTT: each
///   connection proves the identity anew, and nothing can be replayed.
///
/// ```
/// use p2p_identity::{KeyPair, KeyPairType, TlsIdentity};
///
/// let tls = TlsIdentity::new(&KeyPair::generate(&KeyPairType::Ed25519))?;
/// assert!(!tls.client_config().enable_sni);
/// # Ok::<(), p2p_identity::Error>(())
/// ```
#[derive(Clone)]
pub struct TlsIdentity {
    key_pair: KeyPair,
    bare: Arc<CertifiedKey>,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    reset_secret: ResetSecret,
}

impl TlsIdentity {
    /// Makes the certificate and the configurations of a node.
    ///
    /// # Errors
    /// When rustls refuses the configuration, which would be a defect of this build.
    pub fn new(key_pair: &KeyPair) -> Result<Self> {
        let provider = Arc::new(crypto_provider());
        let clock: Arc<dyn TimeProvider> = Arc::new(NoClock);
        let verifier = Arc::new(verifier::NodeVerifier);
        let bare = certified(key_pair, None);
        let alpn: Vec<_> = std::iter::once(ALPN).chain(ANY_ALPN).map(<[u8]>::to_vec).collect();

        let mut client = ClientConfig::builder_with_details(provider.clone(), clock.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(refused)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from((*bare).clone())));
        client.alpn_protocols.clone_from(&alpn);
        client.enable_sni = false;
        client.enable_early_data = false;
        client.resumption = Resumption::disabled();

        let mut server = ServerConfig::builder_with_details(provider, clock)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(refused)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Listening { bare: bare.clone(), own: None }));
        server.alpn_protocols = alpn;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;

        let reset_secret = ResetSecret::new(key_pair.derive_secret(RESETS));
        let (client, server) = (Arc::new(client), Arc::new(server));
        Ok(Self { key_pair: key_pair.clone(), bare, client, server, reset_secret })
    }

    /// Whose identity it is.
    pub fn peer_id(&self) -> PeerId {
        self.key_pair.peer_id()
    }

    /// How a listener accepts connections that says `params` in its certificate: a dialer then knows them as soon as
    /// TLS has proven who the listener is. They are the context of each connection accepted so, for
    /// [`Handshake::presented`](crate::Handshake::presented). When they are longer than [`MAX_CERTIFIED_HELLO`], the
    /// certificate is as without them, and there is no context.
    ///
    /// # Errors
    /// [`Error::Encode`](crate::Error::Encode).
    pub fn accepting(&self, params: Arc<HandshakeParams>) -> Result<AcceptTls> {
        let hello = certified_hello(&params)?;
        if hello.len() > MAX_CERTIFIED_HELLO {
            tracing::debug!(
                len = hello.len(),
                "the hello is too long for a certificate: connections to here take longer"
            );
            return Ok(AcceptTls { config: self.server.clone(), context: None });
        }
        let mut config = (*self.server).clone();
        let own = Own { key_pair: self.key_pair.clone(), hello, made: OnceLock::new() };
        config.cert_resolver = Arc::new(Listening { bare: self.bare.clone(), own: Some(own) });
        Ok(AcceptTls { config: Arc::new(config), context: Some(params) })
    }

    /// Both, as connections take them, with the secret by which a restarted node is recognized: it derives from the node's
    /// key.
    pub fn configs(&self) -> TlsConfigs {
        TlsConfigs {
            client: self.client.clone(),
            server: self.server.clone(),
            reset_secret: Some(self.reset_secret.clone()),
        }
    }

    /// For dialing. Any server name will do: none is sent or checked.
    pub fn client_config(&self) -> &Arc<ClientConfig> {
        &self.client
    }

    /// For listening.
    pub fn server_config(&self) -> &Arc<ServerConfig> {
        &self.server
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("peer_id", &self.peer_id()).finish_non_exhaustive()
    }
}

/// Who is at the other end of a tls or quic connection, by the certificates it presented, after the transport's
/// handshake has proven that it holds their key.
///
/// # Errors
/// [`Error::Certificate`](crate::Error::Certificate) when it is not exactly one certificate in the form of a node's.
/// With configurations of a [`TlsIdentity`] such a connection does not come about.
pub fn peer_id_from_certificates(certificates: &[CertificateDer<'_>]) -> Result<PeerId> {
    Ok(read(certificates)?.0)
}

/// The hello in the certificate that a listener presented, if there is one.
pub(crate) fn hello_from_certificates(certificates: &[CertificateDer<'_>]) -> Result<Option<Bytes>> {
    Ok(read(certificates)?.1.map(Bytes::copy_from_slice))
}

fn read<'a>(certificates: &'a [CertificateDer<'_>]) -> Result<(PeerId, Option<&'a [u8]>), InvalidCertificate> {
    match certificates {
        [certificate] => certificate::read(certificate),
        _ => Err(InvalidCertificate::Count(certificates.len())),
    }
}

fn certified(key_pair: &KeyPair, hello: Option<&[u8]>) -> Arc<CertifiedKey> {
    let certificate = CertificateDer::from(certificate::make(key_pair, hello));
    Arc::new(CertifiedKey::new(vec![certificate], Arc::new(TlsKey(key_pair.clone()))))
}

/// Which certificate a listener presents. Who does not speak this wire version gets the one that is the same in all.
#[derive(Debug)]
struct Listening {
    bare: Arc<CertifiedKey>,
    own: Option<Own>,
}

/// The certificate that carries a hello. It is signed when the first dialer needs it: a hello changes several times while
/// a node starts, and a node that listens on tcp alone never presents it.
#[derive(Debug)]
struct Own {
    key_pair: KeyPair,
    hello: Bytes,
    made: OnceLock<Arc<CertifiedKey>>,
}

impl Own {
    fn get(&self) -> &Arc<CertifiedKey> {
        self.made.get_or_init(|| certified(&self.key_pair, Some(&self.hello)))
    }
}

impl ResolvesServerCert for Listening {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Who offers no name at all is refused before anything is signed for it.
        let speaks = hello.alpn()?.any(|name| name == ALPN);
        let own = self.own.as_ref().filter(|_| speaks);
        Some(own.map_or(&self.bare, Own::get).clone())
    }
}

fn refused(error: rustls::Error) -> crate::Error {
    crate::Error::io("configuring TLS", std::io::Error::other(error))
}

fn crypto_provider() -> CryptoProvider {
    let aes = provider::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let chacha = provider::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
    CryptoProvider {
        cipher_suites: if has_aes() { vec![aes, chacha] } else { vec![chacha, aes] },
        #[cfg(not(feature = "testing"))]
        kx_groups: vec![provider::kx_group::X25519],
        #[cfg(feature = "testing")]
        kx_groups: vec![&entropy::X25519],
        #[cfg(feature = "testing")]
        secure_random: &entropy::Ambient,
        ..provider::default_provider()
    }
}

/// Whether AES-GCM runs in hardware here: in software it is slower than ChaCha20, and hard to do in constant time.
fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

/// Nothing here depends on the time of day, so a wrong clock does no harm.
#[derive(Debug)]
struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::ZERO))
    }
}

/// The node's key as rustls uses it. What TLS signs begins with 64 spaces and a text of its own (RFC 8446 §4.4.3), so
/// it needs no domain of ours.
#[derive(Debug)]
struct TlsKey(KeyPair);

impl SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(TlsKey(self.0.clone())) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(self.0.sign_raw(message).to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// A certificate that says anything.
#[cfg(test)]
pub(crate) fn certificate_with_hello(key_pair: &KeyPair, hello: &[u8]) -> Vec<u8> {
    certificate::make(key_pair, Some(hello))
}

#[cfg(test)]
mod tests;
