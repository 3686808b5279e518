//! Who is connected, and ending the sessions of a user.
//!
//! A session that was opened before its user was locked, or before its password was taken away, goes on for as
//! long as its client likes. <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>

use std::collections::BTreeSet;
use std::time::Duration;

use super::connection::command;
use super::error::{after_change, is_forbidden};
use super::session::Session;
use super::target::UserName;
use crate::sdk::ConnectorError;

/// The server closes what it was told to close a little later; there is no event to wait for.
const PAUSE: Duration = Duration::from_millis(20);
const ROUNDS: u32 = 150;

/// One line of `CLIENT LIST`: <https://redis.io/docs/latest/commands/client-list/>
#[derive(Debug, PartialEq, Eq)]
struct Client {
    /// Rises, and never comes back.
    id: u64,
    user: String,
    /// Whether it has sent a command yet.
    has_spoken: bool,
    /// Whether it is a replica of this server.
    is_replica: bool,
}

impl Client {
    fn parse(line: &str) -> Option<Self> {
        let field = |name: &str| {
            line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        Some(Self {
            id: field("id")?.parse().ok()?,
            user: field("user")?.to_owned(),
            has_spoken: field("cmd") != Some("NULL"),
            is_replica: field("flags").is_some_and(|flags| flags.contains('S')),
        })
    }
}

async fn clients(session: &Session, user: &UserName) -> Result<Vec<Client>, ConnectorError> {
    let list: String = session.line.ask(&["CLIENT", "LIST"]).await?;
    let all = list.lines().filter_map(Client::parse);
    Ok(all.filter(|client| client.user == user.as_str()).collect())
}

/// How many sessions of the user are open; none when the connection's user may not look. Connections that have
/// not authenticated count as sessions of the user `default`, as far as they have sent anything.
pub async fn open(session: &Session, user: &UserName) -> Result<Option<usize>, ConnectorError> {
    match clients(session, user).await {
        Ok(clients) => Ok(Some(clients.iter().filter(|client| client.has_spoken).count())),
        Err(error) if is_forbidden(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many replicas are logged in as the user.
pub async fn replicas(session: &Session, user: &UserName) -> Result<usize, ConnectorError> {
    let clients = clients(session, user).await?;
    Ok(clients.iter().filter(|client| client.is_replica).count())
}

/// Ends the sessions that the user has now, and waits until they are gone. Answers how many there were. Never
/// ends our own: nobody's user is a target of its own connection.
///
/// Errors: once the server was told to end some, the outcome is unknown.
pub async fn end(session: &Session, user: &UserName) -> Result<usize, ConnectorError> {
    let now = clients(session, user).await?;
    let spoken = now.iter().filter(|client| client.has_spoken).count();
    let ids: BTreeSet<u64> = now.iter().map(|client| client.id).collect();
    if ids.is_empty() {
        return Ok(0);
    }
    let kill = command(&["CLIENT", "KILL", "USER", user.as_str(), "SKIPME", "yes"]);
    let mut killed = false;
    for _ in 0..ROUNDS {
        let again = session.line.change::<i64>(&kill).await;
        again.map_err(|error| if killed { after_change(error) } else { error })?;
        killed = true;
        let left = clients(session, user).await.map_err(after_change)?;
        if !left.iter().any(|client| ids.contains(&client.id)) {
            return Ok(spoken);
        }
        tokio::time::sleep(PAUSE).await;
    }
    let error = ConnectorError::conflict("some of its sessions did not end when told to");
    Err(after_change(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_client_list_are_read() {
        let line = "id=3 addr=127.0.0.1:5 laddr=127.0.0.1:6 fd=7 name= age=0 flags=N db=0 \
                    argv-mem=10 cmd=client|list user=admin redir=-1 resp=2";
        let expected =
            Client { id: 3, user: "admin".to_owned(), has_spoken: true, is_replica: false };
        assert_eq!(Client::parse(line), Some(expected));
        let line = "id=12 flags=S cmd=NULL user=repl:a=b resp=3";
        let expected =
            Client { id: 12, user: "repl:a=b".to_owned(), has_spoken: false, is_replica: true };
        assert_eq!(Client::parse(line), Some(expected));
        assert_eq!(Client::parse("user=nobody"), None);
    }
}
