//! From the server's answers to connector errors.
//!
//! Classified by the code with which an error begins, never by its text.
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors>

use ::redis::{ErrorKind as Kind, RedisError, ServerError, ServerErrorKind};

use super::target::UserName;
use crate::sdk::{Advice, ConnectorError, ErrorKind};

/// An error of a command that only reads, or before which nothing was sent that changes anything.
pub fn reading(error: RedisError) -> ConnectorError {
    classify(&error).because(error)
}

/// An error of a command that changes something: a clear refusal changed nothing, everything else nobody
/// knows.
pub fn changing(error: RedisError) -> ConnectorError {
    let mut answer = classify(&error);
    if !is_answer(&error) {
        answer.advice = Advice::OutcomeUnknown;
    }
    answer.because(error)
}

/// An error after a part of the effect was there. One that says so already stays as it is.
pub fn after_change(mut error: ConnectorError) -> ConnectorError {
    const SO_FAR: &str = "a part of it was done, but then: ";
    error.advice = Advice::OutcomeUnknown;
    if !error.message.starts_with(SO_FAR) {
        error.message.insert_str(0, SO_FAR);
    }
    error
}

/// The error that a command in a `MULTI` was answered with.
pub fn of_server(error: &ServerError) -> ConnectorError {
    classify(&RedisError::from(error.clone()))
}

/// The server's answer to the greeting. One that has no better word for it than `ERR` does not know the command.
pub fn greeting(error: RedisError) -> ConnectorError {
    let mut answer = classify(&error);
    if error.kind() == Kind::Server(ServerErrorKind::ResponseError) {
        answer.kind = ErrorKind::Invalid;
        answer.message.push_str("; if it does not know HELLO, Redis 7.0 or later is needed");
    }
    answer.because(error)
}

/// Whether the server itself said no.
fn is_answer(error: &RedisError) -> bool {
    matches!(error.kind(), Kind::Server(_) | Kind::Extension | Kind::AuthenticationFailed)
}

/// Whether the user may not run this command.
pub fn is_forbidden(error: &ConnectorError) -> bool {
    error.kind == ErrorKind::Forbidden
}

fn classify(error: &RedisError) -> ConnectorError {
    let kind = error.kind();
    if kind == Kind::Io {
        let message = "the server closed the connection";
        return ConnectorError::new(ErrorKind::Unreachable, Advice::Later, message);
    }
    if kind == Kind::Parse {
        let message = "what answers there is not a Redis server";
        return ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message);
    }
    if !is_answer(error) {
        let message = "the server's answer was not understood";
        return ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message);
    }
    let code = code(error);
    let (kind, advice) = match code {
        "NOPERM" => (ErrorKind::Forbidden, Advice::Never),
        "WRONGPASS" | "NOAUTH" => (ErrorKind::Unauthorised, Advice::Never),
        "READONLY" | "DENIED" => (ErrorKind::Refused, Advice::Never),
        "MISCONF" | "OOM" | "NOREPLICAS" => (ErrorKind::Refused, Advice::Later),
        "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY" => {
            (ErrorKind::Unreachable, Advice::Later)
        }
        "MOVED" | "ASK" | "CROSSSLOT" => (ErrorKind::Conflict, Advice::Never),
        _ => (ErrorKind::Unexpected, Advice::Never),
    };
    let message = match error.detail() {
        Some(detail) => format!("the server said: {code} {detail}"),
        None => format!("the server said: {code}"),
    };
    ConnectorError::new(kind, advice, message)
}

/// The code of an answer. A `MULTI` is aborted when one of its commands was refused as it was queued, and then
/// none of them ran: that refusal says why.
fn code(error: &RedisError) -> &str {
    let code = error.code().unwrap_or("ERR");
    if error.kind() == Kind::Server(ServerErrorKind::ExecAbort) {
        let refused = error.clone().into_server_errors().unwrap_or_default();
        let forbidden =
            refused.iter().any(|(_, error)| error.kind() == Some(ServerErrorKind::NoPerm));
        return if forbidden { "NOPERM" } else { code };
    }
    code
}

pub fn gone(name: &UserName) -> ConnectorError {
    let message = format!("the user {name} is gone; nothing was changed");
    ConnectorError::new(ErrorKind::NotFound, Advice::Never, message)
}

pub fn unreadable(what: &str) -> ConnectorError {
    let message = format!("the connection's user may not read {what}; nothing was changed");
    ConnectorError::new(ErrorKind::Forbidden, Advice::Never, message)
}

pub fn moved(name: &UserName) -> ConnectorError {
    ConnectorError::conflict(format!(
        "somebody changed the user {name} since it was read; nothing was changed: plan again"
    ))
}

/// An answer to a change that is none of those which the server can give.
pub fn not_understood() -> ConnectorError {
    let message = "the server's answer was not understood";
    ConnectorError::new(ErrorKind::Unexpected, Advice::OutcomeUnknown, message)
}
