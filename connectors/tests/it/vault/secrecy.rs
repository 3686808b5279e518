//! The token of a login is the session's alone: nobody typed it in, and it is kept out of everything all the same.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::bench::policy_target;
use crate::fixture::{action, context, open};

const TOKEN: &str = "hvs.CAESIJxW-token-of-a-login";

/// A server that lets everybody in, and repeats the token to whoever asks for `where_at`.
async fn echo(where_at: &'static str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut heard = vec![0; 16 * 1024];
                let count = stream.read(&mut heard).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&heard[..count]).into_owned();
                let (status, body) = if request.contains(where_at) {
                    (500, json!({ "errors": [format!("bad token {TOKEN}")] }))
                } else if request.contains("/login") {
                    (200, json!({ "auth": { "client_token": TOKEN } }))
                } else {
                    (200, json!({ "data": { "display_name": "approle" } }))
                };
                let body = body.to_string();
                let answer = format!(
                    "HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nConnection: close\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn contract_the_token_of_a_login_is_not_repeated() {
    for where_at in ["/lookup-self", "/sys/policies/acl/"] {
        let credentials = json!({
            "address": format!("http://127.0.0.1:{}", echo(where_at).await),
            "role_id": "role", "secret_id": "a-secret-id",
        });
        let error = match open("vault", credentials, &context()).await {
            Err(error) => error,
            Ok(session) => {
                let action = action("vault.update_policy");
                let (target, parameters) = (policy_target("app"), action.spec().example.clone());
                let read = action.read(&*session, &target, &parameters, None).await;
                read.expect_err("it is answered with an error")
            }
        };
        let said = format!("{error} {error:?}");
        assert!(said.contains("bad token [redacted]"), "{where_at}: {said}");
        assert!(!said.contains(TOKEN), "{where_at}: {said}");
    }
}
