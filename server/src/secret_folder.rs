//! The folder of secrets that the operator of the server configures: one file each, put there by systemd, Kubernetes,
//! Vault Agent or a person.
//!
//! Nothing of it is kept: a file is read anew each time that a session is opened. It is found beneath the folder only,
//! whatever links say, and it is used only where the file beside it allows, which nobody can write who has no more than
//! an account of Nexplane. So a person who may set credentials cannot have the server send a secret to a host of theirs.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use nexplane_connectors::sdk::{Advice, ConnectorError, Destinations, ErrorKind, Lent, SecretText};
use nexplane_core::secret_ref::HOSTS_SUFFIX;
use rustix::fs::{self, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

/// Bytes of a file, at most. Kubernetes allows 1 MiB for a whole secret; no key or password is as long as this.
const LONGEST: u64 = 64 * 1024;

/// The folder, or that there is none.
#[derive(Clone, Debug, Default)]
pub struct SecretFolder {
    path: Option<Arc<Path>>,
}

impl SecretFolder {
    /// Errors: it is not a folder that can be opened.
    pub fn within(path: Option<PathBuf>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        open_folder(&path)
            .with_context(|| format!("cannot use {} as --secrets-dir", path.display()))?;
        Ok(Self { path: Some(path.into()) })
    }

    pub const fn is_configured(&self) -> bool {
        self.path.is_some()
    }

    /// Reads the secret of a name that [`nexplane_core::secret_ref`] allows. Errors name no content: `Refused` (no folder
    /// is configured, the name leads out of it, it is no regular file, or nothing says where it may be used),
    /// `NotFound`, `Forbidden`, `Invalid` (too long, empty, not UTF-8), `Unexpected`.
    pub async fn read(&self, name: &str) -> Result<Lent, ConnectorError> {
        let Some(folder) = self.path.clone() else { return Err(not_configured()) };
        let name = name.to_owned();
        // A disk may be slow, and a network's file system slower.
        tokio::task::spawn_blocking(move || lend(&folder, &name)).await.unwrap_or_else(|error| {
            let message = "reading it was given up";
            Err(ConnectorError::new(ErrorKind::Unexpected, Advice::Later, message).because(error))
        })
    }
}

/// What to do about it is in it.
pub fn not_configured() -> ConnectorError {
    refused(
        "this server has no folder of secrets: whoever operates it names one with --secrets-dir \
         (NEXPLANE_SECRETS_DIR)",
    )
}

fn lend(folder: &Path, name: &str) -> Result<Lent, ConnectorError> {
    let root = open_folder(folder).map_err(|error| {
        let message = "the server's folder of secrets cannot be opened";
        ConnectorError::new(ErrorKind::Unexpected, Advice::Later, message).because(error)
    })?;
    let file = open_file(&root, name)?;
    // What may go nowhere is not even read.
    let hosts = format!("{name}{HOSTS_SUFFIX}");
    let said = open_file(&root, &hosts).and_then(read_file).map_err(|error| {
        let message = format!(
            "beside it has to be {hosts}, which names the host:port that it may be used at; {}",
            error.message
        );
        ConnectorError { message, kind: ErrorKind::Refused, ..error }
    })?;
    let destinations = Destinations::parse(&said)
        .map_err(|why| refused(&format!("{hosts} cannot be used: {why}")))?;
    let text = read_file(file)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    if text.is_empty() {
        return Err(ConnectorError::invalid("the file is empty"));
    }
    Ok(Lent { text: SecretText::new(text.to_owned()), destinations })
}

fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a file beneath the folder. Links are followed, as Kubernetes has them, as long as they stay within.
fn open_file(root: &OwnedFd, name: &str) -> Result<OwnedFd, ConnectorError> {
    // A pipe that nobody writes to would hold us up, and a terminal would become ours.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut attempts = 0;
    let opened = loop {
        match fs::openat2(root, name, flags, Mode::empty(), resolve) {
            // Somebody renamed folders meanwhile: openat2(2) asks to try again.
            Err(Errno::AGAIN) if attempts < 16 => attempts += 1,
            opened => break opened,
        }
    };
    let file = opened.map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR => {
            let message = "there is no such file in the server's folder of secrets";
            ConnectorError::new(ErrorKind::NotFound, Advice::Never, message)
        }
        Errno::XDEV => refused("it leads out of the server's folder of secrets"),
        Errno::LOOP => refused("its symbolic links lead nowhere"),
        // A socket, or a device without a driver.
        Errno::NXIO | Errno::NODEV => refused("it is not a regular file"),
        Errno::ACCESS | Errno::PERM => {
            let message = "the server may not read the file: check its owner and its mode";
            ConnectorError::new(ErrorKind::Forbidden, Advice::Never, message)
        }
        error => failed("opened", error),
    })?;
    let stat = fs::fstat(&file).map_err(|error| failed("looked at", error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refused("it is not a regular file"));
    }
    if u64::try_from(stat.st_size).is_ok_and(|size| size > LONGEST) {
        return Err(too_long());
    }
    Ok(file)
}

fn read_file(file: OwnedFd) -> Result<Zeroizing<String>, ConnectorError> {
    // With room for all of it, so that no part is left behind where it grew.
    let room = usize::try_from(LONGEST + 1).unwrap_or(usize::MAX);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let read = File::from(file).take(LONGEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| failed("read", error))?;
    if bytes.len() >= room {
        return Err(too_long());
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(ConnectorError::invalid("the file is not a text in UTF-8")),
    }
}

fn too_long() -> ConnectorError {
    ConnectorError::invalid(format!("the file is longer than {} KiB", LONGEST / 1024))
}

fn refused(message: &str) -> ConnectorError {
    ConnectorError::new(ErrorKind::Refused, Advice::Never, message)
}

fn failed(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> ConnectorError {
    let message = format!("the file could not be {what}");
    ConnectorError::new(ErrorKind::Unexpected, Advice::Later, message).because(error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use tempfile::TempDir;

    use super::*;

    const SECRET: &str = "of-files-correct-horse";

    struct Stage {
        outer: TempDir,
        folder: SecretFolder,
    }

    impl Stage {
        fn new() -> Self {
            let outer = tempfile::tempdir().unwrap();
            let path = outer.path().join("secrets");
            std::fs::create_dir(&path).unwrap();
            std::fs::write(outer.path().join("outside"), SECRET).unwrap();
            Self { folder: SecretFolder::within(Some(path)).unwrap(), outer }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.outer.path().join("secrets").join(name)
        }

        /// A secret that may be used at one place.
        fn put(&self, name: &str, content: impl AsRef<[u8]>) {
            std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            std::fs::write(self.path(name), content).unwrap();
            self.allow(name);
        }

        fn allow(&self, name: &str) {
            std::fs::write(self.path(&format!("{name}.hosts")), "db.example.org:5432\n").unwrap();
        }

        async fn text(&self, name: &str) -> String {
            self.folder.read(name).await.unwrap().text.expose().to_owned()
        }

        async fn fails(&self, name: &str) -> (ErrorKind, String) {
            let error = self.folder.read(name).await.map(|_| ()).unwrap_err();
            let shown = format!("{error:?}");
            assert!(!shown.contains(SECRET), "{shown}");
            (error.kind, error.message)
        }
    }

    #[tokio::test]
    async fn a_file_is_the_secret_but_for_one_line_break_at_its_end() {
        let stage = Stage::new();
        for (content, secret) in [
            ("a", "a"),
            ("a\n", "a"),
            ("a\n\n", "a\n"),
            (" ä\r\n", " ä\r"),
            ("-\nk\n-\n", "-\nk\n-"),
        ] {
            stage.put("shared/x", content);
            assert_eq!(stage.text("shared/x").await, secret);
        }
        for (content, why) in [(&b"\n"[..], "empty"), (b"", "empty"), (b"a\xff", "UTF-8")] {
            stage.put("x", content);
            let (kind, message) = stage.fails("x").await;
            assert!(kind == ErrorKind::Invalid && message.contains(why), "{message}");
        }
        stage.put("long", "x".repeat(64 * 1024));
        assert_eq!(stage.text("long").await.len(), 64 * 1024);
        stage.put("long", format!("{SECRET}{}", "x".repeat(64 * 1024)));
        assert_eq!(stage.fails("long").await.0, ErrorKind::Invalid);
    }

    #[tokio::test]
    async fn it_may_be_used_where_the_file_beside_it_says_and_else_nowhere() {
        let stage = Stage::new();
        std::fs::write(stage.path("x"), SECRET).unwrap();
        let (kind, message) = stage.fails("x").await;
        assert!(kind == ErrorKind::Refused && message.contains("x.hosts"), "{message}");
        for content in ["", "# none", "db.example.org"] {
            std::fs::write(stage.path("x.hosts"), content).unwrap();
            assert_eq!(stage.fails("x").await.0, ErrorKind::Refused, "{content}");
        }
        stage.allow("x");
        let lent = stage.folder.read("x").await.unwrap();
        assert_eq!(lent.destinations, Destinations::parse("db.example.org:5432").unwrap());
        // What is not there is not said to lack permission.
        assert_eq!(stage.fails("y").await.0, ErrorKind::NotFound);
        assert_eq!(stage.fails("x/y").await.0, ErrorKind::NotFound);
    }

    /// As the kubelet keeps a volume: the names are links through a link to the newest version.
    #[tokio::test]
    async fn links_within_the_folder_are_followed_and_lead_to_what_is_newest() {
        let stage = Stage::new();
        for (version, content) in [("..2026_1", "old"), ("..2026_2", "new")] {
            stage.put(&format!("{version}/x"), content);
        }
        symlink("..2026_1", stage.path("..data")).unwrap();
        symlink("..data/x", stage.path("x")).unwrap();
        symlink("..data/x.hosts", stage.path("x.hosts")).unwrap();
        assert_eq!(stage.text("x").await, "old");
        symlink("..2026_2", stage.path("..next")).unwrap();
        std::fs::rename(stage.path("..next"), stage.path("..data")).unwrap();
        assert_eq!(stage.text("x").await, "new");
    }

    #[tokio::test]
    async fn nothing_leads_out_of_the_folder() {
        let stage = Stage::new();
        let outside = stage.outer.path().join("outside");
        symlink("../outside", stage.path("up")).unwrap();
        symlink(&outside, stage.path("absolute")).unwrap();
        symlink("..", stage.path("parent")).unwrap();
        // Inside in the end, but by way of the outside.
        symlink(stage.path("in"), stage.path("around")).unwrap();
        stage.put("in", "inside");
        for name in ["up", "absolute", "around"] {
            stage.allow(name);
            let (kind, message) = stage.fails(name).await;
            assert_eq!(
                (kind, &*message),
                (ErrorKind::Refused, "it leads out of the server's folder of secrets")
            );
        }
        std::fs::write(stage.outer.path().join("outside.hosts"), "a:1").unwrap();
        for name in ["parent/outside", "../outside", outside.to_str().unwrap(), "in/../../outside"]
        {
            assert_ne!(stage.fails(name).await.0, ErrorKind::Unexpected, "{name}");
        }
        symlink("loop", stage.path("loop")).unwrap();
        stage.allow("loop");
        assert_eq!(stage.fails("loop").await.0, ErrorKind::Refused);
        // What says where it may be used has to be within, too.
        std::fs::write(stage.path("z"), SECRET).unwrap();
        symlink("../outside.hosts", stage.path("z.hosts")).unwrap();
        assert_eq!(stage.fails("z").await.0, ErrorKind::Refused);
    }

    #[tokio::test]
    async fn only_regular_files_are_read_and_nothing_waits() {
        let stage = Stage::new();
        std::fs::create_dir(stage.path("folder")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(stage.path("pipe")).status().unwrap();
        assert!(made.success());
        let _socket = std::os::unix::net::UnixListener::bind(stage.path("socket")).unwrap();
        for name in ["folder", "pipe", "socket"] {
            stage.allow(name);
            let (kind, message) = stage.fails(name).await;
            assert_eq!(
                (kind, &*message),
                (ErrorKind::Refused, "it is not a regular file"),
                "{name}"
            );
        }
        if !rustix::process::geteuid().is_root() {
            stage.put("closed", SECRET);
            std::fs::set_permissions(stage.path("closed"), PermissionsExt::from_mode(0o0)).unwrap();
            assert_eq!(stage.fails("closed").await.0, ErrorKind::Forbidden);
        }
    }

    #[tokio::test]
    async fn without_a_folder_it_is_said_what_to_configure() {
        let error = SecretFolder::default().read("x").await.unwrap_err();
        assert!(error.kind == ErrorKind::Refused && error.message.contains("--secrets-dir"));
        let missing = SecretFolder::within(Some("/nonexistent/folder".into())).unwrap_err();
        assert!(format!("{missing:#}").contains("/nonexistent/folder"), "{missing:#}");
        let stage = Stage::new();
        let file = stage.outer.path().join("outside");
        assert!(SecretFolder::within(Some(file)).is_err());
    }
}
