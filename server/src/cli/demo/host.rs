//! `web-1`: a directory that plays a host, and the agent that is confined to it.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nexplane_core::api::{AssetView, EnrollmentToken, HostView, Page};
use nexplane_core::id::ConnectionId;
use serde_json::json;
use tokio::process::{Child, Command};

use super::sandbox::{PATIENCE, Sandbox};
use super::set_mode;
use crate::serve::Running;

/// A host in a directory: its files, and an agent that is confined to them.
pub async fn start(sandbox: &Sandbox, running: &Running, dir: &Path) -> anyhow::Result<Child> {
    let root = dir.join("host");
    for (path, content) in [
        ("etc/motd", "Welcome to web-1.\n"),
        ("etc/shop/app.toml", "workers = 4\ndebug = true\n"),
        ("etc/shop/backup.sh", "#!/bin/sh\nexec /usr/local/bin/backup --all\n"),
    ] {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().context("a file lies in a directory")?)?;
        std::fs::write(&path, content)?;
    }
    set_mode(&root.join("etc/shop/backup.sh"), 0o777)?;
    let invitation: EnrollmentToken =
        sandbox.admin.post("/hosts/enrollment-tokens", &json!({})).await?;
    let executable = std::env::current_exe()?.with_file_name("nexplane-agent");
    if !executable.exists() {
        bail!(
            "{} is missing; 'just demo' builds it, or: cargo build -p nexplane-agent",
            executable.display()
        );
    }
    let log = std::fs::File::create(dir.join("agent.log"))?;
    let ca = dir.join("server").join("gateway-ca.pem");
    Command::new(executable)
        .arg("run")
        .args(["--control-plane", &invitation.gateway])
        .arg("--ca")
        .arg(ca)
        .arg("--config-dir")
        .arg(dir.join("agent"))
        .arg("--root")
        .arg(&root)
        .env("NEXPLANE_TOKEN", &invitation.token)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start the agent for {}", running.ready.api))
}

/// The host and its asset, once its agent has told what it is.
pub async fn asset(sandbox: &Sandbox) -> anyhow::Result<(ConnectionId, AssetView)> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let hosts: Page<HostView> = sandbox.operator.get("/hosts").await?;
        let assets: Page<AssetView> = sandbox.operator.get("/assets?type=host").await?;
        let asset = assets.items.into_iter().next();
        if let (Some(host), Some(asset)) = (hosts.items.first(), asset) {
            return Ok((host.connection_id, asset));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("the sandbox agent did not enrol in time; its log is beside the sandbox's files")
}

pub async fn stop(agent: &mut Child) {
    if let Some(pid) =
        agent.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if tokio::time::timeout(Duration::from_secs(5), agent.wait()).await.is_err() {
        let _ = agent.kill().await;
    }
}
