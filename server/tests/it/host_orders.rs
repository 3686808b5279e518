//! What one host was ordered, and whether its receipts are its own.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use crate::harness::{Agent, Client, Server, eventually, id, items, text};

async fn executed(server: &Server, operator: &Client, agent: &Agent, content: &str) -> Value {
    let parameters = json!({ "path": "/etc/motd", "content": content });
    let request = agent.request("host.set_file_content", parameters);
    let submitted = operator.submitted(request).await;
    let needed = usize::try_from(submitted["approvals_needed"].as_u64().unwrap()).unwrap();
    for name in ["anna", "arno"].iter().take(needed) {
        let approver = server.person(name, &["approver"]).await;
        approver.approve(&id(&submitted), &submitted["plan"]["digest"]).await.is(200);
    }
    let done = operator.executed(&id(&submitted)).await;
    assert_eq!(done["state"], "complete", "{done:#}");
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_name_their_change_and_every_receipt_is_checked_again() {
    let server = Server::start().await;
    let agent = Agent::start(&server).await;
    let operator = server.operator().await;
    let viewer = server.person("vera", &["viewer"]).await;
    let host = text(&agent.asset["connection_id"]);
    let path = format!("/hosts/{host}/orders");
    assert!(items(&viewer.get(&path).await.is(200)).is_empty(), "only what has an effect");

    let change = executed(&server, &operator, &agent, "hello\n").await;
    let orders = viewer.get(&path).await.is(200);
    let [order] = &items(&orders)[..] else { panic!("one order: {orders:#}") };
    assert_eq!((&order["kind"], &order["state"]), (&json!("apply"), &json!("done")));
    assert_eq!(order["action"], "host.set_file_content");
    for (of_order, of_change) in
        [("change", "id"), ("change_number", "number"), ("change_title", "title")]
    {
        assert_eq!(order[of_order], change[of_change], "{order:#}");
    }
    assert!(text(&order["undo_until"]) > text(&order["finished_at"]), "{order:#}");
    assert!(!orders.to_string().contains("hello"), "what was signed stays here");

    // The questions before it are on the same chain, which begins with the first receipt.
    let all = viewer.get(&format!("{path}?questions=true&limit=200")).await.is(200);
    let mut receipts: Vec<Value> = items(&all)
        .iter()
        .flat_map(|order| order["receipts"].as_array().unwrap().clone())
        .collect();
    receipts.sort_by_key(|receipt| receipt["number"].as_u64());
    assert!(receipts.len() > 2, "{all:#}");
    for (index, receipt) in receipts.iter().enumerate() {
        assert_eq!(receipt["number"], json!(index + 1));
        let proof = &receipt["proof"];
        assert_eq!(proof["link"], if index == 0 { "first" } else { "follows" }, "{receipt:#}");
        assert_eq!((&proof["hash_holds"], &proof["signature_holds"]), (&json!(true), &json!(true)));
        if index > 0 {
            assert_eq!(proof["previous"], receipts[index - 1]["hash"]);
        }
    }

    // Page by page, each order once.
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = viewer.get(&format!("{path}?questions=true&limit=2{cursor}")).await.is(200);
        seen.extend(items(&page).iter().map(|order| order["seq"].as_u64().unwrap()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let whole: Vec<_> = items(&all).iter().map(|order| order["seq"].as_u64().unwrap()).collect();
    assert_eq!(seen, whole);
    viewer.get(&format!("{path}?cursor=nonsense")).await.refused(400, "request.malformed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_somebody_changed_is_found() {
    let server = Server::start().await;
    let agent = Agent::start(&server).await;
    let operator = server.operator().await;
    let host = text(&agent.asset["connection_id"]);
    executed(&server, &operator, &agent, "hello\n").await;
    let opened = server.opened().await;
    let proof = async || {
        let orders = operator.get(&format!("/hosts/{host}/orders")).await.is(200);
        items(&orders)[0]["receipts"][0]["proof"].clone()
    };
    assert_eq!(proof().await["signature_holds"], true);
    let [last]: [i64; 1] = numbers(&opened.pool, &host).await.try_into().unwrap();
    let change = async |set: &str, number: i64| {
        let sql = format!(
            "UPDATE nexplane.agent_receipts SET {set} WHERE host_id = $1::uuid AND number = $2"
        );
        let done = sqlx::query(AssertSqlSafe(sql)).bind(&host).bind(number);
        assert_eq!(done.execute(&opened.pool).await.unwrap().rows_affected(), 1);
    };

    let [applied, was_so] = [r#"changed\":true"#, r#"changed\":false"#];
    change(&format!("receipt = replace(receipt, '{applied}', '{was_so}')"), last).await;
    let found = proof().await;
    assert_eq!(
        (&found["hash_holds"], &found["signature_holds"]),
        (&json!(false), &json!(false)),
        "{found:#}"
    );
    change(&format!("receipt = replace(receipt, '{was_so}', '{applied}')"), last).await;
    assert_eq!(proof().await["hash_holds"], true);

    change("payload_hash = repeat('1', 64)", last - 1).await;
    assert_eq!(proof().await["link"], "broken");
    let gone = "DELETE FROM nexplane.agent_receipts WHERE host_id = $1::uuid AND number = $2";
    sqlx::query(gone).bind(&host).bind(last - 1).execute(&opened.pool).await.unwrap();
    assert_eq!(proof().await["link"], "missing");
    sqlx::query("DELETE FROM nexplane.agent_certificates WHERE host_id = $1::uuid")
        .bind(&host)
        .execute(&opened.pool)
        .await
        .unwrap();
    assert_eq!(proof().await["signature_holds"], false);
}

/// The receipts of what had an effect.
async fn numbers(pool: &PgPool, host: &str) -> Vec<i64> {
    sqlx::query_scalar(
        "SELECT r.number FROM nexplane.agent_receipts r JOIN nexplane.agent_jobs j USING (job_id)
         WHERE r.host_id = $1::uuid AND j.has_effect",
    )
    .bind(host)
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_went_and_was_revoked_says_so_in_its_row_its_counts_and_its_history() {
    let server = Server::start().await;
    let body = json!({ "hostname": "web-7" });
    let invited = server.admin.post("/hosts/enrollment-tokens", body).await.is(201);
    let host = text(&invited["host_id"]);
    let path = format!("/hosts/{host}");
    server.admin.get(&path).await.refused(404, "not_found");

    let agent = Agent::start(&server).await;
    let other = text(&agent.asset["connection_id"]);
    assert_ne!(other, host, "each token is for a host of its own");
    let path = format!("/hosts/{other}");
    let counts = async || server.admin.get("/hosts/summary").await.is(200);
    assert_eq!(counts().await, json!({ "online": 1, "offline": 0, "locked": 0, "revoked": 0 }));
    let shown = server.admin.get(&path).await.is(200);
    assert_eq!((&shown["agent_is_behind"], &shown["revoked_by"]), (&json!(false), &json!(null)));
    assert_eq!(shown["certificate_issued_at"], shown["enrolled_at"]);

    let reason = json!({ "reason": "sold" });
    let revoked = server.admin.post(&format!("{path}/revoke"), reason).await.is(200);
    assert_eq!((&revoked["status"], &revoked["reason"]), (&json!("revoked"), &json!("sold")));
    assert_eq!(revoked["revoked_by"], json!(server.admin.id));
    let name = revoked["revoked_by_name"].as_str().unwrap();
    assert!(!name.is_empty());
    let listed = server.admin.get("/hosts?status=revoked").await.is(200);
    assert_eq!(items(&listed)[0]["revoked_by_name"], name);
    assert_eq!(counts().await, json!({ "online": 0, "offline": 0, "locked": 0, "revoked": 1 }));

    // Its own events; not those of its connection, which has the same id.
    let viewer = server.person("vera", &["viewer"]).await;
    let kinds = eventually("the audit view has the revocation", async || {
        let page = viewer.get(&format!("{path}/history")).await.is(200);
        let kinds: Vec<_> = items(&page).iter().map(|event| text(&event["type"])).collect();
        // The agent asks on, and that it was refused may be told after it.
        kinds.iter().any(|kind| kind == "host.revoked").then_some(kinds)
    })
    .await;
    assert_eq!(kinds.last().map(String::as_str), Some("host.enrolled"));
    assert!(kinds.iter().all(|kind| kind.starts_with("host.")), "{kinds:?}");
}
