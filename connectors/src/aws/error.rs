//! What AWS answers when it does not do it, in the words of the SDK.
//!
//! Codes: <https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html>,
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>,
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.

use aws_sdk_iam::config::http::HttpResponse;
use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};

use super::list::{MOST, MOST_PAGES};
use super::transport::SendError;
use crate::sdk::{Advice, ConnectorError, ErrorKind, find_cause};

/// Whether a call changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Effect,
}

impl Kind {
    /// What is left to do when nobody knows whether the call arrived.
    const fn in_doubt(self) -> Advice {
        match self {
            Self::Read => Advice::Later,
            Self::Effect => Advice::OutcomeUnknown,
        }
    }
}

/// A call that failed, not yet judged: some failures are answers.
#[derive(Debug)]
pub struct Failure {
    /// Such as `iam:GetUser`.
    pub call: &'static str,
    pub why: Why,
}

#[derive(Debug)]
pub enum Why {
    /// AWS said no.
    Service { status: u16, code: String, message: String },
    /// No answer.
    Transport(SendError),
    /// An answer that cannot be understood.
    Unreadable(Box<dyn std::error::Error + Send + Sync>),
    /// A list that is longer than is read.
    TooLong,
}

impl Failure {
    /// Of one of AWS's own clients.
    pub fn of<E>(call: &'static str, error: SdkError<E, HttpResponse>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        if let (Some(service), Some(raw)) = (error.as_service_error(), error.raw_response()) {
            let status = raw.status().as_u16();
            let code = service.code().map_or_else(|| by_status(status), str::to_owned);
            let message = service.message().unwrap_or_default().to_owned();
            return Self { call, why: Why::Service { status, code, message } };
        }
        let why = match find_cause::<SendError>(&error) {
            Some(SendError::NotSent(inner)) => {
                let copy = ConnectorError::new(inner.kind, inner.advice, inner.message.clone());
                Why::Transport(SendError::NotSent(Box::new(copy)))
            }
            Some(SendError::Broken(_)) => Why::Transport(SendError::Broken(error.into())),
            Some(SendError::Garbage(_)) => Why::Transport(SendError::Garbage(error.into())),
            None => Why::Unreadable(error.into()),
        };
        Self { call, why }
    }

    pub const fn too_long(call: &'static str) -> Self {
        Self { call, why: Why::TooLong }
    }

    /// The code of AWS's answer.
    pub fn code(&self) -> Option<&str> {
        match &self.why {
            Why::Service { code, .. } => Some(code),
            Why::Transport(_) | Why::Unreadable(_) | Why::TooLong => None,
        }
    }

    /// Whether AWS says that the thing is not there.
    pub fn is_absent(&self) -> bool {
        self.code().is_some_and(|code| {
            matches!(
                code,
                "NoSuchEntity"
                    | "NoSuchBucket"
                    | "NoSuchBucketPolicy"
                    | "NoSuchPublicAccessBlockConfiguration"
            ) || code.ends_with(".NotFound")
                || code.ends_with(".Malformed")
        })
    }

    /// Whether AWS says that we may not.
    pub fn is_denied(&self) -> bool {
        self.code().is_some_and(|code| {
            matches!(
                code,
                "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "Forbidden"
            )
        })
    }

    /// Whether the same read may be tried again at once.
    pub fn is_throttled(&self) -> bool {
        self.code().is_some_and(is_throttling)
    }

    /// The error of a call of this kind.
    pub fn judge(self, kind: Kind) -> ConnectorError {
        let call = self.call;
        match self.why {
            Why::Service { status, code, message } => {
                of_service(call, kind, status, &code, &message)
            }
            Why::Transport(SendError::NotSent(error)) => *error,
            Why::Transport(SendError::Broken(cause)) => {
                let message = format!("the connection broke during {call}");
                ConnectorError::new(ErrorKind::Unreachable, kind.in_doubt(), message).because(cause)
            }
            Why::Transport(SendError::Garbage(cause)) => strange(call, kind).because(cause),
            Why::Unreadable(cause) => strange(call, kind).because(cause),
            Why::TooLong => ConnectorError::invalid(format!(
                "{call} lists more than {MOST} things or {MOST_PAGES} pages, which is the most that is read"
            )),
        }
    }

    /// Of a call that reads.
    pub fn read(self) -> ConnectorError {
        self.judge(Kind::Read)
    }

    /// Of a call that changes something.
    pub fn effect(self) -> ConnectorError {
        self.judge(Kind::Effect)
    }
}

fn strange(call: &str, kind: Kind) -> ConnectorError {
    let advice = match kind {
        Kind::Read => Advice::Never,
        Kind::Effect => Advice::OutcomeUnknown,
    };
    let message = format!("what answered {call} is not AWS: check endpoint and region");
    ConnectorError::new(ErrorKind::Unexpected, advice, message)
}

/// S3 answers some requests without a body, and then only the status says why.
fn by_status(status: u16) -> String {
    match status {
        403 => "AccessDenied",
        404 => "NotFound",
        _ => "",
    }
    .to_owned()
}

fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "SlowDown"
            | "TooManyRequestsException"
            | "RequestThrottled"
    )
}

fn of_service(call: &str, kind: Kind, status: u16, code: &str, message: &str) -> ConnectorError {
    let said = if message.is_empty() { code.to_owned() } else { format!("{message} ({code})") };
    let (error, advice, what_to_do) = match code {
        _ if is_throttling(code) => (ErrorKind::RateLimited, Advice::Later, ""),
        // 1 account, 2 session, 3 clock: who we say we are is not accepted.
        "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "UnrecognizedClientException"
        | "SignatureDoesNotMatch"
        | "AuthFailure"
        | "IncompleteSignature"
        | "InvalidToken"
        | "NotAuthorized" => (
            ErrorKind::Unauthorised,
            Advice::Never,
            ": check access_key_id and secret_access_key, and that the key is active",
        ),
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" | "RequestTimeTooSkewed" => {
            (ErrorKind::Unauthorised, Advice::Later, ": check this server's clock")
        }
        "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "Forbidden"
        | "OptInRequired" => {
            (ErrorKind::Forbidden, Advice::Never, ": add it to the policy of the connection")
        }
        "NoSuchEntity"
        | "NoSuchBucket"
        | "NoSuchBucketPolicy"
        | "NotFound"
        | "NoSuchPublicAccessBlockConfiguration" => (ErrorKind::NotFound, Advice::Never, ""),
        // <https://repost.aws/knowledge-center/s3-invalid-principal-in-policy-error>
        "MalformedPolicy" => {
            let hint = ": a user or role that the policy names may have been deleted";
            (ErrorKind::Invalid, Advice::Never, hint)
        }
        "PermanentRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => {
            (ErrorKind::Invalid, Advice::Never, ": the thing is in another region")
        }
        "LimitExceeded"
        | "DeleteConflict"
        | "EntityAlreadyExists"
        | "EntityTemporarilyUnmodifiable"
        | "ConcurrentModification"
        | "OperationAborted"
        | "IncorrectInstanceState"
        | "IncorrectState"
        | "OperationNotPermitted"
        | "UnsupportedOperation"
        | "RulesPerSecurityGroupLimitExceeded"
        | "SnapshotLimitExceeded"
        | "InvalidPermission.Duplicate"
        | "InvalidSnapshot.InUse"
        | "InsufficientInstanceCapacity"
        | "ConcurrentSnapshotLimitExceeded" => (ErrorKind::Conflict, Advice::Never, ""),
        "InternalError" | "InternalFailure" | "ServiceUnavailable" | "ServiceFailure"
        | "Unavailable" => (ErrorKind::Unreachable, kind.in_doubt(), ""),
        _ if code.ends_with(".NotFound") => (ErrorKind::NotFound, Advice::Never, ""),
        _ if status >= 500 => (ErrorKind::Unreachable, kind.in_doubt(), ""),
        _ if (400..500).contains(&status) && !code.is_empty() => {
            (ErrorKind::Invalid, Advice::Never, "")
        }
        _ => return strange(call, kind),
    };
    ConnectorError::new(error, advice, format!("AWS answered {call} with: {said}{what_to_do}"))
}

/// An error after a part of the effect was done.
pub fn after_a_part(mut error: ConnectorError) -> ConnectorError {
    error.advice = Advice::OutcomeUnknown;
    error.message = format!("a part was done, but then: {}", error.message);
    error
}

/// Somebody else was at work.
pub fn moved(what: &str) -> ConnectorError {
    ConnectorError::conflict(format!(
        "somebody changed {what} since it was read; nothing was changed: plan again"
    ))
}

/// What the action is about is not there any more.
pub fn gone(what: &str) -> ConnectorError {
    let message = format!("{what} is gone; nothing was changed");
    ConnectorError::new(ErrorKind::NotFound, Advice::Never, message)
}
