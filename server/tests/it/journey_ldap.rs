//! The story of changes of a directory, from draft to undone, on a real OpenLDAP.

use std::process::{Command, Stdio};

use nexplane_peers::slapd::{ADMIN, BASE, SERVICE, Slapd};
use serde_json::{Value, json};

use crate::harness::{Client, Server, id, items, text};
use crate::leak::nothing_leaked;

/// Password that the user of the story begins with.
const PASSWORD: &str = "correct-horse-battery";

struct Stage {
    server: Server,
    directory: Slapd,
    connection: String,
    operator: Client,
    approver: Client,
}

impl Stage {
    /// A directory with one user and two groups, connected and discovered.
    async fn new() -> Self {
        let server = Server::start().await;
        let directory = Slapd::start().await.unwrap();
        let entries = format!(
            "dn: {USER}\nobjectClass: inetOrgPerson\nsn: L\nuid: ada\nuserPassword: {PASSWORD}\n\n\
             dn: cn=boss,ou=people,{BASE}\nobjectClass: inetOrgPerson\nsn: B\nuid: boss\n\n\
             dn: {GROUP}\nobjectClass: groupOfNames\nmember: cn=boss,ou=people,{BASE}\n"
        );
        let mut add = directory.client("ldapmodify", ADMIN, &directory.password);
        add.arg("-a");
        run(add, &entries).expect("the entries are made");
        let body = json!({
            "name": "directory",
            "type": "ldap",
            "environment": "staging",
            "credentials": {
                "url": format!("ldaps://localhost:{}", directory.tls_port),
                "bind_dn": SERVICE,
                "bind_password": directory.password,
                "ca_certificate": directory.certificate.ca_pem,
            },
        });
        let connection = id(&server.admin.post("/connections", body).await.is(201));
        let path = format!("/connections/{connection}");
        let tested = server.admin.post(&format!("{path}/test"), json!({})).await.is(200);
        assert_eq!(tested["ok"], true, "{tested:#}");
        server.admin.post(&format!("{path}/discover"), json!({})).await.is(200);
        let (operator, approver) = (server.operator().await, server.approver().await);
        Self { server, directory, connection, operator, approver }
    }

    async fn request(&self, action: &str, kind: &str, name: &str, parameters: Value) -> Value {
        let path = format!("/assets?connection={}&q={name}&type={kind}", self.connection);
        let found = items(&self.operator.get(&path).await.is(200));
        assert_eq!(found.len(), 1, "{name}: {found:#?}");
        json!({
            "title": format!("{action} of {name}"),
            "reason": "Its owner has left the company.",
            "change_type": action,
            "connection_id": self.connection,
            "targets": [found[0]["key"]],
            "parameters": parameters,
        })
    }

    /// Submitted, approved by somebody else, executed.
    async fn complete(&self, request: Value) -> Value {
        let submitted = self.operator.submitted(request).await;
        self.approve(&submitted).await;
        let done = self.operator.executed(&id(&submitted)).await;
        assert_eq!(done["state"], "complete", "{done:#}");
        done
    }

    async fn approve(&self, submitted: &Value) {
        let digest = &submitted["plan"]["digest"];
        self.approver.approve(&id(submitted), digest).await.is(200);
    }

    async fn rolled_back(&self, change: &str) {
        let rollback = self.operator.act(change, "rollback").await.is(201);
        self.approve(&rollback).await;
        let settled = self.operator.executed(&id(&rollback)).await;
        assert_eq!(settled["state"], "complete", "{settled:#}");
        assert_eq!(self.operator.undone(change).await["state"], "rolled_back");
    }

    fn lets_in(&self, password: &str) -> bool {
        run(self.directory.client("ldapwhoami", USER, password), "").is_some()
    }

    fn members(&self) -> String {
        let mut search = self.directory.client("ldapsearch", ADMIN, &self.directory.password);
        search.args(["-LLL", "-s", "base", "-b", GROUP, "member"]);
        run(search, "").expect("the group is there")
    }
}

const USER: &str = "cn=Ada L,ou=people,dc=corp,dc=example";
const GROUP: &str = "cn=devs,ou=groups,dc=corp,dc=example";

/// What a client says, when it goes well.
fn run(mut command: Command, input: &str) -> Option<String> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_locked_joins_a_group_and_all_of_it_is_undone() {
    let stage = Stage::new().await;
    assert!(stage.lets_in(PASSWORD));
    let request = stage.request("ldap.lock_user", "ldap_user", "ada", json!({})).await;
    let locked = stage.complete(request).await;
    assert!(!stage.lets_in(PASSWORD));
    stage.rolled_back(&id(&locked)).await;
    assert!(stage.lets_in(PASSWORD));

    let before = stage.members();
    let request =
        stage.request("ldap.add_group_member", "ldap_group", "devs", json!({ "member": USER }));
    let added = stage.complete(request.await).await;
    assert!(stage.members().contains(USER));
    stage.rolled_back(&id(&added)).await;
    assert_eq!(stage.members(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_of_a_user_is_handed_over_once_and_the_old_one_comes_back() {
    let stage = Stage::new().await;
    let request = stage.request("ldap.reset_password", "ldap_user", "ada", json!({})).await;
    let complete = stage.complete(request).await;
    assert!(!stage.lets_in(PASSWORD));
    let path = format!("/secrets/{}/reveal", id(&complete["secrets"][0]));
    stage.server.admin.post(&path, json!({})).await.refused(403, "access.denied");
    let value = text(&stage.operator.post(&path, json!({})).await.is(200)["value"]);
    stage.operator.post(&path, json!({})).await.refused(409, "secret.already_revealed");
    assert!(stage.lets_in(&value));
    stage.operator.change(&id(&complete)).await;
    nothing_leaked(&stage.server, &[&value, PASSWORD, &stage.directory.password]).await;

    stage.rolled_back(&id(&complete)).await;
    assert!(stage.lets_in(PASSWORD) && !stage.lets_in(&value));
}
