//! One connection to a directory server: StartTLS or TLS, bind, search, modify.
//!
//! Referrals (RFC 4511 §4.1.10) are never followed and aliases never dereferenced: what is changed is the entry
//! that was approved, on the server that was configured, with credentials that no other server sees.

use std::collections::HashSet;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use ldap3::controls::{Assertion, Control, ControlType, MakeCritical, PagedResults, RawControl};
use ldap3::exop::{WhoAmI, WhoAmIResp};
use ldap3::result::Result as Answer;
use ldap3::{
    Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Mod, ResultEntry, Scope,
    SearchEntry, StdStream,
};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::credentials::{Credentials, Place, Protection};
use super::entry::Entry;
use super::error::{self, PASSWORD_POLICY, Refusal};
use crate::sdk::tls::{Verify, client_config};
use crate::sdk::{Advice, ConnectorError, ErrorKind, OpenContext, SecretText};

/// Entries of one page (RFC 2696). Below the limit of 500 that OpenLDAP has unless told otherwise.
const PAGE: i32 = 250;
/// Most entries that one search reads.
const MOST: usize = 100_000;

/// StartTLS (RFC 4511 §4.14) as message 1.
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
/// Longest answer to it that is read.
const START_TLS_ANSWER: usize = 4096;

/// Everything that is needed to connect once more.
pub struct Way {
    cx: OpenContext,
    pub credentials: Credentials,
    pub place: Place,
    tls: Arc<ClientConfig>,
}

impl Way {
    /// Errors: `Invalid`, for a host that is no name, or certificates that cannot be read.
    pub fn try_new(credentials: Credentials, cx: &OpenContext) -> Result<Self, ConnectorError> {
        let place = credentials.place()?;
        let tls = client_config(Verify::Full, credentials.ca_certificate.as_deref())?;
        Ok(Self { cx: cx.clone(), credentials, place, tls: Arc::new(tls) })
    }

    /// A connection on which nobody is known yet.
    pub async fn connect(&self) -> Result<Line, ConnectorError> {
        let Place { host, port, protection } = &self.place;
        let mut stream = self.cx.egress.connect(host, *port).await?;
        // Small messages back and forth; a failure only costs speed.
        drop(stream.set_nodelay(true));
        if *protection == Protection::Starttls {
            start_tls(&mut stream).await?;
        }
        let lost = |source| error::broken(LdapError::Io { source });
        let stream = StdStream::Tcp(stream.into_std().map_err(lost)?);
        let settings =
            LdapConnSettings::new().set_std_stream(stream).set_config(Arc::clone(&self.tls));
        let url = format!("ldaps://{host}:{port}");
        let opening = LdapConnAsync::with_settings(settings, &url);
        let (connection, ldap) = opening.await.map_err(opening_failed)?;
        tokio::spawn(async move {
            // Ends when the last handle is dropped. What breaks it also fails the operation that waits.
            if let Err(error) = connection.drive().await {
                tracing::debug!(%error, "connection to a directory ended");
            }
        });
        Ok(Line { ldap })
    }
}

fn opening_failed(error: LdapError) -> ConnectorError {
    let closed = crate::sdk::tls::handshake_error(&error).is_none()
        && crate::sdk::find_cause::<std::io::Error>(&error).is_some();
    if closed {
        let message = "the server closed the connection while TLS was being set up";
        return ConnectorError::new(ErrorKind::Unreachable, Advice::Later, message).because(error);
    }
    error::broken(error)
}

/// Asks for TLS before anything else is said. The client library does the same, but waits for ever for a
/// server that closes its side.
async fn start_tls(stream: &mut TcpStream) -> Result<(), ConnectorError> {
    let closed = |cause: std::io::Error| {
        let message = "the server closed the connection when asked for TLS";
        ConnectorError::new(ErrorKind::Unreachable, Advice::Later, message).because(cause)
    };
    stream.write_all(START_TLS).await.map_err(closed)?;
    let mut answer = Vec::new();
    loop {
        match start_tls_answer(&answer) {
            Reading::More if answer.len() < START_TLS_ANSWER => {}
            Reading::More | Reading::Nonsense => {
                let message = "what answers there is not a directory server";
                return Err(ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message));
            }
            Reading::Code(0) => return Ok(()),
            Reading::Code(code) => {
                let message = format!(
                    "the server refuses StartTLS (result code {code}): choose ldaps, or give the \
                     server a certificate"
                );
                return Err(ConnectorError::new(ErrorKind::Refused, Advice::Never, message));
            }
        }
        // One octet at a time: what follows the answer belongs to TLS.
        answer.push(stream.read_u8().await.map_err(closed)?);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Reading {
    More,
    Nonsense,
    Code(u8),
}

/// `SEQUENCE { messageID 1, [APPLICATION 24] { resultCode ENUMERATED, … } }`, once it is whole.
fn start_tls_answer(bytes: &[u8]) -> Reading {
    let Some((tag, content)) = element(bytes) else {
        return if bytes.first().is_none_or(|tag| *tag == 0x30) {
            Reading::More
        } else {
            Reading::Nonsense
        };
    };
    let [0x02, 1, 1, answer @ ..] = content else { return Reading::Nonsense };
    match (tag, element(answer)) {
        (0x30, Some((0x78, [0x0a, 1, code, ..]))) => Reading::Code(*code),
        _ => Reading::Nonsense,
    }
}

/// Tag and content of the first BER element, when it is whole.
fn element(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let whole = octets.iter().try_fold(0_usize, |length, octet| {
            length.checked_mul(256)?.checked_add(usize::from(*octet))
        })?;
        (whole, rest)
    };
    Some((tag, rest.get(..length)?))
}

/// One part of a modification.
#[derive(Clone, Debug)]
pub enum Part<'a> {
    Add(&'a str, Vec<u8>),
    /// Exactly this value, which must be there.
    Delete(&'a str, Vec<u8>),
    /// All values: these instead of whatever is there, or none.
    Replace(&'a str, Vec<Vec<u8>>),
}

impl Part<'_> {
    fn raw(self) -> Mod<Vec<u8>> {
        let one = |value| HashSet::from([value]);
        match self {
            Self::Add(name, value) => Mod::Add(name.as_bytes().to_vec(), one(value)),
            Self::Delete(name, value) => Mod::Delete(name.as_bytes().to_vec(), one(value)),
            Self::Replace(name, values) => {
                Mod::Replace(name.as_bytes().to_vec(), values.into_iter().collect())
            }
        }
    }
}

/// One connection. Dropping the last handle closes it.
pub struct Line {
    ldap: Ldap,
}

impl Line {
    /// A simple bind. The refusal of an account is an answer, not an error.
    pub async fn bind(
        &self,
        name: &str,
        password: &SecretText,
    ) -> Result<Result<(), (Refusal, u32)>, ConnectorError> {
        if name.is_empty() || password.expose().is_empty() {
            // RFC 4513 §5.1.2: the server would take it as anonymous and say yes.
            return Err(ConnectorError::invalid("bind_dn and password must not be empty"));
        }
        let policy = RawControl { ctype: PASSWORD_POLICY.to_owned(), crit: false, val: None };
        let mut ldap = self.ldap.clone();
        ldap.with_controls(vec![policy]);
        let result =
            calm(ldap.simple_bind(name, password.expose()), false).await?.map_err(error::broken)?;
        match Refusal::of(&result) {
            None => Ok(Ok(())),
            Some(refusal) if matches!(result.rc, 0 | error::INVALID_CREDENTIALS) => {
                Ok(Err((refusal, result.rc)))
            }
            // Not about the account: TLS is asked for, the server is busy, the DN is none.
            Some(_) => match result.rc {
                error::NO_SUCH_OBJECT | error::INVALID_DN => Ok(Err((Refusal::Wrong, result.rc))),
                _ => Err(error::refused(&result)),
            },
        }
    }

    /// Who the server takes us for (RFC 4532); none where it does not know the question.
    pub async fn who_am_i(&self) -> Result<Option<String>, ConnectorError> {
        let mut ldap = self.ldap.clone();
        let answer = async move {
            let answer = ldap.extended(WhoAmI).await?;
            let known = answer.1.rc == 0 && answer.0.val.is_some();
            Ok(known.then(|| answer.0.parse::<WhoAmIResp>().authzid))
        };
        calm(answer, false).await?.map_err(error::broken)
    }

    /// One entry by its DN; none when it is not there, or not to be seen.
    pub async fn entry(
        &self,
        dn: &str,
        filter: &str,
        attributes: &[&str],
    ) -> Result<Option<Entry>, ConnectorError> {
        let (found, result) = self.ask(dn, Scope::Base, filter, attributes, None).await?;
        match result.rc {
            0 => Ok(found.into_iter().next()),
            error::NO_SUCH_OBJECT | error::INVALID_DN => Ok(None),
            _ => Err(error::refused(&result)),
        }
    }

    /// All entries below `base` that the filter fits, page by page. Complete, or an error.
    pub async fn search(
        &self,
        base: &str,
        filter: &str,
        attributes: &[&str],
    ) -> Result<Vec<Entry>, ConnectorError> {
        let (mut entries, mut cookie) = (Vec::new(), Vec::new());
        loop {
            let page = PagedResults { size: PAGE, cookie };
            let (found, result) =
                self.ask(base, Scope::Subtree, filter, attributes, Some(page)).await?;
            match result.rc {
                0 => {}
                error::NO_SUCH_OBJECT => {
                    let message = format!("there is no entry {base}: check base_dn");
                    return Err(ConnectorError::new(ErrorKind::NotFound, Advice::Never, message));
                }
                _ => return Err(error::refused(&result)),
            }
            for entry in found {
                entries.push(self.whole(entry).await?);
            }
            if entries.len() > MOST {
                let message = format!("there are more than {MOST} entries below {base}");
                return Err(ConnectorError::invalid(message));
            }
            cookie = next_page(&result)?;
            if cookie.is_empty() {
                return Ok(entries);
            }
        }
    }

    /// The first entries that the filter fits, a page of them at most.
    pub async fn sample(
        &self,
        base: &str,
        filter: &str,
        attributes: &[&str],
    ) -> Result<Vec<Entry>, ConnectorError> {
        let page = PagedResults { size: PAGE, cookie: Vec::new() };
        let (found, result) =
            self.ask(base, Scope::Subtree, filter, attributes, Some(page)).await?;
        if result.rc == 0 { Ok(found) } else { Err(error::refused(&result)) }
    }

    /// Reads what the server left out of attributes with very many values.
    async fn whole(&self, mut entry: Entry) -> Result<Entry, ConnectorError> {
        while let Some((name, attribute, next)) = entry.partial() {
            let (name, attribute) = (name.to_owned(), attribute.to_owned());
            let wanted = format!("{attribute};range={next}-*");
            let more = self.entry(&entry.dn, "(objectClass=*)", &[&wanted]).await?;
            let more = more.ok_or_else(|| {
                let message = format!("{} vanished while it was read: try again", entry.dn);
                ConnectorError::new(ErrorKind::Conflict, Advice::RetryNow, message)
            })?;
            entry.join(&name, &attribute, more);
        }
        Ok(entry)
    }

    async fn ask(
        &self,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[&str],
        page: Option<PagedResults>,
    ) -> Result<(Vec<Entry>, LdapResult), ConnectorError> {
        let mut ldap = self.ldap.clone();
        if let Some(page) = page {
            ldap.with_controls(vec![page.critical().into()]);
        }
        let search = async {
            let found = ldap.search(base, scope, filter, attributes.to_vec()).await?;
            let entry = |found: ResultEntry| Entry::new(SearchEntry::construct(found));
            Ok((found.0.into_iter().map(entry).collect(), found.1))
        };
        calm(search, false).await?.map_err(error::broken)
    }

    /// Changes one entry, all parts or none (RFC 4511 §4.6); with `only_if` (a filter) only while the entry
    /// fits it (RFC 4528). A refusal is an answer: nothing was changed. An error is one of the connection.
    pub async fn modify(
        &self,
        dn: &str,
        parts: Vec<Part<'_>>,
        only_if: Option<&str>,
    ) -> Result<Result<(), LdapResult>, ConnectorError> {
        let mut ldap = self.ldap.clone();
        if let Some(filter) = only_if {
            if ldap3::parse_filter(filter).is_err() {
                let message = "a condition was not understood; nothing was changed";
                return Err(ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message));
            }
            ldap.with_controls(vec![Assertion { filter }.critical().into()]);
        }
        let parts = parts.into_iter().map(Part::raw).collect();
        let result = calm(ldap.modify(dn, parts), true).await?.map_err(error::broken_change)?;
        Ok(if result.rc == 0 { Ok(()) } else { Err(result) })
    }
}

/// The cookie of the next page; empty after the last.
fn next_page(result: &LdapResult) -> Result<Vec<u8>, ConnectorError> {
    let page = result.ctrls.iter().find_map(|Control(kind, raw)| {
        (matches!(kind, Some(ControlType::PagedResults)) && raw.val.is_some()).then_some(raw)
    });
    let Some(page) = page else {
        let message = "the directory does not page its answers (RFC 2696)";
        return Err(ConnectorError::new(ErrorKind::Unexpected, Advice::Never, message));
    };
    std::panic::catch_unwind(|| page.parse::<PagedResults>().cookie)
        .map_err(|_| error::not_understood(false))
}

/// The client library panics over answers that are not as the protocol says: that is an error, too.
async fn calm<T>(
    work: impl Future<Output = Answer<T>>,
    changes: bool,
) -> Result<Answer<T>, ConnectorError> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| error::not_understood(changes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_start_tls_is_read_to_its_end() {
        let good = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00";
        for length in 0..good.len() {
            assert_eq!(start_tls_answer(&good[..length]), Reading::More, "{length}");
        }
        assert_eq!(start_tls_answer(good), Reading::Code(0));
        let long = b"\x30\x84\x00\x00\x00\x0c\x02\x01\x01\x78\x07\x0a\x01\x34\x04\x00\x04\x00";
        assert_eq!(start_tls_answer(long), Reading::Code(52));
        assert_eq!(start_tls_answer(b"\x7f\x7f\x7f"), Reading::Nonsense);
        assert_eq!(start_tls_answer(b"\x30\x03\x02\x01\x02"), Reading::Nonsense);
    }
}
