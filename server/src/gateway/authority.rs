//! The two certificate authorities and the dispatcher's key.
//!
//! One authority certifies gateways and nothing else; agents pin it. The other certifies agents and
//! nothing else; gateways accept client certificates of no other. What an agent asks to be called in
//! its request is ignored: its certificate has one name, which says which host it is.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nexplane_core::id::HostId;
use nexplane_core::job::{DispatcherKey, Envelope, JOB_CONTEXT, Job};
use nexplane_core::time::Timestamp;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateSigningRequestParams,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use zeroize::Zeroize;

/// How long an agent's certificate is valid: 24 h.
pub const AGENT_CERTIFICATE_S: i64 = 24 * 60 * 60;
/// How long a gateway's certificate is valid: 90 days; a running gateway renews it by itself.
pub const GATEWAY_CERTIFICATE_S: i64 = 90 * 24 * 60 * 60;
const AUTHORITY_S: i64 = 10 * 365 * 24 * 60 * 60;
/// Certificates begin this much earlier, for clocks that are a little behind.
const BACKDATED_S: i64 = 5 * 60;

/// Why keys cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("the gateway's keys are not readable")]
    Malformed(#[source] serde_json::Error),
    #[error("could not {attempt}")]
    Certificate {
        attempt: &'static str,
        #[source]
        source: rcgen::Error,
    },
    #[error("the dispatcher's key is not usable")]
    Dispatcher,
    #[error("the machine has no randomness")]
    Random,
}

/// Why a certificate request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    #[error("it is not a PKCS#10 request in PEM that its own key signed")]
    Malformed,
    #[error("its key must be ECDSA P-256")]
    NotP256,
}

/// Keys of an installation's gateways, as they are sealed and stored: everything here is secret.
#[derive(Serialize, Deserialize)]
pub struct GatewayKeys {
    /// Name of the installation in agents' certificates; random, and stays for good.
    installation: String,
    gateway_authority: StoredAuthority,
    agent_authority: StoredAuthority,
    /// PKCS#8 of the Ed25519 key that signs orders, base64.
    dispatcher: String,
}

#[derive(Serialize, Deserialize)]
struct StoredAuthority {
    certificate_pem: String,
    key_pem: String,
}

impl Drop for GatewayKeys {
    fn drop(&mut self) {
        self.gateway_authority.key_pem.zeroize();
        self.agent_authority.key_pem.zeroize();
        self.dispatcher.zeroize();
    }
}

impl std::fmt::Debug for GatewayKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayKeys")
            .field("installation", &self.installation)
            .finish_non_exhaustive()
    }
}

impl GatewayKeys {
    /// Keys of a new installation, valid from `now`.
    pub fn generate(now: Timestamp) -> Result<Self, AuthorityError> {
        let mut name = [0; 8];
        let random = SystemRandom::new();
        random.fill(&mut name).map_err(|_| AuthorityError::Random)?;
        let installation = format!("nexplane-{}", hex::encode(name));
        let dispatcher =
            Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| AuthorityError::Random)?;
        Ok(Self {
            gateway_authority: StoredAuthority::generate("gateways", &installation, now)?,
            agent_authority: StoredAuthority::generate("agents", &installation, now)?,
            dispatcher: STANDARD.encode(dispatcher.as_ref()),
            installation,
        })
    }

    /// As bytes for the secret table.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("gateway keys are a struct of strings")
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AuthorityError> {
        serde_json::from_slice(bytes).map_err(AuthorityError::Malformed)
    }
}

impl StoredAuthority {
    fn generate(of: &str, installation: &str, now: Timestamp) -> Result<Self, AuthorityError> {
        let fail = |source| AuthorityError::Certificate { attempt: "make an authority", source };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(fail)?;
        let mut params = params(now, AUTHORITY_S)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = common_name(&format!("Nexplane {of} of {installation}"));
        let certificate = params.self_signed(&key).map_err(fail)?;
        Ok(Self { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

/// Makes certificates, and signs orders.
pub struct Authority {
    pub installation: String,
    /// What agents pin.
    pub gateway_ca_pem: String,
    pub agent_ca_pem: String,
    gateways: Issuer<'static, KeyPair>,
    agents: Issuer<'static, KeyPair>,
    dispatcher: Ed25519KeyPair,
    key_id: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("installation", &self.installation)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// A certificate that was made for an agent.
#[derive(Clone, Debug)]
pub struct AgentCertificate {
    pub pem: String,
    pub not_after: Timestamp,
}

/// The key in an agent's certificate request, proven by its signature.
#[derive(Debug)]
pub struct RequestedKey {
    key: rcgen::PublicKey,
    /// SHA-256 of the DER SubjectPublicKeyInfo, hexadecimal.
    pub hash: String,
    /// Uncompressed P-256 point.
    pub point: Vec<u8>,
    /// Whether the request asks for names or powers besides, which nobody gets by asking.
    pub asks_for_more: bool,
}

impl Authority {
    pub fn open(keys: &GatewayKeys) -> Result<Self, AuthorityError> {
        let pkcs8 = zeroize::Zeroizing::new(
            STANDARD.decode(&keys.dispatcher).map_err(|_| AuthorityError::Dispatcher)?,
        );
        let dispatcher =
            Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| AuthorityError::Dispatcher)?;
        let hash = hex::encode(Sha256::digest(dispatcher.public_key()));
        Ok(Self {
            installation: keys.installation.clone(),
            gateway_ca_pem: keys.gateway_authority.certificate_pem.clone(),
            agent_ca_pem: keys.agent_authority.certificate_pem.clone(),
            gateways: keys.gateway_authority.issuer()?,
            agents: keys.agent_authority.issuer()?,
            dispatcher,
            key_id: hash.get(..16).unwrap_or(&hash).to_owned(),
        })
    }

    /// A certificate for a gateway that is reached by these names and addresses.
    pub fn certify_gateway(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<(Certificate, KeyPair), AuthorityError> {
        let fail = |source| AuthorityError::Certificate { attempt: "certify the gateway", source };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(fail)?;
        let mut params = params(now, GATEWAY_CERTIFICATE_S)?;
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.parse::<IpAddr>() {
                Ok(address) => Ok(SanType::IpAddress(address)),
                Err(_) => name.as_str().try_into().map(SanType::DnsName),
            })
            .collect::<Result<_, _>>()
            .map_err(fail)?;
        params.distinguished_name = common_name("Nexplane gateway");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.gateways).map_err(fail)?;
        Ok((certificate, key))
    }

    /// A certificate for an agent: one name, 24 hours.
    pub fn certify_agent(
        &self,
        host: HostId,
        key: &RequestedKey,
        now: Timestamp,
    ) -> Result<AgentCertificate, AuthorityError> {
        let fail = |source| AuthorityError::Certificate { attempt: "certify an agent", source };
        let mut params = params(now, AGENT_CERTIFICATE_S)?;
        let name = self.agent_name(host);
        let name = name.as_str().try_into().map_err(fail)?;
        params.subject_alt_names = vec![SanType::URI(name)];
        params.distinguished_name = common_name("Nexplane agent");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key.key, &self.agents).map_err(fail)?;
        let pem = certificate.pem();
        // X.509 has whole seconds.
        let end_s = now.plus_seconds(AGENT_CERTIFICATE_S).as_micros() / 1_000_000;
        Ok(AgentCertificate { pem, not_after: Timestamp::from_micros(end_s * 1_000_000) })
    }

    /// The one name in an agent's certificate.
    pub fn agent_name(&self, host: HostId) -> String {
        format!("spiffe://{}/agent/{host}", self.installation)
    }

    /// The host that a name in a certificate stands for.
    pub fn host_of(&self, name: &str) -> Option<HostId> {
        let rest = name.strip_prefix("spiffe://")?.strip_prefix(&self.installation)?;
        rest.strip_prefix("/agent/")?.parse().ok()
    }

    /// The keys by which agents tell our orders.
    pub fn dispatchers(&self) -> Vec<DispatcherKey> {
        let public_key = STANDARD.encode(self.dispatcher.public_key());
        vec![DispatcherKey { key_id: self.key_id.clone(), public_key }]
    }

    pub fn sign(&self, job: &Job) -> Envelope {
        let payload = serde_json::to_string(job).expect("jobs are structs of JSON values");
        let signature = self.dispatcher.sign(&[JOB_CONTEXT, payload.as_bytes()].concat());
        let signature = STANDARD.encode(signature);
        Envelope { payload, key_id: self.key_id.clone(), signature }
    }
}

impl StoredAuthority {
    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, AuthorityError> {
        let fail = |source| AuthorityError::Certificate { attempt: "open an authority", source };
        let key = KeyPair::from_pem(&self.key_pem).map_err(fail)?;
        Issuer::from_ca_cert_pem(&self.certificate_pem, key).map_err(fail)
    }
}

impl RequestedKey {
    /// Reads a request, checks that its own key signed it, and takes nothing from it but the key.
    pub fn from_request(csr_pem: &str) -> Result<Self, BadRequest> {
        let request = CertificateSigningRequestParams::from_pem(csr_pem)
            .map_err(|_| BadRequest::Malformed)?;
        let wanted = &request.params;
        let asks_for_more = wanted.distinguished_name.iter().next().is_some()
            || !wanted.subject_alt_names.is_empty()
            || !wanted.key_usages.is_empty()
            || !wanted.extended_key_usages.is_empty()
            || wanted.is_ca != IsCa::NoCa;
        let key = request.public_key;
        if *PublicKeyData::algorithm(&key) != PKCS_ECDSA_P256_SHA256 {
            return Err(BadRequest::NotP256);
        }
        let hash = hex::encode(Sha256::digest(key.subject_public_key_info()));
        let point = key.der_bytes().to_vec();
        Ok(Self { key, hash, point, asks_for_more })
    }
}

fn params(now: Timestamp, seconds: i64) -> Result<CertificateParams, AuthorityError> {
    let mut serial = [0; 16];
    SystemRandom::new().fill(&mut serial).map_err(|_| AuthorityError::Random)?;
    // A serial number is positive (RFC 5280, 4.1.2.2).
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x01;
    }
    let moment = |at: Timestamp| {
        OffsetDateTime::from_unix_timestamp(at.as_micros() / 1_000_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    };
    let mut params = CertificateParams::default();
    params.not_before = moment(now.plus_seconds(-BACKDATED_S));
    params.not_after = moment(now.plus_seconds(seconds));
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}
