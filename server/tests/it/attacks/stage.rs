//! A server, what attackers took from it, and hosts with traps.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use nexplane_agent::client::{Client as AgentClient, ClientError};
use nexplane_agent::identity::Identity;
use nexplane_agent::keep::Keep;
use nexplane_agent::poll::Enrolment;
use nexplane_core::id::HostId;
use nexplane_core::job::{Envelope, Job, Order};
use nexplane_server::gateway::authority::{Authority, GatewayKeys, RequestedKey};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use super::Row;
use crate::gateway_rig::{Agent, now};
use crate::harness::{Client, Server, eventually, items, text};

pub struct Stage {
    pub server: Server,
    pub auditor: Client,
    pub ca_pem: String,
    /// Those of the real gateway, as whoever has the server's disk and database has them.
    keys: Vec<u8>,
}

/// A host, its agent, and what is beside it.
pub struct Victim {
    pub agent: Agent,
    pub outside: TempDir,
}

pub fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    result.unwrap_err().code().unwrap_or("no code").to_owned()
}

/// A certificate request as an agent makes it.
pub fn csr(key: &KeyPair) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serialize_request(key).unwrap().pem().unwrap()
}

impl Stage {
    pub async fn new() -> Self {
        let mut server = Server::start().await;
        // The server says loudly that it locks a host.
        server.expected_errors.push("Host locked");
        let auditor = server.person("aude", &["auditor"]).await;
        let ca_pem = fs::read_to_string(&server.ca).unwrap();
        let opened = server.opened().await;
        let made = || anyhow::bail!("the server made them");
        let keys = nexplane_server::open::key(&opened.directory, &opened.vault, "gateway", made);
        let keys = keys.await.unwrap();
        opened.close().await.unwrap();
        Self { server, auditor, ca_pem, keys }
    }

    pub fn keys(&self) -> GatewayKeys {
        GatewayKeys::from_bytes(&self.keys).unwrap()
    }

    pub fn authority(&self) -> Authority {
        Authority::open(&self.keys()).unwrap()
    }

    /// The same keys with a part of other ones.
    pub fn keys_with(&self, part: &str, of: &GatewayKeys) -> GatewayKeys {
        let mut keys: Value = serde_json::from_slice(&self.keys).unwrap();
        let other: Value = serde_json::from_slice(&of.to_bytes()).unwrap();
        keys[part] = other[part].clone();
        GatewayKeys::from_bytes(keys.to_string().as_bytes()).unwrap()
    }

    pub async fn token(&self, hostname: Option<&str>) -> String {
        let body = json!({ "ttl_s": 600, "hostname": hostname });
        let invited = self.server.admin.post("/hosts/enrollment-tokens", body).await.is(201);
        text(&invited["token"])
    }

    /// A host without a running agent.
    pub async fn enrolled(&self, name: &str) -> (TempDir, Identity) {
        let directory = tempfile::tempdir().unwrap();
        let keep = Keep::directory(directory.path());
        let token = self.token(None).await;
        let gateway = &self.server.gateway;
        let enrolled = Identity::enroll(&keep, gateway, &self.ca_pem, &token, name, None).await;
        (directory, enrolled.unwrap())
    }

    pub fn client(&self, identity: &Identity) -> AgentClient {
        self.client_with(&(identity.certificate_pem.clone(), identity.key_pem.clone()))
    }

    pub fn client_with(&self, (certificate, key): &(String, String)) -> AgentClient {
        AgentClient::new(&self.server.gateway, &self.ca_pem, certificate, key).unwrap()
    }

    pub fn anonymous(&self) -> AgentClient {
        AgentClient::anonymous(&self.server.gateway, &self.ca_pem).unwrap()
    }

    pub async fn revoke(&self, host: HostId) {
        let path = format!("/hosts/{host}/revoke");
        self.server.admin.post(&path, json!({ "reason": "stolen" })).await.is(200);
        // Until the gateway has heard why, the host is only denied.
        eventually("the host is revoked", async || {
            let hosts = self.server.admin.get("/hosts?status=revoked").await.is(200);
            items(&hosts).into_iter().find(|shown| shown["id"] == host.to_string().as_str())
        })
        .await;
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }

    /// A host with traps, whose agent is there and has nothing to do.
    pub async fn victim(&self) -> Victim {
        let name = format!("web-{}", &Uuid::new_v4().simple().to_string()[..8]);
        let (root, outside) = (trapped(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("secret"), "secret").unwrap();
        let secret = outside.path().join("secret");
        let etc = root.path().join("etc");
        symlink(&secret, etc.join("absolute")).unwrap();
        let up = format!("../../{}/secret", outside.path().file_name().unwrap().to_str().unwrap());
        symlink(up, etc.join("relative")).unwrap();
        symlink(outside.path(), etc.join("elsewhere")).unwrap();
        let enrolment = Enrolment {
            control_plane: self.server.gateway.clone(),
            ca_pem: self.ca_pem.clone(),
            token: self.token(None).await,
            name: Some(name.clone()),
        };
        let agent = Agent::start(root, tempfile::tempdir().unwrap(), enrolment).await;
        let connection = agent.host;
        eventually("the host's facts are read", async || {
            let path = format!("/assets?type=host&connection={connection}");
            items(&self.server.admin.get(&path).await.is(200)).pop()
        })
        .await;
        Victim { agent, outside }
    }

    /// A job for the host with the next sequence number, valid now.
    pub async fn job(&self, host: HostId, order: Order) -> Job {
        let seq: i64 = sqlx::query_scalar(
            "UPDATE nexplane.agent_hosts SET last_seq = last_seq + 1 WHERE host_id = $1
             RETURNING last_seq",
        )
        .bind(host.0)
        .fetch_one(self.server.database().pool())
        .await
        .unwrap();
        Job {
            id: nexplane_core::id::JobId(Uuid::now_v7()),
            host,
            seq: seq.unsigned_abs(),
            not_before: now().plus_seconds(-60),
            not_after: now().plus_seconds(600),
            order,
        }
    }

    /// Puts an envelope where the gateway takes orders from, as whoever can write the database does, and
    /// wakes the agent for it.
    pub async fn smuggle(&self, host: HostId, seq: u64, envelope: &Envelope) -> Uuid {
        let payload: Value = serde_json::from_str(&envelope.payload).unwrap_or_default();
        let named = payload["id"].as_str().and_then(|id| id.parse().ok());
        let pool = self.server.database().pool();
        let insert = async |job: Uuid| {
            sqlx::query(
                "INSERT INTO nexplane.agent_jobs
                     (job_id, host_id, seq, key, order_hash, has_effect, envelope, not_after)
                 VALUES ($1, $2, $3, $4, decode(repeat('00', 32), 'hex'), true, $5,
                         now() + interval '10 minutes')
                 ON CONFLICT (job_id) DO NOTHING",
            )
            .bind(job)
            .bind(host.0)
            .bind(i64::try_from(seq).unwrap())
            .bind(Uuid::new_v4().to_string())
            .bind(serde_json::to_string(envelope).unwrap())
            .execute(pool)
            .await
            .unwrap()
            .rows_affected()
        };
        let mut job = named.unwrap_or_else(Uuid::new_v4);
        if insert(job).await == 0 {
            job = Uuid::new_v4();
            assert_eq!(insert(job).await, 1);
        }
        sqlx::query("SELECT pg_notify('nexplane_jobs', $1)")
            .bind(format!("order {host} {}", Uuid::new_v4()))
            .execute(pool)
            .await
            .unwrap();
        job
    }

    /// Takes it away again: some have no answer, and would be handed out for ever.
    pub async fn take_back(&self, job: Uuid) {
        sqlx::query("DELETE FROM nexplane.agent_jobs WHERE job_id = $1")
            .bind(job)
            .execute(self.server.database().pool())
            .await
            .unwrap();
    }

    pub async fn shows_in_its_metrics(&self, rows: impl Iterator<Item = &Row>) {
        let base = self.server.base.lock().unwrap().clone();
        let metrics = reqwest::get(format!("{base}/metrics")).await.unwrap().text().await.unwrap();
        for row in rows {
            let what = match row.kind {
                "host.order_refused" => "order",
                "host.order_distrusted" => "distrusted_order",
                _ => "caller",
            };
            let line = format!(r#"refusals_total{{what="{what}",cause="{}"}}"#, row.cause);
            assert!(metrics.contains(&line), "{line} is missing:\n{metrics}");
        }
    }
}

/// A root with a file, and with every kind of trap that needs nothing outside.
fn trapped() -> TempDir {
    let root = crate::gateway_rig::sandbox();
    let etc = root.path().join("etc");
    symlink("motd", etc.join("link")).unwrap();
    fs::write(etc.join("twin"), "twin").unwrap();
    fs::hard_link(etc.join("twin"), etc.join("hard")).unwrap();
    fs::write(etc.join("sudoers"), "root ALL=(ALL) ALL\n").unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, etc.join("pipe"), fifo, mode, 0).unwrap();
    root
}

impl Victim {
    /// Everything beneath the root and beside it: kind, mode, links, content.
    pub fn files(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        collect(self.agent.root.path(), &mut all);
        collect(self.outside.path(), &mut all);
        all
    }
}

fn collect(directory: &Path, all: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else if meta.is_file() {
            fs::read_to_string(&path).unwrap()
        } else {
            String::new()
        };
        let (mode, links, inode) = (meta.mode(), meta.nlink(), meta.ino());
        all.insert(path.display().to_string(), format!("{mode:o} {links} {inode} {content}"));
        if meta.is_dir() {
            collect(&path, all);
        }
    }
}

/// A certificate of these keys for the host and key, issued so many seconds ago.
pub fn certify(keys: &GatewayKeys, host: HostId, key: &KeyPair, ago_s: i64) -> (String, String) {
    let requested = RequestedKey::from_request(&csr(key)).unwrap();
    let authority = Authority::open(keys).unwrap();
    let issued = authority.certify_agent(host, &requested, now().plus_seconds(-ago_s)).unwrap();
    (issued.pem, key.serialize_pem())
}
