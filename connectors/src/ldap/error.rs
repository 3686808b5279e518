//! From a directory's answers to connector errors.
//!
//! Classified by result code (RFC 4511 §4.1.9), never by message text, with one exception: Active Directory
//! says why a bind failed only inside its diagnostic message, as `data 52e`.

use ldap3::controls::Control;
use ldap3::{LdapError, LdapResult};

use crate::sdk::{Advice, ConnectorError, ErrorKind, tls};

pub const NO_SUCH_ATTRIBUTE: u32 = 16;
pub const CONSTRAINT_VIOLATION: u32 = 19;
pub const VALUE_EXISTS: u32 = 20;
pub const NO_SUCH_OBJECT: u32 = 32;
pub const INVALID_DN: u32 = 34;
pub const INVALID_CREDENTIALS: u32 = 49;
pub const FORBIDDEN: u32 = 50;
pub const UNWILLING: u32 = 53;
pub const ENTRY_EXISTS: u32 = 68;
pub const ASSERTION_FAILED: u32 = 122;

/// OID of the password policy control, request and answer.
/// <https://datatracker.ietf.org/doc/html/draft-behera-ldap-password-policy-10#section-6>
pub const PASSWORD_POLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";

/// A refused operation; the directory has not done it.
pub fn refused(result: &LdapResult) -> ConnectorError {
    let (kind, advice) = match result.rc {
        // timeLimitExceeded, adminLimitExceeded
        3 | 11 => (ErrorKind::Timeout, Advice::Later),
        // authMethodNotSupported, strongerAuthRequired, confidentialityRequired,
        // inappropriateAuthentication
        7 | 8 | 13 | 48 | INVALID_CREDENTIALS => (ErrorKind::Unauthorised, Advice::Never),
        10 => {
            let message = "the entry is held by another server, and referrals are not followed: \
                           connect to the server that holds it";
            return ConnectorError::new(ErrorKind::Refused, Advice::Never, message);
        }
        NO_SUCH_ATTRIBUTE | VALUE_EXISTS | ASSERTION_FAILED | ENTRY_EXISTS => {
            (ErrorKind::Conflict, Advice::Never)
        }
        // sizeLimitExceeded, unavailableCriticalExtension, undefinedAttributeType, inappropriateMatching,
        // invalidAttributeSyntax, namingViolation, objectClassViolation, notAllowedOnNonLeaf, notAllowedOnRDN
        4 | 12 | 17 | 18 | CONSTRAINT_VIOLATION | 21 | INVALID_DN | UNWILLING | 64..=67 => {
            (ErrorKind::Invalid, Advice::Never)
        }
        NO_SUCH_OBJECT => (ErrorKind::NotFound, Advice::Never),
        FORBIDDEN => (ErrorKind::Forbidden, Advice::Never),
        51 => (ErrorKind::RateLimited, Advice::Later),
        52 => (ErrorKind::Unreachable, Advice::Later),
        _ => (ErrorKind::Unexpected, Advice::Never),
    };
    let text = if result.text.is_empty() { "nothing more" } else { result.text.trim() };
    let message = format!("the directory refused with result code {}: {text}", result.rc);
    ConnectorError::new(kind, advice, message)
}

/// An operation that only reads, or opens the connection, and got no answer.
pub fn broken(error: LdapError) -> ConnectorError {
    if let Some(answer) = tls::handshake_error(&error) {
        return answer.because(error);
    }
    let answer = if matches!(error, LdapError::FilterParsing) {
        ConnectorError::new(ErrorKind::Unexpected, Advice::Never, "a filter was not understood")
    } else {
        let message = "the connection to the directory broke before anything was changed";
        ConnectorError::new(ErrorKind::Unreachable, Advice::Later, message)
    };
    answer.because(error)
}

/// A change that got no answer: it may have happened, unless it never left.
pub fn broken_change(error: LdapError) -> ConnectorError {
    if matches!(error, LdapError::OpSend { .. } | LdapError::AddNoValues) {
        return broken(error);
    }
    let message = "the connection to the directory broke before the change was answered";
    ConnectorError::new(ErrorKind::Unreachable, Advice::OutcomeUnknown, message).because(error)
}

/// An answer that is not as the protocol says.
pub fn not_understood(changes: bool) -> ConnectorError {
    let advice = if changes { Advice::OutcomeUnknown } else { Advice::Never };
    let message = "the directory's answer was not understood";
    ConnectorError::new(ErrorKind::Unexpected, advice, message)
}

/// Why a bind was refused, as far as the directory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The name or the password is wrong, or the directory says no more than that.
    Wrong,
    /// Too many failed binds, or an administrator.
    Locked,
    Disabled,
    PasswordExpired,
    MustChange,
    AccountExpired,
    /// Not at this time, or not from here.
    NotNow,
}

impl Refusal {
    /// From the answer to a bind; none when it succeeded and the account can be used.
    pub fn of(result: &LdapResult) -> Option<Self> {
        let policy = result.ctrls.iter().find_map(|Control(_, raw)| {
            (raw.ctype == PASSWORD_POLICY).then(|| policy_error(raw.val.as_deref()?)).flatten()
        });
        match (result.rc, policy) {
            (_, Some(0)) => Some(Self::PasswordExpired),
            (_, Some(1)) => Some(Self::Locked),
            (_, Some(2)) => Some(Self::MustChange),
            (0, _) => None,
            _ => Some(sub_code(&result.text)),
        }
    }

    /// Whether Active Directory answers so only to who knows the password.
    /// <https://learn.microsoft.com/windows/win32/debug/system-error-codes--1300-1699->
    pub const fn proves_password(self) -> bool {
        match self {
            Self::Disabled
            | Self::PasswordExpired
            | Self::MustChange
            | Self::AccountExpired
            | Self::NotNow => true,
            Self::Wrong | Self::Locked => false,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Wrong => "the directory does not accept bind_dn with this password",
            Self::Locked => "the account of bind_dn is locked: let it be unlocked",
            Self::Disabled => "the account of bind_dn is disabled: let it be enabled",
            Self::PasswordExpired => "the password of bind_dn has expired: give it a new one",
            Self::MustChange => "the password of bind_dn must be changed first: give it a new one",
            Self::AccountExpired => "the account of bind_dn has expired: let it be extended",
            Self::NotNow => "the account of bind_dn may not log in at this time, or from here",
        }
    }

    pub fn error(self, rc: u32) -> ConnectorError {
        let message = format!("{} (result code {rc})", self.words());
        ConnectorError::new(ErrorKind::Unauthorised, Advice::Never, message)
    }
}

/// `AcceptSecurityContext error, data 533, …`: a Win32 error code in hexadecimal.
fn sub_code(text: &str) -> Refusal {
    let code = text.split_once("data ").and_then(|(_, rest)| rest.split([',', ' ']).next());
    match code {
        // ERROR_INVALID_LOGON_HOURS, ERROR_INVALID_WORKSTATION
        Some("530" | "531") => Refusal::NotNow,
        Some("532") => Refusal::PasswordExpired,
        Some("533") => Refusal::Disabled,
        Some("701") => Refusal::AccountExpired,
        Some("773") => Refusal::MustChange,
        Some("775") => Refusal::Locked,
        _ => Refusal::Wrong,
    }
}

/// `SEQUENCE { warning [0] … OPTIONAL, error [1] ENUMERATED OPTIONAL }` in BER with short lengths.
fn policy_error(value: &[u8]) -> Option<u8> {
    let [0x30, _, content @ ..] = value else { return None };
    let mut rest = content;
    while let [tag, length, tail @ ..] = rest {
        let (inner, following) = tail.split_at_checked(usize::from(*length))?;
        if *tag == 0x81 {
            return inner.first().copied();
        }
        rest = following;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_the_password_policy_is_found_with_and_without_a_warning() {
        assert_eq!(policy_error(&[0x30, 3, 0x81, 1, 1]), Some(1));
        assert_eq!(policy_error(&[0x30, 8, 0xa0, 3, 0x80, 1, 5, 0x81, 1, 2]), Some(2));
        assert_eq!(policy_error(&[0x30, 0]), None);
        assert_eq!(policy_error(&[0x30, 9, 0x81, 200]), None);
        assert_eq!(policy_error(&[]), None);
    }

    #[test]
    fn sub_codes_are_told_apart() {
        let text =
            |code| format!("80090308: LdapErr: DSID-0C0903A9, comment: x, data {code}, v1db1");
        for (code, refusal) in [
            ("52e", Refusal::Wrong),
            ("530", Refusal::NotNow),
            ("532", Refusal::PasswordExpired),
            ("533", Refusal::Disabled),
            ("701", Refusal::AccountExpired),
            ("773", Refusal::MustChange),
            ("775", Refusal::Locked),
        ] {
            assert_eq!(sub_code(&text(code)), refusal, "{code}");
        }
        assert_eq!(sub_code(""), Refusal::Wrong);
    }
}
