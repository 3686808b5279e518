//! Logging in, and what goes wrong on the way.

use std::sync::Arc;
use std::time::Duration;

use nexplane_connectors::sdk::{
    Advice, ConnectorError, Egress, EgressRules, ErrorKind, OpenContext,
};
use serde_json::{Value, json};

use super::bench::{Bench, OLD, documented_policy, policy_target, secret_target};
use crate::fixture::{action, context, open, step};

async fn fails(credentials: Value, cx: &OpenContext) -> ConnectorError {
    open("vault", credentials, cx).await.err().expect("it must not connect")
}

fn assert_is(error: &ConnectorError, kind: ErrorKind, advice: Advice) {
    assert_eq!((error.kind, error.advice), (kind, advice), "{error:?}");
}

#[tokio::test]
async fn real_an_app_role_with_the_documented_policy_passes_every_test() {
    let bench = Bench::new().await;
    bench.call("POST", "sys/mounts/database", &json!({ "type": "database" })).await;
    let session = open("vault", bench.app_role().await, &context()).await.unwrap();
    let checks = session.test().await;
    assert!(checks.len() >= 14 && checks.iter().all(|check| check.ok), "{checks:#?}");
    // And every line of the policy is needed: each action names it somewhere.
    assert_eq!(documented_policy().matches("path \"").count(), 14);
}

#[tokio::test]
async fn real_the_test_says_what_is_missing_and_that_is_enough() {
    let bench = Bench::new().await;
    bench.call("POST", "sys/mounts/database", &json!({ "type": "database" })).await;
    let token = bench.bao.token(&["default", "step"], "1h").await.unwrap();
    let mut policy = String::new();
    let mut rounds = 0;
    loop {
        let text = if policy.is_empty() { "# nothing yet" } else { &policy };
        let body =
            json!({ "policy": format!("{text}\npath \"x\" {{ capabilities = [\"deny\"] }}") });
        bench.call("POST", "sys/policies/acl/step", &body).await;
        let session = open("vault", bench.credentials_of(&token), &context()).await.unwrap();
        let checks = session.test().await;
        let missing: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
        if missing.is_empty() {
            break;
        }
        for check in missing {
            let line = check.detail.strip_prefix("add to the connection's policy: ").unwrap();
            if !policy.contains(line) {
                policy.push_str(&format!("{line}\n"));
            }
        }
        rounds += 1;
        assert!(rounds <= 2, "{policy}");
    }
    assert_eq!(rounds, 2, "first the mounts, then what is in them");
}

#[tokio::test]
async fn real_a_wrong_secret_id_and_half_of_the_credentials_are_told_apart() {
    let bench = Bench::new().await;
    let good = bench.app_role().await;
    let with = |field: &str, value: Value| {
        let mut other = good.clone();
        other[field] = value;
        other
    };
    for (field, value) in [
        ("secret_id", json!("wrong-secret-id")),
        ("role_id", json!("nobody")),
        ("approle_mount", json!("elsewhere")),
    ] {
        let error = fails(with(field, value), &context()).await;
        assert_is(&error, ErrorKind::Unauthorised, Advice::Never);
        assert!(!format!("{error:?}").contains("wrong-secret-id"), "{error:?}");
    }
    let both = with("token", json!(bench.bao.root_token()));
    assert_is(&fails(both, &context()).await, ErrorKind::Invalid, Advice::Never);
    let mut neither = good.clone();
    neither.as_object_mut().unwrap().remove("secret_id");
    assert_is(&fails(neither, &context()).await, ErrorKind::Invalid, Advice::Never);
    let slashed = with("approle_mount", json!("approle/"));
    open("vault", slashed, &context())
        .await
        .expect("a slash at the end is how people write mounts");
}

/// A token that ends while a session is open is not taken for one that may not.
#[tokio::test]
async fn real_a_token_that_has_ended_is_not_accepted() {
    let bench = Bench::new().await;
    bench.put("app/db", json!({ "password": OLD })).await;
    let body = json!({ "policy": documented_policy() });
    bench.call("POST", "sys/policies/acl/nexplane", &body).await;
    let token = bench.bao.token(&["nexplane"], "1h").await.unwrap();
    let session = open("vault", bench.credentials_of(&token), &context()).await.unwrap();
    let rotate = action("vault.rotate_kv_secret");
    let (target, keys) = (secret_target("app/db"), json!({ "keys": ["password"] }));
    let inspection = rotate.inspect(&*session, &target, &keys).await.unwrap();
    assert!(inspection.is_ready());
    let cx = step(rotate, &target, &keys, &inspection.before.fingerprint);
    let before = bench.witness_data("app/db").await;

    bench.call("POST", "auth/token/revoke", &json!({ "token": token })).await;
    let error = rotate.execute(&*session, &cx, &inspection.before).await.unwrap_err();
    assert_is(&error, ErrorKind::Unauthorised, Advice::Never);
    let error = rotate.inspect(&*session, &target, &keys).await.unwrap_err();
    assert_is(&error, ErrorKind::Unauthorised, Advice::Never);
    assert_is(&session.discover().await.unwrap_err(), ErrorKind::Unauthorised, Advice::Never);
    assert_eq!(bench.witness_data("app/db").await, before);

    let short = bench.bao.token(&["nexplane"], "1s").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1300)).await;
    let error = fails(bench.credentials_of(&short), &context()).await;
    assert_is(&error, ErrorKind::Unauthorised, Advice::Never);
    assert!(error.message.contains("expired"), "{error}");
}

#[tokio::test]
async fn real_a_sealed_server_is_away_for_a_while() {
    let bench = Bench::new().await;
    bench.put("app/db", json!({ "password": OLD })).await;
    let session = bench.session().await;
    let rotate = action("vault.rotate_kv_secret");
    let (target, keys) = (secret_target("app/db"), json!({ "keys": ["password"] }));
    let inspection = rotate.inspect(&*session, &target, &keys).await.unwrap();
    let cx = step(rotate, &target, &keys, &inspection.before.fingerprint);

    bench.bao.seal().await.unwrap();
    let error = fails(bench.credentials(), &context()).await;
    assert_is(&error, ErrorKind::Unreachable, Advice::Later);
    assert!(error.message.contains("sealed"), "{error}");
    // The effect begins with a look at the target: that failed, so nothing was written.
    let error = rotate.execute(&*session, &cx, &inspection.before).await.unwrap_err();
    assert_is(&error, ErrorKind::Unreachable, Advice::Later);

    bench.bao.unseal().await.unwrap();
    assert!(rotate.execute(&*session, &cx, &inspection.before).await.unwrap().changed);
}

#[tokio::test]
async fn real_the_egress_guard_stands_before_names_and_addresses() {
    let bench = Bench::new().await;
    let rules = EgressRules { allow_loopback: false, ..EgressRules::default() };
    let strict = OpenContext { egress: Arc::new(Egress::new(rules)), ..context() };
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let mut credentials = bench.credentials();
        credentials["address"] = json!(format!("https://{host}:8200"));
        assert_is(&fails(credentials, &strict).await, ErrorKind::Refused, Advice::Never);
    }
    for host in ["169.254.169.254", "[fe80::1]", "0.0.0.0"] {
        let mut credentials = bench.credentials();
        credentials["address"] = json!(format!("https://{host}:8200"));
        assert_is(&fails(credentials, &context()).await, ErrorKind::Refused, Advice::Never);
    }
}

/// TLS is the default, and never given up by itself.
#[tokio::test]
async fn real_http_has_to_be_chosen() {
    let bench = Bench::new().await;
    let mut plain = bench.credentials();
    let place = format!("localhost:{}", bench.bao.plain_port());
    plain["address"] = json!(format!("https://{place}"));
    let error = fails(plain.clone(), &context()).await;
    assert_is(&error, ErrorKind::Unexpected, Advice::Never);
    plain["address"] = json!(format!("http://{place}"));
    let error = fails(plain.clone(), &context()).await;
    assert_is(&error, ErrorKind::Invalid, Advice::Never);
    plain.as_object_mut().unwrap().remove("ca_certificate");
    open("vault", plain, &context()).await.expect("http was chosen");
    // A name that the certificate does not have.
    let mut other = bench.credentials();
    other["address"] = json!(format!("https://ip6-localhost:{}", bench.bao.port()));
    let error = fails(other, &context()).await;
    assert!(matches!(error.kind, ErrorKind::Unauthorised | ErrorKind::Unreachable), "{error:?}");
}

#[tokio::test]
async fn real_a_namespace_has_its_own_secrets() {
    let bench = Bench::new().await;
    bench.call("POST", "sys/namespaces/team", &json!({})).await;
    bench
        .call("POST", "team/sys/policies/acl/app", &json!({ "policy": super::bench::POLICY }))
        .await;
    let mut there = bench.credentials();
    there["namespace"] = json!("team");
    let session = open("vault", there, &context()).await.unwrap();
    let update = action("vault.update_policy");
    let parameters = json!({ "policy": "path \"y\" { capabilities = [\"read\"] }" });
    let target = policy_target("app");
    let inspection = update.inspect(&*session, &target, &parameters).await.unwrap();
    assert!(inspection.is_ready(), "{:#?}", inspection.checks);
    let elsewhere = bench.session().await;
    let there_not = update.inspect(&*elsewhere, &target, &parameters).await.unwrap();
    assert!(!there_not.is_ready(), "the root namespace has no such policy");
}

/// Whatever is sent, the server's own log of requests has no secret in clear.
#[tokio::test]
async fn real_no_secret_is_in_a_url() {
    let bench = Bench::new().await;
    bench.put("app/db", json!({ "password": OLD })).await;
    let (token, accessor) = bench.user_token().await;
    let session = open("vault", bench.app_role().await, &context()).await.unwrap();
    let revoke = action("vault.revoke_token");
    let parameters = json!({ "accessor": accessor });
    let target = super::bench::auth_target("token");
    assert!(revoke.inspect(&*session, &target, &parameters).await.unwrap().is_ready());
    let rotate = action("vault.rotate_kv_secret");
    let (secret, keys) = (secret_target("app/db"), json!({ "keys": ["password"] }));
    let before = rotate.inspect(&*session, &secret, &keys).await.unwrap().before;
    let cx = step(rotate, &secret, &keys, &before.fingerprint);
    let done = rotate.execute(&*session, &cx, &before).await.unwrap();
    let new: Value = serde_json::from_str(done.produced[0].value.expose()).unwrap();
    let audit = bench.bao.audit();
    assert!(audit.contains("secret/data/app/db") && audit.contains("lookup-accessor"));
    let new = new["password"].as_str().unwrap();
    assert_eq!(bench.witness_data("app/db").await["password"], new);
    for secret in [OLD, &token, &accessor, bench.bao.root_token(), new] {
        assert!(!audit.contains(secret), "a secret is in the audit log");
    }
}
