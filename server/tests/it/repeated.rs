//! The same request again, with its Idempotency-Key: at the same moment, later, and after a crash took
//! the remembered answer away. One effect, one answer.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, Server, Shop, id};

/// Forgets what was answered, as if the server had died between the append and the answer.
async fn forget_answers(server: &Server) {
    sqlx::query("UPDATE nexplane.requests SET status = NULL, headers = NULL, body = NULL")
        .execute(server.database().pool())
        .await
        .unwrap();
}

async fn send(client: &Client, path: &str, key: &str, body: &Value) -> Answer {
    client.send(client.request(Method::POST, path).header("idempotency-key", key).json(body)).await
}

/// Sends a request four times at once, and twice more without the remembered answer; all six say the
/// same. Gives the first answer.
async fn six_times(server: &Server, client: &Client, path: &str, body: &Value) -> Answer {
    let one = || send(client, path, path, body);
    let (first, second, third, fourth) = tokio::join!(one(), one(), one(), one());
    forget_answers(server).await;
    let fifth = one().await;
    forget_answers(server).await;
    let sixth = one().await;
    for again in [second, third, fourth, fifth, sixth] {
        let said = |answer: &Answer| (answer.status, answer.json["id"].clone());
        assert_eq!(said(&again), said(&first), "{path}: {:#}\n{:#}", again.json, first.json);
    }
    first
}

/// The change's own events: reading the target is in its history too, as often as it was done.
async fn transitions(client: &Client, change: &str) -> Vec<String> {
    let mut history = client.history(change).await;
    history.retain(|event| event.starts_with("change."));
    history
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_a_change_happens_once() {
    let server = Server::start().await;
    let shop = Shop::connect(&server, "staging").await;
    let (operator, approver) = (server.operator().await, server.approver().await);
    let role = shop.role(&server, "app").await;
    let request = shop.request(&operator, "postgres.lock_user", &role).await;

    let drafted = six_times(&server, &operator, "/change-requests", &request).await.is(201);
    let change = id(&drafted);
    let path = |what: &str| format!("/change-requests/{change}/{what}");
    let nothing = json!({});
    let planned = six_times(&server, &operator, &path("plan"), &nothing).await.is(200);
    let digest = &planned["plan"]["digest"];
    six_times(&server, &operator, &path("submit"), &nothing).await.is(200);
    let approval = json!({ "plan_digest": digest });
    six_times(&server, &approver, &path("approve"), &approval).await.is(200);
    six_times(&server, &operator, &path("execute"), &nothing).await.is(200);
    let complete = operator.settled(&change).await;
    assert_eq!(complete["state"], "complete", "{complete:#}");
    // Long after: what was asked happened, and is not refused for having happened.
    forget_answers(&server).await;
    send(&operator, &path("execute"), &path("execute"), &nothing).await.is(200);

    let back = six_times(&server, &operator, &path("rollback"), &nothing).await.is(201);
    assert_eq!(back["rollback_of"], change);
    let expected = [
        "change.drafted",
        "change.planned",
        "change.submitted",
        "change.approval_given",
        "change.approved",
        "change.execution_started",
        "change.completed",
    ];
    assert_eq!(transitions(&operator, &change).await, expected);
    let expected = ["change.drafted", "change.planned", "change.submitted"];
    assert_eq!(transitions(&operator, &id(&back)).await, expected);

    // The same key with another wish is a mistake, also when no answer is remembered.
    let other = json!({ "plan_digest": "00" });
    let reused = send(&approver, &path("approve"), &path("approve"), &other).await;
    reused.refused(409, "idempotency.key_reused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_made_once_with_one_set_of_credentials() {
    let server = Server::start().await;
    let shop = Shop::connect(&server, "dev").await;
    let body = json!({
        "name": "again",
        "type": "postgres",
        "environment": "dev",
        "credentials": shop.credentials(),
    });
    let secrets = "SELECT count(*) FROM nexplane.secrets";
    let count = async || -> i64 {
        sqlx::query_scalar(secrets).fetch_one(server.database().pool()).await.unwrap()
    };
    let before = count().await;
    let made = six_times(&server, &server.admin, "/connections", &body).await.is(201);
    assert_eq!(count().await, before + 1);

    // All of an edit, or nothing of it: the version is asked about once.
    let path = format!("/connections/{}", id(&made));
    let edit =
        json!({ "name": "renamed", "environment": "prod", "credentials": shop.credentials() });
    let patch = |version: &str| {
        server.admin.request(Method::PATCH, &path).header("if-match", version).json(&edit)
    };
    server.admin.send(patch("\"77\"")).await.refused(412, "conflict.version");
    assert_eq!(count().await, before + 1);
    let etag = server.admin.get(&path).await.header("etag").to_owned();
    let edited = server.admin.send(patch(&etag)).await.is(200);
    assert_eq!((&edited["name"], &edited["environment"]), (&json!("renamed"), &json!("prod")));
    assert_eq!(count().await, before + 1);
}
