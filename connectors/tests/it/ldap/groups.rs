//! Groups that name their members in other ways, and members that cannot be.

use nexplane_connectors::sdk::{AnySession, ErrorKind};
use nexplane_core::plan::TargetRef;
use nexplane_peers::slapd::{BASE, SERVICE};
use serde_json::{Value, json};

use super::directory::{AWKWARD, OpenLdap};
use crate::fixture::{action, context, open, step};

async fn there_and_back(
    session: &dyn AnySession,
    id: &str,
    target: &TargetRef,
    parameters: &Value,
    look: impl Fn() -> String,
) {
    let (action, initially) = (action(id), look());
    let inspection = action.inspect(session, target, parameters).await.expect("inspect");
    assert!(inspection.is_ready(), "{:#?}", inspection.checks);
    let before = inspection.before;
    let cx = step(action, target, parameters, &before.fingerprint);
    assert!(action.execute(session, &cx, &before).await.expect("execute").changed);
    assert_ne!(look(), initially, "{id}");
    assert!(action.rollback(session, &cx, &before, None).await.expect("rollback").changed);
    assert_eq!(look(), initially, "{id}");
}

#[tokio::test]
async fn real_unix_groups_and_groups_of_unique_names_are_changed_in_their_own_way() {
    let directory = OpenLdap::new().await;
    let user = directory.user(AWKWARD, "ada");
    let other = directory.user("cn=Other", "other");
    directory.add(&format!(
        "dn: cn=unix,ou=groups,{BASE}\nobjectClass: posixGroup\ngidNumber: 7\nmemberUid: other\n\n\
         dn: cn=unique,ou=groups,{BASE}\nobjectClass: groupOfUniqueNames\nuniqueMember: {other}\n"
    ));
    let session = open("ldap", directory.credentials_of(SERVICE), &context()).await.unwrap();
    for (name, attribute) in [("unix", "memberUid"), ("unique", "uniqueMember")] {
        let dn = format!("cn={name},ou=groups,{BASE}");
        let target = directory.target("ldap_group", "group", &dn);
        let look = || directory.search(&dn, &["-s", "base", attribute]);
        let add = json!({ "member": user });
        there_and_back(&*session, "ldap.add_group_member", &target, &add, look).await;
    }
    let dn = format!("cn=unix,ou=groups,{BASE}");
    let target = directory.target("ldap_group", "group", &dn);
    let look = || directory.search(&dn, &["-s", "base", "memberUid"]);
    let remove = json!({ "member": other });
    there_and_back(&*session, "ldap.remove_group_member", &target, &remove, look).await;
}

#[tokio::test]
async fn real_the_last_member_and_members_that_are_none_are_refused_before() {
    let directory = OpenLdap::new().await;
    let user = directory.user("cn=Ada", "ada");
    let group = directory.group("cn=lonely", &[&user]);
    let target = directory.target("ldap_group", "group", &group);
    let session = open("ldap", directory.credentials_of(SERVICE), &context()).await.unwrap();
    let said = async |id: &str, member: &str| -> String {
        let parameters = json!({ "member": member });
        let inspection = action(id).inspect(&*session, &target, &parameters).await.unwrap();
        let failed = inspection.checks.into_iter().filter(|check| !check.ok);
        failed.map(|check| format!("{}: {}\n", check.name, check.detail)).collect()
    };
    let last = said("ldap.remove_group_member", &user).await;
    assert!(last.contains("add another one first"), "{last}");
    let itself = said("ldap.add_group_member", &group).await;
    assert!(itself.contains("not the group itself"), "{itself}");
    // What RFC 4515 makes special is a name like any other.
    for none in [format!("cn=*,ou=people,{BASE}"), format!("cn=a)(cn=*,ou=people,{BASE}")] {
        let said = said("ldap.add_group_member", &none).await;
        assert!(said.contains("the member exists"), "{none}: {said}");
    }
    let parameters = json!({ "member": "ada" });
    let add = action("ldap.add_group_member");
    let error = add.inspect(&*session, &target, &parameters).await.expect_err("no DN");
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("must be a DN"), "{error}");
}
