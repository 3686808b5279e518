//! Discovery of OpenLDAP: complete beyond the server's size limit, stable across renames, and within this server.

use std::fmt::Write as _;

use nexplane_connectors::sdk::DiscoveredAsset;
use nexplane_peers::slapd::{ADMIN, BASE, SERVICE, WEAK};
use serde_json::json;

use super::directory::{AWKWARD, OpenLdap, dn_line, done};
use crate::fixture::{context, open};

fn relations(asset: &DiscoveredAsset) -> Vec<(&str, &str)> {
    asset.relations.iter().map(|r| (r.kind.as_str(), r.to_external_key.as_str())).collect()
}

#[tokio::test]
async fn real_more_entries_than_the_size_limit_are_found_page_by_page() {
    let directory = OpenLdap::new().await;
    let mut ldif = String::new();
    for number in 0..620 {
        let _ = write!(
            ldif,
            "dn: uid=u{number},ou=people,{BASE}\nobjectClass: inetOrgPerson\ncn: c\nsn: s\n\n"
        );
    }
    directory.add(&ldif);
    let session = open("ldap", directory.credentials_of(SERVICE), &context()).await.unwrap();
    let found = session.discover().await.unwrap();
    let users = found.assets.iter().filter(|asset| asset.name.starts_with('u'));
    assert_eq!(users.filter(|asset| asset.kind == "ldap_user").count(), 620);
}

#[tokio::test]
async fn real_relations_and_states_are_found_and_a_rename_keeps_the_key() {
    let directory = OpenLdap::new().await;
    let ada = directory.user(AWKWARD, "ada");
    let inner = directory.group("cn=inner", &[&ada]);
    let outer = directory.group("cn=outer", &[&inner]);
    // A part of the tree that another server has.
    directory.add(&format!(
        "dn: ou=elsewhere,{BASE}\nobjectClass: referral\nobjectClass: extensibleObject\n\
         ou: elsewhere\nref: ldap://127.0.0.1:1/ou=elsewhere,{BASE}\n"
    ));
    directory.modify(&ada, "replace: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z");
    let id = directory.value(&ada, "entryUUID").unwrap();
    let [inner, outer] =
        [inner, outer].map(|dn| format!("group/{}", directory.value(&dn, "entryUUID").unwrap()));
    let people =
        format!("ou/{}", directory.value(&format!("ou=people,{BASE}"), "entryUUID").unwrap());
    let groups =
        format!("ou/{}", directory.value(&format!("ou=groups,{BASE}"), "entryUUID").unwrap());
    let session = open("ldap", directory.credentials_of(SERVICE), &context()).await.unwrap();
    let found = session.discover().await.unwrap();
    let get = |key: &str| found.assets.iter().find(|asset| asset.external_key == key).unwrap();
    let user = get(&format!("user/{id}"));
    assert_eq!((user.kind.as_str(), user.name.as_str()), ("ldap_user", "ada"));
    assert_eq!(user.metadata["locked"], true);
    assert_eq!(user.metadata["must_change_password"], false);
    assert_eq!(relations(user), [("contained_in", &*people), ("member_of", &*inner)]);
    assert_eq!(relations(get(&inner)), [("contained_in", &*groups), ("member_of", &*outer)]);
    assert!(!found.assets.iter().any(|asset| asset.name == "elsewhere"));

    let rename =
        format!("{}changetype: modrdn\nnewrdn: cn=Renamed\ndeleteoldrdn: 1\n", dn_line(&ada));
    done(directory.server.client("ldapmodify", ADMIN, &directory.server.password), &rename);
    let again = session.discover().await.unwrap();
    let user =
        again.assets.iter().find(|asset| asset.external_key == format!("user/{id}")).unwrap();
    assert_eq!(user.metadata["dn"], format!("cn=Renamed,ou=people,{BASE}"));
    assert_eq!(user.relations.len(), 2);
}

#[tokio::test]
async fn real_a_test_of_the_connection_names_every_right_that_is_missing() {
    let directory = OpenLdap::new().await;
    let ada = directory.user("cn=Ada", "ada");
    directory.group("cn=devs", &[&ada]);
    let failed = async |who: &str| -> Vec<String> {
        let session = open("ldap", directory.credentials_of(who), &context()).await.unwrap();
        let checks = session.test().await;
        assert!(checks.len() >= 7, "{checks:#?}");
        checks.into_iter().filter(|check| !check.ok).map(|check| check.name).collect()
    };
    let none: [&str; 0] = [];
    assert_eq!(failed(SERVICE).await, none);
    let lacking = [
        "lock and unlock users",
        "expire passwords",
        "reset passwords",
        "read stored passwords (reset_password)",
        "change members of groups",
    ];
    assert_eq!(failed(WEAK).await, lacking);
    // The base can be narrower than the directory.
    let mut credentials = directory.credentials_of(SERVICE);
    credentials["base_dn"] = json!(format!("ou=people,{BASE}"));
    let session = open("ldap", credentials, &context()).await.unwrap();
    let found = session.discover().await.unwrap();
    assert!(!found.assets.iter().any(|asset| asset.kind == "ldap_group"));
}
