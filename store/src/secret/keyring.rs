//! Key-encryption keys: the few keys that are not in the database.
//!
//! As text, a keyring is a list of keys, each 32 random bytes in base64 (RFC 4648, section 4),
//! separated by white space or commas. The first one wraps what is written from now on, the others
//! open what was written before. Lines that begin with `#` are comments.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::crypto::{self, Key};

const COMMENT: &str = "# Key-encryption keys of Nexplane, the current one first. Without this file no \
                       secret in the database can be opened: keep a copy of it apart from the \
                       database's backups.\n";
/// A keyring file is never larger than this.
const FILE_BYTES: u64 = 64 * 1024;

/// The name of a key-encryption key: 64 bits of its hash, as 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    fn of(key: &Key) -> Self {
        Self(hex::encode(crypto::fingerprint(key)))
    }

    pub(super) fn from_column(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why there is no keyring. No variant contains a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("key number {place} is not 32 bytes in base64 (openssl rand -base64 32 makes one)")]
    BadKey { place: usize },

    #[error("there is no key in it")]
    Empty,

    #[error("{} can be read by others (mode {mode:04o}): chmod 600 it, and rotate the key if others use this machine", path.display())]
    Exposed { path: PathBuf, mode: u32 },

    #[error("{} is not a keyring", path.display())]
    BadFile {
        path: PathBuf,
        #[source]
        source: Box<KeyringError>,
    },

    #[error("cannot {attempt} {}", path.display())]
    Io {
        attempt: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    #[error("cannot get random bytes from the operating system")]
    Random,
}

/// The key that wraps new data keys, and older ones that still open.
pub struct Keyring {
    current: KeyId,
    keys: BTreeMap<KeyId, Key>,
}

impl Keyring {
    /// Reads the keys of an environment variable or a file.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        let words = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .flat_map(|line| line.split(|c: char| c == ',' || c.is_whitespace()))
            .filter(|word| !word.is_empty());
        let mut keys = BTreeMap::new();
        let mut current = None;
        for (index, word) in words.enumerate() {
            let bytes = STANDARD.decode(word).map(Zeroizing::new);
            let key = bytes.ok().and_then(|bytes| crypto::key_from(&bytes));
            let key = key.ok_or(KeyringError::BadKey { place: index + 1 })?;
            let id = KeyId::of(&key);
            current.get_or_insert_with(|| id.clone());
            keys.insert(id, key);
        }
        Ok(Self { current: current.ok_or(KeyringError::Empty)?, keys })
    }

    /// One new key, kept nowhere else.
    pub fn generate() -> Result<Self, KeyringError> {
        let key = crypto::random_key().map_err(|_| KeyringError::Random)?;
        let current = KeyId::of(&key);
        Ok(Self { keys: BTreeMap::from([(current.clone(), key)]), current })
    }

    /// Reads the file, and makes it with one new key and mode 0600 when there is none. A file that
    /// others can read is refused. Several processes may do this at once.
    pub fn open(path: &Path) -> Result<Self, KeyringError> {
        if !path.try_exists().map_err(io_error("read", path))? {
            match Self::generate()?.write(path, false) {
                Ok(()) => {}
                Err(KeyringError::Io { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Self::read(path)
    }

    /// Puts a new current key in front of the file's keys. Afterwards
    /// [`super::SecretStore::rotate_kek`] wraps everything with it; the old keys may be removed
    /// from the file when that has succeeded and no backup needs them.
    pub fn renew(path: &Path) -> Result<Self, KeyringError> {
        let mut old = Self::open(path)?;
        let Self { current, keys } = Self::generate()?;
        old.keys.extend(keys);
        old.current = current;
        old.write(path, true)?;
        Ok(old)
    }

    /// The key that wraps what is written from now on.
    pub fn current(&self) -> &KeyId {
        &self.current
    }

    pub fn contains(&self, id: &KeyId) -> bool {
        self.keys.contains_key(id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &KeyId> {
        self.keys.keys()
    }

    pub(super) fn current_key(&self) -> Option<&Key> {
        self.keys.get(&self.current)
    }

    pub(super) fn key(&self, id: &KeyId) -> Option<&Key> {
        self.keys.get(id)
    }

    fn read(path: &Path) -> Result<Self, KeyringError> {
        let file = fs::File::open(path).map_err(io_error("open", path))?;
        let mode = file.metadata().map_err(io_error("read", path))?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyringError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(FILE_BYTES).read_to_string(&mut text).map_err(io_error("read", path))?;
        Self::parse(&text).map_err(|source| KeyringError::BadFile {
            path: path.to_owned(),
            source: source.into(),
        })
    }

    /// Writes the whole file beside its place and then moves it there, durably.
    fn write(&self, path: &Path, replace: bool) -> Result<(), KeyringError> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let older = self.keys.iter().filter(|(id, _)| **id != self.current);
        let newest = self.keys.get_key_value(&self.current);
        let mut text = Zeroizing::new(COMMENT.to_owned());
        for (_, key) in newest.into_iter().chain(older) {
            text.push_str(&Zeroizing::new(STANDARD.encode(key.as_slice())));
            text.push('\n');
        }
        let mut file = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(parent)
            .map_err(io_error("write in", parent))?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.as_file().sync_all())
            .map_err(io_error("write", path))?;
        let placed = if replace { file.persist(path) } else { file.persist_noclobber(path) };
        placed.map_err(|failed| io_error("write", path)(failed.error))?;
        fs::File::open(parent)
            .and_then(|parent| parent.sync_all())
            .map_err(io_error("write in", parent))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("current", &self.current)
            .field("keys", &self.keys.keys().collect::<Vec<_>>())
            .finish()
    }
}

fn io_error(
    attempt: &'static str,
    path: impl AsRef<Path>,
) -> impl FnOnce(io::Error) -> KeyringError {
    let path = path.as_ref().to_owned();
    move |source| KeyringError::Io { attempt, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(byte: u8) -> String {
        STANDARD.encode([byte; 32])
    }

    #[test]
    fn the_first_key_is_current_and_comments_are_skipped() {
        let keyring =
            Keyring::parse(&format!("# one, two\n{}\n{},{}\n", text(1), text(2), text(3))).unwrap();
        assert_eq!(keyring.keys.len(), 3);
        assert_eq!(keyring.current(), Keyring::parse(&text(1)).unwrap().current());
    }

    #[test]
    fn bad_keys_are_refused_without_being_shown() {
        let short = STANDARD.encode([7; 31]);
        let error = Keyring::parse(&format!("{} {short}", text(1))).unwrap_err();
        assert!(error.to_string().contains("key number 2"), "{error}");
        assert!(!format!("{error:?}").contains(&short));
        assert!(matches!(Keyring::parse("# nothing\n"), Err(KeyringError::Empty)));
    }

    #[test]
    fn the_file_is_made_once_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        let first = Keyring::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Keyring::open(&path).unwrap().current(), first.current());
        let renewed = Keyring::renew(&path).unwrap();
        assert_ne!(renewed.current(), first.current());
        let read = Keyring::open(&path).unwrap();
        assert_eq!(read.current(), renewed.current());
        assert!(read.contains(first.current()));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        Keyring::open(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Keyring::open(&path), Err(KeyringError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn debug_names_keys_and_shows_none() {
        let keyring = Keyring::parse(&text(9)).unwrap();
        let shown = format!("{keyring:?}");
        assert!(shown.contains(keyring.current().as_str()));
        assert!(!shown.contains(&text(9)) && !shown.contains("9, 9"), "{shown}");
    }
}
