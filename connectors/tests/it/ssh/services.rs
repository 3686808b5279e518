//! Services of a host that was [started as a whole](super::booted).

use serde_json::json;

use super::booted::{Booted, DISABLE, ENABLE, UNITS, boot, power_off, service};
use super::disposable::assert_same;
use crate::fixture::{action, context, open, step, target};
use crate::suite::{Account, Peer, crash, drift, rights, trial};

#[tokio::test(flavor = "multi_thread")]
async fn real_services_are_switched_and_found() {
    if !tokio::task::spawn_blocking(boot).await.unwrap() {
        return;
    }
    for id in [DISABLE, ENABLE] {
        trial::<Booted>(id, Account::Full).await;
        trial::<Booted>(id, Account::Manager).await;
        drift::<Booted>(id).await;
        rights::<Booted>(id).await;
    }
    // Both switch in the same way.
    crash::<Booted>(DISABLE).await;
    what_takes_others_along_is_refused().await;
    a_profile_stops_services_and_sets_the_kernel().await;
    everything_is_found().await;
    power_off();
}

async fn failed_checks(peer: &Booted, id: &str, unit: &str) -> String {
    let login = peer.login(Account::Full).await;
    let session = open("ssh", login.credentials, &context()).await.unwrap();
    let inspection = action(id).inspect(&*session, &service(unit), &json!({})).await.unwrap();
    let failed = inspection.checks.iter().filter(|check| !check.ok);
    failed.map(|check| format!("{}: {}\n", check.name, check.detail)).collect()
}

async fn what_takes_others_along_is_refused() {
    let peer = Booted::start().await;
    let sh = |script: &str| peer.0.host.sh(script);
    sh("systemctl stop nx-needs.service nx-base.service");
    let said = failed_checks(&peer, ENABLE, "nx-needs.service").await;
    assert!(said.contains("nx-base.service would start or stop, too"), "{said}");
    sh("systemctl enable --quiet nx-base.service; systemctl start nx-needs.service");
    let said = failed_checks(&peer, DISABLE, "nx-base.service").await;
    assert!(said.contains("nx-needs.service would stop with it"), "{said}");
    sh("systemctl stop nx-needs.service");
    assert_eq!(failed_checks(&peer, DISABLE, "nx-base.service").await, "");
    // A link that `enable` would not make again.
    sh("systemctl add-wants --quiet basic.target nx-base.service");
    let said = failed_checks(&peer, DISABLE, "nx-base.service").await;
    assert!(said.contains("basic.target.wants/nx-base.service is there without"), "{said}");
    // One that systemd has not heard of yet, and one that it has not heard is gone.
    sh("rm /etc/systemd/system/basic.target.wants/nx-base.service
        ln -s /etc/systemd/system/nx-base.service /etc/systemd/system/sysinit.target.wants/nx-base.service");
    let said = failed_checks(&peer, DISABLE, "nx-base.service").await;
    assert!(said.contains("sysinit.target.wants/nx-base.service is there without"), "{said}");
    sh("rm /etc/systemd/system/sysinit.target.wants/nx-base.service");
    assert_eq!(failed_checks(&peer, DISABLE, "nx-base.service").await, "");
    sh("rm /etc/systemd/system/multi-user.target.wants/nx-base.service");
    let said = failed_checks(&peer, ENABLE, "nx-base.service").await;
    assert_eq!(said, "", "it is disabled by now");
    let said = failed_checks(&peer, ENABLE, "nx-once.service").await;
    assert!(said.contains("cannot be kept running"), "{said}");
}

/// The network's settings are the host's own here, and can be written; most others cannot.
async fn a_profile_stops_services_and_sets_the_kernel() {
    let peer = Booted::start().await;
    peer.0.host.sh(r#"
        unit() {
            printf '[Unit]\n%b[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n%b' \
                "$2" "$3" >/etc/systemd/system/$1
        }
        unit rsync.service '' ''
        unit nx-mirror.service 'BindsTo=rsync.service\n' ''
        unit xinetd.service '' 'Also=nx-app.service\n'
        systemctl daemon-reload; systemctl enable --quiet --now rsync.service; systemctl start nx-mirror.service
        printf '[Journal]\nStorage=auto\n' >/etc/systemd/journald.conf; chmod 640 /etc/systemd/journald.conf"#);
    let witness = || {
        peer.0.host.sh("cat /proc/sys/net/ipv4/conf/default/log_martians
            cd /etc; find sysctl.d systemd -printf '%p %y %m %u %g %l\\n' | sort; sha256sum systemd/*.conf
            systemctl show --property=Id,UnitFileState,ActiveState rsync.service nx-mirror.service")
    };
    let initially = witness();
    let (apply, host) = (action("ssh.apply_hardening_profile"), target("ssh_host", "host", "host"));
    let parameters = json!({ "profile": "cis-debian12-level1", "only": [
        "journal-persistent", "kernel-dmesg-restrict", "mount-dev-shm-separate", "net-log-martians-default",
        "service-rsync", "service-xinetd",
    ] });
    let login = peer.login(Account::Manager).await;
    let session = open("ssh", login.credentials, &context()).await.unwrap();
    let inspection = apply.inspect(&*session, &host, &parameters).await.unwrap();
    assert!(inspection.is_ready(), "{:#?}", inspection.checks);
    let told = format!("{:#?}", inspection.checks);
    assert!(told.contains("kernel.dmesg_restrict cannot be set from here"), "{told}");
    assert!(told.contains("its [Install] section says Also, which is not handled"), "{told}");
    assert!(told.contains("is so, /dev/shm is a file system of its own"), "{told}");
    let before = inspection.before;
    let cx = step(apply, &host, &parameters, &before.fingerprint);
    assert!(apply.execute(&*session, &cx, &before).await.unwrap().changed);
    assert!(apply.verify(&*session, &host, &parameters, &before, None).await.unwrap().satisfied);
    let now = witness();
    assert!(now.starts_with("1\n"), "{now}");
    assert_eq!(now.matches("ActiveState=inactive").count(), 2, "{now}");
    assert!(!apply.execute(&*session, &cx, &before).await.unwrap().changed);
    assert!(apply.rollback(&*session, &cx, &before, None).await.unwrap().changed);
    assert_same("it was not undone", &initially, &witness());
}

async fn everything_is_found() {
    let peer = Booted::start().await;
    peer.0.host.sh("systemctl unmask --quiet nx-app.service");
    peer.0.host.sh(&format!("{UNITS}\nsystemctl enable --quiet --now nx-app.service"));
    let login = peer.login(Account::Manager).await;
    let session = open("ssh", login.credentials, &context()).await.unwrap();
    let found = session.discover().await.unwrap();
    let of = |kind: &'static str| found.assets.iter().filter(move |asset| asset.kind == kind);
    let app = of("ssh_service").find(|asset| asset.name == "nx-app.service").expect("the unit");
    assert_eq!(app.metadata, json!({ "unit_file_state": "enabled", "active_state": "active" }));
    assert_eq!(app.relations[0].to_external_key, "host");
    assert_eq!(of("ssh_host").count(), 1);
    let units = peer
        .0
        .host
        .sh("systemctl list-unit-files --no-legend --no-pager --type=service,socket,timer,path | \
             grep -v '@\\.' | awk '$2 != \"alias\"' | wc -l");
    assert_eq!(of("ssh_service").count().to_string(), units.trim());
    let checks = session.test().await;
    assert!(checks.iter().all(|check| check.ok), "{checks:#?}");
}
