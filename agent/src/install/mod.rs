//! The agent as a service of its host: what is put where, and what is taken away again.
//!
//! Everything here can be done again: what is as it should be is left alone, what is not is made so.
//! The host owner's policy is written once and never again. Deliberately absent: downloading, and
//! starting programs; the service manager is spoken to over its bus, by [`crate::host`].

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigFile, Retention};

/// The unit's name.
pub const UNIT: &str = "nexplane-agent.service";
const UNIT_FILE: &str = include_str!("nexplane-agent.service");
const POLICY: &str = include_str!("policy.toml");
const CONFIG_HEAD: &str = "\
# Where the agent finds its control plane, and keeps what it knows. Read when it starts.
# Understood are: control_plane, with ca.pem beside this file; state_dir; keep_snapshots, such as \"30d\".
";

/// Where the parts of an installed agent are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

/// How a step went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// False when it was as it should be.
    pub changed: bool,
    pub found: String,
}

/// What is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub why: String,
    pub fix: String,
}

/// What came of a step.
pub type Step = Result<Outcome, Problem>;

/// Whether steps are taken or only told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Do,
    Tell,
}

impl Default for Layout {
    fn default() -> Self {
        Self::beneath("/")
    }
}

impl Layout {
    /// Of the machine whose files begin at `root`.
    pub fn beneath(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Not in `/usr/bin`, which is the package manager's.
    pub fn binary(&self) -> PathBuf {
        self.root.join("usr/local/bin/nexplane-agent")
    }

    pub fn config(&self) -> PathBuf {
        self.root.join("etc/nexplane-agent")
    }

    pub fn state(&self) -> PathBuf {
        self.root.join("var/lib/nexplane-agent")
    }

    pub fn unit(&self) -> PathBuf {
        self.root.join("etc/systemd/system").join(UNIT)
    }

    /// The unit as this version writes it.
    pub fn unit_text() -> String {
        let binary = Self::default().binary();
        UNIT_FILE.replace("@BINARY@", &binary.display().to_string())
    }

    /// Copies a program to where the service finds it.
    pub fn put_binary(&self, program: &Path, mode: Mode) -> Step {
        let mut bytes = Vec::new();
        File::open(program)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|error| problem("read", program, &error))?;
        put(&self.binary(), &bytes, 0o755, mode)
    }

    /// Makes the directories, private.
    pub fn make_directories(&self, mode: Mode) -> Step {
        let mut changed = Vec::new();
        for path in [self.config(), self.state()] {
            match fs::symlink_metadata(&path) {
                Ok(meta) if !meta.is_dir() => {
                    return Err(Problem {
                        why: format!("{} is there and no directory", path.display()),
                        fix: "move it away".to_owned(),
                    });
                }
                Ok(meta) if meta.mode() & 0o7777 == 0o700 => continue,
                Ok(_) if mode == Mode::Do => {
                    fs::set_permissions(&path, Permissions::from_mode(0o700))
                        .map_err(|error| problem("change the mode of", &path, &error))?;
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(problem("look at", &path, &error));
                }
                Err(_) if mode == Mode::Do => {
                    DirBuilder::new()
                        .mode(0o700)
                        .create(&path)
                        .map_err(|error| problem("make", &path, &error))?;
                }
                Ok(_) | Err(_) => {}
            }
            changed.push(path);
        }
        Ok(Outcome {
            changed: !changed.is_empty(),
            found: format!("{}, {} (0700)", self.config().display(), self.state().display()),
        })
    }

    /// Writes `config.toml` and `ca.pem`; what is absent stays as it is in them.
    pub fn put_config(
        &self,
        control_plane: Option<&str>,
        ca_pem: Option<&str>,
        keep_snapshots: Option<&str>,
        mode: Mode,
    ) -> Step {
        let config = Config::new(self.config());
        let path = config.file();
        let malformed =
            |why: String| Problem { why, fix: format!("mend {} or move it away", path.display()) };
        let earlier = ConfigFile::load(&path).map_err(|error| malformed(error.to_string()))?;
        let mut file = earlier.clone().unwrap_or_default();
        // Where the service keeps its state is for the unit and for `uninstall` to know too.
        let state = file.state_dir.get_or_insert_with(|| self.state());
        if *state != self.state() {
            return Err(Problem {
                why: format!("{} keeps the agent's state in {}", path.display(), state.display()),
                fix: format!(
                    "move it to {} and take state_dir out, or start the agent by a unit of your own",
                    self.state().display()
                ),
            });
        }
        let mut changed = false;
        if let Some(ca_pem) = ca_pem {
            changed = put(&config.ca(), ca_pem.as_bytes(), 0o644, mode)?.changed;
        }
        if let Some(control_plane) = control_plane {
            file.control_plane = Some(control_plane.to_owned());
        }
        if let Some(keep) = keep_snapshots {
            Retention::parse(keep).map_err(|error| malformed(error.to_string()))?;
            file.keep_snapshots = Some(keep.to_owned());
        }
        if earlier.as_ref() != Some(&file) {
            let body = toml::to_string(&file).expect("three texts can be written as TOML");
            changed |= put(&path, format!("{CONFIG_HEAD}{body}").as_bytes(), 0o644, mode)?.changed;
        }
        Ok(Outcome { changed, found: path.display().to_string() })
    }

    /// Writes a policy of comments, unless the host's owner has one.
    pub fn put_policy(&self, mode: Mode) -> Step {
        let path = Config::new(self.config()).policy();
        match fs::symlink_metadata(&path) {
            Ok(_) => {
                Ok(Outcome { changed: false, found: format!("{}, left as it is", path.display()) })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                put(&path, POLICY.as_bytes(), 0o644, mode)
            }
            Err(error) => Err(problem("look at", &path, &error)),
        }
    }

    pub fn put_unit(&self, mode: Mode) -> Step {
        put(&self.unit(), Self::unit_text().as_bytes(), 0o644, mode)
    }

    /// Everything that [`Layout`] put on the machine and that is still there, in the order in which it is
    /// taken away. With `keep_state` configuration, policy, identity, journal and before-states stay.
    pub fn parts(&self, keep_state: bool) -> Vec<PathBuf> {
        let state = if keep_state { vec![] } else { vec![self.state(), self.config()] };
        let mut parts = vec![self.unit()];
        parts.extend(state);
        // Last, so that it can be called again when something before it did not work.
        parts.push(self.binary());
        parts.retain(|path| fs::symlink_metadata(path).is_ok());
        parts
    }

    /// Takes one of [`Layout::parts`] away.
    pub fn remove(path: &Path, mode: Mode) -> Step {
        let fail = |error: &io::Error| problem("remove", path, error);
        let meta = fs::symlink_metadata(path).map_err(|error| fail(&error))?;
        if mode == Mode::Do {
            let removed =
                if meta.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            removed.map_err(|error| fail(&error))?;
        }
        Ok(Outcome { changed: true, found: path.display().to_string() })
    }
}

/// Makes a file exactly so, as a whole and durable.
fn put(path: &Path, bytes: &[u8], bits: u32, mode: Mode) -> Step {
    let fail = |attempt, error: &io::Error| problem(attempt, path, error);
    let found = format!("{} ({bits:04o})", path.display());
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() && meta.mode() & 0o7777 == bits && is_own(&meta) => {
            if fs::read(path).map_err(|error| fail("read", &error))? == bytes {
                return Ok(Outcome { changed: false, found });
            }
        }
        Ok(meta) if meta.is_dir() => {
            let why = format!("{} is a directory", path.display());
            return Err(Problem { why, fix: "move it away".to_owned() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail("look at", &error)),
    }
    if mode == Mode::Do {
        // In the same directory, so that it has that directory's security label.
        write_whole(path, bytes, bits).map_err(|error| fail("write", &error))?;
    }
    Ok(Outcome { changed: true, found })
}

fn write_whole(path: &Path, bytes: &[u8], bits: u32) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(Permissions::from_mode(bits))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

fn is_own(meta: &fs::Metadata) -> bool {
    meta.uid() == rustix::process::geteuid().as_raw()
}

fn problem(attempt: &str, path: &Path, error: &io::Error) -> Problem {
    let fixes = [
        (io::ErrorKind::PermissionDenied, "run this as root"),
        (io::ErrorKind::NotFound, "the directory above it has to exist"),
        (io::ErrorKind::ReadOnlyFilesystem, "the file system is mounted read-only"),
        (io::ErrorKind::StorageFull, "make room on the disk"),
    ];
    let known = fixes.iter().find(|(kind, _)| *kind == error.kind());
    let fix = known.map_or("mend that and run the same command again", |(_, fix)| fix);
    let why = format!("could not {attempt} {}: {error}", path.display());
    Problem { why, fix: fix.to_owned() }
}
