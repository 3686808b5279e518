//! What an agent's handshake costs the gateway, and what it would cost if sessions were resumed. Prints; judges
//! nothing. In memory: no network, no requests.
//!
//! `cargo bench --workspace --bench handshake`

#![allow(
    clippy::panic,
    clippy::pedantic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "printing is what it is for, and a measurement that cannot go on has no result"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use nexplane_core::id::HostId;
use nexplane_core::time::Timestamp;
use nexplane_server::gateway::authority::{Authority, GatewayKeys, RequestedKey};
use nexplane_server::gateway::tls::{self, OwnCertificate};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection,
};
use uuid::Uuid;

const ROUNDS: usize = 5_000;

fn main() {
    let now = Timestamp::new(jiff::Timestamp::now());
    let authority = Arc::new(Authority::open(&GatewayKeys::generate(now).unwrap()).unwrap());
    let names = vec!["localhost".to_owned()];
    let own = Arc::new(OwnCertificate::new(&authority, names, now).unwrap());
    let never = tls::config(&authority, own).unwrap();
    let mut resuming = (*never).clone();
    resuming.send_tls13_tickets = 2;
    resuming.ticketer = ring::Ticketer::new().unwrap();
    let client = Arc::new(agent(&authority, now));

    let full = measured(&client, &never, HandshakeKind::Full);
    let resuming = Arc::new(resuming);
    shake(&client, &resuming);
    let resumed = measured(&client, &resuming, HandshakeKind::Resumed);
    println!("of the gateway's processor, for each handshake, {ROUNDS} of them:");
    println!("  full     {:>6.1} us", micros(full));
    println!("  resumed  {:>6.1} us", micros(resumed));
    println!("  ratio    {:>6.2}", full.as_secs_f64() / resumed.as_secs_f64());
}

/// An agent with a certificate of its own.
fn agent(authority: &Authority, now: Timestamp) -> ClientConfig {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let requested = RequestedKey::from_request(&request).unwrap();
    let host = HostId(Uuid::from_u128(1));
    let issued = authority.certify_agent(host, &requested, now).unwrap();
    let mut roots = RootCertStore::empty();
    let pem = authority.gateway_ca_pem.as_bytes();
    roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(issued.pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap()
}

fn measured(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    expected: HandshakeKind,
) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..ROUNDS {
        let (took, kind) = shake(client, server);
        assert_eq!(kind, expected);
        total += took;
    }
    total / u32::try_from(ROUNDS).unwrap()
}

/// One handshake, and what of it was the server's time.
fn shake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> (Duration, HandshakeKind) {
    let name = "localhost".try_into().unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let begun = Instant::now();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let mut took = begun.elapsed();
    loop {
        let mut asked = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut asked).unwrap();
        }
        let begun = Instant::now();
        let mut rest = asked.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().unwrap();
        }
        let mut answer = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut answer).unwrap();
        }
        took += begun.elapsed();
        if asked.is_empty() && answer.is_empty() {
            return (took, server.handshake_kind().unwrap());
        }
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
        }
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
