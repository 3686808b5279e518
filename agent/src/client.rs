//! The way to the control plane: HTTPS with TLS 1.3, one pinned authority, own certificate.
//!
//! Deliberately absent: the machine's certificate store (only the pinned authority counts),
//! redirects, and any listening socket.

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use nexplane_core::id::JobId;
use nexplane_core::job::{
    EnrollRequest, EnrollResponse, JobEvent, PollRequest, PollResponse, ReleaseOffer, RenewRequest,
    RenewResponse, TimeResponse,
};
use nexplane_core::time::Timestamp;
use reqwest::{StatusCode, header::RETRY_AFTER};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::release::{PROGRAM, VERSION, Version};

/// Largest answer that is read: 32 MiB.
const ANSWER_LIMIT: usize = 32 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time that a program may take: an order is valid as long.
const DOWNLOAD: Duration = Duration::from_mins(10);

/// Why a call had no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("'{0}' is not the address of a control plane: expected https://HOST:PORT")]
    Address(String),
    #[error("the {0} is not usable PEM")]
    Pem(&'static str),
    #[error("TLS could not be set up")]
    Tls(#[source] rustls::Error),
    #[error("the HTTP client could not be set up")]
    Setup(#[source] reqwest::Error),
    #[error("the control plane could not be reached")]
    Unreachable(#[source] reqwest::Error),
    /// What is shown is not valid at this host's time. Whose it is was not looked at then.
    #[error("{0}")]
    OutOfTime(OutOfTime),
    #[error("the control plane said no ({status}): {detail}")]
    Refused { status: u16, code: String, detail: String, retry_after_s: Option<u64> },
    #[error("the control plane sends more than the {limit} bytes that were promised")]
    TooLong { limit: u64 },
    #[error("what the control plane sends could not be written")]
    Write(#[source] std::io::Error),
    #[error("the control plane's answer is not understood")]
    Malformed,
}

impl ClientError {
    /// The stable code of a refusal, such as `host.revoked`.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::Address(_)
            | Self::Pem(_)
            | Self::Tls(_)
            | Self::Setup(_)
            | Self::Unreachable(_)
            | Self::OutOfTime(_)
            | Self::TooLong { .. }
            | Self::Write(_)
            | Self::Malformed => None,
        }
    }

    /// The reason, when a certificate's time is it, and otherwise that nobody was reached.
    fn unreachable(error: reqwest::Error) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(error) = cause {
            if let Some(rustls::Error::InvalidCertificate(error)) = error.downcast_ref()
                && let Some(out_of_time) = OutOfTime::of(error)
            {
                return Self::OutOfTime(out_of_time);
            }
            // What is within an I/O error is not its source.
            cause = match error.downcast_ref::<io::Error>() {
                Some(error) => error.get_ref().map(|within| within as _),
                None => error.source(),
            };
        }
        Self::Unreachable(error)
    }
}

/// How a certificate's time and this host's clock do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfTime {
    #[error(
        "the control plane's certificate is valid from {from}, and it is {here} on this host: is this host's clock right?"
    )]
    NotYet { from: Timestamp, here: Timestamp },
    #[error(
        "the control plane's certificate was valid until {until}, and it is {here} on this host: is this host's clock \
         right?"
    )]
    Ended { until: Timestamp, here: Timestamp },
}

impl OutOfTime {
    fn of(error: &CertificateError) -> Option<Self> {
        if let CertificateError::NotValidYetContext { time, not_before } = error {
            return Some(Self::NotYet { from: moment(*not_before)?, here: moment(*time)? });
        }
        if let CertificateError::ExpiredContext { time, not_after } = error {
            return Some(Self::Ended { until: moment(*not_after)?, here: moment(*time)? });
        }
        None
    }
}

fn moment(time: UnixTime) -> Option<Timestamp> {
    let seconds = i64::try_from(time.as_secs()).ok()?;
    jiff::Timestamp::from_second(seconds).ok().map(Timestamp::new)
}

/// A connection to the agent gateway.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

/// The part of a problem document that an agent reads.
#[derive(serde::Deserialize)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: Option<String>,
}

impl Client {
    /// Without a certificate of its own: for enrolment.
    pub fn anonymous(control_plane: &str, ca_pem: &str) -> Result<Self, ClientError> {
        Self::connect(control_plane, ca_pem, None)
    }

    /// With the agent's certificate.
    pub fn new(
        control_plane: &str,
        ca_pem: &str,
        certificate_pem: &str,
        key_pem: &str,
    ) -> Result<Self, ClientError> {
        Self::connect(control_plane, ca_pem, Some((certificate_pem, key_pem)))
    }

    fn connect(
        control_plane: &str,
        ca_pem: &str,
        own: Option<(&str, &str)>,
    ) -> Result<Self, ClientError> {
        let base = control_plane.trim_end_matches('/').to_owned();
        let host = base.strip_prefix("https://").unwrap_or_default();
        if host.is_empty() || host.contains(['/', '?', '#', '@']) {
            return Err(ClientError::Address(control_plane.to_owned()));
        }
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(ca_pem, own)?)
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http2_keep_alive_timeout(Duration::from_secs(10))
            .http2_keep_alive_while_idle(true)
            .user_agent(format!("{PROGRAM}/{VERSION}"))
            .build()
            .map_err(ClientError::Setup)?;
        Ok(Self { http, base })
    }

    pub async fn enroll(&self, request: &EnrollRequest) -> Result<EnrollResponse, ClientError> {
        self.post("/agent/v1/enroll", request, TIMEOUT).await
    }

    pub async fn renew(&self, request: &RenewRequest) -> Result<RenewResponse, ClientError> {
        self.post("/agent/v1/renew", request, TIMEOUT).await
    }

    /// Waits for orders; answers after `wait_s` at the latest.
    pub async fn poll(&self, request: &PollRequest) -> Result<PollResponse, ClientError> {
        let patience = Duration::from_secs(u64::from(request.wait_s) + 15);
        self.post("/agent/v1/poll", request, patience).await
    }

    pub async fn report(&self, job: JobId, event: &JobEvent) -> Result<(), ClientError> {
        let request = self.http.post(format!("{}/agent/v1/jobs/{job}/events", self.base));
        self.send(request.json(event), TIMEOUT).await.map(drop)
    }

    pub async fn time(&self) -> Result<TimeResponse, ClientError> {
        let request = self.http.get(format!("{}/agent/v1/time", self.base));
        parse(&self.send(request, TIMEOUT).await?)
    }

    /// What is offered of a version for a target.
    pub async fn release(
        &self,
        version: &Version,
        target: &str,
    ) -> Result<ReleaseOffer, ClientError> {
        let request = self.http.get(format!("{}/agent/v1/releases/{version}/{target}", self.base));
        parse(&self.send(request, TIMEOUT).await?)
    }

    /// Writes the program of a version for a target, of at most `limit` bytes.
    pub async fn program(
        &self,
        version: &Version,
        target: &str,
        limit: u64,
        to: &mut impl Write,
    ) -> Result<(), ClientError> {
        let path = format!("{}/agent/v1/releases/{version}/{target}/program", self.base);
        let request = self.http.get(path).timeout(DOWNLOAD);
        let mut answer = request.send().await.map_err(ClientError::Unreachable)?;
        let status = answer.status();
        let retry_after_s = retry_after(&answer);
        if !status.is_success() {
            let body = body(answer).await?;
            return Err(refused(status, retry_after_s, &body));
        }
        let mut written = 0;
        while let Some(part) = answer.chunk().await.map_err(ClientError::Unreachable)? {
            written += part.len() as u64;
            if written > limit {
                return Err(ClientError::TooLong { limit });
            }
            to.write_all(&part).map_err(ClientError::Write)?;
        }
        Ok(())
    }

    async fn post<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &Q,
        patience: Duration,
    ) -> Result<A, ClientError> {
        let request = self.http.post(format!("{}{path}", self.base)).json(body);
        parse(&self.send(request, patience).await?)
    }

    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        patience: Duration,
    ) -> Result<Vec<u8>, ClientError> {
        let answer = request.timeout(patience).send().await.map_err(ClientError::unreachable)?;
        let (status, retry_after_s) = (answer.status(), retry_after(&answer));
        let body = body(answer).await?;
        if status.is_success() {
            return Ok(body);
        }
        Err(refused(status, retry_after_s, &body))
    }
}

fn retry_after(answer: &reqwest::Response) -> Option<u64> {
    answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok())
}

async fn body(mut answer: reqwest::Response) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(ClientError::Unreachable)? {
        if body.len() + part.len() > ANSWER_LIMIT {
            return Err(ClientError::Malformed);
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

fn refused(status: StatusCode, retry_after_s: Option<u64>, body: &[u8]) -> ClientError {
    let (code, detail) = match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => (problem.code, problem.detail.unwrap_or(problem.title)),
        Err(_) => (String::new(), "no reason given".to_owned()),
    };
    // It ends up in receipts.
    let [code, detail] = [code, detail].map(|text| text.chars().take(300).collect());
    ClientError::Refused { status: status.as_u16(), code, detail, retry_after_s }
}

fn parse<A: DeserializeOwned>(body: &[u8]) -> Result<A, ClientError> {
    serde_json::from_slice(body).map_err(|_| ClientError::Malformed)
}

fn tls(ca_pem: &str, own: Option<(&str, &str)>) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|_| ClientError::Pem("authority's certificate"))?;
        roots.add(certificate).map_err(ClientError::Tls)?;
    }
    if roots.is_empty() {
        return Err(ClientError::Pem("authority's certificate"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(ClientError::Tls)?
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate_pem, key_pem)) => {
            let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate_pem.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|_| ClientError::Pem("agent's certificate"))?;
            let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
                .map_err(|_| ClientError::Pem("agent's key"))?;
            builder.with_client_auth_cert(chain, key).map_err(ClientError::Tls)?
        }
    };
    // The gateway hands out no tickets, so there is nothing to make room for.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_addresses_are_control_planes() {
        for bad in ["", "http://x", "x:8443", "https://", "https://x/path", "https://u@x"] {
            let client = Client::anonymous(bad, "");
            assert!(matches!(client, Err(ClientError::Address(_))), "{bad}");
        }
        let client = Client::anonymous("https://x:8443/", "");
        assert!(matches!(client, Err(ClientError::Pem(_))));
    }
}
