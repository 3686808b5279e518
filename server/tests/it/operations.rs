//! What waits, what has stalled and who works on what, as `/operations` and `/metrics` tell it.

use serde_json::{Value, json};

use crate::harness::{Agent, Server, Shop, eventually, id, items, text};

/// Of the reactor: whoever has it acts on events, and nobody else does.
const REACTOR: i64 = 0x5d0b_6b4e_9a3c_1f27;

fn queue<'a>(view: &'a Value, kind: &str) -> &'a Value {
    let queues = view["queues"].as_array().unwrap();
    queues.iter().find(|queue| queue["kind"] == kind).unwrap()
}

fn stalled(view: &Value) -> Vec<&str> {
    view["stalled"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect()
}

async fn metrics(server: &Server) -> String {
    let base = server.base.lock().unwrap().clone();
    reqwest::get(format!("{base}/metrics")).await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_and_what_has_stalled_is_told_and_counted() {
    let mut server = Server::start().await;
    server.pin_gateway().await;
    let mut agent = Agent::start(&server).await;
    let operator = server.operator().await;
    let viewer = server.person("vera", &["viewer"]).await;
    let look = async || viewer.get("/operations").await.is(200);
    let sealed = eventually("the log is sealed to its end", async || {
        let view = look().await;
        (view["seal"]["unsealed"] == 0).then_some(view)
    })
    .await;
    assert_eq!(sealed["stalled"], json!([]), "{sealed:#}");
    assert_eq!(
        sealed["seal"]["sealed"].as_u64().unwrap() + 1,
        sealed["seal"]["events"].as_u64().unwrap()
    );
    assert_eq!(sealed["seal"]["here"], true);
    assert_eq!(sealed["agents"]["versions"][0]["hosts"], 1, "{sealed:#}");
    assert_eq!((&sealed["agents"]["behind"], &sealed["leases"]), (&json!(0), &json!([])));
    assert_eq!(queue(&sealed, "approval")["waiting"], 0);
    // What happened to a host is under its name.
    let came = eventually("the host is in the audit view", async || {
        items(&server.admin.get("/audit?type=host.came_online").await.is(200)).pop()
    })
    .await;
    assert_eq!(came["stream_name"], agent.asset["name"], "{came:#}");

    // A change in review, which is then approved.
    let parameters = json!({ "path": "/etc/motd", "content": "hello\n" });
    let submitted = operator.submitted(agent.request("host.set_file_content", parameters)).await;
    let change = id(&submitted);
    let view = look().await;
    assert_eq!(queue(&view, "approval")["waiting"], 1, "{view:#}");
    assert_eq!(queue(&view, "approval")["subject"]["id"], json!(change));
    assert_eq!(queue(&view, "approval")["oldest"], submitted["updated_at"]);
    let needed = usize::try_from(submitted["approvals_needed"].as_u64().unwrap()).unwrap();
    for name in ["anna", "arno"].iter().take(needed) {
        let approver = server.person(name, &["approver"]).await;
        approver.approve(&change, &submitted["plan"]["digest"]).await.is(200);
    }
    assert_eq!(queue(&look().await, "execution")["waiting"], 1);

    // It cannot ask for its turn at the target: this server holds the run and gets no further.
    let mut held = server.database().pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE nexplane.target_queue IN SHARE MODE")
        .execute(&mut *held)
        .await
        .unwrap();
    operator.act(&change, "execute").await.is(200);
    let view = eventually("the run is held", async || {
        let view = look().await;
        view["leases"][0]["since"].is_string().then_some(view)
    })
    .await;
    assert_eq!(queue(&view, "executing")["waiting"], 1, "{view:#}");
    let lease = &view["leases"][0];
    assert_eq!((&lease["here"], &lease["expired"]), (&json!(true), &json!(false)), "{lease:#}");
    assert_eq!(lease["subject"]["id"], json!(change), "{lease:#}");
    assert!(text(&lease["since"]) < text(&lease["until"]), "{lease:#}");
    let counted = metrics(&server).await;
    for line in [r#"nexplane_queue_waiting{queue="executing"} 1"#, "nexplane_run_leases 1"] {
        assert!(counted.contains(line), "{line} is missing:\n{counted}");
    }
    held.rollback().await.unwrap();
    eventually("it is over", async || {
        (operator.change(&change).await["state"] == "complete").then_some(())
    })
    .await;
    eventually("nobody holds it", async || (look().await["leases_in_all"] == 0).then_some(()))
        .await;

    // The agent of the host is gone, and whoever plans waits for it.
    let parameters = json!({ "path": "/etc/motd", "content": "hello again\n" });
    let request = agent.request("host.set_file_content", parameters);
    let next = id(&operator.post("/change-requests", request).await.is(201));
    agent.kill9().await;
    let waiting = async {
        let view = eventually("an order waits", async || {
            let view = look().await;
            (queue(&view, "order")["waiting"] == 1).then_some(view)
        })
        .await;
        agent.up();
        view
    };
    let (planned, view) = tokio::join!(operator.act(&next, "plan"), waiting);
    planned.is(200);
    assert_eq!(queue(&view, "order")["subject"]["id"], agent.asset["connection_id"], "{view:#}");
    assert!(queue(&view, "order")["oldest"].is_string(), "{view:#}");
    assert_eq!(queue(&look().await, "order")["waiting"], 0);

    // Somebody else has the reactor's lock and does nothing: nothing is acted on.
    server.stop().await;
    let mut other = server.database().pool().acquire().await.unwrap();
    sqlx::query("SELECT pg_advisory_lock($1)").bind(REACTOR).execute(&mut *other).await.unwrap();
    server.up().await;
    let request =
        agent.request("host.set_file_content", json!({ "path": "/etc/motd", "content": "" }));
    operator.post("/change-requests", request).await.is(201);
    let view = eventually("nothing is acted on", async || {
        let view = look().await;
        (!stalled(&view).is_empty()).then_some(view)
    })
    .await;
    assert_eq!(stalled(&view), ["reactions"], "{view:#}");
    assert_eq!(view["stalled"][0]["since"], queue(&view, "reaction")["oldest"], "{view:#}");
    assert!(queue(&view, "reaction")["waiting"].as_u64().unwrap() > 0, "{view:#}");
    assert!(metrics(&server).await.contains("nexplane_stalled_work 1"));
    sqlx::query("SELECT pg_advisory_unlock($1)").bind(REACTOR).execute(&mut *other).await.unwrap();
    eventually("it is acted on again", async || {
        let view = look().await;
        (stalled(&view).is_empty() && queue(&view, "reaction")["waiting"] == 0).then_some(())
    })
    .await;
}

/// The log has no names of people; the directory says who is meant.
#[tokio::test(flavor = "multi_thread")]
async fn what_people_did_is_found_by_their_names() {
    let server = Server::start().await;
    let auditor = server.person("audrey", &["auditor"]).await;
    let operator = server.operator().await;
    server.person("olgert", &["viewer"]).await;
    let search = async |q: &str| {
        let found = items(&auditor.get(&format!("/audit?limit=200&q={q}")).await.is(200));
        let event = |event: &Value| format!("{} {}", text(&event["type"]), text(&event["stream"]));
        found.iter().map(event).collect::<Vec<_>>()
    };
    let own = format!("person-{}", operator.id);
    let about_her = [format!("person.signed_in {own}"), format!("person.added {own}")];
    eventually("both of them are in the audit view", async || {
        (search("olg").await.len() == 4).then_some(())
    })
    .await;
    for q in ["olga", "OLGA", "olga%40example.org", "olga%40", &operator.id] {
        assert_eq!(search(q).await, about_her, "{q}");
    }
    assert_eq!(search("olga+signed").await, about_her[..1]);
    assert_eq!(search("example").await, Vec::<String>::new(), "a domain means nobody");
    let named = async |q: &str, name: &str| {
        let event = items(&auditor.get(&format!("/audit?limit=1&q={q}")).await.is(200)).remove(0);
        assert_eq!(event["stream_name"], name, "{event:#}");
    };
    named("olga", "olga").await;
    // Another name, and the same events.
    server.admin.patch(&format!("/users/{}", operator.id), json!({ "name": "Zoë" })).await.is(200);
    assert_eq!(search("zo%C3%AB").await, about_her);
    named("zo%C3%AB", "Zoë").await;
}

/// An open page is one whose browser is there: not one that was closed, killed or cut off.
#[tokio::test(flavor = "multi_thread")]
async fn open_pages_are_counted_while_they_are_there() {
    let server = Server::start().await;
    let viewer = server.person("vera", &["viewer"]).await;
    let open = async |number: u64| {
        eventually(&format!("{number} are open"), async || {
            let view = viewer.get("/operations").await.is(200);
            (view["live_connections"] == number).then_some(())
        })
        .await;
    };
    let topics = ["changes".to_owned()];
    let mut closed = viewer.follow(&topics).await;
    let killed = viewer.follow(&topics).await;
    // Whoever reads answers the server's pings; this one stays open and reads nothing.
    let cut_off = viewer.follow(&topics).await;
    open(3).await;
    closed.close(None).await.unwrap();
    open(2).await;
    drop(killed);
    open(1).await;
    open(0).await;
    drop(cut_off);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calendar_answers_for_a_moment_and_for_a_week() {
    let server = Server::start().await;
    let shop = Shop::connect(&server, "staging").await;
    let operator = server.operator().await;
    let role = shop.role(&server, "app").await;
    let asset = shop.asset(&operator, &role).await;
    let from = jiff::Timestamp::now();
    let hours = |count: i64| (from + jiff::SignedDuration::from_hours(count)).to_string();
    let ask = async |query: &str| operator.get(&format!("/calendar/open?{query}")).await;
    let of_asset = format!("asset={}", text(&asset["id"]));

    let open = ask(&of_asset).await.is(200);
    assert_eq!((&open["open"], &open["until"]), (&json!(true), &json!(null)), "{open:#}");
    assert_eq!(open["environments"], json!(["staging"]), "{open:#}");
    assert!(text(&open["sentence"]).starts_with(&format!("Changes of {}", text(&asset["name"]))));

    let freeze = json!({
        "scope": { "kind": "environment", "environment": "staging" },
        "start": hours(2),
        "end": hours(4),
        "reason": "Books are closed",
    });
    let freeze = server.admin.post("/freeze-windows", freeze).await.is(201);
    let open = ask(&of_asset).await.is(200);
    assert_eq!((&open["open"], &open["until"]), (&json!(true), &freeze["start"]), "{open:#}");
    let frozen = ask(&format!("{of_asset}&at={}", hours(3))).await.is(200);
    assert_eq!((&frozen["open"], &frozen["opens"]), (&json!(false), &freeze["end"]), "{frozen:#}");
    assert_eq!(frozen["freezes"], json!([freeze["id"]]));
    assert!(text(&frozen["sentence"]).contains("Books are closed"), "{frozen:#}");
    let elsewhere = ask(&format!("environment=prod&at={}", hours(3))).await.is(200);
    assert_eq!(elsewhere["open"], true, "{elsewhere:#}");

    // Opens for a minute a year.
    let window = json!({
        "name": "Leap day",
        "scope": { "kind": "environment", "environment": "staging" },
        "cron": "0 0 29 2 *",
        "zone": "UTC",
        "duration_s": 60,
    });
    let window = server.admin.post("/maintenance-windows", window).await.is(201);
    let closed = ask(&format!("connection={}", shop.connection)).await.is(200);
    assert_eq!(
        (&closed["open"], &closed["window"]),
        (&json!(false), &json!("Leap day")),
        "{closed:#}"
    );
    assert_eq!(closed["opens"], window["next"][0], "{closed:#}");

    for (query, status, code) in [
        (format!("at={}", hours(-1)), 422, "validation.failed"),
        (format!("at={}", hours(24 * 366 * 6)), 422, "validation.failed"),
        ("asset=00000000-0000-7000-8000-000000000000".to_owned(), 404, "not_found"),
        ("asset=nonsense".to_owned(), 422, "validation.failed"),
    ] {
        ask(&query).await.refused(status, code);
    }

    let week = format!("/calendar?from={}&until={}", hours(-24), hours(6 * 24));
    let week = operator.get(&week).await.is(200);
    assert_eq!(week["freezes"][0]["id"], freeze["id"], "{week:#}");
    assert_eq!((&week["slots"], &week["cut"]), (&json!([]), &json!(false)), "{week:#}");
    let leap = text(&window["next"][0]);
    let day: jiff::Timestamp = leap.parse().unwrap();
    let after = day + jiff::SignedDuration::from_hours(24);
    let week = operator.get(&format!("/calendar?from={day}&until={after}")).await.is(200);
    assert_eq!(week["slots"][0]["window"], window["id"], "{week:#}");
    assert_eq!(week["freezes"], json!([]));
    let long = format!("/calendar?from={}&until={}", hours(0), hours(32 * 24));
    operator.get(&long).await.refused(422, "validation.failed");
}
