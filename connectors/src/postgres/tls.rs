//! TLS towards the server: rustls with ring, and three degrees of checking who answers.

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
use tokio_postgres_rustls::MakeRustlsConnect;

use super::credentials::SslMode;
use crate::sdk::ConnectorError;

/// The connector for a mode; none for [`SslMode::Disable`]. Errors: `Invalid`, for certificates that
/// cannot be read or are of no use with the mode.
pub fn connector(
    mode: SslMode,
    ca_certificate: Option<&str>,
) -> Result<Option<MakeRustlsConnect>, ConnectorError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match (mode, ca_certificate) {
        (SslMode::Disable, None) => return Ok(None),
        (SslMode::Disable, Some(_)) => {
            return Err(ConnectorError::invalid(
                "ca_certificate has no effect with ssl_mode disable: choose verify-full",
            ));
        }
        (SslMode::Require, None) => Arc::new(Anyone { provider: Arc::clone(&provider) }),
        (SslMode::Require | SslMode::VerifyCa, _) => {
            Arc::new(Trusted::new(ca_certificate, &provider, false)?)
        }
        (SslMode::VerifyFull, _) => Arc::new(Trusted::new(ca_certificate, &provider, true)?),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectorError::invalid("TLS cannot be set up").because(error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Some(MakeRustlsConnect::new(config)))
}

/// `verify-ca` and `verify-full`: the chain counts, and for the latter the name.
#[derive(Debug)]
struct Trusted {
    inner: Arc<WebPkiServerVerifier>,
    /// The given certificates. A server that shows one of them itself is the one that was meant:
    /// self-signed server certificates are common with PostgreSQL, and libpq takes them so.
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

/// `require`: any certificate, but the server must hold its key.
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
