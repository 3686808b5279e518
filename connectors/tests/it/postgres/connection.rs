//! Opening a connection: TLS in all its degrees, wrong passwords, absent and foreign servers.

use nexplane_connectors::sdk::{
    Advice, ConnectorError, Egress, EgressRules, ErrorKind, OpenContext,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};
use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::bench::{Bench, PASSWORD};
use crate::fixture::{context, open};

fn another_ca() -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

/// Credentials of the bench with some fields replaced; `null` removes one.
fn with(bench: &Bench, changes: Value) -> Value {
    let mut credentials = bench.credentials();
    let fields = credentials.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            fields.remove(name);
        } else {
            fields.insert(name.clone(), value.clone());
        }
    }
    credentials
}

async fn fails(bench: &Bench, changes: Value) -> ConnectorError {
    let error = bench.open(with(bench, changes.clone())).await.err();
    let error = error.unwrap_or_else(|| panic!("connected with {changes}"));
    assert_eq!(error.connector, "postgres");
    assert!(!format!("{error:?} {error}").contains(bench.server.password()));
    error
}

#[tokio::test]
async fn real_verify_full_is_the_default_and_checks_chain_and_name() {
    let bench = Bench::new().await;
    assert!(bench.open(bench.credentials()).await.is_ok());
    assert!(bench.open(with(&bench, json!({ "ssl_mode": "verify-full" }))).await.is_ok());
    // The certificate names localhost and 127.0.0.1, and nothing else of this machine.
    assert!(bench.open(with(&bench, json!({ "host": "127.0.0.1" }))).await.is_ok());

    let error = fails(&bench, json!({ "host": "127.0.0.2" })).await;
    if error.kind == ErrorKind::Unauthorised {
        assert!(error.message.contains("another name"), "{error}");
    } else {
        // The server listens on one loopback address only.
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error:?}");
    }

    let error = fails(&bench, json!({ "ca_certificate": another_ca() })).await;
    assert_eq!((error.kind, error.advice), (ErrorKind::Unauthorised, Advice::Never), "{error:?}");
    assert!(error.message.contains("trusted CA"), "{error}");

    // Without a CA of its own, the system's are asked, and do not know this server.
    let error = fails(&bench, json!({ "ca_certificate": null })).await;
    assert!(matches!(error.kind, ErrorKind::Unauthorised | ErrorKind::Invalid), "{error:?}");

    let error = fails(&bench, json!({ "ca_certificate": "not PEM" })).await;
    assert_eq!(error.kind, ErrorKind::Invalid);
}

/// The same server under a name that its certificate does not have: through a forwarder on another
/// loopback address, as a man in the middle would stand.
#[tokio::test]
async fn real_another_name_is_refused_by_verify_full_and_accepted_by_verify_ca() {
    let bench = Bench::new().await;
    let listener = TcpListener::bind(("127.0.0.9", 0)).await.unwrap();
    let there = listener.local_addr().unwrap();
    let server = (bench.server.host(), bench.server.port());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(server).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let way = |mode: &str| json!({ "host": "127.0.0.9", "port": there.port(), "ssl_mode": mode });
    let error = fails(&bench, way("verify-full")).await;
    assert_eq!((error.kind, error.advice), (ErrorKind::Unauthorised, Advice::Never), "{error:?}");
    assert!(error.message.contains("another name"), "{error}");

    assert!(bench.open(with(&bench, way("verify-ca"))).await.is_ok());
    let mut wrong_ca = way("verify-ca");
    wrong_ca["ca_certificate"] = json!(another_ca());
    assert_eq!(fails(&bench, wrong_ca.clone()).await.kind, ErrorKind::Unauthorised);

    // With a CA, `require` is `verify-ca`, as in libpq; without one, anybody will do.
    wrong_ca["ssl_mode"] = json!("require");
    assert_eq!(fails(&bench, wrong_ca.clone()).await.kind, ErrorKind::Unauthorised);
    wrong_ca["ca_certificate"] = Value::Null;
    assert!(bench.open(with(&bench, wrong_ca)).await.is_ok());
}

#[tokio::test]
async fn real_a_server_that_wants_tls_refuses_disable() {
    let bench = Bench::new().await;
    let error = fails(&bench, json!({ "ssl_mode": "disable", "ca_certificate": null })).await;
    assert_eq!((error.kind, error.advice), (ErrorKind::Unauthorised, Advice::Never), "{error:?}");
    let error = fails(&bench, json!({ "ssl_mode": "disable" })).await;
    assert_eq!(error.kind, ErrorKind::Invalid, "a CA without TLS is a mistake");
}

#[tokio::test]
async fn real_wrong_password_role_and_database_are_told_apart() {
    let bench = Bench::new().await;
    let error = fails(&bench, json!({ "password": "wrong-password" })).await;
    assert_eq!((error.kind, error.advice), (ErrorKind::Unauthorised, Advice::Never), "{error:?}");
    assert!(error.source().is_some());

    let error = fails(&bench, json!({ "username": bench.server.role("nobody") })).await;
    assert_eq!(error.kind, ErrorKind::Unauthorised, "{error:?}");

    let role = bench.role("locked").await;
    bench.sql(&format!("ALTER ROLE \"{role}\" NOLOGIN")).await;
    let error = fails(&bench, json!({ "username": role, "password": PASSWORD })).await;
    assert_eq!(error.kind, ErrorKind::Unauthorised, "{error:?}");

    let error = fails(&bench, json!({ "database": "no such database" })).await;
    assert_eq!((error.kind, error.advice), (ErrorKind::NotFound, Advice::Never), "{error:?}");
}

/// Accepts connections and answers each with `answer`, then keeps silent.
async fn impostor(answer: &'static [u8], hang_up: bool) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut first = [0; 8];
                let _ = stream.read(&mut first).await;
                let _ = stream.write_all(answer).await;
                if !hang_up {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    port
}

fn to(port: u16, mode: &str) -> Value {
    json!({
        "host": "127.0.0.1", "port": port, "database": "d", "username": "u",
        "password": "secret-of-the-test", "ssl_mode": mode,
    })
}

async fn meets(cx: &OpenContext, credentials: Value) -> ConnectorError {
    let error = open("postgres", credentials, cx).await.err();
    let error = error.expect("connected to something that is no server");
    assert!(!format!("{error:?} {error}").contains("secret-of-the-test"));
    error
}

#[tokio::test]
async fn contract_servers_of_another_kind_are_recognised_at_once() {
    let answers: [&[u8]; 5] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"-ERR unknown command\r\n",
        b"RFB 003.008\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ];
    for answer in answers {
        let port = impostor(answer, false).await;
        for mode in ["disable", "require", "verify-full"] {
            let started = Instant::now();
            let error = meets(&context(), to(port, mode)).await;
            let text = String::from_utf8_lossy(answer);
            assert_eq!(error.kind, ErrorKind::Unexpected, "{mode} {text}: {error:?}");
            assert_eq!(error.advice, Advice::Never);
            assert!(started.elapsed() < Duration::from_secs(5), "{mode} {text}");
        }
    }
}

#[tokio::test]
async fn contract_absent_silent_and_tls_less_servers() {
    // Nobody listens there.
    let port = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
    let error = meets(&context(), to(port, "verify-full")).await;
    assert_eq!((error.kind, error.advice), (ErrorKind::Unreachable, Advice::Later), "{error:?}");

    // No such name (RFC 6761 §6.4).
    let mut nowhere = to(5432, "verify-full");
    nowhere["host"] = json!("db.invalid");
    let error = meets(&context(), nowhere).await;
    assert_eq!((error.kind, error.advice), (ErrorKind::Unreachable, Advice::Later), "{error:?}");

    // Hangs up.
    for mode in ["disable", "require"] {
        let error = meets(&context(), to(impostor(b"", true).await, mode)).await;
        assert_eq!(error.kind, ErrorKind::Unreachable, "{mode}: {error:?}");
    }

    // Says nothing: opening has no effect on anything, so this is a plain timeout.
    let patient = OpenContext { call_timeout: Duration::from_millis(300), ..context() };
    for mode in ["disable", "require"] {
        let error = meets(&patient, to(impostor(b"", false).await, mode)).await;
        assert_eq!((error.kind, error.advice), (ErrorKind::Timeout, Advice::Later), "{error:?}");
    }

    // Speaks PostgreSQL, but offers no TLS: never a silent downgrade.
    for mode in ["require", "verify-ca", "verify-full"] {
        let error = meets(&context(), to(impostor(b"N", false).await, mode)).await;
        assert_eq!((error.kind, error.advice), (ErrorKind::Invalid, Advice::Never), "{error:?}");
        assert!(error.message.contains("does not offer TLS"), "{error}");
    }
}

#[tokio::test]
async fn real_the_egress_guard_stands_before_every_connection() {
    let bench = Bench::new().await;
    let rules = EgressRules { allow_loopback: false, ..EgressRules::default() };
    let strict = OpenContext { egress: Arc::new(Egress::new(rules)), ..context() };
    let refused = |error: ConnectorError| {
        assert_eq!((error.kind, error.advice), (ErrorKind::Refused, Advice::Never), "{error:?}");
    };
    refused(meets(&strict, bench.credentials()).await);
    for host in
        ["169.254.169.254", "/var/run/postgresql", "0.0.0.0", "[fe80::1]", "::ffff:169.254.1.1"]
    {
        let mut credentials = to(5432, "require");
        credentials["host"] = json!(host);
        refused(meets(&context(), credentials).await);
    }
}

#[tokio::test]
async fn real_the_test_names_each_permission_and_what_is_missing() {
    let bench = Bench::new().await;
    let checks = bench.session().await.test().await;
    assert!(checks.len() >= 7 && checks.iter().all(|check| check.ok), "{checks:#?}");

    let weak = bench.role("weak").await;
    let checks = bench.session_of(&weak).await.test().await;
    let missing: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
    assert_eq!(missing.len(), 4, "{checks:#?}");
    assert!(missing.iter().all(|check| check.detail.starts_with("as a superuser run: ")));
    // What the test says is what has to be done, word for word.
    for check in missing {
        bench.sql(check.detail.strip_prefix("as a superuser run: ").unwrap()).await;
    }
    let checks = bench.session_of(&weak).await.test().await;
    assert!(checks.iter().all(|check| check.ok), "{checks:#?}");
    // Its rights came from owning the database's owner: given back before the bench cleans up.
    bench.sql(&format!("REVOKE \"{}\" FROM \"{weak}\"", bench.server.username())).await;
}
