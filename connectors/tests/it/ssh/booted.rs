//! A Debian that was started as a whole, with services. It takes seconds to start, so one test walks over all of it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::thread;

use nexplane_core::plan::TargetRef;
use serde_json::{Value, json};

use super::bench::{MANAGER, WEAK, key, sudoers};
use super::disposable::{RealHost, start_or_skip};
use crate::fixture::target;
use crate::suite::{Account, Case, Login, Peer};

pub const ENABLE: &str = "ssh.enable_service";
pub const DISABLE: &str = "ssh.disable_service";
/// A unit of the test's own, and one that takes another with it.
pub const UNITS: &str = r#"
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

pub struct Shared {
    pub host: RealHost,
    port: u16,
    folder: tempfile::TempDir,
}

static SHARED: OnceLock<Shared> = OnceLock::new();

/// The host of this test program.
pub struct Booted(pub &'static Shared);

/// Starts it, once in a program; false where none can be started.
pub fn boot() -> bool {
    let Some(host) = start_or_skip() else { return false };
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
    assert!(SHARED.set(Shared { host, port, folder }).is_ok(), "it was started before");
    true
}

/// Statics are not dropped; the host ends with this process, but may leave its console.
pub fn power_off() {
    SHARED.get().unwrap().host.sh("systemctl --no-block poweroff");
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

pub fn service(unit: &str) -> TargetRef {
    target("ssh_service", &format!("service/{unit}"), unit)
}
