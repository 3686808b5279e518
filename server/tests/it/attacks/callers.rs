//! Attacks on the gateway: who comes, with which certificate, token, key or receipt.

use std::sync::Arc;
use std::time::Duration;

use nexplane_agent::client::ClientError;
use nexplane_agent::identity::Identity;
use nexplane_agent::key::AgentKey;
use nexplane_core::id::{HostId, JobId};
use nexplane_core::job::{
    EnrollRequest, JobEvent, JobResult, PollRequest, Receipt, RenewRequest, SignedReceipt,
};
use nexplane_core::time::Timestamp;
use nexplane_server::gateway::authority::GatewayKeys;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use uuid::Uuid;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

use super::Row;
use super::stage::{Stage, certify, code, csr};
use crate::gateway_rig::{Agent, now};
use crate::harness::{eventually, items};

const HOUR_S: i64 = 3600;

/// A clock that stands still.
#[derive(Debug)]
struct Early(Timestamp);

impl TimeProvider for Early {
    fn current_time(&self) -> Option<UnixTime> {
        let micros = u64::try_from(self.0.as_micros()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_micros(micros)))
    }
}

/// Why an agent's handshake failed that has this clock.
async fn shake_hands(identity: &Identity, clock: Arc<dyn TimeProvider>) -> rustls::Error {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(identity.ca_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let config = ClientConfig::builder_with_details(provider, clock)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![chain], key)
        .unwrap();
    let address = identity.control_plane.strip_prefix("https://").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(address.split(':').next().unwrap().to_owned()).unwrap();
    let failed = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap_err();
    failed.get_ref().unwrap().downcast_ref::<rustls::Error>().unwrap().clone()
}

pub const ROWS: &[Row] = &[
    Row {
        name: "certificate of another authority",
        kind: "gateway.refused",
        cause: "certificate_foreign",
        words: "refused somebody from 127.0.0.0/24: its certificate is not of this installation",
        attack: |stage, _| {
            Box::pin(async move {
                let (_directory, identity) = stage.enrolled("foreign-1").await;
                let keys = GatewayKeys::generate(now()).unwrap();
                let shown = certify(&keys, identity.host, &KeyPair::generate().unwrap(), 0);
                let refused = stage.client_with(&shown).time().await;
                assert!(matches!(refused, Err(ClientError::Unreachable(_))), "{refused:?}");
                None
            })
        },
    },
    Row {
        name: "certificate of our authority for another installation",
        kind: "gateway.refused",
        cause: "certificate_misnamed",
        words: "names no host of this installation",
        attack: |stage, _| {
            Box::pin(async move {
                let other = GatewayKeys::generate(now()).unwrap();
                let keys = stage.keys_with("installation", &other);
                let host = HostId(Uuid::from_u128(1));
                let shown = certify(&keys, host, &KeyPair::generate().unwrap(), 0);
                stage.client_with(&shown).time().await.unwrap_err();
                None
            })
        },
    },
    Row {
        name: "no certificate",
        kind: "gateway.refused",
        cause: "certificate_missing",
        words: "there was no certificate",
        attack: |stage, _| {
            Box::pin(async move {
                let refused = stage.anonymous().poll(&poll(1, 1)).await;
                assert_eq!(code(refused), "agent.certificate_missing");
                None
            })
        },
    },
    Row {
        name: "expired certificate",
        kind: "host.refused",
        cause: "certificate_expired",
        words: "as this host from 127.0.0.0/24: its certificate has ended",
        attack: |stage, _| {
            Box::pin(async move {
                let (_directory, identity) = stage.enrolled("expired-1").await;
                let key = KeyPair::from_pem(&identity.key_pem).unwrap();
                let shown = certify(&stage.keys(), identity.host, &key, 25 * HOUR_S);
                let refused = stage.client_with(&shown).poll(&poll(1, 1)).await;
                assert_eq!(code(refused), "agent.certificate_expired");
                Some(identity.host)
            })
        },
    },
    Row {
        name: "certificate that expired long ago",
        kind: "host.refused",
        cause: "certificate_expired",
        words: "its certificate has ended",
        attack: |stage, _| {
            Box::pin(async move {
                let (_directory, identity) = stage.enrolled("expired-2").await;
                let key = KeyPair::from_pem(&identity.key_pem).unwrap();
                let shown = certify(&stage.keys(), identity.host, &key, 30 * 24 * HOUR_S);
                let renewal = RenewRequest { csr_pem: csr(&KeyPair::generate().unwrap()) };
                let refused = stage.client_with(&shown).renew(&renewal).await;
                assert!(matches!(refused, Err(ClientError::Unreachable(_))), "{refused:?}");
                Some(identity.host)
            })
        },
    },
    Row {
        name: "a clock before the time of the gateway's certificate",
        kind: "gateway.refused",
        cause: "clock_wrong",
        words: "at its time the gateway's own certificate is not valid",
        attack: |stage, _| {
            Box::pin(async move {
                let (_directory, identity) = stage.enrolled("slow-1").await;
                let early = Early(now().plus_seconds(-HOUR_S));
                let refused = shake_hands(&identity, Arc::new(early)).await;
                let rustls::Error::InvalidCertificate(why) = &refused else {
                    panic!("{refused:?}")
                };
                assert!(matches!(why, CertificateError::NotValidYetContext { .. }), "{why:?}");
                None
            })
        },
    },
    Row {
        name: "certificate of a host without its key",
        kind: "host.refused",
        cause: "key_not_proven",
        words: "was shown without its key",
        attack: |stage, _| {
            Box::pin(async move {
                let (_directory, identity) = stage.enrolled("keyless-1").await;
                let client = with_another_key(stage, &identity.certificate_pem);
                let url = format!("{}/agent/v1/time", stage.server.gateway);
                assert!(client.get(url).send().await.is_err());
                Some(identity.host)
            })
        },
    },
    Row {
        name: "host that does not exist",
        kind: "gateway.refused",
        cause: "host_unknown",
        words: "the host, or its key, is not known",
        attack: |stage, _| {
            Box::pin(async move {
                let host = HostId(Uuid::from_u128(99));
                let shown = certify(&stage.keys(), host, &KeyPair::generate().unwrap(), 0);
                assert_eq!(code(stage.client_with(&shown).time().await), "host.unknown");
                None
            })
        },
    },
    Row {
        name: "another key for a known host",
        kind: "host.refused",
        cause: "host_unknown",
        words: "as this host from 127.0.0.0/24: the host, or its key, is not known",
        attack: |stage, _| {
            Box::pin(async move {
                let (_directory, identity) = stage.enrolled("rekeyed-1").await;
                let key = KeyPair::generate().unwrap();
                let shown = certify(&stage.keys(), identity.host, &key, 0);
                assert_eq!(code(stage.client_with(&shown).time().await), "host.unknown");
                Some(identity.host)
            })
        },
    },
    Row {
        name: "revoked host",
        kind: "host.refused",
        cause: "host_revoked",
        words: "the host was revoked",
        attack: |stage, _| {
            Box::pin(async move {
                let (_directory, identity) = stage.enrolled("revoked-1").await;
                let client = stage.client(&identity);
                client.poll(&poll(1, 1)).await.unwrap();
                stage.revoke(identity.host).await;
                assert_eq!(code(client.poll(&poll(1, 2)).await), "host.revoked");
                Some(identity.host)
            })
        },
    },
    Row {
        name: "two agents with one key",
        kind: "host.refused",
        cause: "key_shared",
        words: "two agents use one key",
        attack: |stage, _| Box::pin(two_agents(stage)),
    },
    Row {
        name: "renewal with the key of another host",
        kind: "host.refused",
        cause: "key_of_another",
        words: "the key belongs to another host",
        attack: |stage, _| {
            Box::pin(async move {
                let (_directory, identity) = stage.enrolled("thief-1").await;
                let (_other, other) = stage.enrolled("owner-1").await;
                let key = KeyPair::from_pem(&other.key_pem).unwrap();
                let renewal = RenewRequest { csr_pem: csr(&key) };
                let refused = stage.client(&identity).renew(&renewal).await;
                assert_eq!(code(refused), "validation.failed");
                stage.client(&other).time().await.unwrap();
                Some(identity.host)
            })
        },
    },
    Row {
        name: "enrolment token that does not exist",
        kind: "gateway.refused",
        cause: "token_unknown",
        words: "there is no such enrolment token",
        attack: |stage, _| {
            Box::pin(async move {
                let request = enrolment("guess", &csr(&KeyPair::generate().unwrap()));
                let refused = stage.anonymous().enroll(&request).await;
                assert_eq!(code(refused), "enrollment.token_unknown");
                None
            })
        },
    },
    Row {
        name: "enrolment token twice",
        kind: "host.refused",
        cause: "token_used",
        words: "the enrolment token was used before",
        attack: |stage, _| {
            Box::pin(async move {
                let token = stage.token(None).await;
                let client = stage.anonymous();
                let own = enrolment(&token, &csr(&KeyPair::generate().unwrap()));
                let enrolled = client.enroll(&own).await.unwrap();
                let again = enrolment(&token, &csr(&KeyPair::generate().unwrap()));
                assert_eq!(code(client.enroll(&again).await), "enrollment.token_used");
                Some(enrolled.host)
            })
        },
    },
    Row {
        name: "enrolment token that has expired",
        kind: "gateway.refused",
        cause: "token_expired",
        words: "the enrolment token has expired",
        attack: |stage, _| {
            Box::pin(async move {
                let token = stage.token(None).await;
                sqlx::query(
                    "UPDATE nexplane.enrollment_tokens SET expires_at = now() WHERE used_at IS NULL",
                )
                .execute(stage.server.database().pool())
                .await
                .unwrap();
                let request = enrolment(&token, &csr(&KeyPair::generate().unwrap()));
                let refused = stage.anonymous().enroll(&request).await;
                assert_eq!(code(refused), "enrollment.token_expired");
                None
            })
        },
    },
    Row {
        name: "enrolment token for another host",
        kind: "gateway.refused",
        cause: "token_for_another",
        words: "the enrolment token is for another host",
        attack: |stage, _| {
            Box::pin(async move {
                let token = stage.token(Some("db-1")).await;
                let request = enrolment(&token, &csr(&KeyPair::generate().unwrap()));
                let refused = stage.anonymous().enroll(&request).await;
                assert_eq!(code(refused), "enrollment.other_hostname");
                None
            })
        },
    },
    Row {
        name: "certificate request with names of its own",
        kind: "host.refused",
        cause: "names_requested",
        words: "asked for names of its own in its certificate, which was issued without them",
        attack: |stage, _| Box::pin(extra_names(stage)),
    },
    Row {
        name: "certificate request that its key did not sign",
        kind: "gateway.refused",
        cause: "request_invalid",
        words: "the certificate request is not valid",
        attack: |stage, _| {
            Box::pin(async move {
                let token = stage.token(None).await;
                let mut altered = csr(&KeyPair::generate().unwrap());
                let middle = altered.len() / 2;
                let letter = if altered.as_bytes()[middle] == b'A' { "B" } else { "A" };
                altered.replace_range(middle..=middle, letter);
                let refused = stage.anonymous().enroll(&enrolment(&token, &altered)).await;
                assert_eq!(code(refused), "validation.failed");
                None
            })
        },
    },
    Row {
        name: "receipt of another host",
        kind: "host.refused",
        cause: "receipt_forged",
        words: "a receipt was not signed by the host",
        attack: |stage, _| {
            Box::pin(async move {
                let (_directory, identity) = stage.enrolled("receipts-1").await;
                let (_other, other) = stage.enrolled("receipts-2").await;
                let receipt = receipt(&other.key_pem, identity.host, 1, 1);
                let refused = stage.client(&identity).report(job(1), &receipt).await;
                assert_eq!(code(refused), "validation.failed");
                Some(identity.host)
            })
        },
    },
    Row {
        name: "receipt for another job",
        kind: "host.refused",
        cause: "receipt_misdirected",
        words: "a receipt was for another host or job",
        attack: |stage, _| {
            Box::pin(async move {
                let (_directory, identity) = stage.enrolled("receipts-3").await;
                let receipt = receipt(&identity.key_pem, identity.host, 1, 1);
                let refused = stage.client(&identity).report(job(2), &receipt).await;
                assert_eq!(code(refused), "validation.failed");
                Some(identity.host)
            })
        },
    },
    Row {
        name: "second history of receipts",
        kind: "host.refused",
        cause: "receipt_forked",
        words: "a receipt contradicts the ones before it",
        attack: |stage, _| {
            Box::pin(async move {
                let (_directory, identity) = stage.enrolled("receipts-4").await;
                let client = stage.client(&identity);
                let one = receipt(&identity.key_pem, identity.host, 1, 1);
                client.report(job(1), &one).await.unwrap();
                let other = receipt(&identity.key_pem, identity.host, 2, 1);
                assert_eq!(code(client.report(job(2), &other).await), "host.locked");
                Some(identity.host)
            })
        },
    },
];

fn poll(instance: u128, number: u64) -> PollRequest {
    let instance = Uuid::from_u128(instance);
    let distrusted = Vec::new();
    PollRequest { wait_s: 0, have: 0, instance, number, policy_hash: None, distrusted }
}

fn enrolment(token: &str, csr_pem: &str) -> EnrollRequest {
    EnrollRequest {
        token: token.to_owned(),
        csr_pem: csr_pem.to_owned(),
        hostname: format!("new-{}", &Uuid::new_v4().simple().to_string()[..8]),
        agent_version: "1".to_owned(),
        policy_hash: None,
    }
}

fn job(n: u128) -> JobId {
    JobId(Uuid::from_u128(n))
}

/// The first receipt of a chain, for one of these jobs.
fn receipt(key_pem: &str, host: HostId, n: u128, number: u64) -> JobEvent {
    let receipt: SignedReceipt = AgentKey::from_pem(key_pem)
        .unwrap()
        .sign(&Receipt {
            job: job(n),
            host,
            number,
            previous: "0".repeat(64),
            at: now(),
            result: JobResult::Failed { detail: "made up".to_owned() },
            undo_until: None,
        })
        .unwrap();
    JobEvent::Result { receipt }
}

/// A client that shows a certificate and signs with a key that is not its.
fn with_another_key(stage: &Stage, certificate_pem: &str) -> reqwest::Client {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(stage.ca_pem.as_bytes()).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate_pem.as_bytes()).unwrap()];
    let key = KeyPair::generate().unwrap().serialize_pem();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let shown = Shown(Arc::new(rustls::sign::CertifiedKey::new(chain, key)));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(shown));
    // Whoever is refused hears so at once; a test that waits for ever says nothing.
    let within = Duration::from_secs(20);
    reqwest::Client::builder().tls_backend_preconfigured(config).timeout(within).build().unwrap()
}

#[derive(Debug)]
struct Shown(Arc<rustls::sign::CertifiedKey>);

impl rustls::client::ResolvesClientCert for Shown {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A machine is copied, and both copies run.
async fn two_agents(stage: &Stage) -> Option<HostId> {
    let victim = stage.victim().await;
    let before = victim.files();
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(victim.agent.config.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    let host = victim.agent.host;
    let enrolment = victim.agent.enrolment.clone();
    let second = Agent::start(crate::gateway_rig::sandbox(), copy, enrolment).await;
    eventually("the host is locked", async || {
        let hosts = stage.server.admin.get("/hosts?status=locked").await.is(200);
        items(&hosts).into_iter().find(|shown| shown["id"] == host.to_string().as_str())
    })
    .await;
    let path = format!("/audit?type=host.locked&resource={host}");
    assert_eq!(items(&stage.auditor.get(&path).await.is(200)).len(), 1);
    assert_eq!(victim.files(), before);
    second.stop().await;
    victim.agent.stop().await;
    Some(host)
}

async fn extra_names(stage: &Stage) -> Option<HostId> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "admin\u{202e}\n<b>");
    params.subject_alt_names = vec![
        SanType::DnsName("control-plane.example".try_into().unwrap()),
        SanType::URI("spiffe://elsewhere/agent/1".try_into().unwrap()),
    ];
    let request = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
    let request = enrolment(&stage.token(None).await, &request.pem().unwrap());
    let answer = stage.anonymous().enroll(&request).await.unwrap();
    let (_, pem) = parse_x509_pem(answer.certificate_pem.as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let expected = format!("spiffe://{}/agent/{}", answer.installation, answer.host);
    assert_eq!(names.value.general_names, [GeneralName::URI(&expected)]);
    assert!(!certificate.subject().to_string().contains("admin"));
    Some(answer.host)
}
