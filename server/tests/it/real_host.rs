//! An agent as the service of a real Debian, and a whole control plane: from its installation to its removal.
//!
//! The host has a network without a way out. What listens there for the agent is a socket of this test, which
//! passes what comes to the real gateway, over a line that can be cut.

#[allow(dead_code, reason = "the agent's tests use the rest")]
#[path = "../../../agent/tests/it/disposable/mod.rs"]
pub mod disposable;
mod leak;
mod update;

use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::block_in_place;

use self::disposable::{CONFIGURATION, RealHost, assert_same, start_or_skip};
use crate::crash_stage::{approve, gateway_of};
use crate::fault_proxy::Proxy;
use crate::harness::{Client, Server, eventually, id, items, text};

const UNIT: &str = "nexplane-agent.service";
/// The program as it was carried to the host, before it is installed.
const BROUGHT: &str = "/opt/nexplane-agent";
/// What an agent leaves in a host's file system besides /etc.
const PLACES: &str = "ls -A /usr/local/bin /var/lib /etc/systemd/system /run/systemd/system";
/// Where it is then.
const INSTALLED: &str = "/usr/local/bin/nexplane-agent";
const FAKETIME: &str = "/usr/lib/*/faketime/libfaketime.so.1";
const LIMIT: Duration = Duration::from_secs(10);

struct Stage {
    server: Server,
    host: RealHost,
    line: Proxy,
    operator: Client,
    approvers: [Client; 2],
}

impl Stage {
    async fn new() -> Option<Self> {
        let host = block_in_place(start_or_skip)?;
        Some(Self::with(host, Server::start().await).await)
    }

    async fn with(host: RealHost, server: Server) -> Self {
        let line = Proxy::to(gateway_of(&server)).await;
        let operator = server.operator().await;
        let approvers = [server.approver().await, server.person("arno", &["approver"]).await];
        let stage = Self { server, host, line, operator, approvers };
        stage.lend_the_line();
        stage
    }

    /// Where the line begins, in the host. Its address is one that IPv6 gives.
    fn control_plane(&self) -> String {
        format!("https://[::1]:{}", self.line.port())
    }

    fn lend_the_line(&self) {
        let at = SocketAddr::from((Ipv6Addr::UNSPECIFIED, self.line.port()));
        let listener = block_in_place(|| self.host.listen(at));
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let port = self.line.port();
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let Ok(mut to) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                });
            }
        });
    }

    fn sh(&self, script: &str) -> String {
        block_in_place(|| self.host.sh(script))
    }

    /// As a host's owner would: the program, the authority, the token; one command.
    async fn install(&self) {
        let body = json!({ "ttl_s": 600 });
        let invited = self.server.admin.post("/hosts/enrollment-tokens", body).await.is(201);
        let program = Path::new(env!("CARGO_BIN_EXE_nexplane")).with_file_name("nexplane-agent");
        block_in_place(|| {
            self.host.give(&program, BROUGHT);
            self.host.give(&self.server.ca, "/opt/ca.pem");
        });
        let told = self.sh(&format!(
            "{BROUGHT} install --control-plane {} --ca /opt/ca.pem --token-stdin <<'TOKEN'\n{}\nTOKEN",
            self.control_plane(),
            text(&invited["token"]),
        ));
        println!("{told}");
        // What the owner has no more use for.
        self.sh(&format!("rm {BROUGHT} /opt/ca.pem"));
    }

    /// A setting of the service that the owner makes, and a restart with it.
    fn set(&self, lines: &str) {
        let directory = format!("/etc/systemd/system/{UNIT}.d");
        self.sh(&format!(
            "mkdir -p {directory}; printf '[Service]\\n{lines}\\n' >{directory}/test.conf; \
             systemctl daemon-reload; systemctl restart {UNIT}"
        ));
    }

    fn unset(&self) {
        self.sh(&format!(
            "rm -r /etc/systemd/system/{UNIT}.d; systemctl daemon-reload; systemctl restart {UNIT}"
        ));
    }

    /// Until the control plane sees a host like this, with its asset.
    async fn until(&self, status: &str) -> Value {
        eventually(status, async || {
            let hosts = items(&self.server.admin.get("/hosts").await.is(200));
            let is_so = |host: &Value| host["status"] == status && host["asset_id"].is_string();
            hosts.into_iter().find(is_so)
        })
        .await
    }

    /// A change of the host.
    async fn request(&self, operation: &str, parameters: Value) -> Value {
        let host = self.until("online").await;
        json!({
            "title": operation,
            "reason": "The notice is out of date.",
            "change_type": operation,
            "connection_id": host["connection_id"],
            "targets": [host["asset_id"]],
            "parameters": parameters,
        })
    }

    /// The same, approved.
    async fn approved(&self, operation: &str, parameters: Value) -> Value {
        let request = self.request(operation, parameters).await;
        let submitted = self.operator.submitted(request).await;
        approve(&self.approvers, &submitted).await;
        submitted
    }

    async fn changed(&self, operation: &str, parameters: Value) -> Value {
        let approved = self.approved(operation, parameters).await;
        self.operator.executed(&id(&approved)).await
    }

    async fn content(&self, content: &str) -> Value {
        let parameters = json!({ "path": "/etc/motd", "content": content });
        let done = self.changed("host.set_file_content", parameters).await;
        assert_eq!(done["state"], "complete", "{done:#}");
        assert_eq!(self.sh("cat /etc/motd"), content);
        done
    }

    async fn roll_back(&self, change: &Value) {
        let rollback = self.operator.act(&id(change), "rollback").await.is(201);
        approve(&self.approvers, &rollback).await;
        let settled = self.operator.executed(&id(&rollback)).await;
        assert_eq!(settled["state"], "complete", "{settled:#}");
    }

    /// The agent's process, as systemd knows it.
    fn process(&self) -> String {
        self.sh(&format!("systemctl show --value -p MainPID {UNIT}")).trim().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_host_from_its_installation_to_its_removal() {
    let Some(stage) = Stage::new().await else { return };
    let before = (stage.sh(CONFIGURATION), stage.sh(PLACES));

    stage.install().await;
    let host = stage.until("online").await;
    assert_eq!(host["hostname"], stage.sh("hostname").trim());
    assert_eq!(stage.sh(&format!("systemctl is-enabled {UNIT}")).trim(), "enabled");
    let checked = stage.sh(&format!("{INSTALLED} check"));
    println!("{checked}");
    assert!(!checked.contains("FAIL"), "{checked}");

    // It waits for work, and takes little room meanwhile: its own memory, not the pages of its program's file,
    // which has all that finds errors in it here.
    let status = stage.sh(&format!("cat /proc/{}/status", stage.process()));
    let kib = |key: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap().trim_end_matches("kB").trim().parse().unwrap()
    };
    println!("idle: {} KiB of its own, {} KiB in all", kib("RssAnon:"), kib("VmRSS:"));
    assert!(kib("RssAnon:") < 20_000, "{status}");

    // Carried out.
    let first = stage.content("after\n").await;

    // Killed: systemd has it back, and it goes on.
    let process = stage.process();
    stage.sh(&format!("systemctl kill -s KILL {UNIT}"));
    eventually("another process", async || {
        let now = stage.process();
        (now != "0" && now != process).then_some(())
    })
    .await;
    stage.until("online").await;
    let second = stage.content("after a kill\n").await;

    // A host that starts again comes back by itself.
    let starts = stage.host.starts();
    stage.sh("systemctl reboot --no-block");
    block_in_place(|| stage.host.ready(starts + 1));
    stage.until("online").await;
    let third = stage.content("after a restart\n").await;

    // All of it undone, newest first, out of what was saved before the kill and before the restart.
    let blocked = stage.operator.act(&id(&first), "rollback").await;
    blocked.refused(409, "change.out_of_order_rollback");
    for change in [third, second, first] {
        stage.roll_back(&change).await;
    }

    stage.sh(&format!("{INSTALLED} uninstall --yes"));
    assert_same("removed", &before.0, &stage.sh(CONFIGURATION));
    assert_same("removed", &before.1, &stage.sh(PLACES));
    let left = stage.until("offline").await;
    assert!(!text(&left["reason"]).is_empty(), "{left:#}");
}

/// The change is one that no rollback could reach.
#[tokio::test(flavor = "multi_thread")]
async fn real_host_that_a_change_cuts_off_is_there_again() {
    let Some(stage) = Stage::new().await else { return };
    stage.install().await;
    stage.set(&format!("Environment=NEXPLANE_DEAD_MAN_S={}", LIMIT.as_secs()));
    stage.until("online").await;

    let parameters = json!({ "key": "net.ipv6.conf.all.disable_ipv6", "value": "1" });
    let approved = stage.approved("host.set_sysctl", parameters).await;
    let armed = approved["plan"]["checks"].to_string();
    assert!(armed.contains("reverts by itself"), "{armed}");
    let begun = Instant::now();
    let ended = stage.operator.executed(&id(&approved)).await;
    println!("{:?}: {ended:#}", begun.elapsed());
    assert_eq!(ended["state"], "failed", "{ended:#}");
    assert!(ended["run"]["steps"].to_string().contains("reverted by itself"), "{ended:#}");
    assert!(begun.elapsed() >= LIMIT, "{:?}", begun.elapsed());
    assert_eq!(stage.sh("cat /proc/sys/net/ipv6/conf/all/disable_ipv6").trim(), "0");
    stage.until("online").await;
    stage.content("still served\n").await;
}

/// Nobody hears anybody for a while; then everything is as if nothing had been.
#[tokio::test(flavor = "multi_thread")]
async fn real_host_whose_line_is_cut_does_its_work_once() {
    let Some(stage) = Stage::new().await else { return };
    stage.install().await;
    stage.until("online").await;
    let parameters = json!({ "path": "/etc/motd", "content": "once\n" });

    // Cut before the order can be given, and mended before the host counts as away.
    let approved = stage.approved("host.set_file_content", parameters).await;
    stage.line.down();
    let mended = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        stage.line.mend();
    };
    let change = id(&approved);
    let (done, ()) = tokio::join!(stage.operator.executed(&change), mended);
    assert_eq!(done["state"], "complete", "{done:#}");
    assert_eq!(stage.sh("cat /etc/motd"), "once\n");
    let intents = stage.sh("grep -c '\"record\":\"intent\"' /var/lib/nexplane-agent/journal");
    assert_eq!(intents.trim(), "1");

    // For so long that the host counts as away: it says why, and nothing is carried out.
    stage.line.down();
    let away = stage.until("offline").await;
    assert!(!text(&away["reason"]).is_empty(), "{away:#}");
    stage.line.mend();
    stage.until("online").await;
    stage.content("twice\n").await;
}

/// Its owner does nothing but run the same command with a new token.
#[tokio::test(flavor = "multi_thread")]
async fn real_host_that_was_shut_out_is_enrolled_again() {
    let Some(stage) = Stage::new().await else { return };
    stage.install().await;
    let first = stage.until("online").await;
    let change = stage.content("of the first\n").await;
    let shut_out = json!({ "reason": "Its disk was copied." });
    let path = format!("/hosts/{}/revoke", id(&first));
    stage.server.admin.post(&path, shut_out).await.is(200);
    stage.until("revoked").await;
    eventually("the agent says why", async || {
        let told = stage.sh(&format!("systemctl status --no-pager {UNIT} || true"));
        told.contains("revoked").then_some(())
    })
    .await;

    stage.install().await;
    let second = stage.until("online").await;
    assert_ne!(id(&second), id(&first));
    assert_eq!(second["hostname"], first["hostname"]);
    stage.content("of the second\n").await;
    let checked = stage.sh(&format!("{INSTALLED} check"));
    assert!(!checked.contains("FAIL"), "{checked}");
    // What the first one did is not the second one's to undo.
    stage.operator.act(&id(&change), "rollback").await.refused(422, "target.not_found");
    assert_eq!(stage.sh("cat /etc/motd"), "of the second\n");
}

/// With a wrong clock no order is in its time: the host is not even read, and both sides say why. One that is
/// more than five minutes slow finds that the gateway's certificate is not valid yet, and stays away; of that,
/// too, both sides know.
#[tokio::test(flavor = "multi_thread")]
async fn real_host_with_a_wrong_clock_says_so() {
    let Some(stage) = Stage::new().await else { return };
    stage.install().await;
    let parameters = json!({ "path": "/etc/motd", "content": "too late\n" });
    let request = stage.request("host.set_file_content", parameters).await;
    let draft = id(&stage.operator.post("/change-requests", request).await.is(201));
    let library = stage.sh(&format!("ls {FAKETIME}"));
    for offset in ["+20m", "-2m"] {
        stage.set(&format!(
            "Environment=LD_PRELOAD={} FAKETIME={offset} DONT_FAKE_MONOTONIC=1",
            library.trim()
        ));
        stage.until("online").await;
        eventually("the agent compares the clocks", async || {
            let told = stage.sh(&format!("journalctl --no-pager -u {UNIT}"));
            told.contains("clock is wrong").then_some(())
        })
        .await;
        // While the agent starts again there is no answer.
        let refused = eventually("the agent answers", async || {
            let answer = stage.operator.act(&draft, "plan").await;
            answer.is_refused_with(&[422, 503]);
            (answer.status == 422).then_some(answer)
        })
        .await;
        println!("{offset}: {}", refused.json["detail"]);
        assert!(text(&refused.json["detail"]).contains(" here, "), "{:#}", refused.json);
        let checked = stage.sh(&format!("{INSTALLED} check || true"));
        assert!(!checked.contains("FAIL  control plane"), "{checked}");
    }
    stage.set(&format!(
        "Environment=LD_PRELOAD={} FAKETIME=-20m DONT_FAKE_MONOTONIC=1",
        library.trim()
    ));
    eventually("the agent says what is wrong", async || {
        let told = stage.sh(&format!("systemctl status --no-pager {UNIT} || true"));
        told.contains(
            "Not served by the control plane: the control plane's certificate is valid from",
        )
        .then_some(())
    })
    .await;
    let summary = eventually("the control plane says so", async || {
        let page = stage.server.admin.get("/audit?type=gateway.refused").await.is(200);
        items(&page).iter().map(|event| text(&event["summary"])).find(|said| said.contains("clock"))
    })
    .await;
    println!("{summary}");
    stage.unset();
    stage.until("online").await;
    stage.content("in time\n").await;
}
