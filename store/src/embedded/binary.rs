//! Finds the PostgreSQL that is installed on this machine; nothing is ever downloaded.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::EmbeddedError;

/// The oldest major version that the migrations and the event log are tested with.
pub const MINIMUM_MAJOR: u32 = 15;

/// Directories that hold one version each; `*` stands for one whole or partial folder name.
const USUAL_PLACES: &[&str] = &[
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/local/pgsql/bin",
    "/usr/local/pgsql-*/bin",
    "/usr/local/bin",
];

/// One installed PostgreSQL: `initdb` and `postgres` of the same directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Installation {
    pub major: u32,
    pub directory: PathBuf,
}

impl Installation {
    pub fn initdb(&self) -> PathBuf {
        self.directory.join("initdb")
    }

    pub fn postgres(&self) -> PathBuf {
        self.directory.join("postgres")
    }

    /// Looks at one directory; nothing when it holds no server.
    fn probe(directory: &Path) -> Option<Self> {
        let postgres = directory.join("postgres");
        if !postgres.is_file() || !directory.join("initdb").is_file() {
            return None;
        }
        let output = Command::new(postgres).arg("--version").current_dir("/").output().ok()?;
        let major = major_of(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self { major, directory: directory.to_owned() })
    }
}

/// The installation to use. A directory given by name is taken as it is; otherwise the newest one
/// found. `made_by` is the major version of an existing data directory and must match exactly:
/// PostgreSQL opens no other.
pub(super) fn choose(
    given: Option<&Path>,
    made_by: Option<&str>,
    data: &Path,
) -> Result<Installation, EmbeddedError> {
    let directories = match given {
        Some(directory) => vec![directory.to_owned()],
        None => candidates(),
    };
    let mut found: Vec<Installation> =
        directories.iter().filter_map(|directory| Installation::probe(directory)).collect();
    found.sort_by_key(|installation| installation.major);
    let Some(newest) = found.last().cloned() else {
        return Err(EmbeddedError::NotInstalled { minimum: MINIMUM_MAJOR, looked_in: directories });
    };
    if newest.major < MINIMUM_MAJOR {
        return Err(EmbeddedError::TooOld {
            found: newest.major,
            minimum: MINIMUM_MAJOR,
            directory: newest.directory,
        });
    }
    let Some(made_by) = made_by else { return Ok(newest) };
    let installed: BTreeSet<u32> = found.iter().map(|installation| installation.major).collect();
    found
        .into_iter()
        .rfind(|installation| installation.major.to_string() == made_by)
        .filter(|installation| installation.major >= MINIMUM_MAJOR)
        .ok_or_else(|| EmbeddedError::OtherMajor {
            directory: data.to_owned(),
            made_by: made_by.to_owned(),
            installed: installed.into_iter().collect(),
        })
}

/// Every directory worth looking at, without repetitions, PATH last so that it wins a tie.
fn candidates() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = USUAL_PLACES.iter().flat_map(|pattern| expand(pattern)).collect();
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).filter_map(|directory| {
        // Distributions link the programs, and initdb needs the others beside itself.
        let real = fs::canonicalize(directory.join("postgres"))
            .or_else(|_| fs::canonicalize(directory.join("initdb")))
            .ok()?;
        real.parent().map(Path::to_owned)
    });
    all.extend(on_path);
    let mut seen = BTreeSet::new();
    all.reverse();
    all.retain(|directory| {
        seen.insert(fs::canonicalize(directory).unwrap_or_else(|_| directory.clone()))
    });
    all.reverse();
    all
}

/// Directories that match `pattern`, which has at most one `*`.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return vec![PathBuf::from(pattern)];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let Ok(entries) = fs::read_dir(format!("{parent}/")) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path().join(after.trim_start_matches('/')))
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` → 15.
fn major_of(version: &str) -> Option<u32> {
    let number = version.split_whitespace().find(|word| word.starts_with(char::is_numeric))?;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn fake(directory: &Path, version: &str) {
        for program in ["postgres", "initdb"] {
            let path = directory.join(program);
            fs::write(&path, format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n"))
                .unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn version_texts_of_distributions() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_of("postgres (PostgreSQL) 9.6.24"), Some(9));
        assert_eq!(major_of("something else"), None);
    }

    #[test]
    fn an_old_server_is_refused_with_its_version() {
        let directory = tempfile::tempdir().unwrap();
        fake(directory.path(), "14.9");
        let error = choose(Some(directory.path()), None, Path::new("/data")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("PostgreSQL 14") && text.contains("15 or newer"), "{text}");
    }

    #[test]
    fn a_data_directory_of_another_major_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fake(directory.path(), "17.2");
        let error = choose(Some(directory.path()), Some("16"), Path::new("/data")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("made by PostgreSQL 16") && text.contains("17"), "{text}");
        assert_eq!(
            choose(Some(directory.path()), Some("17"), Path::new("/data")).unwrap().major,
            17
        );
    }

    #[test]
    fn nothing_installed_says_how_to_install() {
        let directory = tempfile::tempdir().unwrap();
        let error = choose(Some(directory.path()), None, Path::new("/data")).unwrap_err();
        assert!(error.to_string().contains("apt install postgresql"), "{error}");
    }
}
