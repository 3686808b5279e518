//! From what the SSH library reports to connector errors.

use std::io;

use russh::Error;
use russh::keys::ssh_key::Fingerprint;

use crate::sdk::{Advice, ConnectorError, ErrorKind};

/// What was going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No session yet.
    Opening,
    /// Before a command was sent.
    Before,
    /// A command that only reads is under way.
    Reading,
    /// A command with an effect is under way.
    Effect,
}

/// The server has another key than the pinned one.
pub fn other_host_key(pinned: Fingerprint, shown: Fingerprint) -> ConnectorError {
    let message = format!(
        "the server has another host key than the connection says: pinned is {pinned}, shown was {shown}. \
         Either somebody sits in between, or the host was installed anew: compare with 'ssh-keygen -l -f \
         /etc/ssh/ssh_host_ed25519_key.pub' on the host's own console before host_key is changed"
    );
    ConnectorError::new(ErrorKind::Unauthorised, Advice::Never, message)
}

/// An error of the library.
pub fn of(source: Error, stage: Stage) -> ConnectorError {
    let closed = if let Error::IO(error) = &source {
        is_broken(error)
    } else {
        matches!(
            source,
            Error::Disconnect
                | Error::HUP
                | Error::ConnectionTimeout
                | Error::KeepaliveTimeout
                | Error::InactivityTimeout
                | Error::SendError
                | Error::RecvError
        )
    };
    let (kind, advice, message) = match (stage, closed) {
        (Stage::Opening, true) => (
            ErrorKind::Unreachable,
            Advice::Later,
            "the server closed the connection while it was being opened",
        ),
        (Stage::Opening, false) => {
            let message = if matches!(source, Error::NoCommonAlgo { .. }) {
                "the server offers no algorithm that is safe enough, or no host key of the pinned kind"
            } else {
                "what answers there does not keep to the protocol of SSH"
            };
            (ErrorKind::Unexpected, Advice::Never, message)
        }
        (Stage::Before, true) => (
            ErrorKind::Unreachable,
            Advice::Later,
            "the connection broke before the command was sent",
        ),
        (Stage::Before, false) => {
            (ErrorKind::Unexpected, Advice::Later, "the server opened no channel for a command")
        }
        (Stage::Reading, _) => {
            (ErrorKind::Unreachable, Advice::Later, "the connection broke while the host was read")
        }
        (Stage::Effect, _) => (
            ErrorKind::Unreachable,
            Advice::OutcomeUnknown,
            "the connection broke while the command was under way",
        ),
    };
    ConnectorError::new(kind, advice, message).because(source)
}

fn is_broken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
    )
}
