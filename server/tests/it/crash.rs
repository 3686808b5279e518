//! The server is killed at ten moments of an execution. Whatever the moment: the change ends, what
//! it says is true of the target, and nothing was done twice.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection};

use crate::harness::{Client, Server, Shop, eventually, id, items};

/// When the server is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The request to execute is on its way; nobody reads the answer.
    Asked,
    /// An event was written.
    Seen(&'static str),
    /// An event was written a while ago.
    After(&'static str, Duration),
    /// The effect was sent and waits at the target, which goes on with it after the crash.
    Effect,
}

const MOMENTS: [Moment; 10] = [
    Moment::Asked,
    Moment::Seen("change.execution_started"),
    Moment::Seen("run.started"),
    Moment::Seen("run.claimed"),
    Moment::Seen("run.step_intended"),
    Moment::After("run.step_intended", Duration::from_millis(10)),
    Moment::Effect,
    Moment::Seen("run.step_succeeded"),
    Moment::Seen("run.step_verified"),
    Moment::Seen("run.finished"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_moment_is_told_truthfully_and_doubles_nothing() {
    let mut server = Server::start().await;
    let shop = Shop::connect(&server, "staging").await;
    let operator = server.operator().await;
    let approver = server.approver().await;
    let names: Vec<_> = (0..MOMENTS.len()).map(|no| format!("app{no}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let roles = shop.roles(&server, &names).await;
    let mut changes = Vec::new();
    for role in &roles {
        let request = shop.request(&operator, "postgres.lock_user", role).await;
        let submitted = operator.submitted(request).await;
        approver.approve(&id(&submitted), &submitted["plan"]["digest"]).await.is(200);
        changes.push(id(&submitted));
    }
    for ((moment, change), role) in MOMENTS.into_iter().zip(&changes).zip(&roles) {
        crash(&mut server, &shop, &operator, moment, change, role).await;
        server.up().await;
        settle(&operator, moment, change).await;
        check(&shop, &operator, moment, change, role).await;
    }
}

/// Executes the change, and kills the server at the moment.
async fn crash(
    server: &mut Server,
    shop: &Shop,
    operator: &Client,
    moment: Moment,
    change: &str,
    role: &str,
) {
    let start = server.events().await;
    let mut held = shop.target.admin().await;
    if matches!(moment, Moment::Effect) {
        // Another transaction has the role: who wants to alter it waits.
        let alter = format!("BEGIN; ALTER ROLE {role} CONNECTION LIMIT 7");
        sqlx::raw_sql(AssertSqlSafe(alter)).execute(&mut held).await.unwrap();
    }
    let asking = tokio::spawn({
        let (operator, change) = (operator.clone(), change.to_owned());
        async move {
            let path = format!("/change-requests/{change}/execute");
            let _ = operator.try_send(operator.request(reqwest::Method::POST, &path)).await;
        }
    });
    match moment {
        Moment::Asked => tokio::time::sleep(Duration::from_millis(3)).await,
        Moment::Seen(kind) => until_written(server, start, kind).await,
        Moment::After(kind, wait) => {
            until_written(server, start, kind).await;
            tokio::time::sleep(wait).await;
        }
        Moment::Effect => {
            until_written(server, start, "run.step_intended").await;
            until_waiting(shop).await;
        }
    }
    server.kill9().await;
    asking.await.unwrap();
    held.close().await.unwrap();
}

async fn until_written(server: &Server, start: i64, kind: &str) {
    for _ in 0..20_000 {
        let pool = server.database().pool();
        if nexplane_store::testing::has_event(pool, start, kind).await.unwrap() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{kind} was not written");
}

/// Until a statement of the server waits for the lock of another transaction.
async fn until_waiting(shop: &Shop) {
    let mut admin = shop.target.admin().await;
    for _ in 0..5_000 {
        let waiting: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_activity
             WHERE wait_event_type = 'Lock' AND datname = current_database())",
        )
        .fetch_one(&mut admin)
        .await
        .unwrap();
        if waiting {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("nothing waits for the role");
}

/// Waits for the end; asks again when the request itself was lost.
async fn settle(operator: &Client, moment: Moment, change: &str) {
    // The read models have to be taken over, too.
    eventually("the read models have caught up", async || {
        let models = items(&operator.get("/projections").await.is(200));
        models.iter().all(|model| model["lag"] == 0).then_some(())
    })
    .await;
    if operator.change(change).await["state"] == "approved" {
        assert!(matches!(moment, Moment::Asked), "{moment:?} was written, and is lost");
        operator.act(change, "execute").await.is(200);
    }
    operator.settled(change).await;
}

async fn check(shop: &Shop, operator: &Client, moment: Moment, change: &str, role: &str) {
    let now = operator.change(change).await;
    let history = eventually("the history is whole", async || {
        let history = operator.history(change).await;
        let ends = ["change.completed", "change.failed"];
        history.iter().any(|kind| ends.contains(&kind.as_str())).then_some(history)
    })
    .await;
    let lets_in = shop.lets_in(role, role).await;
    eprintln!("{moment:?}: {}\n  {}", now["state"], history.join(" "));
    match now["state"].as_str().unwrap() {
        "complete" => assert!(!lets_in, "{moment:?}: complete, and not locked: {now:#}"),
        "failed" => assert!(lets_in, "{moment:?}: failed, and locked: {now:#}"),
        other => panic!("{moment:?}: the target can be read, and yet it is {other}: {now:#}"),
    }
    let count = |kind: &str| history.iter().filter(|seen| *seen == kind).count();
    assert_eq!(count("change.execution_started"), 1, "{moment:?}: {history:?}");
    assert_eq!(count("run.started"), 1, "{moment:?}: {history:?}");
    assert_eq!(count("run.finished"), 1, "{moment:?}: {history:?}");
    assert_eq!(count("change.completed") + count("change.failed"), 1, "{moment:?}: {history:?}");
    // An intent is followed by another only when the target was found untouched.
    let (intents, looked) = (count("run.step_intended"), count("run.step_reconciled"));
    assert!((1..=1 + looked).contains(&intents), "{moment:?}: {history:?}");
    assert!(count("run.step_succeeded") <= 1, "{moment:?}: {history:?}");
}
