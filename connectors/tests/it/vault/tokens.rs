//! Tokens: whose they are, and which must not be revoked. Passwords of databases: that they work.

use nexplane_connectors::sdk::{Advice, ErrorKind};
use serde_json::json;
use sqlx::ConnectOptions;

use super::bench::{Bench, auth_target};
use crate::fixture::{action, context, open, step, target};

async fn lives(bench: &Bench, token: &str) -> bool {
    bench.bao.api_as(token, "GET", "auth/token/lookup-self", None).await.unwrap().0 == 200
}

#[tokio::test]
async fn real_a_revoked_token_and_its_children_are_void() {
    let bench = Bench::new().await;
    let session = open("vault", bench.app_role().await, &context()).await.unwrap();
    let body = json!({ "policies": ["root"], "ttl": "1h" });
    let made = bench.call("POST", "auth/token/create", &body).await;
    let parent = made["auth"]["client_token"].as_str().unwrap().to_owned();
    let body = json!({ "policies": ["default"], "ttl": "1h" });
    let child =
        bench.bao.api_as(&parent, "POST", "auth/token/create", Some(&body)).await.unwrap().1;
    let child = child["auth"]["client_token"].as_str().unwrap().to_owned();
    let (bystander, _) = bench.user_token().await;
    assert!(lives(&bench, &parent).await && lives(&bench, &child).await);

    let revoke = action("vault.revoke_token");
    let parameters = json!({ "accessor": made["auth"]["accessor"] });
    let target = auth_target("token");
    let inspection = revoke.inspect(&*session, &target, &parameters).await.unwrap();
    assert!(inspection.is_ready(), "{:#?}", inspection.checks);
    let cx = step(revoke, &target, &parameters, &inspection.before.fingerprint);
    assert!(revoke.execute(&*session, &cx, &inspection.before).await.unwrap().changed);
    assert!(!lives(&bench, &parent).await && !lives(&bench, &child).await);
    assert!(lives(&bench, &bystander).await);
}

#[tokio::test]
async fn real_our_own_token_and_what_it_may_hang_on_are_not_revoked() {
    let bench = Bench::new().await;
    let revoke = action("vault.revoke_token");
    let body = json!({ "policies": ["root"], "ttl": "1h" });
    let made = bench.call("POST", "auth/token/create", &body).await;
    let (token, own) = (&made["auth"]["client_token"], &made["auth"]["accessor"]);
    let token = token.as_str().unwrap();
    let session = open("vault", bench.credentials_of(token), &context()).await.unwrap();
    let target = auth_target("token");
    let root = bench.get("auth/token/lookup-self").await["data"]["accessor"].clone();
    for (accessor, says) in [(own, "connection's own"), (&root, "hang on another")] {
        let parameters = json!({ "accessor": accessor });
        let inspection = revoke.inspect(&*session, &target, &parameters).await.unwrap();
        let failed: Vec<_> = inspection.checks.iter().filter(|check| !check.ok).collect();
        assert!(failed.iter().any(|check| check.name.contains(says)), "{failed:#?}");
    }
    // Not even when it is told to.
    let parameters = json!({ "accessor": own });
    let before = revoke.inspect(&*session, &target, &parameters).await.unwrap().before;
    let cx = step(revoke, &target, &parameters, &before.fingerprint);
    let error = revoke.execute(&*session, &cx, &before).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    assert!(lives(&bench, token).await);
}

#[tokio::test]
async fn real_a_token_in_place_of_an_accessor_is_refused_and_not_repeated() {
    let bench = Bench::new().await;
    let revoke = action("vault.revoke_token");
    let root = bench.bao.root_token();
    let faults = revoke.validate(&json!({ "accessor": root })).unwrap_err();
    assert!(!format!("{faults:?}").contains(root), "{faults:?}");
    let session = bench.session().await;
    let parameters = json!({ "accessor": root });
    let error = revoke.inspect(&*session, &auth_target("token"), &parameters).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(!format!("{error} {error:?}").contains(root), "{error:?}");
}

#[tokio::test]
async fn real_the_database_has_the_new_password_and_not_the_old_one() {
    let bench = Bench::new().await;
    let server = bench.static_role().await;
    let password = async || {
        let credentials = bench.get("database/static-creds/app").await;
        credentials["data"]["password"].as_str().unwrap().to_owned()
    };
    let logs_in = async |password: &str| {
        let user = server.role("app");
        server.options().username(&user).password(password).connect().await.is_ok()
    };
    let old = password().await;
    assert!(logs_in(&old).await);
    let session = open("vault", bench.app_role().await, &context()).await.unwrap();
    let rotate = action("vault.rotate_database_credentials");
    let target = target("vault_database_role", "database/database/app", "database/app");
    let inspection = rotate.inspect(&*session, &target, &json!({})).await.unwrap();
    assert!(inspection.is_ready(), "{:#?}", inspection.checks);
    let cx = step(rotate, &target, &json!({}), &inspection.before.fingerprint);
    assert!(rotate.execute(&*session, &cx, &inspection.before).await.unwrap().changed);
    let new = password().await;
    assert_ne!(new, old);
    assert!(logs_in(&new).await && !logs_in(&old).await);
}

/// A policy can allow the path and refuse the accessor: that is no token that was revoked.
#[tokio::test]
async fn real_a_refused_accessor_is_not_a_revoked_token() {
    let bench = Bench::new().await;
    let (user, accessor) = bench.user_token().await;
    let policy = "path \"auth/token/lookup-accessor\" { capabilities = [\"update\"] \
                  allowed_parameters = { \"accessor\" = [\"another\"] } }\n\
                  path \"auth/token/revoke-accessor\" { capabilities = [\"update\"] }";
    bench.call("POST", "sys/policies/acl/narrow", &json!({ "policy": policy })).await;
    let narrow = bench.bao.token(&["default", "narrow"], "1h").await.unwrap();
    let (revoke, target) = (action("vault.revoke_token"), auth_target("token"));
    let parameters = json!({ "accessor": accessor });
    let root = bench.session().await;
    let before = revoke.inspect(&*root, &target, &parameters).await.unwrap().before;
    let cx = step(revoke, &target, &parameters, &before.fingerprint);

    let narrow = open("vault", bench.credentials_of(&narrow), &context()).await.unwrap();
    let executed = revoke.execute(&*narrow, &cx, &before).await.expect_err("it is refused");
    let verified = revoke.verify(&*narrow, &target, &parameters, &before, None).await;
    for error in [executed, verified.expect_err("nobody can tell")] {
        assert_eq!((error.kind, error.advice), (ErrorKind::Forbidden, Advice::Never), "{error:?}");
    }
    assert!(lives(&bench, &user).await);
    // And an accessor that there is none for is gone, for whoever may ask.
    let none = json!({ "accessor": "nobody-has-this-accessor" });
    let verified = revoke.verify(&*root, &target, &none, &before, None).await.unwrap();
    assert!(verified.satisfied);
}

/// Who may not look does not say that nothing has happened.
#[tokio::test]
async fn real_what_may_not_be_read_is_not_taken_for_undone() {
    let bench = Bench::new().await;
    bench.put("app/db", json!({ "password": super::bench::OLD })).await;
    bench.call("POST", "sys/policies/acl/app", &json!({ "policy": super::bench::POLICY })).await;
    let _server = bench.static_role().await;
    let (_, accessor) = bench.user_token().await;
    let role = target("vault_database_role", "database/database/app", "database/app");
    let secret = super::bench::secret_target("app/db");
    let (root, weak) = (bench.session().await, bench.bao.token(&["default"], "1h").await.unwrap());
    let weak = open("vault", bench.credentials_of(&weak), &context()).await.unwrap();
    for (id, target, parameters) in [
        ("vault.delete_kv_version", secret.clone(), json!({ "version": 1 })),
        ("vault.revoke_token", auth_target("token"), json!({ "accessor": accessor })),
        ("vault.rotate_database_credentials", role, json!({})),
        ("vault.rotate_kv_secret", secret, json!({ "keys": ["password"] })),
        ("vault.update_policy", super::bench::policy_target("app"), json!({ "policy": "# new" })),
    ] {
        let before = action(id).inspect(&*root, &target, &parameters).await.unwrap().before;
        let error = action(id)
            .verify(&*weak, &target, &parameters, &before, None)
            .await
            .expect_err("nobody can tell");
        assert_eq!((error.kind, error.advice), (ErrorKind::Forbidden, Advice::Never), "{error:?}");
    }
}
