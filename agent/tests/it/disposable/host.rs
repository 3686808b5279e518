//! One host: an overlay over the base, a network of its own, and systemd as process 1.
//!
//! Nothing outlives the test program, however that ends. Overlay and network belong to the namespaces
//! of a process that ends with the pipe from here ([`Holder`]); the container is told by the
//! kernel to power off when the thread that watches it is gone. Only empty directories may be left, and the next host
//! removes them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use super::{AGENT, INSIDE, MARKER, base, printed};

/// What a host has to do within this time: to start, to end. Seconds, where nobody else is at work.
const PATIENCE: Duration = Duration::from_secs(180);
/// Seconds for a command, and for a test, in the host.
const COMMAND: &str = "120";
const TEST: &str = "400";
/// Exit status of systemd-nspawn when the host wants to start again (`systemd-nspawn(1)`).
const REBOOT: i32 = 133;
const PREFIX: &str = "nexplane-host-";
/// The test program, as the host sees it.
const PROGRAM: &str = "/opt/nexplane/it";
const OUTPUT: &str = "/var/log/nexplane-inside";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A Debian that runs.
pub struct RealHost {
    name: String,
    watch: Arc<Mutex<Watch>>,
    watcher: Option<JoinHandle<()>>,
    groups: Vec<PathBuf>,
    holder: Holder,
    console: PathBuf,
    directory: TempDir,
}

/// The container as its watcher has it.
#[derive(Default)]
struct Watch {
    container: Option<Child>,
    starts: u32,
    closing: bool,
    ended: Option<String>,
}

/// A process that keeps the host's overlay and network as long as it is there.
struct Holder(Child);

impl RealHost {
    /// Starts one of Debian and waits until systemd calls it `running`.
    pub fn start() -> Self {
        Self::start_of(base::Kin::Debian)
    }

    /// The same, of whichever packages.
    pub fn start_of(kin: base::Kin) -> Self {
        let own = std::process::id();
        let name = format!("{PREFIX}{own}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let base = base::directory(kin);
        let directory = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir().unwrap();
        sweep(directory.path().parent().unwrap());
        let root = directory.path().join("tree");
        let holder = Holder::start(directory.path(), &base, &name);
        let groups: Vec<PathBuf> =
            control_groups().into_iter().map(|group| group.join(&name)).collect();
        for group in &groups {
            fs::create_dir(group).unwrap();
        }
        let console = std::env::temp_dir().join(format!("{name}.console"));
        let watch = Arc::new(Mutex::new(Watch::default()));
        let watcher = {
            let (watch, groups, console) = (Arc::clone(&watch), groups.clone(), console.clone());
            let (name, holder) = (name.clone(), holder.0.id());
            std::thread::spawn(move || {
                watch_over(&watch, || launch(&name, &root, holder, &groups, &console));
            })
        };
        let host = Self { name, watch, watcher: Some(watcher), groups, holder, console, directory };
        host.ready(1);
        host
    }

    /// Runs a script as root in the host and gives what it printed.
    pub fn sh(&self, script: &str) -> String {
        printed(script, &self.command(&["sh", "-euc", script]).output().unwrap())
    }

    /// Puts a file of this machine there, for everybody to run.
    pub fn give(&self, file: &Path, to: &str) {
        let mut command = self.command(&["sh", "-euc", "cat >\"$0\"; chmod 755 \"$0\"", to]);
        command.stdin(File::open(file).unwrap());
        printed(to, &command.output().unwrap());
    }

    /// A socket of this program that listens in the host's network, also after the host starts again.
    pub fn listen(&self, at: SocketAddr) -> TcpListener {
        let network = File::open(format!("/proc/{}/ns/net", self.holder.0.id())).unwrap();
        // A socket belongs to the network in which its thread was when it was made.
        let there = std::thread::spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(network.as_fd(), kind).unwrap();
            TcpListener::bind(at).unwrap()
        });
        there.join().unwrap()
    }

    /// Connects to what listens in the host's network, also after the host starts again and from any thread.
    pub fn dialler(
        &self,
        to: SocketAddr,
    ) -> impl Fn() -> io::Result<TcpStream> + Send + Sync + 'static {
        let network = Arc::new(File::open(format!("/proc/{}/ns/net", self.holder.0.id())).unwrap());
        move || {
            let network = Arc::clone(&network);
            let there = std::thread::spawn(move || {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(network.as_fd(), kind)?;
                TcpStream::connect(to)
            });
            there.join().unwrap()
        }
    }

    /// Runs a test of this program in the host, as a service of its own, and fails when it fails.
    pub fn run_test(&self, test: &str, variables: &[(&str, &str)]) {
        let output = self.try_test(test, variables);
        let told = self.sh(&format!("cat {OUTPUT} || true"));
        let passed = output.status.success() && told.contains("test result: ok. 1 passed");
        assert!(passed, "in the host: {output:?}\n{told}");
        println!("{told}");
    }

    /// The same, whatever comes of it.
    pub fn try_test(&self, test: &str, variables: &[(&str, &str)]) -> Output {
        let mut command = self.bounded(TEST);
        command.args(["systemd-run", "--quiet", "--collect", "--service-type=oneshot"]);
        command.arg("--unit=nexplane-inside.service");
        for stream in ["StandardOutput", "StandardError"] {
            command.arg(format!("--property={stream}=append:{OUTPUT}"));
        }
        command.arg(format!("--setenv={INSIDE}={}", self.name));
        command.args(variables.iter().map(|(name, value)| format!("--setenv={name}={value}")));
        command.args([PROGRAM, "--exact", test, "--nocapture", "--test-threads=1"]);
        self.sh(&format!("rm -f {OUTPUT}"));
        command.output().unwrap()
    }

    /// How often it was started.
    pub fn starts(&self) -> u32 {
        self.watch.lock().unwrap().starts
    }

    /// Waits until it runs after its n-th start.
    pub fn ready(&self, start: u32) {
        let begun = Instant::now();
        let mut told = String::new();
        while begun.elapsed() < PATIENCE {
            let (starts, ended) = {
                let watch = self.watch.lock().unwrap();
                (watch.starts, watch.ended.clone())
            };
            if let Some(status) = ended {
                panic!("the host ended with {status}: {}", self.console());
            }
            if starts >= start && self.leader().is_some() {
                let asked = self.command(&["systemctl", "is-system-running"]).output().unwrap();
                told = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
                match told.as_str() {
                    "running" => return,
                    "degraded" => panic!("degraded: {}", self.sh("systemctl list-units --failed")),
                    _ => {}
                }
            }
            sleep(Duration::from_millis(50));
        }
        panic!("not running within {PATIENCE:?} but '{told}': {}", self.console());
    }

    /// A command in the host, as root, with a limited time.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bounded(COMMAND);
        command.args(arguments);
        command
    }

    fn bounded(&self, seconds: &str) -> Command {
        let leader = self.leader().unwrap_or_else(|| panic!("no process 1: {}", self.console()));
        let mut command = Command::new("timeout");
        command
            .args([seconds, "nsenter", "--all", "--root", "--wd", "-t", &leader, "env", "-i"])
            .args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"])
            .stdin(Stdio::null());
        command
    }

    /// Process 1 of the host, by its number here.
    fn leader(&self) -> Option<String> {
        let watch = self.watch.lock().unwrap();
        let id = watch.container.as_ref()?.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children.split_whitespace().next().map(str::to_owned)
    }

    fn console(&self) -> String {
        fs::read_to_string(&self.console).unwrap_or_default()
    }
}

impl Drop for RealHost {
    fn drop(&mut self) {
        // Everything in the host ends with its process 1, and then the container does.
        let leader = self.leader().and_then(|id| id.parse().ok());
        if let Some(leader) = leader.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(leader, rustix::process::Signal::KILL);
        }
        {
            let mut watch = self.watch.lock().unwrap_or_else(|e| e.into_inner());
            watch.closing = true;
            if let Some(container) = &mut watch.container {
                let _ = container.kill();
            }
        }
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
        let begun = Instant::now();
        while !self.groups.iter().all(|group| remove_group(group)) && begun.elapsed() < PATIENCE {
            sleep(Duration::from_millis(20));
        }
        self.holder.end();
        let _ = fs::remove_file(&self.console);
        let _ = fs::remove_dir(self.directory.path());
    }
}

impl Holder {
    fn start(directory: &Path, base: &Path, name: &str) -> Self {
        let script = r#"
            mount -t tmpfs -o size=2g,mode=755 "$3" "$1"
            mkdir "$1/up" "$1/work" "$1/tree"
            mount -t overlay -o "lowerdir=$2,upperdir=$1/up,workdir=$1/work" "$3" "$1/tree"
            printf '%s' "$3" >"$1/tree$4"
            printf '%s\n' "$3" >"$1/tree/etc/hostname"
            printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$3" >"$1/tree/etc/hosts"
            chroot "$1/tree" ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
            ln -sf /dev/null "$1/tree/etc/systemd/system/systemd-networkd-wait-online.service"
            echo held
            exec cat"#;
        let mut holder = Command::new("unshare")
            .args(["--mount", "--net", "--propagation", "slave", "sh", "-euc", script, "holder"])
            .args([directory, base])
            .args([name, MARKER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = [0; 5];
        let read = holder.stdout.as_mut().unwrap().read_exact(&mut told);
        assert!(read.is_ok(), "no overlay over {}: {:?}", base.display(), holder.wait());
        Self(holder)
    }

    fn end(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts the container, and starts it again whenever it asks for that.
fn watch_over(watch: &Mutex<Watch>, launch: impl Fn() -> Child) {
    loop {
        {
            let mut watch = watch.lock().unwrap();
            if watch.closing {
                return;
            }
            watch.container = Some(launch());
            watch.starts += 1;
        }
        loop {
            sleep(Duration::from_millis(20));
            let mut watch = watch.lock().unwrap();
            let status = watch.container.as_mut().unwrap().try_wait().unwrap();
            let Some(status) = status else { continue };
            watch.container = None;
            if watch.closing || status.code() != Some(REBOOT) {
                watch.ended = Some(status.to_string());
                return;
            }
            break;
        }
    }
}

/// The container's process: in its own control groups and in the holder's namespaces.
fn launch(name: &str, root: &Path, holder: u32, groups: &[PathBuf], console: &Path) -> Child {
    let console = File::options().create(true).append(true).open(console).unwrap();
    let program = std::env::current_exe().unwrap();
    let join = r#"n=$1; shift
        while [ "$n" -gt 0 ]; do echo $$ >"$1/cgroup.procs"; shift; n=$((n - 1)); done
        exec "$@""#;
    Command::new("sh")
        .args(["-euc", join, "join", &groups.len().to_string()])
        .args(groups)
        .arg("nsenter")
        .arg(format!("--mount=/proc/{holder}/ns/mnt"))
        .args(["setpriv", "--pdeathsig", "TERM", "systemd-nspawn", "--quiet"])
        .args(["--register=no", "--keep-unit", "--boot", "--console=pipe", "--link-journal=no"])
        .args(["--resolv-conf=off", "--timezone=off", "--capability=CAP_NET_ADMIN"])
        .args([format!("--machine={name}"), format!("--hostname={name}")])
        .arg(format!("--network-namespace-path=/proc/{holder}/ns/net"))
        .arg(format!("--directory={}", root.display()))
        .arg(format!("--bind-ro={}:{PROGRAM}", program.display()))
        // Other packages' tests carry it there.
        .args(
            option_env!("CARGO_BIN_EXE_nexplane-agent").map(|it| format!("--bind-ro={it}:{AGENT}")),
        )
        // Settings of the host's own network can be written.
        .env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network")
        .stdin(Stdio::null())
        .stdout(console.try_clone().unwrap())
        .stderr(console)
        .spawn()
        .unwrap()
}

/// Where this process is, in the hierarchies that systemd uses: without a group of its own, one host
/// would take the processes of another for its own.
fn control_groups() -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = |is: &dyn Fn(&str, &str) -> bool| {
        mounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            is(fields[2], fields[3]).then(|| PathBuf::from(fields[1]))
        })
    };
    let named = |options: &str| options.split(',').any(|option| option == "name=systemd");
    let mut groups = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (kind, path) = (fields.next().unwrap(), fields.next().unwrap());
        let at = match kind {
            "" => mount(&|kind, _| kind == "cgroup2"),
            "name=systemd" => mount(&|kind, options| kind == "cgroup" && named(options)),
            _ => None,
        };
        groups.extend(at.map(|at| at.join(path.trim_start_matches('/'))));
    }
    groups
}

/// Removes a group with all below it; false while a process is in one of them.
fn remove_group(group: &Path) -> bool {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}

/// Removes what test programs left that were killed.
fn sweep(directory: &Path) {
    let left = |entry: &fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap_or_default();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split(['-', '.']).next());
        owner.is_some_and(|id| !Path::new("/proc").join(id).exists())
    };
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries(directory).filter(left) {
        let path = entry.path();
        let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
    }
    for group in control_groups().iter().flat_map(|group| entries(group)).filter(left) {
        remove_group(&group.path());
    }
}
