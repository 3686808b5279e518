//! Text with signatures: [C2SP signed-note](https://c2sp.org/signed-note) v1.0.0.
//!
//! ```text
//! If you think cryptography is the answer to your problem,
//! then you don't know what your problem is.
//!
//! — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
//! ```
//!
//! A signature line names its key twice, by a name and by four bytes that depend on name, type and
//! public key. A key is written as `<name>+<8 hexadecimal digits>+<base64 of type and public key>`.
//!
//! | Type | Over | From |
//! |---|---|---|
//! | `0x01` | the text | signed-note, "Ed25519 signatures" |
//! | `0x04` | `cosignature/v1`, the time and the text, which must be that of a checkpoint | [C2SP tlog-cosignature](https://c2sp.org/tlog-cosignature), "Ed25519 signed message" |
//!
//! The text of a note counts for nothing before [`Note::verify`] has said who signed it. Signatures
//! of unknown keys are passed over; one wrong signature of a known key refuses the whole note.
//!
//! Where we are stricter than the specification: hexadecimal is lower case, base64 is the only
//! encoding of its bytes, public keys are the only encoding of their point and not of small order,
//! and signatures are checked as RFC 8032 says with those of small order refused too. At most
//! [`MAX_SIGNATURES`] signatures and [`MAX_BYTES`] bytes, like the implementation in Go.
//!
//! Deliberately not here: other types (ECDSA, RFC 6962 tree heads, ML-DSA-44), keys made without the
//! recommended key id, private keys, and whether the time of a cosignature is believable.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use sha2::{Digest, Sha256};

/// The longest note that is read or made.
pub const MAX_BYTES: usize = 1_000_000;

/// The most signatures of a note. The specification asks for at least 16.
pub const MAX_SIGNATURES: usize = 100;

/// What stands before every signature line: an em dash and a space.
const MARK: &str = "\u{2014} ";

/// How a key signs, and over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureType {
    /// `0x01`: Ed25519 over the text.
    Ed25519,
    /// `0x04`: Ed25519 over a time and the text of a checkpoint.
    CosignatureV1,
}

impl SignatureType {
    /// The byte that stands for it in keys and key ids.
    pub fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::CosignatureV1 => 0x04,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Ed25519, Self::CosignatureV1].into_iter().find(|kind| kind.byte() == byte)
    }
}

/// Four bytes that tell keys of one name apart. Not a strong hash: only a known key proves anything.
pub type KeyId = [u8; 4];

/// A public key with its name and its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: SignatureType,
    key: VerifyingKey,
}

/// This is not a key that signatures can be checked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    #[error("a verifier key is written as <name>+<key id>+<base64>")]
    Form,
    #[error("the name of a key is not empty and has no space, no plus and no control character")]
    Name,
    #[error("signatures of type {0:#04x} are not supported")]
    Type(u8),
    #[error("this is not an Ed25519 public key of 32 bytes, in the one form that it has")]
    PublicKey,
    #[error("the key id does not belong to this name and public key")]
    Id,
}

impl VerifierKey {
    /// A key from its parts; `public_key` is an Ed25519 public key as in RFC 8032 §5.1.5.
    pub fn try_new(
        name: impl Into<String>,
        kind: SignatureType,
        public_key: &[u8; 32],
    ) -> Result<Self, BadKey> {
        let name = name.into();
        if !is_name(&name) {
            return Err(BadKey::Name);
        }
        let key = VerifyingKey::from_bytes(public_key).map_err(|_| BadKey::PublicKey)?;
        // Reading a point accepts more than one form of some of them (ZIP 215).
        if key.is_weak() || key.to_edwards().compress().as_bytes() != public_key {
            return Err(BadKey::PublicKey);
        }
        Ok(Self { name, kind, key })
    }

    /// The name, for a log its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of its signatures.
    pub fn kind(&self) -> SignatureType {
        self.kind
    }

    /// The public key as in RFC 8032 §5.1.5.
    pub fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// The first four bytes of `SHA-256(name || 0x0A || type || public key)`.
    pub fn id(&self) -> KeyId {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', self.kind.byte()])
            .chain_update(self.public_key())
            .finalize()
            .into();
        hash.first_chunk().copied().unwrap_or_default()
    }

    /// The right signature of this key over this text, if that is what these bytes are.
    fn check(&self, text: &str, signature: &[u8]) -> Option<Verified<'_>> {
        let (time_s, signature) = match self.kind {
            SignatureType::Ed25519 => (None, signature),
            SignatureType::CosignatureV1 => {
                let (time, signature) = signature.split_first_chunk()?;
                let time_s = u64::from_be_bytes(*time);
                i64::try_from(time_s).ok()?; // tlog-cosignature: at most 2^63 − 1
                (Some(time_s), signature)
            }
        };
        let signature = ed25519_dalek::Signature::from_bytes(signature.try_into().ok()?);
        self.key.verify_strict(&message(text, time_s), &signature).ok()?;
        Some(Verified { key: self, time_s })
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.kind.byte()];
        key.extend(self.public_key());
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), STANDARD.encode(key))
    }
}

impl FromStr for VerifierKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let (name, rest) = text.split_once('+').ok_or(BadKey::Form)?;
        let (id, key) = rest.split_once('+').ok_or(BadKey::Form)?;
        let key = STANDARD.decode(key).map_err(|_| BadKey::Form)?;
        let (kind, public_key) = key.split_first().ok_or(BadKey::Form)?;
        let kind = SignatureType::from_byte(*kind).ok_or(BadKey::Type(*kind))?;
        let public_key = public_key.try_into().map_err(|_| BadKey::PublicKey)?;
        let key = Self::try_new(name, kind, public_key)?;
        if hex::encode(key.id()) == id { Ok(key) } else { Err(BadKey::Id) }
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| !c.is_whitespace() && c >= ' ' && c != '+';
    !name.is_empty() && name.chars().all(allowed)
}

/// The bytes that are signed.
fn message(text: &str, time_s: Option<u64>) -> Vec<u8> {
    match time_s {
        None => text.as_bytes().to_vec(),
        Some(time_s) => format!("cosignature/v1\ntime {time_s}\n{text}").into_bytes(),
    }
}

/// Whoever holds the private key. The core has no private keys.
pub trait Signer {
    /// The Ed25519 signature over these bytes, as in RFC 8032 §5.1.6.
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

/// A signature was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    #[error(transparent)]
    Note(#[from] BadNote),
    #[error("this key makes signatures of another type")]
    KeyType,
    #[error("a key signs the checkpoints of the log whose origin is its name")]
    Origin,
    #[error("the time of a cosignature is at most 2^63 − 1 seconds")]
    Time,
    #[error("the signer does not hold the private key of this public key")]
    WrongSigner,
}

/// A signature line: who says to have signed, and the signature. It is not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    name: String,
    key_id: KeyId,
    bytes: Vec<u8>,
}

impl Signature {
    /// Signs a text with a key of type [`SignatureType::Ed25519`]. What the signer gives back is
    /// checked with the public key before it leaves.
    pub fn sign(text: &str, key: &VerifierKey, signer: &impl Signer) -> Result<Self, Unsigned> {
        Self::make(text, key, None, signer)
    }

    /// Cosigns the text of a checkpoint; `Checkpoint::cosign` sees to it that it is one.
    pub(super) fn cosign(
        text: &str,
        key: &VerifierKey,
        time_s: u64,
        signer: &impl Signer,
    ) -> Result<Self, Unsigned> {
        i64::try_from(time_s).map_err(|_| Unsigned::Time)?;
        Self::make(text, key, Some(time_s), signer)
    }

    fn make(
        text: &str,
        key: &VerifierKey,
        time_s: Option<u64>,
        signer: &impl Signer,
    ) -> Result<Self, Unsigned> {
        check_text(text)?;
        if time_s.is_some() != (key.kind == SignatureType::CosignatureV1) {
            return Err(Unsigned::KeyType);
        }
        let mut bytes = time_s.map_or_else(Vec::new, |time_s| time_s.to_be_bytes().to_vec());
        bytes.extend(signer.sign(&message(text, time_s)));
        key.check(text, &bytes).ok_or(Unsigned::WrongSigner)?;
        Ok(Self { name: key.name.clone(), key_id: key.id(), bytes })
    }

    /// The name of the key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of the key.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The signature without the key id.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn is_by(&self, key: &VerifierKey) -> bool {
        self.name == key.name && self.key_id == key.id()
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(MARK)?.split_once(' ')?;
        let decoded = STANDARD.decode(encoded).ok()?;
        let (key_id, bytes) = decoded.split_first_chunk()?;
        let valid = is_name(name) && !bytes.is_empty();
        valid.then(|| Self { name: name.to_owned(), key_id: *key_id, bytes: bytes.to_vec() })
    }
}

/// The signature line, with its newline.
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = STANDARD.encode([self.key_id.as_slice(), &self.bytes].concat());
        writeln!(f, "{MARK}{} {encoded}", self.name)
    }
}

/// This is not a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNote {
    #[error("a note has at most {MAX_BYTES} bytes")]
    TooLong,
    #[error("a note is UTF-8 without control characters other than newline")]
    Characters,
    #[error("the text of a note ends with a newline")]
    Text,
    #[error("a note has a blank line and one or more signature lines after its text")]
    Form,
    #[error("line {line} after the text is not a signature")]
    Signature { line: usize },
    #[error("a note has at most {MAX_SIGNATURES} signatures")]
    TooManySignatures,
}

/// Nobody whom we know signed the note, or not this one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    #[error("the signature of {name}+{} is wrong", hex::encode(.key_id))]
    WrongSignature { name: String, key_id: KeyId },
    #[error("the note is not signed by any known key")]
    NoKnownKey,
}

/// A signature that was found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified<'k> {
    /// Who signed.
    pub key: &'k VerifierKey,
    /// When, in seconds since 1970, as the signer says; only of cosignatures.
    pub time_s: Option<u64>,
}

/// Text with one or more signatures, which are not checked until [`Note::verify`] is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// A text (which ends with a newline) with its signatures.
    pub fn try_new(text: impl Into<String>, signatures: Vec<Signature>) -> Result<Self, BadNote> {
        let note = Self { text: text.into(), signatures };
        check_text(&note.text)?;
        note.check_size()?;
        Ok(note)
    }

    /// Adds a signature at the end.
    pub fn add(&mut self, signature: Signature) -> Result<(), BadNote> {
        self.signatures.push(signature);
        self.check_size().inspect_err(|_| {
            self.signatures.pop();
        })
    }

    fn check_size(&self) -> Result<(), BadNote> {
        if self.signatures.is_empty() {
            Err(BadNote::Form)
        } else if self.signatures.len() > MAX_SIGNATURES {
            Err(BadNote::TooManySignatures)
        } else if self.to_string().len() > MAX_BYTES {
            Err(BadNote::TooLong)
        } else {
            Ok(())
        }
    }

    /// Reads a note. [`Note::to_string`](ToString) writes the same bytes again.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadNote> {
        if bytes.len() > MAX_BYTES {
            return Err(BadNote::TooLong);
        }
        let note = str::from_utf8(bytes).map_err(|_| BadNote::Characters)?;
        check_characters(note)?;
        // The last blank line: the text may have others.
        let blank = note.rfind("\n\n").ok_or(BadNote::Form)?;
        let (text, rest) = note.split_at_checked(blank + 1).ok_or(BadNote::Form)?;
        let lines = rest.strip_prefix('\n').and_then(|rest| rest.strip_suffix('\n'));
        let mut signatures = Vec::new();
        for (line, text) in (1..).zip(lines.ok_or(BadNote::Form)?.split('\n')) {
            if line > MAX_SIGNATURES {
                return Err(BadNote::TooManySignatures);
            }
            signatures.push(Signature::parse(text).ok_or(BadNote::Signature { line })?);
        }
        Self::try_new(text, signatures)
    }

    /// The text, which ends with a newline. It means nothing before [`Note::verify`].
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All signatures, right or wrong, of keys known or unknown.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Which of these keys signed. Signatures of other keys are passed over; a wrong one of a known
    /// key is an error, and so is a note that none of them signed. A key that signed more than once
    /// is there more than once.
    pub fn verify<'k>(&self, keys: &[&'k VerifierKey]) -> Result<Vec<Verified<'k>>, NotVerified> {
        let mut verified = Vec::new();
        for signature in &self.signatures {
            let mut known = keys.iter().filter(|key| signature.is_by(key)).peekable();
            if known.peek().is_none() {
                continue;
            }
            let right = known.find_map(|key| key.check(&self.text, &signature.bytes));
            verified.push(right.ok_or_else(|| NotVerified::WrongSignature {
                name: signature.name.clone(),
                key_id: signature.key_id,
            })?);
        }
        if verified.is_empty() { Err(NotVerified::NoKnownKey) } else { Ok(verified) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| signature.fmt(f))
    }
}

fn check_characters(text: &str) -> Result<(), BadNote> {
    if text.chars().all(|c| c >= ' ' || c == '\n') { Ok(()) } else { Err(BadNote::Characters) }
}

fn check_text(text: &str) -> Result<(), BadNote> {
    check_characters(text)?;
    if text.ends_with('\n') { Ok(()) } else { Err(BadNote::Text) }
}
