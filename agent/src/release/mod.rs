//! Releases of the agent: which program, for which machines, and who says so.
//!
//! A release is three files: the program, a [`Manifest`] that names it by its hash, and [signatures](Signatures)
//! over the manifest's exact text. Whoever builds the agent signs with an Ed25519 key that the control plane never
//! has; the host's owner pins the public half in `config.toml`. So whoever takes the control plane can offer what
//! was released, and nothing else.
//!
//! Nothing here touches the network, and nothing here decides which version may follow which: that is
//! [`crate::update`].

pub mod key;

use std::fmt::{self, Display};
use std::io::{self, Read};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::key::PublicKey;

/// What a host is told that this program is called.
pub const PROGRAM: &str = "nexplane-agent";
/// The target triple that this program is built for.
pub const TARGET: &str = env!("NEXPLANE_TARGET");
/// In one piece in the program's file, so that its version can be read from that.
const MARKED: &str = concat!("nexplane-agent version ", env!("CARGO_PKG_VERSION"));
/// The version of this program.
pub const VERSION: &str = MARKED.split_at("nexplane-agent version ".len()).1;

/// Prefix of the bytes that a release key signs.
pub const CONTEXT: &[u8] = b"nexplane agent release v1\0";
/// The form of manifest that is understood.
pub const FORMAT: u32 = 1;
/// Largest program: 128 MiB. One that is built for release has about 6 MB, one with what finds errors 60.
pub const PROGRAM_LIMIT: u64 = 128 * 1024 * 1024;
/// Longest manifest, and longest file of signatures: 8 KiB.
pub const TEXT_LIMIT: usize = 8 * 1024;
/// Most signatures of one release; more than one for the time in which a key follows another.
const MOST_SIGNATURES: usize = 8;

/// A version as semantic versioning 2.0.0 has it, without build metadata, which has no order (item 10).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(semver::Version);

/// A text that is no [`Version`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a version such as 1.4.2 or 1.5.0-rc.1, without '+' and what follows it")]
pub struct BadVersion(String);

impl Version {
    /// Of this program.
    pub fn own() -> Self {
        VERSION.parse().expect("a package's version is one, and this package's has no '+'")
    }
}

impl FromStr for Version {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let bad = || BadVersion(text.chars().take(80).collect());
        let version = semver::Version::parse(text).map_err(|_| bad())?;
        let fits = text.len() <= 64 && version.build.is_empty();
        if fits { Ok(Self(version)) } else { Err(bad()) }
    }
}

impl TryFrom<String> for Version {
    type Error = BadVersion;

    fn try_from(text: String) -> Result<Self, BadVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl JsonSchema for Version {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Version".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "maxLength": 64,
            "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$",
        })
    }
}

/// What is signed of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`]. A manifest with anything more in it is refused, because it may be a restriction.
    pub format: u32,
    /// [`PROGRAM`].
    pub program: String,
    pub version: Version,
    /// The target triple that it is built for, such as `x86_64-unknown-linux-musl`.
    pub target: String,
    /// Of the program's file, in 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Of the program's file, in bytes.
    pub size: u64,
    /// The lowest version that it may follow; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Version>,
}

/// Why a release is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    #[error("the manifest is longer than {TEXT_LIMIT} bytes")]
    TooLong,
    #[error("the manifest is not understood: {0}")]
    Malformed(String),
    #[error(
        "the file of signatures is not understood: one 'KEY-ID SIGNATURE' in each line, at most {MOST_SIGNATURES}"
    )]
    BadSignatures,
    #[error(
        "the release is signed by {signed}, and none of these keys is pinned on this host ({pinned})"
    )]
    UnknownKey { signed: String, pinned: String },
    #[error(
        "the signature by release key {key_id} does not fit the manifest: it was changed, or the key is another"
    )]
    WrongSignature { key_id: String },
    #[error("the program has {found} bytes, and the manifest says {expected}")]
    OtherSize { found: u64, expected: u64 },
    #[error("the program's SHA-256 is {found}, and the manifest says {expected}: it was altered")]
    Altered { found: String, expected: String },
}

impl Manifest {
    /// Reads one, and checks its form. It is not believed yet.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ReleaseError> {
        if text.len() > TEXT_LIMIT {
            return Err(ReleaseError::TooLong);
        }
        let manifest: Self = serde_json::from_str(text)
            .map_err(|error| ReleaseError::Malformed(error.to_string()))?;
        manifest.checked()
    }

    /// # Errors
    /// As [`Manifest::parse`].
    pub fn checked(self) -> Result<Self, ReleaseError> {
        let wrong = |why: String| Err(ReleaseError::Malformed(why));
        if self.format != FORMAT {
            return wrong(format!("its format is {}, and {FORMAT} is understood", self.format));
        }
        if self.program != PROGRAM {
            return wrong(format!("it is for another program than {PROGRAM}"));
        }
        if !is_target(&self.target) {
            return wrong("its target is no target triple".to_owned());
        }
        if !is_sha256(&self.sha256) {
            return wrong("its sha256 is not 64 lower-case hexadecimal digits".to_owned());
        }
        if self.size == 0 || self.size > PROGRAM_LIMIT {
            let size = self.size;
            return wrong(format!("its size is {size}, and 1 to {PROGRAM_LIMIT} bytes are taken"));
        }
        Ok(self)
    }

    /// The text that is signed, and written beside the program.
    pub fn to_text(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("a manifest is a struct of JSON values");
        text.push('\n');
        text
    }

    /// Reads a program to its end and compares it.
    ///
    /// # Errors
    /// The outer one when it cannot be read, the inner one when it is another.
    pub fn compare(&self, program: impl Read) -> io::Result<Result<(), ReleaseError>> {
        let (sha256, size) = digest(program)?;
        Ok(self.is(&sha256, size))
    }

    /// # Errors
    /// When a program of this hash and size is another.
    pub fn is(&self, sha256: &str, size: u64) -> Result<(), ReleaseError> {
        if size != self.size {
            return Err(ReleaseError::OtherSize { found: size, expected: self.size });
        }
        if sha256 != self.sha256 {
            let (found, expected) = (sha256.to_owned(), self.sha256.clone());
            return Err(ReleaseError::Altered { found, expected });
        }
        Ok(())
    }
}

/// A target triple, safe as a part of a path.
pub fn is_target(text: &str) -> bool {
    let good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(good) && !text.starts_with('-')
}

pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// SHA-256, hexadecimal, and number of bytes. Of what is longer than [`PROGRAM_LIMIT`], only that there is more.
pub fn digest(program: impl Read) -> io::Result<(String, u64)> {
    let mut program = program.take(PROGRAM_LIMIT + 1);
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    let (mut size, mut buffer) = (0, vec![0; 64 * 1024]);
    loop {
        match program.read(&mut buffer) {
            Ok(0) => return Ok((hex::encode(hash.finish()), size)),
            Ok(read) => {
                hash.update(buffer.get(..read).unwrap_or_default());
                size += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The signatures of one manifest: `KEY-ID SIGNATURE` in each line, the signature in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signatures(Vec<(String, Vec<u8>)>);

impl Signatures {
    /// # Errors
    /// [`ReleaseError::BadSignatures`].
    pub fn parse(text: &str) -> Result<Self, ReleaseError> {
        let lines: Vec<&str> = text.lines().collect();
        if text.len() > TEXT_LIMIT || lines.is_empty() || lines.len() > MOST_SIGNATURES {
            return Err(ReleaseError::BadSignatures);
        }
        let one = |line: &str| {
            let (key_id, signature) = line.split_once(' ')?;
            let signature = STANDARD.decode(signature).ok().filter(|bytes| bytes.len() == 64)?;
            key::is_id(key_id).then(|| (key_id.to_owned(), signature))
        };
        let all: Option<Vec<_>> = lines.into_iter().map(one).collect();
        all.map(Self).ok_or(ReleaseError::BadSignatures)
    }

    /// The ids of the keys.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key_id, _)| key_id.as_str())
    }

    /// The pinned key whose signature of this text is right.
    ///
    /// # Errors
    /// When there is none.
    pub fn signer<'a>(
        &self,
        manifest: &str,
        pinned: &'a [PublicKey],
    ) -> Result<&'a PublicKey, ReleaseError> {
        let mut wrong = None;
        for (key_id, signature) in &self.0 {
            for key in pinned.iter().filter(|key| key.id() == *key_id) {
                if key.has_signed(manifest, signature) {
                    return Ok(key);
                }
                wrong = Some(key_id.clone());
            }
        }
        Err(match wrong {
            Some(key_id) => ReleaseError::WrongSignature { key_id },
            None => ReleaseError::UnknownKey {
                signed: self.key_ids().collect::<Vec<_>>().join(", "),
                pinned: pinned.iter().map(PublicKey::id).collect::<Vec<_>>().join(", "),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::key::SigningKey;
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            program: PROGRAM.to_owned(),
            version: "1.4.2".parse().unwrap(),
            target: TARGET.to_owned(),
            sha256: hex::encode(Sha256::digest(b"program")),
            size: 7,
            from: None,
        }
    }

    #[test]
    fn versions_have_an_order_and_nothing_that_has_none() {
        let version = |text: &str| text.parse::<Version>();
        let sorted = ["0.9.0", "0.10.0-rc.1", "0.10.0-rc.2", "0.10.0", "1.0.0"];
        for pair in sorted.windows(2) {
            assert!(version(pair[0]).unwrap() < version(pair[1]).unwrap(), "{pair:?}");
        }
        let long = format!("1.0.0-{}", "a".repeat(64));
        for wrong in ["", "1", "1.0", "v1.0.0", "1.0.0+b", "01.0.0", "1.0.0/..", long.as_str()] {
            let refused = version(wrong).unwrap_err().to_string();
            assert!(refused.contains("1.4.2"), "{refused}");
        }
        assert_eq!(Version::own().to_string(), VERSION);
        assert_eq!(VERSION, env!("CARGO_PKG_VERSION"));
        assert!(is_target(TARGET), "{TARGET}");
    }

    #[test]
    fn a_manifest_is_what_it_says_and_nothing_more() {
        type Change = Box<dyn Fn(&mut serde_json::Value)>;

        let good = manifest();
        assert_eq!(Manifest::parse(&good.to_text()), Ok(good.clone()));
        let with = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut value = serde_json::to_value(&good).unwrap();
            change(&mut value);
            Manifest::parse(&value.to_string()).unwrap_err().to_string()
        };
        let set = |field: &'static str, to: serde_json::Value| -> Change {
            Box::new(move |value| value[field] = to.clone())
        };
        let cases: Vec<(Change, &str)> = vec![
            (set("format", 2.into()), "format is 2"),
            (set("program", "sshd".into()), "another program"),
            (set("target", "../x".into()), "target triple"),
            (set("sha256", "AB".into()), "64 lower-case"),
            (set("size", 0.into()), "bytes are taken"),
            (set("size", (PROGRAM_LIMIT + 1).into()), "bytes are taken"),
            (set("version", "1.0".into()), "is not a version"),
            (set("only_on", "fridays".into()), "unknown field"),
        ];
        for (change, why) in cases {
            let refused = with(&*change);
            assert!(refused.contains(why), "{why}: {refused}");
        }
        let long = format!("{}{}", good.to_text(), " ".repeat(TEXT_LIMIT));
        assert_eq!(Manifest::parse(&long), Err(ReleaseError::TooLong));
    }

    #[test]
    fn a_program_is_compared_by_size_and_hash() {
        let manifest = manifest();
        assert_eq!(manifest.compare(&b"program"[..]).unwrap(), Ok(()));
        let shorter = manifest.compare(&b"progra"[..]).unwrap();
        assert_eq!(shorter, Err(ReleaseError::OtherSize { found: 6, expected: 7 }));
        let altered = manifest.compare(&b"pr0gram"[..]).unwrap();
        assert!(matches!(altered, Err(ReleaseError::Altered { .. })), "{altered:?}");
    }

    #[test]
    fn only_a_pinned_key_that_signed_this_very_text_counts() {
        let [ours, theirs] = [(); 2].map(|()| SigningKey::generate().unwrap());
        let text = manifest().to_text();
        let signed = |key: &SigningKey| Signatures::parse(&key.sign(&text)).unwrap();
        let pinned = [ours.public_key()];
        assert_eq!(signed(&ours).signer(&text, &pinned), Ok(&pinned[0]));
        let unknown = signed(&theirs).signer(&text, &pinned);
        assert!(matches!(unknown, Err(ReleaseError::UnknownKey { .. })), "{unknown:?}");
        let altered = signed(&ours).signer(&text.replace("1.4.2", "1.4.3"), &pinned);
        assert!(matches!(altered, Err(ReleaseError::WrongSignature { .. })), "{altered:?}");
        // By a key that only calls itself ours.
        let forged = theirs.sign(&text).replace(&theirs.public_key().id(), &pinned[0].id());
        let forged = Signatures::parse(&forged).unwrap().signer(&text, &pinned);
        assert!(matches!(forged, Err(ReleaseError::WrongSignature { .. })), "{forged:?}");
        // Two signatures, while one key follows the other.
        let both = format!("{}{}", theirs.sign(&text), ours.sign(&text));
        assert_eq!(Signatures::parse(&both).unwrap().signer(&text, &pinned), Ok(&pinned[0]));
        // What was signed for something else.
        let other = ours.sign_in(b"nexplane job v1\0", &text);
        assert!(Signatures::parse(&other).unwrap().signer(&text, &pinned).is_err());
        for wrong in ["", "x y", "\n", &"0123456789abcdef AAAA\n".repeat(9)] {
            assert_eq!(Signatures::parse(wrong), Err(ReleaseError::BadSignatures), "{wrong}");
        }
    }
}
