//! The one error type of connectors.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// What went wrong, in words that hold for every kind of target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The target does not accept who we say we are, or is not who it should be.
    Unauthorised,
    /// The target knows us and says we may not.
    Forbidden,
    /// The thing we named is not there.
    NotFound,
    /// The thing is in a state that the call does not fit.
    Conflict,
    /// Our request or our configuration is wrong.
    Invalid,
    /// Too many requests.
    RateLimited,
    /// No connection to the target.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// A rule of this installation or of the host's owner forbids it; the target was not asked.
    Refused,
    /// The target answered something that it never should.
    Unexpected,
}

impl ErrorKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorised => "unauthorised",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
            Self::RateLimited => "rate_limited",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Unexpected => "unexpected",
        }
    }
}

/// What the caller may do next. Every advice but [`Advice::OutcomeUnknown`] promises that the call
/// had no effect on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// The same call can succeed at once.
    RetryNow,
    /// The same call can succeed when the target is well again.
    Later,
    /// The same call will fail again: a person has to change something first.
    Never,
    /// The effect may have happened: settle it by `verify` before anything else.
    OutcomeUnknown,
}

/// A failed call to a target. Neither `Display` nor `Debug` nor the sources show a secret: the layer
/// around every call removes what the session knows to be one.
#[derive(Debug)]
pub struct ConnectorError {
    pub kind: ErrorKind,
    pub advice: Advice,
    /// Connector id.
    pub connector: String,
    /// Action id, when an action was at work.
    pub action: Option<String>,
    /// External key of the target, when there was one.
    pub target: Option<String>,
    /// One sentence for people: what was attempted, what came back, what to do.
    pub message: String,
    /// In how many seconds the target said that it can be asked again, counted from its answer.
    pub retry_after_s: Option<u16>,
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl ConnectorError {
    /// An error without context; the layer fills in connector, action and target.
    pub fn new(kind: ErrorKind, advice: Advice, message: impl Into<String>) -> Self {
        Self {
            kind,
            advice,
            connector: String::new(),
            action: None,
            target: None,
            message: message.into(),
            retry_after_s: None,
            source: None,
        }
    }

    /// Our request or configuration is wrong; nothing was sent.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, Advice::Never, message)
    }

    /// The target is not in the state that this call needs; nothing was changed.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, Advice::Never, message)
    }

    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whether the effect may have happened.
    pub const fn is_outcome_unknown(&self) -> bool {
        matches!(self.advice, Advice::OutcomeUnknown)
    }
}

impl fmt::Display for ConnectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.action, self.connector.is_empty()) {
            (Some(action), _) => write!(f, "{action}")?,
            (None, false) => f.write_str(&self.connector)?,
            (None, true) => return f.write_str(&self.message),
        }
        if let Some(target) = &self.target {
            write!(f, " on {target}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl StdError for ConnectorError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

/// A cause with its secrets removed: what is left of the errors of a client library.
#[derive(Debug)]
pub(crate) struct Cause {
    text: String,
    source: Option<Box<Self>>,
}

impl Cause {
    /// Copies a chain of errors as text, each text passed through `clean`.
    pub(crate) fn copy(error: &(dyn StdError + 'static), clean: &dyn Fn(&str) -> String) -> Self {
        Self {
            text: clean(&error.to_string()),
            source: error.source().map(|source| Box::new(Self::copy(source, clean))),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// The first error of a type in the chain of causes, also inside `io::Error`, as client libraries wrap them.
pub fn find_cause<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

/// One field that is not as the schema says.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[error("{pointer}: {reason}")]
pub struct FieldError {
    /// JSON pointer (RFC 6901) from the root of the credentials or parameters.
    pub pointer: String,
    /// What is wrong with it; never the value, it may be a secret.
    pub reason: String,
}

impl FieldError {
    pub fn new(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), reason: reason.into() }
    }
}
