//! Which keys go, and which stay.

use std::sync::{Arc, Mutex};

use nexplane_connectors::sdk::{
    Advice, AnySession, ConnectorError, Done, ErrorKind, Executed, Inspection, Progress,
    StepContext,
};
use serde_json::{Value, json};

use super::bench::{Bench, PASSWORD, database_target};
use super::cases::keys;
use super::login::the_failure;
use crate::fixture::{action, step};

const DELETE: &str = "redis.delete_key_pattern";
const FLUSH: &str = "redis.flush_volatile_keys";

async fn inspect(
    session: &dyn AnySession,
    id: &str,
    number: u32,
    parameters: &Value,
) -> Inspection {
    action(id).inspect(session, &database_target(number), parameters).await.expect("inspect")
}

async fn execute(
    session: &dyn AnySession,
    id: &str,
    number: u32,
    parameters: &Value,
    before: &Inspection,
) -> Result<Executed, ConnectorError> {
    let target = database_target(number);
    let cx = step(action(id), &target, parameters, &before.before.fingerprint);
    action(id).execute(session, &cx, &before.before).await
}

fn all(bench: &Bench) -> Vec<String> {
    let mut keys: Vec<_> = bench.run("KEYS *").lines().map(str::to_owned).collect();
    keys.sort();
    keys
}

#[tokio::test]
async fn real_keys_that_match_go_and_all_others_stay() {
    let bench = Bench::new().await;
    keys(&bench);
    let session = bench.session().await;
    let parameters = json!({ "pattern": "app:session:*" });
    let inspection = inspect(&*session, DELETE, 0, &parameters).await;
    assert!(inspection.is_ready(), "{:#?}", inspection.checks);
    assert_eq!((&inspection.diff[0].before, &inspection.diff[0].after), (&json!(20), &json!(0)));
    assert!(!format!("{inspection:?}").contains("app:session:1"), "a key is named");
    let done = execute(&*session, DELETE, 0, &parameters, &inspection).await.unwrap();
    assert_eq!(done.outcome, json!({ "deleted": 20 }));
    assert_eq!(all(&bench), ["app:kept", "app:sessions", "other"]);
}

/// More than one step of SCAN, names that are no text, and another database.
#[tokio::test]
async fn real_many_keys_go_in_steps() {
    let bench = Bench::new().await;
    let fill = "for i = 1, 3000 do redis.call('SET', 'bulk:\\255' .. i, i); \
                redis.call('SET', 'brief:' .. i, i, 'EX', 1000) end";
    bench.server.cli(&["EVAL", fill, "0"]).unwrap();
    bench.server.cli(&["-n", "3", "SET", "bulk:3", "x"]).unwrap();
    let session = bench.session().await;
    let parameters = json!({ "pattern": "bulk:*", "limit": 3000 });
    let inspection = inspect(&*session, DELETE, 0, &parameters).await;
    assert!(inspection.is_ready(), "{:#?}", inspection.checks);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let target = database_target(0);
    let before = &inspection.before;
    let cx = StepContext {
        progress: Progress::new({
            let heard = Arc::clone(&heard);
            move |done| heard.lock().unwrap().push(done)
        }),
        ..step(action(DELETE), &target, &parameters, &before.fingerprint)
    };
    let done = action(DELETE).execute(&*session, &cx, before).await.unwrap();
    assert_eq!(done.outcome["deleted"], 3000);
    let heard = heard.lock().unwrap().clone();
    assert!(heard.len() > 3 && heard.is_sorted_by_key(|done| done.done), "{heard:?}");
    let end = Done { done: 3000, most: Some(3000), unit: "keys" };
    assert_eq!(heard.last(), Some(&end));
    assert_eq!(bench.run("DBSIZE"), "3000");

    let parameters = json!({});
    let inspection = inspect(&*session, FLUSH, 0, &parameters).await;
    assert_eq!(inspection.diff[0].before, json!(3000));
    let done = execute(&*session, FLUSH, 0, &parameters, &inspection).await.unwrap();
    assert_eq!(done.outcome["deleted"], 3000);
    assert_eq!(bench.run("DBSIZE"), "0");
    assert_eq!(bench.server.cli(&["-n", "3", "GET", "bulk:3"]).unwrap(), "x");

    let parameters = json!({ "pattern": "bulk:*" });
    let inspection = inspect(&*session, DELETE, 3, &parameters).await;
    execute(&*session, DELETE, 3, &parameters, &inspection).await.unwrap();
    assert_eq!(bench.server.cli(&["-n", "3", "DBSIZE"]).unwrap(), "0");
}

#[tokio::test]
async fn real_expiring_keys_go_and_lasting_ones_stay() {
    let bench = Bench::new().await;
    keys(&bench);
    bench.run("PERSIST app:session:7");
    let session = bench.session().await;
    let inspection = inspect(&*session, FLUSH, 0, &json!({})).await;
    assert_eq!(inspection.diff[0].before, json!(19));
    let done = execute(&*session, FLUSH, 0, &json!({}), &inspection).await.unwrap();
    assert_eq!(done.outcome, json!({ "deleted": 19 }));
    assert_eq!(all(&bench), ["app:kept", "app:session:7", "app:sessions", "other"]);
}

/// Neither the plan nor the effect goes above the limit, also when the keys came in between.
#[tokio::test]
async fn real_more_keys_than_the_limit_are_not_deleted() {
    let bench = Bench::new().await;
    keys(&bench);
    let session = bench.session().await;
    for (id, parameters) in [
        (DELETE, json!({ "pattern": "app:session:*", "limit": 20 })),
        (FLUSH, json!({ "limit": 20 })),
    ] {
        let mut lower = parameters.clone();
        lower["limit"] = json!(19);
        let inspection = inspect(&*session, id, 0, &lower).await;
        let (name, detail) = the_failure(&inspection);
        assert_eq!(name, "no more keys than the limit would go");
        assert!(detail.contains("more than 19 keys"), "{detail}");
        let error = execute(&*session, id, 0, &lower, &inspection).await.expect_err("too many");
        assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");

        let inspection = inspect(&*session, id, 0, &parameters).await;
        assert!(inspection.is_ready(), "{:#?}", inspection.checks);
        bench.run("SET app:session:late x EX 1000");
        let before = all(&bench);
        let error =
            execute(&*session, id, 0, &parameters, &inspection).await.expect_err("too many");
        assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
        assert!(!error.is_outcome_unknown());
        assert_eq!(all(&bench), before);
        bench.run("UNLINK app:session:late");
    }
}

#[test]
fn patterns_and_limits_are_checked_before_anything_is_sent() {
    for pattern in ["*", "a*", "??????", "[a-z]*", "abc[", ""] {
        assert!(action(DELETE).validate(&json!({ "pattern": pattern })).is_err(), "{pattern}");
    }
    let faults = action(DELETE).validate(&json!({ "pattern": "ab****" })).expect_err("nearly all");
    assert!(faults[0].reason.contains("at least 3 characters"), "{faults:?}");
    for limit in [0, 100_001] {
        let parameters = json!({ "pattern": "abc:*", "limit": limit });
        let faults = action(DELETE).validate(&parameters).expect_err("out of range");
        assert_eq!(faults[0].pointer, "/limit");
        assert!(action(FLUSH).validate(&json!({ "limit": limit })).is_err());
    }
}

/// A user of some keys only may delete those, and is told about others before.
#[tokio::test]
async fn real_the_rights_on_keys_are_those_of_the_user() {
    let bench = Bench::new().await;
    keys(&bench);
    let rules = "+acl|dryrun +select +scan +dbsize +config|get +info +unlink +eval +pttl";
    bench.run(&format!("ACL SETUSER janitor on >{PASSWORD} -@all {rules} ~app:session:*"));
    let session = bench.session_of("janitor").await;
    let mine = json!({ "pattern": "app:session:*" });
    let inspection = inspect(&*session, DELETE, 0, &mine).await;
    assert!(inspection.is_ready(), "{:#?}", inspection.checks);
    for (id, parameters) in [(DELETE, json!({ "pattern": "app:kept*" })), (FLUSH, json!({}))] {
        let inspection = inspect(&*session, id, 0, &parameters).await;
        let (_, detail) = the_failure(&inspection);
        assert!(detail.contains(" ~*"), "{detail}");
    }
    execute(&*session, DELETE, 0, &mine, &inspection).await.unwrap();
    assert_eq!(all(&bench), ["app:kept", "app:sessions", "other"]);
}

/// Nothing to do is done at once.
#[tokio::test]
async fn real_nothing_to_delete_is_no_effect() {
    let bench = Bench::new().await;
    let session = bench.session().await;
    let parameters = json!({ "pattern": "none:*" });
    let inspection = inspect(&*session, DELETE, 5, &parameters).await;
    assert!(inspection.is_ready() && inspection.diff.is_empty());
    assert!(!execute(&*session, DELETE, 5, &parameters, &inspection).await.unwrap().changed);
}

/// The instance stands for the database that the connection names.
#[tokio::test]
async fn real_keys_of_the_instance_are_those_of_the_connections_database() {
    let bench = Bench::new().await;
    keys(&bench);
    let mut credentials = bench.credentials();
    let parameters = json!({ "pattern": "app:session:*" });
    for (database, count) in [(0, 20), (3, 0)] {
        credentials["database"] = json!(database);
        let session = bench.open(credentials.clone()).await.unwrap();
        let instance = crate::fixture::target("redis_instance", "instance", "redis");
        let seen = action(DELETE).inspect(&*session, &instance, &parameters).await.unwrap();
        assert_eq!(seen.diff.first().map(|line| line.before.clone()).unwrap_or(json!(0)), count);
    }
}

/// Nobody approved what was not there: the plan counted none.
#[tokio::test]
async fn real_keys_that_came_after_a_plan_of_none_stay() {
    let bench = Bench::new().await;
    let session = bench.session().await;
    for (id, parameters) in [
        (DELETE, json!({ "pattern": "app:session:*", "limit": 50 })),
        (FLUSH, json!({ "limit": 50 })),
    ] {
        let inspection = inspect(&*session, id, 0, &parameters).await;
        bench.run("SET app:session:1 x EX 1000");
        let error = execute(&*session, id, 0, &parameters, &inspection).await.expect_err(id);
        assert_eq!((error.kind, error.advice), (ErrorKind::Conflict, Advice::Never), "{error:?}");
        assert_eq!(bench.run("DBSIZE"), "1", "{id}");
        bench.run("DEL app:session:1");
    }
}
