//! The one place where what went wrong becomes an answer (RFC 9457).
//!
//! Causes are logged here, once, with the trace id that the answer carries; they never leave the
//! server.

use std::error::Error as StdError;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use nexplane_connectors::sdk::{ConnectorError, ErrorKind};
use nexplane_core::aggregate::Reject;
use nexplane_core::api::{FieldError, Problem};
use nexplane_core::change::ChangeRejection;
use nexplane_core::id::{ChangeId, FreezeId};
use nexplane_core::policy::PolicyRejection;
use nexplane_projections::runner::NotYet;
use nexplane_store::log::AppendError;
use uuid::Uuid;

use crate::stream::{LoadError, StreamError};

/// An answer that is not a success.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    blocking: Vec<Blocking>,
    retry_after_s: Option<u32>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

/// What stands in the way.
#[derive(Clone, Copy, Debug)]
enum Blocking {
    Change(ChangeId),
    Freeze(FreezeId),
}

pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            blocking: Vec::new(),
            retry_after_s: None,
            cause: None,
        }
    }

    /// 400: the request is not even readable.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "request.malformed", detail)
    }

    /// 401
    pub fn unauthenticated(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
    }

    /// 403
    pub fn denied(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "access.denied", detail)
    }

    /// 404
    pub fn not_found(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("There is no such {what}. Check the id, or look for it in the list."),
        )
    }

    /// 409
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 422, with what is wrong in which field.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let first = errors.first().map_or_else(
            || "The request does not fit.".to_owned(),
            |error| {
                let pointer = error.pointer.trim_start_matches('/');
                let separator = if pointer.is_empty() { "" } else { ": " };
                format!("{pointer}{separator}{}.", error.reason)
            },
        );
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation.failed", first);
        problem.errors = errors;
        problem
    }

    pub fn invalid_field(pointer: &str, reason: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError::new(pointer, reason)])
    }

    /// 503: try again.
    pub fn unavailable(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let mut problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "The database is not available. Try again in a moment.",
        );
        problem.retry_after_s = Some(2);
        problem.cause = Some(cause.into());
        problem
    }

    /// 503: a read model does not say yet what is written.
    pub fn behind(late: NotYet) -> Self {
        let safe = "All that happened is safe in the log, but not all of it can be shown";
        let name = late.projection;
        let (detail, retry_after_s) = if late.stalled {
            let then = "goes on when somebody asks for it: see Operations";
            (format!("{safe}: the read model '{name}' is stalled, and {then}."), None)
        } else {
            (
                format!("{safe} yet: the read model '{name}' is behind. Try again in a moment."),
                Some(2),
            )
        };
        Self { detail, retry_after_s, ..Self::unavailable(late) }
    }

    /// 503: too much at once.
    pub fn overloaded() -> Self {
        let mut problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "Too many requests are waiting. Try again in a moment.",
        );
        problem.retry_after_s = Some(1);
        problem
    }

    /// The same, with a time after which it is worth another try.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// 429
    pub fn too_many(retry_after_s: u32, detail: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
        problem.retry_after_s = Some(retry_after_s);
        problem
    }

    /// 500: a defect of ours.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let mut problem = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something is wrong on our side. Give the trace id to whoever runs this server.",
        );
        problem.cause = Some(cause.into());
        problem
    }

    /// The same about these changes, in other words.
    #[must_use]
    pub fn about(mut self, changes: &[ChangeId], detail: String) -> Self {
        self.blocking = changes.iter().copied().map(Blocking::Change).collect();
        self.detail = detail;
        self
    }

    pub const fn status(&self) -> StatusCode {
        self.status
    }

    pub const fn code(&self) -> &'static str {
        self.code
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// The status of a domain rejection, by its code.
fn status_of(code: &str) -> StatusCode {
    match code {
        "access.denied"
        | "change.own_approval"
        | "change.not_delegated"
        | "change.not_named"
        | "change.own_override"
        | "change.own_review"
        | "change.own_settlement" => StatusCode::FORBIDDEN,
        "not_found" => StatusCode::NOT_FOUND,
        "validation.failed"
        | "change.plan_not_ready"
        | "change.no_approver"
        | "change.one_way"
        | "change.glass_not_allowed"
        | "change.refused_by_policy" => StatusCode::UNPROCESSABLE_ENTITY,
        "change.frozen" => StatusCode::LOCKED,
        _ => StatusCode::CONFLICT,
    }
}

/// A rejection of any aggregate.
pub fn rejected<R: Reject>(rejection: &R) -> ApiError {
    let code = rejection.code();
    ApiError::new(status_of(code), code, rejection.to_string())
}

impl From<ChangeRejection> for ApiError {
    fn from(rejection: ChangeRejection) -> Self {
        let mut problem = rejected(&rejection);
        match rejection {
            ChangeRejection::OutOfOrderRollback { blocking } => {
                problem.blocking = blocking.into_iter().map(Blocking::Change).collect();
            }
            ChangeRejection::Frozen { frozen } => {
                let freezes = frozen.into_iter().map(|frozen| Blocking::Freeze(frozen.freeze));
                problem.blocking = freezes.collect();
            }
            ChangeRejection::DependencyMissing { waits_for } => {
                let changes = waits_for.into_iter().map(|missing| missing.change);
                problem.blocking = changes.map(Blocking::Change).collect();
            }
            ChangeRejection::Conflict { meets } => {
                let changes = meets.into_iter().map(|met| met.change);
                problem.blocking = changes.map(Blocking::Change).collect();
            }
            ChangeRejection::ReviewOverdue { overdue } => {
                problem.blocking = overdue.into_iter().map(Blocking::Change).collect();
            }
            ChangeRejection::Invalid { field, problem: reason } => {
                problem.errors = vec![FieldError::new(format!("/{field}"), reason)];
            }
            ChangeRejection::Exists
            | ChangeRejection::NotFound
            | ChangeRejection::Denied { .. }
            | ChangeRejection::NotInState { .. }
            | ChangeRejection::PlanMissing
            | ChangeRejection::PlanOutdated
            | ChangeRejection::PlanOfOtherPolicy { .. }
            | ChangeRejection::RefusedByPolicy { .. }
            | ChangeRejection::PlanNotReady { .. }
            | ChangeRejection::PlanMoved { .. }
            | ChangeRejection::StaleDigest
            | ChangeRejection::OwnApproval
            | ChangeRejection::NotDelegated
            | ChangeRejection::ApprovedAlready
            | ChangeRejection::NotNamed { .. }
            | ChangeRejection::NoApprover { .. }
            | ChangeRejection::QuorumMissing { .. }
            | ChangeRejection::ApprovalExpired { .. }
            | ChangeRejection::TooEarly { .. }
            | ChangeRejection::WindowOver { .. }
            | ChangeRejection::NeverOpens { .. }
            | ChangeRejection::OpensTooLate { .. }
            | ChangeRejection::InOtherProject { .. }
            | ChangeRejection::NoWindow
            | ChangeRejection::NotCovered
            | ChangeRejection::OwnOverride
            | ChangeRejection::NoReviewDue
            | ChangeRejection::OwnReview
            | ChangeRejection::GlassNotAllowed { .. }
            | ChangeRejection::OwnSettlement
            | ChangeRejection::FindingContradicted
            | ChangeRejection::OneWay { .. }
            | ChangeRejection::TooLateToUndo { .. }
            | ChangeRejection::NoSuchSecret
            | ChangeRejection::AlreadyRevealed => {}
        }
        problem
    }
}

impl<R: Reject + Clone> From<StreamError<R>> for ApiError
where
    Self: FromRejection<R>,
{
    fn from(error: StreamError<R>) -> Self {
        match error {
            StreamError::Rejected(rejection) => Self::from_rejection(rejection),
            StreamError::Disabled => crate::auth::disabled(),
            // RFC 9110, 13.1.1: what If-Match asked for is a precondition.
            StreamError::Stale { expected, actual } => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "conflict.version",
                format!(
                    "It is at version {actual} now, not {expected}. Reload it, look at what changed, and try again."
                ),
            ),
            StreamError::Read { source, .. } => source.into(),
            StreamError::Append { source, .. } => source.into(),
        }
    }
}

/// How a rejection becomes an answer; changes and policies say more than their code and sentence.
pub trait FromRejection<R> {
    fn from_rejection(rejection: R) -> Self;
}

impl FromRejection<ChangeRejection> for ApiError {
    fn from_rejection(rejection: ChangeRejection) -> Self {
        rejection.into()
    }
}

impl FromRejection<PolicyRejection> for ApiError {
    fn from_rejection(rejection: PolicyRejection) -> Self {
        let mut problem = rejected(&rejection);
        problem.errors = match rejection {
            PolicyRejection::Faulty { faults } => crate::api::in_body(faults),
            PolicyRejection::Invalid { field, problem: reason } => {
                vec![FieldError::new(format!("/{field}"), reason)]
            }
            PolicyRejection::Denied { .. }
            | PolicyRejection::Moved { .. }
            | PolicyRejection::Unchanged { .. } => Vec::new(),
        };
        problem
    }
}

macro_rules! plain_rejections {
    ($($rejection:ty),*) => {$(
        impl FromRejection<$rejection> for ApiError {
            fn from_rejection(rejection: $rejection) -> Self {
                rejected(&rejection)
            }
        }
    )*};
}

plain_rejections!(
    nexplane_core::asset::AssetRejection,
    nexplane_core::calendar::CalendarRejection,
    nexplane_core::connection::ConnectionRejection,
    nexplane_core::host::HostRejection,
    nexplane_core::manifest::ManifestRejection,
    nexplane_core::person::PersonRejection,
    nexplane_core::project::ProjectRejection,
    nexplane_core::rollout::RolloutRejection,
    nexplane_core::run::RunRejection,
    nexplane_core::schedule::ScheduleRejection
);

impl From<LoadError> for ApiError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Log(_) | LoadError::Query(_) | LoadError::Late => Self::unavailable(error),
            LoadError::Record(_) | LoadError::Event(_) => Self::internal(error),
        }
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::KeyReused => Self::conflict(
                "idempotency.key_reused",
                "This Idempotency-Key was used for another request. Use a new key for a new request.",
            ),
            AppendError::Conflict { .. } | AppendError::GuardFailed { .. } => Self::conflict(
                "conflict.version",
                "Somebody changed it at the same moment. Reload it and try again.",
            ),
            AppendError::Overloaded => Self::overloaded(),
            AppendError::Invalid(_) => {
                let mut problem = Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "validation.failed",
                    "The request is too large, or holds characters that cannot be stored (NUL).",
                );
                problem.cause = Some(error.into());
                problem
            }
            AppendError::Unavailable(_) | AppendError::Closed => Self::unavailable(error),
        }
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        let away = matches!(
            error,
            sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
        );
        if away { Self::unavailable(error) } else { Self::internal(error) }
    }
}

impl From<ConnectorError> for ApiError {
    fn from(error: ConnectorError) -> Self {
        let (status, code) = match error.kind {
            ErrorKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "validation.failed"),
            ErrorKind::NotFound => (StatusCode::UNPROCESSABLE_ENTITY, "target.not_found"),
            ErrorKind::Unauthorised => (StatusCode::UNPROCESSABLE_ENTITY, "target.unauthorised"),
            ErrorKind::Forbidden => (StatusCode::UNPROCESSABLE_ENTITY, "target.forbidden"),
            ErrorKind::Refused => (StatusCode::UNPROCESSABLE_ENTITY, "target.refused"),
            ErrorKind::Conflict => (StatusCode::CONFLICT, "target.conflict"),
            ErrorKind::RateLimited => (StatusCode::SERVICE_UNAVAILABLE, "target.rate_limited"),
            ErrorKind::Unreachable => (StatusCode::SERVICE_UNAVAILABLE, "target.unreachable"),
            ErrorKind::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "target.timeout"),
            ErrorKind::Unexpected => (StatusCode::SERVICE_UNAVAILABLE, "target.unexpected"),
        };
        let mut problem = Self::new(status, code, error.message.clone());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            problem.retry_after_s = Some(5);
        }
        problem.cause = Some(error.into());
        problem
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let trace_id = Uuid::now_v7();
        if let Some(cause) = &self.cause {
            let chain = chain(&**cause);
            if self.status.is_server_error() {
                tracing::error!(%trace_id, code = self.code, cause = %chain, "request failed");
            } else {
                tracing::info!(%trace_id, code = self.code, cause = %chain, "request refused");
            }
        }
        let (mut blocking, mut freezes) = (Vec::new(), Vec::new());
        for what in self.blocking {
            match what {
                Blocking::Change(change) => blocking.push(change.0),
                Blocking::Freeze(freeze) => freezes.push(freeze.0),
            }
        }
        let problem = Problem {
            kind: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code.to_owned(),
            // Filled in by the layer that knows the path.
            instance: String::new(),
            trace_id,
            errors: self.errors,
            blocking,
            freezes,
        };
        let mut response = (self.status, axum::Json(&problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(problem);
        response
    }
}

/// An error with its causes, for the log.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
