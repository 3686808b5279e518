//! Texts of policies.

use nexplane_connectors::sdk::{Advice, ErrorKind};
use serde_json::{Value, json};

use super::bench::{Bench, documented_policy, policy_target};
use crate::fixture::{action, context, open, step};

async fn text_of(bench: &Bench, name: &str) -> Value {
    bench.get(&format!("sys/policies/acl/{name}")).await["data"]["policy"].clone()
}

/// In HCL or JSON, with whatever stands around it.
#[tokio::test]
async fn real_any_text_comes_back_byte_for_byte() {
    let bench = Bench::new().await;
    let session = bench.session().await;
    let update = action("vault.update_policy");
    let target = policy_target("app");
    for old in [
        "\n\t path \"a\" { capabilities = [\"read\"] }\r\n ",
        "# é only a comment",
        "{\"path\": {}}",
    ] {
        bench.call("POST", "sys/policies/acl/app", &json!({ "policy": old })).await;
        let parameters = json!({ "policy": " # another\n" });
        let before = update.inspect(&*session, &target, &parameters).await.unwrap().before;
        let cx = step(update, &target, &parameters, &before.fingerprint);
        assert!(update.execute(&*session, &cx, &before).await.unwrap().changed);
        assert_eq!(text_of(&bench, "app").await, " # another\n");
        assert!(update.rollback(&*session, &cx, &before, None).await.unwrap().changed);
        assert_eq!(text_of(&bench, "app").await, old);
    }
}

#[tokio::test]
async fn real_a_text_that_is_no_policy_changes_nothing() {
    let bench = Bench::new().await;
    let old = "path \"a\" { capabilities = [\"read\"] }";
    bench.call("POST", "sys/policies/acl/app", &json!({ "policy": old })).await;
    let session = bench.session().await;
    let update = action("vault.update_policy");
    let target = policy_target("app");
    let parameters = json!({ "policy": "path {" });
    let before = update.inspect(&*session, &target, &parameters).await.unwrap().before;
    let cx = step(update, &target, &parameters, &before.fingerprint);
    let error = update.execute(&*session, &cx, &before).await.unwrap_err();
    assert_eq!((error.kind, error.advice), (ErrorKind::Invalid, Advice::Never), "{error:?}");
    assert!(error.message.contains("failed to parse policy"), "{error}");
    assert_eq!(text_of(&bench, "app").await, old);
}

#[tokio::test]
async fn real_the_connections_own_policies_are_no_targets() {
    let bench = Bench::new().await;
    let session = open("vault", bench.app_role().await, &context()).await.unwrap();
    let update = action("vault.update_policy");
    let parameters = json!({ "policy": "path \"*\" { capabilities = [\"sudo\"] }" });
    for name in ["nexplane", "NexPlane"] {
        let inspection =
            update.inspect(&*session, &policy_target(name), &parameters).await.unwrap();
        let own: Vec<_> = inspection
            .checks
            .iter()
            .filter(|check| !check.ok && check.name.contains("connection's own"))
            .collect();
        assert_eq!(own.len(), 1, "{name}: {:#?}", inspection.checks);
    }
    // And the documented policy would not let it.
    assert_eq!(text_of(&bench, "nexplane").await, documented_policy());
}

/// Settings beside the text stay, though a write that does not name them resets them.
#[tokio::test]
async fn real_settings_of_a_policy_stay() {
    let bench = Bench::new().await;
    let body = json!({
        "policy": "# old", "cas_required": true, "cas": -1, "expiration": "2099-01-02T03:04:05Z",
        "allow_slashes_in_identity_templates": true,
    });
    bench.call("POST", "sys/policies/acl/app", &body).await;
    let settings = async || {
        let mut all = bench.get("sys/policies/acl/app").await["data"].clone();
        for moving in ["version", "modified", "policy"] {
            all.as_object_mut().unwrap().remove(moving);
        }
        all
    };
    let old = settings().await;
    assert!(old.to_string().contains("2099") && old["cas_required"] == true, "{old}");
    let session = bench.session().await;
    let update = action("vault.update_policy");
    let (target, parameters) = (policy_target("app"), json!({ "policy": "# new" }));
    let inspection = update.inspect(&*session, &target, &parameters).await.unwrap();
    assert!(inspection.is_ready(), "{:#?}", inspection.checks);
    let before = inspection.before;
    let cx = step(update, &target, &parameters, &before.fingerprint);
    update.execute(&*session, &cx, &before).await.unwrap();
    assert_eq!((text_of(&bench, "app").await, settings().await), (json!("# new"), old.clone()));
    update.rollback(&*session, &cx, &before, None).await.unwrap();
    assert_eq!((text_of(&bench, "app").await, settings().await), (json!("# old"), old));
}

/// Not even when somebody tells it to: the prechecks may be of another day.
#[tokio::test]
async fn real_what_is_no_target_is_none_at_the_last_moment_either() {
    let bench = Bench::new().await;
    let all = "path \"*\" { capabilities = [\"read\", \"update\"] }";
    bench.call("POST", "sys/policies/acl/mine", &json!({ "policy": all })).await;
    let own = bench.bao.token(&["default", "mine"], "1h").await.unwrap();
    let session = open("vault", bench.credentials_of(&own), &context()).await.unwrap();
    let update = action("vault.update_policy");
    let parameters = json!({ "policy": "# new" });
    for name in ["mine", "Mine", "default", "Default", "root"] {
        let target = policy_target(name);
        let before = update.inspect(&*session, &target, &parameters).await.unwrap().before;
        let cx = step(update, &target, &parameters, &before.fingerprint);
        let default = text_of(&bench, "default").await;
        let error = update.execute(&*session, &cx, &before).await.expect_err(name);
        assert_eq!((error.kind, error.advice), (ErrorKind::Invalid, Advice::Never), "{error:?}");
        assert!(error.message.contains("never a target"), "{error}");
        let error = update.rollback(&*session, &cx, &before, None).await.expect_err(name);
        assert!(error.message.contains("never a target"), "{error}");
        assert_eq!(text_of(&bench, "mine").await, all);
        assert_eq!(text_of(&bench, "default").await, default);
    }
}
