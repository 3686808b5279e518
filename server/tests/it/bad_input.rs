//! Requests that make no sense: each is refused in words, and none leaves a trace.

use nexplane_server::auth::{Claims, JwtKey};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::harness::{Client, Server, text};

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_in_words_and_leaves_no_trace() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let auditor = server.person("aude", &["auditor"]).await;
    let before = server.events().await;
    bodies(&operator).await;
    addresses(&operator, &auditor).await;
    headers(&operator).await;
    characters(&server, &operator, &auditor).await;
    assert_eq!(server.events().await, before, "something was written");
    operator.get("/auth/me").await.is(200);
    let health = server.base.lock().unwrap().clone() + "/health";
    assert_eq!(reqwest::get(health).await.unwrap().status(), 200);
}

async fn bodies(operator: &Client) {
    let draft = json!({
        "title": "t", "reason": "r", "change_type": "postgres.lock_user",
        "connection_id": Uuid::now_v7(), "targets": ["a/b"], "parameters": {},
    });
    let send = async |pointer: &str, value| {
        let mut body = draft.clone();
        body[pointer] = value;
        operator.post("/change-requests", body).await.refused(422, "validation.failed")
    };
    for (field, value, pointer) in [
        ("surprise", json!(1), "/surprise"),
        ("title", json!(7), "/title"),
        ("targets", json!("a/b"), "/targets"),
        ("targets", json!(["a", 1]), "/targets/1"),
        ("window", json!({ "start": "noon", "end": "night" }), "/window/start"),
        ("connection_id", json!("not an id"), "/connection_id"),
        ("connection_id", json!(Uuid::now_v7()), "/connection_id"),
        ("parameters", json!({ "surprise": 1 }), "/parameters"),
    ] {
        let problem = send(field, value).await;
        let found = text(&problem["errors"][0]["pointer"]);
        assert!(found.starts_with(pointer), "{pointer}: {problem:#}");
        assert!(!text(&problem["errors"][0]["reason"]).is_empty());
    }
    send("change_type", json!("postgres.no_such_action")).await;
    operator.post("/change-requests", json!([])).await.refused(422, "validation.failed");

    let raw = async |kind: &str, body: Vec<u8>| {
        let post = operator.request(Method::POST, "/change-requests");
        operator.send(post.header("content-type", kind).body(body)).await
    };
    for body in ["{", "", "{\"title\": \"\u{1}\"}", "nonsense", "{\"title\":\"\\ud800\"}"] {
        let answer = raw("application/json", body.into()).await;
        answer.is_problem();
        // Nothing at all counts as an empty object, which lacks fields.
        let expected = if body.is_empty() { 422 } else { 400 };
        assert_eq!(answer.status, expected, "{body}: {:#}", answer.json);
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(matches!(raw("application/json", deep.into()).await.status, 400 | 422));
    raw("application/json", vec![0xff, 0xfe]).await.refused(400, "request.malformed");
    raw("text/plain", draft.to_string().into()).await.refused(415, "request.media_type");
    let form = "application/x-www-form-urlencoded";
    raw(form, "title=t".into()).await.refused(415, "request.media_type");
    let huge = vec![b' '; 3 * 1024 * 1024 + 1];
    raw("application/json", huge).await.refused(413, "request.too_large");
}

async fn addresses(operator: &Client, auditor: &Client) {
    let unknown = Uuid::now_v7();
    for path in ["/change-requests", "/connections", "/assets", "/hosts"] {
        operator.get(&format!("{path}/{unknown}")).await.refused(404, "not_found");
        operator.get(&format!("{path}/nonsense")).await.refused(404, "not_found");
        operator.get(&format!("{path}?cursor=nonsense")).await.is_refused_with(&[400]);
        operator.get(&format!("{path}?limit=0")).await.is_refused_with(&[400, 422]);
        operator.get(&format!("{path}?limit=201")).await.is_refused_with(&[400, 422]);
        operator.get(&format!("{path}?limit=many")).await.is_refused_with(&[400, 422]);
        operator.get(&format!("{path}?surprise=1")).await.is_refused_with(&[400, 422]);
        let delete = operator.request(Method::PUT, path).json(&json!({}));
        operator.send(delete).await.refused(405, "request.method");
    }
    for action in ["plan", "submit", "execute", "rollback", "withdraw"] {
        operator.act(&unknown.to_string(), action).await.refused(404, "not_found");
    }
    operator.get(&format!("/change-requests/{unknown}/events")).await.refused(404, "not_found");
    operator.get("/change-requests/99999999999999999999").await.refused(404, "not_found");
    operator.get("/change-requests/9223372036854775807").await.refused(404, "not_found");
    operator.get("/change-requests?state=nonsense").await.refused(422, "validation.failed");
    operator.get("/hosts?status=nonsense").await.refused(422, "validation.failed");
    for list in ["orders", "history"] {
        let path = format!("/hosts/{unknown}/{list}");
        operator.get(&path).await.refused(404, "not_found");
    }
    operator.get("/nothing/here").await.refused(404, "not_found");
    for query in ["cursor=nonsense", "from=yesterday", "resource=nonsense", "actor=nonsense"] {
        auditor.get(&format!("/audit?{query}")).await.is_refused_with(&[400, 422]);
    }
}

async fn headers(operator: &Client) {
    let get = operator.request(Method::GET, "/auth/me").header("x-min-position", "soon");
    operator.send(get).await.refused(400, "request.malformed");
    let path = format!("/change-requests/{}", Uuid::now_v7());
    for (name, value) in [
        ("if-match", "soon".to_owned()),
        ("idempotency-key", "k".repeat(201)),
        ("idempotency-key", String::new()),
    ] {
        let patch = operator.request(Method::PATCH, &path).header(name, value).json(&json!({}));
        operator.send(patch).await.refused(400, "request.malformed");
    }
}

/// NUL is a character of JSON, and none of PostgreSQL's text.
async fn characters(server: &Server, operator: &Client, auditor: &Client) {
    for path in [
        "/assets?q=%00",
        "/assets?tag=%00",
        "/hosts?q=%00",
        "/hosts/summary?q=%00",
        "/change-requests?q=%00",
    ] {
        operator.get(path).await.is_refused_with(&[400, 422]);
    }
    auditor.get("/audit?q=%00").await.is_refused_with(&[400, 422]);
    for query in ["type=%00", "actor=%00"] {
        auditor.get(&format!("/audit?{query}")).await.is_refused_with(&[400, 422]);
    }
    operator.get("/change-requests/%00").await.refused(404, "not_found");
    let draft = json!({
        "title": "t\0", "reason": "r", "change_type": "postgres.lock_user",
        "connection_id": Uuid::now_v7(), "targets": ["a\0/b"], "parameters": {},
    });
    operator.post("/change-requests", draft).await.refused(422, "validation.failed");
    let login = json!({ "email": "a\0@example.org", "password": "\0" });
    server.nobody().post("/auth/login", login).await.is_refused_with(&[401, 422]);
    let user = json!({ "email": "a\0@example.org", "name": "n", "roles": ["viewer"] });
    server.admin.post("/users", user).await.refused(422, "validation.failed");
    let user = json!({ "email": "a@example.org", "name": "n\0", "roles": ["viewer"] });
    server.admin.post("/users", user).await.refused(422, "validation.failed");
    let connection =
        json!({ "name": "n\0", "type": "redis", "environment": "dev", "credentials": {} });
    server.admin.post("/connections", connection).await.refused(422, "validation.failed");
    let invitation = json!({ "hostname": "n\0" });
    server
        .admin
        .post("/hosts/enrollment-tokens", invitation)
        .await
        .refused(422, "validation.failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_not_good_any_more_or_never_were_open_nothing() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let good = operator.token.clone().unwrap();
    let me = async |token: &str| operator.with_token(token).get("/auth/me").await;
    let invalid = ["", "nonsense", "a.b.c", "npt_nonsense", "npt_", "\u{e4}\u{f6}"];
    for token in invalid {
        me(token).await.refused(401, "auth.invalid");
    }
    // One bit of the signature, and of the claims.
    let turn = |index: usize| {
        let mut bytes = good.clone().into_bytes();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    let last_dot = good.rfind('.').unwrap();
    me(&turn(last_dot + 1)).await.refused(401, "auth.invalid");
    me(&turn(last_dot - 1)).await.refused(401, "auth.invalid");

    let now = jiff::Timestamp::now().as_second();
    let person = operator.id.parse().unwrap();
    let claims = Claims { sub: person, sid: Uuid::now_v7(), iat: now, exp: now + 600 };
    let foreign = JwtKey::from_pkcs8(&JwtKey::generate()).unwrap();
    me(&foreign.sign(&claims)).await.refused(401, "auth.invalid");
    // Ours, of a session that there is not; and one whose time is over.
    me(&server.sign(&claims).await).await.refused(401, "auth.expired");
    let over = Claims { iat: now - 7200, exp: now - 1, ..claims };
    me(&server.sign(&over).await).await.refused(401, "auth.expired");
    me(&good).await.is(200);

    // Six wrong passwords, and even the right one has to wait.
    let wrong = json!({ "email": "olga@example.org", "password": "wrong" });
    for _ in 0..6 {
        server.nobody().post("/auth/login", wrong.clone()).await.refused(401, "auth.invalid");
    }
    let braked = server.nobody().post("/auth/login", wrong).await;
    assert!(braked.header("retry-after").parse::<u32>().unwrap() > 0);
    braked.refused(429, "rate_limited");
    // Who is already in does not notice.
    me(&good).await.is(200);
}
