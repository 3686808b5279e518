use std::time::Duration;

use nexplane_core::id::ConnectionId;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::*;
use crate::sdk::{DigestKey, EgressRules};

fn context(rules: EgressRules) -> OpenContext {
    OpenContext {
        connection: ConnectionId(Uuid::nil()),
        egress: Arc::new(Egress::new(rules)),
        digest_key: DigestKey::new(&[1; 32]),
        call_timeout: Duration::from_secs(5),
        host: None,
    }
}

fn client(host: &str, port: u16, rules: EgressRules) -> Http {
    let base = Base { host: host.to_owned(), port, tls: false, ca_certificate: None };
    Http::try_new(&base, &context(rules)).unwrap()
}

/// A server that answers every request with this text and hangs up; what it heard comes back.
async fn answering(answer: &'static [u8]) -> (u16, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, hears) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut text = vec![0; 4096];
            let count = stream.read(&mut text).await.unwrap_or_default();
            let said = String::from_utf8_lossy(&text[..count]).into_owned();
            let _ = stream.write_all(answer).await;
            let _ = heard.send(said).await;
        }
    });
    (port, hears)
}

fn reply(status: u16, effect: bool) -> Reply {
    Reply { status, retry_after_s: None, body: Zeroizing::new(b"null".to_vec()), effect }
}

fn write() -> Request {
    Request::effect(Method::POST, ["a"])
}

#[tokio::test]
async fn a_path_is_escaped_and_a_secret_is_in_no_text() {
    let (port, mut hears) =
        answering(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{\"a\":1}").await;
    let http = client("localhost", port, EgressRules::default())
        .with_secret_header("x-vault-token", &SecretText::new("hush-hush".to_owned()))
        .unwrap();
    let request = Request::effect(Method::POST, ["v1", "a b", "c?d/e", "ü%"])
        .with_query("list", "true")
        .with_body(&json!({ "password": "hush-hush" }))
        .unwrap();
    assert!(!format!("{http:?} {request:?}").contains("hush-hush"));
    let reply = http.send(request).await.unwrap();
    assert_eq!(reply.json::<Value>().unwrap(), json!({ "a": 1 }));
    let heard = hears.recv().await.unwrap();
    let first = "POST /v1/a%20b/c%3Fd%2Fe/%C3%BC%25?list=true HTTP/1.1\r\n";
    assert!(heard.starts_with(first), "{heard}");
    assert!(heard.contains("x-vault-token: hush-hush\r\n"), "{heard}");
    for path in [[""], ["."], [".."]] {
        let error = http.send(Request::get(path)).await.unwrap_err();
        assert_eq!((error.kind, error.advice), (ErrorKind::Invalid, Advice::Never));
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (other, mut hears) = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let text = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:{other}/\r\n\
         content-length: 0\r\n\r\n"
    );
    let (port, _hears) = answering(text.leak().as_bytes()).await;
    let reply = client("127.0.0.1", port, EgressRules::default()).send(write()).await.unwrap();
    let error = reply.refusal("");
    assert_eq!((error.kind, error.advice), (ErrorKind::Unexpected, Advice::Never), "{error}");
    assert!(hears.try_recv().is_err());
}

#[tokio::test]
async fn the_egress_guard_is_asked_about_names_and_addresses() {
    let (port, mut hears) = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let strict = || EgressRules { allow_loopback: false, ..EgressRules::default() };
    for host in ["localhost", "127.0.0.1", "127.1", "[::1]", "::1", "169.254.169.254"] {
        let error = client(host, port, strict()).send(write()).await.unwrap_err();
        assert_eq!((error.kind, error.advice), (ErrorKind::Refused, Advice::Never), "{host}");
    }
    assert!(hears.try_recv().is_err());
    for host in ["", "a/b", "u@h", "a b", "/run/x.sock"] {
        let base = Base { host: host.to_owned(), port, tls: false, ca_certificate: None };
        let error = Http::try_new(&base, &context(strict())).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{host}");
    }
}

#[tokio::test]
async fn an_answer_has_a_limit() {
    let text = format!("HTTP/1.1 200 OK\r\n\r\n\"{}\"", "x".repeat(LARGEST_ANSWER));
    let (port, _hears) = answering(text.leak().as_bytes()).await;
    let http = client("127.0.0.1", port, EgressRules::default());
    let error = http.send(Request::get(["a"])).await.unwrap_err();
    assert_eq!((error.kind, error.advice), (ErrorKind::Unexpected, Advice::Never), "{error}");
}

#[tokio::test]
async fn only_a_request_that_was_sent_may_have_had_an_effect() {
    // Nobody listens: nothing was sent.
    let nobody = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port();
    let error =
        client("127.0.0.1", nobody, EgressRules::default()).send(write()).await.unwrap_err();
    assert_eq!((error.kind, error.advice), (ErrorKind::Unreachable, Advice::Later), "{error}");
    // It was read, and the line was closed; the answer broke off; the answer is none.
    let broken: [&'static [u8]; 3] =
        [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", b"\x7f\x7f\x7f\x7f\r\n\r\n"];
    for answer in broken {
        let (port, _hears) = answering(answer).await;
        let http = client("127.0.0.1", port, EgressRules::default());
        let error = http.send(write()).await.unwrap_err();
        assert_eq!(error.advice, Advice::OutcomeUnknown, "{answer:?}: {error}");
        let error = http.send(Request::get(["a"])).await.unwrap_err();
        assert_eq!(error.advice, Advice::Later, "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn the_server_says_when_it_can_be_asked_again() {
    let seconds = |answer: &'static [u8]| async move {
        let (port, _hears) = answering(answer).await;
        let reply = client("127.0.0.1", port, EgressRules::default()).send(write()).await.unwrap();
        reply.refusal("slow down").retry_after_s
    };
    let in_seconds =
        b"HTTP/1.1 429 Too Many\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n".as_slice();
    assert_eq!(seconds(in_seconds).await, Some(7));
    let at = b"HTTP/1.1 429 Too Many\r\nretry-after: Fri, 27 Nov 2026 20:00:00 GMT\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(seconds(at).await, None);
}

#[test]
fn a_status_says_whether_there_was_an_effect() {
    use ErrorKind as K;
    let cases = [
        (400, K::Invalid, Advice::Never, Advice::Never),
        (401, K::Unauthorised, Advice::Never, Advice::Never),
        (403, K::Forbidden, Advice::Never, Advice::Never),
        (404, K::NotFound, Advice::Never, Advice::Never),
        (408, K::Timeout, Advice::Later, Advice::OutcomeUnknown),
        (409, K::Conflict, Advice::Never, Advice::Never),
        (412, K::Conflict, Advice::Never, Advice::Never),
        (422, K::Invalid, Advice::Never, Advice::Never),
        (429, K::RateLimited, Advice::Later, Advice::Later),
        (500, K::Unexpected, Advice::Later, Advice::OutcomeUnknown),
        (502, K::Unreachable, Advice::Later, Advice::OutcomeUnknown),
        (503, K::Unreachable, Advice::Later, Advice::OutcomeUnknown),
        (504, K::Timeout, Advice::Later, Advice::OutcomeUnknown),
        (302, K::Unexpected, Advice::Never, Advice::Never),
    ];
    for (status, kind, reading, writing) in cases {
        for (effect, advice) in [(false, reading), (true, writing)] {
            let error = reply(status, effect).refusal("no");
            assert_eq!((error.kind, error.advice), (kind, advice), "{status}, effect: {effect}");
        }
    }
    // A success that is not what it should be: the request was an effect all the same.
    let odd = reply(200, true).json::<u8>().unwrap_err();
    assert_eq!((odd.kind, odd.advice), (K::Unexpected, Advice::OutcomeUnknown));
}
