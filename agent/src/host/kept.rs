//! Packages that are kept for the way back, as files of the agent's own: a directory for each job, in it a file
//! for each version that the job replaced or removed.
//!
//! A file is there whole and with the sum that the host's sources gave for it, or not at all. Jobs that need
//! the same version share it. Deliberately absent: fetching, which is the package manager's part.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nexplane_core::id::JobId;
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use super::package::{PackageName, PackageVersion};

/// Most bytes of all kept packages together: 1 GiB, as for the before-states.
pub(super) const LIMIT: u64 = 1024 * 1024 * 1024;

/// Where they are, unless it is said.
const DIRECTORY: &str = "/var/lib/nexplane-agent/packages";

/// Where they are.
#[derive(Clone, Debug)]
pub(super) struct KeptPackages {
    directory: PathBuf,
    kind: Kind,
}

/// What the files are called.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Deb,
    Rpm,
}

impl Default for KeptPackages {
    fn default() -> Self {
        Self::within(DIRECTORY.into())
    }
}

impl KeptPackages {
    pub fn within(directory: PathBuf) -> Self {
        Self { directory, kind: Kind::Deb }
    }

    /// The same for packages of rpm.
    pub fn of_rpm(self) -> Self {
        Self { kind: Kind::Rpm, ..self }
    }

    /// A file of the package manager's own, beside what is kept.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The file of this version, of whichever job.
    pub fn find(
        &self,
        name: &PackageName,
        version: &PackageVersion,
    ) -> io::Result<Option<PathBuf>> {
        let file = self.kind.file_name(name, version);
        let mut paths = self.jobs()?.into_iter().map(|(_, directory)| directory.join(&file));
        Ok(paths.find(|path| path.is_file()))
    }

    /// Keeps for this job what is kept for some already. False when it is for none.
    pub fn share(
        &self,
        job: &JobId,
        name: &PackageName,
        version: &PackageVersion,
    ) -> io::Result<bool> {
        let own = self.directory(job).join(self.kind.file_name(name, version));
        if own.is_file() {
            return Ok(true);
        }
        let Some(other) = self.find(name, version)? else { return Ok(false) };
        make(&self.directory(job))?;
        fs::hard_link(other, &own)?;
        sync(&self.directory(job))?;
        Ok(true)
    }

    /// Keeps a copy of `from` for this job, durably.
    ///
    /// # Errors
    /// It has none of the sums, in hexadecimal; then nothing is kept.
    pub fn add(
        &self,
        job: &JobId,
        name: &PackageName,
        version: &PackageVersion,
        from: &Path,
        sums: &[String],
    ) -> io::Result<()> {
        let directory = self.directory(job);
        make(&directory)?;
        let path = directory.join(self.kind.file_name(name, version));
        let beside = path.with_extension("new");
        let sum = copy(from, &beside)?;
        if !sums.contains(&sum) {
            fs::remove_file(&beside)?;
            return Err(io::Error::other("what was fetched does not have the sum that it should"));
        }
        fs::rename(&beside, &path)?;
        sync(&directory)
    }

    /// Bytes of all files; what several jobs share counts once.
    pub fn used(&self) -> io::Result<u64> {
        let mut files = BTreeMap::new();
        for (_, directory) in self.jobs()? {
            for entry in fs::read_dir(directory)? {
                let meta = entry?.metadata()?;
                files.insert((meta.dev(), meta.ino()), meta.len());
            }
        }
        Ok(files.values().sum())
    }

    /// Deletes what is kept for jobs that do not need it. What is no job's stays.
    pub fn forget(&self, is_needed: &dyn Fn(&JobId) -> bool) -> io::Result<()> {
        let mut over = self.jobs()?.into_iter().filter(|(job, _)| !is_needed(job));
        over.try_for_each(|(_, directory)| fs::remove_dir_all(directory))
    }

    fn directory(&self, job: &JobId) -> PathBuf {
        self.directory.join(job.to_string())
    }

    fn jobs(&self) -> io::Result<Vec<(JobId, PathBuf)>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut jobs = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let job = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            jobs.extend(job.map(|job| (job, path)));
        }
        Ok(jobs)
    }
}

impl Kind {
    /// Neither a name nor a version of Debian has a `_`, and of rpm a `,`: so no two make the same.
    fn file_name(self, name: &PackageName, version: &PackageVersion) -> String {
        let version = version.as_str();
        match self {
            Self::Deb => format!("{name}_{}.deb", version.replace(':', "_")),
            Self::Rpm => format!("{name},{}.rpm", version.replace(':', ",")),
        }
    }
}

/// The sum of a file, in hexadecimal.
pub(super) fn sum(file: &Path) -> io::Result<String> {
    summed(&mut File::open(file)?, &mut io::sink())
}

fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    directory.parent().map_or(Ok(()), sync)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Copies a regular file, and says the sum of what was written.
fn copy(from: &Path, to: &Path) -> io::Result<String> {
    let careful = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let careful =
        i32::try_from(careful.bits()).expect("open flags fit in the C int that open(2) takes");
    let source = OpenOptions::new().read(true).custom_flags(careful).open(from)?;
    if !source.metadata()?.is_file() {
        return Err(io::Error::other("what was fetched is not a file"));
    }
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let sum = summed(&mut source.take(LIMIT), &mut target)?;
    target.sync_all()?;
    Ok(sum)
}

/// Copies, and says the sum of what was read.
fn summed(source: &mut dyn Read, target: &mut dyn Write) -> io::Result<String> {
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = source.read(&mut buffer)?;
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else { break };
        sum.update(part);
        target.write_all(part)?;
    }
    Ok(hex::encode(sum.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn no_two_packages_have_the_same_file() {
        let file = |name: &str, version: &str| {
            Kind::Rpm.file_name(&name.parse().unwrap(), &version.parse().unwrap())
        };
        assert_eq!(file("nx-app", "1:2.0-1"), "nx-app,1,2.0-1.rpm");
        assert_ne!(file("a_b", "1-1"), file("aa", "b_1-1"));
        assert_ne!(file("aa", "1:2-1"), file("aa", "1_2-1"));
    }

    #[test]
    fn what_is_kept_is_whole_and_goes_with_the_last_job_that_needs_it() {
        let root = tempfile::tempdir().unwrap();
        let kept = KeptPackages::within(root.path().join("packages"));
        let [one, two] = [1, 2].map(|number| JobId(Uuid::from_u128(number)));
        let name: PackageName = "nx-app".parse().unwrap();
        let version: PackageVersion = "1:1.0~rc1".parse().unwrap();
        let other: PackageVersion = "1.0".parse().unwrap();
        let found = |version| kept.find(&name, version).unwrap();
        assert_eq!((found(&version), kept.used().unwrap()), (None, 0));

        let from = root.path().join("fetched");
        fs::write(&from, "content").unwrap();
        let [sum, wrong] = ["content", "another"].map(|text| [hex::encode(Sha256::digest(text))]);
        assert!(kept.add(&one, &name, &version, &from, &wrong).is_err());
        assert_eq!((found(&version), kept.used().unwrap()), (None, 0));
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&from, &link).unwrap();
        assert!(kept.add(&one, &name, &version, &link, &sum).is_err());

        assert!(!kept.share(&two, &name, &version).unwrap());
        kept.add(&one, &name, &version, &from, &sum).unwrap();
        assert!(kept.share(&one, &name, &version).unwrap());
        assert!(kept.share(&two, &name, &version).unwrap());
        assert_eq!((found(&other), kept.used().unwrap()), (None, 7));
        let path = found(&version).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "content");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

        kept.forget(&|job| *job == two).unwrap();
        assert!(found(&version).is_some());
        kept.forget(&|_| false).unwrap();
        assert_eq!((found(&version), kept.used().unwrap()), (None, 0));
    }
}
