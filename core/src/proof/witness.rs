//! Which cosignatures are enough: [C2SP tlog-policy](https://c2sp.org/tlog-policy).
//!
//! ```text
//! log <vkey> [<url>]
//!
//! witness X1 <vkey> [<url>]
//! witness X2 <vkey>
//! witness Y <vkey>
//! group X any X1 X2
//! group X-and-Y all X Y
//! quorum X-and-Y
//! ```
//!
//! A checkpoint is good when one of the logs signed it and the quorum cosigned it. A group counts as
//! having cosigned when enough of its members have (`any`, `all`, or a number); a name is defined
//! before it is used, and is a member of one group at most, so that nobody counts twice. `quorum
//! none` asks for no witness.
//!
//! Where we are stricter than the specification: the file is UTF-8, a public key stands in it once
//! (a log does not witness for another), and all keys are Ed25519 (`0x01` of logs, `0x04` of
//! witnesses). At most [`MAX_BYTES`] bytes and [`MAX_DEFINED`] of each of logs, witnesses and groups.
//!
//! Deliberately not here: asking witnesses, and how old a cosignature may be; its time is given back.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::checkpoint::{Checkpoint, Unverified};
use super::note::{BadKey, Note, SignatureType, VerifierKey};

/// The longest file that is read.
pub const MAX_BYTES: usize = 256 * 1024;

/// The most logs, witnesses and groups, each. The specification asks for at least 32.
pub const MAX_DEFINED: usize = 256;

/// The name of the quorum without witnesses.
const NONE: &str = "none";

/// A log that is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its name is the log's origin.
    pub key: VerifierKey,
    /// Where it is, whatever that means to who uses it.
    pub url: Option<String>,
}

/// A witness that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// What it is called in this file.
    pub name: String,
    pub key: VerifierKey,
    /// Where it is, whatever that means to who uses it.
    pub url: Option<String>,
}

/// Something that can be a member of a group or the quorum: its place among its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Party {
    Witness(usize),
    Group(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: String,
    threshold: usize,
    members: Vec<Party>,
}

/// Logs, witnesses and the quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessPolicy {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    /// In the order in which they are defined, so that members come before their groups.
    groups: Vec<Group>,
    quorum: Option<Party>,
}

/// The cosignature of a witness of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cosignature<'p> {
    /// Who cosigned.
    pub witness: &'p Witness,
    /// When, in seconds since 1970, as the witness says; of several the latest.
    pub time_s: u64,
}

/// What a policy says of a checkpoint that one of its logs signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation<'p> {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// Which witnesses cosigned it, in the order of the policy.
    pub cosignatures: Vec<Cosignature<'p>>,
    /// Is that enough?
    pub quorum: bool,
}

/// This is not a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicy {
    #[error("a policy has at most {MAX_BYTES} bytes")]
    TooLong,
    #[error("a policy has no control characters other than tab and newline")]
    Characters,
    #[error("a policy says what the quorum is")]
    NoQuorum,
    #[error("line {line} of the policy")]
    Line { line: usize, source: BadLine },
}

/// What is wrong with a line of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    #[error(
        "a line is `log <vkey> [<url>]`, `witness <name> <vkey> [<url>]`, `group <name> <k|any|all> <member>…` or `quorum <name>`"
    )]
    Form,
    #[error("the key")]
    Key(#[from] BadKey),
    #[error("a log has a key of type 0x01, a witness one of type 0x04")]
    KeyType,
    #[error("this public key stands in the policy already")]
    SameKey,
    #[error("the name {0} is taken")]
    NameTaken(String),
    #[error("nothing before this line is called {0}")]
    Unknown(String),
    #[error("{0} is a member of a group already")]
    MemberTwice(String),
    #[error("the threshold is a number from 1 to that of the members")]
    Threshold,
    #[error("a policy has one quorum")]
    SecondQuorum,
    #[error("a policy has at most {MAX_DEFINED} logs, witnesses and groups each")]
    TooMany,
}

impl WitnessPolicy {
    /// The logs, in the order of the file.
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// The witnesses, in the order of the file.
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// Who cosigned the checkpoint, and whether they are enough. That one of the logs signed it is
    /// not part of the answer but required for one, and so is that no known key's signature is wrong.
    pub fn evaluate(&self, note: &Note) -> Result<Evaluation<'_>, Unverified> {
        let logs = self.logs.iter().map(|log| &log.key);
        let witnesses = self.witnesses.iter().map(|witness| &witness.key);
        let keys: Vec<_> = logs.chain(witnesses).collect();
        let verified = note.verify(&keys)?;
        let checkpoint: Checkpoint = note.text().parse()?;
        let by_its_log = verified.iter().any(|signature| {
            signature.key.kind() == SignatureType::Ed25519
                && signature.key.name() == checkpoint.origin()
        });
        if !by_its_log {
            return Err(Unverified::UnknownLog { origin: checkpoint.origin().to_owned() });
        }
        let latest = |witness: &Witness| {
            let by = verified.iter().filter(|signature| *signature.key == witness.key);
            by.filter_map(|signature| signature.time_s).max()
        };
        let times: Vec<_> = self.witnesses.iter().map(latest).collect();
        let signed: Vec<_> = times.iter().map(Option::is_some).collect();
        let cosignatures = self
            .witnesses
            .iter()
            .zip(times)
            .filter_map(|(witness, time_s)| Some(Cosignature { witness, time_s: time_s? }))
            .collect();
        Ok(Evaluation { checkpoint, cosignatures, quorum: self.holds(&signed) })
    }

    /// Is the quorum there when these witnesses cosigned?
    fn holds(&self, signed: &[bool]) -> bool {
        fn has(party: Party, signed: &[bool], groups: &[bool]) -> bool {
            match party {
                Party::Witness(place) => signed.get(place),
                Party::Group(place) => groups.get(place),
            }
            .is_some_and(|there| *there)
        }
        let mut groups = Vec::new();
        for group in &self.groups {
            let there = group.members.iter().filter(|member| has(**member, signed, &groups));
            let enough = there.count() >= group.threshold;
            groups.push(enough);
        }
        self.quorum.is_none_or(|party| has(party, signed, &groups))
    }

    fn name(&self, party: Party) -> &str {
        match party {
            Party::Witness(place) => self.witnesses.get(place).map(|witness| &*witness.name),
            Party::Group(place) => self.groups.get(place).map(|group| &*group.name),
        }
        .unwrap_or(NONE)
    }
}

/// A policy while it is read.
struct Reader {
    policy: WitnessPolicy,
    quorum_read: bool,
    /// What a name is, and whether it is a member of a group.
    names: BTreeMap<String, (Party, bool)>,
}

impl Reader {
    fn read(&mut self, words: &[&str]) -> Result<(), BadLine> {
        match words {
            [] => Ok(()),
            ["log", key] => self.log(key, None),
            ["log", key, url] => self.log(key, Some(url)),
            ["witness", name, key] => self.witness(name, key, None),
            ["witness", name, key, url] => self.witness(name, key, Some(url)),
            ["group", name, threshold, members @ ..] if !members.is_empty() => {
                self.group(name, threshold, members)
            }
            ["quorum", name] => self.quorum(name),
            _ => Err(BadLine::Form),
        }
    }

    fn key(&self, text: &str, kind: SignatureType) -> Result<VerifierKey, BadLine> {
        let key: VerifierKey = text.parse()?;
        if key.kind() != kind {
            return Err(BadLine::KeyType);
        }
        let logs = self.policy.logs.iter().map(|log| &log.key);
        let witnesses = self.policy.witnesses.iter().map(|witness| &witness.key);
        if logs.chain(witnesses).any(|known| known.public_key() == key.public_key()) {
            return Err(BadLine::SameKey);
        }
        Ok(key)
    }

    fn define(&mut self, name: &str, party: Party) -> Result<(), BadLine> {
        if name == NONE || self.names.contains_key(name) {
            return Err(BadLine::NameTaken(name.to_owned()));
        }
        let (Party::Witness(place) | Party::Group(place)) = party;
        if place >= MAX_DEFINED {
            return Err(BadLine::TooMany);
        }
        self.names.insert(name.to_owned(), (party, false));
        Ok(())
    }

    fn log(&mut self, key: &str, url: Option<&&str>) -> Result<(), BadLine> {
        let key = self.key(key, SignatureType::Ed25519)?;
        if self.policy.logs.len() >= MAX_DEFINED {
            return Err(BadLine::TooMany);
        }
        self.policy.logs.push(Log { key, url: url.map(ToString::to_string) });
        Ok(())
    }

    fn witness(&mut self, name: &str, key: &str, url: Option<&&str>) -> Result<(), BadLine> {
        let key = self.key(key, SignatureType::CosignatureV1)?;
        self.define(name, Party::Witness(self.policy.witnesses.len()))?;
        let (name, url) = (name.to_owned(), url.map(ToString::to_string));
        self.policy.witnesses.push(Witness { name, key, url });
        Ok(())
    }

    fn group(&mut self, name: &str, threshold: &str, names: &[&str]) -> Result<(), BadLine> {
        let threshold = match threshold {
            "any" => 1,
            "all" => names.len(),
            number => {
                let canonical = |k: &usize| k.to_string() == number;
                number.parse().ok().filter(canonical).ok_or(BadLine::Threshold)?
            }
        };
        if !(1..=names.len()).contains(&threshold) {
            return Err(BadLine::Threshold);
        }
        let mut members = Vec::new();
        for member in names {
            let known = self.names.get_mut(*member);
            let (party, taken) = known.ok_or_else(|| BadLine::Unknown((*member).to_owned()))?;
            if std::mem::replace(taken, true) {
                return Err(BadLine::MemberTwice((*member).to_owned()));
            }
            members.push(*party);
        }
        self.define(name, Party::Group(self.policy.groups.len()))?;
        self.policy.groups.push(Group { name: name.to_owned(), threshold, members });
        Ok(())
    }

    fn quorum(&mut self, name: &str) -> Result<(), BadLine> {
        if std::mem::replace(&mut self.quorum_read, true) {
            return Err(BadLine::SecondQuorum);
        }
        if name != NONE {
            let known = self.names.get(name);
            let (party, _) = known.ok_or_else(|| BadLine::Unknown(name.to_owned()))?;
            self.policy.quorum = Some(*party);
        }
        Ok(())
    }
}

impl FromStr for WitnessPolicy {
    type Err = BadPolicy;

    fn from_str(text: &str) -> Result<Self, BadPolicy> {
        if text.len() > MAX_BYTES {
            return Err(BadPolicy::TooLong);
        }
        if text.bytes().any(|byte| byte == 0x7f || byte < b' ' && !b"\t\n".contains(&byte)) {
            return Err(BadPolicy::Characters);
        }
        let policy =
            Self { logs: Vec::new(), witnesses: Vec::new(), groups: Vec::new(), quorum: None };
        let mut reader = Reader { policy, quorum_read: false, names: BTreeMap::new() };
        for (line, text) in (1..).zip(text.split('\n')) {
            let words: Vec<_> = text.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            let comment = words.first().is_some_and(|word| word.starts_with('#'));
            if !comment {
                reader.read(&words).map_err(|source| BadPolicy::Line { line, source })?;
            }
        }
        if reader.quorum_read { Ok(reader.policy) } else { Err(BadPolicy::NoQuorum) }
    }
}

/// The policy as a file, without its comments and with `any` and `all` as numbers.
impl fmt::Display for WitnessPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = |url: &Option<String>| url.as_ref().map_or_else(String::new, |u| format!(" {u}"));
        for log in &self.logs {
            writeln!(f, "log {}{}", log.key, url(&log.url))?;
        }
        for witness in &self.witnesses {
            writeln!(f, "witness {} {}{}", witness.name, witness.key, url(&witness.url))?;
        }
        for group in &self.groups {
            write!(f, "group {} {}", group.name, group.threshold)?;
            for member in &group.members {
                write!(f, " {}", self.name(*member))?;
            }
            writeln!(f)?;
        }
        writeln!(f, "quorum {}", self.quorum.map_or(NONE, |party| self.name(party)))
    }
}
