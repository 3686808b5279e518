//! Whose certificate opens which route.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nexplane_agent::client::{Client, ClientError};
use nexplane_agent::identity::Identity;
use nexplane_agent::keep::Keep;
use nexplane_core::id::{HostId, JobId};
use nexplane_core::job::{JobEvent, PollRequest, RenewRequest};
use nexplane_server::gateway::Standing;
use nexplane_server::gateway::authority::{Authority, GatewayKeys, RequestedKey};
use rcgen::{CertificateParams, KeyPair};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::gateway_rig::{Rig, now};

fn csr(key: &KeyPair) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

fn poll(number: u64) -> PollRequest {
    PollRequest {
        wait_s: 0,
        have: 0,
        instance: Uuid::from_u128(1),
        number,
        policy_hash: None,
        distrusted: Vec::new(),
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    result.unwrap_err().code().unwrap_or("no code").to_owned()
}

/// A certificate of `keys` for `host`, issued `ago_s` seconds ago.
fn certificate(keys: &GatewayKeys, host: HostId, ago_s: i64) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let requested = RequestedKey::from_request(&csr(&key)).unwrap();
    let authority = Authority::open(keys).unwrap();
    let issued = authority.certify_agent(host, &requested, now().plus_seconds(-ago_s)).unwrap();
    (issued.pem, key.serialize_pem())
}

fn with(rig: &Rig, identity: &Identity, certificate: &(String, String)) -> Client {
    let (pem, key) = certificate;
    Client::new(&rig.gateway.url(), &identity.ca_pem, pem, key).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_there_is_only_enrolment() {
    let rig = Rig::new().await;
    let client = Client::anonymous(&rig.gateway.url(), rig.gateway.ca_pem()).unwrap();
    let missing = "agent.certificate_missing";
    assert_eq!(code(client.time().await), missing);
    assert_eq!(code(client.poll(&poll(1)).await), missing);
    let renewal = RenewRequest { csr_pem: csr(&KeyPair::generate().unwrap()) };
    assert_eq!(code(client.renew(&renewal).await), missing);
    let event = JobEvent::Received { at: now() };
    assert_eq!(code(client.report(JobId(Uuid::nil()), &event).await), missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_certificate_opens_everything_and_is_renewed_with_a_fresh_key() {
    let rig = Rig::new().await;
    let (config, identity) = rig.enroll("web-1").await;
    let client = rig.client(&identity);
    client.time().await.unwrap();
    client.poll(&poll(1)).await.unwrap();
    let same = RenewRequest { csr_pem: csr(&KeyPair::from_pem(&identity.key_pem).unwrap()) };
    assert_eq!(code(client.renew(&same).await), "validation.failed");
    let keep = Keep::directory(config.path());
    let renewed = identity.renew(&keep, &client).await.unwrap();
    assert_ne!(renewed.key_pem, identity.key_pem);
    assert_eq!(Identity::load(&keep).unwrap().unwrap().key_pem, renewed.key_pem);
    rig.client(&renewed).time().await.unwrap();
    // The earlier one is good until it ends: the answer may have been lost.
    client.time().await.unwrap();
    assert!(rig.registry.told(identity.host).contains(&"renewed".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_other_authorities_do_not_get_through_the_handshake() {
    let rig = Rig::new().await;
    let (_config, identity) = rig.enroll("web-1").await;
    let foreign = GatewayKeys::generate(now()).unwrap();
    let client = with(&rig, &identity, &certificate(&foreign, identity.host, 0));
    assert!(matches!(client.time().await, Err(ClientError::Unreachable(_))));
    // Nor does a gateway's own certificate, which is of the other authority of this installation.
    let authority = Authority::open(&rig.keys()).unwrap();
    let (gateway, key) = authority.certify_gateway(&["localhost".to_owned()], now()).unwrap();
    let client = with(&rig, &identity, &(gateway.pem(), key.serialize_pem()));
    assert!(matches!(client.time().await, Err(ClientError::Unreachable(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_certificate_opens_its_renewal_only_and_not_for_long() {
    let rig = Rig::new().await;
    let (_config, identity) = rig.enroll("web-1").await;
    let hour_s = 3600;
    let ended = with(&rig, &identity, &certificate(&rig.keys(), identity.host, 25 * hour_s));
    assert_eq!(code(ended.time().await), "agent.certificate_expired");
    assert_eq!(code(ended.poll(&poll(1)).await), "agent.certificate_expired");
    let renewal = RenewRequest { csr_pem: csr(&KeyPair::generate().unwrap()) };
    ended.renew(&renewal).await.unwrap();
    rig.registry.set(identity.host, Standing::Revoked);
    assert_eq!(code(ended.renew(&renewal).await), "host.revoked");
    rig.registry.set(identity.host, Standing::Good);
    let long_ago = with(&rig, &identity, &certificate(&rig.keys(), identity.host, 9 * 24 * hour_s));
    assert!(matches!(long_ago.renew(&renewal).await, Err(ClientError::Unreachable(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_may_not_act_are_refused_everywhere() {
    let rig = Rig::new().await;
    let (_config, identity) = rig.enroll("web-1").await;
    let client = rig.client(&identity);
    let stranger = certificate(&rig.keys(), HostId(Uuid::from_u128(99)), 0);
    assert_eq!(code(with(&rig, &identity, &stranger).time().await), "host.unknown");
    for (standing, expected) in
        [(Standing::Revoked, "host.revoked"), (Standing::Locked, "host.locked")]
    {
        rig.registry.set(identity.host, standing);
        let renewal = RenewRequest { csr_pem: csr(&KeyPair::generate().unwrap()) };
        let event = JobEvent::Received { at: now() };
        assert_eq!(code(client.time().await), expected);
        assert_eq!(code(client.poll(&poll(1)).await), expected);
        assert_eq!(code(client.renew(&renewal).await), expected);
        assert_eq!(code(client.report(JobId(Uuid::nil()), &event).await), expected);
    }
}

/// A client of the test's own, for what an agent never does.
fn raw(
    rig: &Rig,
    identity: &Identity,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> reqwest::Client {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(rig.gateway.ca_pem().as_bytes()).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    reqwest::Client::builder().tls_backend_preconfigured(config).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_1_3_and_bodies_are_bounded_and_strict() {
    let rig = Rig::new().await;
    let (_config, identity) = rig.enroll("web-1").await;
    let url = rig.gateway.url();
    let old = raw(&rig, &identity, &[&rustls::version::TLS12]);
    assert!(old.get(format!("{url}/agent/v1/time")).send().await.is_err());

    let client = raw(&rig, &identity, &[&rustls::version::TLS13]);
    let status = async |request: reqwest::RequestBuilder| {
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(kind, "application/problem+json", "{status}");
        status
    };
    let post = |path: &str| client.post(format!("{url}{path}"));
    let json = "application/json";
    assert_eq!(status(post("/agent/v1/poll").body("{}")).await, 415);
    assert_eq!(status(post("/agent/v1/poll").header("content-type", json).body("{")).await, 400);
    assert_eq!(status(post("/agent/v1/poll").header("content-type", json).body("{}")).await, 422);
    let mut extra = serde_json::to_value(poll(1)).unwrap();
    extra["surprise"] = 1.into();
    assert_eq!(status(post("/agent/v1/poll").json(&extra)).await, 422);
    let large = vec![b' '; 70 * 1024];
    assert_eq!(status(post("/agent/v1/poll").header("content-type", json).body(large)).await, 413);
    assert_eq!(status(client.get(format!("{url}/agent/v1/nothing"))).await, 404);
}

/// They would be given up after 10 s each, 128 at a time.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_hold_up_nobody() {
    let rig = Rig::new().await;
    let mut silent = Vec::new();
    for _ in 0..384 {
        silent.push(TcpStream::connect(rig.gateway.local_addr()).await.unwrap());
    }
    let begun = Instant::now();
    rig.enroll("web-1").await;
    let waited = begun.elapsed();
    assert!(waited < Duration::from_secs(9), "{waited:?}");
    drop(silent);
}
