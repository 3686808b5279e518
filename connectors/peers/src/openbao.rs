//! OpenBao, which speaks the API of HashiCorp Vault: one server per test, as it starts in a quarter of a second.
//!
//! It keeps everything in memory, is initialised and unsealed, writes an audit file, and listens twice on
//! loopback: with TLS for whoever is tested, and without for [`OpenBao::api`], by which a test prepares and checks
//! things behind their back.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::Process;
use crate::{PeerError, ca, cached, free_port};

/// It takes 0.2 s on an idle machine.
const START_WITHIN: Duration = Duration::from_secs(30);

/// A running, unsealed server.
#[derive(Debug)]
pub struct OpenBao {
    /// Stopped before its folder goes.
    process: Process,
    folder: TempDir,
    port: u16,
    plain_port: u16,
    ca_pem: String,
    root_token: String,
    unseal_key: String,
}

impl OpenBao {
    /// Starts one, with KV version 2 at `secret` and AppRole at `approle`.
    pub async fn start() -> Result<Self, PeerError> {
        let bao = cached("bao", "OpenBao")?;
        let folder = tempfile::tempdir().map_err(PeerError::io("make a folder for OpenBao"))?;
        let files = ca::issue(&folder.path().join("tls"), &["localhost", "127.0.0.1"])?;
        let (port, plain_port) = (free_port()?, free_port()?);
        let quoted = |path: PathBuf| Value::from(path.to_string_lossy()).to_string();
        let config = format!(
            "ui = false\n\
             api_addr = \"https://127.0.0.1:{port}\"\n\
             storage \"inmem\" {{}}\n\
             listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_cert_file = {}\n  tls_key_file = {}\n}}\n\
             listener \"tcp\" {{\n  address = \"127.0.0.1:{plain_port}\"\n  tls_disable = true\n}}\n\
             audit \"file\" \"file\" {{\n  options = {{\n    file_path = {}\n  }}\n}}\n",
            quoted(files.cert()),
            quoted(files.key()),
            quoted(folder.path().join("audit.log")),
        );
        let config_file = folder.path().join("bao.hcl");
        std::fs::write(&config_file, config).map_err(PeerError::io("configure OpenBao"))?;
        let mut command = Command::new(bao);
        command.arg("server").arg("-config").arg(&config_file).current_dir("/");
        for (name, _) in std::env::vars_os() {
            if ["BAO_", "VAULT_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        let log = folder.path().join("log");
        let mut server = Self {
            process: Process::start("OpenBao", &command, &log)?,
            folder,
            port,
            plain_port,
            ca_pem: files.ca_pem,
            root_token: String::new(),
            unseal_key: String::new(),
        };
        server
            .process
            .healthy(START_WITHIN, async || {
                request(plain_port, "GET", "sys/seal-status", "", None).await.is_ok()
            })
            .await?;
        let init = json!({ "secret_shares": 1, "secret_threshold": 1 });
        let made = server.api("PUT", "sys/init", Some(&init)).await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        server.root_token = text(made.pointer("/root_token").unwrap_or(&Value::Null));
        server.unseal_key = text(made.pointer("/keys_base64/0").unwrap_or(&Value::Null));
        server.unseal().await?;
        let kv = json!({ "type": "kv", "options": { "version": "2" } });
        server.api("POST", "sys/mounts/secret", Some(&kv)).await?;
        // A new KV engine answers with 400 until it has set itself up.
        crate::healthy("OpenBao", server.process.log(), START_WITHIN, async || {
            server.api("GET", "secret/config", None).await.is_ok()
        })
        .await?;
        server.api("POST", "sys/auth/approle", Some(&json!({ "type": "approle" }))).await?;
        Ok(server)
    }

    /// A name in its certificate, as `127.0.0.1` is.
    pub fn host(&self) -> &'static str {
        "localhost"
    }

    /// With TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Without TLS.
    pub fn plain_port(&self) -> u16 {
        self.plain_port
    }

    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// May do everything.
    pub fn root_token(&self) -> &str {
        &self.root_token
    }

    /// Everything that was asked of it, secrets as hashes.
    pub fn audit(&self) -> String {
        let audit = std::fs::read(self.folder.path().join("audit.log")).unwrap_or_default();
        String::from_utf8_lossy(&audit).into_owned()
    }

    /// Its own folder, for files that it has to read.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub async fn seal(&self) -> Result<(), PeerError> {
        self.api("PUT", "sys/seal", None).await.map(drop)
    }

    /// Opens it again, and waits until it works.
    pub async fn unseal(&self) -> Result<(), PeerError> {
        let body = json!({ "key": self.unseal_key });
        self.api("PUT", "sys/unseal", Some(&body)).await?;
        crate::healthy("OpenBao", self.process.log(), START_WITHIN, async || {
            let health = request(self.plain_port, "GET", "sys/health", "", None).await;
            health.is_ok_and(|(status, _)| status == 200)
        })
        .await
    }

    /// Calls its API as root. Errors: an answer that is no success.
    pub async fn api(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, PeerError> {
        let (status, answer) = self.api_as(&self.root_token, method, path, body).await?;
        if (200..300).contains(&status) {
            Ok(answer)
        } else {
            Err(PeerError::Other(format!("OpenBao: {method} {path}: {status} {answer}")))
        }
    }

    /// The same with another token, or none; the status, and the JSON of the answer.
    pub async fn api_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), PeerError> {
        request(self.plain_port, method, path, token, body)
            .await
            .map_err(PeerError::io(format!("call OpenBao: {method} {path}")))
    }

    /// A token with these policies that no other token's end ends.
    pub async fn token(&self, policies: &[&str], ttl: &str) -> Result<String, PeerError> {
        let body = json!({ "policies": policies, "ttl": ttl, "no_parent": true });
        let made = self.api("POST", "auth/token/create", Some(&body)).await?;
        let token = made.pointer("/auth/client_token").and_then(Value::as_str);
        token.map(str::to_owned).ok_or_else(|| PeerError::Other("OpenBao made no token".to_owned()))
    }
}

/// One request in HTTP/1.0: an answer that ends with the connection, and nothing else to understand.
async fn request(
    port: u16,
    method: &str,
    path: &str,
    token: &str,
    body: Option<&Value>,
) -> std::io::Result<(u16, Value)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let token =
        if token.is_empty() { String::new() } else { format!("X-Vault-Token: {token}\r\n") };
    let text = format!(
        "{method} /v1/{path} HTTP/1.0\r\nHost: localhost\r\n{token}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let odd = || std::io::Error::other("the answer is not HTTP");
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(odd)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(odd)?;
    Ok((status, serde_json::from_str(body).unwrap_or_default()))
}
