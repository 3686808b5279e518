//! `ldap-corp`: the directory of a small company, in an OpenLDAP.

use std::path::Path;

use nexplane_core::id::ConnectionId;
use nexplane_peers::slapd::{ADMIN, BASE, SERVICE, Slapd, WEAK};
use serde_json::{Value, json};

use super::sandbox::Sandbox;
use super::{REDISCOVER_S, feed};

/// Login name, name, surname, title.
const PEOPLE: [(&str, &str, &str, &str); 12] = [
    ("afischer", "Anna", "Fischer", "Head of Engineering"),
    ("bokafor", "Bisi", "Okafor", "Site Reliability Engineer"),
    ("cmoreau", "Claire", "Moreau", "Software Engineer"),
    ("dnovak", "David", "Novak", "Database Administrator"),
    ("ehaas", "Emil", "Haas", "Software Engineer"),
    ("frossi", "Francesca", "Rossi", "Head of Finance"),
    ("gsingh", "Gurpreet", "Singh", "Accountant"),
    ("hlind", "Hanna", "Lind", "Support Engineer"),
    ("jberg", "Jonas", "Berg", "Support Engineer"),
    ("ktanaka", "Keiko", "Tanaka", "Site Reliability Engineer"),
    ("lmendes", "Luis", "Mendes", "Contractor"),
    ("mwright", "Maya", "Wright", "Working Student"),
];

/// Name, what for, users, groups. A group stands after those that belong to it.
const GROUPS: [(&str, &str, &[&str], &[&str]); 6] = [
    (
        "engineering",
        "Builds and runs the shop",
        &["afischer", "bokafor", "cmoreau", "dnovak", "ehaas", "ktanaka"],
        &[],
    ),
    ("finance", "Invoices and payroll", &["frossi", "gsingh"], &[]),
    ("support", "Answers customers", &["hlind", "jberg"], &[]),
    ("oncall", "Is woken at night", &["bokafor", "dnovak", "ktanaka"], &[]),
    (
        "staff",
        "Everybody with a contract of employment",
        &["mwright"],
        &["engineering", "finance", "support"],
    ),
    ("vpn", "May reach the internal network from outside", &["frossi"], &["engineering", "oncall"]),
];

/// Starts it and makes its entries.
pub async fn start(parent: &Path) -> anyhow::Result<Slapd> {
    let slapd = Slapd::start_in(parent).await?;
    let mut modify = slapd.client("ldapmodify", ADMIN, &slapd.password);
    // Everything is added, unless it says otherwise.
    modify.arg("-a");
    feed(modify, &entries(), "ldapmodify")?;
    Ok(slapd)
}

/// How it is reached.
pub fn connection(slapd: &Slapd) -> Value {
    json!({
        "name": "ldap-corp",
        "type": "ldap",
        "environment": "prod",
        "credentials": {
            "url": format!("ldaps://127.0.0.1:{}", slapd.tls_port),
            "bind_dn": SERVICE,
            "bind_password": slapd.password,
            "ca_certificate": slapd.certificate.ca_pem,
        },
        "discover_every_s": REDISCOVER_S,
    })
}

/// One that is done, one that is undone, one that waits for approval, one draft.
pub async fn make_changes(sandbox: &Sandbox, directory: ConnectionId) -> anyhow::Result<()> {
    let user = async |name| sandbox.asset(directory, "ldap_user", name).await;
    let group = async |name| sandbox.asset(directory, "ldap_group", name).await;
    let member = |name| json!({ "member": user_dn(name) });

    let undone = sandbox
        .complete((
            "Take Keiko Tanaka off the on-call group during her leave",
            "ldap.remove_group_member",
            directory,
            group("oncall").await?,
            member("ktanaka"),
        ))
        .await?;
    sandbox.roll_back(&undone).await?;
    sandbox
        .complete((
            "Lock Jonas Berg: he left the company on Friday",
            "ldap.lock_user",
            directory,
            user("jberg").await?,
            json!({}),
        ))
        .await?;
    sandbox
        .submit((
            "Let Luis Mendes reach the internal network from home",
            "ldap.add_group_member",
            directory,
            group("vpn").await?,
            member("lmendes"),
        ))
        .await?;
    sandbox
        .draft((
            "Have Maya Wright choose a new password",
            "ldap.expire_password",
            directory,
            user("mwright").await?,
            json!({}),
        ))
        .await?;
    Ok(())
}

fn user_dn(login: &str) -> String {
    format!("uid={login},ou=people,{BASE}")
}

fn group_dn(name: &str) -> String {
    format!("cn={name},ou=groups,{BASE}")
}

/// LDIF. Each password is drawn, and nobody knows it.
fn entries() -> String {
    let people = PEOPLE.map(|(login, name, surname, title)| {
        let mail = format!("{name}.{surname}@corp.example").to_lowercase();
        let (dn, password) = (user_dn(login), nexplane_peers::password());
        format!(
            "dn: {dn}\nobjectClass: inetOrgPerson\nuid: {login}\ncn: {name} {surname}\n\
             givenName: {name}\nsn: {surname}\ntitle: {title}\nmail: {mail}\n\
             userPassword: {password}\n\n"
        )
    });
    let services = ["shop-login", "wiki"].map(|name| {
        let password = nexplane_peers::password();
        format!(
            "dn: cn={name},ou=services,{BASE}\nobjectClass: device\n\
             objectClass: simpleSecurityObject\nuserPassword: {password}\n\n"
        )
    });
    let groups = GROUPS.map(|(name, what_for, users, groups)| {
        let dns = users.iter().map(|user| user_dn(user));
        let dns = dns.chain(groups.iter().map(|group| group_dn(group)));
        let members: Vec<_> = dns.map(|dn| format!("member: {dn}\n")).collect();
        let members = members.concat();
        let dn = group_dn(name);
        format!("dn: {dn}\nobjectClass: groupOfNames\ndescription: {what_for}\n{members}\n")
    });
    let unused = format!("dn: {WEAK}\nchangetype: delete\n\n");
    [people.concat(), services.concat(), groups.concat(), unused].concat()
}
