//! The agent as a service of its host: what is put where, and what is taken away again.
//!
//! Everything here can be done again: what is as it should be is left alone, what is not is made so.
//! The host owner's policy is written once and never again. Deliberately absent: downloading, and
//! starting programs; the service manager is spoken to over its bus, by [`crate::host`].

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nexplane_core::id::HostId;

use crate::config::{Config, ConfigFile};
use crate::deadman::Limit;

/// The unit's name.
pub const UNIT: &str = "nexplane-agent.service";
/// The unit that takes back, before the network is up, what was not confirmed.
pub const TAKE_BACK_UNIT: &str = "nexplane-agent-takeback.service";
/// The unit that ends the trial of a new program when its time is over.
pub const GUARD_UNIT: &str = "nexplane-agent-guard.service";
const UNIT_FILE: &str = include_str!("nexplane-agent.service");
const TAKE_BACK_FILE: &str = include_str!("nexplane-agent-takeback.service");
const GUARD_FILE: &str = include_str!("nexplane-agent-guard.service");
const POLICY: &str = include_str!("policy.toml");
const CONFIG_HEAD: &str = "\
# Where the agent finds its control plane, and keeps what it knows. Read when it starts.
# Understood are: control_plane, with ca.pem beside this file; state_dir; keep_snapshots, such as \"30d\";
# dead_man_s, from 10 to 600; and a section [update] with keys, the public release keys of whoever builds the agent,
# and trial_s, from 30 to 600.
";

/// Where the parts of an installed agent are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
    /// Where the host's owner has the state, if not in the usual place.
    own_state: Option<PathBuf>,
}

/// What the configuration shall say; what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said<'a> {
    pub control_plane: Option<&'a str>,
    pub ca_pem: Option<&'a str>,
    pub keep_snapshots: Option<&'a str>,
    pub dead_man: Option<Limit>,
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
        Self { root: root.into(), own_state: None }
    }

    /// The same, with the state where the `config.toml` that is there says.
    ///
    /// # Errors
    /// The file is not understood, or the place cannot stand in a unit of systemd.
    pub fn as_configured(self) -> Result<Self, Problem> {
        let file = Config::new(self.config()).file();
        let malformed =
            |why: String| Problem { why, fix: format!("mend {} or move it away", file.display()) };
        let said = ConfigFile::load(&file).map_err(|error| malformed(error.to_string()))?;
        let state = said.and_then(|said| said.state_dir);
        let own_state = state.filter(|state| *state != self.usual_state());
        if let Some(state) = &own_state {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-.+:@".contains(&byte);
            let is_plain = state.to_str().is_some_and(|text| text.bytes().all(good));
            if !is_plain || !state.is_absolute() || state.parent().is_none() {
                let why = format!(
                    "state_dir is a directory by its full path, of letters, digits and / _ - . + : @, and not {}",
                    state.display()
                );
                return Err(malformed(why));
            }
        }
        Ok(Self { own_state, ..self })
    }

    /// Not in `/usr/bin`, which is the package manager's.
    pub fn binary(&self) -> PathBuf {
        self.root.join("usr/local/bin/nexplane-agent")
    }

    /// Directory of the agent's programs that are kept for an update, and for the way back from it.
    pub fn programs(&self) -> PathBuf {
        self.root.join("usr/local/lib/nexplane-agent")
    }

    pub fn config(&self) -> PathBuf {
        self.root.join("etc/nexplane-agent")
    }

    pub fn state(&self) -> PathBuf {
        self.own_state.clone().unwrap_or_else(|| self.usual_state())
    }

    /// Whether the host's owner has chosen that place.
    pub const fn has_own_state(&self) -> bool {
        self.own_state.is_some()
    }

    fn usual_state(&self) -> PathBuf {
        self.root.join("var/lib/nexplane-agent")
    }

    pub fn unit(&self) -> PathBuf {
        self.root.join("etc/systemd/system").join(UNIT)
    }

    pub fn take_back_unit(&self) -> PathBuf {
        self.root.join("etc/systemd/system").join(TAKE_BACK_UNIT)
    }

    pub fn guard_unit(&self) -> PathBuf {
        self.root.join("etc/systemd/system").join(GUARD_UNIT)
    }

    /// The units as this version writes them, with their places.
    pub fn units(&self) -> [(PathBuf, String); 3] {
        [
            (self.unit(), self.fill(UNIT_FILE)),
            (self.take_back_unit(), self.fill(TAKE_BACK_FILE)),
            (self.guard_unit(), self.fill(GUARD_FILE)),
        ]
    }

    fn fill(&self, text: &str) -> String {
        let usual = Self::default();
        let state = self.own_state.clone().unwrap_or_else(|| usual.state());
        let state = state.display().to_string();
        // A directory of the owner's own is not systemd's to make, and may be on a file system of its own.
        let (directory, mounts) = match &self.own_state {
            None => ("StateDirectory=nexplane-agent\nStateDirectoryMode=0700\n", String::new()),
            Some(_) => ("", format!("RequiresMountsFor={state}\n")),
        };
        let programs = usual.programs();
        text.replace("@BINARY@", &usual.binary().display().to_string())
            .replace("@PREVIOUS@", &programs.join("previous").display().to_string())
            .replace("@PROGRAMS@", &programs.display().to_string())
            .replace("@STATE_DIRECTORY@", directory)
            .replace("@MOUNTS@", &mounts)
            .replace("@STATE@", &state)
    }

    /// Copies a program to where the service finds it.
    pub fn put_binary(&self, program: &Path, mode: Mode) -> Step {
        let mut bytes = Vec::new();
        File::open(program)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|error| problem("read", program, &error))?;
        put(&self.binary(), &bytes, 0o755, mode)
    }

    /// Makes the directories, private. One of the owner's own that others can look into is not changed, but said.
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
                Ok(meta) if self.own_state.as_ref() == Some(&path) => {
                    if meta.mode() & 0o077 != 0 {
                        let why = format!("{} is open to other users", path.display());
                        let fix =
                            "chmod 0700 it, or let state_dir name one that is the agent's alone";
                        return Err(Problem { why, fix: fix.to_owned() });
                    }
                    continue;
                }
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
        let programs = self.programs();
        let is_as_wanted =
            |meta: &fs::Metadata| meta.is_dir() && is_own(meta) && meta.mode() & 0o7777 == 0o755;
        match fs::symlink_metadata(&programs) {
            Ok(meta) if is_as_wanted(&meta) => {}
            Ok(meta) if !meta.is_dir() || !is_own(&meta) => {
                return Err(Problem {
                    why: format!("{} is no directory of root", programs.display()),
                    fix: "move it away".to_owned(),
                });
            }
            Ok(_) | Err(_) => {
                if mode == Mode::Do {
                    DirBuilder::new()
                        .recursive(true)
                        .mode(0o755)
                        .create(&programs)
                        .and_then(|()| {
                            fs::set_permissions(&programs, Permissions::from_mode(0o755))
                        })
                        .map_err(|error| problem("make", &programs, &error))?;
                }
                changed.push(programs);
            }
        }
        Ok(Outcome {
            changed: !changed.is_empty(),
            found: format!("{}, {} (0700)", self.config().display(), self.state().display()),
        })
    }

    /// Writes `config.toml` and `ca.pem`.
    pub fn put_config(&self, said: &Said<'_>, mode: Mode) -> Step {
        let config = Config::new(self.config());
        let path = config.file();
        let earlier = ConfigFile::load(&path).map_err(|error| Problem {
            why: error.to_string(),
            fix: format!("mend {} or move it away", path.display()),
        })?;
        let mut file = earlier.clone().unwrap_or_default();
        // Where the service keeps its state is for the units and for `uninstall` to know too.
        file.state_dir.get_or_insert_with(|| self.state());
        let mut changed = false;
        if let Some(ca_pem) = said.ca_pem {
            changed = put(&config.ca(), ca_pem.as_bytes(), 0o644, mode)?.changed;
        }
        let text = |text: &str| Some(text.to_owned());
        file.control_plane = said.control_plane.map_or(file.control_plane, text);
        file.keep_snapshots = said.keep_snapshots.map_or(file.keep_snapshots, text);
        file.dead_man_s = said.dead_man.map(Limit::seconds).or(file.dead_man_s);
        if earlier.as_ref() != Some(&file) {
            let body = toml::to_string(&file).expect("texts and a number can be written as TOML");
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

    pub fn put_units(&self, mode: Mode) -> Step {
        let (mut changed, mut found) = (false, Vec::new());
        for (path, text) in self.units() {
            let outcome = put(&path, text.as_bytes(), 0o644, mode)?;
            changed |= outcome.changed;
            found.push(outcome.found);
        }
        Ok(Outcome { changed, found: found.join(", ") })
    }

    /// Everything that [`Layout`] put on the machine and that is still there, in the order in which it is
    /// taken away. With `keep_state` configuration, policy, identity, journal and before-states stay. Of a
    /// directory that the owner chose for the state only the agent's own files go.
    pub fn parts(&self, keep_state: bool) -> Vec<PathBuf> {
        let mut parts = self.units().map(|(path, _)| path).to_vec();
        if !keep_state {
            match &self.own_state {
                Some(state) => parts.extend(own_files(state)),
                None => parts.push(self.state()),
            }
            parts.push(self.config());
        }
        parts.push(self.programs());
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

/// What an agent keeps in its state directory, by name.
fn own_files(state: &Path) -> Vec<PathBuf> {
    const FILES: [&str; 12] = [
        "armed",
        "enrolling.json",
        "identity.json",
        "journal",
        "lock",
        "packages",
        "releases.json",
        "renewing.json",
        "sealing.key",
        "snapshots",
        "trial.json",
        "trial.lock",
    ];
    // Those of earlier identities have the host's number in their names.
    let of_a_host = |name: &str| {
        let identity = name.strip_prefix("identity.").and_then(|rest| rest.strip_suffix(".json"));
        let host = name.strip_prefix("journal.").or(identity);
        host.is_some_and(|host| host.parse::<HostId>().is_ok())
    };
    let is_own = |name: &str| FILES.contains(&name) || of_a_host(name);
    let entries = fs::read_dir(state).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut own: Vec<_> = names.filter(|name| is_own(name)).map(|name| state.join(name)).collect();
    own.sort();
    own
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
