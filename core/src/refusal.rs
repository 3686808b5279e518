//! What the agent gateway refuses, in the words that hosts and gateways record alike.
//!
//! A cause is stable: it is in events, in metrics and in answers to searches. Nothing that the refused one
//! chose is in a record, but for the network that they came from.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Longest text of a network: that of an IPv6 prefix.
#[cfg(feature = "decide")]
const MAX_SOURCE: usize = 43;

/// Why the agent gateway refused somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The certificate is of another authority, or its chain is not valid.
    CertificateForeign,
    /// The certificate is of our authority and names no host of this installation.
    CertificateMisnamed,
    /// There is no certificate, where one is needed.
    CertificateMissing,
    /// The certificate has ended.
    CertificateExpired,
    /// It refused us: the gateway's certificate is not valid at its time. Its clock is probably wrong.
    ClockWrong,
    /// A certificate of ours was shown without proof of its key.
    KeyNotProven,
    /// The host, or this key of it, is not known.
    HostUnknown,
    /// The host is locked.
    HostLocked,
    /// The host was revoked.
    HostRevoked,
    /// Two live agents use one key.
    KeyShared,
    /// A certificate was asked for with a key that belongs to another host.
    KeyOfAnother,
    /// A certificate was asked for with names or extensions. It was issued without them.
    NamesRequested,
    /// A certificate request is none, or its own key did not sign it.
    RequestInvalid,
    /// A receipt was not signed by a key of the host.
    ReceiptForged,
    /// A receipt is for another host or another job.
    ReceiptMisdirected,
    /// A receipt contradicts the chain of those before it.
    ReceiptForked,
    /// There is no such enrolment token.
    TokenUnknown,
    /// The enrolment token was used before, with another key.
    TokenUsed,
    /// The enrolment token has expired.
    TokenExpired,
    /// The enrolment token is for another host name.
    TokenForAnother,
}

impl Cause {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CertificateForeign => "certificate_foreign",
            Self::CertificateMisnamed => "certificate_misnamed",
            Self::CertificateMissing => "certificate_missing",
            Self::CertificateExpired => "certificate_expired",
            Self::ClockWrong => "clock_wrong",
            Self::KeyNotProven => "key_not_proven",
            Self::HostUnknown => "host_unknown",
            Self::HostLocked => "host_locked",
            Self::HostRevoked => "host_revoked",
            Self::KeyShared => "key_shared",
            Self::KeyOfAnother => "key_of_another",
            Self::NamesRequested => "names_requested",
            Self::RequestInvalid => "request_invalid",
            Self::ReceiptForged => "receipt_forged",
            Self::ReceiptMisdirected => "receipt_misdirected",
            Self::ReceiptForked => "receipt_forked",
            Self::TokenUnknown => "token_unknown",
            Self::TokenUsed => "token_used",
            Self::TokenExpired => "token_expired",
            Self::TokenForAnother => "token_for_another",
        }
    }
}

/// What was refused for one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub cause: Cause,
    /// How often, since `since`; at least once.
    pub count: u64,
    pub since: Timestamp,
    /// The network that the first of them came from, such as `203.0.113.0/24`.
    pub source: Option<String>,
}

#[cfg(feature = "decide")]
impl Refused {
    /// The same, when it can be recorded.
    ///
    /// # Errors
    /// The field that cannot, and why.
    pub(crate) fn checked(self) -> Result<Self, (&'static str, &'static str)> {
        if self.count == 0 {
            return Err(("count", "nothing was refused"));
        }
        let is_network = |text: &String| {
            text.len() <= MAX_SOURCE
                && text.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '/'))
        };
        if !self.source.as_ref().is_none_or(is_network) {
            return Err(("source", "must be a network such as 203.0.113.0/24"));
        }
        Ok(self)
    }
}

/// A text of somebody who is not trusted, as it may be shown: at most `limit` characters, and none that
/// controls how the others look.
pub fn plain(text: &str, limit: usize) -> String {
    text.chars().map(|c| if is_plain(c) { c } else { '\u{fffd}' }).take(limit).collect()
}

/// Not a control character, and none of those that hide or turn around what stands beside them.
const fn is_plain(c: char) -> bool {
    !matches!(
        c,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_an_attacker_is_short_and_controls_nothing() {
        assert_eq!(plain("a\nb\u{1b}[2J\u{202e}c", 100), "a\u{fffd}b\u{fffd}[2J\u{fffd}c");
        assert_eq!(plain(&"é".repeat(1000), 300).chars().count(), 300);
        assert_eq!(plain("a plain “text”", 300), "a plain “text”");
    }

    #[test]
    fn a_cause_is_called_the_same_everywhere() {
        for cause in [Cause::CertificateForeign, Cause::KeyNotProven, Cause::TokenForAnother] {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
        }
    }
}
