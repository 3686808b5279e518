//! What every registered operation promises, on a real host. A new operation needs a row here.

use nexplane_agent::operation::{self, OPERATIONS};
use serde_json::{Value, json};

use super::repository::{APPS, publish};
use super::{assert_same, configuration, put, sh, whole, within};
use crate::rig::{CLEAR, bound};

/// An operation on a host that is furnished for it.
pub struct Row {
    pub id: &'static str,
    /// In place of the operation's own example.
    parameters: Option<fn() -> Value>,
    pub prepare: fn(),
    /// The state, by other means than the operation's.
    pub read: fn() -> String,
    /// Stands in that reading after the operation, and not before.
    pub brings: &'static str,
}

impl Row {
    pub fn parameters(&self) -> Value {
        let example = || operation::find(self.id).unwrap().spec().example;
        self.parameters.map_or_else(example, |make| make())
    }
}

const HASH: &str = "$6$saltsalt$\
    qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/";

pub const ROWS: &[Row] = &[
    Row {
        id: "host.disable_service",
        parameters: None,
        prepare: || drop(sh("systemctl is-enabled cron.service; systemctl is-active cron.service")),
        read: || switches("cron.service"),
        brings: "UnitFileState=disabled\nActiveState=inactive\n",
    },
    Row {
        id: "host.enable_service",
        parameters: None,
        prepare: || {
            let unit = "[Service]\nExecStart=/bin/sleep infinity\n\
                        [Install]\nWantedBy=multi-user.target\n";
            put("/etc/systemd/system/rsync.service", unit);
            sh("systemctl daemon-reload");
        },
        read: || switches("rsync.service"),
        brings: "UnitFileState=enabled\nActiveState=active\n",
    },
    Row {
        id: "host.install_package",
        // One without configuration: what is left of others when it is undone is in `package`.
        parameters: Some(|| json!({ "name": "nx-friend" })),
        prepare: || publish(APPS),
        read: packages,
        brings: "nx-friend ii 1.0 \nnx-lib ii 1.0 auto\n",
    },
    Row {
        id: "host.lock_local_account",
        parameters: None,
        prepare: || drop(sh(&format!("useradd --password '{HASH}' deploy"))),
        read: || account("deploy"),
        brings: "\ndeploy L ",
    },
    Row {
        id: "host.remove_package",
        parameters: Some(|| json!({ "name": "nx-app" })),
        prepare: || {
            publish(APPS);
            sh("apt-get -q -y install nx-app=1.0; echo mine >/etc/nx-app.conf");
        },
        read: packages,
        brings: "nx-app rc 1.0 \nnx-lib ii 1.0 auto\n",
    },
    Row {
        id: "host.rotate_local_password",
        parameters: None,
        prepare: || {
            let aged = "--mindays 1 --maxdays 90 --warndays 7 --inactive 3";
            sh(&format!(
                "getent passwd deploy || useradd deploy; usermod --password '{HASH}' deploy
                 chage {aged} --lastday 20001 deploy"
            ));
        },
        read: || {
            let asked = format!(
                "perl -e 'print crypt($ARGV[0], $ARGV[1]) eq $ARGV[1] ? \"lets in\" : \"refuses\"' \
                     {CLEAR} \"$(getent shadow deploy | cut -d: -f2)\"; chage --list deploy"
            );
            account("deploy") + &sh(&asked)
        },
        brings: "lets in",
    },
    Row {
        id: "host.run_hardening_profile",
        parameters: None,
        prepare: || drop(sh("sysctl -q -w net.ipv4.conf.all.log_martians=0")),
        read: || {
            sh("/usr/sbin/sshd -T; cat /proc/sys/net/ipv4/conf/*/log_martians; \
                cat /etc/modprobe.d/60-nexplane-module-hfs.conf || true")
        },
        brings: "\ninstall hfs /bin/false\nblacklist hfs\n",
    },
    Row {
        id: "host.set_file_content",
        parameters: None,
        prepare: motd,
        read: || file("/etc/motd"),
        brings: "Changes go through Nexplane",
    },
    Row {
        id: "host.set_file_permission",
        parameters: Some(
            || json!({ "path": "/etc/motd", "mode": "2750", "owner": "daemon", "group": "mail" }),
        ),
        prepare: motd,
        read: || file("/etc/motd"),
        brings: "2750 daemon mail",
    },
    Row {
        id: "host.set_sysctl",
        parameters: None,
        prepare: || {
            put("/etc/sysctl.d/10-theirs.conf", "net.ipv4.conf.all.log_martians = 0\n");
            sh("sysctl -q -w net.ipv4.conf.all.log_martians=0");
        },
        read: || {
            sh("cat /proc/sys/net/ipv4/conf/all/log_martians; \
                cat /etc/sysctl.d/zz-nexplane.conf || true")
        },
        brings: "1\n# Written by the Nexplane agent",
    },
    Row {
        id: "host.unlock_local_account",
        parameters: None,
        prepare: || {
            sh(&format!(
                "useradd --password '{HASH}' former; usermod --lock --expiredate 1970-01-02 former"
            ));
        },
        read: || account("former"),
        brings: "\nformer P ",
    },
];

/// An agent that is updated ends with it: what comes of that is seen from a control plane (`server: real_host`).
const NOT_BY_ITSELF: &str = "host.update_agent";

fn motd() {
    put("/etc/motd", "hello\n");
    sh("chmod 0604 /etc/motd; chown www-data:daemon /etc/motd");
}

fn switches(unit: &str) -> String {
    sh(&format!(
        "systemctl show -p UnitFileState,ActiveState {unit} | sort -r; \
                 ls -l --time-style=+ /etc/systemd/system/*.wants"
    ))
}

/// Those of the tests' repository, and which of them only came along.
fn packages() -> String {
    sh("automatic=$(apt-mark showauto)
        dpkg-query -W -f '${Package} ${db:Status-Abbrev}${Version}\\n' |
            grep '^nx-[a-z]* [hir]' | while read -r name state version; do
                mark=$(echo \"$automatic\" | grep -x \"$name\" >/dev/null && echo auto || true)
                echo \"$name $state $version $mark\"
            done
        cat /etc/nx-*.conf || true")
}

fn account(user: &str) -> String {
    sh(&format!("getent shadow {user}; passwd -S {user}; stat -c '%a %U %G' /etc/shadow"))
}

fn file(path: &str) -> String {
    sh(&format!("stat -c '%F %a %U %G %s' {path}; cat {path}"))
}

#[test]
fn real_every_operation_goes_there_and_back() {
    for entry in OPERATIONS.iter().filter(|entry| entry.meta.id != NOT_BY_ITSELF) {
        let rows = ROWS.iter().filter(|row| row.id == entry.meta.id).count();
        assert_eq!(rows, 1, "{} needs a row in this table", entry.meta.id);
    }
    within("real::conformance::real_every_operation_goes_there_and_back", || {
        for row in ROWS {
            there_and_back(row);
        }
    });
}

fn there_and_back(row: &Row) {
    let id = row.id;
    let (bound, host) = (bound(id, &row.parameters()), whole());
    (row.prepare)();
    let (was, kept) = ((row.read)(), configuration());
    assert!(!was.contains(row.brings), "{id}: {was}");

    for check in bound.validate(&host) {
        assert!(check.ok, "{id}: {}: {}", check.name, check.detail);
    }
    let (satisfied, before) = bound.verify(&host).unwrap();
    assert!(!satisfied, "{id}");
    assert_same(id, &kept, &configuration());

    bound.apply(&host, &before).unwrap();
    let is = (row.read)();
    assert!(is.contains(row.brings), "{id}: {is}");
    let (satisfied, after) = bound.verify(&host).unwrap();
    assert!(satisfied, "{id}");
    assert!(after == bound.intended(&host, &before).unwrap(), "{id}: {after:?}");

    let between = configuration();
    bound.apply(&host, &after).unwrap();
    assert!(bound.apply(&host, &before).is_err(), "{id}: from a state that is gone");
    assert_eq!((row.read)(), is, "{id}: twice is once");
    assert_same(id, &between, &configuration());

    for _ in 0..2 {
        bound.revert(&host, &before).unwrap();
        assert!(bound.snapshot(&host).unwrap() == before, "{id}");
        assert_eq!((row.read)(), was, "{id}");
        assert_same(id, &kept, &configuration());
    }
}
