//! TLS towards a target: rustls with ring, and three degrees of checking who answers.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::{Advice, ConnectorError, ErrorKind, find_cause};

/// What is asked of a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Nothing, but the server must hold its key. Only where the target's own clients have such a mode.
    Nothing,
    /// That it comes from a trusted CA, for whatever name.
    Chain,
    /// That it comes from a trusted CA for exactly this host.
    Full,
}

/// How connectors speak TLS 1.2 and 1.3. `ca_certificate` has the certificates (PEM) to trust instead of the
/// system's; a server that shows one of them itself is trusted, too. Errors: `Invalid`, for certificates
/// that cannot be read.
pub fn client_config(
    verify: Verify,
    ca_certificate: Option<&str>,
) -> Result<ClientConfig, ConnectorError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match verify {
        Verify::Nothing => Arc::new(Anyone { provider: Arc::clone(&provider) }),
        Verify::Chain => Arc::new(Trusted::new(ca_certificate, &provider, false)?),
        Verify::Full => Arc::new(Trusted::new(ca_certificate, &provider, true)?),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectorError::invalid("TLS cannot be set up").because(error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(config)
}

/// A handshake with who answers on `stream`, as `host`. Errors: `Unauthorised` for a certificate that does
/// not prove who it is, `Unexpected` for what is not TLS, `Unreachable` when the line breaks.
pub async fn handshake(
    stream: TcpStream,
    host: &str,
    config: ClientConfig,
) -> Result<TlsStream<TcpStream>, ConnectorError> {
    let name = server_name(host)?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map_err(|error| {
        let answer = handshake_error(&error).unwrap_or_else(|| {
            let message = "the server closed the connection while TLS was being set up";
            ConnectorError::new(ErrorKind::Unreachable, Advice::Later, message)
        });
        answer.because(error)
    })
}

/// The name that a server's certificate must have.
pub fn server_name(host: &str) -> Result<ServerName<'static>, ConnectorError> {
    ServerName::try_from(bare(host).to_owned()).map_err(|error| {
        ConnectorError::invalid(format!("no server can be called '{host}'")).because(error)
    })
}

/// A host as certificates and resolvers know it: an IPv6 address without its brackets.
pub fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// The error of a handshake that failed, when TLS is to blame: somewhere in the chain of causes is an error
/// of rustls. A certificate that does not prove who answers is `Unauthorised`, all else `Unexpected`.
pub fn handshake_error(error: &(dyn std::error::Error + 'static)) -> Option<ConnectorError> {
    let (kind, message) = refusal(find_cause::<rustls::Error>(error)?);
    Some(ConnectorError::new(kind, Advice::Never, message))
}

fn refusal(error: &rustls::Error) -> (ErrorKind, &'static str) {
    let rustls::Error::InvalidCertificate(reason) = error else {
        return (ErrorKind::Unexpected, "the TLS handshake with the server failed");
    };
    let is = |reasons: &[CertificateError]| reasons.contains(reason);
    let message = if is(&[CertificateError::UnknownIssuer, CertificateError::BadSignature]) {
        "the server's certificate does not come from a trusted CA: check ca_certificate"
    } else if matches!(
        reason,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    ) {
        "the server's certificate is for another name than this host"
    } else if matches!(reason, CertificateError::Expired | CertificateError::ExpiredContext { .. })
    {
        "the server's certificate has expired"
    } else {
        "the server's certificate is not acceptable"
    };
    (ErrorKind::Unauthorised, message)
}

/// [`Verify::Chain`] and [`Verify::Full`]: the chain counts, and for the latter the name.
#[derive(Debug)]
struct Trusted {
    inner: Arc<WebPkiServerVerifier>,
    /// The given certificates. A server that shows one of them itself is the one that was meant:
    /// self-signed server certificates are common, and clients such as libpq take them so.
    pinned: Vec<CertificateDer<'static>>,
    name_counts: bool,
}

impl Trusted {
    fn new(
        ca_certificate: Option<&str>,
        provider: &Arc<CryptoProvider>,
        name_counts: bool,
    ) -> Result<Self, ConnectorError> {
        let mut roots = RootCertStore::empty();
        let mut pinned = Vec::new();
        if let Some(pem) = ca_certificate {
            let bad = "ca_certificate is not a list of PEM certificates";
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate =
                    certificate.map_err(|e| ConnectorError::invalid(bad).because(e))?;
                let added = roots.add(certificate.clone());
                added.map_err(|e| ConnectorError::invalid(bad).because(e))?;
                pinned.push(certificate);
            }
            if roots.is_empty() {
                return Err(ConnectorError::invalid(bad));
            }
        } else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                let message = "this machine has no trusted CAs: give ca_certificate";
                return Err(ConnectorError::invalid(message));
            }
        }
        let inner =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                .build()
                .map_err(|error| {
                    ConnectorError::invalid("the CAs cannot be used").because(error)
                })?;
        Ok(Self { inner, pinned, name_counts })
    }
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.pinned.iter().any(|pinned| pinned == end_entity) {
            if self.name_counts {
                let parsed = ParsedCertificate::try_from(end_entity)?;
                verify_server_name(&parsed, server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        // The name is compared last, after chain, validity and usage were found good.
        match self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        ) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name_counts => Ok(ServerCertVerified::assertion()),
            answer => answer,
        }
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

/// [`Verify::Nothing`]: any certificate, but the server must hold its key.
#[derive(Debug)]
struct Anyone {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anyone {
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
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
