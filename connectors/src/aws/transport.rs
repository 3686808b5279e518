//! HTTP over checked connections: for AWS's own clients, and for ours of EC2.
//!
//! Every request has a connection of its own, so that an error says whether the request was sent: what
//! failed before it had no effect. Deliberately absent: keep-alive, redirects, proxies, compression.

use std::sync::Arc;

use aws_sdk_iam::config::http::{HttpRequest, HttpResponse};
use aws_sdk_iam::config::{HttpClient, RuntimeComponents};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError as SdkConnectorError;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::sdk::tls::{self, Verify};
use crate::sdk::{ConnectorError, Egress, OpenContext};

/// Bytes of one answer, at most. A page of a list of AWS is below 1 MB.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nothing was sent.
    #[error("{}", .0.message)]
    NotSent(Box<ConnectorError>),
    /// The line broke after the request was begun: it may have arrived.
    #[error("the connection broke before the answer was there")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What came back is not HTTP, or endless: the request may have arrived.
    #[error("the answer is not one of AWS")]
    Garbage(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn not_sent(error: ConnectorError) -> SendError {
    SendError::NotSent(Box::new(error))
}

impl From<hyper::Error> for SendError {
    fn from(error: hyper::Error) -> Self {
        if error.is_parse() { Self::Garbage(error.into()) } else { Self::Broken(error.into()) }
    }
}

/// The way out.
#[derive(Clone, Debug)]
pub struct Transport {
    egress: Arc<Egress>,
    tls: Arc<ClientConfig>,
}

impl Transport {
    /// Errors: `Invalid`, for certificates that cannot be read.
    pub fn new(ca_certificate: Option<&str>, cx: &OpenContext) -> Result<Self, ConnectorError> {
        let tls = Arc::new(tls::client_config(Verify::Full, ca_certificate)?);
        Ok(Self { egress: Arc::clone(&cx.egress), tls })
    }

    /// Sends a request to the host of its URI, and reads the whole answer.
    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, SendError> {
        let invalid = |what: &str| not_sent(ConnectorError::invalid(what));
        let uri = request.uri().clone();
        let authority = uri.authority().ok_or_else(|| invalid("the endpoint has no host"))?;
        let secure = uri.scheme_str() == Some("https");
        let host = authority.host();
        let usual = if secure { 443 } else { 80 };
        let port = authority.port_u16().unwrap_or(usual);
        let name = HeaderValue::from_str(host_header(authority, usual))
            .map_err(|_| invalid("the endpoint's host cannot be sent"))?;
        request.headers_mut().insert(HOST, name);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse::<Uri>().map_err(|_| invalid("the path cannot be sent"))?;
        let stream = self.egress.connect(host, port).await.map_err(not_sent)?;
        if !secure {
            return exchange(stream, request).await;
        }
        let stream = tls::handshake(stream, host, (*self.tls).clone()).await;
        exchange(stream.map_err(not_sent)?, request).await
    }
}

/// What the header `Host` says: no port that is the usual one, because the signers leave it out of what they sign, too.
/// Both mean the same (RFC 3986 §6.2.3).
fn host_header(authority: &Authority, usual: u16) -> &str {
    if authority.port_u16() == Some(usual) { authority.host() } else { authority.as_str() }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, SendError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let work = async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => SendError::from(*error),
            Err(error) => SendError::Garbage(error),
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    tokio::pin!(work);
    tokio::select! {
        biased;
        answer = &mut work => answer,
        // The connection is over, and what it brought is still to be read.
        _ = connection => work.await,
    }
}

impl HttpConnector for Transport {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let transport = self.clone();
        HttpConnectorFuture::new(async move {
            let (head, body) = request
                .try_into_http1x()
                .map_err(|e| SdkConnectorError::user(e.into()))?
                .into_parts();
            let body = body.bytes().map(Bytes::copy_from_slice);
            let body = body.ok_or_else(|| SdkConnectorError::user("a body in parts".into()))?;
            let request = Request::from_parts(head, Full::new(body));
            let answer = transport.send(request).await;
            let answer = answer.map_err(|error| SdkConnectorError::io(error.into()))?;
            HttpResponse::try_from(answer.map(SdkBody::from))
                .map_err(|error| SdkConnectorError::other(error.into(), None))
        })
    }
}

impl HttpClient for Transport {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_sent_as_it_is_signed() {
        let of =
            |authority: &str, usual| host_header(&authority.parse().unwrap(), usual).to_owned();
        assert_eq!(of("aws.example:443", 443), "aws.example");
        assert_eq!(of("aws.example", 443), "aws.example");
        assert_eq!(of("127.0.0.1:80", 80), "127.0.0.1");
        assert_eq!(of("[::1]:443", 443), "[::1]");
        assert_eq!(of("127.0.0.1:443", 80), "127.0.0.1:443");
        assert_eq!(of("aws.example:8443", 443), "aws.example:8443");
    }
}
