//! HTTP towards a target: JSON over HTTPS, for connectors whose target has a REST interface.
//!
//! [`Http`] is reqwest with everything taken away that a connector must not have: no redirects, no proxy from
//! the environment, no retries, no cookies, no compression, and no address that [`Egress`] did not allow. Two
//! things are decided here and nowhere else: what an HTTP status means, and whether a request that failed may
//! have had an effect. A request says of itself whether it is one ([`Request::effect`]); then a line that
//! breaks after the request was sent leaves the outcome unknown, while a connection that was never made does not.
//!
//! What is deliberately absent: paging (every vendor does it in another way), time limits (the layer around every
//! call has them), and secrets in URLs: they go into headers, which are marked as sensitive, or into bodies.
//! Only HTTP/1.1 is spoken: what a session has to ask is little.

use std::net::IpAddr;
use std::sync::Arc;
use std::{fmt, io};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Url, redirect, retry};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use super::egress::Egress;
use super::erased::OpenContext;
use super::error::{Advice, ConnectorError, ErrorKind, find_cause};
use super::secret::SecretText;
use super::tls::{Verify, bare, client_config, handshake_error};

/// Bytes of an answer, at most. Lists of a hundred thousand names fit; nobody can fill our memory.
const LARGEST_ANSWER: usize = 8 * 1024 * 1024;

/// Where a server is.
#[derive(Clone, Debug)]
pub struct Base<'a> {
    /// Name or address, no path.
    pub host: String,
    pub port: u16,
    /// Without TLS everything crosses the network in clear.
    pub tls: bool,
    /// The certificates (PEM) to trust instead of the system's.
    pub ca_certificate: Option<&'a str>,
}

impl<'a> Base<'a> {
    /// Of a URL such as `https://vault.example:8200`, given in `field`. Errors: `Invalid`, for one that is neither
    /// https nor http, or says more than where the server is.
    pub fn of_url(
        field: &str,
        url: &str,
        ca_certificate: Option<&'a str>,
    ) -> Result<Self, ConnectorError> {
        let bad = || {
            let message = format!(
                "{field} must be https://host or https://host:port, without user, path and query"
            );
            ConnectorError::invalid(message)
        };
        let url = Url::parse(url).map_err(|error| bad().because(error))?;
        let tls = match url.scheme() {
            "https" => true,
            "http" if ca_certificate.is_some() => {
                let message =
                    format!("ca_certificate has no effect with http: let {field} be https");
                return Err(ConnectorError::invalid(message));
            }
            "http" => false,
            _ => return Err(bad()),
        };
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none();
        match (url.host_str(), url.port_or_known_default()) {
            (Some(host), Some(port)) if bare => {
                Ok(Self { host: host.to_owned(), port, tls, ca_certificate })
            }
            _ => Err(bad()),
        }
    }
}

/// A client of one server.
#[derive(Clone)]
pub struct Http {
    client: Client,
    base: Url,
    egress: Arc<Egress>,
    headers: HeaderMap,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Http {
    /// A client that has not connected yet. Errors: `Invalid` for a host or certificates that cannot be.
    pub fn try_new(base: &Base<'_>, cx: &OpenContext) -> Result<Self, ConnectorError> {
        let url = url(base)?;
        // Without TLS no CA is needed, and no request can come to use it: the scheme is the base's.
        let verify = if base.tls { Verify::Full } else { Verify::Nothing };
        let tls = client_config(verify, base.ca_certificate)?;
        let guard = Guard { egress: Arc::clone(&cx.egress), port: base.port };
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(guard)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .no_gzip()
            .https_only(base.tls)
            .http1_only()
            .referer(false)
            .user_agent(concat!("nexplane/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                ConnectorError::invalid("the HTTP client cannot be set up")
                    .because(error.without_url())
            })?;
        let headers =
            HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        Ok(Self { client, base: url, egress: Arc::clone(&cx.egress), headers })
    }

    /// The same client with a header that every request has.
    pub fn with_header(mut self, name: &'static str, value: &str) -> Result<Self, ConnectorError> {
        self.headers.insert(HeaderName::from_static(name), header(name, value)?);
        Ok(self)
    }

    /// The same with a secret as its value, which nothing shows.
    pub fn with_secret_header(
        mut self,
        name: &'static str,
        value: &SecretText,
    ) -> Result<Self, ConnectorError> {
        let mut value = header(name, value.expose())?;
        value.set_sensitive(true);
        self.headers.insert(HeaderName::from_static(name), value);
        Ok(self)
    }

    /// Sends a request and reads the answer, of whatever status. Errors: `Refused` (egress), `Unauthorised` (the
    /// server's certificate), `Unreachable`, `Unexpected` (what answers does not speak HTTP, or says too much).
    pub async fn send(&self, request: Request) -> Result<Reply, ConnectorError> {
        let effect = request.effect;
        let url = self.url(&request)?;
        // The resolver is not asked about an address.
        if let Some(Ok(address)) = url.host_str().map(|host| bare(host).parse::<IpAddr>()) {
            self.egress.resolve(&address.to_string(), self.base.port().unwrap_or_default()).await?;
        }
        let mut prepared = self.client.request(request.method, url).headers(self.headers.clone());
        if let Some(body) = &request.body {
            prepared = prepared.header(CONTENT_TYPE, "application/json").body(body.to_vec());
        }
        let mut response = prepared.send().await.map_err(|error| lost(error, effect))?;
        let status = response.status().as_u16();
        let retry_after_s = seconds_of(response.headers().get(RETRY_AFTER));
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| lost(error, effect))? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                let message = format!("the server's answer has more than {LARGEST_ANSWER} bytes");
                return Err(after(effect, ErrorKind::Unexpected, Advice::Never, message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, retry_after_s, body, effect })
    }

    fn url(&self, request: &Request) -> Result<Url, ConnectorError> {
        let mut url = self.base.clone();
        {
            let cannot = |()| ConnectorError::invalid("the server's address has no path");
            let mut segments = url.path_segments_mut().map_err(cannot)?;
            segments.clear();
            for segment in &request.path {
                // A URL has no way to write these as names; tabs and line breaks are taken out of it.
                if matches!(segment.as_str(), "" | "." | "..") || segment.contains(char::is_control)
                {
                    let message =
                        "a path has an empty part, one that is '.' or '..', or a control character";
                    return Err(ConnectorError::invalid(message));
                }
                segments.push(segment);
            }
        }
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        Ok(url)
    }
}

fn url(base: &Base<'_>) -> Result<Url, ConnectorError> {
    let wrong = || ConnectorError::invalid(format!("no server can be called '{}'", base.host));
    let host = bare(&base.host);
    if host.is_empty() || host.contains(['/', '\\', '@', '?', '#', '\0']) {
        return Err(wrong());
    }
    let scheme = if base.tls { "https" } else { "http" };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let url = Url::parse(&format!("{scheme}://{host}:{}/", base.port)).map_err(|_| wrong())?;
    if url.host_str().is_none() || !url.username().is_empty() { Err(wrong()) } else { Ok(url) }
}

fn header(name: &str, value: &str) -> Result<HeaderValue, ConnectorError> {
    let unfit = |_| ConnectorError::invalid(format!("this cannot be the value of header {name}"));
    HeaderValue::from_str(value).map_err(unfit)
}

/// One request. What it does not say is not sent.
pub struct Request {
    method: Method,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Zeroizing<Vec<u8>>>,
    effect: bool,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.join("/");
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &path)
            .finish_non_exhaustive()
    }
}

impl Request {
    fn new<S: Into<String>>(method: Method, path: impl IntoIterator<Item = S>) -> Self {
        let path = path.into_iter().map(Into::into).collect();
        Self { method, path, query: Vec::new(), body: None, effect: false }
    }

    /// Reads. `path` has the parts between the slashes, as they are: they are escaped here.
    pub fn get<S: Into<String>>(path: impl IntoIterator<Item = S>) -> Self {
        Self::new(Method::GET, path)
    }

    /// Asks with a POST, for servers that want questions so. It is no effect.
    pub fn ask<S: Into<String>>(path: impl IntoIterator<Item = S>) -> Self {
        Self::new(Method::POST, path)
    }

    /// Changes the target.
    pub fn effect<S: Into<String>>(method: Method, path: impl IntoIterator<Item = S>) -> Self {
        Self { effect: true, ..Self::new(method, path) }
    }

    /// With this as its body, as JSON.
    pub fn with_body(mut self, body: &impl Serialize) -> Result<Self, ConnectorError> {
        let text = serde_json::to_vec(body).map_err(|error| {
            ConnectorError::invalid("the request cannot be written as JSON").because(error)
        })?;
        self.body = Some(Zeroizing::new(text));
        Ok(self)
    }

    /// Never a secret: queries are written to logs on the way.
    #[must_use]
    pub fn with_query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }
}

/// What the server answered.
pub struct Reply {
    pub status: u16,
    retry_after_s: Option<u16>,
    body: Zeroizing<Vec<u8>>,
    effect: bool,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Reply {
    pub const fn is_success(&self) -> bool {
        matches!(self.status, 200..300)
    }

    /// The body. Errors: `Unexpected`, when it is not JSON of this form.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ConnectorError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            // The error's own text may quote what is in the body.
            let message = format!(
                "the server's answer (status {}) is not the JSON that it should be, at line {} \
                 column {}",
                self.status,
                error.line(),
                error.column()
            );
            after(self.effect, ErrorKind::Unexpected, Advice::Never, message)
        })
    }

    /// The body if it is JSON, else nothing: for what servers say of errors.
    pub fn said(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// What a status that is no success means. `said` is what the server says of it, for people.
    ///
    /// A status from 400 to 499 is the server's refusal of the request (RFC 9110 §15.5): it had no effect, but
    /// for 408, which a proxy may send while the server is still at work. One from 500 on says that the server
    /// failed, perhaps after the effect (§15.6). A redirect (§15.4) is not followed, and had none.
    pub fn refusal(&self, said: &str) -> ConnectorError {
        let (kind, advice) = match self.status {
            401 => (ErrorKind::Unauthorised, Advice::Never),
            403 => (ErrorKind::Forbidden, Advice::Never),
            404 | 410 => (ErrorKind::NotFound, Advice::Never),
            409 | 412 => (ErrorKind::Conflict, Advice::Never),
            408 => (ErrorKind::Timeout, Advice::Later),
            429 => (ErrorKind::RateLimited, Advice::Later),
            400..500 => (ErrorKind::Invalid, Advice::Never),
            504 => (ErrorKind::Timeout, Advice::Later),
            502 | 503 => (ErrorKind::Unreachable, Advice::Later),
            500..600 => (ErrorKind::Unexpected, Advice::Later),
            _ => (ErrorKind::Unexpected, Advice::Never),
        };
        let message = match (self.status, said) {
            (300..400, _) => format!(
                "the server sends us to another address (status {}): give that one in the \
                 connection",
                self.status
            ),
            (status, "") => format!("the server answered with status {status}"),
            (status, said) => format!("the server said: {said} (status {status})"),
        };
        let unclear = matches!(self.status, 408 | 500..);
        let retry_after_s = self.retry_after_s;
        ConnectorError { retry_after_s, ..after(self.effect && unclear, kind, advice, message) }
    }
}

/// `Retry-After` in seconds. The other form of it, a date, is read as if it were not there.
/// <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>
fn seconds_of(value: Option<&HeaderValue>) -> Option<u16> {
    let seconds: u64 = value?.to_str().ok()?.trim().parse().ok()?;
    Some(u16::try_from(seconds).unwrap_or(u16::MAX))
}

/// An error after the request was sent: of an effect nobody knows the outcome.
fn after(effect: bool, kind: ErrorKind, advice: Advice, message: String) -> ConnectorError {
    ConnectorError::new(kind, if effect { Advice::OutcomeUnknown } else { advice }, message)
}

/// The error of a request that got no answer.
fn lost(error: reqwest::Error, effect: bool) -> ConnectorError {
    let error = error.without_url();
    if let Some(refused) = find_cause::<ConnectorError>(&error) {
        return ConnectorError::new(refused.kind, refused.advice, refused.message.clone());
    }
    if error.is_builder() {
        return ConnectorError::invalid("the request cannot be built").because(error);
    }
    let broken = find_cause::<io::Error>(&error).is_some();
    let answer = if error.is_connect() {
        // Nothing was sent.
        handshake_error(&error).unwrap_or_else(|| {
            let message = "no connection to the server";
            ConnectorError::new(ErrorKind::Unreachable, Advice::Later, message)
        })
    } else if broken {
        let message = "the connection to the server broke".to_owned();
        after(effect, ErrorKind::Unreachable, Advice::Later, message)
    } else {
        let message = "the server's answer broke off, or is not HTTP".to_owned();
        after(effect, ErrorKind::Unexpected, Advice::Later, message)
    };
    answer.because(error)
}

/// Resolves names for the client: only to addresses that may be connected to.
struct Guard {
    egress: Arc<Egress>,
    port: u16,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (egress, port) = (Arc::clone(&self.egress), self.port);
        Box::pin(async move {
            let addresses = egress.resolve(name.as_str(), port).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests;
