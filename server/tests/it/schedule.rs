//! Recurring changes: what a tick makes, who may approve it, and what makes a tick pass without one.
//!
//! Patterns have minutes, so each test waits for one, two or three of them.

mod left;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Client, Server, Shop, id, items, text};

/// Somewhat longer than two ticks of every minute are apart.
const TICK: Duration = Duration::from_secs(80);

async fn within_a_tick<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + TICK;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn every_minute(shop: &Shop, client: &Client, action: &str, role: &str) -> String {
    let mut request = shop.request(client, action, role).await;
    request["cron"] = json!("* * * * *");
    request["zone"] = json!("Europe/Vienna");
    id(&client.post("/schedules", request).await.is(201))
}

async fn schedule(client: &Client, id: &str) -> Value {
    client.get(&format!("/schedules/{id}")).await.is(200)
}

/// The schedule once its last change is another one than this, and in this state.
async fn made(client: &Client, schedule_id: &str, before: &Value, state: &str) -> Value {
    within_a_tick(&format!("a change that is {state}"), async || {
        let view = schedule(client, schedule_id).await;
        let last = &view["last_change"];
        (last["id"] != before["id"] && last["state"] == state).then_some(view)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_makes_a_change_that_others_approve_and_none_while_it_is_open() {
    let server = Server::start().await;
    let shop = Shop::connect(&server, "staging").await;
    let owner = server.person("olga", &["operator", "approver"]).await;
    let editor = server.person("dan", &["operator", "approver"]).await;
    let approver = server.approver().await;
    let role = shop.role(&server, "app").await;
    let recurring = every_minute(&shop, &owner, "postgres.rotate_user_password", &role).await;
    let path = format!("/schedules/{recurring}");
    let edit = json!({ "title": "Rotate the password, every minute" });
    let edited = editor.patch(&path, edit).await.is(200);
    assert_eq!(edited["owner"], json!(owner.id));
    assert_eq!(edited["editors"], json!([editor.id]));
    assert_eq!(edited["next"].as_array().unwrap().len(), 3, "{edited:#}");

    let first = made(&owner, &recurring, &json!({ "id": null }), "submitted").await;
    let change = id(&first["last_change"]);
    let view = owner.change(&change).await;
    assert_eq!(view["requester"], json!(owner.id));
    assert_eq!(view["editors"], json!([editor.id]));
    assert_eq!(view["schedule"], json!(recurring));
    assert_eq!(view["title"], "Rotate the password, every minute");
    let expected = [
        "schedule.fired",
        "change.drafted",
        "change.made_by_schedule",
        "connection.credentials_opened",
        "change.planned",
        "change.submitted",
    ];
    assert_eq!(owner.history(&change).await, expected);
    for own in [&owner, &editor] {
        own.approve(&change, &view["plan"]["digest"]).await.refused(403, "change.own_approval");
    }
    owner.act(&change, "execute").await.refused(409, "change.quorum_missing");

    let skipped = within_a_tick("a tick is skipped", async || {
        let view = schedule(&owner, &recurring).await;
        (view["skipped_in_all"] == 1).then_some(view)
    })
    .await;
    let why = json!({ "kind": "open", "change": change });
    assert_eq!(skipped["skipped"][0]["why"], why, "{skipped:#}");
    assert_eq!(id(&skipped["last_change"]), change);
    assert!(text(&skipped["waiting_for"]).contains("#1"), "{skipped:#}");
    // Going on with what is there already changed nothing about it.
    assert_eq!(owner.history(&change).await, expected);

    approver.approve(&change, &view["plan"]["digest"]).await.is(200);
    let done = owner.executed(&change).await;
    assert_eq!(done["state"], "complete", "{done:#}");
    let second = made(&owner, &recurring, &first["last_change"], "submitted").await;
    assert_eq!(second["skipped_in_all"], 1, "{second:#}");

    let reason = json!({ "reason": "Enough." });
    owner.post(&format!("{path}/delete"), reason.clone()).await.is(200);
    owner.post(&format!("{path}/resume"), json!({})).await.refused(409, "schedule.deleted");
    let page = owner.get("/schedules?state=deleted").await.is(200);
    assert_eq!(items(&page).len(), 1, "{page:#}");
    assert_eq!(items(&page)[0]["next"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_does_nothing_that_its_owner_may_not_do_now() {
    let server = Server::start().await;
    let shop = Shop::connect(&server, "dev").await;
    let owner = server.operator().await;
    let names = ["free", "leaver", "gone", "paused", "frozen"];
    let roles = shop.roles(&server, &names).await;
    let [free, leaver, gone, paused, frozen] = &roles[..] else { unreachable!() };
    let asset = shop.asset(&owner, frozen).await;
    let tags = json!({ "tags": ["quiet"] });
    owner.patch(&format!("/assets/{}", id(&asset)), tags).await.is(200);
    let now = jiff::Timestamp::now();
    let freeze = json!({
        "scope": { "kind": "tag", "tag": "quiet" },
        "start": format!("{now:.6}"),
        "end": format!("{:.6}", now + jiff::SignedDuration::from_hours(1)),
        "reason": "stocktaking",
    });
    server.admin.post("/freeze-windows", freeze).await.is(201);

    let other = server.person("leo", &["operator"]).await;
    let third = server.person("mia", &["operator"]).await;
    let of_leaver = every_minute(&shop, &other, "postgres.lock_user", leaver).await;
    let of_gone = every_minute(&shop, &third, "postgres.lock_user", gone).await;
    let of_paused = every_minute(&shop, &owner, "postgres.lock_user", paused).await;
    let of_frozen = every_minute(&shop, &owner, "postgres.lock_user", frozen).await;
    let of_free = every_minute(&shop, &owner, "postgres.lock_user", free).await;
    let edit = json!({ "roles": ["viewer", "approver"] });
    server.admin.patch(&format!("/users/{}", other.id), edit).await.is(200);
    let edit = json!({ "disabled": true });
    server.admin.patch(&format!("/users/{}", third.id), edit).await.is(200);
    let path = format!("/schedules/{of_paused}/pause");
    owner.post(&path, json!({ "reason": "Not today." })).await.is(200);

    // What the policy asks no approval for is carried out.
    let before = json!({ "id": null });
    let done = made(&owner, &of_free, &before, "complete").await;
    assert!(!shop.lets_in(free, free).await);
    let history = owner.history(&id(&done["last_change"])).await;
    assert!(history.contains(&"change.execution_started".to_owned()), "{history:?}");
    let stalled = within_a_tick("it is frozen", async || {
        let view = schedule(&owner, &of_frozen).await;
        view["last_change"]["problem"].is_string().then_some(view)
    })
    .await;
    assert_eq!(stalled["last_change"]["state"], "approved", "{stalled:#}");
    assert!(text(&stalled["last_change"]["problem"]).contains("stocktaking"), "{stalled:#}");
    for refused in [&of_leaver, &of_gone] {
        let view = within_a_tick("a tick is skipped", async || {
            let view = schedule(&owner, refused).await;
            (view["skipped_in_all"] != 0).then_some(view)
        })
        .await;
        assert_eq!(view["skipped"][0]["why"]["kind"], "owner", "{view:#}");
        assert!(view["last_change"].is_null(), "{view:#}");
    }
    let view = schedule(&owner, &of_paused).await;
    assert_eq!((&view["last_change"], &view["next"]), (&Value::Null, &json!([])), "{view:#}");
    for untouched in [leaver, gone, paused, frozen] {
        assert!(shop.lets_in(untouched, untouched).await, "{untouched}");
    }

    // What a freeze stopped is started at a tick after it.
    let freezes = owner.get("/freeze-windows").await.is(200);
    let path = format!("/freeze-windows/{}/end", id(&items(&freezes)[0]));
    server.admin.post(&path, json!({ "reason": "It was counted." })).await.is(200);
    let change = id(&stalled["last_change"]);
    within_a_tick("it is carried out", async || {
        (owner.change(&change).await["state"] == "complete").then_some(())
    })
    .await;
    assert!(!shop.lets_in(frozen, frozen).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_and_viewers_make_no_schedules() {
    let server = Server::start().await;
    let shop = Shop::connect(&server, "staging").await;
    let owner = server.operator().await;
    let role = shop.role(&server, "app").await;
    let mut request = shop.request(&owner, "postgres.lock_user", &role).await;
    request["cron"] = json!("0 3 * * sun");
    request["zone"] = json!("Europe/Vienna");
    let body = json!({ "name": "pipeline", "kind": "machine" });
    let token = owner.post("/tokens", body).await.is(201);
    let machine = owner.with_token(&text(&token["token"]));
    let viewer = server.person("vera", &["viewer", "approver", "admin"]).await;
    for client in [&machine, &viewer] {
        client.post("/schedules", request.clone()).await.refused(403, "access.denied");
    }
    for (field, wrong) in [("cron", "at noon"), ("zone", "Mars/Olympus"), ("title", " ")] {
        let mut request = request.clone();
        request[field] = json!(wrong);
        owner.post("/schedules", request).await.refused(422, "validation.failed");
    }
    let created = owner.post("/schedules", request).await.is(201);
    let path = format!("/schedules/{}", id(&created));
    machine.patch(&path, json!({ "cron": "* * * * *" })).await.refused(403, "access.denied");
    viewer.post(&format!("{path}/resume"), json!({})).await.refused(403, "access.denied");
    // An admin may stop what others started.
    viewer.post(&format!("{path}/pause"), json!({ "reason": "No." })).await.is(200);
    let paused = owner.post(&format!("{path}/resume"), json!({})).await.is(200);
    assert_eq!(paused["state"], "active", "{paused:#}");
    // Pages.
    let page = owner.get("/schedules?limit=1").await.is(200);
    assert_eq!((items(&page).len(), &page["next_cursor"]), (1, &Value::Null), "{page:#}");
    owner.get("/schedules?cursor=x").await.refused(400, "request.malformed");
}
