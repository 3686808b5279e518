//! Rotating `requirepass` of a server that has no ACL file: the same demands, on another target.

use nexplane_core::plan::TargetRef;
use nexplane_peers::redis::Setup;
use serde_json::{Value, json};

use super::bench::{Bench, instance_target, user_target};
use super::login::{execute, inspect, roll_back, the_failure};
use crate::fixture::action;
use crate::suite::{Account, Case, Login, Peer};

const ID: &str = "redis.rotate_auth_password";

/// The same bench, with another server and another target.
struct Instance(Bench);

impl Peer for Instance {
    const CONNECTOR: &'static str = Bench::CONNECTOR;
    const WHAT_TO_DO: &'static str = Bench::WHAT_TO_DO;

    async fn start() -> Self {
        Self(Bench::with(Setup::Requirepass).await)
    }

    async fn login(&self, account: Account) -> Login {
        self.0.login(account).await
    }

    fn address(&self) -> (String, u16) {
        self.0.address()
    }

    fn with_wrong_secret(&self, credentials: Value) -> Value {
        self.0.with_wrong_secret(credentials)
    }

    async fn prepare(&self, _: &str, _: &Login) -> Case {
        let nowhere = TargetRef { external_key: "instance".to_owned(), ..user_target("nobody") };
        Case {
            target: instance_target(),
            parameters: json!({}),
            disturbance: "CONFIG SET requirepass of-somebody-else".to_owned(),
            never: vec![TargetRef { external_key: "user/nobody".to_owned(), ..nowhere }],
            in_parts: true,
        }
    }

    async fn disturb(&self, case: &Case) {
        self.0.disturb(case).await;
    }

    async fn witness(&self) -> String {
        self.0.witness()
    }

    fn secrets(&self) -> Vec<String> {
        self.0.secrets()
    }
}

#[tokio::test]
async fn real_with_full_rights() {
    crate::suite::trial::<Instance>(ID, Account::Full).await;
}

#[tokio::test]
async fn real_with_named_rights() {
    crate::suite::trial::<Instance>(ID, Account::Manager).await;
}

#[tokio::test]
async fn real_drift() {
    crate::suite::drift::<Instance>(ID).await;
}

#[tokio::test]
async fn real_rights() {
    crate::suite::rights::<Instance>(ID).await;
}

#[tokio::test]
async fn real_crash() {
    crate::suite::crash::<Instance>(ID).await;
}

#[tokio::test]
async fn real_crash_of_the_line() {
    let [unknown_done, unknown_not_done, _] = crate::suite::severed::<Instance>(ID).await;
    assert!(unknown_done >= 1 && unknown_not_done >= 1);
}

#[tokio::test]
async fn real_requirepass_is_new_and_kept_and_comes_back() {
    let bench = Bench::with(Setup::Requirepass).await;
    let old = bench.server.requirepass.clone().unwrap();
    let session = bench.session().await;
    let mut inside = bench.inside("default", &old);
    let inspection = inspect(&*session, ID, &instance_target()).await;
    assert!(inspection.summary.contains("CONFIG REWRITE"), "{}", inspection.summary);
    let done = execute(&*session, ID, &instance_target()).await;
    let new = done.executed.produced[0].value.expose().to_owned();
    assert!(inside.is_over() && bench.lets_in("default", &new) && !bench.lets_in("default", &old));
    assert!(bench.server.kept().contains(&new), "it is not in the configuration file");
    roll_back(&*session, ID, &done).await;
    assert!(bench.lets_in("default", &old) && !bench.lets_in("default", &new));
    assert!(!bench.server.kept().contains(&new) && bench.server.kept().contains(&old));
}

/// The setting and the user belong together: neither is rotated without the other.
#[tokio::test]
async fn real_the_setting_and_the_user_are_not_torn_apart() {
    let bench = Bench::with(Setup::Requirepass).await;
    let session = bench.session().await;
    let what = "requirepass and the user default are rotated together";
    let inspection = inspect(&*session, ID, &user_target("default")).await;
    let (name, detail) = the_failure(&inspection);
    assert_eq!(name, what);
    assert!(detail.contains("rotate the instance's"), "{detail}");

    bench.run("ACL SETUSER default resetpass >something-else");
    let inspection = inspect(&*session, ID, &instance_target()).await;
    let (name, detail) = the_failure(&inspection);
    assert_eq!(name, what);
    assert!(detail.contains("set requirepass anew"), "{detail}");

    // The connection that uses requirepass itself is told what to do.
    let bench = Bench::with(Setup::Requirepass).await;
    let requirepass = bench.server.requirepass.clone().unwrap();
    let session = bench.open(bench.credentials_of("default", &requirepass)).await.unwrap();
    let inspection = inspect(&*session, ID, &instance_target()).await;
    assert_eq!(the_failure(&inspection).0, "the user is not the connection's own");

    let unset = Bench::new().await;
    let session = unset.session().await;
    unset.run("ACL SETUSER default on >some-password");
    let inspection = inspect(&*session, ID, &instance_target()).await;
    assert!(the_failure(&inspection).1.contains("rotate the user's password instead"));
    assert!(action(ID).spec().target_types.contains(&"redis_instance".to_owned()));
}
