//! What is there: types, modes, owners, versions, contents.

use std::collections::BTreeSet;

use nexplane_agent::host::{
    Access, CONTENT_LIMIT, Deny, FileMeta, FileView, HostError, HostPath, Ids, Mode, SysctlKey,
    SysctlValue, Version,
};

use super::super::command::Command;
use super::super::file::{DIRECTORY, LINK, REGULAR, TYPE, untrusted};
use super::super::session::MOST;
use super::Remote;

/// Most paths that one command looks at.
const AT_ONCE: usize = 400;
/// Most bytes that one command reads.
const TOGETHER: u64 = MOST as u64 - 1024;
/// How often a file is read again that changes meanwhile.
const ATTEMPTS: u32 = 3;
const NO_LINK: &str = "a part of it is a symbolic link";

/// What `stat` says of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub mode: u32,
    pub ids: Ids,
    pub links: u64,
    pub size: u64,
    pub version: Version,
    /// Of the content.
    pub modified: String,
}

impl Entry {
    /// A line of [`Command::Examine`], and the path that it is about.
    fn read(line: &str) -> Option<(&str, Self)> {
        let mut parts = line.splitn(10, ' ');
        let mode = u32::from_str_radix(parts.next()?, 16).ok()?;
        let ids = Ids { uid: parts.next()?.parse().ok()?, gid: parts.next()?.parse().ok()? };
        let links = parts.next()?.parse().ok()?;
        let size = parts.next()?.parse().ok()?;
        let (device, inode) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let (seconds, parted) = parts.next()?.split_once('.')?;
        let (seconds, parted): (i128, i128) = (seconds.parse().ok()?, parted.parse().ok()?);
        let version = Version { device, inode, changed_ns: seconds * 1_000_000_000 + parted };
        let modified = parts.next()?.to_owned();
        Some((parts.next()?, Self { mode, ids, links, size, version, modified }))
    }

    pub const fn is_directory(&self) -> bool {
        self.mode & TYPE == DIRECTORY
    }

    pub const fn is_link(&self) -> bool {
        self.mode & TYPE == LINK
    }

    pub fn meta(&self) -> FileMeta {
        FileMeta {
            size: self.size,
            mode: Mode::from_bits(self.mode),
            ids: self.ids,
            has_capabilities: false,
            version: self.version,
        }
    }
}

/// The directories above a path, from the root on.
fn above(path: &HostPath) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = path.parent();
    while let Some(directory) = next {
        found.push(directory.to_string());
        next = directory.parent();
    }
    found.push("/".to_owned());
    found.reverse();
    found
}

impl Remote {
    /// Looks at these paths and at every directory above them, as far as that was not done.
    pub(super) fn examine<'a>(
        &self,
        paths: impl Iterator<Item = &'a HostPath>,
    ) -> Result<(), HostError> {
        let mut names = BTreeSet::new();
        for path in paths {
            names.extend(above(path));
            names.insert(path.to_string());
        }
        {
            let memory = self.memory();
            names.retain(|name| !memory.entries.contains_key(name));
        }
        self.look(&names.into_iter().collect::<Vec<_>>())
    }

    fn look(&self, names: &[String]) -> Result<(), HostError> {
        for names in names.chunks(AT_ONCE) {
            // Always there, so that an answer without it is none.
            let all: Vec<String> = ["/".to_owned()].into_iter().chain(names.to_vec()).collect();
            let command = Command::Examine(&all);
            let answer = self.ask(&command)?;
            let text = answer.text();
            let found: Vec<_> = text.lines().filter_map(Entry::read).collect();
            if found.is_empty() {
                return Err(self.failed(&command, &answer));
            }
            let mut memory = self.memory();
            memory.entries.extend(names.iter().map(|name| (name.clone(), None)));
            memory
                .entries
                .extend(found.into_iter().map(|(name, entry)| (name.to_owned(), Some(entry))));
        }
        Ok(())
    }

    /// Forgets a path, and what its directory held.
    pub(super) fn forget(&self, path: &HostPath) {
        let mut memory = self.memory();
        memory.entries.remove(path.as_str());
        memory.contents.remove(path);
        if let Some(directory) = path.parent() {
            memory.names.remove(&directory);
        }
    }

    /// Looks anew at these, and at the directories above them.
    pub(super) fn look_again(&self, paths: &[&HostPath]) -> Result<(), HostError> {
        {
            let mut memory = self.memory();
            for path in paths {
                memory.entries.remove(path.as_str());
                for directory in above(path) {
                    memory.entries.remove(&directory);
                }
            }
        }
        self.examine(paths.iter().copied())
    }

    fn known(&self, name: &str) -> Option<Entry> {
        self.memory().entries.get(name).cloned().flatten()
    }

    /// What is there, whoever could replace it; none where nothing is.
    pub(super) fn entry(&self, path: &HostPath) -> Result<Option<Entry>, HostError> {
        self.examine([path].into_iter())?;
        for directory in above(path) {
            match self.known(&directory) {
                Some(entry) if entry.is_link() => {
                    return Err(HostError::Unsafe { path: path.clone(), why: NO_LINK });
                }
                Some(entry) if entry.is_directory() => {}
                Some(_) | None => return Ok(None),
            }
        }
        match self.known(path.as_str()) {
            Some(entry) if entry.is_link() => {
                Err(HostError::Unsafe { path: path.clone(), why: NO_LINK })
            }
            other => Ok(other),
        }
    }

    /// A regular file with one name that nobody but root can replace; none where nothing is.
    pub(super) fn file(&self, path: &HostPath) -> Result<Option<Entry>, HostError> {
        let refuse = |why| Err(HostError::Unsafe { path: path.clone(), why });
        let Some(entry) = self.entry(path)? else { return Ok(None) };
        for directory in above(path) {
            let above = self.known(&directory);
            if let Some(why) = above.and_then(|it| untrusted(it.mode, it.ids.uid, 0)) {
                return refuse(why);
            }
        }
        match (entry.mode & TYPE, entry.links) {
            (REGULAR, 1) => Ok(Some(entry)),
            (REGULAR, _) => refuse("it has more than one name (hard links)"),
            _other => refuse("it is not a regular file"),
        }
    }

    /// # Errors
    /// [`HostError::Moved`] when the file is, at this moment, not `expected`.
    pub(super) fn still(
        &self,
        path: &HostPath,
        expected: Option<&FileMeta>,
    ) -> Result<(), HostError> {
        self.look_again(&[path])?;
        self.is_still(path, expected)
    }

    /// The same of what was seen last.
    pub(super) fn is_still(
        &self,
        path: &HostPath,
        expected: Option<&FileMeta>,
    ) -> Result<(), HostError> {
        let now = self.file(path)?.map(|entry| entry.version);
        if now == expected.map(|meta| meta.version) {
            Ok(())
        } else {
            Err(HostError::Moved { path: path.clone() })
        }
    }

    /// The content of a file. One that must not be in a plan is not even fetched.
    pub(super) fn content(
        &self,
        path: &HostPath,
        limit: u64,
    ) -> Result<Option<FileView>, HostError> {
        Deny::default().check(path, Access::Content)?;
        let limit = limit.min(TOGETHER);
        for _ in 0..ATTEMPTS {
            let Some(entry) = self.file(path)? else { return Ok(None) };
            if entry.size > limit {
                return Err(HostError::TooLarge { path: path.clone(), limit });
            }
            if let Some(content) = self.memory().contents.get(path).cloned() {
                return Ok(Some(FileView { meta: entry.meta(), content }));
            }
            self.fetch(&[(path.clone(), entry)])?;
        }
        Err(HostError::Moved { path: path.clone() })
    }

    /// Reads these together, as far as they may be.
    pub(super) fn read_ahead(&self, paths: &BTreeSet<HostPath>) -> Result<(), HostError> {
        let mut files = Vec::new();
        let mut size = 0;
        for path in paths {
            let may = Deny::default().check(path, Access::Content).is_ok();
            if let (true, Ok(Some(entry))) = (may, self.file(path))
                && entry.size <= CONTENT_LIMIT
                && size + entry.size <= TOGETHER
            {
                size += entry.size;
                files.push((path.clone(), entry));
            }
        }
        self.fetch(&files)
    }

    /// Reads these files, one after the other, and keeps the content of those that did not change meanwhile.
    fn fetch(&self, files: &[(HostPath, Entry)]) -> Result<(), HostError> {
        if files.is_empty() {
            return Ok(());
        }
        let paths: Vec<HostPath> = files.iter().map(|(path, _)| path.clone()).collect();
        let command = Command::Read(&paths);
        let answer = self.ask(&command)?;
        if !answer.ok() && files.len() == 1 {
            return Err(self.failed(&command, &answer));
        }
        self.look_again(&paths.iter().collect::<Vec<_>>())?;
        let mut rest = answer.output.as_slice();
        let size: u64 = files.iter().map(|(_, entry)| entry.size).sum();
        if !answer.ok() || rest.len() as u64 != size {
            return Ok(());
        }
        for (path, entry) in files {
            let length = usize::try_from(entry.size).unwrap_or(usize::MAX);
            let Some((content, more)) = rest.split_at_checked(length) else { return Ok(()) };
            rest = more;
            if self.known(path.as_str()).as_ref() == Some(entry) {
                self.memory().contents.insert(path.clone(), content.to_vec());
            }
        }
        Ok(())
    }

    /// Reads these settings together; each is one line.
    pub(super) fn read_settings(&self, keys: &[SysctlKey]) -> Result<(), HostError> {
        let there: Vec<&SysctlKey> =
            keys.iter().filter(|key| matches!(self.file(&key.path()), Ok(Some(_)))).collect();
        if there.is_empty() {
            return Ok(());
        }
        let paths: Vec<HostPath> = there.iter().map(|key| key.path()).collect();
        let command = Command::Read(&paths);
        let answer = self.ask(&command)?;
        if !answer.ok() && there.len() == 1 {
            return Err(self.failed(&command, &answer));
        }
        let text = answer.text();
        let lines: Vec<&str> = text.lines().collect();
        if answer.ok() && lines.len() == there.len() {
            let found = there.into_iter().zip(lines);
            let found = found.map(|(key, line)| (key.clone(), SysctlValue::of_kernel(line)));
            self.memory().settings.extend(found);
        } else if let [key] = there.as_slice() {
            let found = ((*key).clone(), SysctlValue::of_kernel(&text));
            self.memory().settings.extend([found]);
        }
        Ok(())
    }

    pub(super) fn listed(&self, path: &HostPath) -> Result<Vec<String>, HostError> {
        if !self.entry(path)?.is_some_and(|entry| entry.is_directory()) {
            return Ok(Vec::new());
        }
        if let Some(names) = self.memory().names.get(path) {
            return Ok(names.clone());
        }
        let answer = self.ask(&Command::List(path))?;
        if !answer.ok() {
            let why = "the connection's account may not list it";
            return Err(HostError::Unsafe { path: path.clone(), why });
        }
        let mut names: Vec<String> = answer.text().lines().map(str::to_owned).collect();
        names.sort();
        self.memory().names.insert(path.clone(), names.clone());
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_by_its_places() {
        let line =
            "81a4 1000 33 1 12 64768 4711 1764280000.000000005 1764279999.100000000 /etc/a b";
        let (name, entry) = Entry::read(line).unwrap();
        assert_eq!(name, "/etc/a b");
        assert_eq!((entry.ids, entry.links, entry.size), (Ids { uid: 1000, gid: 33 }, 1, 12));
        let version =
            Version { device: 64768, inode: 4711, changed_ns: 1_764_280_000 * 1_000_000_000 + 5 };
        assert_eq!(entry.meta().version, version);
        assert!(!entry.is_directory() && !entry.is_link());
        for bad in ["", "81a4 1000 33 1 12 64768 4711 1764280000 1 /x", "stat: cannot statx '/x'"] {
            assert!(Entry::read(bad).is_none(), "{bad}");
        }
        assert_eq!(above(&"/etc/ssh/x".parse().unwrap()), ["/", "/etc", "/etc/ssh"]);
    }
}
