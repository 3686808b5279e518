//! One case for every action of connector `ssh`: a target that the action fits, and what somebody else could
//! do to it in between.

use nexplane_core::plan::TargetRef;
use serde_json::{Value, json};

use super::bench::{Bench, account_target, host_target};
use super::publish::PUBLISH;
use crate::fixture::target;
use crate::suite::Case;

/// Of the password `old password`.
pub const HASH: &str = "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/";
pub const USER: &str = "deploy";
pub const FILE: &str = "/etc/nx/it's $(a) file";

/// Some of each kind that can be without systemd.
pub const ITEMS: [&str; 7] = [
    "file-crontab",
    "limits-core",
    "login-pass-max-days",
    "login-umask",
    "module-cramfs",
    "net-log-martians-all",
    "ssh-maxauthtries",
];
/// What they are about. The kernel is this machine's, so its setting is a file over the kernel's own.
pub const PROFILE: &str = "
    mkdir -p /etc/modprobe.d /etc/sysctl.d; ssh-keygen -q -A
    echo '# jobs' >/etc/crontab; chmod 644 /etc/crontab
    mountpoint -q /proc/sys/net/ipv4/conf/all || mount -t tmpfs -o mode=755 nx /proc/sys/net/ipv4/conf/all
    echo 0 >/proc/sys/net/ipv4/conf/all/log_martians";

/// Prepares the case. `own` is the account of the connection.
pub fn prepare(bench: &Bench, action: &str, own: &str) -> Case {
    match action {
        "ssh.lock_local_user" => {
            user(bench, "--inactive 3");
            account(own, &format!("usermod --lock {USER}"))
        }
        "ssh.unlock_local_user" => {
            user(bench, "--inactive 3");
            bench.sh(&format!("usermod --lock --expiredate 1970-01-02 {USER}"));
            account(own, &format!("chage --expiredate 20100 {USER}"))
        }
        "ssh.rotate_local_password" => {
            user(bench, "--expiredate 2031-02-03");
            bench.sh(&format!("usermod --lock {USER}; chage --mindays 1 --maxdays 90 {USER}"));
            account(own, &format!("echo '{USER}:another one' | chpasswd"))
        }
        "ssh.set_file_permission" => {
            file(bench);
            let parameters = json!({ "path": FILE, "mode": "2750" });
            of_host(parameters, &format!("chmod 0600 \"{}\"", quoted()))
        }
        "ssh.set_file_ownership" => {
            file(bench);
            let parameters = json!({ "path": FILE, "owner": "daemon", "group": "8" });
            of_host(parameters, &format!("chown games \"{}\"", quoted()))
        }
        "ssh.apply_hardening_profile" => {
            bench.sh(PROFILE);
            let only = json!({ "profile": "cis-debian12-level1", "only": ITEMS });
            let disturbance = "sed -i 's/^UMASK.*/UMASK 007/' /etc/login.defs";
            Case { in_parts: true, ..of_host(only, disturbance) }
        }
        "ssh.install_package" => {
            bench.sh(PUBLISH);
            packages(json!({ "name": "nx-app" }), "apt-get -q -y install nx-app=1.0")
        }
        "ssh.remove_package" => {
            bench.sh(PUBLISH);
            bench.sh("apt-get -q -y install nx-app=1.0; apt-mark auto nx-app");
            packages(json!({ "name": "nx-app" }), "apt-get -q -y install nx-app=2.0")
        }
        other => panic!("{other} has no case: every action must have one"),
    }
}

fn quoted() -> String {
    FILE.replace('$', "\\$")
}

/// An account with a password that was set a while ago.
pub fn user(bench: &Bench, more: &str) {
    bench.sh(&format!(
        "useradd --create-home {more} --password '{HASH}' {USER}; chage --lastday 20001 {USER}"
    ));
}

fn file(bench: &Bench) {
    bench.sh(&format!("mkdir -p /etc/nx; echo hello >\"{0}\"; chmod 0604 \"{0}\"", quoted()));
}

fn account(own: &str, disturbance: &str) -> Case {
    let mut never: Vec<TargetRef> = ["nobody-there", "root", own].map(account_target).to_vec();
    never.dedup_by_key(|target| target.external_key.clone());
    Case {
        target: account_target(USER),
        parameters: json!({}),
        disturbance: disturbance.to_owned(),
        never,
        in_parts: false,
    }
}

/// What comes with a package is a part of its own.
fn packages(parameters: Value, disturbance: &str) -> Case {
    Case { in_parts: true, ..of_host(parameters, disturbance) }
}

fn of_host(parameters: Value, disturbance: &str) -> Case {
    Case {
        target: host_target(),
        parameters,
        disturbance: disturbance.to_owned(),
        never: vec![target("ssh_host", "host/other", "another")],
        in_parts: false,
    }
}
