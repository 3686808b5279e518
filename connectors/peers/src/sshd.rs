//! OpenSSH's server on a Debian without systemd: there in a moment, and gone with the value.
//!
//! It is an overlay over a root file system that the caller names, with process, mount and host name namespaces
//! of its own, so that its accounts and files are nobody else's, and of this machine's devices it has only those
//! that hold nothing. Its network is this machine's loopback. Needs root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;
use crate::{PeerError, free_port, program};

/// How long it may take to answer, on a machine that is busy.
const START_WITHIN: Duration = Duration::from_mins(1);
/// Its own name.
pub const HOSTNAME: &str = "nexplane-sshd";

/// Makes the file system, and becomes the server. `$1` folder, `$2` base, `$3` port, `$4` folder of keys, `$5`
/// accounts, `$6` host name.
const START: &str = r#"
    mount -t tmpfs -o size=512m,mode=755 nexplane "$1/tree"
    mkdir "$1/tree/up" "$1/tree/work" "$1/tree/root"
    mount -t overlay -o "lowerdir=$2,upperdir=$1/tree/up,workdir=$1/tree/work" nexplane "$1/tree/root"
    cd "$1/tree/root"
    mount -t proc proc proc
    mount -t tmpfs -o nosuid,mode=755 nexplane dev
    for name in full null random tty urandom zero; do
        : >"dev/$name"
        mount --bind "/dev/$name" "dev/$name"
    done
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666 nexplane dev/pts
    mount -t tmpfs -o nosuid,nodev,mode=1777 nexplane dev/shm
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    hostname "$6"
    printf '%s\n' "$6" >etc/hostname
    printf '127.0.0.1 localhost %s\n' "$6" >etc/hosts
    mkdir -p run/sshd
    cp "$4"/host_* "$4/ca.pub" etc/ssh/
    mkdir -m 700 -p root/.ssh
    cp "$4/client.pub" root/.ssh/authorized_keys
    cp "$4/sudoers" etc/sudoers.d/nexplane
    chmod 440 etc/sudoers.d/nexplane
    chown -R 0:0 root/.ssh etc/sudoers.d etc/ssh
    for name in $5; do
        chroot . useradd --create-home --shell /bin/sh "$name"
        mkdir -m 700 "home/$name/.ssh"
        cp "$4/client.pub" "home/$name/.ssh/authorized_keys"
        chroot . chown -R "$name:$name" "/home/$name/.ssh"
    done
    exec chroot . /usr/sbin/sshd -D -e -p "$3" -o ListenAddress=127.0.0.1 \
        -o HostKey=/etc/ssh/host_ed25519 -o HostKey=/etc/ssh/host_rsa \
        -o TrustedUserCAKeys=/etc/ssh/ca.pub -o MaxStartups=100"#;

/// A host that runs. Root and every account are let in with the key `client`.
#[derive(Debug)]
pub struct Sshd {
    server: Process,
    port: u16,
    keys: PathBuf,
    _folder: TempDir,
}

impl Sshd {
    /// Starts one with these accounts and this file of rules for sudo. `base` is a root file system with sshd and
    /// sudo; nobody writes to it.
    pub async fn start(base: &Path, accounts: &[&str], sudoers: &str) -> Result<Self, PeerError> {
        let unshare = program(&["unshare"], "unshare", "apt-get install util-linux")?;
        let folder = tempfile::Builder::new()
            .prefix("nexplane-sshd-")
            .tempdir()
            .map_err(PeerError::io("make a folder for a host"))?;
        let keys = folder.path().join("keys");
        for directory in [&keys, &folder.path().join("tree")] {
            fs::create_dir(directory).map_err(PeerError::io("make a folder for a host"))?;
        }
        for (name, kind) in [
            ("client", "ed25519"),
            ("host_ed25519", "ed25519"),
            ("host_rsa", "rsa"),
            ("ca", "ed25519"),
        ] {
            key_pair(&keys, name, kind)?;
        }
        fs::write(keys.join("sudoers"), sudoers).map_err(PeerError::io("write rules for sudo"))?;
        let port = free_port()?;
        let mut command = Command::new(unshare);
        command
            .args(["--mount", "--pid", "--uts", "--fork", "--kill-child=KILL"])
            .args(["--propagation", "private", "sh", "-euc", START, "sshd"])
            .args([folder.path(), base])
            .arg(port.to_string())
            .arg(&keys)
            .args([&accounts.join(" "), HOSTNAME]);
        let mut server = Process::start("sshd", &command, &folder.path().join("log"))?;
        let answers = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        server.healthy(START_WITHIN, answers).await?;
        Ok(Self { server, port, keys, _folder: folder })
    }

    /// Of 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the keys: `client`, `host_ed25519`, `host_rsa`, `ca`, each with its `.pub`.
    pub fn keys(&self) -> &Path {
        &self.keys
    }

    /// A file of that folder.
    pub fn key(&self, name: &str) -> Result<String, PeerError> {
        let path = self.keys.join(name);
        fs::read_to_string(&path).map_err(PeerError::io(format!("read {}", path.display())))
    }

    /// Runs a script as root in the host, and gives what it printed.
    pub fn sh(&self, script: &str) -> Result<String, PeerError> {
        let id = self.server.pid();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))
            .map_err(PeerError::io("find the host's first process"))?;
        let gone = || PeerError::Other("the host has ended".to_owned());
        let leader = children.split_whitespace().next().ok_or_else(gone)?;
        let mut command = Command::new("timeout");
        command
            .args(["60", "nsenter", "--all", "--root", "--wd", "-t", leader, "env", "-i"])
            .args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "sh", "-euc", script])
            .stdin(Stdio::null());
        output(script, command)
    }
}

/// Its first process is `unshare`, which waits for its child whatever it is told; with it ends all the rest.
impl Drop for Sshd {
    fn drop(&mut self) {
        self.server.kill();
    }
}

/// Makes a key pair without a passphrase: `<name>` and `<name>.pub`.
pub fn key_pair(folder: &Path, name: &str, kind: &str) -> Result<(), PeerError> {
    let keygen = program(&["ssh-keygen"], "ssh-keygen", "apt-get install openssh-client")?;
    let mut command = Command::new(keygen);
    command.args(["-q", "-t", kind, "-N", "", "-C", name, "-f"]).arg(folder.join(name));
    output("ssh-keygen", command).map(drop)
}

fn output(what: &str, mut command: Command) -> Result<String, PeerError> {
    let Output { status, stdout, stderr } =
        command.output().map_err(PeerError::io(format!("run {what}")))?;
    let text = String::from_utf8_lossy(&stdout).into_owned();
    if status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&stderr);
    Err(PeerError::Other(format!("{what}\n{status}\n{text}{errors}")))
}
