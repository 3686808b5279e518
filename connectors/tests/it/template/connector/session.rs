//! An open, authenticated way to one value server. One line is asked, one line is answered.
//!
//! The protocol: `AUTH token`, `MAY` (`write` or `read`), `LIST`, `GET name`, `SET name old new`, where `-` is no
//! value; answers begin with `OK` or `NO reason`. Values have no spaces.

use std::io;

use nexplane_connectors::sdk::tls::{Verify, client_config, handshake};
use nexplane_connectors::sdk::{Advice, ConnectorError, ErrorKind, OpenContext};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::client::TlsStream;

use super::credentials::Credentials;

/// Longest answer that is read.
const LONGEST: u64 = 1024 * 1024;

type Line = BufReader<TlsStream<TcpStream>>;

/// A session.
pub struct Session {
    credentials: Credentials,
    cx: OpenContext,
    /// Taken out for a question and put back after its answer: a call that was cut off in between takes its line
    /// along, so that nobody else gets its answer.
    line: Mutex<Option<Line>>,
}

impl Session {
    /// Errors: `Refused` (egress), `Unreachable`, `Unauthorised` (certificate, token), `Unexpected`.
    pub async fn open(credentials: Credentials, cx: &OpenContext) -> Result<Self, ConnectorError> {
        let line = connect(&credentials, cx).await?;
        Ok(Self { credentials, cx: cx.clone(), line: Mutex::new(Some(line)) })
    }

    pub async fn may_write(&self) -> Result<bool, ConnectorError> {
        Ok(self.ask("MAY", false).await?.value()? == "write")
    }

    pub async fn names(&self) -> Result<Vec<String>, ConnectorError> {
        let names = self.ask("LIST", false).await?.value()?;
        Ok(names.split_whitespace().map(str::to_owned).collect())
    }

    /// The value, or none when there is nothing of this name.
    pub async fn get(&self, name: &str) -> Result<Option<String>, ConnectorError> {
        let value = self.ask(&format!("GET {name}"), false).await?.value()?;
        Ok((value != "-").then_some(value))
    }

    /// Writes `new` if the value is `old` now; the server compares and writes in one step.
    pub async fn set(
        &self,
        name: &str,
        old: Option<&str>,
        new: Option<&str>,
    ) -> Result<(), ConnectorError> {
        let [old, new] = [old, new].map(|value| value.unwrap_or("-"));
        self.ask(&format!("SET {name} {old} {new}"), true).await?.value().map(drop)
    }

    async fn ask(&self, question: &str, is_effect: bool) -> Result<Answer, ConnectorError> {
        let mut free = self.line.lock().await;
        let mut line = match free.take() {
            Some(line) => line,
            None => connect(&self.credentials, &self.cx).await?,
        };
        let answer = ask(&mut line, question, is_effect).await?;
        *free = Some(line);
        Ok(answer)
    }
}

/// Connects, and says who we are.
async fn connect(credentials: &Credentials, cx: &OpenContext) -> Result<Line, ConnectorError> {
    let Credentials { host, port, token, ca_certificate } = credentials;
    let config = client_config(Verify::Full, ca_certificate.as_deref())?;
    let stream = cx.egress.connect(host, *port).await?;
    let mut line = BufReader::new(handshake(stream, host, config).await?);
    match ask(&mut line, &format!("AUTH {}", token.expose()), false).await? {
        Answer::Ok(_) => Ok(line),
        Answer::No(_) => {
            let message = "the server does not take the token: check it";
            Err(ConnectorError::new(ErrorKind::Unauthorised, Advice::Never, message))
        }
    }
}

/// After an effect was sent, a line that breaks leaves open whether it happened.
async fn ask(line: &mut Line, question: &str, is_effect: bool) -> Result<Answer, ConnectorError> {
    let broken = |error: io::Error| {
        let advice = if is_effect { Advice::OutcomeUnknown } else { Advice::Later };
        let message = "the connection broke before the answer came";
        ConnectorError::new(ErrorKind::Unreachable, advice, message).because(error)
    };
    let text = format!("{question}\n");
    line.get_mut().write_all(text.as_bytes()).await.map_err(broken)?;
    line.get_mut().flush().await.map_err(broken)?;
    let mut answer = String::new();
    line.take(LONGEST).read_line(&mut answer).await.map_err(broken)?;
    if !answer.ends_with('\n') {
        return Err(broken(io::ErrorKind::UnexpectedEof.into()));
    }
    let (word, rest) = answer.trim_end().split_once(' ').unwrap_or((answer.trim_end(), ""));
    match word {
        "OK" => Ok(Answer::Ok(rest.to_owned())),
        "NO" => Ok(Answer::No(rest.to_owned())),
        _ => {
            let advice = if is_effect { Advice::OutcomeUnknown } else { Advice::Never };
            let message = "what answers there is not a value server";
            Err(ConnectorError::new(ErrorKind::Unexpected, advice, message))
        }
    }
}

enum Answer {
    Ok(String),
    No(String),
}

impl Answer {
    /// The kind of error is told by the server's code, never by its text.
    fn value(self) -> Result<String, ConnectorError> {
        let reason = match self {
            Self::Ok(value) => return Ok(value),
            Self::No(reason) => reason,
        };
        Err(match reason.as_str() {
            "forbidden" => {
                let message = "the token may not do that: give it the right to write";
                ConnectorError::new(ErrorKind::Forbidden, Advice::Never, message)
            }
            "moved" => ConnectorError::conflict("somebody else has changed the value since"),
            _ => {
                let message = format!("the server said no: {reason}");
                ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message)
            }
        })
    }
}
