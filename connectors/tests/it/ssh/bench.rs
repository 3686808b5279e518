//! A Debian with nothing but OpenSSH's server, for one test, and what tests see of it behind the connector's back.

use std::fs;
use std::path::Path;

use nexplane_connectors::sdk::AnySession;
use nexplane_core::plan::TargetRef;
use nexplane_peers::sshd::{self, Sshd};
use serde_json::{Value, json};

use super::cases;
use super::disposable::{base, missing};
use crate::fixture::{context, open, target};
use crate::suite::{Account, Case, Login, Peer};

/// Account that may do what the page of the connector says, through sudo.
pub const MANAGER: &str = "nexplane";
pub const WEAK: &str = "visitor";
/// The page has the rule to paste.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/connectors/ssh.md");

pub struct Bench(Sshd);

impl Bench {
    pub async fn new() -> Self {
        if let Some(missing) = missing() {
            panic!("{missing}: a host for this test needs root and what `./setup` installs");
        }
        let base =
            tokio::task::spawn_blocking(|| base::directory(base::Kin::Debian)).await.unwrap();
        Self(Sshd::start(&base, &[MANAGER, WEAK], &sudoers()).await.unwrap())
    }

    pub fn key(&self, name: &str) -> String {
        self.0.key(name).unwrap()
    }

    pub fn keys(&self) -> &Path {
        self.0.keys()
    }

    pub fn credentials(&self, username: &str, sudo: bool) -> Value {
        json!({
            "host": "127.0.0.1",
            "port": self.0.port(),
            "username": username,
            "host_key": self.key("host_ed25519.pub"),
            "private_key": self.key("client"),
            "sudo": if sudo { "passwordless" } else { "none" },
        })
    }

    pub async fn session(&self) -> Box<dyn AnySession> {
        open("ssh", self.credentials("root", false), &context()).await.expect("root can connect")
    }

    /// Runs a script as root in the host, behind the connector's back.
    pub fn sh(&self, script: &str) -> String {
        self.0.sh(script).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// A key pair without a passphrase.
pub fn key(folder: &Path, name: &str, kind: &str) {
    sshd::key_pair(folder, name, kind).unwrap();
}

/// As it stands on the page.
pub fn sudoers() -> String {
    let page = fs::read_to_string(PAGE).unwrap();
    let begin = page.find("Cmnd_Alias NEXPLANE").expect("the page has the rule");
    let rule = page[begin..].split("```").next().unwrap();
    rule.to_owned()
}

/// Accounts, and files that tests made: their kind, mode, owner and content; the same of what a profile of hardening
/// is about. Packages with what they are there for, where there is a source of them.
const WITNESS: &str = "if [ -d /var/tmp/repository ]; then \
        dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\n' | grep '^nx-.* ii' || :; \
        apt-mark showmanual | grep '^nx-' || :; ls /usr/share | grep '^nx-' || :; \
    fi; \
    cat /etc/passwd /etc/shadow /etc/group; \
    for what in /srv /etc/motd /etc/nx /etc/login.defs /etc/crontab /etc/modprobe.d /etc/ssh /etc/sysctl.d \
        /etc/security /proc/sys/net/ipv4/conf/all/log_martians $(ls -d /etc/.*nexplane* || :); do \
        [ ! -e $what ] || find $what -type d -printf '%p %y %m %u %g\\n' -o -printf '%p %y %m %u %g %s %l\\n' | sort; \
        [ ! -e $what ] || find $what -type f -print0 | sort -z | xargs -0 -r sha256sum; \
    done";

impl Peer for Bench {
    const CONNECTOR: &'static str = "ssh";
    const WHAT_TO_DO: &'static str = "as root put a rule into /etc/sudoers.d: ";
    // Services need a whole Debian: see `booted`. Packages and profiles take longer: see `packages`, `hardening`.
    const ELSEWHERE: &'static [&'static str] = &[
        "ssh.apply_hardening_profile",
        "ssh.disable_service",
        "ssh.enable_service",
        "ssh.install_package",
        "ssh.remove_package",
    ];

    async fn start() -> Self {
        Self::new().await
    }

    async fn login(&self, account: Account) -> Login {
        let (name, sudo) = match account {
            Account::Full => ("root", false),
            Account::Manager => (MANAGER, true),
            Account::Weak => (WEAK, false),
        };
        Login { account, name: name.to_owned(), credentials: self.credentials(name, sudo) }
    }

    fn address(&self) -> (String, u16) {
        ("127.0.0.1".to_owned(), self.0.port())
    }

    fn with_wrong_secret(&self, mut credentials: Value) -> Value {
        key(self.keys(), "wrong", "ed25519");
        credentials["private_key"] = json!(self.key("wrong"));
        credentials
    }

    async fn prepare(&self, action: &str, login: &Login) -> Case {
        cases::prepare(self, action, &login.name)
    }

    async fn disturb(&self, case: &Case) {
        self.sh(&case.disturbance);
    }

    async fn witness(&self) -> String {
        self.sh(&format!("mkdir -p /etc/nx; {WITNESS}"))
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.key("client").trim().to_owned()]
    }
}

pub fn account_target(name: &str) -> TargetRef {
    target("ssh_account", &format!("account/{name}"), name)
}

pub fn host_target() -> TargetRef {
    target("ssh_host", "host", sshd::HOSTNAME)
}
