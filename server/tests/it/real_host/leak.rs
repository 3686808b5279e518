//! What only a whole host can do, with secrets that are known to this test: done, undone, and failed with a secret in
//! the words of what failed. None of them is in anything that the control plane or the agent keeps or shows.

use nexplane_peers::spelling::spellings;
use serde_json::{Value, json};

use super::Stage;
use super::update::{Maker, UPDATE, program};
use crate::crash_stage::approve;
use crate::harness::{handed, id};
use crate::leak::nothing_leaked;
use crate::over_the_api::ssh::booted::UNITS;
use crate::over_the_api::ssh::publish::PUBLISH;

/// Whoever installs this package, and whoever starts this service, hears a secret, and that it failed.
const TELLING: &str = r#"
    printf '#!/bin/sh\ncat /etc/nx-marked; cat /etc/nx-marked >&2; exit 1\n' >/usr/local/bin/nx-tells
    chmod 755 /usr/local/bin/nx-tells
    printf '[Service]\nEnvironment=TOKEN=%s\nExecStart=/usr/local/bin/nx-tells\n[Install]\nWantedBy=multi-user.target\n' \
        "$(cat /etc/nx-marked)" >/etc/systemd/system/nx-tells.service
    systemctl daemon-reload; systemctl enable --quiet --now nx-app.service
    cd /var/tmp; mkdir -p build/DEBIAN; cp /usr/local/bin/nx-tells build/DEBIAN/postinst
    printf 'Package: nx-tells\nVersion: 1.0\nArchitecture: all\nMaintainer: Test <test@example.org>\nDescription: %s\n' \
        "of a test" >build/DEBIAN/control
    dpkg-deb --root-owner-group -Znone -b build repository/nx-tells_1.0.deb
    {
        cat build/DEBIAN/control
        echo 'Filename: nx-tells_1.0.deb'
        echo "Size: $(stat -c %s repository/nx-tells_1.0.deb)"
        echo "SHA256: $(sha256sum repository/nx-tells_1.0.deb | cut -d ' ' -f 1)"
        echo
    } >>repository/Packages
    rm -r build
    apt-get -q update; apt-get -q -y install nx-rival"#;
/// What the agent keeps, and what it says of itself.
const KEPT: &str = "journalctl --no-pager -u nexplane-agent; cd /var/lib/nexplane-agent; \
                    find . -type f -exec cat {} +; find /etc/nexplane-agent -type f -exec cat {} +";

impl Stage {
    /// Executed until it has ended, and all that is shown of it heard once.
    async fn run(&self, change: &str) -> Value {
        self.operator.act(change, "execute").await.is(200);
        let ended = self.ended(change).await;
        self.operator.history(change).await;
        ended
    }

    async fn there_and_back(&self, operation: &str, parameters: Value) {
        let change = id(&self.approved(operation, parameters).await);
        let done = self.run(&change).await;
        assert_eq!(done["state"], "complete", "{done:#}");
        let rollback = self.operator.act(&change, "rollback").await.is(201);
        approve(&self.approvers, &rollback).await;
        let undone = self.run(&id(&rollback)).await;
        assert_eq!(undone["state"], "complete", "{undone:#}");
    }

    async fn fails(&self, operation: &str, parameters: Value) {
        let change = id(&self.approved(operation, parameters).await);
        let ended = self.run(&change).await;
        println!("{:#}", ended["run"]["steps"]);
        assert_eq!(ended["state"], "failed", "{ended:#}");
    }
}

/// Every text in a JSON document.
fn leaves(value: &Value) -> Box<dyn Iterator<Item = &str> + '_> {
    match value {
        Value::String(text) => Box::new(std::iter::once(text.as_str())),
        Value::Array(items) => Box::new(items.iter().flat_map(leaves)),
        Value::Object(fields) => Box::new(fields.values().flat_map(leaves)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Box::new(std::iter::empty()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_secrets_of_a_whole_host_with_an_agent_are_nowhere() {
    let maker = Maker::new();
    let Some(stage) = Stage::of(&maker).await else { return };
    let marked = format!("of-a-host/+{}", uuid::Uuid::new_v4().simple());
    stage.sh(&format!("umask 077; printf %s '{marked}' >/etc/nx-marked"));
    stage.sh(&format!("{UNITS}\n{PUBLISH}\n{TELLING}"));

    stage.there_and_back("host.disable_service", json!({ "unit": "nx-app.service" })).await;
    stage.sh("systemctl disable --quiet --now nx-app.service");
    stage.there_and_back("host.enable_service", json!({ "unit": "nx-app.service" })).await;
    stage.there_and_back("host.remove_package", json!({ "name": "nx-rival" })).await;
    stage.sh("apt-get -q -y purge nx-rival");
    stage.there_and_back("host.install_package", json!({ "name": "nx-lib" })).await;
    stage.fails("host.enable_service", json!({ "unit": "nx-tells.service" })).await;
    assert!(stage.sh("journalctl --no-pager -u nx-tells").contains(&marked), "it told nobody");
    stage.fails("host.install_package", json!({ "name": "nx-tells" })).await;
    stage.pin(&maker, 60).await;
    maker.sign("0.9.0", &program("0.9.0"));
    stage.there_and_back(UPDATE, json!({ "version": "0.9.0" })).await;

    let identity = stage.sh("cat /var/lib/nexplane-agent/identity.json");
    let identity: Value = serde_json::from_str(&identity).unwrap();
    let keys: Vec<&str> = leaves(&identity).filter(|text| text.contains("PRIVATE KEY")).collect();
    assert_eq!(keys.len(), 1, "the agent keeps its key elsewhere");
    let release = std::fs::read_to_string(maker.key()).unwrap();
    let hash = stage.sh("awk -F: 'length($2) > 12 { print $2 }' /etc/shadow");
    let mut secrets = vec![marked.as_str(), release.trim()];
    secrets.extend(hash.lines());
    let kept = stage.sh(KEPT);
    for secret in secrets.iter().copied().chain(handed().iter().map(String::as_str)) {
        for spelling in spellings(secret) {
            assert!(!kept.contains(&spelling), "the agent keeps {spelling}");
        }
    }
    // The agent's key is its own: it keeps that, and nobody else does.
    let lines = keys.iter().flat_map(|key| key.lines());
    secrets.extend(lines.filter(|line| line.len() >= 32 && !line.contains("-----")));
    nothing_leaked(&stage.server, &secrets).await;
}
