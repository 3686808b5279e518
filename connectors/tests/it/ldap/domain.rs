//! What actions do to a domain, as it says itself, and what discovery sees of it.

use std::time::Duration;

use nexplane_connectors::sdk::{AnySession, ErrorKind};
use nexplane_core::plan::TargetRef;
use nexplane_peers::samba::{BASE, SERVICE, STAFF};
use serde_json::json;

use super::samba::{Domain, PASSWORD};
use crate::fixture::{action, context, open, step};

async fn execute(
    session: &dyn AnySession,
    id: &str,
    target: &TargetRef,
) -> nexplane_connectors::sdk::Executed {
    let (action, parameters) = (action(id), json!({}));
    let inspection = action.inspect(session, target, &parameters).await.expect("inspect");
    assert!(inspection.is_ready(), "{:#?}", inspection.checks);
    let cx = step(action, target, &parameters, &inspection.before.fingerprint);
    action.execute(session, &cx, &inspection.before).await.expect("execute")
}

#[tokio::test]
async fn real_what_an_action_does_is_what_a_login_at_the_domain_says() {
    let domain = Domain::new().await;
    let dn = domain.user("ada");
    let login = format!("{}@corp.example", domain.login_name("ada"));
    let target = domain.user_target(&dn);
    let session = domain.session_of(SERVICE).await;
    assert_eq!(domain.refusal(&login, PASSWORD), None);

    execute(&*session, "ldap.lock_user", &target).await;
    assert_eq!(domain.refusal(&login, PASSWORD).as_deref(), Some("533"));
    execute(&*session, "ldap.unlock_user", &target).await;
    assert_eq!(domain.refusal(&login, PASSWORD), None);
    execute(&*session, "ldap.expire_password", &target).await;
    assert_eq!(domain.refusal(&login, PASSWORD).as_deref(), Some("773"));

    let executed = execute(&*session, "ldap.reset_ad_password", &target).await;
    let [new] = &executed.produced[..] else { panic!("one password: {executed:?}") };
    assert_eq!(domain.refusal(&login, new.value.expose()), None, "a reset ends the expiry");
    assert_eq!(domain.refusal(&login, PASSWORD).as_deref(), Some("52e"));
}

#[tokio::test]
async fn real_refused_binds_at_the_domain_are_told_apart() {
    let domain = Domain::new().await;
    let dn = domain.user("ada");
    let login = format!("{}@corp.example", domain.login_name("ada"));
    let why = async |password: &str| {
        let mut credentials = domain.credentials_of(&login);
        credentials["bind_password"] = json!(password);
        let opened = open("ldap", credentials, &context()).await;
        opened.err().expect("it is refused").message
    };
    assert!(why("wrong-password").await.contains("does not accept bind_dn"));
    domain.modify(&dn, "replace: userAccountControl\nuserAccountControl: 514");
    assert!(why(PASSWORD).await.contains("is disabled"));
    domain.modify(&dn, "replace: userAccountControl\nuserAccountControl: 512");
    domain.modify(&dn, "replace: pwdLastSet\npwdLastSet: 0");
    assert!(why(PASSWORD).await.contains("must be changed first"));
    domain.modify(&dn, "replace: pwdLastSet\npwdLastSet: -1");
    domain.modify(&dn, "replace: accountExpires\naccountExpires: 133000000000000000");
    assert!(why(PASSWORD).await.contains("account of bind_dn has expired"));
}

#[tokio::test]
async fn real_the_connections_own_account_and_the_other_reset_are_refused() {
    let domain = Domain::new().await;
    let session = domain.session_of(SERVICE).await;
    let own = domain.user_target(&format!("CN=svc,CN=Users,{BASE}"));
    let failed = async |id: &str, target: &TargetRef| -> Vec<String> {
        let inspection = action(id).inspect(&*session, target, &json!({})).await.unwrap();
        let failed = inspection.checks.into_iter().filter(|check| !check.ok);
        failed.map(|check| format!("{}: {}", check.name, check.detail)).collect()
    };
    let said = failed("ldap.lock_user", &own).await.join("\n");
    assert!(said.contains("not the connection's own"), "{said}");
    // Nor by an effect, whatever became of the prechecks; and neither is what the domain made for itself.
    let built_in = domain.user_target(&format!("CN=krbtgt,CN=Users,{BASE}"));
    for (target, says) in [(&own, "Nexplane itself uses"), (&built_in, "is built in")] {
        for id in ["lock_user", "unlock_user", "expire_password", "reset_ad_password"] {
            let action = action(&format!("ldap.{id}"));
            let before = action.inspect(&*session, target, &json!({})).await.unwrap().before;
            let cx = step(action, target, &json!({}), &before.fingerprint);
            let mut answers = vec![action.execute(&*session, &cx, &before).await.map(|_| ())];
            if id != "reset_ad_password" {
                answers.push(action.rollback(&*session, &cx, &before, None).await.map(|_| ()));
            }
            for error in answers.into_iter().map(|answer| answer.expect_err(id)) {
                assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
                assert!(error.message.contains(says), "{id}: {error}");
            }
        }
    }
    let ada = domain.user_target(&domain.user("ada"));
    let said = failed("ldap.reset_password", &ada).await.join("\n");
    assert!(said.contains("use ldap.reset_ad_password"), "{said}");
}

#[tokio::test]
async fn real_discovery_of_the_domain_sees_users_groups_and_their_state() {
    let domain = Domain::new().await;
    let (ada, eve) = (domain.user("ada"), domain.user("eve"));
    domain.modify(&eve, "replace: userAccountControl\nuserAccountControl: 514");
    domain.modify(&ada, "replace: pwdLastSet\npwdLastSet: 0");
    let inner = domain.group("inner", &[&ada]);
    let outer = domain.group("outer", &[&inner, &eve]);
    let key = |kind: &str, prefix: &str, dn: &str| domain.target(kind, prefix, dn).external_key;
    let unit = key("ldap_ou", "ou", STAFF);
    let [inner_key, outer_key] = [inner, outer].map(|dn| key("ldap_group", "group", &dn));
    let session = domain.session_of(SERVICE).await;
    let found = tokio::time::timeout(Duration::from_secs(20), session.discover()).await;
    let found = found.unwrap().unwrap();
    let get = |key: &str| {
        found.assets.iter().find(|asset| asset.external_key == key).expect("it is discovered")
    };
    let ada = get(&key("ldap_user", "user", &ada));
    assert_eq!(ada.name, domain.login_name("ada"));
    assert_eq!(ada.metadata["must_change_password"], true);
    assert_eq!(ada.metadata["disabled"], false);
    let to = |asset: &nexplane_connectors::sdk::DiscoveredAsset| -> Vec<(String, String)> {
        let relations = asset.relations.iter();
        relations.map(|r| (r.kind.clone(), r.to_external_key.clone())).collect()
    };
    let (within, member) = ("contained_in".to_owned(), "member_of".to_owned());
    assert_eq!(to(ada), [(within.clone(), unit.clone()), (member.clone(), inner_key.clone())]);
    let eve = get(&key("ldap_user", "user", &eve));
    assert_eq!(
        (&eve.metadata["disabled"], &eve.metadata["must_change_password"]),
        (&json!(true), &json!(false))
    );
    let changed = eve.metadata["password_changed_at"].as_str().unwrap();
    assert!(changed.starts_with("20") && changed.ends_with('Z'), "{changed}");
    assert_eq!(to(get(&inner_key)), [(within, unit), (member, outer_key)]);
    assert!(!found.assets.iter().any(|asset| asset.name == "DC1$"), "a computer is no user");

    let checks = session.test().await;
    assert!(checks.len() >= 5, "{checks:#?}");
    assert!(checks.iter().any(|check| check.name == "connect" && check.detail.contains("Samba")));
}
