//! How a machine becomes a host.

use nexplane_agent::client::{Client, ClientError};
use nexplane_agent::identity::{Identity, IdentityError};
use nexplane_agent::keep::Keep;
use nexplane_core::job::EnrollRequest;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

use crate::gateway_rig::{Rig, person};

fn request(token: &str, key: &KeyPair, hostname: &str) -> EnrollRequest {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "admin");
    params.subject_alt_names = vec![
        SanType::DnsName("control-plane.example".try_into().unwrap()),
        SanType::URI("spiffe://elsewhere/agent/1".try_into().unwrap()),
    ];
    EnrollRequest {
        token: token.to_owned(),
        csr_pem: params.serialize_request(key).unwrap().pem().unwrap(),
        hostname: hostname.to_owned(),
        agent_version: "1".to_owned(),
        policy_hash: None,
    }
}

fn anonymous(rig: &Rig) -> Client {
    Client::anonymous(&rig.gateway.url(), rig.gateway.ca_pem()).unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    result.unwrap_err().code().unwrap_or("no code").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_has_our_name_only_whatever_was_asked_for() {
    let rig = Rig::new().await;
    let key = KeyPair::generate().unwrap();
    let token = rig.token().await;
    let answer = anonymous(&rig).enroll(&request(&token, &key, "web-1")).await.unwrap();
    let (_, pem) = parse_x509_pem(answer.certificate_pem.as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let expected = format!("spiffe://{}/agent/{}", answer.installation, answer.host);
    assert_eq!(names.value.general_names, [GeneralName::URI(&expected)]);
    assert!(!certificate.subject().to_string().contains("admin"));
    assert!(!certificate.is_ca());
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    let validity = certificate.validity();
    let lifetime_s = validity.not_after.timestamp() - validity.not_before.timestamp();
    assert_eq!(lifetime_s, 24 * 3600 + 300);
    let agents_ca = rig.count("SELECT count(*) FROM nexplane.agent_certificates").await;
    assert_eq!(agents_ca, 1);
    assert_eq!(rig.registry.told(answer.host), ["enrolled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_one_key() {
    let rig = Rig::new().await;
    let client = anonymous(&rig);
    let token = rig.token().await;
    let [first, second] = [KeyPair::generate().unwrap(), KeyPair::generate().unwrap()];
    let one = client.enroll(&request(&token, &first, "web-1")).await.unwrap();
    let refused = client.enroll(&request(&token, &second, "web-1")).await;
    assert_eq!(code(refused), "enrollment.token_used");
    // The answer was lost, and the agent asks again with the key that it kept.
    let again = client.enroll(&request(&token, &first, "web-1")).await.unwrap();
    assert_eq!(again.host, one.host);
    assert_eq!(rig.registry.told(one.host), ["enrolled", "renewed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_come_at_once_one_gets_in() {
    let rig = Rig::new().await;
    let token = rig.token().await;
    let attempts: Vec<_> = (0..12)
        .map(|_| {
            let client = anonymous(&rig);
            let request = request(&token, &KeyPair::generate().unwrap(), "web-1");
            tokio::spawn(async move { client.enroll(&request).await.is_ok() })
        })
        .collect();
    let mut let_in = 0;
    for attempt in attempts {
        let_in += usize::from(attempt.await.unwrap());
    }
    assert_eq!(let_in, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_expire_and_name_their_host() {
    let rig = Rig::new().await;
    let client = anonymous(&rig);
    let key = KeyPair::generate().unwrap();
    assert_eq!(code(client.enroll(&request("guess", &key, "h")).await), "enrollment.token_unknown");

    let named = rig.gateway.invite(Some("db-1"), 900, person()).await.unwrap();
    let refused = client.enroll(&request(&named, &key, "web-1")).await;
    assert_eq!(code(refused), "enrollment.other_hostname");
    client.enroll(&request(&named, &key, "DB-1")).await.unwrap();

    let old = rig.token().await;
    sqlx::query("UPDATE nexplane.enrollment_tokens SET expires_at = now() WHERE used_at IS NULL")
        .execute(rig.database.pool())
        .await
        .unwrap();
    assert_eq!(code(client.enroll(&request(&old, &key, "h")).await), "enrollment.token_expired");
    let stored: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT token_hash FROM nexplane.enrollment_tokens")
            .fetch_all(rig.database.pool())
            .await
            .unwrap();
    assert!(stored.iter().all(|hash| hash.len() == 32), "tokens are stored as hashes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_host_does_not_use_up_the_token() {
    let rig = Rig::new().await;
    let client = anonymous(&rig);
    let token = rig.token().await;
    let key = KeyPair::generate().unwrap();
    assert_eq!(code(client.enroll(&request(&token, &key, "unwanted")).await), "host.unwanted");
    let other = KeyPair::generate().unwrap();
    client.enroll(&request(&token, &other, "web-1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_none_are_refused() {
    let rig = Rig::new().await;
    let client = anonymous(&rig);
    let token = rig.token().await;
    let good = KeyPair::generate().unwrap();
    let mut bad = request(&token, &good, "h");
    bad.csr_pem = "nonsense".to_owned();
    assert_eq!(code(client.enroll(&bad).await), "validation.failed");
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let refused = client.enroll(&request(&token, &ed25519, "h")).await;
    assert_eq!(code(refused), "validation.failed");
    // A request that somebody else signed: the key is not proven.
    let mut altered = request(&token, &good, "h");
    let middle = altered.csr_pem.len() / 2;
    let letter = if altered.csr_pem.as_bytes()[middle] == b'A' { "B" } else { "A" };
    altered.csr_pem.replace_range(middle..=middle, letter);
    assert_eq!(code(client.enroll(&altered).await), "validation.failed");
    client.enroll(&request(&token, &good, "h")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_trusts_the_pinned_authority_only() {
    let rig = Rig::new().await;
    let other = Rig::new().await;
    let token = rig.token().await;
    let config = tempfile::tempdir().unwrap();
    let enrolled = Identity::enroll(
        &Keep::directory(config.path()),
        &rig.gateway.url(),
        other.gateway.ca_pem(),
        &token,
        "web-1",
        None,
    )
    .await;
    let Err(IdentityError::Refused { source: ClientError::Unreachable(_), .. }) = enrolled else {
        panic!("{enrolled:?}");
    };
    assert_eq!(
        rig.count("SELECT count(*) FROM nexplane.enrollment_tokens WHERE used_at IS NOT NULL")
            .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_identity_sets_the_earlier_one_aside_and_a_refusal_leaves_it() {
    let rig = Rig::new().await;
    let (config, earlier) = rig.enroll("web-1").await;
    let keep = Keep::directory(config.path());
    let read = |name: &str| std::fs::read(config.path().join(name));
    let before = read("identity.json").unwrap();
    let enrol = async |token: &str| {
        let (url, ca) = (rig.gateway.url(), rig.gateway.ca_pem());
        Identity::enroll(&keep, &url, ca, token, "web-2", None).await
    };
    let refused = enrol("no token of ours").await.unwrap_err();
    assert!(matches!(refused, IdentityError::Refused { .. }), "{refused:?}");
    assert_eq!(read("identity.json").unwrap(), before);

    let token = rig.token().await;
    let now = enrol(&token).await.unwrap();
    assert_ne!(now.host, earlier.host);
    assert_eq!(Identity::load(&keep).unwrap().unwrap().host, now.host);
    assert_eq!(read(&format!("identity.{}.json", earlier.host)).unwrap(), before);
}
