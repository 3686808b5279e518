//! Every action of the catalog over the API, with secrets that are known to this test: done, undone, and in the way of
//! somebody else; with a wrong secret, with credentials that are none, and at a peer that cuts the line. None of the
//! secrets is in anything that is kept or shown.
//!
//! The cases are those of the connectors' own tests (`connectors/tests/it`). Whether an action does what it promises is
//! tested there, and in `reversible`.

use std::collections::BTreeSet;
use std::fs;

use nexplane_connectors::sdk::Registry;
use nexplane_core::catalog::Reversibility;
use nexplane_core::plan::TargetRef;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::crash_stage::approve;
use crate::fault_proxy::{Proxy, Upstream};
use crate::harness::{Agent, Answer, Client, Server, id, items, text};
use crate::leak::nothing_leaked;
use crate::over_the_api::{aws, ldap, postgres, redis, ssh, vault};
use crate::suite::{Account, Peer};

const POSTGRES: [&str; 8] = [
    "postgres.create_read_only_user",
    "postgres.drop_user",
    "postgres.lock_user",
    "postgres.revoke_all_privileges",
    "postgres.rotate_user_password",
    "postgres.set_connection_limit",
    "postgres.set_role_setting",
    "postgres.unlock_user",
];
const REDIS: [&str; 5] = [
    "redis.delete_key_pattern",
    "redis.flush_volatile_keys",
    "redis.lock_user",
    "redis.rotate_auth_password",
    "redis.unlock_user",
];
const OPENLDAP: [&str; 6] = [
    "ldap.add_group_member",
    "ldap.expire_password",
    "ldap.lock_user",
    "ldap.remove_group_member",
    "ldap.reset_password",
    "ldap.unlock_user",
];
const DOMAIN: [&str; 1] = ["ldap.reset_ad_password"];
const SSH: [&str; 8] = [
    "ssh.apply_hardening_profile",
    "ssh.install_package",
    "ssh.lock_local_user",
    "ssh.remove_package",
    "ssh.rotate_local_password",
    "ssh.set_file_ownership",
    "ssh.set_file_permission",
    "ssh.unlock_local_user",
];
/// On a host that was started as a whole: any other has no systemd, and so no service.
const SSH_SERVICES: [&str; 2] = ["ssh.disable_service", "ssh.enable_service"];
const VAULT: [&str; 5] = [
    "vault.delete_kv_version",
    "vault.revoke_token",
    "vault.rotate_database_credentials",
    "vault.rotate_kv_secret",
    "vault.update_policy",
];
const HOST: [&str; 7] = [
    "host.lock_local_account",
    "host.rotate_local_password",
    "host.run_hardening_profile",
    "host.set_file_content",
    "host.set_file_permission",
    "host.set_sysctl",
    "host.unlock_local_account",
];
/// What is beneath a directory has neither services nor packages: they are done in `real_host::leak`, and here it is
/// said that they cannot be.
const HOST_REFUSES: [&str; 5] = [
    "host.disable_service",
    "host.enable_service",
    "host.install_package",
    "host.remove_package",
    "host.update_agent",
];

#[test]
fn every_action_of_the_catalog_has_a_row() {
    let rows: [&[&str]; 11] = [
        &aws::identity::ACTIONS,
        &aws::machine::ACTIONS,
        &DOMAIN,
        &HOST,
        &HOST_REFUSES,
        &OPENLDAP,
        &POSTGRES,
        &REDIS,
        &SSH,
        &SSH_SERVICES,
        &VAULT,
    ];
    let registry = Registry::standard();
    let actions = registry.connectors().flat_map(|connector| connector.actions());
    let catalog: BTreeSet<&str> = actions.map(|action| action.spec().id.as_str()).collect();
    let rows: BTreeSet<&str> = rows.concat().into_iter().collect();
    assert_eq!(rows, catalog, "rows on the left, the catalog on the right");
}

struct Stage {
    server: Server,
    operator: Client,
    approvers: [Client; 2],
    secrets: Vec<String>,
    /// Changes that were stopped because somebody else had moved the target.
    stopped: usize,
}

impl Stage {
    async fn new() -> Self {
        let mut server = Server::start().await;
        // The second is what the SDK of AWS says of a line that was cut.
        server.expected_errors = vec!["code=\"target.un", "unable to mark the connection"];
        let operator = server.operator().await;
        let approvers = [server.approver().await, server.person("arno", &["approver"]).await];
        let mut stage = Self { server, operator, approvers, secrets: Vec::new(), stopped: 0 };
        let login = json!({ "email": "olga@example.org", "password": stage.new_secret("login") });
        let refused = stage.server.nobody().post("/auth/login", login).await;
        refused.refused(401, "auth.invalid");
        stage
    }

    /// Services and packages take longer than the lease that tests have otherwise.
    async fn with_patience() -> Self {
        let mut stage = Self::new().await;
        stage.server.lease_s = 30;
        stage.server.restart().await;
        stage
    }

    /// A text that nothing has but what it is given to. `"` and `/` are spelled in more than one way, the rest is not.
    fn new_secret(&mut self, what: &str) -> String {
        let random = uuid::Uuid::new_v4().simple().to_string();
        let secret = format!("of-{what}\"/+{random}");
        self.keep(&secret);
        self.keep(&random);
        secret
    }

    fn keep(&mut self, secret: &str) {
        // Shorter ones stand for themselves in a case, and would be found in any sentence.
        if secret.len() >= 8 {
            self.secrets.push(secret.to_owned());
        }
        // A line of a key is the key's.
        let lines = secret.lines().filter(|line| line.len() >= 32 && !line.contains("-----"));
        self.secrets.extend(lines.map(str::to_owned));
    }

    async fn connect(&self, connector: &str, credentials: &Value) -> String {
        let name = format!("{connector}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let body = json!({
            "name": name, "type": connector, "environment": "dev", "credentials": credentials,
        });
        let connection = text(&self.server.admin.post("/connections", body).await.is(201)["id"]);
        self.server.admin.get(&format!("/connections/{connection}")).await.is(200);
        connection
    }

    async fn discover(&self, connection: &str) -> Answer {
        self.server.admin.post(&format!("/connections/{connection}/discover"), json!({})).await
    }

    async fn set(&self, connection: &str, credentials: &Value) -> Answer {
        let path = format!("/connections/{connection}");
        self.server.admin.patch(&path, json!({ "credentials": credentials })).await
    }

    async fn request(
        &self,
        connection: &str,
        action: &str,
        target: &TargetRef,
        parameters: &Value,
    ) -> Value {
        let mut cursor = String::new();
        let asset = loop {
            let path =
                format!("/assets?connection={connection}&type={}&limit=200{cursor}", target.kind);
            let page = self.operator.get(&path).await.is(200);
            let is_it = |asset: &Value| asset["external_key"] == *target.external_key;
            if let Some(asset) = items(&page).into_iter().find(is_it) {
                break asset;
            }
            let next = page["next_cursor"].as_str();
            let next = next.unwrap_or_else(|| panic!("no {}: {page:#}", target.external_key));
            cursor = format!("&cursor={next}");
        };
        json!({
            "title": action,
            "reason": "It was seen where it should not be.",
            "change_type": action,
            "connection_id": connection,
            "targets": [id(&asset)],
            "parameters": parameters,
        })
    }

    /// Asked for and approved.
    async fn approved(&self, request: &Value) -> String {
        let submitted = self.operator.submitted(request.clone()).await;
        approve(&self.approvers, &submitted).await;
        id(&submitted)
    }

    /// What is shown of it, heard once.
    async fn look(&self, change: &str) {
        self.operator.history(change).await;
    }

    async fn roll_back(&self, change: &str) {
        let rollback = self.operator.act(change, "rollback").await.is(201);
        approve(&self.approvers, &rollback).await;
        let settled = self.operator.executed(&id(&rollback)).await;
        assert_eq!(settled["state"], "complete", "{settled:#}");
        self.operator.undone(change).await;
        self.look(&id(&rollback)).await;
    }

    /// Done, what it produced revealed, and undone where there is a way back.
    async fn there_and_back(&self, action: &str, request: &Value) -> bool {
        let change = self.approved(request).await;
        let done = self.operator.executed(&change).await;
        assert_eq!(done["state"], "complete", "{action}: {done:#}");
        let registry = Registry::standard();
        let spec = registry.action(action).unwrap().spec();
        let produced = done["secrets"].as_array().cloned().unwrap_or_default();
        assert_eq!(produced.len(), spec.produces.len(), "{action}: {done:#}");
        for secret in produced {
            let path = format!("/secrets/{}/reveal", id(&secret));
            self.operator.post(&path, json!({})).await.is(200);
        }
        self.look(&change).await;
        let is_reversible = spec.reversibility == Reversibility::Reversible;
        if is_reversible {
            self.roll_back(&change).await;
        }
        is_reversible
    }

    /// Every one of these actions, at a peer of its own each.
    async fn run<P: Peer>(mut self, account: Account, actions: &[&str]) -> Self {
        for action in actions {
            let peer = P::start().await;
            let login = peer.login(account).await;
            let case = peer.prepare(action, &login).await;
            let connection = self.connect(P::CONNECTOR, &login.credentials).await;
            self.discover(&connection).await.is(200);
            let request = self.request(&connection, action, &case.target, &case.parameters).await;
            if self.there_and_back(action, &request).await {
                let change = self.approved(&request).await;
                peer.disturb(&case).await;
                let answer = self.operator.act(&change, "execute").await;
                if answer.status == 200 {
                    self.operator.settled(&change).await;
                } else {
                    answer.refused(409, "change.plan_moved");
                    self.stopped += 1;
                }
                self.look(&change).await;
            }
            for secret in peer.secrets() {
                self.keep(&secret);
            }
            if Some(action) == actions.last() {
                self.break_connection(&peer, &connection, &login.credentials, &request).await;
            }
        }
        self
    }

    /// What can be wrong with a connection.
    async fn break_connection<P: Peer>(
        &mut self,
        peer: &P,
        connection: &str,
        credentials: &Value,
        request: &Value,
    ) {
        // The peer cuts every line while the change is executed.
        let (host, port) = peer.address();
        let address = tokio::net::lookup_host((host, port)).await.unwrap().next().unwrap();
        let line = Proxy::to(Upstream::Bytes(address)).await;
        self.set(connection, &peer.moved(credentials.clone(), line.port())).await.is(200);
        self.tested(connection).await;
        line.down();
        self.is_broken(connection, request).await;
        // It takes the line and is silent, until it is cut.
        let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let moved = peer.moved(credentials.clone(), silent.local_addr().unwrap().port());
        self.set(connection, &moved).await.is(200);
        let path = format!("/connections/{connection}/test");
        let test = self.server.admin.post(&path, json!({}));
        tokio::select! {
            accepted = silent.accept() => drop(accepted.unwrap()),
            answer = test => panic!("it was told before the silence: {answer:?}"),
        }

        // A wrong secret.
        let wrong = peer.with_wrong_secret(credentials.clone());
        for (name, value) in wrong.as_object().unwrap() {
            if credentials[name] != *value {
                self.keep(value.as_str().unwrap());
            }
        }
        self.set(connection, &wrong).await.is(200);
        if wrong != *credentials {
            self.is_broken(connection, request).await;
        }

        // What is no secret, and what is in the wrong place.
        let registry = Registry::standard();
        let connector = registry.connector(P::CONNECTOR).unwrap();
        let schema = &connector.spec().credentials;
        for (name, field) in schema["properties"].as_object().unwrap() {
            let is_text = field["type"] == "string" || field["type"] == json!(["string", "null"]);
            let secret = self.new_secret(name);
            let mut bad = credentials.clone();
            bad[name] = if field.to_string().contains("x-secret") {
                json!({ "of": [&secret] })
            } else if is_text {
                bad[format!("{name}x")] = json!(&secret);
                bad[name].clone()
            } else {
                json!(&secret)
            };
            let answer = self.set(connection, &bad).await;
            answer.is_refused_with(&[422]);
        }
    }

    async fn tested(&self, connection: &str) -> Value {
        let path = format!("/connections/{connection}/test");
        self.server.admin.post(&path, json!({})).await.is(200)
    }

    /// Neither a test nor a discovery nor a plan gets through.
    async fn is_broken(&self, connection: &str, request: &Value) {
        assert_eq!(self.tested(connection).await["ok"], false);
        assert!(self.discover(connection).await.status >= 400);
        let drafted = self.operator.post("/change-requests", request.clone()).await.is(201);
        assert!(self.operator.act(&id(&drafted), "plan").await.status >= 400);
    }

    async fn end(self, stopped: usize) {
        assert!(self.stopped >= stopped, "only {} were in the way of somebody", self.stopped);
        let secrets: Vec<&str> = self.secrets.iter().map(String::as_str).collect();
        assert!(secrets.len() >= 2, "{secrets:?}");
        nothing_leaked(&self.server, &secrets).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_secrets_of_postgres_are_nowhere() {
    let stage = Stage::new().await;
    stage.run::<postgres::bench::Bench>(Account::Manager, &POSTGRES).await.end(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_secrets_of_redis_are_nowhere() {
    let stage = Stage::new().await;
    stage.run::<redis::bench::Bench>(Account::Manager, &REDIS).await.end(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_secrets_of_openldap_are_nowhere() {
    let stage = Stage::new().await;
    stage.run::<ldap::directory::OpenLdap>(Account::Manager, &OPENLDAP).await.end(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_secrets_of_a_domain_are_nowhere() {
    let stage = Stage::new().await;
    stage.run::<ldap::samba::Domain>(Account::Manager, &DOMAIN).await.end(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_secrets_of_a_vault_are_nowhere() {
    /// How the tokens begin that a connection has for a session.
    const TOKEN: &str = "b.AAAAAQ";

    let peer = vault::bench::Bench::start().await;
    let role = peer.app_role().await;
    let login = json!({ "role_id": role["role_id"], "secret_id": role["secret_id"] });
    let session = peer.call("POST", "auth/approle/login", &login).await;
    assert!(text(&session["auth"]["client_token"]).starts_with(TOKEN), "another kind of token");
    let mut stage = Stage::new().await;
    stage.keep(TOKEN);
    stage.run::<vault::bench::Bench>(Account::Manager, &VAULT).await.end(2).await;
}

/// Rights are named per action there, so the connection has all of them.
#[tokio::test(flavor = "multi_thread")]
async fn contract_secrets_of_a_clouds_identities_are_nowhere() {
    let stage = Stage::new().await;
    let actions = &aws::identity::ACTIONS;
    stage.run::<aws::identity::Identity>(Account::Full, actions).await.end(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contract_secrets_of_a_clouds_machines_are_nowhere() {
    let stage = Stage::new().await;
    let actions = &aws::machine::ACTIONS;
    stage.run::<aws::machine::Machine>(Account::Full, actions).await.end(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_secrets_of_a_host_that_one_signs_in_to_are_nowhere() {
    if let Some(missing) = ssh::disposable::missing() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
        println!("skipped: {missing}");
        return;
    }
    let stage = Stage::with_patience().await;
    stage.run::<ssh::bench::Bench>(Account::Manager, &SSH).await.end(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_secrets_of_a_whole_host_that_one_signs_in_to_are_nowhere() {
    if !tokio::task::spawn_blocking(ssh::booted::boot).await.unwrap() {
        return;
    }
    let stage = Stage::with_patience().await;
    stage.run::<ssh::booted::Booted>(Account::Manager, &SSH_SERVICES).await.end(2).await;
    ssh::booted::power_off();
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\na:x:1001:1001::/home/a:/bin/sh\n\
                      b:x:1002:1002::/home/b:/bin/sh\n";
const HASHES: [&str; 2] = ["$y$j9T$saltsalt$ofoldofoldofold", "$6$saltsalt$ofotherofotherofother"];

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_a_host_with_an_agent_are_nowhere() {
    let mut stage = Stage::new().await;
    let agent = Agent::start(&stage.server).await;
    let [a, b] = HASHES;
    let shadow = format!(
        "root:*:20000:0:99999:7:::\na:{a}:20000:0:99999:7:::\nb:!{b}:20000:0:99999:7::1:\n"
    );
    for (path, content) in [
        ("/etc/passwd", PASSWD),
        ("/etc/shadow", &shadow),
        ("/etc/.pwd.lock", ""),
        ("/etc/motd", "before\n"),
        ("/etc/sysctl.d/zz-nexplane.conf", ""),
        ("/usr/lib/os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
        ("/proc/sys/vm/swappiness", "60\n"),
        ("/proc/sys/kernel/kptr_restrict", "0\n"),
    ] {
        let path = agent.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    for secret in HASHES {
        stage.keep(secret);
    }
    for action in HOST {
        let parameters = match action {
            "host.lock_local_account" | "host.rotate_local_password" => json!({ "user": "a" }),
            "host.unlock_local_account" => json!({ "user": "b" }),
            "host.run_hardening_profile" => {
                json!({ "profile": "cis-debian12-level1", "only": ["kernel-kptr-restrict"] })
            }
            "host.set_file_content" => json!({ "path": "/etc/motd", "content": "after\n" }),
            "host.set_file_permission" => json!({ "path": "/etc/motd", "mode": "0600" }),
            "host.set_sysctl" => json!({ "key": "vm.swappiness", "value": "10" }),
            other => panic!("a row without a case: {other}"),
        };
        stage.there_and_back(action, &agent.request(action, parameters)).await;
    }
    for action in HOST_REFUSES {
        let parameters = match action {
            "host.update_agent" => json!({ "version": "9.9.9" }),
            "host.install_package" | "host.remove_package" => json!({ "name": "tree" }),
            _ => json!({ "unit": "cron.service" }),
        };
        let drafted = stage.operator.post("/change-requests", agent.request(action, parameters));
        let change = id(&drafted.await.is(201));
        stage.operator.act(&change, "plan").await;
        let refused = stage.operator.act(&change, "submit").await;
        assert!(refused.status >= 400, "{action}: {refused:?}");
    }
    // The agent's keys stay with it, and what it was given does not.
    let kept = agent.kept();
    for handed in crate::harness::handed() {
        assert!(!kept.contains(&handed), "the agent keeps {handed}");
    }
    for secret in HASHES {
        assert!(!kept.contains(secret), "the agent keeps {secret} in clear");
    }
    let identity = agent.key_pem();
    assert!(identity.contains("PRIVATE KEY"));
    stage.keep(&identity);
    stage.end(0).await;
}
