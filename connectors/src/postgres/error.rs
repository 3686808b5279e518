//! From the server's answers to connector errors.
//!
//! Classified by SQLSTATE, never by message text.
//! <https://www.postgresql.org/docs/current/errcodes-appendix.html>

use std::io;

use tokio_postgres::Error;
use tokio_postgres::error::DbError;

use crate::sdk::{Advice, ConnectorError, ErrorKind, find_cause, tls};

/// The server's first bytes are not those of PostgreSQL.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not PostgreSQL's protocol")]
pub struct NotPostgres;

/// An error while connecting.
pub fn connecting(error: Error) -> ConnectorError {
    if let Some(db) = error.as_db_error() {
        let answer = of_server(db);
        return answer.because(error);
    }
    if let Some(answer) = tls::handshake_error(&error) {
        return answer.because(error);
    }
    if find_cause::<NotPostgres>(&error).is_some() {
        return not_postgres().because(error);
    }
    let closed = error.is_closed() || find_cause::<io::Error>(&error).is_some_and(is_broken);
    let answer = if closed {
        let message = "the server closed the connection while it was being opened";
        ConnectorError::new(ErrorKind::Unreachable, Advice::Later, message)
    } else if find_cause::<io::Error>(&error).is_some() {
        not_postgres()
    } else {
        // SCRAM says no on this side: the server does not know the password either.
        let message = "the server could not prove that it knows the password";
        ConnectorError::new(ErrorKind::Unauthorised, Advice::Never, message)
    };
    answer.because(error)
}

/// The answer to a request for TLS was neither yes nor no, or the first message none of the protocol.
pub fn not_postgres() -> ConnectorError {
    let message = "what answers there is not a PostgreSQL server";
    ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message)
}

/// An error of a statement before `COMMIT` was sent: nothing is changed.
pub fn before_commit(error: Error) -> ConnectorError {
    let answer = match error.as_db_error() {
        Some(db) => of_server(db),
        None if error.is_closed() || find_cause::<io::Error>(&error).is_some() => {
            let message = "the connection broke before anything was committed";
            ConnectorError::new(ErrorKind::Unreachable, Advice::Later, message)
        }
        None => {
            let message = "the server's answer was not understood; nothing was committed";
            ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message)
        }
    };
    answer.because(error)
}

/// An error of `COMMIT` itself: a clear refusal changed nothing, everything else nobody knows.
pub fn at_commit(error: Error) -> ConnectorError {
    let answer = match error.as_db_error() {
        // Class 57P and 08: the server went away in the middle (operator intervention, connection).
        Some(db) if !db.code().code().starts_with("57P") && !db.code().code().starts_with("08") => {
            of_server(db)
        }
        _ => {
            let message = "the connection broke during COMMIT";
            ConnectorError::new(ErrorKind::Unreachable, Advice::OutcomeUnknown, message)
        }
    };
    answer.because(error)
}

/// An error after a part of the effect was committed.
pub fn after_commit(mut error: ConnectorError) -> ConnectorError {
    error.advice = Advice::OutcomeUnknown;
    error.message = format!("the role was changed, but then: {}", error.message);
    error
}

fn of_server(db: &DbError) -> ConnectorError {
    let code = db.code().code();
    let (kind, advice) = match code {
        "42501" => (ErrorKind::Forbidden, Advice::Never),
        // Undefined database, schema, table, object, function.
        "3D000" | "3F000" | "42P01" | "42704" | "42883" => (ErrorKind::NotFound, Advice::Never),
        // Duplicate object, dependent objects, object in use, wrong object state.
        "42710" | "2BP01" | "55006" | "55000" => (ErrorKind::Conflict, Advice::Never),
        // Invalid parameter value: what a setting cannot be.
        "22023" => (ErrorKind::Invalid, Advice::Never),
        // Serialisation failure, deadlock, and "tuple concurrently updated", which has no code of
        // its own.
        "40001" | "40P01" | "XX000" => (ErrorKind::Conflict, Advice::RetryNow),
        // Lock not available.
        "55P03" => (ErrorKind::Conflict, Advice::Later),
        // statement_timeout: the server itself stopped and undid the statement.
        "57014" => (ErrorKind::Timeout, Advice::Later),
        "53300" => (ErrorKind::RateLimited, Advice::Later),
        // Read-only: a standby, or default_transaction_read_only.
        "25006" => (ErrorKind::Refused, Advice::Never),
        _ => match code.get(..2) {
            Some("28") => (ErrorKind::Unauthorised, Advice::Never),
            Some("08" | "53" | "57" | "58") => (ErrorKind::Unreachable, Advice::Later),
            _ => (ErrorKind::Unexpected, Advice::Never),
        },
    };
    let mut message = format!("the server said: {} (SQLSTATE {code})", db.message());
    for more in [db.detail(), db.hint()].into_iter().flatten() {
        message.push_str("; ");
        message.push_str(more);
    }
    ConnectorError::new(kind, advice, message)
}

fn is_broken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}
