//! Services, on a Debian that was started as a whole. It takes seconds to start, so one test walks all of it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::thread;

use nexplane_core::plan::TargetRef;
use serde_json::{Value, json};

use super::bench::{MANAGER, WEAK, key, sudoers};
use super::disposable::{RealHost, assert_same, start_or_skip};
use crate::fixture::{action, context, open, step, target};
use crate::suite::{Account, Case, Login, Peer, crash, drift, rights, trial};

const ENABLE: &str = "ssh.enable_service";
const DISABLE: &str = "ssh.disable_service";
/// A unit of the test's own, and one that takes another with it.
const UNITS: &str = r#"
    unit() {
        printf '[Unit]\n%b[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n' \
            "$2" >/etc/systemd/system/$1
    }
    unit nx-app.service ''
    unit nx-base.service ''
    unit nx-needs.service 'Requires=nx-base.service\n'
    printf '[Service]\nExecStart=/bin/sleep infinity\n' >/etc/systemd/system/nx-static.service
    printf '[Service]\nType=oneshot\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n' \
        >/etc/systemd/system/nx-once.service
    systemctl daemon-reload"#;

struct Shared {
    host: RealHost,
    port: u16,
    folder: tempfile::TempDir,
}

static SHARED: OnceLock<Shared> = OnceLock::new();

/// The host of this test program.
struct Booted(&'static Shared);

fn boot() -> Option<Shared> {
    let host = start_or_skip()?;
    let folder = tempfile::tempdir().unwrap();
    key(folder.path(), "client", "ed25519");
    let public = std::fs::read_to_string(folder.path().join("client.pub")).unwrap();
    host.sh(&format!(
        "for name in {MANAGER} {WEAK}; do useradd --create-home --shell /bin/sh $name; done
         for home in /root /home/{MANAGER} /home/{WEAK}; do
             mkdir -m 700 -p $home/.ssh; echo '{}' >$home/.ssh/authorized_keys
             chown -R --reference=$home $home/.ssh
         done
         cat >/etc/sudoers.d/nexplane <<'RULE'\n{}\nRULE\n         chmod 440 /etc/sudoers.d/nexplane\n{UNITS}",
        public.trim(),
        sudoers()
    ));
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let dial = Arc::new(host.dialler(SocketAddr::from(([127, 0, 0, 1], 22))));
    thread::spawn(move || {
        for near in listener.incoming() {
            let (near, dial) = (near.unwrap(), Arc::clone(&dial));
            thread::spawn(move || {
                let far = dial().unwrap();
                // Each message waits for the answer to the one before.
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                let there = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let pump = |mut from: TcpStream, mut to: TcpStream| {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                };
                thread::spawn(move || pump(there.0, there.1));
                pump(far, near);
            });
        }
    });
    Some(Shared { host, port, folder })
}

impl Booted {
    fn key(&self) -> String {
        std::fs::read_to_string(self.0.folder.path().join("client")).unwrap()
    }

    fn host_key(&self) -> String {
        self.0.host.sh("cat /etc/ssh/ssh_host_ed25519_key.pub")
    }
}

impl Peer for Booted {
    const CONNECTOR: &'static str = "ssh";
    const WHAT_TO_DO: &'static str = "as root put a rule into /etc/sudoers.d: ";

    async fn start() -> Self {
        Self(SHARED.get().expect("the test started it"))
    }

    async fn login(&self, account: Account) -> Login {
        let (name, sudo) = match account {
            Account::Full => ("root", "none"),
            Account::Manager => (MANAGER, "passwordless"),
            Account::Weak => (WEAK, "none"),
        };
        let credentials = json!({
            "host": "127.0.0.1",
            "port": self.0.port,
            "username": name,
            "host_key": self.host_key(),
            "private_key": self.key(),
            "sudo": sudo,
        });
        Login { account, name: name.to_owned(), credentials }
    }

    fn address(&self) -> (String, u16) {
        ("127.0.0.1".to_owned(), self.0.port)
    }

    fn with_wrong_secret(&self, credentials: Value) -> Value {
        credentials
    }

    async fn prepare(&self, action: &str, _: &Login) -> Case {
        let (now, disturbance) = match action {
            ENABLE => ("disable", "systemctl mask --now nx-app.service"),
            DISABLE => ("enable", "systemctl mask --now nx-app.service"),
            other => panic!("{other} has no case: every action must have one"),
        };
        self.0.host.sh(&format!(
            "systemctl unmask --quiet nx-app.service
             {UNITS}
             systemctl {now} --quiet --now nx-app.service"
        ));
        Case {
            target: service("nx-app.service"),
            parameters: json!({}),
            disturbance: format!("rm /etc/systemd/system/nx-app.service; {disturbance}"),
            never: [
                "nx-gone.service",
                "nx-static.service",
                "ssh.service",
                "systemd-journald.service",
            ]
            .map(service)
            .to_vec(),
            // Two switches, one after the other.
            in_parts: true,
        }
    }

    async fn disturb(&self, case: &Case) {
        self.0.host.sh(&case.disturbance);
    }

    async fn witness(&self) -> String {
        self.0.host.sh("ls -l --time-style=+ /etc/systemd/system /etc/systemd/system/*.wants
             systemctl show --property=Id,UnitFileState,ActiveState 'nx-*.service'")
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.key().trim().to_owned()]
    }
}

fn service(unit: &str) -> TargetRef {
    target("ssh_service", &format!("service/{unit}"), unit)
}

#[tokio::test(flavor = "multi_thread")]
async fn real_services_are_switched_and_found() {
    let Some(shared) = tokio::task::spawn_blocking(boot).await.unwrap() else { return };
    assert!(SHARED.set(shared).is_ok());
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
    // Statics are not dropped; the host ends with this process, but may leave its console.
    SHARED.get().unwrap().host.sh("systemctl --no-block poweroff");
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
