//! The same demands on every action, against a real server: once as a superuser, once as an account
//! that has no more than the rights that the catalog names.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use nexplane_connectors::sdk::{
    Advice, AnyAction, AnyConnector, AnySession, ErrorKind, Inspection, Produced, Registry,
    Snapshot, StepContext,
};
use nexplane_core::plan::Check;
use serde_json::Value;

use crate::fixture::{Bench, database_target, role_target, step};
use crate::postgres_cases::{self, ACTIONS, Case};

#[test]
fn every_registered_action_has_a_case() {
    let registry = Registry::standard();
    let registered: Vec<_> = registry
        .connectors()
        .filter(|connector| connector.spec().id != "host")
        .flat_map(AnyConnector::actions)
        .map(|action| action.spec().id.clone())
        .collect();
    assert_eq!(registered, ACTIONS);
}

macro_rules! conform {
    ($($name:ident => $action:literal),* $(,)?) => {
        mod real_as_superuser {
            $(#[tokio::test] async fn $name() { super::conform($action, false).await; })*
        }
        mod real_as_manager {
            $(#[tokio::test] async fn $name() { super::conform($action, true).await; })*
        }
        mod real_drift {
            $(#[tokio::test] async fn $name() { super::drift($action).await; })*
        }
        mod real_crash {
            $(#[tokio::test] async fn $name() { super::crash($action).await; })*
        }
        mod real_rights {
            $(#[tokio::test] async fn $name() { super::rights($action).await; })*
        }
    };
}

conform! {
    create_read_only_user => "postgres.create_read_only_user",
    drop_user => "postgres.drop_user",
    lock_user => "postgres.lock_user",
    revoke_all_privileges => "postgres.revoke_all_privileges",
    rotate_user_password => "postgres.rotate_user_password",
    set_connection_limit => "postgres.set_connection_limit",
    set_role_setting => "postgres.set_role_setting",
    unlock_user => "postgres.unlock_user",
}

/// One action, its case, a session, and everything it ever said.
struct Trial<'a> {
    action: &'a dyn AnyAction,
    case: Case,
    session: Box<dyn AnySession>,
    said: String,
}

impl Trial<'_> {
    fn heard(&mut self, what: impl Debug) {
        self.said.push_str(&format!("{what:?}\n"));
    }

    async fn inspect(&mut self) -> Inspection {
        let (target, parameters) = (&self.case.target, &self.case.parameters);
        let inspection =
            self.action.inspect(&*self.session, target, parameters).await.expect("inspect");
        self.heard(&inspection);
        self.said.push_str(&serde_json::to_string(&inspection.diff).unwrap());
        inspection
    }

    async fn fingerprint(&mut self) -> String {
        let (target, parameters) = (&self.case.target, &self.case.parameters);
        let read = self.action.read(&*self.session, target, parameters, None).await.expect("read");
        self.heard(&read);
        read.fingerprint
    }

    async fn satisfied(&mut self, before: &Snapshot, outcome: Option<&Value>) -> (bool, String) {
        let (target, parameters) = (&self.case.target, &self.case.parameters);
        let answer = self
            .action
            .verify(&*self.session, target, parameters, before, outcome)
            .await
            .expect("verify");
        self.heard(&answer);
        let produced = names(&answer.produced);
        assert_eq!(
            produced.is_empty(),
            !answer.satisfied || self.action.spec().produces.is_empty()
        );
        (answer.satisfied, answer.fingerprint)
    }

    fn step(&self, before: &Snapshot) -> StepContext {
        step(self.action, &self.case.target, &self.case.parameters, &before.fingerprint)
    }
}

fn names(produced: &[Produced]) -> Vec<&str> {
    produced.iter().map(|produced| produced.name.as_str()).collect()
}

fn failed(checks: &[Check]) -> Vec<&Check> {
    checks.iter().filter(|check| !check.ok).collect()
}

/// Every secret text in a sealed before-state.
fn sealed_secrets(before: &Snapshot) -> Vec<String> {
    fn walk(value: &Value, found: &mut Vec<String>) {
        if let Some(Value::String(secret)) = value.get("$secret") {
            found.push(secret.clone());
        }
        match value {
            Value::Object(map) => map.values().for_each(|value| walk(value, found)),
            Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(&serde_json::from_slice(before.sealed.expose()).unwrap(), &mut found);
    found
}

async fn conform(id: &str, as_manager: bool) {
    let bench = Bench::new().await;
    let manager = if as_manager { Some(bench.manager().await) } else { None };
    let case = postgres_cases::prepare(&bench, id, manager.as_deref()).await;
    let session = match &manager {
        Some(manager) => bench.session_of(manager).await,
        None => bench.session().await,
    };
    let mut trial = Trial { action: bench.action(id), case, session, said: String::new() };
    let initially = bench.witness().await;

    // Inspecting has no effect, and sees the same thing twice.
    let first = trial.inspect().await;
    assert!(first.is_ready(), "{:#?}", failed(&first.checks));
    assert!(!first.diff.is_empty() && !first.summary.is_empty() && !first.rollback.is_empty());
    let inspection = trial.inspect().await;
    assert_eq!(inspection.before.fingerprint, first.before.fingerprint);
    assert_eq!(inspection.before.fields, first.before.fields);
    assert_eq!(trial.fingerprint().await, inspection.before.fingerprint);
    assert_eq!(bench.witness().await, initially, "inspect had an effect");

    // Not satisfied before it was done.
    let before = inspection.before;
    let (satisfied, _) = trial.satisfied(&before, None).await;
    assert!(!satisfied, "verify is satisfied before execute");

    // Done, and verified from the target alone, as after a crash.
    let cx = trial.step(&before);
    let executed = trial.action.execute(&*trial.session, &cx, &before).await.expect("execute");
    trial.heard(&executed);
    trial.said.push_str(&executed.outcome.to_string());
    assert!(executed.changed);
    assert_eq!(names(&executed.produced), trial.action.spec().produces);
    let afterwards = bench.witness().await;
    assert_ne!(afterwards, initially);
    let (satisfied, after) = trial.satisfied(&before, None).await;
    assert!(satisfied, "verify does not see the effect");
    assert_ne!(after, before.fingerprint);
    assert_eq!(trial.satisfied(&before, Some(&executed.outcome)).await, (true, after.clone()));
    assert_eq!(trial.fingerprint().await, after);

    // Twice is once.
    let again = trial.action.execute(&*trial.session, &cx, &before).await.expect("execute again");
    assert!(!again.changed);
    let values = |produced: &[Produced]| -> Vec<_> {
        produced.iter().map(|produced| produced.value.expose().to_owned()).collect()
    };
    assert_eq!(values(&again.produced), values(&executed.produced));
    assert_eq!(bench.witness().await, afterwards, "executing twice is not executing once");

    // Back, exactly, and twice is once.
    let outcome = Some(&executed.outcome);
    let undone =
        trial.action.rollback(&*trial.session, &cx, &before, outcome).await.expect("rollback");
    trial.heard(&undone);
    assert!(undone.changed);
    assert_eq!(bench.witness().await, initially, "rollback did not restore the state");
    assert_eq!(trial.fingerprint().await, before.fingerprint);
    let (satisfied, _) = trial.satisfied(&before, outcome).await;
    assert!(!satisfied, "verify is satisfied after rollback");
    let again =
        trial.action.rollback(&*trial.session, &cx, &before, None).await.expect("rollback again");
    assert!(!again.changed);
    assert_eq!(bench.witness().await, initially, "rolling back twice is not rolling back once");

    // And once more, so nothing was left behind that stands in the way.
    let once_more = trial.inspect().await;
    assert!(once_more.is_ready(), "{:#?}", failed(&once_more.checks));
    let cx = trial.step(&once_more.before);
    trial.action.execute(&*trial.session, &cx, &once_more.before).await.expect("execute once more");

    // Nothing secret was ever said.
    let mut secrets = sealed_secrets(&before);
    secrets.extend(values(&executed.produced));
    secrets.push(bench.server.password().to_owned());
    secrets.push(crate::fixture::PASSWORD.to_owned());
    for secret in secrets {
        assert!(!trial.said.contains(&secret), "a secret was said: {}", trial.said);
    }
}

/// Somebody else moves the target: nothing is overwritten, neither forwards nor backwards.
async fn drift(id: &str) {
    let bench = Bench::new().await;
    let case = postgres_cases::prepare(&bench, id, None).await;
    let disturbance = case.disturbance.clone();
    let session = bench.session().await;
    let mut trial = Trial { action: bench.action(id), case, session, said: String::new() };
    let before = trial.inspect().await.before;
    let cx = trial.step(&before);

    bench.sql(&disturbance).await;
    let disturbed = bench.witness().await;
    assert_ne!(
        trial.fingerprint().await,
        before.fingerprint,
        "the drift is not in the fingerprint"
    );
    match trial.action.execute(&*trial.session, &cx, &before).await {
        Err(error) => {
            assert_eq!((error.kind, error.advice), (ErrorKind::Conflict, Advice::Never), "{error}");
            assert_eq!(error.action.as_deref(), Some(id));
            assert_eq!(error.target.as_deref(), Some(&*trial.case.target.external_key));
        }
        // Somebody else did just what was wanted (locking, unlocking): there is nothing left to do.
        Ok(executed) => assert!(!executed.changed),
    }
    assert_eq!(bench.witness().await, disturbed, "a refused effect left a trace");

    // The rollback of a state that is neither before nor after is refused as well. Where the
    // disturbance is the effect itself, going back is right.
    let (satisfied, _) = trial.satisfied(&before, None).await;
    match trial.action.rollback(&*trial.session, &cx, &before, None).await {
        Err(error) => {
            assert!(!satisfied);
            assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
            assert_eq!(bench.witness().await, disturbed, "a refused rollback left a trace");
        }
        Ok(_) => assert!(satisfied, "rolled back from a state that is not ours"),
    }
}

/// The effect is cut off in the middle, again and again, later and later: afterwards the target is as
/// before or as after, never in between, and the same call finishes it.
async fn crash(id: &str) {
    let bench = Bench::new().await;
    let case = postgres_cases::prepare(&bench, id, None).await;
    let session = bench.session().await;
    let mut trial = Trial { action: bench.action(id), case, session, said: String::new() };
    let initially = bench.witness().await;
    let (mut cut, mut through, mut whole) = (0_u32, 0_u32, Duration::MAX);
    // Eighths of the whole that the next round has. It begins anew whenever one got through: on a busy
    // machine the whole may have been measured too long.
    let mut eighths = 0;
    for round in 0_u32.. {
        let before = trial.inspect().await.before;
        let cx = trial.step(&before);
        let effect = trial.action.execute(&*trial.session, &cx, &before);
        // The first round measures how long the whole takes.
        let limit = if round == 0 { whole } else { whole / 8 * eighths };
        eighths += u32::from(round > 0);
        let started = Instant::now();
        match tokio::time::timeout(limit, effect).await {
            Ok(done) => {
                done.expect("execute");
                through += 1;
                eighths = 0;
                whole = whole.min(started.elapsed());
            }
            Err(_) => cut += 1,
        }
        // What was cut off is decided by the server within moments: nothing is in flight for longer.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = trial.fingerprint().await;
        let (there, after) = trial.satisfied(&before, None).await;
        assert_eq!(now, after);
        assert!(there || now == before.fingerprint || id == "postgres.lock_user", "in between");
        trial.action.execute(&*trial.session, &cx, &before).await.expect("finish");
        assert!(trial.satisfied(&before, None).await.0);
        trial.action.rollback(&*trial.session, &cx, &before, None).await.expect("rollback");
        assert_eq!(bench.witness().await, initially, "round {round}");
        if through >= 2 && cut >= 3 {
            break;
        }
        assert!(round < 60, "it never gets through");
    }
}

/// An account without rights is told before, and changes nothing if it tries all the same; a target
/// that is gone, the connection's own role and the server's own roles are refused.
async fn rights(id: &str) {
    let bench = Bench::new().await;
    let case = postgres_cases::prepare(&bench, id, None).await;
    let weak = bench.role("weak").await;
    let session = bench.session_of(&weak).await;
    let mut trial = Trial { action: bench.action(id), case, session, said: String::new() };
    let initially = bench.witness().await;
    let inspection = trial.inspect().await;
    let missing = failed(&inspection.checks);
    assert!(!missing.is_empty());
    assert!(
        missing.iter().any(|check| check.detail.contains("as a superuser run: ")),
        "nothing says what to do: {missing:#?}"
    );
    let cx = trial.step(&inspection.before);
    let error = trial
        .action
        .execute(&*trial.session, &cx, &inspection.before)
        .await
        .expect_err("an account without rights had an effect");
    assert!(!error.is_outcome_unknown(), "{error:?}");
    assert!(
        matches!(error.kind, ErrorKind::Forbidden | ErrorKind::Conflict | ErrorKind::Invalid),
        "{error:?}"
    );
    assert_eq!(bench.witness().await, initially);

    // Targets that must not be.
    trial.session = bench.session().await;
    let own = bench.server.username();
    let targets = if trial.case.target.kind == "postgres_role" {
        vec![role_target("nobody of this name"), role_target(own), role_target("pg_monitor")]
    } else {
        vec![database_target("no such database")]
    };
    for target in targets {
        let (action, parameters) = (trial.action, &trial.case.parameters);
        let inspection =
            action.inspect(&*trial.session, &target, parameters).await.expect("inspect");
        assert!(!inspection.is_ready(), "{} is accepted", target.external_key);
    }

    // A target of another kind is a mistake of the caller, not a check.
    let wrong = crate::fixture::target("host", "role/x", "x");
    let (action, parameters) = (trial.action, &trial.case.parameters);
    let error = action.inspect(&*trial.session, &wrong, parameters).await.expect_err("wrong kind");
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert_eq!(bench.witness().await, initially);
}
