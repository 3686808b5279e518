//! The agent of a real Debian is updated through systemd, by a whole control plane; and whatever the new program
//! does, the host has an agent.
//!
//! The newer program is the same one with another version in it: the text that says it is exchanged in the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::block_in_place;

use super::disposable::{printed, start_or_skip};
use super::{INSTALLED, Stage, UNIT};
use crate::crash_stage::approve;
use crate::harness::{Server, eventually, id, text};

pub(super) const UPDATE: &str = "host.update_agent";
pub(super) const OWN: &str = env!("CARGO_PKG_VERSION");
const TRIAL: &str = "/var/lib/nexplane-agent/trial.json";
/// Longest that a change may take whose trial has to run out first.
const PATIENCE: Duration = Duration::from_mins(4);

/// Whoever builds the agent.
pub(super) struct Maker {
    directory: TempDir,
    public_key: String,
    key_id: String,
}

fn agent() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_nexplane")).with_file_name("nexplane-agent")
}

/// The agent's program, with this version in it.
pub(super) fn program(version: &str) -> Vec<u8> {
    let (from, to) = (mark(OWN), mark(version));
    assert_eq!(from.len(), to.len(), "{version}");
    let mut bytes = fs::read(agent()).unwrap();
    let mut at = 0;
    let mut found = 0;
    while let Some(next) = bytes[at..].windows(from.len()).position(|part| part == from) {
        bytes[at + next..at + next + to.len()].copy_from_slice(&to);
        (at, found) = (at + next + to.len(), found + 1);
    }
    assert!(found > 0, "the program does not say its version");
    bytes
}

fn mark(version: &str) -> Vec<u8> {
    format!("nexplane-agent version {version}").into_bytes()
}

impl Maker {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("releases")).unwrap();
        let mut maker = Self { directory, public_key: String::new(), key_id: String::new() };
        let told = maker.release(&["keygen", "--key", &maker.key()]);
        let word = |begin: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(begin));
            line.unwrap_or_else(|| panic!("{told}")).trim().to_owned()
        };
        (maker.key_id, maker.public_key) = (word("key id"), word("public key"));
        maker
    }

    fn release(&self, arguments: &[&str]) -> String {
        let output = Command::new(agent()).arg("release").args(arguments).output().unwrap();
        printed("nexplane-agent release", &output)
    }

    pub(super) fn key(&self) -> String {
        self.directory.path().join("release.key").display().to_string()
    }

    fn releases(&self) -> PathBuf {
        self.directory.path().join("releases")
    }

    pub(super) fn sign(&self, version: &str, bytes: &[u8]) {
        let built = self.directory.path().join(version);
        fs::write(&built, bytes).unwrap();
        let output = Command::new(agent()).arg("version").output().unwrap();
        let own = printed("nexplane-agent version", &output);
        let target = own.split_whitespace().nth(2).unwrap();
        let (built, out) = (built.display().to_string(), self.releases().display().to_string());
        let key = self.key();
        let mut arguments = vec!["sign", "--key", &key, "--program", &built, "--out", &out];
        arguments.extend(["--version", version, "--target", target]);
        self.release(&arguments);
        let there = self.releases().join(version).join(target).display().to_string();
        let told = self.release(&["verify", "--public-key", &self.public_key, &there]);
        assert!(told.starts_with("OK"), "{told}");
    }
}

impl Stage {
    /// With a control plane that offers what is made, and an agent whose owner believes the maker, when `pinned`.
    pub(super) async fn of(maker: &Maker) -> Option<Self> {
        let host = block_in_place(start_or_skip)?;
        let mut server = Server::start().await;
        server.arguments =
            vec!["--agent-releases".to_owned(), maker.releases().display().to_string()];
        server.restart().await;
        let stage = Self::with(host, server).await;
        stage.install().await;
        stage.until("online").await;
        Some(stage)
    }

    pub(super) async fn pin(&self, maker: &Maker, trial_s: u32) {
        let key = &maker.public_key;
        self.sh(&format!(
            "printf '[update]\\nkeys = [\"{key}\"]\\ntrial_s = {trial_s}\\n' >>/etc/nexplane-agent/config.toml; \
             systemctl restart {UNIT}"
        ));
        self.until("online").await;
    }

    /// Why the plan of an update is refused.
    async fn unplanned(&self, version: &str) -> String {
        let request = self.request(UPDATE, json!({ "version": version })).await;
        let draft = id(&self.operator.post("/change-requests", request).await.is(201));
        // While the agent starts again there is no answer.
        let answer = eventually("the agent answers", async || {
            let answer = self.operator.act(&draft, "plan").await;
            (answer.status != 503).then_some(answer)
        })
        .await;
        answer.json.to_string()
    }

    async fn begun(&self, version: &str) -> String {
        let approved = self.approved(UPDATE, json!({ "version": version })).await;
        let change = id(&approved);
        self.operator.act(&change, "execute").await.is(200);
        change
    }

    pub(super) async fn ended(&self, change: &str) -> Value {
        let begun = Instant::now();
        loop {
            let now = self.operator.change(change).await;
            if !["approved", "executing"].contains(&text(&now["state"]).as_str()) {
                println!("{:?}: {}", begun.elapsed(), now["run"]["steps"]);
                return now;
            }
            assert!(begun.elapsed() < PATIENCE, "{now:#}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Until the control plane hears from the agent that it runs in this version.
    pub(super) async fn until_version(&self, version: &str) {
        eventually("the agent says its version", async || {
            let host = self.until("online").await;
            (host["agent_version"] == version).then_some(())
        })
        .await;
    }

    /// What is in place of the agent.
    fn in_place(&self) -> String {
        self.sh(&format!("sha256sum <{INSTALLED}"))
    }

    async fn until_in_place(&self, program: &str) {
        let begun = Instant::now();
        while self.in_place() != program {
            assert!(begun.elapsed() < PATIENCE, "{}", self.sh("journalctl --no-pager -n 80"));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn until_replaced(&self, earlier: &str) {
        eventually("the new program is in place", async || {
            (self.in_place() != earlier).then_some(())
        })
        .await;
        self.sh(&format!("test -s {TRIAL}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_host_update_there_and_back() {
    let maker = Maker::new();
    let Some(stage) = Stage::of(&maker).await else { return };
    maker.sign("0.9.0", &program("0.9.0"));
    stage.until_version(OWN).await;

    // As long as the host's owner believes nobody, nobody updates it.
    let refused = stage.unplanned("0.9.0").await;
    assert!(refused.contains("no release key is pinned on this host"), "{refused}");
    let stranger = Maker::new();
    stage.pin(&stranger, 60).await;
    let refused = stage.unplanned("0.9.0").await;
    assert!(refused.contains("none of these keys is pinned"), "{refused}");
    stage.sh("sed -i '/^.update./,$d' /etc/nexplane-agent/config.toml");
    stage.pin(&maker, 60).await;
    let refused = stage.unplanned("0.9.1").await;
    assert!(refused.contains("there is no release 0.9.1"), "{refused}");

    let earlier = stage.in_place();
    let request = stage.request(UPDATE, json!({ "version": "0.9.0" })).await;
    let submitted = stage.operator.submitted(request).await;
    let plan = submitted["plan"].to_string();
    println!("{:#}", submitted["plan"]["steps"]);
    for said in [OWN, "0.9.0", &maker.key_id, "comes back by itself"] {
        assert!(plan.contains(said), "{said}: {plan}");
    }
    approve(&stage.approvers, &submitted).await;
    let change = id(&submitted);
    stage.operator.act(&change, "execute").await.is(200);
    let done = stage.ended(&change).await;
    assert_eq!(done["state"], "complete", "{done:#}");
    stage.until_version("0.9.0").await;
    assert!(stage.sh(&format!("{INSTALLED} version")).starts_with("nexplane-agent 0.9.0 "));
    let checked = stage.sh(&format!("{INSTALLED} check"));
    println!("{checked}");
    assert!(!checked.contains("FAIL") && checked.contains(&maker.key_id), "{checked}");
    assert!(stage.sh(&format!("{INSTALLED} status")).contains("0.9.0"));
    let later = stage.content("by the new one\n").await;
    stage.roll_back(&later).await;

    // Back to what was kept, by an undo of that very update.
    let kept = stage.operator.change(&change).await;
    stage.sh(&format!("test ! -e {TRIAL}"));
    let rollback = stage.operator.act(&id(&kept), "rollback").await.is(201);
    approve(&stage.approvers, &rollback).await;
    let rollback = id(&rollback);
    stage.operator.act(&rollback, "execute").await.is(200);
    let settled = stage.ended(&rollback).await;
    assert_eq!(settled["state"], "complete", "{settled:#}");
    assert_eq!(stage.in_place(), earlier);
    stage.until_version(OWN).await;
    stage.content("by the earlier one\n").await;

    // And by nothing else: what ran once is the lowest that may follow.
    maker.sign("0.8.0", &program("0.8.0"));
    let refused = stage.unplanned("0.8.0").await;
    assert!(refused.contains("0.9.0 has run on this host"), "{refused}");
}

/// One that ends at once, one that is no program at all, and one that hangs.
#[tokio::test(flavor = "multi_thread")]
async fn real_host_update_that_does_not_stay_is_put_back() {
    let maker = Maker::new();
    let Some(stage) = Stage::of(&maker).await else { return };
    stage.pin(&maker, 60).await;
    let earlier = stage.in_place();
    let cut = program("0.9.2")[..100_000].to_vec();
    let fates: [(&str, &[u8], &str); 3] = [
        ("0.9.1", b"#!/bin/sh\nexit 1\n", "started 3 times"),
        ("0.9.2", &cut, "started 3 times"),
        ("0.9.3", b"#!/bin/sh\nexec sleep 1000\n", "within 60 s"),
    ];
    for (version, bytes, why) in fates {
        maker.sign(version, bytes);
        let change = stage.begun(version).await;
        stage.until_replaced(&earlier).await;
        stage.until_in_place(&earlier).await;
        stage.until_version(OWN).await;
        let ended = stage.ended(&change).await;
        assert_eq!(ended["state"], "failed", "{version}: {ended:#}");
        let told = stage.sh("cat /var/lib/nexplane-agent/journal");
        assert!(told.contains(why), "{version}: {told}");
        stage.sh(&format!("test ! -e {TRIAL}"));
    }
    stage.content("still served\n").await;
}

/// The new program is a good one, and the control plane is away for as long as its trial takes.
#[tokio::test(flavor = "multi_thread")]
async fn real_host_update_that_is_not_answered_is_put_back() {
    let maker = Maker::new();
    let Some(stage) = Stage::of(&maker).await else { return };
    stage.pin(&maker, 30).await;
    maker.sign("0.9.0", &program("0.9.0"));
    let earlier = stage.in_place();
    let change = stage.begun("0.9.0").await;
    stage.until_replaced(&earlier).await;
    stage.line.down();
    stage.until_in_place(&earlier).await;
    stage.line.mend();
    stage.until_version(OWN).await;
    let ended = stage.ended(&change).await;
    assert_eq!(ended["state"], "failed", "{ended:#}");
    let told = stage.sh("cat /var/lib/nexplane-agent/journal");
    assert!(told.contains("within 30 s"), "{told}");
    stage.content("still served\n").await;
}

/// The machine is started again in the middle of a trial: no new program outlives that unanswered.
#[tokio::test(flavor = "multi_thread")]
async fn real_host_update_does_not_outlive_a_restart_unanswered() {
    let maker = Maker::new();
    let Some(stage) = Stage::of(&maker).await else { return };
    stage.pin(&maker, 600).await;
    maker.sign("0.9.0", b"#!/bin/sh\nexec sleep 1000\n");
    let earlier = stage.in_place();
    let change = stage.begun("0.9.0").await;
    stage.until_replaced(&earlier).await;
    let starts = stage.host.starts();
    stage.sh("systemctl reboot --no-block");
    block_in_place(|| stage.host.ready(starts + 1));
    stage.until_in_place(&earlier).await;
    stage.until_version(OWN).await;
    let ended = stage.ended(&change).await;
    assert_eq!(ended["state"], "failed", "{ended:#}");
    let told = stage.sh("cat /var/lib/nexplane-agent/journal");
    assert!(told.contains("the machine was started again"), "{told}");
    stage.content("still served\n").await;
}
