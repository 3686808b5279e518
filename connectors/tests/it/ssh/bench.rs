//! A Debian with nothing but OpenSSH's server, for one test: an overlay over the base of the disposable hosts,
//! process and mount namespaces of its own, the network of this machine's loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nexplane_connectors::sdk::AnySession;
use nexplane_core::plan::TargetRef;
use nexplane_peers::free_port;
use nexplane_peers::process::Process;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::cases;
use super::disposable::{base, missing, printed};
use crate::fixture::{context, open, target};
use crate::suite::{Account, Case, Login, Peer};

/// Account that may do what the page of the connector says, through sudo.
pub const MANAGER: &str = "nexplane";
pub const WEAK: &str = "visitor";
/// The rule that the page of the connector gives to paste.
const SUDOERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/connectors/ssh.md");

/// Makes the file system, and becomes the server. `$1` folder, `$2` base, `$3` port, `$4` folder of keys.
const START: &str = r#"
    mount -t tmpfs -o size=512m,mode=755 nexplane "$1/tree"
    mkdir "$1/tree/up" "$1/tree/work" "$1/tree/root"
    mount -t overlay -o "lowerdir=$2,upperdir=$1/tree/up,workdir=$1/tree/work" nexplane "$1/tree/root"
    cd "$1/tree/root"
    mount -t proc proc proc
    mount --rbind /dev dev
    hostname nexplane-bench
    printf 'nexplane-bench\n' >etc/hostname
    printf '127.0.0.1 localhost nexplane-bench\n' >etc/hosts
    mkdir -p run/sshd
    cp "$4"/host_* etc/ssh/
    cp "$4/ca.pub" etc/ssh/ca.pub
    mkdir -m 700 -p root/.ssh
    cp "$4/client.pub" root/.ssh/authorized_keys
    cp "$4/sudoers" etc/sudoers.d/nexplane
    chmod 440 etc/sudoers.d/nexplane
    chown -R 0:0 root/.ssh etc/sudoers.d
    for name in $5; do
        chroot . useradd --create-home --shell /bin/sh "$name"
        mkdir -m 700 "home/$name/.ssh"
        cp "$4/client.pub" "home/$name/.ssh/authorized_keys"
        chroot . chown -R "$name:$name" "/home/$name/.ssh"
    done
    exec chroot . /usr/sbin/sshd -D -e -p "$3" -o ListenAddress=127.0.0.1 \
        -o HostKey=/etc/ssh/host_ed25519 -o HostKey=/etc/ssh/host_rsa \
        -o TrustedUserCAKeys=/etc/ssh/ca.pub -o MaxStartups=100"#;

pub struct Bench {
    server: Process,
    port: u16,
    keys: PathBuf,
    _folder: TempDir,
}

impl Bench {
    pub async fn new() -> Self {
        if let Some(missing) = missing() {
            panic!("{missing}: a host for this test needs root and what `./setup` installs");
        }
        let base =
            tokio::task::spawn_blocking(|| base::directory(base::Kin::Debian)).await.unwrap();
        let folder = tempfile::Builder::new().prefix("nexplane-ssh-").tempdir().unwrap();
        let keys = folder.path().join("keys");
        fs::create_dir(&keys).unwrap();
        fs::create_dir(folder.path().join("tree")).unwrap();
        for name in ["client", "host_ed25519", "ca"] {
            key(&keys, name, "ed25519");
        }
        key(&keys, "host_rsa", "rsa");
        fs::write(keys.join("sudoers"), sudoers()).unwrap();
        let port = free_port().unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--uts", "--fork", "--kill-child=KILL"])
            .args(["--propagation", "private", "sh", "-euc", START, "bench"])
            .arg(folder.path())
            .arg(&base)
            .arg(port.to_string())
            .arg(&keys)
            .arg(format!("{MANAGER} {WEAK}"));
        let mut server = Process::start("sshd", &command, &folder.path().join("log")).unwrap();
        let answers = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        server.healthy(Duration::from_secs(60), answers).await.unwrap();
        Self { server, port, keys, _folder: folder }
    }

    pub fn key(&self, name: &str) -> String {
        fs::read_to_string(self.keys.join(name)).unwrap()
    }

    pub fn keys(&self) -> &Path {
        &self.keys
    }

    pub fn credentials(&self, username: &str, sudo: bool) -> Value {
        json!({
            "host": "127.0.0.1",
            "port": self.port,
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
        let id = self.server.pid();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let leader = children.split_whitespace().next().expect("the host runs").to_owned();
        let output = Command::new("timeout")
            .args(["60", "nsenter", "--all", "--root", "--wd", "-t", &leader, "env", "-i"])
            .args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "sh", "-euc", script])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        printed(script, &output)
    }
}

/// Its first process is `unshare`, which waits for its child whatever it is told; with it ends all the rest.
impl Drop for Bench {
    fn drop(&mut self) {
        self.server.kill();
    }
}

/// A key pair without a passphrase.
pub fn key(folder: &Path, name: &str, kind: &str) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", kind, "-N", "", "-C", name, "-f"]).arg(folder.join(name));
    printed("ssh-keygen", &command.output().unwrap());
}

/// As it stands on the page.
pub fn sudoers() -> String {
    let page = fs::read_to_string(SUDOERS).unwrap();
    let begin = page.find("Cmnd_Alias NEXPLANE").expect("the page has the rule");
    let rule = page[begin..].split("```").next().unwrap();
    rule.to_owned()
}

/// Accounts, and files that tests made: their kind, mode, owner and content.
const WITNESS: &str = "cat /etc/passwd /etc/shadow /etc/group; \
    find /srv /etc/motd /etc/nx -printf '%p %y %m %u %g %s %l\\n' | sort; \
    find /srv /etc/nx -type f -print0 | sort -z | xargs -0 -r sha256sum";

impl Peer for Bench {
    const CONNECTOR: &'static str = "ssh";
    const WHAT_TO_DO: &'static str = "as root put a rule into /etc/sudoers.d: ";

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
        ("127.0.0.1".to_owned(), self.port)
    }

    fn with_wrong_secret(&self, mut credentials: Value) -> Value {
        key(&self.keys, "wrong", "ed25519");
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
    target("ssh_host", "host", "nexplane-bench")
}
