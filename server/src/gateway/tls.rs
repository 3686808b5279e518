//! TLS 1.3 for agents: whose certificate is accepted, and what it says.

use std::cell::Cell;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use nexplane_core::id::HostId;
use nexplane_core::time::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
};
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::{Authority, AuthorityError};

/// How long after its end a certificate still opens its own renewal, and nothing else: a machine that
/// was switched off over a weekend need not be enrolled again. The deny list counts all the same.
pub const RENEWAL_GRACE: Duration = Duration::from_hours(7 * 24);

tokio::task_local! {
    /// Whose certificate a handshake shows, once it is known to be one that we issued, ended or not. For
    /// whoever accepts the connection: of a handshake that fails, nothing else is left.
    pub static SHOWN: Cell<Option<HostId>>;
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("TLS could not be set up")]
    Rustls(#[from] rustls::Error),
    #[error("the authority of agents is not usable")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    #[error("the authority of agents is not PEM")]
    Pem,
}

/// The agent at the other end of a connection, as its certificate says.
#[derive(Clone, Debug)]
pub struct Peer {
    pub host: HostId,
    /// SHA-256 of the DER SubjectPublicKeyInfo, hexadecimal.
    pub key_hash: String,
    /// Uncompressed P-256 point.
    pub public_key: Vec<u8>,
    pub not_after: Timestamp,
}

impl Peer {
    /// Reads a certificate that the handshake has accepted; `None` when it does not name exactly one
    /// host of this installation.
    pub fn from_certificate(der: &[u8], authority: &Authority) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        let [GeneralName::URI(name)] = names.value.general_names.as_slice() else { return None };
        let key = certificate.public_key();
        let end_s = certificate.validity().not_after.timestamp();
        Some(Self {
            host: authority.host_of(name)?,
            key_hash: hex::encode(Sha256::digest(key.raw)),
            public_key: key.subject_public_key.data.to_vec(),
            not_after: Timestamp::from_micros(end_s.saturating_mul(1_000_000)),
        })
    }
}

/// The gateway's own certificate, which can be replaced while it is in use.
#[derive(Debug)]
pub struct OwnCertificate {
    current: RwLock<Arc<CertifiedKey>>,
    names: Vec<String>,
}

impl OwnCertificate {
    pub fn new(
        authority: &Authority,
        names: Vec<String>,
        now: Timestamp,
    ) -> Result<Self, TlsError> {
        let current = RwLock::new(Arc::new(certify(authority, &names, now)?));
        Ok(Self { current, names })
    }

    /// Replaces it for all further handshakes.
    pub fn renew(&self, authority: &Authority, now: Timestamp) -> Result<(), TlsError> {
        let fresh = Arc::new(certify(authority, &self.names, now)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn certify(
    authority: &Authority,
    names: &[String],
    now: Timestamp,
) -> Result<CertifiedKey, TlsError> {
    let (certificate, key) = authority.certify_gateway(names, now)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = rustls::crypto::ring::sign::any_supported_type(&key)?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

/// TLS 1.3 with a client certificate if the client has one. No resumption: every connection shows its
/// certificate anew.
pub fn config(
    authority: &Arc<Authority>,
    own: Arc<OwnCertificate>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    let pem = authority.agent_ca_pem.as_bytes();
    for certificate in rustls::pki_types::pem::PemObject::pem_slice_iter(pem) {
        let certificate: CertificateDer<'_> = certificate.map_err(|_| TlsError::Pem)?;
        roots.add(certificate)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(TlsError::Verifier)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(AgentVerifier {
            inner: verifier,
            authority: Arc::clone(authority),
        }))
        .with_cert_resolver(own);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// The standard check against the agents' authority, which also lets in a certificate that ended no
/// longer than [`RENEWAL_GRACE`] ago. Every route but the renewal refuses such a one.
#[derive(Debug)]
struct AgentVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    authority: Arc<Authority>,
}

impl AgentVerifier {
    fn show(&self, certificate: &CertificateDer<'_>) {
        let host = Peer::from_certificate(certificate, &self.authority).map(|peer| peer.host);
        // Outside of a connection there is nobody to tell.
        let _ = SHOWN.try_with(|shown| shown.set(host));
    }
}

impl ClientCertVerifier for AgentVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now);
        if verified.is_ok() {
            self.show(end_entity);
        }
        let Err(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) = &verified
        else {
            return verified;
        };
        let Ok((_, certificate)) = X509Certificate::from_der(end_entity) else { return verified };
        let Ok(end_s) = u64::try_from(certificate.validity().not_after.timestamp()) else {
            return verified;
        };
        let end = UnixTime::since_unix_epoch(Duration::from_secs(end_s));
        let at_its_end = self.inner.verify_client_cert(end_entity, intermediates, end);
        if at_its_end.is_ok() {
            self.show(end_entity);
        }
        if now.as_secs() > end_s.saturating_add(RENEWAL_GRACE.as_secs()) {
            return verified;
        }
        at_its_end
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
