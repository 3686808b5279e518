//! The accept loop. By hand, because the handlers need to know whose certificate a connection has.

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use nexplane_core::id::HostId;
use nexplane_core::refusal::Cause;
use rustls::{AlertDescription, CertificateError, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::admission::{Admission, HOLDS_UP, Place, Stranger};
use super::authority::Authority;
use super::refusal::Refusals;
use super::tls::{Peer, SHOWN};

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection without a certificate may stay: long enough to enrol.
const ANONYMOUS_FOR: Duration = Duration::from_mins(1);
/// How long connections may take to end when the gateway stops.
const FAREWELL: Duration = Duration::from_secs(10);

/// Who is at the other end; in every request's extensions.
#[derive(Clone, Debug)]
pub struct Caller {
    pub peer: Option<Peer>,
    pub source: IpAddr,
}

/// What every connection needs.
#[derive(Clone)]
pub struct Listener {
    pub acceptor: TlsAcceptor,
    pub authority: Arc<Authority>,
    pub refusals: Arc<Refusals>,
    pub router: Router,
}

impl Listener {
    pub fn new(
        config: Arc<ServerConfig>,
        authority: Arc<Authority>,
        refusals: Arc<Refusals>,
        router: Router,
    ) -> Self {
        Self { acceptor: TlsAcceptor::from(config), authority, refusals, router }
    }

    /// Accepts until `stop`, then lets connections end.
    pub async fn serve(self, socket: TcpListener, stop: CancellationToken) {
        let admission = Admission::new();
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = async {
                let place = admission.place().await;
                (socket.accept().await, place)
            };
            let Some((accepted, place)) = stop.run_until_cancelled(accepted).await else {
                break;
            };
            match accepted {
                Ok((stream, from)) => {
                    let Some(stranger) = admission.stranger(from.ip()) else {
                        // Not louder: whoever floods the gateway must not flood its log.
                        tracing::debug!(%from, "Refused: too many connections without a certificate");
                        continue;
                    };
                    let watcher = graceful.watcher();
                    let listener = self.clone();
                    tokio::spawn(listener.connection(stream, from.ip(), place, stranger, watcher));
                }
                Err(error) => {
                    // Usually out of file descriptors; a loop without a pause would only burn.
                    tracing::warn!(error = &error as &dyn std::error::Error, "Accepting failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(socket);
        if timeout(FAREWELL, graceful.shutdown()).await.is_err() {
            tracing::warn!("Some agents' connections did not end in time");
        }
    }

    async fn connection(
        self,
        stream: TcpStream,
        source: IpAddr,
        place: Place,
        stranger: Stranger,
        watcher: Watcher,
    ) {
        let Place { connection: _connection, handshake } = place;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was not set");
        }
        let shaken = async {
            let mut accept = std::pin::pin!(self.acceptor.accept(stream));
            if let Ok(done) = timeout(HOLDS_UP, &mut accept).await {
                return done;
            }
            drop(handshake);
            accept.await
        };
        let accepted = async {
            let accepted = shaken.await;
            accepted.map_err(|error| (error, SHOWN.with(Cell::get)))
        };
        let accepted = SHOWN.scope(Cell::new(None), accepted);
        let tls = match timeout(HANDSHAKE_WITHIN, accepted).await {
            Ok(Ok(tls)) => tls,
            Ok(Err((error, shown))) => {
                tracing::debug!(%error, %source, "A TLS handshake failed");
                if let Some((host, cause)) = refused(&error, shown) {
                    self.refusals.caller(host, source, cause);
                }
                return;
            }
            Err(_) => {
                tracing::debug!("A TLS handshake took too long");
                return;
            }
        };
        let certificate = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let peer = match certificate {
            None => None,
            Some(der) => match Peer::from_certificate(der, &self.authority) {
                Some(peer) => Some(peer),
                None => {
                    tracing::warn!(%source, "A certificate of our authority names no host of ours");
                    self.refusals.caller(None, source, Cause::CertificateMisnamed);
                    return;
                }
            },
        };
        // It counts for as long as it shows nothing.
        let stranger = peer.is_none().then_some(stranger);
        let caller = Caller { peer, source };
        let router = self.router;
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(caller.clone());
            router.clone().oneshot(request.map(Body::new))
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .max_concurrent_streams(16)
            .max_header_list_size(16 * 1024);
        let served =
            watcher.watch(builder.serve_connection(TokioIo::new(tls), service).into_owned());
        let ended = if stranger.is_some() {
            timeout(ANONYMOUS_FOR, served).await.unwrap_or(Ok(()))
        } else {
            served.await
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "An agent's connection broke");
        }
    }
}

/// Whom a failed handshake refused and why, when it was for a certificate. `shown` is whose valid or ended
/// certificate was shown: a claim, since the key was not proven yet.
fn refused(error: &io::Error, shown: Option<HostId>) -> Option<(Option<HostId>, Cause)> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    // Whoever thinks so goes away before it has shown who it is.
    if *error == rustls::Error::AlertReceived(AlertDescription::CertificateExpired) {
        return Some((None, Cause::ClockWrong));
    }
    let rustls::Error::InvalidCertificate(error) = error else { return None };
    let has_ended =
        matches!(error, CertificateError::Expired | CertificateError::ExpiredContext { .. });
    Some(match shown {
        Some(host) if has_ended => (Some(host), Cause::CertificateExpired),
        Some(host) if *error == CertificateError::BadSignature => (Some(host), Cause::KeyNotProven),
        Some(_) | None => (None, Cause::CertificateForeign),
    })
}
