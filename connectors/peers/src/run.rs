//! A server that all tests of a run share, because it takes long to start.
//!
//! Every test may be a process of its own, so the server is found by its folder below
//! `nexplane-peers-<uid>/` in the temporary directory. The first test that finds none starts one, under a
//! file lock. A keeper (`keeper.sh`) stops it 60 s after the last test process is gone, and in any case
//! 45 minutes after its start; tests do not join one that is older than 30 minutes. A test gives what it makes
//! there names that no other test uses.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::PeerError;

const JOIN_UNTIL_S: u64 = 30 * 60;
const STOP_AFTER_S: u64 = 45 * 60;
const STOP_WHEN_IDLE_S: u64 = 60;
const LOCK_WITHIN: Duration = Duration::from_mins(3);
const KEEPER: &str = include_str!("keeper.sh");

/// A folder in which a server is being started.
#[derive(Debug)]
pub struct Nursery {
    pub folder: PathBuf,
}

impl Nursery {
    /// Starts a program that stays when this process ends; all its output is in `<name>.log` of the folder.
    /// The keeper knows it from now on.
    pub fn spawn(&self, name: &str, command: &mut Command) -> Result<PathBuf, PeerError> {
        let attempt = || format!("start {name}");
        let log = self.folder.join(format!("{name}.log"));
        let output = File::create(&log).map_err(PeerError::io(attempt()))?;
        let errors = output.try_clone().map_err(PeerError::io(attempt()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // Neither Ctrl-C nor a test runner that ends a test's process group is meant for it.
            .process_group(0)
            .spawn()
            .map_err(PeerError::io(attempt()))?;
        let since = started(child.id()).ok_or_else(|| {
            PeerError::Other(format!("{name} ended at once: see {}", log.display()))
        })?;
        let mut pids = OpenOptions::new()
            .append(true)
            .open(self.folder.join("pids"))
            .map_err(PeerError::io(attempt()))?;
        io::Write::write_all(&mut pids, format!("{} {since}\n", child.id()).as_bytes())
            .map_err(PeerError::io(attempt()))?;
        Ok(log)
    }
}

/// Joins the running server of this kind, or starts one with `start`, whose answer is what the next test
/// gets, too. `kind` is a word; another word for another configuration.
pub async fn join<T: Serialize + DeserializeOwned>(
    kind: &str,
    start: impl AsyncFnOnce(&Nursery) -> Result<T, PeerError>,
) -> Result<T, PeerError> {
    let base = base()?;
    if let Some(found) = find(&base, kind) {
        return Ok(found);
    }
    let _lock = lock(&base, kind).await?;
    if let Some(found) = find(&base, kind) {
        return Ok(found);
    }
    let random = uuid::Uuid::new_v4().simple().to_string();
    let name = format!("{kind}-g{}-{}", unix_seconds(), random.get(..6).unwrap_or(&random));
    let nursery = Nursery { folder: base.join(name) };
    let folder = &nursery.folder;
    make_folder(folder)?;
    make_folder(&folder.join("users"))?;
    File::create(folder.join("pids")).map_err(PeerError::io("write in a peer's folder"))?;
    register(folder).map_err(PeerError::io("register a test with a peer"))?;
    let keeper = folder.join("keeper.sh");
    fs::write(&keeper, KEEPER).map_err(PeerError::io("write in a peer's folder"))?;
    Command::new("/bin/sh")
        .arg(&keeper)
        .arg(folder)
        .args([STOP_WHEN_IDLE_S.to_string(), STOP_AFTER_S.to_string()])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(PeerError::io("run /bin/sh"))?;
    let peer = start(&nursery).await?;
    let text = serde_json::to_vec(&peer).map_err(|error| PeerError::Other(error.to_string()))?;
    let unfinished = folder.join("ready.new");
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| io::Write::write_all(&mut file, &text))
        .and_then(|()| fs::rename(&unfinished, folder.join("ready")))
        .map_err(PeerError::io("write in a peer's folder"))?;
    Ok(peer)
}

/// The youngest one that is ready and whose processes all live.
fn find<T: DeserializeOwned>(base: &Path, kind: &str) -> Option<T> {
    let prefix = format!("{kind}-g");
    let now = unix_seconds();
    let found = fs::read_dir(base).ok()?.filter_map(|entry| {
        let entry = entry.ok()?;
        let name = entry.file_name();
        let (since, _) = name.to_str()?.strip_prefix(&prefix)?.split_once('-')?;
        let age = now.saturating_sub(since.parse().ok()?);
        entry.path().join("ready").exists().then(|| (age, entry.path()))
    });
    let (age, folder) = found.min()?;
    if age > JOIN_UNTIL_S || register(&folder).is_err() {
        return None;
    }
    let pids = fs::read_to_string(folder.join("pids")).ok()?;
    let lives = |line: &str| {
        let (pid, since) = line.split_once(' ')?;
        (started(pid.parse().ok()?)? == since).then_some(())
    };
    if !pids.lines().all(|line| lives(line).is_some()) {
        return None;
    }
    serde_json::from_slice(&fs::read(folder.join("ready")).ok()?).ok()
}

/// When a process was started, in the kernel's ticks: with its id that is one process for good.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    // One that has ended, and whose parent has not asked how, is none.
    (!rest.starts_with('Z')).then(|| rest.split(' ').nth(19).map(str::to_owned))?
}

/// Tells the keeper that this process uses the server. Fails when the folder is closed.
fn register(folder: &Path) -> io::Result<()> {
    File::create(folder.join("users").join(process::id().to_string())).map(drop)
}

fn base() -> Result<PathBuf, PeerError> {
    let uid = rustix::process::geteuid().as_raw();
    // A fixed place, because sockets and some servers know only short paths.
    let base = Path::new("/tmp").join(format!("nexplane-peers-{uid}"));
    make_folder(&base)?;
    Ok(base)
}

/// Writable for us only; others may pass, because some servers run as another user.
fn make_folder(path: &Path) -> Result<(), PeerError> {
    let attempt = || format!("make {}", path.display());
    match DirBuilder::new().mode(0o711).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(PeerError::io(attempt())(error));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(path).map_err(PeerError::io(attempt()))?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        let source = io::Error::new(io::ErrorKind::PermissionDenied, "it is somebody else's");
        return Err(PeerError::io(attempt())(source));
    }
    Ok(())
}

/// Waits for the lock without blocking a thread; given back when the file is closed.
async fn lock(base: &Path, kind: &str) -> Result<File, PeerError> {
    let path = base.join(format!("{kind}.lock"));
    let attempt = || format!("lock {}", path.display());
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(PeerError::io(attempt()))?;
    let end = Instant::now() + LOCK_WITHIN;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(PeerError::io(attempt())(source)),
            Err(TryLockError::WouldBlock) if Instant::now() > end => {
                return Err(PeerError::Other(format!(
                    "{kind} is being started by others for too long"
                )));
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
