//! What a verification found, for people and for programs.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Something that would make the answer certain is missing.
    Incomplete,
    /// The evidence contradicts itself, a signature, or the rules.
    Tampering,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub kind: Kind,
    /// Stable, for programs: `log.root`, `audit.self_approval`.
    pub rule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    pub sentence: String,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Verified,
    Tampering,
    Incomplete,
}

impl Verdict {
    /// The exit code of `nexplane audit verify`; wrong usage is 3.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Verified => 0,
            Self::Tampering => 1,
            Self::Incomplete => 2,
        }
    }
}

/// Findings that are listed; more are counted.
const LISTED: usize = 100;

/// Everything that a verification has to say.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub verdict: Verdict,
    pub evidence: String,
    pub origin: String,
    /// Records that were read: `from..to`.
    pub from: u64,
    pub to: u64,
    /// Checkpoints whose signature and root are right.
    pub checkpoints: u64,
    /// Size and root (hexadecimal) of the largest of them.
    pub size: u64,
    pub root: String,
    /// The largest of them that the witness quorum has cosigned; null without a witness policy.
    pub witnessed_size: Option<u64>,
    /// Who cosigned that one.
    pub witnesses: Vec<String>,
    pub findings_total: u64,
    /// The first hundred.
    pub findings: Vec<Finding>,
}

impl Report {
    pub fn new(evidence: String, origin: String, (from, to): (u64, u64)) -> Self {
        Self {
            verdict: Verdict::Verified,
            evidence,
            origin,
            from,
            to,
            checkpoints: 0,
            size: 0,
            root: String::new(),
            witnessed_size: None,
            witnesses: Vec::new(),
            findings_total: 0,
            findings: Vec::new(),
        }
    }

    /// Adds a finding; the worst one decides the verdict.
    pub fn add(&mut self, finding: Finding) {
        self.verdict = match (self.verdict, finding.kind) {
            (Verdict::Tampering, _) | (_, Kind::Tampering) => Verdict::Tampering,
            (Verdict::Verified | Verdict::Incomplete, Kind::Incomplete) => Verdict::Incomplete,
        };
        self.findings_total += 1;
        if self.findings.len() < LISTED {
            self.findings.push(finding);
        }
    }

    pub fn tampering(&mut self, rule: &str, position: Option<u64>, sentence: impl Into<String>) {
        self.found(Kind::Tampering, rule, position, sentence.into());
    }

    pub fn incomplete(&mut self, rule: &str, sentence: impl Into<String>) {
        self.found(Kind::Incomplete, rule, None, sentence.into());
    }

    fn found(&mut self, kind: Kind, rule: &str, position: Option<u64>, sentence: String) {
        self.add(Finding { kind, rule: rule.to_owned(), position, stream: None, sentence });
    }
}
