//! A host that one signs in to: an account is locked and unlocked, and gets a new password, over the API.

use nexplane_peers::sshd::Sshd;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::crash_stage::approve;
use crate::harness::{Client, Server, id, items, text};
use crate::leak::nothing_leaked;
use crate::real_host::disposable::{base, missing};

const USER: &str = "deploy";

struct Stage {
    server: Server,
    host: Sshd,
    connection: String,
    operator: Client,
    approvers: [Client; 2],
}

impl Stage {
    /// None, with a line that says why, where there can be no host.
    async fn new() -> Option<Self> {
        if let Some(missing) = missing() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
            println!("skipped: {missing}");
            return None;
        }
        let base = block_in_place(|| base::directory(base::Kin::Debian));
        let host = Sshd::start(&base, &[USER], "").await.unwrap();
        host.sh(&format!(
            "echo '{USER}:of-old-correct-horse' | chpasswd; chage --lastday 20001 {USER}"
        ))
        .unwrap();
        let server = Server::start().await;
        let operator = server.operator().await;
        let approvers = [server.approver().await, server.person("arno", &["approver"]).await];
        let mut stage = Self { server, host, connection: String::new(), operator, approvers };
        stage.connection = stage.connect("web-1", "host_ed25519.pub").await;
        Some(stage)
    }

    async fn connect(&self, name: &str, host_key: &str) -> String {
        let credentials = json!({
            "host": "127.0.0.1",
            "port": self.host.port(),
            "username": "root",
            "host_key": self.host.key(host_key).unwrap(),
            "private_key": self.host.key("client").unwrap(),
        });
        let body = json!({
            "name": name, "type": "ssh", "environment": "staging", "credentials": credentials,
        });
        text(&self.server.admin.post("/connections", body).await.is(201)["id"])
    }

    async fn tested(&self, connection: &str) -> Value {
        let path = format!("/connections/{connection}/test");
        self.server.admin.post(&path, json!({})).await.is(200)
    }

    /// A change of the account that was approved and executed, and went well.
    async fn complete(&self, action: &str) -> Value {
        let path = format!("/assets?connection={}&q={USER}&type=ssh_account", self.connection);
        let found = items(&self.operator.get(&path).await.is(200));
        let asset = found.iter().find(|asset| asset["name"] == USER).expect("it was discovered");
        let request = json!({
            "title": format!("{action} of {USER}"),
            "reason": "Its owner has left the company.",
            "change_type": action,
            "connection_id": self.connection,
            "targets": [asset["key"]],
            "parameters": {},
        });
        let submitted = self.operator.submitted(request).await;
        approve(&self.approvers, &submitted).await;
        let done = self.operator.executed(&id(&submitted)).await;
        assert_eq!(done["state"], "complete", "{done:#}");
        done
    }

    async fn rolled_back(&self, change: &str) {
        let rollback = self.operator.act(change, "rollback").await.is(201);
        approve(&self.approvers, &rollback).await;
        let settled = self.operator.executed(&id(&rollback)).await;
        assert_eq!(settled["state"], "complete", "{settled:#}");
        self.operator.undone(change).await;
    }

    /// The account's line, by the host's own means.
    fn line(&self) -> String {
        self.host.sh(&format!("getent shadow {USER}")).unwrap()
    }

    fn lets_in(&self, password: &str) -> bool {
        let script = format!(
            "perl -e 'print crypt($ARGV[0], $ARGV[1]) eq $ARGV[1] ? \"in\" : \"out\"' \
                 '{password}' \"$(getent shadow {USER} | cut -d: -f2)\""
        );
        self.host.sh(&script).unwrap() == "in"
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_an_account_of_a_host_is_locked_and_gets_a_new_password_and_all_of_it_is_undone() {
    let Some(stage) = Stage::new().await else { return };
    let Stage { server, operator, connection, .. } = &stage;

    // Another host key than the pinned one: nothing is asked of it.
    let other = stage.connect("web-2", "client.pub").await;
    let refused = stage.tested(&other).await;
    assert_eq!(refused["ok"], false);
    assert!(refused.to_string().contains("another host key"), "{refused:#}");

    assert_eq!(stage.tested(connection).await["ok"], true);
    server.admin.post(&format!("/connections/{connection}/discover"), json!({})).await.is(200);
    let was = stage.line();

    let locked = stage.complete("ssh.lock_local_user").await;
    assert_eq!(locked["run"]["steps"][0]["state"], "verified");
    assert!(stage.line().starts_with(&format!("{USER}:!$")) && stage.line().contains("::1:"));
    stage.rolled_back(&id(&locked)).await;
    assert_eq!(stage.line(), was);

    let rotated = stage.complete("ssh.rotate_local_password").await;
    let path = format!("/secrets/{}/reveal", id(&rotated["secrets"][0]));
    let revealed = operator.post(&path, json!({})).await.is(200);
    let new = text(&revealed["value"]);
    assert!(stage.lets_in(&new) && !stage.lets_in("of-old-correct-horse"));
    nothing_leaked(&stage.server, &[&new, "of-old-correct-horse"]).await;
    stage.rolled_back(&id(&rotated)).await;
    assert_eq!(stage.line(), was);
}
