//! Connecting to a real server, and to what is none; and what the test of a connection says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nexplane_connectors::sdk::{
    Advice, ConnectorError, Egress, EgressRules, ErrorKind, OpenContext,
};
use nexplane_peers::redis::Setup;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::bench::{Bench, PASSWORD};
use crate::fixture::{context, open};
use crate::suite::another_ca;

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
    assert_eq!(error.connector, "redis");
    assert!(!format!("{error:?} {error}").contains(&bench.server.password));
    error
}

#[tokio::test]
async fn real_certificates_are_verified_by_default() {
    let bench = Bench::new().await;
    assert!(bench.open(bench.credentials()).await.is_ok());
    assert!(bench.open(with(&bench, json!({ "host": "localhost" }))).await.is_ok());
    assert!(bench.open(with(&bench, json!({ "tls": true }))).await.is_ok());
    let error = fails(&bench, json!({ "ca_certificate": another_ca() })).await;
    assert_eq!((error.kind, error.advice), (ErrorKind::Unauthorised, Advice::Never));
    assert!(error.message.contains("trusted CA"), "{error}");
    // Without a CA of its own, the system's are asked, and do not know this server.
    let error = fails(&bench, json!({ "ca_certificate": null })).await;
    assert!(matches!(error.kind, ErrorKind::Unauthorised | ErrorKind::Invalid), "{error:?}");
    assert_eq!(fails(&bench, json!({ "ca_certificate": "no PEM" })).await.kind, ErrorKind::Invalid);
}

/// Through a forwarder on another loopback address, as a man in the middle would stand.
#[tokio::test]
async fn real_another_name_is_refused() {
    let bench = Bench::new().await;
    let listener = TcpListener::bind(("127.0.0.9", 0)).await.unwrap();
    let (there, port) = (listener.local_addr().unwrap().port(), bench.server.port);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let error = fails(&bench, json!({ "host": "127.0.0.9", "port": there })).await;
    assert_eq!((error.kind, error.advice), (ErrorKind::Unauthorised, Advice::Never), "{error:?}");
    assert!(error.message.contains("another name"), "{error}");
}

#[tokio::test]
async fn real_tls_and_plain_are_never_mixed_up() {
    let tls = Bench::new().await;
    let error = fails(&tls, json!({ "tls": false })).await;
    assert_eq!(error.kind, ErrorKind::Invalid, "a CA without TLS is a mistake");
    let error = fails(&tls, json!({ "tls": false, "ca_certificate": null })).await;
    assert!(matches!(error.kind, ErrorKind::Unreachable | ErrorKind::Unexpected), "{error:?}");

    let plain = Bench::with(Setup::Requirepass).await;
    assert!(plain.open(plain.credentials()).await.is_ok());
    // Never a silent downgrade.
    let patient = OpenContext { call_timeout: Duration::from_millis(900), ..context() };
    let credentials = with(&plain, json!({ "tls": true }));
    let error = open("redis", credentials, &patient).await.err().expect("there is no TLS");
    assert_eq!((error.kind, error.advice), (ErrorKind::Timeout, Advice::Later), "{error:?}");
    assert!(error.message.contains("the port with TLS"), "{error}");
}

#[tokio::test]
async fn real_wrong_users_and_passwords_are_unauthorised() {
    let bench = Bench::new().await;
    let locked = bench.user("locked");
    bench.run("ACL SETUSER locked off");
    for changes in [
        json!({ "password": "wrong-password" }),
        json!({ "username": "nobody" }),
        json!({ "username": null }),
        json!({ "username": locked, "password": PASSWORD }),
    ] {
        let error = fails(&bench, changes).await;
        assert_eq!((error.kind, error.advice), (ErrorKind::Unauthorised, Advice::Never));
    }
    assert_eq!(fails(&bench, json!({ "username": "a b" })).await.kind, ErrorKind::Invalid);
    // The name of the user may be left out where it is `default`.
    let plain = Bench::with(Setup::Requirepass).await;
    let requirepass = plain.server.requirepass.clone().unwrap();
    let changes = json!({ "username": null, "password": requirepass });
    assert!(plain.open(with(&plain, changes)).await.is_ok());
}

/// Answers each connection with `answer`, then keeps silent or goes.
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

async fn meets(cx: &OpenContext, port: u16) -> ConnectorError {
    let credentials = json!({
        "host": "127.0.0.1", "port": port, "password": "secret-of-the-test", "tls": false,
    });
    let error = open("redis", credentials, cx).await.err().expect("connected to no server");
    assert!(!format!("{error:?} {error}").contains("secret-of-the-test"));
    assert!(!error.is_outcome_unknown());
    error
}

#[tokio::test]
async fn contract_servers_of_another_kind_are_recognised_without_tls_too() {
    let answers: [&[u8]; 4] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x7f\x7f\x7f\x7f\x7f\x7f\r\n",
        b"+OK\r\n",
    ];
    for answer in answers {
        let started = Instant::now();
        let error = meets(&context(), impostor(answer, false).await).await;
        let text = String::from_utf8_lossy(answer);
        assert_eq!((error.kind, error.advice), (ErrorKind::Unexpected, Advice::Never), "{text}");
        assert!(started.elapsed() < Duration::from_secs(5), "{text}");
    }
    let error = meets(&context(), impostor(b"", true).await).await;
    assert_eq!((error.kind, error.advice), (ErrorKind::Unreachable, Advice::Later), "{error:?}");
    let patient = OpenContext { call_timeout: Duration::from_millis(300), ..context() };
    let error = meets(&patient, impostor(b"", false).await).await;
    assert_eq!((error.kind, error.advice), (ErrorKind::Timeout, Advice::Later), "{error:?}");
}

/// What answers to `HELLO` in the manner of Redis, but is too old, or watches others.
#[tokio::test]
async fn contract_old_servers_and_sentinels_say_what_to_do() {
    let old: &[u8] = b"*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n6.2.7\r\n\
        $5\r\nproto\r\n:2\r\n$2\r\nid\r\n:3\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n\
        $4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";
    let older: &[u8] = b"-ERR unknown command `HELLO`, with args beginning with: `2`, \r\n";
    let sentinel: &[u8] = b"*6\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n\
        $4\r\nmode\r\n$8\r\nsentinel\r\n$7\r\nmodules\r\n*0\r\n";
    for (answer, says) in [(old, "7.0"), (older, "7.0"), (sentinel, "Sentinel")] {
        let error = meets(&context(), impostor(answer, false).await).await;
        assert_eq!((error.kind, error.advice), (ErrorKind::Invalid, Advice::Never), "{error:?}");
        assert!(error.message.contains(says), "{error}");
    }
    let loading: &[u8] = b"-LOADING Redis is loading the dataset in memory\r\n";
    let error = meets(&context(), impostor(loading, false).await).await;
    assert_eq!((error.kind, error.advice), (ErrorKind::Unreachable, Advice::Later), "{error:?}");
}

#[tokio::test]
async fn real_the_egress_guard_stands_before_every_connection() {
    let bench = Bench::new().await;
    let rules = EgressRules { allow_loopback: false, ..EgressRules::default() };
    let strict = OpenContext { egress: Arc::new(Egress::new(rules)), ..context() };
    let error = open("redis", bench.credentials(), &strict).await.err().expect("refused");
    assert_eq!((error.kind, error.advice), (ErrorKind::Refused, Advice::Never), "{error:?}");
    for host in ["169.254.169.254", "/run/redis.sock", "0.0.0.0"] {
        assert_eq!(fails(&bench, json!({ "host": host })).await.kind, ErrorKind::Refused);
    }
}

#[tokio::test]
async fn real_the_test_names_each_permission_and_what_is_missing() {
    let bench = Bench::new().await;
    let checks = bench.session().await.test().await;
    assert!(checks.len() >= 9 && checks.iter().all(|check| check.ok), "{checks:#?}");

    let weak = bench.weak();
    let checks = bench.session_of(&weak).await.test().await;
    let missing: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
    assert_eq!(missing.len(), checks.len() - 2, "{checks:#?}");
    // What the test says is what has to be done, word for word.
    for _ in 0..2 {
        for check in bench.session_of(&weak).await.test().await.iter().filter(|check| !check.ok) {
            bench.run(check.detail.strip_prefix("as an administrator run: ").unwrap());
        }
    }
    let checks = bench.session_of(&weak).await.test().await;
    assert!(checks.iter().all(|check| check.ok), "{checks:#?}");
    assert!(bench.session_of(&weak).await.discover().await.is_ok());
}

/// Whoever has no password shares the connection's rights with everybody.
#[tokio::test]
async fn real_the_test_tells_of_a_user_without_a_password() {
    let bench = Bench::new().await;
    bench.run("ACL SETUSER open on nopass ~* &* +@all");
    let session = bench.open(bench.credentials_of("open", "anything-at-all")).await.unwrap();
    let failed: Vec<_> = session.test().await.into_iter().filter(|check| !check.ok).collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert!(failed[0].detail.contains("anybody gets in"), "{failed:#?}");
}
