//! A gateway as far as a line is concerned: TLS 1.3, a certificate asked of whoever comes, one answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

use nexplane_agent::client::ClientError;
use nexplane_agent::identity::Identity;
use nexplane_core::job::TimeResponse;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::rig::{HOST, NAME, now};

pub struct Gateway {
    /// Of an agent that it lets in.
    pub identity: Identity,
    /// Status of every answer.
    pub status: Arc<AtomicU16>,
    /// Connections on which TLS was agreed upon and a question asked.
    pub asked: Arc<AtomicU32>,
}

impl Gateway {
    /// Answers on the listener for as long as the process lives.
    pub fn start(listener: TcpListener) -> Self {
        Self::valid(listener, 2000..4000)
    }

    /// The same with a certificate for some years.
    fn valid(listener: TcpListener, years: Range<i32>) -> Self {
        let address = listener.local_addr().unwrap();
        let authority = authority();
        let (certificate, key) = leaf(&authority, years);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![certificate], private(&key))
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        let status = Arc::new(AtomicU16::new(200));
        let asked = Arc::new(AtomicU32::new(0));
        let (answer, count) = (Arc::clone(&status), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, answer, count) =
                    (Arc::clone(&config), Arc::clone(&answer), Arc::clone(&count));
                std::thread::spawn(move || serve(config, stream.unwrap(), &answer, &count));
            }
        });
        Self { identity: identity(address, &authority, &authority), status, asked }
    }

    /// An agent that nobody answers, or whose certificate is of another authority than the gateway's.
    pub fn stranger(address: SocketAddr) -> Identity {
        let authority = authority();
        identity(address, &authority, &authority)
    }
}

fn serve(config: Arc<ServerConfig>, stream: TcpStream, status: &AtomicU16, asked: &AtomicU32) {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match tls.read(&mut part) {
            // Whoever has no business here goes away during the handshake.
            Ok(0) | Err(_) => return,
            Ok(size) => request.extend_from_slice(&part[..size]),
        }
    }
    assert!(request.starts_with(b"GET /agent/v1/time HTTP/1.1\r\n"));
    assert_eq!(tls.conn.peer_certificates().map(<[_]>::len), Some(1), "it says who it is");
    asked.fetch_add(1, Ordering::SeqCst);
    let body = serde_json::to_string(&TimeResponse { now: now() }).unwrap();
    let status = status.load(Ordering::SeqCst);
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = tls.write_all(answer.as_bytes());
    // The connection stays open: whoever wanted to use it again could.
    let _ = tls.read(&mut part);
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(
    authority: &CertifiedIssuer<'static, KeyPair>,
    years: Range<i32>,
) -> (CertificateDer<'static>, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params =
        CertificateParams::new(vec!["127.0.0.1".to_owned(), "::1".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let [begin, end] = [years.start, years.end].map(|year| rcgen::date_time_ymd(year, 1, 1));
    (params.not_before, params.not_after) = (begin, end);
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.der().clone(), key)
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

fn identity(
    address: SocketAddr,
    gateway: &CertifiedIssuer<'static, KeyPair>,
    agents: &CertifiedIssuer<'static, KeyPair>,
) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Identity {
        host: HOST,
        name: NAME.to_owned(),
        installation: "test".to_owned(),
        control_plane: format!("https://{address}"),
        ca_pem: gateway.pem(),
        certificate_pem: params.signed_by(&key, agents).unwrap().pem(),
        key_pem: key.serialize_pem(),
        dispatchers: Vec::new(),
        renew_after: now(),
        token_hash: String::new(),
    }
}

#[tokio::test]
async fn a_certificate_that_is_out_of_its_time_is_said_with_both_times() {
    for (years, words) in [
        (3000..4000, "is valid from 3000-01-01T00:00:00"),
        (2000..2001, "was valid until 2001-01-01T00:00:00"),
    ] {
        let gateway = Gateway::valid(TcpListener::bind("127.0.0.1:0").unwrap(), years);
        let error = gateway.identity.client().unwrap().time().await.unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, ClientError::OutOfTime(_)), "{error:?}");
        assert!(said.contains(words) && said.contains("is this host's clock right?"), "{said}");
    }
}
